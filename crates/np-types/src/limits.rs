//! The limits of one connection.

use std::time::Duration;

use crate::Metadata;

/// Why a set of limits was refused: the setting, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}, but must be {rule}")]
pub struct LimitsError {
    /// The setting's name.
    pub setting: &'static str,
    /// Its value.
    pub value: u64,
    /// What it must be.
    pub rule: &'static str,
}

/// What one connection may cost this side, and when its keys are renewed.
///
/// # Limits
/// What a peer can make a connection hold has a formula of these settings: [`Limits::worst_case_bytes`]. An honest peer
/// whose bodies the application takes costs a small part of it.
///
/// ```
/// use np_types::Limits;
/// let limits = Limits { max_message: 1 << 20, ..Limits::default() };
/// assert!(limits.validate().is_ok());
/// assert!(Limits { max_calls: 0, ..limits }.validate().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest message, in bytes, that this side receives. Default 16 MiB; 1 KiB to 1 GiB.
    pub max_message: u32,
    /// Calls and streams that the peer may have open at once. Default 1,024.
    pub max_calls: u32,
    /// Calls of this side that a session holds while they wait for the peer's allowance or credit. Default 1,024; 1 to
    /// 2^20. A session refuses one more at once; the driver lets it wait in front, until its deadline.
    pub max_queued_calls: u32,
    /// Credit of a stream at its start, and the longest message sent without asking, in bytes. Default 256 KiB.
    pub stream_window: u32,
    /// Credit of the whole connection at its start, in bytes. Default 1 MiB; at least twice
    /// `stream_window`, so that a whole message always finds credit in the end.
    pub connection_window: u32,
    /// The most bytes that a window grows to: the stream's and the connection's double while the application consumes more
    /// than half of them within a round trip. Default 16 MiB; at least `stream_window`, at most 1 GiB. A window that is
    /// larger at its start stays as it is, and none grows where this is the `stream_window`.
    pub max_window: u32,
    /// Bytes of messages larger than the stream window that are put together at once. Default 32 MiB; at least
    /// `max_message`.
    pub reassembly_budget: u32,
    /// Bytes of whole requests that handlers have not answered, and of answers that wait for the caller's credit, with
    /// their metadata. Default 64 MiB; at least `max_message`. A request beyond it is refused as safe to send again, an
    /// answer beyond it becomes an error.
    pub call_budget: u32,
    /// Whether messages that come may be compressed. Told to the peer, whose compressed messages are refused without it.
    /// Default: yes; the bytes that they give are checked, capped and counted before any is allocated.
    pub accept_compressed: bool,
    /// Records after which a direction's key is renewed. Default and most 2^20; a peer that goes on past 1.5 * 2^20
    /// is cut.
    pub rekey_records: u64,
    /// Bytes after which a direction's key is renewed. Default and most 64 GiB; a peer that goes on past 96 GiB
    /// is cut.
    pub rekey_bytes: u64,
    /// Age after which a direction's key is renewed before its next record. Default 120 s.
    pub rekey_age: Duration,
    /// Acts of each kind that are legal and of no use, such as pings, that the peer may do: past it the connection ends
    /// (`flood`). A budget is full again after 60 s, and useful work of the peer fills it at once. Default 4,096; 256 to
    /// 2^20. Of tiny pieces of messages, which are held, a sixteenth of it is taken.
    pub useless_acts: u32,
    /// Records are made a multiple of this many bytes long by padding, to hide sizes. Default 0: no padding.
    pub pad_records_to: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 16 << 20,
            max_calls: 1_024,
            max_queued_calls: 1_024,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            max_window: 16 << 20,
            reassembly_budget: 32 << 20,
            call_budget: 64 << 20,
            accept_compressed: true,
            rekey_records: 1 << 20,
            rekey_bytes: 64 << 30,
            rekey_age: Duration::from_secs(120),
            useless_acts: 4_096,
            pad_records_to: 0,
        }
    }
}

impl Limits {
    /// What a connection costs besides what its settings say, in bytes: what is read at once, and the events that it
    /// makes, 24 MiB of them where it is frames of three bytes alone; a record on its way out; the names of methods.
    pub const FIXED_BYTES: u64 = 28 << 20;

    /// The most bytes of memory that a peer can make one connection of the driver hold, whatever it does: for planning how
    /// many connections a machine bears whose peers are hostile. Memory that handlers take for themselves is not in it.
    ///
    /// | bytes | for what |
    /// |---|---|
    /// | 12 × `max_window`, or `connection_window` where it is larger | messages that no reader took: 12 where they are of one byte and compressed, 4 where they are of one byte, 1 to 2 where they are long |
    /// | 3 × `reassembly_budget` | large calls and replies that are put together, and messages of streams beyond their window, which may take twice their room while they grow |
    /// | 2 × `call_budget` | calls at work and replies that wait, and bodies that were decompressed |
    /// | 40 KiB × `max_calls` | call and stream records, pairs of metadata, and messages without a byte. Streams that this side opens count as well |
    /// | [`Limits::FIXED_BYTES`] | buffers |
    ///
    /// ```
    /// use np_types::Limits;
    /// assert_eq!(Limits::default().worst_case_bytes(), 484 << 20);
    /// // A server for strangers that sends and takes small messages.
    /// let small = Limits {
    ///     max_message: 64 << 10,
    ///     max_calls: 64,
    ///     stream_window: 64 << 10,
    ///     connection_window: 256 << 10,
    ///     max_window: 256 << 10,
    ///     reassembly_budget: 256 << 10,
    ///     call_budget: 512 << 10,
    ///     ..Limits::default()
    /// };
    /// assert!(small.worst_case_bytes() < 36 << 20);
    /// ```
    #[must_use]
    pub fn worst_case_bytes(&self) -> u64 {
        let window = u64::from(self.max_window.max(self.connection_window));
        let (reassembly, calls) = (u64::from(self.reassembly_budget), u64::from(self.call_budget));
        12 * window + 3 * reassembly + 2 * calls + 40 * 1_024 * u64::from(self.max_calls) + Self::FIXED_BYTES
    }

    /// Checks each setting and how they fit together.
    ///
    /// # Errors
    /// Names the first setting that is out of its range, its value and the rule.
    pub fn validate(&self) -> Result<(), LimitsError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// Every setting that [`Limits::validate`] would refuse.
    ///
    /// ```
    /// use np_types::Limits;
    /// let limits = Limits { max_calls: 0, useless_acts: 0, ..Limits::default() };
    /// assert_eq!(limits.problems().len(), 2);
    /// ```
    #[must_use]
    pub fn problems(&self) -> Vec<LimitsError> {
        let mut problems = Vec::new();
        let mut check = |setting, value: u64, fine: bool, rule| {
            if !fine {
                problems.push(LimitsError { setting, value, rule });
            }
        };
        let (message, window) = (u64::from(self.max_message), u64::from(self.stream_window));
        check("max_message", message, (1 << 10..=1 << 30).contains(&message), "1 KiB to 1 GiB");
        check("stream_window", window, (1 << 10..=1 << 30).contains(&window), "1 KiB to 1 GiB");
        let connection = u64::from(self.connection_window);
        check(
            "connection_window",
            connection,
            (2 * window..=1 << 30).contains(&connection),
            "twice the stream_window to 1 GiB",
        );
        let most = u64::from(self.max_window);
        check("max_window", most, (window..=1 << 30).contains(&most), "stream_window to 1 GiB");
        let budget = u64::from(self.reassembly_budget);
        check("reassembly_budget", budget, budget >= message, "at least max_message");
        let held = u64::from(self.call_budget);
        // Metadata counts too, so that the longest message fits with it.
        check("call_budget", held, held >= message + Metadata::MAX_BYTES as u64, "at least max_message and 8 KiB");
        let calls = u64::from(self.max_calls);
        check("max_calls", calls, (1..=1 << 20).contains(&calls), "1 to 1048576");
        let queued = u64::from(self.max_queued_calls);
        check("max_queued_calls", queued, (1..=1 << 20).contains(&queued), "1 to 1048576");
        let records = self.rekey_records;
        check("rekey_records", records, (1..=1 << 20).contains(&records), "1 to 2^20");
        let bytes = self.rekey_bytes;
        check("rekey_bytes", bytes, (1..=64 << 30).contains(&bytes), "1 B to 64 GiB");
        let age = self.rekey_age.as_secs();
        check("rekey_age", age, age >= 1, "at least 1 s");
        let acts = u64::from(self.useless_acts);
        check("useless_acts", acts, (256..=1 << 20).contains(&acts), "256 to 1048576");
        let pad = u64::from(self.pad_records_to);
        check("pad_records_to", pad, pad <= 16_384, "0 to 16384");
        problems
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Limits;

    #[test]
    fn each_setting_is_checked_by_name() {
        let fine = Limits::default();
        fine.validate().unwrap();
        let wrong = [
            ("max_message", Limits { max_message: 1, ..fine.clone() }),
            ("stream_window", Limits { stream_window: 1, ..fine.clone() }),
            ("connection_window", Limits { connection_window: 2_048, ..fine.clone() }),
            ("max_window", Limits { max_window: fine.stream_window - 1, ..fine.clone() }),
            ("max_window", Limits { max_window: (1 << 30) + 1, ..fine.clone() }),
            ("reassembly_budget", Limits { reassembly_budget: 1, ..fine.clone() }),
            ("call_budget", Limits { call_budget: 1, ..fine.clone() }),
            ("max_calls", Limits { max_calls: 0, ..fine.clone() }),
            ("max_queued_calls", Limits { max_queued_calls: 0, ..fine.clone() }),
            ("rekey_records", Limits { rekey_records: 0, ..fine.clone() }),
            ("rekey_bytes", Limits { rekey_bytes: 0, ..fine.clone() }),
            ("rekey_age", Limits { rekey_age: Duration::ZERO, ..fine.clone() }),
            ("useless_acts", Limits { useless_acts: 255, ..fine.clone() }),
            ("useless_acts", Limits { useless_acts: (1 << 20) + 1, ..fine }),
        ];
        for (setting, limits) in wrong {
            assert_eq!(limits.validate().unwrap_err().setting, setting);
        }
    }

    /// Each rule at its ends: the last value that passes, and the first that does not.
    #[test]
    fn each_rule_holds_to_its_last_value() {
        type Set = fn(&mut Limits, u64);
        const GIB: u64 = 1 << 30;
        const MIB: u64 = 1 << 20;
        let kib = 1_024;
        let wide = Limits { connection_window: 1 << 30, max_window: 1 << 30, ..Limits::default() };
        let wide = Limits { reassembly_budget: u32::MAX, call_budget: u32::MAX, ..wide };
        let narrow = Limits { stream_window: 1_024, connection_window: 2_048, max_window: 1_024, ..wide };
        let rows: [(&str, &Limits, Set, u64, u64); 23] = [
            ("max_message", &wide, |it, to| it.max_message = to as u32, kib, kib - 1),
            ("max_message", &wide, |it, to| it.max_message = to as u32, GIB, GIB + 1),
            ("stream_window", &narrow, |it, to| it.stream_window = to as u32, kib, kib - 1),
            ("connection_window", &narrow, |it, to| it.connection_window = to as u32, 2 * kib, 2 * kib - 1),
            ("connection_window", &narrow, |it, to| it.connection_window = to as u32, GIB, GIB + 1),
            ("max_window", &narrow, |it, to| it.max_window = to as u32, kib, kib - 1),
            ("max_window", &narrow, |it, to| it.max_window = to as u32, GIB, GIB + 1),
            ("reassembly_budget", &wide, |it, to| it.reassembly_budget = to as u32, 16 * MIB, 16 * MIB - 1),
            // The longest message, and the metadata beside it.
            ("call_budget", &wide, |it, to| it.call_budget = to as u32, 16 * MIB + 8 * kib, 16 * MIB + 8 * kib - 1),
            ("max_calls", &wide, |it, to| it.max_calls = to as u32, 1, 0),
            ("max_calls", &wide, |it, to| it.max_calls = to as u32, MIB, MIB + 1),
            ("max_queued_calls", &wide, |it, to| it.max_queued_calls = to as u32, 1, 0),
            ("max_queued_calls", &wide, |it, to| it.max_queued_calls = to as u32, MIB, MIB + 1),
            ("rekey_records", &wide, |it, to| it.rekey_records = to, 1, 0),
            ("rekey_records", &wide, |it, to| it.rekey_records = to, MIB, MIB + 1),
            ("rekey_bytes", &wide, |it, to| it.rekey_bytes = to, 1, 0),
            ("rekey_bytes", &wide, |it, to| it.rekey_bytes = to, 64 * GIB, 64 * GIB + 1),
            ("rekey_age", &wide, |it, to| it.rekey_age = Duration::from_millis(to), 1_000, 999),
            ("rekey_age", &wide, |it, to| it.rekey_age = Duration::from_millis(to), u64::MAX, 0),
            ("useless_acts", &wide, |it, to| it.useless_acts = to as u32, 256, 255),
            ("useless_acts", &wide, |it, to| it.useless_acts = to as u32, MIB, MIB + 1),
            ("pad_records_to", &wide, |it, to| it.pad_records_to = to as u16, 0, 16_385),
            ("pad_records_to", &wide, |it, to| it.pad_records_to = to as u16, 16_384, 16_385),
        ];
        for (setting, limits, set, last, beyond) in rows {
            let with = |value| {
                let mut limits = limits.clone();
                set(&mut limits, value);
                limits.problems()
            };
            assert_eq!(with(last), [], "{setting} = {last}");
            let problems: Vec<_> = with(beyond).iter().map(|problem| problem.setting).collect();
            assert_eq!(problems, [setting], "{beyond}");
        }
    }

    #[test]
    fn the_worst_case_is_the_sum_that_its_page_gives() {
        let limits = Limits { max_window: 1_000, connection_window: 10, ..Limits::default() };
        let limits = Limits { reassembly_budget: 100_000, call_budget: 1_000_000, max_calls: 7, ..limits };
        let expected = 12 * 1_000 + 3 * 100_000 + 2 * 1_000_000 + 7 * 40 * 1_024 + 28 * 1_024 * 1_024;
        assert_eq!(limits.worst_case_bytes(), expected);
        let wider = Limits { connection_window: 2_000, ..limits };
        assert_eq!(wider.worst_case_bytes(), expected + 12 * 1_000);
    }
}
