//! Prefaces, and what a server makes of them.

use bytes::BytesMut;
use np_noise::{Pattern, Suite};
use np_session::{Handshake, Outer};
use np_types::{CloseCode, PeerIdentity};
use np_wire::Preface;
use serde::Serialize;

use super::{encoded, hex, offering, preface};

/// A preface and what a server makes of it.
#[derive(Debug, Serialize)]
pub(super) struct PrefaceVector {
    about: &'static str,
    /// Whether the server is one of a mode without a handshake of keys.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    plain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<PrefaceFields>,
    bytes: String,
    /// The error of a server that offers every pattern and suite; none where it goes on.
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct PrefaceFields {
    min_version: u8,
    max_version: u8,
    version: u8,
    suite: u8,
    pattern: u8,
    time: u64,
    nonce: String,
    hint: String,
    key_id: String,
}

pub(super) fn prefaces() -> Vec<PrefaceVector> {
    let mut all: Vec<_> = Pattern::ALL
        .iter()
        .map(|pattern| preface_vector(pattern.name(), &preface(Suite::ChaChaPoly, *pattern)))
        .collect();
    all.push(preface_vector("XX in 25519_AESGCM_SHA256", &preface(Suite::AesGcm, Pattern::XX)));
    let xx = || preface(Suite::ChaChaPoly, Pattern::XX);
    let kk = || preface(Suite::ChaChaPoly, Pattern::KK);
    let newer = Preface { min_version: 2, max_version: 3, version: 2, ..xx() };
    let wrong: [(&'static str, Preface, CloseCode); 8] = [
        ("a version that nobody speaks yet", newer.clone(), CloseCode::Version),
        ("a version below its range", Preface { min_version: 2, max_version: 3, ..xx() }, CloseCode::Malformed),
        ("a version above its range", Preface { version: 2, ..xx() }, CloseCode::Malformed),
        ("an unknown suite", Preface { suite: 99, ..xx() }, CloseCode::Incompatible),
        ("an unknown pattern", Preface { pattern: 99, ..xx() }, CloseCode::Incompatible),
        ("a hint in a pattern without one", Preface { hint: [1; 4], ..xx() }, CloseCode::Malformed),
        ("a key id in a pattern without one", Preface { key_id: vec![1], ..xx() }, CloseCode::Malformed),
        ("KK without the client's key", Preface { key_id: Vec::new(), ..kk() }, CloseCode::Malformed),
    ];
    all.extend(wrong.into_iter().map(|(about, preface, code)| {
        let fields = Some(fields(&preface));
        PrefaceVector { fields, ..refused(about, &encoded(&preface), code) }
    }));
    all.extend(refused_early(&encoded(&xx()), &encoded(&newer)));
    all.extend(plain());
    all
}

/// What the modes without a handshake of keys take, and do not.
fn plain() -> Vec<PrefaceVector> {
    let xx = || preface(Suite::ChaChaPoly, Pattern::XX);
    let plain = || Preface { suite: 0, pattern: 0, ..xx() };
    let inside = |about, preface: &Preface, code| {
        let fields = Some(fields(preface));
        PrefaceVector { fields, plain: true, ..judged(about, &encoded(preface), refusal_inside, code) }
    };
    let no_handshake = encoded(&plain());
    vec![
        inside("a mode without a handshake of keys", &plain(), None),
        inside("a pattern there", &Preface { suite: 0, ..xx() }, Some(CloseCode::Incompatible)),
        inside("a suite there", &Preface { pattern: 0, ..xx() }, Some(CloseCode::Incompatible)),
        inside("a hint there", &Preface { hint: [1; 4], ..plain() }, Some(CloseCode::Malformed)),
        inside("a key id there", &Preface { key_id: vec![1], ..plain() }, Some(CloseCode::Malformed)),
        refused(
            "no suite and no pattern where a handshake of keys is asked for",
            &no_handshake,
            CloseCode::Incompatible,
        ),
    ]
}

/// Prefaces that are refused before they are whole, from one of version 1 and one of a version that nobody speaks yet.
fn refused_early(good: &[u8], newer: &[u8]) -> [PrefaceVector; 4] {
    let (mut magic, mut long_id) = (good.to_vec(), good[..Preface::FIXED].to_vec());
    magic[0] = b'N';
    long_id[Preface::FIXED - 1] = 65;
    let newer = &newer[..7];
    // Read as a preface of version 1, its key id would be too long.
    let longer = [newer, &[0xff; 40]].concat();
    [
        refused("a wrong magic", &magic, CloseCode::Malformed),
        refused("a key id above 64 bytes, found at its length", &long_id, CloseCode::LimitExceeded),
        refused("a version that nobody speaks yet, by the seven bytes that each has", newer, CloseCode::Version),
        refused("the same, before bytes that have another meaning there", &longer, CloseCode::Version),
    ]
}

fn refused(about: &'static str, bytes: &[u8], code: CloseCode) -> PrefaceVector {
    judged(about, bytes, refusal, Some(code))
}

fn judged(
    about: &'static str,
    bytes: &[u8],
    judge: fn(&[u8]) -> Option<String>,
    code: Option<CloseCode>,
) -> PrefaceVector {
    let refused = judge(bytes);
    let (found, wanted) = (refused.as_deref().map(|text| text.split(':').next()), code.map(|code| Some(code.name())));
    assert_eq!(found, wanted, "{about}");
    PrefaceVector { about, plain: false, fields: None, bytes: hex(bytes), refused }
}

fn preface_vector(about: &'static str, preface: &Preface) -> PrefaceVector {
    let bytes = encoded(preface);
    PrefaceVector { about, plain: false, fields: Some(fields(preface)), bytes: hex(&bytes), refused: refusal(&bytes) }
}

fn fields(preface: &Preface) -> PrefaceFields {
    PrefaceFields {
        min_version: preface.min_version,
        max_version: preface.max_version,
        version: preface.version,
        suite: preface.suite,
        pattern: preface.pattern,
        time: preface.time.0,
        nonce: hex(&preface.nonce),
        hint: hex(&preface.hint),
        key_id: hex(&preface.key_id),
    }
}

fn refusal(bytes: &[u8]) -> Option<String> {
    let mut server = Handshake::responder(&offering(Pattern::ALL.to_vec()));
    server.handle_bytes(&mut BytesMut::from(bytes));
    server.error().map(|error| format!("{}: {error}", error.close_code()))
}

fn refusal_inside(bytes: &[u8]) -> Option<String> {
    let mut server = Handshake::responder_inside(Outer { peer: PeerIdentity::Anonymous, binding: None });
    server.handle_bytes(&mut BytesMut::from(bytes));
    server.error().map(|error| format!("{}: {error}", error.close_code()))
}
