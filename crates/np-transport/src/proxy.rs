//! The PROXY protocol, version 2: what a load balancer says about the client that it stands for.
//!
//! It must never be read from a peer unless the listener was told that one of its proxies is in front.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What every header starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The most bytes of addresses and additions: far above what proxies send, and a bound for what a stranger can make us read.
const MAX_BODY: u16 = 2048;

/// Reads a header and not one byte more. `None` where the proxy speaks for itself (health checks) or for no IP address.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let broken = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    let Some(([version, family, high, low], [])) =
        head.strip_prefix(&SIGNATURE).and_then(|rest| rest.split_first_chunk())
    else {
        return Err(broken("no PROXY header of version 2"));
    };
    let length = u16::from_be_bytes([*high, *low]);
    if length > MAX_BODY {
        return Err(broken("a PROXY header above 2,048 bytes"));
    }
    let mut body = vec![0; usize::from(length)];
    stream.read_exact(&mut body).await?;
    match (version, family) {
        (0x20, _) => Ok(None),
        (0x21, 0x11) => v4(&body).map(Some).ok_or_else(|| broken("a PROXY header that is too short")),
        (0x21, 0x21) => v6(&body).map(Some).ok_or_else(|| broken("a PROXY header that is too short")),
        (0x21, _) => Ok(None),
        _ => Err(broken("a PROXY header of another version or command")),
    }
}

/// Source, destination, source port, destination port.
fn v4(body: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = body.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    Some(SocketAddr::new(IpAddr::from(*source), port(rest)?))
}

fn v6(body: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = body.split_first_chunk::<16>()?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    Some(SocketAddr::new(IpAddr::from(*source), port(rest)?))
}

fn port(ports: &[u8]) -> Option<u16> {
    let (source, rest) = ports.split_first_chunk::<2>()?;
    rest.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*source))
}

#[cfg(test)]
mod tests {
    use super::{SIGNATURE, read};

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn a_header_says_who_the_client_is_and_leaves_the_rest() {
        let v4 = [&[192, 0, 2, 9][..], &[10, 0, 0, 1], &[0x12, 0x34], &[0, 80], b"additions"].concat();
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..], &[0; 16], &[0, 7], &[0, 80]].concat();
        let table = [
            (header(0x21, 0x11, &v4), Some("192.0.2.9:4660")),
            (header(0x21, 0x21, &v6), Some("[2001:db8::5]:7")),
            (header(0x20, 0, &[]), None),
            (header(0x20, 0x11, &v4), None),
            (header(0x21, 0x31, &[0; 216]), None),
            (header(0x21, 0x00, b"xx"), None),
        ];
        for (mut bytes, expected) in table {
            bytes.extend(b"np");
            let mut rest = bytes.as_slice();
            assert_eq!(read(&mut rest).await.unwrap(), expected.map(|it| it.parse().unwrap()));
            assert_eq!(rest, b"np");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let mut large = header(0x21, 0x11, &[0; 12]);
        large[14..16].copy_from_slice(&2049u16.to_be_bytes());
        let table = [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            header(0x11, 0x11, &[0; 12]),
            header(0x22, 0x11, &[0; 12]),
            header(0x21, 0x11, &[0; 11]),
            header(0x21, 0x21, &[0; 35]),
            large,
            header(0x21, 0x11, &[0; 12])[..20].to_vec(),
            Vec::new(),
        ];
        for bytes in table {
            assert!(read(&mut bytes.as_slice()).await.is_err(), "{bytes:?}");
        }
    }
}
