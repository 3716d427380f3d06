//! The path of a call, made to be counted: a fixed number of calls and nothing else, on one thread, in memory.
//!
//! `path SCENARIO CALLS` runs it, `path --list` names the scenarios. Under callgrind the difference of two counts of calls
//! is what one call costs, in instructions, whatever else the machine does: `cargo xtask bench guard` holds it against the
//! stored figures. `path serve [plain]` and `path call ADDRESS IN_FLIGHT CALLS` are the two processes of
//! `cargo xtask bench syscalls`; `path idle CONNECTIONS` is for a profiler of memory.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a wrong argument is told, and the list printed")]

#[path = "path/calls.rs"]
mod calls;
#[path = "path/processes.rs"]
mod processes;
#[path = "path/sessions.rs"]
mod sessions;
#[path = "path/steps.rs"]
mod steps;

use np_benches::crypto;
use np_noise::Pattern;

/// What can be counted.
struct Scenario {
    name: String,
    /// The counts between which the difference is taken: the first has made everything that grows large enough.
    counts: [usize; 2],
    work: Box<dyn Fn(usize)>,
}

impl Scenario {
    fn new(name: impl Into<String>, counts: [usize; 2], work: impl Fn(usize) + 'static) -> Self {
        Self { name: name.into(), counts, work: Box::new(work) }
    }
}

/// Whole calls of 64 bytes.
const SMALL: [usize; 2] = [1_024, 5_120];
/// Whole calls of 1 MiB.
const LARGE: [usize; 2] = [8, 40];
/// Single steps of small calls.
const STEPS: [usize; 2] = [4_096, 20_480];
/// Single steps of 64 KiB.
const LARGE_STEPS: [usize; 2] = [64, 320];

/// Whole connections.
const CONNECTIONS: [usize; 2] = [32, 96];
/// Both sides of handshakes.
const HANDSHAKES: [usize; 2] = [8, 24];

fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("call-128", SMALL, |calls| calls::run(calls, 128, 64)),
        Scenario::new("call-1", SMALL, |calls| calls::run(calls, 1, 64)),
        Scenario::new("call-4-mib", LARGE, |calls| calls::run(calls, 4, 1 << 20)),
        Scenario::new("connect", CONNECTIONS, |connections| calls::connect(connections, false)),
        Scenario::new("connect-early", CONNECTIONS, |connections| calls::connect(connections, true)),
        Scenario::new("session-128", SMALL, |calls| sessions::requests(calls, 128, 64)),
        Scenario::new("session-1", SMALL, |calls| sessions::requests(calls, 1, 64)),
        Scenario::new("session-1-mib", LARGE, |calls| sessions::requests(calls, 1, 1 << 20)),
        Scenario::new("session-stream-1-kib", SMALL, |messages| sessions::stream(messages, 1 << 10)),
        Scenario::new("session-stream-64-kib", LARGE_STEPS, |messages| sessions::stream(messages, 64 << 10)),
        Scenario::new("dispatch", STEPS, steps::dispatch),
        Scenario::new("encode-request", STEPS, steps::encode_request),
        Scenario::new("decode-request", STEPS, steps::decode_request),
        Scenario::new("encode-response", STEPS, steps::encode_response),
        Scenario::new("decode-response", STEPS, steps::decode_response),
    ];
    for provider in np_noise::PROVIDERS {
        for pattern in [Pattern::XX, Pattern::IK] {
            let name = format!("handshake-{}-{}", pattern.name().to_lowercase(), crypto::word(*provider));
            all.push(Scenario::new(name, HANDSHAKES, move |handshakes| {
                steps::handshake(*provider, pattern, handshakes)
            }));
        }
    }
    for (name, crypto) in crypto::every() {
        for (size, counts, word) in [(64, STEPS, "64"), (65_519, LARGE_STEPS, "64-kib")] {
            let (seal, open) = (format!("seal-{word}-{name}"), format!("seal-open-{word}-{name}"));
            all.push(Scenario::new(seal, counts, move |records| steps::seal(crypto, records, size)));
            all.push(Scenario::new(open, counts, move |records| steps::seal_open(crypto, records, size)));
        }
    }
    all
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["--list"] => scenarios().iter().for_each(|Scenario { name, counts: [few, many], .. }| {
            println!("{name} {few} {many}");
        }),
        ["idle", connections] => processes::idle(connections.parse().unwrap()),
        ["serve"] => processes::serve(),
        ["serve", "plain"] => processes::serve_plain(),
        ["call", address, in_flight, calls] => {
            processes::call(address, in_flight.parse().unwrap(), calls.parse().unwrap());
        }
        [name, ref rest @ ..] if scenarios().iter().any(|one| one.name == name) => {
            let calls = rest.first().map_or(1_000, |calls| calls.parse().unwrap());
            scenarios().iter().filter(|one| one.name == name).for_each(|one| (one.work)(calls));
        }
        _ => eprintln!(
            "path SCENARIO CALLS, path --list, path idle CONNECTIONS, path serve [plain], path call ADDRESS IN_FLIGHT CALLS"
        ),
    }
}
