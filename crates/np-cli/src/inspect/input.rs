//! What a file to inspect is: a capture, or bytes of one direction, as they are or as hexadecimal digits. Must never hold
//! more of it than it was told to.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use np_facade::ErrorKind;

use super::dissect::{is_client, is_server};
use crate::counted::counted;
use crate::failure::Failure;

/// What was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// pcap or pcapng, as it is.
    Capture(Vec<u8>),
    /// What the client said.
    Client(Vec<u8>),
    /// What the server said.
    Server(Vec<u8>),
}

/// Reads a file, or standard input where it is `-`, of at most so many bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(most.saturating_add(1)).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
    };
    let shown = || np_facade::escape_path(path);
    read.map_err(|error| {
        Failure::usage(format!("{}: cannot be read: {error}; check its name and who may read it", shown()))
    })?;
    if bytes.len() as u64 > most {
        let most = counted(most, "byte", "bytes");
        let line = format!("{}: limit --max-size of {most} reached; raise it, or cut the file", shown());
        return Err(Failure::new(ErrorKind::Limit, line));
    }
    Ok(bytes)
}

/// Finds out what the bytes are; the error says what they look like.
pub(super) fn recognise(bytes: Vec<u8>) -> Result<Input, String> {
    if super::capture::read(&bytes, 0).is_some() {
        return Ok(Input::Capture(bytes));
    }
    let bytes = match unhex(&bytes) {
        Some(decoded) => decoded?,
        None => bytes,
    };
    if is_client(&bytes) {
        return Ok(Input::Client(bytes));
    }
    if is_server(&bytes) {
        return Ok(Input::Server(bytes));
    }
    let start: String = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    Err(match bytes.as_slice() {
        [] => "holds nothing".to_owned(),
        [0x16, 3, ..] => "begins with TLS: np inside it cannot be seen".to_owned(),
        _ => format!("is no capture, nor the beginning of a connection (it begins with {start})"),
    })
}

/// Decodes hexadecimal digits; nothing where the bytes are no such text. Lines that begin with `#` are comments.
fn unhex(bytes: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = digits.flat_map(str::bytes).filter(|byte| !byte.is_ascii_whitespace()).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    if !digits.len().is_multiple_of(2) {
        let digits = counted(digits.len(), "hexadecimal digit", "hexadecimal digits");
        return Some(Err(format!("holds {digits}, an odd number: one is missing")));
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or_default() as u8;
    Some(Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | value(digit))).collect()))
}

#[cfg(test)]
mod tests {
    use super::{Input, recognise};

    #[test]
    fn bytes_and_digits_are_told_apart_and_so_are_the_two_directions() {
        let client = b"np\r\n rest".to_vec();
        assert_eq!(recognise(client.clone()), Ok(Input::Client(client.clone())));
        assert_eq!(recognise(b"# the client\n6e70 0D0a\n 20 72 65 73 74\n".to_vec()), Ok(Input::Client(client)));
        let server = vec![2, 0, 1, 7];
        assert_eq!(recognise(server.clone()), Ok(Input::Server(server.clone())));
        assert_eq!(recognise(b"02000107".to_vec()), Ok(Input::Server(server)));
        let proxied = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".as_slice(), b"np\r\n"].concat();
        assert_eq!(recognise(proxied.clone()), Ok(Input::Client(proxied)));
    }

    #[test]
    fn what_is_neither_is_described() {
        for (bytes, words) in [
            (b"".as_slice(), "holds nothing"),
            (b"6e700", "odd"),
            (b"GET / HTTP/1.1", "begins with 47 45 54 20 2f 20 48 54"),
            (b"\x16\x03\x01\x02\x00", "TLS"),
            (b"abcdef", "begins with ab cd ef"),
            (b"\x02\xff\xff", "no capture"),
            (b"\xff\xfe", "ff fe"),
        ] {
            assert!(recognise(bytes.to_vec()).unwrap_err().contains(words), "{words}");
        }
    }
}
