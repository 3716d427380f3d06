//! `np call`: one call, its reply's bytes to stdout.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use np_facade::{Encoder, ErrorKind, Limits, MethodName, Reply};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};

use crate::args::ConnectArgs;
use crate::compress::{always, parse_encoder};
use crate::connect::{Connected, Target, connect, connect_with};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::refusal::failed_call;
use crate::streaming;

/// Calls a method and prints exactly the reply's bytes.
#[derive(Debug, Args)]
pub(crate) struct CallCommand {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The method's name: np.echo, np.methods, np.health, or one of the server's own
    #[arg(value_name = "METHOD")]
    method: String,

    /// The request: text, @FILE for a file's bytes, - for standard input, nothing for an empty body
    #[arg(value_name = "BODY")]
    body: Option<OsString>,

    /// Open a stream: send each line of BODY (standard input where there is none) as a message, print each that comes
    #[arg(long)]
    stream: bool,

    /// Compress the request where that makes it smaller: lz4, zstd, or zstd:LEVEL (1 to 19)
    #[arg(long, value_name = "CODEC", value_parser = parse_encoder, conflicts_with = "stream")]
    compress: Option<Encoder>,
}

/// Makes the call.
pub(crate) async fn run(command: CallCommand, output: Output) -> Result<(), Failure> {
    let method = command.method.as_str();
    MethodName::new(method).map_err(|error| {
        Failure::usage(format!(
            "method {}: {error}; `np call ADDR np.methods` lists them",
            np_facade::escape(method, 64)
        ))
    })?;
    let target = Target::new(&command.connect)?;
    if command.stream {
        return stream(command, target, output).await;
    }
    let body = read_body(command.body).await?;
    let connected = connect_with(&command.connect, target, command.compress.map(always)).await?;
    let call = connected.client.request(method).body(body).deadline(connected.remaining());
    let reply = call.send().await.map_err(|error| failed_call(method, &connected.place, &error));
    let reply = connected.close_after(reply).await?;
    if output.is_json() { output.json(&describe(method, &reply)) } else { output::write(&reply.body) }
}

async fn stream(command: CallCommand, target: Target, output: Output) -> Result<(), Failure> {
    let method = command.method.as_str();
    let connected = connect(&command.connect, target).await?;
    let streamed = stream_body(&connected, method, command.body, output).await;
    connected.close_after(streamed).await
}

async fn stream_body(
    connected: &Connected,
    method: &str,
    body: Option<OsString>,
    output: Output,
) -> Result<(), Failure> {
    let Some(body) = body.filter(|body| body != "-") else {
        return streaming::run(connected, method, BufReader::new(tokio::io::stdin()), output).await;
    };
    let Some(path) = file_name(&body) else {
        let text = body.into_encoded_bytes();
        return streaming::run(connected, method, text.as_slice(), output).await;
    };
    let file = tokio::fs::File::open(&path).await.map_err(|error| {
        let path = np_facade::escape_path(&path);
        Failure::usage(format!("body file {path}: cannot be read: {error}; name a file behind the @"))
    })?;
    streaming::run(connected, method, BufReader::new(file), output).await
}

async fn read_body(body: Option<OsString>) -> Result<Bytes, Failure> {
    let Some(body) = body else {
        return Ok(Bytes::new());
    };
    if body == "-" {
        let failed = |error| Failure::local(format!("body: cannot read standard input: {error}; check the pipe"));
        let body = read_all(tokio::io::stdin()).await.map_err(failed)?;
        return bounded("body of standard input", body);
    }
    match file_name(&body) {
        Some(path) => read_file(path).await,
        None => bounded("body", body.into_encoded_bytes().into()),
    }
}

/// The name behind an `@`, which need not be text either.
fn file_name(body: &OsStr) -> Option<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        body.as_bytes().strip_prefix(b"@").map(|name| OsStr::from_bytes(name).into())
    }
    #[cfg(windows)]
    {
        use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
        let mut units = body.encode_wide();
        (units.next() == Some(u16::from(b'@'))).then(|| OsString::from_wide(&units.collect::<Vec<_>>()).into())
    }
}

/// Refuses a body that no connection takes, before there is one.
fn bounded(what: &str, body: Bytes) -> Result<Bytes, Failure> {
    let most = Limits::default().max_message;
    if u64::try_from(body.len()).is_ok_and(|length| length <= u64::from(most)) {
        return Ok(body);
    }
    let line = format!("{what}: holds more than {} MiB, the limit of one message (max_message); send less", most >> 20);
    Err(Failure::new(ErrorKind::Limit, line))
}

async fn read_file(path: PathBuf) -> Result<Bytes, Failure> {
    let failed = |error: io::Error| {
        let line = format!("body file {}: cannot be read: {error}; name a file behind the @", path.display());
        let usage = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied, io::ErrorKind::IsADirectory];
        if usage.contains(&error.kind()) { Failure::usage(line) } else { Failure::local(line) }
    };
    let file = tokio::fs::File::open(&path).await.map_err(failed)?;
    let body = read_all(file).await.map_err(failed)?;
    bounded(&format!("body file {}", path.display()), body)
}

/// Reads all there is, but never much more than can be sent.
async fn read_all(input: impl AsyncRead + Unpin) -> io::Result<Bytes> {
    let mut body = Vec::new();
    let most = u64::from(Limits::default().max_message).saturating_add(1);
    input.take(most).read_to_end(&mut body).await?;
    Ok(body.into())
}

/// The reply as JSON: `text` where the body is UTF-8, else `base64`.
fn describe(method: &str, reply: &Reply) -> Value {
    let (name, body) = match std::str::from_utf8(&reply.body) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", base64(&reply.body)),
    };
    json!({ "method": method, "codec": reply.codec.to_string(), "bytes": reply.body.len(), name: body })
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or_default()));
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            let letter = ALPHABET.get(digit as usize).copied().unwrap_or(b'=');
            text.push(if at > group.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn the_vectors_of_rfc_4648_pass() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
