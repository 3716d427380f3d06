//! How messages are compressed, as arguments say it.

use np_facade::{Compression, CompressionSettings, Encoder};

/// Reads `lz4`, `zstd` or `zstd:LEVEL`.
pub(crate) fn parse_encoder(text: &str) -> Result<Encoder, String> {
    let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    match (name, level) {
        ("lz4", None) => Ok(Encoder::Lz4),
        ("lz4", Some(_)) => Err("lz4 has no levels: write lz4".to_owned()),
        ("zstd", level) => match level.unwrap_or("3").parse() {
            Ok(level @ 1..=19) => Ok(Encoder::Zstd { level }),
            _ => Err("a level of zstd is a number of 1 to 19: zstd:3".to_owned()),
        },
        _ => Err("there are lz4, zstd and zstd:LEVEL".to_owned()),
    }
}

/// Compresses whatever is worth it.
pub(crate) fn always(encoder: Encoder) -> Compression {
    Compression { settings: CompressionSettings { encoder, ..CompressionSettings::default() }, by_default: true }
}

#[cfg(test)]
mod tests {
    use np_facade::Encoder;

    use super::parse_encoder;

    #[test]
    fn encoders_are_read_by_name_and_level() {
        assert_eq!(parse_encoder("lz4"), Ok(Encoder::Lz4));
        assert_eq!(parse_encoder("zstd"), Ok(Encoder::Zstd { level: 3 }));
        assert_eq!(parse_encoder("zstd:19"), Ok(Encoder::Zstd { level: 19 }));
        for text in ["", "gzip", "lz4:1", "zstd:0", "zstd:20", "zstd:", "zstd:x"] {
            assert!(parse_encoder(text).is_err(), "{text}");
        }
    }
}
