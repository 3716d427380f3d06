//! The fuzzer's bytes as choices. A short input is a valid one: what is missing is zero.

/// The bytes that were not used yet.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(super) fn u16(&mut self) -> u16 {
        let high = self.u8();
        u16::from_be_bytes([high, self.u8()])
    }

    /// As many bytes, or all that are left.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        head
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// A copy of `bytes` with up to `most` changes; with none left in the input, an exact copy.
    pub(super) fn edit(&mut self, bytes: &[u8], most: usize) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..most {
            if self.is_empty() {
                break;
            }
            let (kind, at) = (self.u8(), usize::from(self.u16()));
            let place = at.checked_rem(out.len()).unwrap_or_default();
            match kind % 6 {
                0 if !out.is_empty() => out[place] ^= self.u8(),
                1 => out.truncate(place),
                2 => out.extend_from_slice(self.take(at % 256)),
                3 if !out.is_empty() => drop(out.remove(place)),
                4 => out.insert(place, self.u8()),
                5 if !out.is_empty() => out[place] = self.u8(),
                _ => {}
            }
        }
        out
    }
}
