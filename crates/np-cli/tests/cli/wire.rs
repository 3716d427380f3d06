//! Conversations to look into: those of the protocol's vectors with the keys that their handshakes agree on, what a relay
//! recorded of a real one, and captures of them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use np_facade::raw::noise::{Crypto, Handshake, Keypair, Keys, Pattern, Role, Suite};
use np_facade::raw::wire::Choices;
use np_facade::{Psk, SecretKey};
use serde_json::Value;

/// What one side said at once.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) client: bool,
    pub(crate) bytes: Vec<u8>,
}

/// A conversation, and the line that a key log holds of it.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) name: String,
    pub(crate) said: Vec<Said>,
    pub(crate) key_line: String,
}

impl Conversation {
    /// All that one side said.
    pub(crate) fn of(&self, client: bool) -> Vec<u8> {
        self.said.iter().filter(|said| said.client == client).flat_map(|said| said.bytes.clone()).collect()
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The conversations of `docs/vectors`, but those inside TLS, of which a capture shows nothing.
pub(crate) fn conversations() -> Vec<Conversation> {
    let all: Value = serde_json::from_str(include_str!("../../../../docs/vectors/conversations.json")).unwrap();
    all.as_array().unwrap().iter().filter(|it| it["outer_binding"].is_null()).map(conversation).collect()
}

/// The one in this pattern and suite.
pub(crate) fn conversation_in(name: &str) -> Conversation {
    conversations().into_iter().find(|it| it.name == name).unwrap()
}

fn conversation(vector: &Value) -> Conversation {
    let said: Vec<Said> = vector["said"]
        .as_array()
        .unwrap()
        .iter()
        .map(|said| Said { client: said["from"] == "initiator", bytes: unhex(&said["bytes"]) })
        .collect();
    let key_line = key_line(vector, &said);
    Conversation { name: vector["protocol_name"].as_str().unwrap().to_owned(), said, key_line }
}

/// Goes through the handshake again as the server, which is how the keys are come by.
fn key_line(vector: &Value, said: &[Said]) -> String {
    let secret = |name: &str| SecretKey::from_bytes(unhex(&vector[name]).try_into().unwrap());
    let name = vector["protocol_name"].as_str().unwrap();
    let suite = if name.contains("AESGCM") { Suite::AesGcm } else { Suite::ChaChaPoly };
    let pattern = Pattern::ALL.into_iter().find(|it| vector["pattern"] == it.name()).unwrap();
    let [server, client] = ["server_static_secret", "client_static_secret"].map(|it| Keypair::from_secret(secret(it)));
    let psk = vector["psk"].is_string().then(|| Psk::from_bytes(unhex(&vector["psk"]).try_into().unwrap()));
    let keys = Keys {
        local: pattern.needs_local_static(Role::Responder).then_some(&server),
        remote: pattern.needs_remote_static(Role::Responder).then(|| client.public()),
        psk: psk.as_ref(),
    };
    let (prologue, ephemeral) = (unhex(&vector["prologue"]), secret("server_ephemeral_secret"));
    let crypto = Crypto { suite, ..Crypto::default() };
    let mut handshake = Handshake::with(crypto, pattern, Role::Responder, &prologue, keys, ephemeral).unwrap();
    let choices = Choices { version: 1, suite: suite.to_wire(), pattern: pattern.to_wire() };
    // Three bytes stand before a message, and the preface before the first.
    let first = &said[0].bytes[prologue.len() + 3..];
    handshake.read_message(first, &mut Vec::new()).unwrap();
    handshake.write_message(&choices.encode(), &mut Vec::new()).unwrap();
    if pattern.messages() == 3 {
        handshake.read_message(&said[2].bytes[3..], &mut Vec::new()).unwrap();
    }
    let keys = handshake.danger_traffic_keys().unwrap();
    let nonce = &prologue[17..33];
    format!("NP_TRAFFIC_KEYS {} {} {}\n", hex(nonce), hex(keys.initiator.as_slice()), hex(keys.responder.as_slice()))
}

/// Stands between a client and a server, and writes down what they say.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    said: Arc<Mutex<Vec<Said>>>,
    thread: thread::JoinHandle<()>,
}

impl Recorder {
    /// Before the server at this port of this machine, for one connection.
    pub(crate) fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().port();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let thread = thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let copy = |client, mut from: TcpStream, mut to: TcpStream| {
                let heard = Arc::clone(&heard);
                thread::spawn(move || {
                    let mut buffer = [0; 4_096];
                    while let Ok(size @ 1..) = from.read(&mut buffer) {
                        heard.lock().unwrap().push(Said { client, bytes: buffer[..size].to_vec() });
                        if to.write_all(&buffer[..size]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                })
            };
            let forth = copy(true, client.try_clone().unwrap(), server.try_clone().unwrap());
            let back = copy(false, server, client);
            forth.join().unwrap();
            back.join().unwrap();
        });
        Self { port: at, said, thread }
    }

    /// What was said, once both ends are gone.
    pub(crate) fn said(self) -> Vec<Said> {
        self.thread.join().unwrap();
        Arc::into_inner(self.said).unwrap().into_inner().unwrap()
    }
}

/// The kinds of link that a capture may be of.
pub(crate) const LINKS: [u32; 8] = [0, 1, 101, 108, 113, 228, 229, 276];

/// The packets of a connection over TCP to this port: from SYN to FIN, what was said in pieces of `piece` bytes.
pub(crate) fn packets(said: &[Said], link: u32, port: u16, piece: usize) -> Vec<Vec<u8>> {
    // Numbers that go round within the conversation.
    let (mut client, mut server) = (u32::MAX - 100, 7_000);
    let mut all = Vec::new();
    let mut push = |from_client: bool, flags: u8, payload: &[u8], advance: u32| {
        let (own, other) = if from_client { (&mut client, &server) } else { (&mut server, &client) };
        all.push(packet(link, from_client, port, [*own, *other], flags, payload));
        *own = own.wrapping_add(advance);
    };
    push(true, 0x02, &[], 1);
    push(false, 0x12, &[], 1);
    for Said { client, bytes } in said {
        for piece in bytes.chunks(piece) {
            push(*client, 0x18, piece, piece.len() as u32);
        }
    }
    push(true, 0x11, &[], 1);
    push(false, 0x11, &[], 1);
    all
}

fn packet(link: u32, from_client: bool, port: u16, [seq, ack]: [u32; 2], flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports = if from_client { [40_000, port] } else { [port, 40_000] };
    let mut tcp = [ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat();
    tcp.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    let v6 = link == 229;
    let mut ip = if v6 {
        let mut ip = vec![0x60, 0, 0, 0];
        // An empty header of options for the end stands before TCP.
        ip.extend((tcp.len() as u16 + 8).to_be_bytes());
        ip.extend([60, 64]);
        let ends = [[0; 15].as_slice(), &[1]].concat();
        ip.extend([ends.clone(), ends].concat());
        ip.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        ip
    } else {
        let mut ip = vec![0x45, 0];
        ip.extend((tcp.len() as u16 + 20).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        ip
    };
    ip.extend(tcp);
    let kind = if v6 { [0x86, 0xdd] } else { [8, 0] };
    let head = match link {
        0 => vec![2, 0, 0, 0],
        108 => vec![0, 0, 0, 2],
        // With a tag of a virtual network.
        1 => [[0; 12].as_slice(), &[0x81, 0, 0, 7], &kind].concat(),
        113 => [[0; 14].as_slice(), &kind].concat(),
        276 => [kind.as_slice(), &[0; 18]].concat(),
        _ => Vec::new(),
    };
    [head, ip].concat()
}

/// A capture of these packets, a millisecond apart, as pcap.
pub(crate) fn pcap(packets: &[Vec<u8>], link: u32, big: bool) -> Vec<u8> {
    let u32 = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let u16 = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = [u32(0xa1b2_c3d4), [u16(2), u16(4)].concat().try_into().unwrap()].concat();
    file.extend([u32(0), u32(0), u32(262_144), u32(link)].concat());
    for (at, packet) in packets.iter().enumerate() {
        let size = packet.len() as u32;
        file.extend([u32(1_800_000_000), u32(at as u32 * 1_000), u32(size), u32(size)].concat());
        file.extend(packet);
    }
    file
}

/// The same as pcapng, with a block that nobody knows before the packets.
pub(crate) fn pcapng(packets: &[Vec<u8>], link: u32) -> Vec<u8> {
    let block = |kind: u32, mut body: Vec<u8>| {
        let size = (body.len().next_multiple_of(4) + 12) as u32;
        body.resize(size as usize - 12, 0);
        [&kind.to_le_bytes(), &size.to_le_bytes(), body.as_slice(), &size.to_le_bytes()].concat()
    };
    let section = [0x1a2b_3c4d_u32.to_le_bytes(), [1, 0, 0, 0], [0xff; 4], [0xff; 4]].concat();
    let mut file = block(0x0a0d_0d0a, section);
    // Times in nanoseconds.
    let interface = [[link as u8, (link >> 8) as u8, 0, 0], [0, 0, 4, 0], [9, 0, 1, 0], [9, 0, 0, 0], [0; 4]].concat();
    file.extend(block(1, interface));
    file.extend(block(0xbad, vec![1, 2, 3]));
    for (at, packet) in packets.iter().enumerate() {
        let time = 1_800_000_000_000_000_000_u64 + at as u64 * 1_000_000;
        let size = (packet.len() as u32).to_le_bytes();
        let head = [[0; 4], ((time >> 32) as u32).to_le_bytes(), (time as u32).to_le_bytes(), size, size].concat();
        file.extend(block(6, [head, packet.clone()].concat()));
    }
    file
}
