//! Bodies made smaller by both encodings, and compressed bodies that a reader refuses.

use np_compress::{Adaptive, Algorithm, Caps, Compressor, Decompressor, Encoder, Packed, Settings};
use serde::Serialize;

use super::hex;

/// A body as it travels.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    about: &'static str,
    encoding: u8,
    /// What its head says that it gives.
    size: u32,
    body: String,
    /// The message; none where the body is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub(super) fn bodies() -> Vec<Body> {
    let mut all = Vec::new();
    for (algorithm, encoder) in [(Algorithm::Lz4, Encoder::Lz4), (Algorithm::Zstd, Encoder::Zstd { level: 3 })] {
        let packed = |message: &[u8]| pack(encoder, message);
        let text = b"id,name,street,town\n".repeat(12);
        let zeros = vec![0; 3_000];
        for (about, message) in [("a table of lines that are alike", &text), ("3,000 zeros", &zeros)] {
            all.push(read(about, algorithm, message.len() as u32, &packed(message)));
        }
        all.extend(broken(algorithm, &text, packed(&text)));
    }
    all
}

fn broken(algorithm: Algorithm, text: &[u8], good: Vec<u8>) -> Vec<Body> {
    let size = text.len() as u32;
    let cut = good[..good.len() - 1].to_vec();
    let longer = [&good[..], &[0]].concat();
    let mut all = vec![
        read("a declared size that is one too small", algorithm, size - 1, &good),
        read("a declared size that is one too large", algorithm, size + 1, &good),
        read("a declared size of more than 256 times the body", algorithm, 256 * good.len() as u32 + 1, &good),
        read("a declared size that is not larger than the body", algorithm, good.len() as u32, &good),
        read("a body that is cut short", algorithm, size, &cut),
        read("a byte behind the body", algorithm, size, &longer),
    ];
    if algorithm == Algorithm::Zstd {
        let again = good.repeat(2);
        let skip = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0][..], &good].concat();
        all.push(read("two frames", algorithm, size, &again));
        all.push(read("a frame to skip", algorithm, size, &skip));
    }
    all
}

fn pack(encoder: Encoder, message: &[u8]) -> Vec<u8> {
    let settings = Settings { encoder, threshold: 1, adaptive: false, ..Settings::default() };
    let mut compressor = Compressor::new(settings).expect("good settings");
    match compressor.compress(message, &mut Adaptive::new()) {
        Packed::Compressed { bytes, .. } => bytes.to_vec(),
        Packed::Plain(reason) => panic!("it stays plain: {reason:?}"),
    }
}

fn read(about: &'static str, algorithm: Algorithm, size: u32, body: &[u8]) -> Body {
    let result = Decompressor::new().decompress(algorithm, size, body, Caps::default());
    let (message, refused) = match result {
        Ok(message) => (Some(hex(&message)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let encoding = match algorithm {
        Algorithm::Zstd => 2,
        _ => 1,
    };
    Body { about, encoding, size, body: hex(body), message, refused }
}
