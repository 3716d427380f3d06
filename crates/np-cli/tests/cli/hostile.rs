//! Strangers at the door of `np serve`: what they are told, and that others are served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Folder, Serve, run};

/// The codes of a refusal in clear.
const MALFORMED: u16 = 0x10;
const HANDSHAKE_LIMIT: u16 = 0x31;

fn knock(serve: &Serve) -> TcpStream {
    let at = serve.address().strip_prefix("tcp://").unwrap().split('?').next().unwrap();
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Reads a refusal in clear to the end of the stream: its code and its text.
fn refusal(mut stream: TcpStream) -> (u16, String) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], 3, "{answer:?}");
    (u16::from_be_bytes([answer[3], answer[4]]), String::from_utf8(answer[7..].to_vec()).unwrap())
}

#[test]
fn strangers_who_take_every_place_give_way_and_are_told() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &["--max-handshakes", "8"]);
    let mut silent: Vec<_> = (0..12).map(|_| knock(&serve)).collect();
    // The first four must go for the last four; then one for the call.
    for count in [4, 1] {
        for stream in silent.drain(..count) {
            let (code, text) = refusal(stream);
            assert_eq!(code, HANDSHAKE_LIMIT, "{text}");
            assert!(text.contains("max_handshakes"), "{text}");
        }
        if count > 1 {
            assert_eq!(run(["call", serve.address(), "np.echo", "hello"]).ok(), "hello");
        }
    }
}

#[test]
fn what_is_no_np_is_told_so_at_once() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n"] {
        let mut stream = knock(&serve);
        stream.write_all(words).unwrap();
        let (code, text) = refusal(stream);
        assert_eq!(code, MALFORMED, "{text}");
        assert!(text.contains("np"), "{text}");
    }
    assert_eq!(run(["call", serve.address(), "np.echo", "hello"]).ok(), "hello");
}
