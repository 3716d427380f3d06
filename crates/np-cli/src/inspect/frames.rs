//! What is shown of a preface, a refusal and a frame: fields by name. Must never show a body, and of metadata the keys
//! alone.

use std::collections::HashMap;

use np_facade::raw::wire::{
    Choices, Encoding, Frame, FrameKind, Open, OpenKind, Preface, Refusal, RemainingTime, Response, Settings,
    Side as WireSide, StreamId, Trailers, Versions,
};
use np_facade::{Codec, Metadata, Pattern, Suite, escape};
use serde_json::{Value, json};

use super::dissect::{Fields, MAX_TEXT, Side};

/// The names of methods that are remembered of one direction: as many as the protocol allows.
const MAX_NAMES: usize = 1_024;

/// What a preface says in every version.
pub(super) fn versions(versions: Versions) -> Fields {
    vec![("version", json!(versions.used)), ("versions", json!(format!("{} to {}", versions.min, versions.max)))]
}

pub(super) fn preface(preface: &Preface) -> Fields {
    let mut fields = versions(Versions { min: preface.min_version, max: preface.max_version, used: preface.version });
    fields.extend([
        ("suite", suite(preface.suite)),
        ("pattern", pattern(preface.pattern)),
        ("time_ms", json!(preface.time.0)),
        ("nonce", hex(&preface.nonce)),
    ]);
    if preface.hint != [0; 4] {
        fields.push(("hint", hex(&preface.hint)));
    }
    // In KK it is a key, and else a text.
    match std::str::from_utf8(&preface.key_id) {
        Ok("") => {}
        Ok(id) if Pattern::from_wire(preface.pattern) != Some(Pattern::KK) => {
            fields.push(("key_id", json!(escape(id, MAX_TEXT))));
        }
        _ => fields.push(("key_id", hex(&preface.key_id))),
    }
    fields
}

pub(super) fn choices(choices: &Choices) -> Fields {
    vec![("version", json!(choices.version)), ("suite", suite(choices.suite)), ("pattern", pattern(choices.pattern))]
}

pub(super) fn refusal(refusal: &Refusal<'_>) -> Fields {
    vec![
        ("code", json!(refusal.code.to_string())),
        ("versions", json!(format!("{} to {}", refusal.min_version, refusal.max_version))),
        ("text", text(refusal.text)),
    ]
}

fn suite(number: u8) -> Value {
    Suite::from_wire(number).map_or_else(|| json!(number), |suite| json!(suite.as_str()))
}

fn pattern(number: u8) -> Value {
    Pattern::from_wire(number).map_or_else(|| json!(number), |pattern| json!(pattern.name()))
}

fn hex(bytes: &[u8]) -> Value {
    json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn text(text: &str) -> Value {
    json!(escape(text, MAX_TEXT))
}

/// What a direction has said so far that later frames refer to: names of methods, and how many streams it opened.
#[derive(Debug, Default)]
pub(super) struct Names {
    methods: HashMap<u32, String>,
    opened: u64,
    server: bool,
}

impl Names {
    /// Whose direction it is.
    pub(super) fn side(&mut self, side: Side) {
        self.server = side == Side::Server;
    }

    /// The name of a frame as the protocol's page has it, and its fields.
    pub(super) fn frame(&mut self, frame: &Frame<'_>) -> (String, Fields) {
        let named = |kind: FrameKind, fields| (name(kind).to_owned(), fields);
        match frame {
            Frame::Padding(zeros) => named(FrameKind::Padding, vec![("zeros", json!(zeros))]),
            Frame::Settings(settings) => named(FrameKind::Settings, of_settings(settings)),
            Frame::Close { code, text: said } => {
                let mut fields = vec![("code", json!(code.to_string()))];
                fields.extend((!said.is_empty()).then(|| ("text", text(said))));
                named(FrameKind::Close, fields)
            }
            Frame::GoAway { accepted, code } => {
                named(FrameKind::GoAway, vec![("accepted", json!(accepted)), ("code", json!(code.to_string()))])
            }
            Frame::Ping(token) => named(FrameKind::Ping, vec![("token", json!(token))]),
            Frame::Pong(token) => named(FrameKind::Pong, vec![("token", json!(token))]),
            Frame::KeyUpdate => named(FrameKind::KeyUpdate, Fields::new()),
            Frame::Method { number, name } => {
                if self.methods.len() < MAX_NAMES {
                    self.methods.insert(*number, escape(name, MAX_TEXT));
                }
                named(FrameKind::Method, vec![("number", json!(number)), ("name", text(name))])
            }
            Frame::Open(open) => self.open(open),
            Frame::ConnectionCredit(bytes) => named(FrameKind::ConnectionCredit, vec![("bytes", json!(bytes))]),
            Frame::CallAllowance(calls) => named(FrameKind::CallAllowance, vec![("calls", json!(calls))]),
            Frame::Response(response) => named(FrameKind::Response, of_response(response)),
            Frame::Data { id, fin, end, body } => {
                let mut fields = vec![("stream", stream(*id)), ("body", json!(body.len()))];
                fields.extend(end.then_some(("end", json!(true))));
                fields.extend(fin.then_some(("fin", json!(true))));
                named(FrameKind::Data, fields)
            }
            Frame::Trailers(trailers) => named(FrameKind::Trailers, of_trailers(trailers)),
            Frame::Cancel { id, status } => {
                named(FrameKind::Cancel, vec![("stream", stream(*id)), ("status", json!(status.to_string()))])
            }
            Frame::StreamCredit { id, bytes } => {
                named(FrameKind::StreamCredit, vec![("stream", stream(*id)), ("bytes", json!(bytes))])
            }
            Frame::Compressed { id, encoding, end, body } => {
                let mut fields = vec![("stream", stream(*id)), ("body", json!(body.len()))];
                fields.extend(of_encoding(*encoding));
                fields.extend(end.then_some(("end", json!(true))));
                named(FrameKind::Compressed, fields)
            }
            Frame::Unknown { kind, .. } => (format!("unknown 0x{kind:02x}"), Fields::new()),
            // What later versions add says at least what it is.
            other => (escape(&format!("{other:?}"), 40), Fields::new()),
        }
    }

    /// Its stream's id is implied: the next of its opener.
    fn open(&mut self, open: &Open<'_>) -> (String, Fields) {
        let kind = match open.kind {
            OpenKind::Request => FrameKind::Request,
            OpenKind::OneWay => FrameKind::OneWay,
            OpenKind::Stream => FrameKind::Stream,
        };
        let opener = if self.server { WireSide::Responder } else { WireSide::Initiator };
        let id = StreamId::new(opener, self.opened);
        self.opened = self.opened.saturating_add(1) & (u64::MAX >> 1);
        let method = self.methods.get(&open.method).map_or_else(|| json!(open.method), |name| json!(name));
        let mut fields = vec![("stream", stream(id)), ("method", method), ("codec", codec(open.codec))];
        fields.extend(of_encoding(open.encoding));
        match open.remaining {
            RemainingTime::Default => {}
            RemainingTime::Millis(millis) => fields.push(("time_left_ms", json!(millis))),
            RemainingTime::Unlimited => fields.push(("no_deadline", json!(true))),
        }
        fields.extend(open.total.map(|total| ("total", json!(total))));
        fields.extend(metadata(&open.metadata));
        fields.push(("body", json!(open.body.len())));
        (name(kind).to_owned(), fields)
    }
}

fn of_settings(settings: &Settings) -> Fields {
    vec![
        ("max_message", json!(settings.max_message)),
        ("max_calls", json!(settings.max_calls)),
        ("stream_window", json!(settings.stream_window)),
        ("connection_window", json!(settings.connection_window)),
        ("encodings", json!(settings.encodings)),
    ]
}

fn of_response(response: &Response<'_>) -> Fields {
    let mut fields = vec![("stream", stream(response.id)), ("codec", codec(response.codec))];
    fields.extend(of_encoding(response.encoding));
    fields.extend(response.total.map(|total| ("total", json!(total))));
    fields.extend(metadata(&response.metadata));
    fields.push(("body", json!(response.body.len())));
    fields
}

fn of_trailers(trailers: &Trailers<'_>) -> Fields {
    let mut fields = vec![("stream", stream(trailers.id)), ("status", json!(trailers.status.to_string()))];
    fields.extend(metadata(&trailers.metadata));
    if !trailers.text.is_empty() {
        fields.push(("text", text(trailers.text)));
    }
    fields
}

/// The number of a stream as it travels: even where the client opened it, odd where the server did.
fn stream(id: StreamId) -> Value {
    json!(id.to_wire())
}

fn codec(codec: Codec) -> Value {
    json!(format!("{codec:?}").to_lowercase())
}

fn of_encoding(encoding: Encoding) -> Fields {
    let name = match encoding {
        Encoding::Plain => return Fields::new(),
        Encoding::Lz4 { .. } => "lz4".to_owned(),
        Encoding::Zstd { .. } => "zstd".to_owned(),
        Encoding::Other { number, .. } => number.to_string(),
    };
    vec![("encoding", json!(name)), ("decompressed", json!(encoding.raw_size()))]
}

fn metadata(pairs: &Metadata) -> Option<(&'static str, Value)> {
    let keys: Vec<String> = pairs.iter().map(|(key, _)| escape(key, MAX_TEXT)).collect();
    (!keys.is_empty()).then(|| ("metadata", json!(keys)))
}

/// The name of a kind, as the protocol's page has it.
const fn name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Padding => "PADDING",
        FrameKind::Settings => "SETTINGS",
        FrameKind::Close => "CLOSE",
        FrameKind::GoAway => "GO_AWAY",
        FrameKind::Ping => "PING",
        FrameKind::Pong => "PONG",
        FrameKind::KeyUpdate => "KEY_UPDATE",
        FrameKind::Method => "METHOD",
        FrameKind::Request => "REQUEST",
        FrameKind::OneWay => "ONE_WAY",
        FrameKind::Stream => "STREAM",
        FrameKind::ConnectionCredit => "CONNECTION_CREDIT",
        FrameKind::CallAllowance => "CALL_ALLOWANCE",
        FrameKind::Response => "RESPONSE",
        FrameKind::Data => "DATA",
        FrameKind::Trailers => "TRAILERS",
        FrameKind::Cancel => "CANCEL",
        FrameKind::StreamCredit => "STREAM_CREDIT",
        FrameKind::Compressed => "COMPRESSED",
        // A kind of a later version of np-wire.
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use np_facade::raw::wire::FrameKind;

    use super::name;

    #[test]
    fn every_kind_has_the_name_of_the_protocols_page() {
        let page = include_str!("../../../../docs/PROTOCOL.md");
        for kind in FrameKind::ALL {
            let row = format!("| `0x{:02x}` | {} |", kind.to_wire(), name(*kind));
            assert!(page.contains(&row), "{row}");
        }
    }
}
