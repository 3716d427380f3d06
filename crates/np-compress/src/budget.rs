//! How much decompressed memory a connection may hold. Owns a counter; it must never know whose bytes it counts.

/// Why bytes were not reserved.
///
/// ```
/// use np_compress::Budget;
/// let error = Budget::new(100).reserve(101).unwrap_err();
/// assert_eq!((error.wanted, error.held, error.allowed), (101, 0, 100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error(
    "limit decompressed bytes reached: {wanted} more where {held} are held and {allowed} allowed; take or drop bodies \
     that have come, or raise the limit"
)]
pub struct BudgetError {
    /// The bytes asked for.
    pub wanted: u32,
    /// The bytes held at that moment.
    pub held: u64,
    /// The most that may be held.
    pub allowed: u64,
}

/// The bytes of decompressed bodies that a connection holds, and the most it may.
///
/// Whoever decompresses checks the declared size ([`Caps::check`](crate::Caps::check)), reserves it here, decompresses,
/// and releases it when the body was taken or could not be read.
///
/// # Limits
/// The sum of what is reserved never passes the number it was made with; a refusal changes nothing.
///
/// ```
/// use np_compress::Budget;
/// let mut budget = Budget::new(1_000);
/// budget.reserve(600)?;
/// assert!(budget.reserve(401).is_err());
/// budget.release(600);
/// budget.reserve(1_000)?;
/// # Ok::<(), np_compress::BudgetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    allowed: u64,
    held: u64,
}

impl Budget {
    /// A budget of so many bytes, none of them in use.
    #[must_use]
    pub const fn new(allowed: u64) -> Self {
        Self { allowed, held: 0 }
    }

    /// Takes bytes out of the budget.
    ///
    /// # Errors
    /// Where they would pass what is allowed. Nothing is taken then.
    pub fn reserve(&mut self, bytes: u32) -> Result<(), BudgetError> {
        let refusal = BudgetError { wanted: bytes, held: self.held, allowed: self.allowed };
        let sum = self.held.checked_add(u64::from(bytes)).filter(|sum| *sum <= self.allowed).ok_or(refusal)?;
        self.held = sum;
        Ok(())
    }

    /// Gives bytes back. More than are held is the same as all of them.
    pub const fn release(&mut self, bytes: u32) {
        self.held = self.held.saturating_sub(bytes as u64);
    }

    /// The bytes in use.
    ///
    /// ```
    /// assert_eq!(np_compress::Budget::new(10).held(), 0);
    /// ```
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn the_budget_of_decompressed_bytes_is_exact_and_a_refusal_changes_nothing() {
        let mut budget = Budget::new(100);
        budget.reserve(60).unwrap();
        let error = budget.reserve(41).unwrap_err();
        assert_eq!((error.wanted, error.held, error.allowed), (41, 60, 100));
        assert!(error.to_string().contains("41 more where 60 are held and 100 allowed"), "{error}");
        assert_eq!(budget.held(), 60);
        budget.reserve(40).unwrap();
        assert!(budget.reserve(1).is_err());
        budget.release(1);
        budget.reserve(1).unwrap();
    }

    #[test]
    fn neither_end_of_the_counter_wraps() {
        let mut budget = Budget::new(u64::MAX);
        budget.held = u64::MAX;
        assert!(budget.reserve(1).is_err());
        budget.held = 5;
        budget.release(6);
        assert_eq!(budget.held(), 0);
    }
}
