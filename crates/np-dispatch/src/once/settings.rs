//! How much a server remembers of exactly-once calls.

use std::time::Duration;

use np_types::LimitsError;

/// How much a server remembers of exactly-once calls, and for how long.
///
/// What does not fit takes the place of the oldest answered calls of the same identity, never of another's: a retry of a
/// call that is forgotten so is answered *outcome unknown*. Where an identity has nothing left to give up, or all of them
/// together fill the server's share, the call is refused as safe to send again.
///
/// Instances make way in the same manner, with one addition: an identity that has none takes the place of an *empty* one
/// where `max_instances` is reached, of which no call runs and no reply is remembered that was not acknowledged. Whoever
/// holds the most instances gives first, and of them the one that was used longest ago.
///
/// # Limits
/// In the worst case `max_remembered_bytes` + `max_remembered` * 384 bytes + `max_instances` * 512 bytes: 288 MiB by
/// default, of which one identity can take 34 MiB. Clients that prove no identity count as one. Handlers at work cost what
/// theirs do, as for other calls.
///
/// ```
/// use np_dispatch::OnceSettings;
/// let settings = OnceSettings { max_identity_remembered: 100, ..OnceSettings::default() };
/// settings.validate()?;
/// # Ok::<(), np_types::LimitsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OnceSettings {
    /// Calls that run, or whose replies are remembered, of all clients. Default 65,536.
    pub max_remembered: usize,
    /// The same of one identity, over all of its instances. Default 4,096.
    pub max_identity_remembered: usize,
    /// Bytes of requests that run and of replies that are remembered, of all clients. Default 256 MiB.
    pub max_remembered_bytes: usize,
    /// The same of one identity. A longer request is refused, a longer reply not remembered. Default 32 MiB.
    pub max_identity_remembered_bytes: usize,
    /// Instances of all clients. One identity has at most 4 times as many of them as it leaves free, and beyond that
    /// gives up its own, so that others find some. Default 16,384.
    pub max_instances: usize,
    /// Instances of one identity; one more takes the place of its own that was used longest ago. Default 1,024.
    pub max_identity_instances: usize,
    /// How long a reply is remembered that was not acknowledged, and an instance that calls no more. Default 10 min.
    pub remember_for: Duration,
}

impl Default for OnceSettings {
    fn default() -> Self {
        Self {
            max_remembered: 65_536,
            max_identity_remembered: 4_096,
            max_remembered_bytes: 256 << 20,
            max_identity_remembered_bytes: 32 << 20,
            max_instances: 16_384,
            max_identity_instances: 1_024,
            remember_for: Duration::from_secs(600),
        }
    }
}

impl OnceSettings {
    /// Checks that each setting is at least 1, and that a share is not larger than its whole.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let wrong = |setting, value: usize, rule| LimitsError { setting, value: value as u64, rule };
        for (setting, share, whole) in [
            ("max_identity_remembered", self.max_identity_remembered, self.max_remembered),
            ("max_identity_remembered_bytes", self.max_identity_remembered_bytes, self.max_remembered_bytes),
            ("max_identity_instances", self.max_identity_instances, self.max_instances),
        ] {
            if share == 0 || share > whole {
                return Err(wrong(setting, share, "1 to the limit for all identities"));
            }
        }
        if self.remember_for.is_zero() {
            return Err(wrong("remember_for", 0, "longer than 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::OnceSettings;

    #[test]
    fn each_setting_has_a_range() {
        let default = OnceSettings::default();
        default.validate().unwrap();
        let whole = OnceSettings { max_identity_remembered: 65_536, ..default };
        whole.validate().unwrap();
        for (settings, name) in [
            (OnceSettings { max_identity_remembered: 65_537, ..default }, "max_identity_remembered"),
            (OnceSettings { max_identity_remembered: 0, ..default }, "max_identity_remembered"),
            (OnceSettings { max_remembered_bytes: 0, ..default }, "max_identity_remembered_bytes"),
            (OnceSettings { max_instances: 1_023, ..default }, "max_identity_instances"),
            (OnceSettings { remember_for: Duration::ZERO, ..default }, "remember_for"),
        ] {
            assert_eq!(settings.validate().unwrap_err().setting, name);
        }
    }
}
