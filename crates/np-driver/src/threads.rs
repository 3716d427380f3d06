//! On which thread something runs. It must never know what that is.

thread_local! {
    /// Of each thread there is one, in a place of its own.
    static PLACE: u8 = const { 0 };
}

/// A number that no other thread has as long as this one lives; never 0.
#[inline]
pub(crate) fn here() -> usize {
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

#[cfg(test)]
mod tests {
    use super::here;

    #[test]
    fn each_thread_has_its_own() {
        let (first, second) = (here(), std::thread::spawn(here).join().unwrap());
        assert_eq!(first, here());
        assert_ne!(first, second);
        assert!(first != 0 && second != 0);
    }
}
