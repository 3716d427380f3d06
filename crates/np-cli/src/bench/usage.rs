//! What a process has used of processor and memory: this one, a child, another on this machine. Must never measure time.

use std::time::Duration;

use super::own::Own;

/// What a process has used; `None` where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time, user and system.
    pub(super) cpu: Option<Duration>,
    /// Bytes in memory.
    pub(super) resident: Option<u64>,
}

impl Usage {
    /// Of this process.
    pub(super) fn of_this() -> Self {
        Self { cpu: this_cpu(), resident: resident("self") }
    }

    /// Of another process on this machine.
    fn of_process(process: u32) -> Self {
        Self { cpu: process_cpu(process), resident: resident(&process.to_string()) }
    }

    /// As the child of a measurement writes it on a line.
    pub(super) fn line(self) -> String {
        let shown = |value: Option<u128>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        format!("{} {}\n", shown(self.cpu.map(|cpu| cpu.as_nanos())), shown(self.resident.map(u128::from)))
    }

    /// Reads what [`Usage::line`] wrote.
    pub(super) fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut next = || words.next()?.parse::<u64>().ok();
        Self { cpu: next().map(Duration::from_nanos), resident: next() }
    }
}

/// The process of the server, where it can be looked into.
#[derive(Debug)]
pub(super) enum Watched {
    /// A child of this one.
    Child(Box<Own>),
    /// A process of this machine.
    Process(u32),
    /// The server is somewhere else, or nobody knows its process.
    Nobody,
}

impl Watched {
    /// What it has used.
    pub(super) async fn usage(&mut self) -> Usage {
        match self {
            Self::Child(own) => own.usage().await,
            Self::Process(process) => Usage::of_process(*process),
            Self::Nobody => Usage::default(),
        }
    }

    /// Why nothing is known, where nothing is.
    pub(super) const fn why_not(&self) -> &'static str {
        match self {
            Self::Child(_) | Self::Process(_) => "this system does not say what a process uses",
            Self::Nobody => {
                "the server's process is not known, and np.status tells no such figure; use --self, or --server-pid on its \
                 machine"
            }
        }
    }
}

#[cfg(unix)]
fn this_cpu() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(unix))]
const fn this_cpu() -> Option<Duration> {
    None
}

/// From Linux's table of processes, which counts in ticks of ten milliseconds or so.
#[cfg(unix)]
fn process_cpu(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    ticks(&stat).map(|ticks| Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

#[cfg(not(unix))]
const fn process_cpu(_process: u32) -> Option<Duration> {
    None
}

/// User and system time, the 14th and 15th word; the second is a name in brackets, which may hold anything.
#[cfg(unix)]
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut words = behind.split_whitespace().skip(11);
    let (user, system) = (words.next()?, words.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

fn resident(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Usage;

    #[test]
    fn a_line_reads_as_it_was_written() {
        for usage in [
            Usage { cpu: Some(Duration::from_nanos(1_234)), resident: Some(5 << 20) },
            Usage { cpu: None, resident: Some(1) },
            Usage::default(),
        ] {
            assert_eq!(Usage::parse(&usage.line()), usage);
        }
        assert_eq!(Usage::parse("nonsense"), Usage::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_table_of_processes_is_read_past_a_name_with_brackets() {
        assert_eq!(super::ticks("7 (a) b ) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), Some(42));
        let own = Usage::of_process(std::process::id());
        assert!(own.cpu.is_some() && own.resident.is_some_and(|bytes| bytes > 1 << 20), "{own:?}");
        assert!(Usage::of_this().cpu.is_some());
    }
}
