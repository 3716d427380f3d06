//! What is remembered of a method's bodies. Owns the back-off; it must never see a byte of a body.

/// The most bodies of a method that are left plain in a row before one is tried again.
const MOST_SKIPPED: u8 = 64;

/// Two bytes that remember whether the bodies of one method shrink: whoever sends keeps one for each method.
///
/// After a body that gave nothing the next one of the method is not tried; after another such body the next 2, then 4,
/// up to 64. One that shrinks ends it. The same bodies in the same order give the same decisions.
///
/// # Limits
/// It never grows. A table of methods has 1,024 names at most, so all of them together are 2 KiB.
///
/// ```
/// use np_compress::Adaptive;
/// let mut method = Adaptive::new();
/// assert!(method.admits());
/// method.record(false);
/// assert!(!method.admits(), "one body is skipped");
/// assert!(method.admits());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Adaptive {
    /// Bodies that will still be skipped.
    left: u8,
    /// Half of what the next failure will cost; 0 before the first.
    last: u8,
}

impl Adaptive {
    /// A method of which nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { left: 0, last: 0 }
    }

    /// Whether the next body is tried. A body that is not counts as skipped.
    pub const fn admits(&mut self) -> bool {
        if self.left == 0 {
            return true;
        }
        self.left -= 1;
        false
    }

    /// Takes what came of a body that was tried: whether it travels compressed.
    pub fn record(&mut self, won: bool) {
        self.last = if won { 0 } else { self.last.saturating_mul(2).clamp(1, MOST_SKIPPED) };
        self.left = self.last;
    }

    /// Bodies that will be skipped before one is tried.
    ///
    /// ```
    /// assert_eq!(np_compress::Adaptive::new().skips(), 0);
    /// ```
    #[must_use]
    pub const fn skips(self) -> u8 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::Adaptive;

    #[test]
    fn each_failure_doubles_what_is_skipped_up_to_64() {
        let mut method = Adaptive::new();
        for expected in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
            assert!(method.admits());
            method.record(false);
            assert_eq!(method.skips(), expected);
            let skipped = (0..expected).filter(|_| !method.admits()).count();
            assert_eq!(skipped, usize::from(expected));
        }
    }

    #[test]
    fn a_success_forgets_every_failure() {
        let mut method = Adaptive::new();
        for _ in 0..5 {
            method.record(false);
        }
        method.record(true);
        assert_eq!(method, Adaptive::new());
        method.record(false);
        assert_eq!(method.skips(), 1);
    }
}
