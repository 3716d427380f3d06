//! A confidence interval for a share: Wilson's, which is right for small samples and for shares near 0 and 1.

/// The point of the normal distribution that leaves 2.5 % on each side.
const Z: f64 = 1.959_963_984_540_054;

/// The interval of 95 % for a share of which `hits` of `all` were seen, or all of it where nothing was.
pub(super) fn interval(hits: u64, all: u64) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, share, square) = (all as f64, hits as f64 / all as f64, Z * Z);
    let middle = (share + square / (2.0 * n)) / (1.0 + square / n);
    let half = Z / (1.0 + square / n) * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::interval;

    fn near(found: (f64, f64), wanted: (f64, f64)) -> bool {
        (found.0 - wanted.0).abs() < 5e-5 && (found.1 - wanted.1).abs() < 5e-5
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        assert!(near(interval(5, 10), (0.2366, 0.7634)), "{:?}", interval(5, 10));
        assert!(near(interval(190, 200), (0.9104, 0.9726)), "{:?}", interval(190, 200));
        assert!(near(interval(1, 50), (0.0035, 0.1050)), "{:?}", interval(1, 50));
    }

    #[test]
    fn the_ends_stay_within_nothing_and_all() {
        assert_eq!(interval(0, 0), (0.0, 1.0));
        assert!(near(interval(10, 10), (0.7225, 1.0)), "{:?}", interval(10, 10));
        assert!(near(interval(0, 10), (0.0, 0.2775)), "{:?}", interval(0, 10));
    }
}
