//! Any bytes as a compressed body, and as a body: decoding gives exactly the declared size or an error, and what was
//! compressed comes back as it was. Owns this rule alone; it must never know what a peer is.

use np_compress::{Adaptive, Algorithm, Caps, Compressor, Decompressor, Encoder, Packed, Settings};

/// Small enough that no input takes long, and wide enough that the decoders are reached.
const CAPS: Caps = Caps { max_message: 1 << 20, max_ratio: 32_768 };

/// Gives whether the bytes are a compressed body: one byte names the algorithm, three the declared size, and the rest is
/// compressed.
pub(crate) fn target(data: &[u8]) -> bool {
    for encoder in [Encoder::Lz4, Encoder::Zstd { level: 1 }, Encoder::Zstd { level: 7 }] {
        comes_back(encoder, data);
    }
    let Some(([algorithm, declared @ ..], compressed)) = data.split_first_chunk::<4>() else {
        return false;
    };
    let algorithm = if algorithm & 1 == 0 { Algorithm::Lz4 } else { Algorithm::Zstd };
    let [low, middle, high] = *declared;
    let declared = u32::from_le_bytes([low, middle, high, 0]);
    let mut decompressor = Decompressor::new();
    let first = decompressor.decompress(algorithm, declared, compressed, CAPS);
    let again = decompressor.decompress(algorithm, declared, compressed, CAPS);
    assert_eq!(first, again, "a decoder remembers the body before");
    first.is_ok_and(|body| {
        assert_eq!(body.len(), declared as usize);
        assert!(declared <= CAPS.max_message);
        comes_back(Encoder::Lz4, &body);
        true
    })
}

fn comes_back(encoder: Encoder, body: &[u8]) {
    let settings = Settings { encoder, threshold: 1, max_ratio: CAPS.max_ratio, adaptive: false };
    let mut compressor = Compressor::new(settings).expect("settings in their ranges");
    if let Packed::Compressed { raw, bytes } = compressor.compress(body, &mut Adaptive::new()) {
        assert!(bytes.len() < body.len());
        let read = Decompressor::new().decompress(encoder.algorithm(), raw, &bytes, CAPS);
        assert!(read.is_ok_and(|read| read == body), "{encoder:?} gives another body");
    }
}
