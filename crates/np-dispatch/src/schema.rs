//! Fingerprints by which caller and method find out that their types differ. Must never know what the types are: a text
//! of the application's stands for them.

use std::fmt;

use np_types::{CallError, Metadata, MetadataError, Status};
use sha2::{Digest as _, Sha256};

/// The fingerprint of what a method reads and answers: the first 8 bytes of the SHA-256 of a text that the application
/// chooses, such as `orders/3`, and changes whenever its types do.
///
/// A method tells its own in [`MethodOptions::schema`](crate::MethodOptions::schema), and `np.methods` shows it. A call
/// that expects another is answered with [`Status::SchemaMismatch`], and so is one that expects any of a method that
/// tells none; the handler does not run then. A call that expects nothing is always taken.
///
/// ```
/// use np_dispatch::Schema;
/// let schema = Schema::of("orders/3");
/// assert_eq!(schema.to_string(), "db3c6e4e166f1734");
/// assert_ne!(schema, Schema::of("orders/4"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schema([u8; 8]);

impl Schema {
    /// The key of the pair by which a call says what it expects; its value is the fingerprint's 8 bytes.
    pub const KEY: &str = "np-schema";

    /// The fingerprint of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut first = [0; 8];
        first.iter_mut().zip(Sha256::digest(text.as_bytes())).for_each(|(to, from)| *to = from);
        Self(first)
    }

    /// The fingerprint's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// Makes a call with this metadata expect the fingerprint.
    ///
    /// # Errors
    /// When the metadata has no room for one more pair, or expects one already.
    ///
    /// ```
    /// use np_dispatch::Schema;
    /// let mut metadata = np_types::Metadata::new();
    /// Schema::of("orders/3").expect_in(&mut metadata)?;
    /// assert_eq!(metadata.value(Schema::KEY), Some(&Schema::of("orders/3").to_bytes()[..]));
    /// # Ok::<(), np_types::MetadataError>(())
    /// ```
    pub fn expect_in(self, metadata: &mut Metadata) -> Result<(), MetadataError> {
        metadata.insert(Self::KEY, &self.0)
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Refuses a call that expects another schema than its method has.
pub(crate) fn check(own: Option<Schema>, metadata: &Metadata) -> Result<(), CallError> {
    let Some(expected) = metadata.value(Schema::KEY) else {
        return Ok(());
    };
    let text = match (own, <[u8; 8]>::try_from(expected).map(Schema)) {
        (Some(own), Ok(expected)) if own == expected => return Ok(()),
        (Some(own), Ok(expected)) => format!("the caller expects schema {expected}, the method has {own}"),
        (None, Ok(expected)) => format!("the caller expects schema {expected}, the method tells none"),
        (_, Err(_)) => format!("the caller's `{}` has {} bytes instead of 8", Schema::KEY, expected.len()),
    };
    Err(CallError::answered(Status::SchemaMismatch, text))
}

#[cfg(test)]
mod tests {
    use np_types::{Metadata, Status};

    use super::{Schema, check};

    fn expecting(value: &[u8]) -> Metadata {
        let mut metadata = Metadata::new();
        metadata.insert(Schema::KEY, value).unwrap();
        metadata
    }

    #[test]
    fn a_call_is_taken_where_it_expects_nothing_or_the_same() {
        let own = Schema::of("orders/3");
        check(Some(own), &Metadata::new()).unwrap();
        check(None, &Metadata::new()).unwrap();
        let mut metadata = Metadata::new();
        own.expect_in(&mut metadata).unwrap();
        check(Some(own), &metadata).unwrap();
        assert!(own.expect_in(&mut metadata).is_err());
    }

    #[test]
    fn a_mismatch_names_both_sides() {
        let (own, other) = (Schema::of("orders/3"), Schema::of("orders/4"));
        let error = check(Some(own), &expecting(&other.to_bytes())).unwrap_err();
        assert_eq!(error.status, Status::SchemaMismatch);
        assert!(error.text.contains(&own.to_string()) && error.text.contains(&other.to_string()), "{error}");
        let error = check(None, &expecting(&other.to_bytes())).unwrap_err();
        assert_eq!(error.status, Status::SchemaMismatch);
        assert!(error.text.contains(&other.to_string()), "{error}");
        for value in [&[][..], &own.to_bytes()[..7], &[0; 9]] {
            let error = check(Some(own), &expecting(value)).unwrap_err();
            assert_eq!(error.status, Status::SchemaMismatch);
        }
    }
}
