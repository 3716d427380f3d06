//! The tables of `docs/PROTOCOL.md` say what the code does.

use np_types::{
    CloseCode, Codec, LimitName, Limits, MAX_METHOD_BYTES, MAX_METHODS, Malformed, Metadata, MethodName, PublicKey,
    Status,
};
use np_wire::{
    FrameKind, MAGIC, MAX_HANDSHAKE_MESSAGE, MAX_KEY_ID, MAX_RECORD, MAX_TEXT, Settings, WireError, decode_frame,
};

const PAGE: &str = include_str!("../../../../docs/PROTOCOL.md");

/// The rows under `heading` whose first cell begins with a digit or a back quote, their cells without back quotes.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let from = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let section = from.take_while(|line| !line.starts_with('#'));
    let table = section.filter(|line| line.starts_with("| `") || line.strip_prefix("| ").is_some_and(is_number));
    table.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

fn is_number(row: &str) -> bool {
    row.starts_with(|first: char| first.is_ascii_digit())
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => text.replace(',', "").parse().unwrap(),
    }
}

/// `GoAway` as `GO_AWAY`.
fn shouted(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_uppercase());
    }
    out
}

#[test]
fn every_kind_has_its_row_and_its_section() {
    let rows: Vec<_> = rows("## Frames").into_iter().filter(|row| row[0].starts_with("0x")).collect();
    let told: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].clone(), row[2] == "yes")).collect();
    let kinds = FrameKind::ALL.iter();
    let real: Vec<_> =
        kinds.map(|kind| (u64::from(kind.to_wire()), shouted(&format!("{kind:?}")), kind.has_stream())).collect();
    assert_eq!(told, real);
    let sections: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("### ")).take(real.len()).collect();
    assert_eq!(sections, real.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>());
}

#[test]
fn every_kind_takes_the_flags_of_its_row_and_no_others() {
    for row in rows("## Frames").iter().filter(|row| row[0].starts_with("0x")) {
        let told = row[3].split(", ").filter(|flag| *flag != "none");
        let told: u64 = told.map(|flag| number(flag.split_whitespace().next().unwrap())).sum();
        for flag in [1, 2, 4] {
            let first = (number(&row[0]) << 3 | flag) as u8;
            let refused = Err(WireError::Malformed(Malformed::Value("the flags of a frame")));
            // A stream id and a length, or a length and a byte too many: only the flags are looked at.
            let taken = decode_frame(&[first, 0, 0]) != refused;
            assert_eq!(taken, told & flag != 0, "{row:?} flag {flag}");
        }
    }
}

#[test]
fn every_status_has_its_row() {
    let told: Vec<_> = rows("### Status").iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    let real = Status::ALL.iter().map(|status| (u64::from(status.to_wire()), status.name().to_owned()));
    assert_eq!(told, real.collect::<Vec<_>>());
}

#[test]
fn every_close_code_has_its_row() {
    let told: Vec<_> = rows("### Close code").iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    let real = CloseCode::ALL.iter().map(|code| (u64::from(code.to_wire()), code.name().to_owned()));
    assert_eq!(told, real.collect::<Vec<_>>());
}

#[test]
fn every_setting_has_its_row() {
    let mut bytes = Vec::new();
    let settings = Settings { max_message: 11, max_calls: 12, stream_window: 13, connection_window: 14, encodings: 6 };
    settings.encode(&mut bytes);
    let real: Vec<_> = bytes.chunks(2).map(|pair| (u64::from(pair[0]), pair[1])).collect();
    let told: Vec<_> = rows("### SETTINGS").iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    let value = |name: &str| match name {
        "max_message" => 11,
        "max_calls" => 12,
        "stream_window" => 13,
        "connection_window" => 14,
        "encodings" => 6,
        other => panic!("no setting {other}"),
    };
    assert_eq!(told.iter().map(|(id, name)| (*id, value(name))).collect::<Vec<_>>(), real);
}

#[test]
fn every_codec_has_its_row() {
    let rows: Vec<_> = rows("## Frames").into_iter().filter(|row| row.len() == 6).collect();
    let known = (0..16).map(Codec::from_wire).filter(|codec| !matches!(codec, Codec::Other(_))).count();
    assert_eq!(rows.len(), known);
    for row in rows {
        let codec = Codec::from_wire(number(&row[0]) as u8).to_string();
        assert!(row[1].to_lowercase().starts_with(&codec), "{row:?} is {codec}");
    }
}

#[test]
fn every_limit_has_its_height() {
    let told: Vec<_> = rows("## Limits").iter().map(|row| (row[0].clone(), number(&row[1]))).collect();
    let real = [
        (LimitName::HandshakeMessage, MAX_HANDSHAKE_MESSAGE as u64),
        (LimitName::KeyId, MAX_KEY_ID as u64),
        (LimitName::Record, MAX_RECORD as u64),
        (LimitName::Settings, 32),
        (LimitName::Text, MAX_TEXT as u64),
        (LimitName::MethodName, MethodName::MAX as u64),
        (LimitName::MaxMethods, u64::from(MAX_METHODS)),
        (LimitName::MaxMethodBytes, u64::from(MAX_METHOD_BYTES)),
        (LimitName::Metadata, Metadata::MAX_BYTES as u64),
    ];
    assert_eq!(told, real.map(|(limit, height)| (limit.name().to_owned(), height)));
}

#[test]
fn the_magic_is_as_written() {
    let hex: Vec<_> = MAGIC.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(PAGE.contains(&format!("`{}`", hex.join(" "))));
}

/// A setting of this name with this value; the others fit beside the smallest and the largest.
fn limits(name: &str, value: u64) -> Limits {
    let value32 = u32::try_from(value).unwrap();
    let mut limits =
        Limits { max_window: 1 << 30, reassembly_budget: 1 << 30, call_budget: u32::MAX, ..Limits::default() };
    match name {
        "max_message" => limits.max_message = value32,
        "max_calls" => limits.max_calls = value32,
        "stream_window" => (limits.stream_window, limits.connection_window) = (value32, (2 * value32).min(1 << 30)),
        "connection_window" => (limits.stream_window, limits.connection_window) = (1 << 10, value32),
        "max_window" => (limits.stream_window, limits.max_window) = (1 << 10, value32),
        "reassembly_budget" => (limits.max_message, limits.reassembly_budget) = (1 << 10, value32),
        "call_budget" => (limits.max_message, limits.call_budget) = (1 << 10, value32),
        "useless_acts" => limits.useless_acts = value32,
        "pad_records_to" => limits.pad_records_to = u16::try_from(value).unwrap(),
        other => panic!("no setting {other}"),
    }
    limits
}

#[test]
fn every_setting_of_np_has_its_default_and_its_range() {
    let usual = Limits::default();
    let usual = |name: &str| match name {
        "max_message" => usual.max_message,
        "max_calls" => usual.max_calls,
        "stream_window" => usual.stream_window,
        "connection_window" => usual.connection_window,
        "max_window" => usual.max_window,
        "reassembly_budget" => usual.reassembly_budget,
        "call_budget" => usual.call_budget,
        "useless_acts" => usual.useless_acts,
        "pad_records_to" => u32::from(usual.pad_records_to),
        other => panic!("no setting {other}"),
    };
    let rows = rows("### Settings of np");
    assert_eq!(rows.len(), 9);
    for row in rows {
        let name = row[0].as_str();
        assert_eq!(number(&row[1]), u64::from(usual(name)), "{name}");
        let refused = |value| limits(name, value).problems().iter().any(|problem| problem.setting == name);
        let least = number(&row[2]);
        assert!(!refused(least) && (least == 0 || refused(least - 1)), "{name}: the least");
        if !row[3].is_empty() {
            let most = number(&row[3]);
            // Half of it has to be a window of a stream as well.
            let fits = name == "stream_window" || !refused(most);
            assert!(fits && refused(most + 1), "{name}: the most");
        }
    }
}

#[test]
fn the_text_of_a_key_is_as_written() {
    let public = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13";
    let bytes: Vec<_> = (0..64).step_by(2).map(|at| u8::from_str_radix(&public[at..at + 2], 16).unwrap()).collect();
    let key = PublicKey::from_bytes(bytes.try_into().unwrap());
    assert!(PAGE.contains(&format!("`{key}`")), "{key}");
}
