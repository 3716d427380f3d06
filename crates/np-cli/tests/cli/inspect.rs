//! `np inspect`: the vectors of the protocol, a real conversation with its key log, and what is none.

use serde_json::{Value, json};

use crate::support::{Folder, House, finish, np, run, run_with_input};
use crate::wire::{Conversation, LINKS, Recorder, Said, conversation_in, conversations, hex, packets, pcap, pcapng};

const XX: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// The names of the frames of the records, in the order in which they were said.
fn frames(connection: &Value) -> Vec<String> {
    let items = connection["items"].as_array().unwrap();
    let frames = items.iter().filter_map(|item| item["frames"].as_array());
    let name = |frame: &Value| frame["frame"].as_str().unwrap().to_owned();
    frames.map(|frames| frames.iter().map(name).collect::<Vec<_>>().join(" ")).collect()
}

/// What the vectors say, each record's frames in one text.
fn expected(wanted: &[&str]) -> Vec<String> {
    wanted.iter().map(|text| (*text).to_owned()).collect()
}

const OF_BOTH: [&str; 5] = ["SETTINGS", "SETTINGS", "METHOD REQUEST KEY_UPDATE", "RESPONSE", "CLOSE"];

/// Inspects a file with the keys of a conversation, and gives its one connection.
fn opened(folder: &Folder, file: &str, conversation: &Conversation) -> Value {
    let keys = folder.file("keys.log", format!("# keys\n{}", conversation.key_line));
    let found = run(["inspect", file, "--keys", &keys, "-o", "json"]).ok_json();
    let connections = found["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 1, "{found}");
    connections[0].clone()
}

#[test]
fn every_conversation_of_the_vectors_is_opened_over_its_rekey_and_adds_up() {
    let folder = Folder::new();
    for conversation in conversations() {
        let file = folder.file("np.pcap", pcap(&packets(&conversation.said, 1, 9_000, 1_400), 1, false));
        let connection = opened(&folder, &file, &conversation);
        let name = &conversation.name;
        assert_eq!(frames(&connection), expected(&OF_BOTH), "{name}");
        assert_eq!(connection["records"], "opened by the key log", "{name}");
        assert!(name.contains(connection["pattern"].as_str().unwrap()), "{name}: {connection}");
        // Every byte belongs to one piece, and every byte of a record to a frame, its length and its tag apart.
        for client in [true, false] {
            let side = if client { "client" } else { "server" };
            let items = connection["items"].as_array().unwrap().iter().filter(|item| item["side"] == side);
            let mut at = 0;
            for item in items {
                assert_eq!(item["offset"], at, "{name} {item}");
                at += item["size"].as_u64().unwrap();
                if let Some(frames) = item["frames"].as_array() {
                    let sum: u64 = frames.iter().map(|frame| frame["size"].as_u64().unwrap()).sum();
                    assert_eq!(sum + 18, item["size"], "{name} {item}");
                }
            }
            assert_eq!(at as usize, conversation.of(client).len(), "{name} {side}");
        }
        let text = connection.to_string();
        assert!(text.contains("np.echo") && !text.contains("hello") && text.contains("bye"), "{text}");
    }
}

#[test]
fn every_kind_of_link_and_both_formats_hold_the_same() {
    let folder = Folder::new();
    let conversation = conversation_in(XX);
    for link in LINKS {
        // Single bytes, too: every piece comes over several packets.
        for piece in [1, 7, 1_400] {
            let packets = packets(&conversation.said, link, 9_000, piece);
            for file in [pcap(&packets, link, false), pcap(&packets, link, true), pcapng(&packets, link)] {
                let connection = opened(&folder, &folder.file("np.pcap", file), &conversation);
                assert_eq!(frames(&connection), expected(&OF_BOTH), "{link} {piece}");
                assert_eq!(connection["client_end"], "finished");
                let client = if link == 229 { "[::1]:40000" } else { "127.0.0.1:40000" };
                assert_eq!(connection["client"], client);
            }
        }
    }
}

#[test]
fn lost_order_and_repeated_packets_change_nothing_and_a_gap_is_told() {
    let folder = Folder::new();
    let conversation = conversation_in(XX);
    let mut shuffled = packets(&conversation.said, 1, 9_000, 9);
    let size = shuffled.len();
    for at in (3..size - 4).step_by(4) {
        shuffled.swap(at, at + 2);
    }
    let twice: Vec<Vec<u8>> = shuffled.iter().chain(&shuffled[2..size - 2]).cloned().collect();
    let file = folder.file("np.pcap", pcap(&twice, 1, false));
    let mut seen = frames(&opened(&folder, &file, &conversation));
    seen.sort();
    let mut wanted = expected(&OF_BOTH);
    wanted.sort();
    assert_eq!(seen, wanted);

    // Without the packet that holds the client's settings: what is behind the gap is not guessed at.
    let mut gapped = packets(&conversation.said, 1, 9_000, 1_400);
    let missing = gapped.remove(5).len() - 58;
    let file = folder.file("np.pcap", pcap(&gapped, 1, false));
    let connection = opened(&folder, &file, &conversation);
    let items = connection["items"].as_array().unwrap();
    let gap = items.iter().find(|item| item["what"] == "missing").unwrap_or_else(|| panic!("{connection}"));
    assert_eq!((gap["bytes"].as_u64(), gap["side"].as_str()), (Some(missing as u64), Some("client")));
    assert_eq!(frames(&connection), expected(&["SETTINGS", "RESPONSE"]));
}

#[test]
fn without_keys_records_stay_sealed_and_with_others_they_do_not_open() {
    let folder = Folder::new();
    let conversation = conversation_in(XX);
    let file = folder.file("np.pcap", pcap(&packets(&conversation.said, 1, 9_000, 1_400), 1, false));
    let found = run(["inspect", &file, "-o", "json"]).ok_json();
    let connection = &found["connections"][0];
    assert_eq!((frames(connection), connection["records"].as_str()), (Vec::new(), Some("sealed")));
    let sealed = connection["items"].as_array().unwrap().iter().filter(|item| item["sealed"] == true).count();
    assert_eq!(sealed, 5);
    // The keys of another connection with the same nonce, and those of another nonce.
    let others = conversation_in("Noise_IK_25519_ChaChaPoly_SHA256").key_line;
    let keys = folder.file("others.log", &others);
    let text = run(["inspect", &file, "--keys", &keys]).ok();
    assert!(text.contains("does not open"), "{text}");
    let keys = folder.file("unknown.log", others.replace(&"55".repeat(16), &"56".repeat(16)));
    let text = run(["inspect", &file, "--keys", &keys]).ok();
    assert!(text.contains("records sealed") && !text.contains("does not open"), "{text}");
}

#[test]
fn a_changed_record_does_not_open_and_what_follows_stays_sealed() {
    let folder = Folder::new();
    let mut conversation = conversation_in(XX);
    let at = conversation.said.iter().rposition(|said| said.client && said.bytes.len() > 30).unwrap();
    *conversation.said[at].bytes.last_mut().unwrap() ^= 1;
    let file = folder.file("np.pcap", pcap(&packets(&conversation.said, 1, 9_000, 1_400), 1, false));
    let connection = opened(&folder, &file, &conversation);
    assert_eq!(frames(&connection), expected(&["SETTINGS", "SETTINGS", "RESPONSE"]));
    let items = connection["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["wrong"].as_str().is_some_and(|text| text.contains("does not open"))));
    assert!(items.iter().any(|item| item["sealed"] == true));
}

#[test]
fn one_direction_comes_as_bytes_or_digits_from_a_file_or_standard_input() {
    let folder = Folder::new();
    let conversation = conversation_in(XX);
    let keys = folder.file("keys.log", &conversation.key_line);
    for (client, wanted) in
        [(true, &["SETTINGS", "METHOD REQUEST KEY_UPDATE", "CLOSE"][..]), (false, &["SETTINGS", "RESPONSE"])]
    {
        let bytes = conversation.of(client);
        let digits = hex(&bytes).into_bytes().chunks(60).flat_map(|line| [line, b"\n"].concat()).collect::<Vec<u8>>();
        for input in [bytes, digits] {
            let found = run_with_input(["inspect", "-", "--keys", &keys, "-o", "json"], &input).ok_json();
            assert_eq!(frames(&found["connections"][0]), expected(wanted), "{client}");
            assert!(found["capture"].is_null());
            let file = folder.file("bytes", &input);
            assert_eq!(run(["inspect", &file, "--keys", &keys, "-o", "json"]).ok_json(), found);
        }
    }
}

#[test]
fn the_tree_is_a_line_a_piece_and_ndjson_a_value_a_piece() {
    let folder = Folder::new();
    let conversation = conversation_in(XX);
    let keys = folder.file("keys.log", &conversation.key_line);
    let file = folder.file("np.pcap", pcap(&packets(&conversation.said, 1, 9_000, 1_400), 1, false));
    let text = run(["inspect", &file, "--keys", &keys]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("capture: 12 packets, 12 of TCP"), "{text}");
    assert!(lines[1].starts_with("connection 1: client 127.0.0.1:40000, server 127.0.0.1:9000, pattern XX"), "{text}");
    assert!(lines[2].contains("client >") && lines[2].contains("preface") && lines[2].contains("38"), "{text}");
    assert!(text.contains("stream 0, method np.echo, codec bytes, body 5"), "{text}");
    let out = run(["inspect", &file, "--keys", &keys, "-o", "ndjson"]).ok();
    let values: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.len(), 1 + 4 + 5);
    assert!(values.iter().all(|value| value["connection"] == 1));
}

#[test]
fn what_a_program_really_says_is_opened_by_the_key_log_that_it_wrote() {
    let folder = Folder::new();
    let house = House::start(|builder| builder);
    let address: np_facade::Address = house.address.parse().unwrap();
    for suite in ["chacha", "aes"] {
        let recorder = Recorder::before(address.port().unwrap());
        let keys = folder.arg(&format!("{suite}.log"));
        let at = format!("tcp://127.0.0.1:{}?key={}&suite={suite}", recorder.port, address.keys()[0]);
        let mut command = np(["call", &at, "np.echo", "a secret body"]);
        let ran = finish(command.env("NPKEYLOGFILE", &keys).spawn().unwrap());
        assert!(ran.err.contains("warning: NPKEYLOGFILE"), "{}", ran.err);
        assert_eq!(ran.ok(), "a secret body");
        let said = recorder.said();
        let file = folder.file("np.pcap", pcapng(&packets(&said, 113, 9_000, 1_400), 113));
        let text = run(["inspect", &file, "--keys", &keys]).ok();
        for words in ["opened by the key log", "REQUEST", "np.echo", "RESPONSE", "CLOSE", suite] {
            assert!(text.contains(words), "{words} in {text}");
        }
        assert!(!text.contains("secret body"), "{text}");
    }
}

#[test]
fn without_the_variable_no_program_writes_keys_and_a_file_that_cannot_be_is_refused() {
    let folder = Folder::new();
    let house = House::start(|builder| builder);
    let mut command = np(["call", &house.address, "np.echo", "hello"]);
    let ran = finish(command.env_remove("NPKEYLOGFILE").spawn().unwrap());
    assert_eq!(ran.err, "");
    let mut command = np(["call", &house.address, "np.echo", "hello"]);
    let ran = finish(command.env("NPKEYLOGFILE", folder.arg("no/such/folder")).spawn().unwrap());
    ran.fails(2, &["NPKEYLOGFILE", "no/such/folder", "unset the variable"]);
    // An empty variable is none.
    let mut command = np(["call", &house.address, "np.echo", "hello"]);
    assert_eq!(finish(command.env("NPKEYLOGFILE", "").spawn().unwrap()).err, "");
}

#[test]
fn a_server_writes_the_line_that_its_client_writes() {
    let folder = Folder::new();
    let (key, public) = folder.key("server.key");
    let [ours, theirs] = ["client.log", "server.log"].map(|name| folder.arg(name));
    let arguments = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"];
    let serve = crate::support::Serve::spawn(np(arguments).env("NPKEYLOGFILE", &theirs), 1);
    assert!(serve.address().contains(&public.to_string()));
    let mut command = np(["call", serve.address(), "np.echo", "hello"]);
    finish(command.env("NPKEYLOGFILE", &ours).spawn().unwrap()).ok();
    let (ours, theirs) = (std::fs::read_to_string(ours).unwrap(), std::fs::read_to_string(theirs).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(ours.lines().count(), 1);
}

#[test]
fn what_holds_nothing_of_np_says_what_it_holds_and_what_to_do() {
    let folder = Folder::new();
    run(["inspect", "gone.pcap"]).fails(2, &["gone.pcap", "cannot be read"]);
    let file = folder.file("page", "<html>");
    run(["inspect", &file]).fails(2, &["is no capture", "3c 68 74 6d", "tcpdump"]);
    let file = folder.file("empty", "");
    run(["inspect", &file]).fails(2, &["holds nothing"]);
    let other = vec![Said { client: true, bytes: b"GET / HTTP/1.1\r\n\r\n".to_vec() }];
    let file = folder.file("http.pcap", pcap(&packets(&other, 1, 80, 1_400), 1, false));
    run(["inspect", &file]).fails(2, &["no connection of np", "1 connection, 0 of np", "begin the capture before"]);
    let tls = vec![Said { client: true, bytes: vec![0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5] }];
    let file = folder.file("tls.pcap", pcap(&packets(&tls, 1, 443, 1_400), 1, false));
    run(["inspect", &file]).fails(2, &["1 of TLS", "inside TLS cannot be seen"]);
    let file = folder.file("usb.pcap", pcap(&[vec![1, 2, 3]], 189, false));
    run(["inspect", &file]).fails(2, &["link type 189"]);
    let file = folder.file("none.pcap", pcap(&[], 1, false));
    run(["inspect", &file]).fails(2, &["0 packets", "tcp port N"]);
}

#[test]
fn limits_are_named_and_a_capture_that_breaks_off_is_shown_up_to_there() {
    let folder = Folder::new();
    let conversation = conversation_in(XX);
    let whole = pcap(&packets(&conversation.said, 1, 9_000, 1_400), 1, false);
    let file = folder.file("np.pcap", &whole);
    run(["inspect", &file, "--max-size", "1000"]).fails(6, &["--max-size of 1000 bytes", "raise it"]);
    let ran = run(["inspect", &file, "--limit", "3"]);
    assert!(ran.err.contains("limit --limit of 3"), "{}", ran.err);
    assert!(!ran.ok().contains("record 2"));
    let file = folder.file("cut.pcap", &whole[..whole.len() - 10]);
    let ran = run(["inspect", &file]);
    assert!(ran.err.contains("packet 12 is cut short"), "{}", ran.err);
    assert!(ran.ok().contains("record 3"));
    let keys = folder.file("bad.log", "NP_TRAFFIC_KEYS 00 11 22\n");
    run(["inspect", &file, "--keys", &keys]).fails(2, &["--keys", "line 1", "NPKEYLOGFILE"]);
    let keys = folder.file("none.log", "CLIENT_RANDOM 00 11\n");
    run(["inspect", &file, "--keys", &keys]).fails(2, &["no keys of np"]);
}

#[test]
fn a_refusal_in_clear_and_records_in_clear_are_shown() {
    let mut refusal = Vec::new();
    np_facade::raw::wire::encode_refusal(&mut refusal, np_facade::CloseCode::ClockSkew, "9 s\u{1b}[2J");
    let text = run_with_input(["inspect", "-"], &refusal).ok();
    assert!(text.contains("code clock-skew") && text.contains("9 s") && !text.contains('\u{1b}'), "{text}");
    // Choices of the mode danger-plaintext, then a record of one ping.
    let text = run_with_input(["inspect", "-"], &[2, 0, 3, 1, 0, 0, 0, 3, 0x20, 1, 9]).ok();
    assert!(text.contains("records in clear") && text.contains("PING") && text.contains("token 9"), "{text}");
}

/// Behind the versions another version may put what it likes: here what would be no preface of version 1, and what would be
/// one with a key and records.
#[test]
fn of_a_version_that_is_not_known_only_the_versions_are_read() {
    let folder = Folder::new();
    let known = conversation_in(XX);
    for rest in [[0xff; 80].as_slice(), &known.of(true)[7..]] {
        let client = [b"np\r\n\x02\x03\x02", rest].concat();
        let mut refusal = Vec::new();
        np_facade::raw::wire::encode_refusal(&mut refusal, np_facade::CloseCode::Version, "");
        // A server of version 1 refuses in clear; what one of the other version says is its own affair.
        for (server, wanted) in [(refusal, "refusal"), (known.of(false), "unknown")] {
            let said = [(true, &client), (false, &server)].map(|(client, bytes)| Said { client, bytes: bytes.clone() });
            let file = folder.file("np.pcap", pcap(&packets(&said, 1, 9_000, 50), 1, false));
            let connection = opened(&folder, &file, &known);
            let items = connection["items"].as_array().unwrap();
            let seen: Vec<_> = items.iter().map(|item| (item["what"].as_str().unwrap(), &item["size"])).collect();
            assert_eq!(seen, [("preface", &json!(7)), ("unknown", &json!(rest.len())), (wanted, &json!(server.len()))]);
            assert_eq!((&items[0]["version"], &items[0]["versions"]), (&json!(2), &json!("2 to 3")), "{connection}");
            assert!(items[0].get("suite").is_none() && connection.get("suite").is_none(), "{connection}");
            assert_eq!(connection["records"], "of a version that is not known");
        }
        let text = run_with_input(["inspect", "-"], &client).ok();
        assert!(text.contains("versions 2 to 3") && text.contains("does not know"), "{text}");
    }
}
