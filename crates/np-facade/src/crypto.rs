//! Who computes the cryptography of this program, and which suite its processor is fast at. Must never set anything for the
//! process: what stands here goes down as arguments.

use np_noise::{Provider, Suite};

/// The provider of handshakes by key and of their records: AWS-LC with the feature `fast-crypto`, which is on by default;
/// else the one in Rust. Peers cannot tell them apart.
///
/// ```
/// let name = np_facade::provider().name();
/// assert_eq!(name, if cfg!(feature = "fast-crypto") { "AWS-LC" } else { "RustCrypto" });
/// ```
#[must_use]
pub fn provider() -> &'static dyn Provider {
    #[cfg(feature = "fast-crypto")]
    return &np_noise::AwsLc;
    #[cfg(not(feature = "fast-crypto"))]
    &np_noise::RustCrypto
}

/// The suite that a client asks for where neither its address nor a setting names one: AES-256-GCM on a processor with
/// instructions for AES and for carry-less products, else ChaCha20-Poly1305. Either is safe; what is fast differs.
///
/// ```
/// use np_facade::{Suite, default_suite};
/// assert!(Suite::ALL.contains(&default_suite()));
/// ```
#[must_use]
pub fn default_suite() -> Suite {
    if has_aes() { Suite::AesGcm } else { Suite::ChaChaPoly }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

/// What the standard library calls `aes` there has the products beside.
#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
const fn has_aes() -> bool {
    false
}

/// The suite that a server's address names for its clients where it was told none: the only one that it takes, or the one
/// that it is faster at where that is not what they would ask for.
pub(crate) fn advised(taken: &[Suite], fast: Suite) -> Option<Suite> {
    match taken {
        [only] => Some(*only),
        taken if fast == Suite::ChaChaPoly && taken.contains(&fast) => Some(fast),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Suite, advised};

    #[test]
    fn an_address_names_chacha_where_the_server_has_no_aes_and_the_only_suite_where_there_is_one() {
        let (chacha, aes) = (Suite::ChaChaPoly, Suite::AesGcm);
        assert_eq!(advised(&Suite::ALL, aes), None);
        assert_eq!(advised(&Suite::ALL, chacha), Some(chacha));
        for fast in Suite::ALL {
            assert_eq!(advised(&[aes], fast), Some(aes));
            assert_eq!(advised(&[chacha], fast), Some(chacha));
        }
    }
}
