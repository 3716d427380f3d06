//! What a node tells about itself, and the keys of np's own that carry it.

use crate::error::ClusterError;
use crate::limits::{ADDRESSES_MAX, ATTRIBUTE_MAX};

/// How the keys of np's own begin.
pub(crate) const RESERVED: &str = "np.";
/// The node said that it leaves.
pub(crate) const LEFT: &str = "np.left";
/// What the node has taken over of the keys that it had before it started again.
pub(crate) const READY: &str = "np.ready";
const SERVICE: &str = "np.service";
const VERSION: &str = "np.version";
const ZONE: &str = "np.zone";
const ADDRESSES: &str = "np.addresses";

/// What a node tells about itself. Empty texts are not told.
///
/// ```
/// let attributes = np_cluster::Attributes { zone: "eu-1".to_owned(), ..np_cluster::Attributes::default() };
/// assert!(attributes.addresses.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The service that the node is part of.
    pub service: String,
    /// The version of the program.
    pub version: String,
    /// Where the node stands.
    pub zone: String,
    /// Where its service is reached, in the form that clients take.
    pub addresses: Vec<String>,
}

impl Attributes {
    /// Checks the lengths; each attribute is one line.
    pub(crate) fn check(&self) -> Result<(), ClusterError> {
        let fits = |text: &str| text.len() <= ATTRIBUTE_MAX && !text.contains(['\n', '\r']);
        for (name, text) in [("service", &self.service), ("version", &self.version), ("zone", &self.zone)] {
            if !fits(text) {
                return Err(ClusterError::Attribute(name));
            }
        }
        let addresses = self.addresses.len() <= ADDRESSES_MAX && self.addresses.iter().all(|address| fits(address));
        addresses.then_some(()).ok_or(ClusterError::Attribute("addresses"))
    }

    /// The keys and stored values that carry it.
    pub(crate) fn entries(&self) -> Vec<(String, String)> {
        let addresses = self.addresses.join("\n");
        [(SERVICE, &self.service), (VERSION, &self.version), (ZONE, &self.zone), (ADDRESSES, &addresses)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| (key.to_owned(), text.clone()))
            .collect()
    }

    /// Takes up what a key of np's own says. What is too long is cut: a member may say anything.
    pub(crate) fn take(&mut self, key: &str, text: &str) {
        match key {
            SERVICE => self.service = cut(text),
            VERSION => self.version = cut(text),
            ZONE => self.zone = cut(text),
            ADDRESSES => self.addresses = text.split('\n').take(ADDRESSES_MAX).map(cut).collect(),
            _ => {}
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(ATTRIBUTE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
