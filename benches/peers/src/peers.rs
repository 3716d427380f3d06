//! The peers, one module each, and the table of their names.

mod by_hand;
mod np;

use crate::Failure;
use crate::peer::Peer;

/// What is to be done with a peer, whichever it is.
pub(crate) trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    async fn visit(self, peer: impl Peer) -> Result<Self::Output, Failure>;
}

/// The peer that ratios are taken to.
pub(crate) const BASE: &str = "snow";

/// Every peer: its name, and what it is.
pub(crate) const ALL: &[(&str, &str)] = &[
    ("raw", "plaintext TCP, written by hand"),
    ("snow", "Noise XX by snow, written by hand; the base of the ratios"),
    ("snow-ring", "the same with ring's primitives, where it has them"),
    ("np", "np, TCP and Noise XX"),
];

/// Does it with the peer of a name.
pub(crate) async fn visit<V: Visitor>(name: &str, visitor: V) -> Result<V::Output, Failure> {
    match name {
        "raw" => visitor.visit(by_hand::Raw).await,
        "snow" => visitor.visit(by_hand::Snow { ring: false }).await,
        "snow-ring" => visitor.visit(by_hand::Snow { ring: true }).await,
        "np" => visitor.visit(np::Np { listen: "tcp://127.0.0.1:0", options: "" }).await,

        other => {
            let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
            Err(format!("no peer `{other}`; there are {}", names.join(", ")).into())
        }
    }
}
