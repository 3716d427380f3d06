//! The workloads by name: how many connections, how many calls open on each, how many bytes. Must never make a call.

use np_facade::Limits;

use crate::counted::counted;
use crate::progress::show_bytes;

/// Bytes of a body of A, B, E and `small`.
const SMALL: usize = 64;
/// Bytes of each message of `stream`.
const CHUNK: usize = 64 << 10;
/// The sizes of `sweep`, and the calls that are open at once.
const SWEEP: [usize; 8] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
const SWEEP_IN_FLIGHT: u32 = 8;
/// What `all` stands for.
const ALL: [&str; 8] = ["A", "B", "C", "D", "E", "F", "stream", "sweep"];
/// The most workloads of one run of the program.
const MAX_WORKLOADS: usize = 64;

/// One workload of a measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workload {
    /// As reports name it.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) connections: u32,
    /// Calls that are open at once on each connection.
    pub(super) in_flight: u32,
    pub(super) body: usize,
}

/// What is done again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call of np.echo.
    Calls,
    /// A connection, one call of np.echo on it, and its end.
    SetUp,
    /// A connection that stays and does nothing.
    Idle,
    /// A message there and back on one stream of np.echo-stream.
    Stream,
}

impl Workload {
    fn new(name: &str, kind: Kind, [connections, in_flight]: [u32; 2], body: usize) -> Self {
        Self { name: name.to_owned(), kind, connections, in_flight, body }
    }

    /// How many callers there are.
    pub(super) const fn callers(&self) -> u32 {
        self.connections.saturating_mul(self.in_flight)
    }

    /// In words, for people.
    pub(super) fn describe(&self) -> String {
        let bytes = show_bytes(self.body as u64);
        let connections = counted(self.connections, "connection", "connections");
        match self.kind {
            Kind::Calls => format!("{connections}, {} in flight on each, {bytes} there and back", self.in_flight),
            Kind::SetUp => format!("connect, handshake, {bytes} there and back, close; {} at once", self.connections),
            Kind::Idle => counted(self.connections, "connection that does nothing", "connections that do nothing"),
            Kind::Stream => format!("1 stream, messages of {bytes} there and back, {} in flight", self.in_flight),
        }
    }
}

/// What the arguments leave to choose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// Calls open at once, of `small` and `echo:SIZE`.
    pub(super) concurrency: u32,
    /// Connections of F.
    pub(super) idle: u32,
}

/// The name of a workload that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(String);

/// Reads a name, and refuses one that is none.
pub(super) fn parse_name(text: &str) -> Result<Name, String> {
    expand(text, Choice { concurrency: 1, idle: 1 }).map(|_| Name(text.to_owned()))
}

/// All workloads that the names stand for, in order; F goes first, since a process keeps memory that others have used.
pub(super) fn all_of(names: &[Name], choice: Choice) -> Result<Vec<Workload>, String> {
    let mut all = Vec::new();
    for Name(text) in names {
        all.extend(expand(text, choice)?);
        if all.len() > MAX_WORKLOADS {
            return Err(format!("there are {MAX_WORKLOADS} workloads at most in one run"));
        }
    }
    all.sort_by_key(|one| one.kind != Kind::Idle);
    // Reports are compared by name.
    let twice = all.iter().enumerate().find(|(at, one)| all.iter().take(*at).any(|before| before.name == one.name));
    match twice {
        Some((_, one)) => Err(format!("{} is named twice", one.name)),
        None => Ok(all),
    }
}

fn expand(text: &str, choice: Choice) -> Result<Vec<Workload>, String> {
    let calls = |connections, in_flight, body| Workload::new(text, Kind::Calls, [connections, in_flight], body);
    let one = match text {
        "A" => calls(1, 1, SMALL),
        "B" => calls(1, 128, SMALL),
        "C" => calls(64, 8, 256),
        "D" => calls(1, 4, 1 << 20),
        "E" => Workload::new(text, Kind::SetUp, [1, 1], SMALL),
        "F" => Workload::new(text, Kind::Idle, [choice.idle, 1], 0),
        "stream" => Workload::new(text, Kind::Stream, [1, 16], CHUNK),
        "small" => calls(1, choice.concurrency, SMALL),
        "sweep" => return Ok(SWEEP.iter().map(|size| swept(*size)).collect()),
        "all" => {
            let parts = ALL.iter().map(|name| expand(name, choice));
            return parts.collect::<Result<Vec<_>, _>>().map(|parts| parts.concat());
        }
        _ => calls(1, choice.concurrency, parse_echo(text)?),
    };
    Ok(vec![one])
}

fn swept(size: usize) -> Workload {
    let shown = match size {
        size if size >= 1 << 20 => format!("{}MiB", size >> 20),
        size if size >= 1 << 10 => format!("{}KiB", size >> 10),
        size => size.to_string(),
    };
    Workload::new(&format!("sweep:{shown}"), Kind::Calls, [1, SWEEP_IN_FLIGHT], size)
}

/// The size of `echo:SIZE`, in bytes or with a unit.
fn parse_echo(text: &str) -> Result<usize, String> {
    let size = text
        .strip_prefix("echo:")
        .ok_or_else(|| "there are A to F, stream, sweep, small, echo:SIZE, and all for A to sweep".to_owned())?;
    let digits = size.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = size.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        _ => return Err("a size is a number and perhaps a unit: echo:4096, echo:64KiB, echo:1MiB".to_owned()),
    };
    let size = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
    let most = usize::try_from(Limits::default().max_message).unwrap_or(usize::MAX);
    size.filter(|size| *size <= most)
        .ok_or_else(|| format!("a size is at most {} MiB, the limit of one message (max_message)", most >> 20))
}

#[cfg(test)]
mod tests {
    use super::{Choice, Kind, Workload, all_of, parse_echo, parse_name};

    const CHOICE: Choice = Choice { concurrency: 7, idle: 2_000 };

    fn read(text: &str) -> Result<Vec<Workload>, String> {
        all_of(&text.split(',').map(parse_name).collect::<Result<Vec<_>, _>>()?, CHOICE)
    }

    #[test]
    fn sizes_are_read_up_to_the_limit_of_one_message() {
        for (text, size) in [("echo:0", 0), ("echo:4096", 4_096), ("echo:16MiB", 16 << 20)] {
            assert_eq!(parse_echo(text), Ok(size), "{text}");
        }
        for text in ["", "large", "echo", "echo:", "echo:1GiB", "echo:16777217", "echo:99999999999999999999KiB"] {
            assert!(parse_echo(text).is_err() && parse_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_letters_are_what_the_documentation_says_of_them() {
        let all = read("A,B,C,D,E,F,stream,small").unwrap();
        assert_eq!(all.first().map(|it| (it.name.as_str(), it.kind, it.connections)), Some(("F", Kind::Idle, 2_000)));
        let found: Vec<_> = all[1..].iter().map(|it| (it.kind, it.connections, it.in_flight, it.body)).collect();
        let calls = Kind::Calls;
        let wanted = [(calls, 1, 1, 64), (calls, 1, 128, 64), (calls, 64, 8, 256), (calls, 1, 4, 1 << 20)];
        assert_eq!(found[..4], wanted);
        assert_eq!(found[4..], [(Kind::SetUp, 1, 1, 64), (Kind::Stream, 1, 16, 64 << 10), (calls, 1, 7, 64)]);
    }

    #[test]
    fn all_is_everything_and_a_name_comes_once() {
        let all = read("all").unwrap();
        assert_eq!(all.len(), 7 + 8);
        assert_eq!(all.last().map(|it| (it.name.as_str(), it.body)), Some(("sweep:1MiB", 1 << 20)));
        assert_eq!(read("A,all"), Err("A is named twice".to_owned()));
        let many: Vec<String> = (0..65).map(|at| format!("echo:{at}")).collect();
        assert_eq!(read(&many[..64].join(",")).map(|all| all.len()), Ok(64));
        assert!(read(&many.join(",")).is_err_and(|error| error.contains("64 workloads at most")));
    }
}
