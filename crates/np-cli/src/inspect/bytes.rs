//! A cursor over bytes that somebody else wrote: every read has its bounds checked, in either order of bytes.

/// What is left to read. A read that goes past the end gives nothing and takes nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    big: bool,
}

impl<'a> Cursor<'a> {
    /// Reads numbers with their highest byte first, as networks do.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, big: true }
    }

    /// The same bytes, with the order of numbers chosen: big-endian or not.
    pub(super) const fn in_order(self, big: bool) -> Self {
        Self { big, ..self }
    }

    /// What was not read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.array()?;
        Some(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.array()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}
