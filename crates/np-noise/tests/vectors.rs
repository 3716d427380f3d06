//! Published test vectors, byte for byte and by every provider: those in the package of `snow`, and those of the folder in
//! `EXTRA_VECTORS`.
#![cfg(test)]

#[path = "common/cargo.rs"]
mod cargo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use np_noise::{Crypto, Handshake, Keypair, Keys, PROVIDERS, Pattern, Role, Suite, Traffic};
use np_types::{Psk, PublicKey, SecretKey};
use serde_json::Value;

/// One vector, whatever the form of its file.
struct Vector {
    suite: Suite,
    pattern: Pattern,
    sides: [Side; 2],
    psk: Option<[u8; 32]>,
    hash: Option<Vec<u8>>,
    messages: Vec<Message>,
    /// Who writes the first message after the handshake: in flynn's form always the initiator.
    initiator_opens_traffic: bool,
}

struct Side {
    prologue: Vec<u8>,
    local: Option<[u8; 32]>,
    remote: Option<[u8; 32]>,
    ephemeral: [u8; 32],
}

struct Message {
    payload: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// Per suite and pattern: passed and offered.
type Tally = BTreeMap<(&'static str, &'static str), (usize, usize)>;

/// How many vectors the files of cacophony and snow hold together, in each suite, for each pattern that np offers.
const JSON: [(&str, usize); 8] =
    [("IK", 2), ("IKpsk2", 1), ("KK", 2), ("NK", 2), ("NN", 2), ("NNpsk0", 1), ("XX", 2), ("XXpsk3", 1)];

#[test]
fn the_vectors_in_the_package_of_snow_pass() {
    let folder = snow_package().join("tests/vectors");
    let mut tally = Tally::new();
    for file in ["cacophony.txt", "snow.txt"] {
        let text = std::fs::read_to_string(folder.join(file)).expect(file);
        run(&from_json(&text), &mut tally);
    }
    report("snow 0.10.0", &tally, &Suite::ALL, &JSON);
}

#[test]
fn the_extra_vectors_pass() {
    let Some(folder) = std::env::var_os("EXTRA_VECTORS") else {
        println!("NOT RUN: the vectors of flynn, since EXTRA_VECTORS names no folder that holds them");
        return;
    };
    let folder = PathBuf::from(folder).join("noise");
    let (mut json, mut blocks) = (Tally::new(), Tally::new());
    for entry in std::fs::read_dir(&folder).expect("EXTRA_VECTORS holds a folder noise") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        if path.extension().is_some_and(|e| e == "json") {
            run(&from_json(&text), &mut json);
        } else if name.starts_with("flynn") {
            run(&from_blocks(&text), &mut blocks);
        }
    }
    let suites = [Suite::ChaChaPoly];
    report("EXTRA_VECTORS, cacophony and snow", &json, &suites, &JSON);
    // With and without prologue, with and without payloads.
    report("EXTRA_VECTORS, flynn", &blocks, &suites, &Pattern::ALL.map(|pattern| (pattern.name(), 4)));
}

/// Every pattern has as many vectors as its source holds, and all of them pass: a reader that finds fewer has gone blind.
fn report(source: &str, tally: &Tally, suites: &[Suite], expected: &[(&str, usize)]) {
    println!("{source}, by {} providers:", PROVIDERS.len());
    for ((suite, pattern), (passed, offered)) in tally {
        println!("  {suite} {pattern} {passed}/{offered}");
    }
    assert_eq!(tally.len(), suites.len() * Pattern::ALL.len(), "{source}: patterns are missing");
    for suite in suites {
        for (pattern, count) in expected {
            let found = tally.get(&(suite.as_str(), pattern));
            assert_eq!(found, Some(&(*count, *count)), "{source}, {suite}, {pattern}: passed and found");
        }
    }
}

fn run(vectors: &[Vector], tally: &mut Tally) {
    for vector in vectors {
        let count = tally.entry((vector.suite.as_str(), vector.pattern.name())).or_default();
        count.1 += 1;
        match by_every_provider(vector) {
            Ok(()) => count.0 += 1,
            Err(error) => println!("  {} {}: {error}", vector.suite, vector.pattern.name()),
        }
    }
}

/// Each provider against itself and against each other.
fn by_every_provider(vector: &Vector) -> Result<(), String> {
    for initiator in PROVIDERS {
        for responder in PROVIDERS {
            let cryptos = [initiator, responder].map(|provider| Crypto { suite: vector.suite, provider: *provider });
            play(vector, cryptos).map_err(|error| format!("{} to {}: {error}", initiator.name(), responder.name()))?;
        }
    }
    Ok(())
}

/// Both sides speak the vector's part; every byte that either writes must be the published one.
fn play(vector: &Vector, cryptos: [Crypto; 2]) -> Result<(), String> {
    let fail = |what: &str, index: usize| format!("message {index}: {what}");
    let mut initiator = handshake(vector, cryptos[0], Role::Initiator)?;
    let mut responder = handshake(vector, cryptos[1], Role::Responder)?;
    let (first, rest) = vector.messages.split_at(vector.pattern.messages());
    for (index, message) in first.iter().enumerate() {
        let (from, to) =
            if index % 2 == 0 { (&mut initiator, &mut responder) } else { (&mut responder, &mut initiator) };
        let (mut written, mut read) = (Vec::new(), Vec::new());
        from.write_message(&message.payload, &mut written).map_err(|e| fail(&e.to_string(), index))?;
        to.read_message(&message.ciphertext, &mut read).map_err(|e| fail(&e.to_string(), index))?;
        if written != message.ciphertext || read != message.payload {
            return Err(fail("other bytes", index));
        }
    }
    let mut ends = [initiator, responder].map(|side| side.finish().expect("finished"));
    for end in &ends {
        if vector.hash.as_ref().is_some_and(|hash| *hash != end.hash) {
            return Err("another handshake hash".into());
        }
    }
    let offset = if vector.initiator_opens_traffic { 0 } else { first.len() };
    for (index, message) in rest.iter().enumerate() {
        let [initiator, responder] = &mut ends;
        let (from, to) = if (offset + index) % 2 == 0 { (initiator, responder) } else { (responder, initiator) };
        transport(from, to, message).map_err(|e| fail(&e, first.len() + index))?;
    }
    if rest.len() < 2 {
        return Err("no traffic in both directions".into());
    }
    Ok(())
}

fn transport(from: &mut Traffic, to: &mut Traffic, message: &Message) -> Result<(), String> {
    let mut record = message.payload.clone();
    let tag = from.send.seal_in_place(&mut record).map_err(|e| e.to_string())?;
    record.extend_from_slice(&tag);
    if record != message.ciphertext {
        return Err("other bytes".into());
    }
    let opened = to.receive.open_in_place(&mut record).map_err(|e| e.to_string())?;
    (opened == message.payload).then_some(()).ok_or_else(|| "another payload".into())
}

fn handshake(vector: &Vector, crypto: Crypto, role: Role) -> Result<Handshake, String> {
    let side = match role {
        Role::Initiator => &vector.sides[0],
        Role::Responder => &vector.sides[1],
    };
    let local = side.local.map(|key| Keypair::new(crypto.provider, &SecretKey::from_bytes(key)));
    let psk = vector.psk.map(Psk::from_bytes);
    let keys = Keys { local: local.as_ref(), remote: side.remote.map(PublicKey::from_bytes), psk: psk.as_ref() };
    let ephemeral = SecretKey::from_bytes(side.ephemeral);
    Handshake::with(crypto, vector.pattern, role, &side.prologue, keys, ephemeral).map_err(|e| e.to_string())
}

/// The form of cacophony and snow.
fn from_json(text: &str) -> Vec<Vector> {
    let file: Value = serde_json::from_str(text).expect("JSON");
    let vectors = file["vectors"].as_array().expect("a list of vectors");
    vectors.iter().filter_map(json_vector).collect()
}

fn json_vector(vector: &Value) -> Option<Vector> {
    let text = |name: &str| vector[name].as_str();
    let key = |name: String| text(&name).map(key);
    let side = |who: &str| Side {
        prologue: text(&format!("{who}_prologue")).map(bytes).unwrap_or_default(),
        local: key(format!("{who}_static")),
        remote: key(format!("{who}_remote_static")),
        // The files hold two-way patterns here, in which each side has one.
        ephemeral: key(format!("{who}_ephemeral")).expect("an ephemeral key"),
    };
    let (suite, pattern) = offered(text("protocol_name")?)?;
    let messages = vector["messages"].as_array().expect("messages").iter();
    Some(Vector {
        suite,
        pattern,
        sides: [side("init"), side("resp")],
        psk: vector["init_psks"][0].as_str().map(self::key),
        hash: text("handshake_hash").map(bytes),
        messages: messages
            .map(|message| Message {
                payload: bytes(message["payload"].as_str().expect("a payload")),
                ciphertext: bytes(message["ciphertext"].as_str().expect("a ciphertext")),
            })
            .collect(),
        initiator_opens_traffic: false,
    })
}

/// The form of flynn: blocks of `key=value` lines.
fn from_blocks(text: &str) -> Vec<Vector> {
    text.split("\n\n").filter_map(block_vector).collect()
}

fn block_vector(block: &str) -> Option<Vector> {
    let fields: BTreeMap<&str, &str> = block.lines().filter_map(|l| l.split_once('=')).collect();
    let (suite, pattern) = offered(fields.get("handshake")?)?;
    let statics = ["init_static", "resp_static"].map(|name| fields.get(name).map(|text| key(text)));
    let side = |own: usize, role: Role, ephemeral: &str| Side {
        prologue: fields.get("prologue").map(|text| bytes(text)).unwrap_or_default(),
        local: statics[own],
        // The file gives no public keys: the other side's follows from its secret.
        remote: statics[1 - own]
            .filter(|_| pattern.needs_remote_static(role))
            .map(|secret| *Keypair::from_secret(SecretKey::from_bytes(secret)).public().as_bytes()),
        ephemeral: key(fields[ephemeral]),
    };
    let messages = (0..)
        .map_while(|index| {
            Some(Message {
                payload: bytes(fields.get(format!("msg_{index}_payload").as_str())?),
                ciphertext: bytes(fields.get(format!("msg_{index}_ciphertext").as_str())?),
            })
        })
        .collect();
    Some(Vector {
        suite,
        pattern,
        sides: [side(0, Role::Initiator, "gen_init_ephemeral"), side(1, Role::Responder, "gen_resp_ephemeral")],
        psk: fields.get("preshared_key").map(|text| key(text)),
        hash: None,
        messages,
        initiator_opens_traffic: true,
    })
}

/// The suite and the pattern of a protocol name, if np offers both.
fn offered(protocol: &str) -> Option<(Suite, Pattern)> {
    let (pattern, suite) = protocol.strip_prefix("Noise_")?.split_once('_')?;
    let suite = Suite::ALL.into_iter().find(|it| it.noise_name() == suite)?;
    let pattern = Pattern::ALL.into_iter().find(|it| it.name() == pattern)?;
    Some((suite, pattern))
}

fn bytes(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex")).collect()
}

fn key(text: &str) -> [u8; 32] {
    bytes(text).try_into().expect("32 bytes")
}

/// Where cargo keeps the package of the dev-dependency `snow`.
fn snow_package() -> PathBuf {
    let metadata = cargo::metadata(&[]);
    let packages = metadata["packages"].as_array().expect("packages");
    let snow = packages
        .iter()
        .find(|package| package["name"] == "snow" && package["version"] == "0.10.0")
        .expect("snow 0.10.0 is a dev-dependency");
    let manifest = Path::new(snow["manifest_path"].as_str().expect("a path"));
    manifest.parent().expect("a folder").to_path_buf()
}
