//! What a node says of itself when a link opens: bytes and their checks. Must never decide whether it is true.

use std::net::SocketAddr;

use np_facade::escape;
use serde::{Deserialize, Serialize};

/// The version of what travels on a gossip stream.
const VERSION: u8 = 1;

/// The longest announcement, in bytes.
const MAX_ANNOUNCEMENT: usize = 1_024;

/// The longest name of a node or a cluster, in bytes.
pub(crate) const MAX_NAME: usize = 64;

/// The first message of either side of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    version: u8,
    /// Which cluster the node belongs to.
    pub(crate) cluster: String,
    /// What the node calls itself.
    pub(crate) name: String,
    /// Where it is to be reached.
    pub(crate) address: SocketAddr,
    /// Which run of the node it is: drawn when it starts.
    pub(crate) instance: [u8; 16],
}

impl Announcement {
    pub(crate) const fn new(cluster: String, name: String, address: SocketAddr, instance: [u8; 16]) -> Self {
        Self { version: VERSION, cluster, name, address, instance }
    }

    /// The bytes that travel.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Numbers and short texts can always be written.
        np_facade::encode(self).map(Vec::from).unwrap_or_default()
    }

    /// Reads one, or says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let malformed = || "the first message of a gossip stream is no announcement".to_owned();
        if bytes.len() > MAX_ANNOUNCEMENT {
            return Err(malformed());
        }
        // Before the rest, which another version may lay out otherwise.
        match bytes.first() {
            Some(&VERSION) => {}
            Some(other) => {
                return Err(format!(
                    "the gossip stream has version {other}, and this node speaks {VERSION}; run one version of np in a cluster"
                ));
            }
            None => return Err(malformed()),
        }
        let read: Self = np_facade::decode(np_facade::Codec::Postcard, bytes).map_err(|_| malformed())?;
        check_name("the name of a node", &read.name)?;
        check_name("the name of a cluster", &read.cluster)?;
        if read.address.ip().is_unspecified() || read.address.port() == 0 {
            let address = read.address;
            return Err(format!("{address} is no address that a node is reached at; set --advertise"));
        }
        Ok(read)
    }
}

/// Refuses what would not do as a name in tables, allow lists and logs.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    let shown = escape(name, MAX_NAME);
    Err(format!("{what} is 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`, and `{shown}` is not"))
}

#[cfg(test)]
mod tests {
    use super::{Announcement, MAX_NAME};

    fn announcement(name: &str, address: &str) -> Announcement {
        Announcement::new("shop".to_owned(), name.to_owned(), address.parse().unwrap(), [7; 16])
    }

    #[test]
    fn an_announcement_goes_round() {
        for address in ["10.0.0.1:7000", "[2001:db8::1]:7000"] {
            let said = announcement("orders-1.eu_west", address);
            assert_eq!(Announcement::decode(&said.encode()), Ok(said));
        }
    }

    #[test]
    fn names_are_bounded_and_plain() {
        let decode = |name: &str| Announcement::decode(&announcement(name, "10.0.0.1:7000").encode());
        assert!(decode(&"a".repeat(MAX_NAME)).is_ok());
        for wrong in ["", "a b", "a\u{1b}[2J", "ä", "a/b", &"a".repeat(MAX_NAME + 1)] {
            let error = decode(wrong).unwrap_err();
            assert!(error.contains("1 to 64 letters") && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn addresses_that_lead_nowhere_are_refused() {
        for address in ["0.0.0.0:7000", "[::]:7000", "10.0.0.1:0"] {
            let error = Announcement::decode(&announcement("a", address).encode()).unwrap_err();
            assert!(error.contains("--advertise"), "{error}");
        }
    }

    #[test]
    fn what_is_no_announcement_is_refused_and_another_version_by_its_number() {
        let good = announcement("a", "10.0.0.1:7000").encode();
        let mut other = good.clone();
        other[0] = 2;
        assert!(Announcement::decode(&other).unwrap_err().contains("version 2"));
        for end in 0..good.len() {
            assert!(Announcement::decode(&good[..end]).is_err());
        }
        assert!(Announcement::decode(&[1; 2_000]).unwrap_err().contains("no announcement"));
    }
}
