//! The peers, one module each, and the table of their names.

mod by_hand;
mod grpc;
mod np;
mod predecessor;
mod quic;
mod tarpc;

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

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// The name, on the command line and in tables.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) text: &'static str,
    /// The package whose version belongs to it.
    pub(crate) package: &'static str,
    /// Whether it encrypts.
    pub(crate) secure: bool,
}

const fn about(name: &'static str, package: &'static str, secure: bool, text: &'static str) -> About {
    About { name, text, package, secure }
}

/// Every peer, in the order of the tables.
pub(crate) const ALL: &[About] = &[
    about("raw", "tokio", false, "plaintext TCP, written by hand"),
    about("rustls", "rustls", true, "TLS 1.3 by rustls with aws-lc-rs (AES-256-GCM), written by hand"),
    about("snow", "snow", true, "Noise XX by snow with its default resolver, written by hand; the base of the ratios"),
    about("snow-ring", "snow", true, "the same with ring where ring has the primitive"),
    about("network-protocol", "network-protocol", true, "np's predecessor, its own encryption"),
    about("tonic", "tonic", false, "gRPC, plaintext"),
    about("tonic-tls", "tonic", true, "gRPC, TLS 1.3 by rustls with aws-lc-rs"),
    about("tarpc", "tarpc", false, "bincode over TCP, plaintext"),
    about("quinn", "quinn", true, "QUIC by rustls with aws-lc-rs, a stream for each call"),
    about(
        "np",
        "np-facade",
        true,
        "TCP, Noise XX; AES-256-GCM where the processor has it; AWS-LC; E by `connect_and_call`",
    ),
    about(
        "np-waits",
        "np-facade",
        true,
        "as np; E by `connect`, which waits for the server's verdict, and a call then",
    ),
    about("np-chacha", "np-facade", true, "TCP, Noise XX; ChaCha20-Poly1305; AWS-LC"),
    about("np-rust", "np-facade", true, "TCP, Noise XX; ChaCha20-Poly1305; RustCrypto"),
    about("np-tls", "np-facade", true, "TCP, TLS 1.3 with np's defaults: X25519MLKEM768"),
    about("np-unix", "np-facade", true, "Unix socket, Noise XX"),
];

/// Does it with the peer of a name.
pub(crate) async fn visit<V: Visitor>(name: &str, visitor: V) -> Result<V::Output, Failure> {
    match name {
        "raw" => visitor.visit(by_hand::Raw).await,
        "rustls" => visitor.visit(by_hand::Tls).await,
        "snow" => visitor.visit(by_hand::Snow { ring: false }).await,
        "snow-ring" => visitor.visit(by_hand::Snow { ring: true }).await,
        "network-protocol" => visitor.visit(predecessor::Predecessor).await,
        "tonic" => visitor.visit(grpc::Tonic { tls: false }).await,
        "tonic-tls" => visitor.visit(grpc::Tonic { tls: true }).await,
        "tarpc" => visitor.visit(tarpc::Tarpc).await,
        "quinn" => visitor.visit(quic::Quic).await,
        "np" => visitor.visit(np::Np::default()).await,
        "np-waits" => visitor.visit(np::Np { waits: true, ..np::Np::default() }).await,
        "np-chacha" => visitor.visit(np::Np { options: "&suite=chacha", ..np::Np::default() }).await,
        "np-rust" => visitor.visit(np::Np { options: "&suite=chacha", rust: true, ..np::Np::default() }).await,
        "np-tls" => visitor.visit(np::Np { way: np::Way::Tls, ..np::Np::default() }).await,
        "np-unix" => visitor.visit(np::Np { way: np::Way::Unix, ..np::Np::default() }).await,
        other => {
            let names: Vec<_> = ALL.iter().map(|about| about.name).collect();
            Err(format!("no peer `{other}`; there are {}", names.join(", ")).into())
        }
    }
}
