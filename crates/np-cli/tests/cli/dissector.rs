//! The dissector for Wireshark, by tshark, beside `np inspect`: both see the same in the same capture. Where there is no
//! tshark it says that it was skipped.

use std::io::Write as _;
use std::process::Command;

use crate::support::{Folder, run};
use crate::wire::{Conversation, Said, conversation_in, packets, pcap, pcapng};

/// What tshark shows of a capture: these fields, a line for each packet of np. None where there is no tshark.
fn tshark(capture: &str, keys: Option<&str>, more: &[&str]) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wireshark/np.lua");
    let mut command = Command::new("tshark");
    command.args(["-X", &format!("lua_script:{script}"), "-r", capture, "-Y", "np"]).args(more);
    if let Some(keys) = keys {
        command.args(["-o", &format!("np.keylog:{keys}")]);
    }
    let Ok(output) = command.output() else {
        // Past the harness, which swallows what tests print.
        let _ = writeln!(std::io::stderr(), "skipped: the dissector is not checked, for there is no tshark here");
        return None;
    };
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{err}");
    assert!(!err.contains("Lua") && !out.contains("Lua Error"), "{err}{out}");
    Some(out)
}

/// The names of the frames of all records, by `np inspect`.
fn inspected(capture: &str, keys: &str) -> Vec<String> {
    let found = run(["inspect", capture, "--keys", keys, "-o", "json"]).ok_json();
    let items = found["connections"][0]["items"].as_array().unwrap().clone();
    let frames = items.iter().filter_map(|item| item["frames"].as_array()).flatten();
    frames.map(|frame| frame["frame"].as_str().unwrap().to_owned()).collect()
}

/// The same, by the dissector: from the words that it puts into the list of packets.
fn dissected(list: &str) -> Vec<String> {
    let words = list.split(|ch: char| ch.is_whitespace() || ch == ';');
    words
        .filter(|word| word.len() > 3 && word.chars().all(|ch| ch.is_ascii_uppercase() || ch == '_'))
        .map(str::to_owned)
        .collect()
}

fn files(folder: &Folder, conversation: &Conversation, piece: usize) -> [String; 2] {
    let packets = packets(&conversation.said, 1, 9_000, piece);
    let capture = if piece == 5 { pcapng(&packets, 1) } else { pcap(&packets, 1, false) };
    [folder.file("np.pcap", capture), folder.file("keys.log", &conversation.key_line)]
}

#[test]
fn the_dissector_sees_what_np_inspect_sees_in_both_suites_over_a_rekey() {
    let folder = Folder::new();
    // Whole, a few bytes at a time (the magic must come in one), and in two passes, in which every packet is shown twice.
    for (name, piece, passes) in [
        ("XX_25519_ChaChaPoly", 1_400, &[][..]),
        ("XX_25519_AESGCM", 5, &[]),
        ("KK_25519_ChaChaPoly", 7, &["-2"]),
        ("IKpsk2_25519_AESGCM", 1_400, &["-2"]),
    ] {
        let conversation = conversation_in(&format!("Noise_{name}_SHA256"));
        let [capture, keys] = files(&folder, &conversation, piece);
        let Some(list) = tshark(&capture, Some(&keys), passes) else { return };
        let wanted = inspected(&capture, &keys);
        assert_eq!(wanted.len(), 7, "{wanted:?}");
        assert_eq!(dissected(&list), wanted, "{name} {piece}: {list}");
        assert!(list.contains("client: Preface") && list.contains("REQUEST np.echo"), "{name} {piece}: {list}");
    }
}

#[test]
fn the_dissector_shows_the_fields_of_preface_and_frames() {
    let folder = Folder::new();
    let [capture, keys] = files(&folder, &conversation_in("Noise_XX_25519_ChaChaPoly_SHA256"), 1_400);
    let Some(all) = tshark(&capture, Some(&keys), &["-V"]) else { return };
    for line in [
        "Suite: ChaCha20-Poly1305 (1)",
        "Pattern: XX (1)",
        "Nonce: 55555555555555555555555555555555",
        "Client's clock, ms since 1970: 1800000000000",
        "max_message: 16777216",
        "Stream id: 0",
        "Method: np.echo",
        "Payload: 68656c6c6f",
        "Close code: 0",
        "Text: bye",
        "np, client: Message 3",
        "Frame: KEY_UPDATE (0x06)",
    ] {
        assert!(all.lines().any(|seen| seen.trim() == line), "{line} in {all}");
    }
}

#[test]
fn the_dissector_leaves_records_sealed_without_keys_and_says_where_they_are_wrong() {
    let folder = Folder::new();
    let [capture, _] = files(&folder, &conversation_in("Noise_XX_25519_AESGCM_SHA256"), 1_400);
    let Some(list) = tshark(&capture, None, &[]) else { return };
    assert!(list.contains("Record 3") && dissected(&list).is_empty(), "{list}");
    let others = folder.file("others.log", conversation_in("Noise_IK_25519_AESGCM_SHA256").key_line);
    let list = tshark(&capture, Some(&others), &[]).unwrap();
    assert!(!list.contains("REQUEST np.echo"), "{list}");
}

#[test]
fn the_dissector_survives_bytes_that_are_not_np() {
    let folder = Folder::new();
    let mut conversation = conversation_in("Noise_XX_25519_ChaChaPoly_SHA256");
    let keys = folder.file("keys.log", &conversation.key_line);
    for (at, place) in [(0, 7), (0, 37), (1, 2), (5, 0)] {
        conversation.said[at].bytes[place] ^= 0xff;
        let capture = folder.file("np.pcap", pcap(&packets(&conversation.said, 1, 9_000, 11), 1, false));
        if tshark(&capture, Some(&keys), &["-V"]).is_none() {
            return;
        }
        conversation.said[at].bytes[place] ^= 0xff;
    }
}

#[test]
fn the_dissector_reads_only_the_versions_of_a_version_that_it_does_not_know() {
    let folder = Folder::new();
    let mut conversation = conversation_in("Noise_XX_25519_ChaChaPoly_SHA256");
    conversation.said[0].bytes[4..7].copy_from_slice(&[2, 3, 2]);
    for (answer, wanted) in [(&[3, 0, 4, 0, 6, 1, 1][..], "server: Refusal"), (&[2, 0, 1, 9], "server: of a version")] {
        conversation.said.truncate(1);
        conversation.said.push(Said { client: false, bytes: answer.to_vec() });
        let [capture, keys] = files(&folder, &conversation, 11);
        let Some(all) = tshark(&capture, Some(&keys), &["-V"]) else { return };
        let list = tshark(&capture, Some(&keys), &[]).unwrap();
        assert!(list.contains("client: Preface of a version") && list.contains(wanted), "{list}");
        assert!(all.contains("Highest version: 3") && all.contains("Of a version that is not known here: "), "{all}");
        for name in ["Suite:", "Nonce:", "Handshake message:", "[Malformed", "These bytes are not np"] {
            assert!(!all.contains(name), "{name} in {all}");
        }
    }
}

/// The names of kinds, suites and patterns that the script knows are those of the protocol's page.
#[test]
fn the_dissector_knows_every_kind_of_frame() {
    let (script, page) =
        (include_str!("../../../../docs/wireshark/np.lua"), include_str!("../../../../docs/PROTOCOL.md"));
    for kind in np_facade::raw::wire::FrameKind::ALL {
        let number = format!("0x{:02x}", kind.to_wire());
        let row = page.lines().find(|line| line.starts_with(&format!("| `{number}` | "))).unwrap();
        let name = row.split('|').nth(2).unwrap().trim();
        assert!(script.contains(&format!("[{number}] = \"{name}\"")), "{number} {name}");
    }
    for pattern in np_facade::Pattern::ALL {
        assert!(script.contains(&format!("[{}] = \"{}\"", pattern.to_wire(), pattern.name())), "{pattern:?}");
    }
}
