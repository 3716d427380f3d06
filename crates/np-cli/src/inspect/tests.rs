//! Captures that somebody broke on purpose: whatever the bytes, there is an answer, and it comes soon.

use super::{Dissector, Keys, Side, inspect, of_bytes, of_capture};

/// A connection over loopback in a capture of its own: a preface, message 1, an answer in clear.
fn capture(ng: bool) -> Vec<u8> {
    let packet = |from: u16, to: u16, seq: u32, payload: &[u8]| {
        let mut tcp = [from.to_be_bytes(), to.to_be_bytes()].concat();
        tcp.extend([seq.to_be_bytes(), [0; 4]].concat());
        tcp.extend([0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        let mut ip = vec![2, 0, 0, 0, 0x45, 0];
        ip.extend((payload.len() as u16 + 40).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        [ip, tcp, payload.to_vec()].concat()
    };
    let mut client = b"np\r\n\x01\x01\x01\x00\x00".to_vec();
    client.extend([0; 29]);
    client.extend([0, 3, 0x20, 1, 9]);
    let server = [2, 0, 3, 1, 0, 0, 0, 3, 0x20, 1, 9];
    let packets = [packet(1, 2, 5, &client[..20]), packet(2, 1, 9, &server), packet(1, 2, 25, &client[20..])];
    let mut file = Vec::new();
    if ng {
        let block = |kind: u32, mut body: Vec<u8>| {
            body.resize(body.len().next_multiple_of(4), 0);
            let size = (body.len() as u32 + 12).to_le_bytes();
            [&kind.to_le_bytes(), &size, body.as_slice(), &size].concat()
        };
        file.extend(block(0x0a0d_0d0a, [0x1a2b_3c4d_u32.to_le_bytes(), [0; 4], [0; 4], [0; 4]].concat()));
        file.extend(block(1, [0; 8].to_vec()));
        for packet in &packets {
            let size = (packet.len() as u32).to_le_bytes();
            file.extend(block(6, [[0; 12].as_slice(), &size, &size, packet].concat()));
        }
    } else {
        file.extend([0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0].into_iter().chain([0; 16]));
        for packet in &packets {
            let size = (packet.len() as u32).to_le_bytes();
            file.extend([&[0; 8], size.as_slice(), &size, packet].concat());
        }
    }
    file
}

/// Pieces and frames that were found, or the failure.
fn look(bytes: &[u8]) -> Result<usize, String> {
    let keys = Keys::default();
    let mut dissector = Dissector { keys: &keys, left: 1_000 };
    let found = of_capture(bytes, &mut dissector, "x").map_err(|failure| failure.text())?;
    for shown in &found.shown {
        // What is shown can be printed in every way.
        assert!(!shown.text(Some(60)).is_empty() && shown.values().count() > 0 && shown.value().is_object());
    }
    Ok(1_000 - dissector.left)
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

#[test]
fn a_capture_is_read_in_both_formats() {
    for ng in [false, true] {
        // A proxy's header is looked for, the preface, three handshake pieces and records, and two frames.
        assert_eq!(look(&capture(ng)), Ok(7), "{ng}");
    }
}

#[test]
fn a_capture_that_is_cut_anywhere_has_an_answer() {
    for ng in [false, true] {
        let whole = capture(ng);
        for end in 0..whole.len() {
            let _ = look(&whole[..end]);
        }
    }
}

#[test]
fn a_capture_with_changed_bytes_has_an_answer() {
    let mut numbers = Numbers(1);
    let extremes = [0, 1, 0x7f, 0x80, 0xff];
    for ng in [false, true] {
        let whole = capture(ng);
        for _ in 0..4_000 {
            let mut bytes = whole.clone();
            for _ in 0..=numbers.below(4) {
                let at = numbers.below(bytes.len());
                bytes[at] = match numbers.below(2) {
                    0 => extremes[numbers.below(extremes.len())],
                    _ => numbers.below(256) as u8,
                };
            }
            let _ = look(&bytes);
        }
    }
}

#[test]
fn bytes_of_a_direction_whatever_they_are_have_an_answer() {
    let mut numbers = Numbers(2);
    let keys = Keys::default();
    for round in 0..4_000 {
        let mut bytes: Vec<u8> = (0..numbers.below(200)).map(|_| numbers.below(256) as u8).collect();
        // Half of them get past the beginning.
        let start: &[u8] = if round % 2 == 0 { b"np\r\n\x01\x01\x01\x00\x00" } else { &[2, 0, 3, 1, 0, 0] };
        bytes.splice(0..start.len().min(bytes.len()), start.iter().copied());
        for side in [Side::Client, Side::Server] {
            let mut dissector = Dissector { keys: &keys, left: 50 };
            let found = of_bytes(&mut dissector, side, bytes.clone());
            assert!(found.shown[0].items.len() <= 50);
            assert!(!found.shown[0].text(None).is_empty());
        }
    }
}

#[test]
fn lengths_that_are_announced_reserve_nothing_and_end_the_capture() {
    let mut huge = capture(false);
    huge[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(look(&huge).unwrap_err().contains("no connection of np"));
    let mut huge = capture(true);
    huge[4..8].copy_from_slice(&0xffff_fffc_u32.to_le_bytes());
    assert!(look(&huge).unwrap_err().contains("no connection of np"));
}

#[test]
fn the_command_reads_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("np.pcap");
    std::fs::write(&file, capture(true)).unwrap();
    let command = super::Inspect { file, keys: None, limit: 10, max_size: 10_000 };
    assert_eq!(inspect(&command).unwrap().shown.len(), 1);
}
