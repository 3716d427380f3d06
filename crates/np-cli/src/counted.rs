//! Numbers of things in words.

use std::fmt::Display;

/// So many of something: `1 call`, `2 calls`, `0 calls`.
pub(crate) fn counted(count: impl Display, one: &str, many: &str) -> String {
    let count = count.to_string();
    let what = if count == "1" { one } else { many };
    format!("{count} {what}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_told_from_none_and_several() {
        assert_eq!(
            [0, 1, 2, 11].map(|count| counted(count, "reply", "replies")),
            ["0 replies", "1 reply", "2 replies", "11 replies"]
        );
    }
}
