//! `Server` and `Client`: the whole of np behind one import.
//!
//! This crate owns what a user writes first: builders with safe defaults, an identity, errors by kind. It must never
//! know a byte of the wire or a poll of a socket; the rooms below do.
//!
//! A server and a client, authenticated by key:
//!
//! ```
//! use np_facade::prelude::*;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = Server::builder(Identity::generate()?, Policy::anyone())
//!         .listen("tcp://127.0.0.1:0")
//!         .on("shout", |_ctx, body| Ok(body.to_ascii_uppercase()))
//!         .on_typed("add", |_ctx, (a, b): (i64, i64)| Ok(a + b))
//!         .start()
//!         .await?;
//!
//!     // The address names the server's key: nobody else can answer for it.
//!     let client = Client::connect(&server.addresses()[0].to_string()).await?;
//!     assert_eq!(client.call("shout", "hello").await?, "HELLO");
//!     assert_eq!(client.call_as::<i64>("add", &(2i64, 3i64)).await?, 5);
//!
//!     client.close().await;
//!     server.shutdown(std::time::Duration::from_secs(10)).await;
//!     Ok(())
//! }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod client_builder;
mod config;
mod crypto;
mod error;
mod identity;
mod key_log;
mod listen;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
pub mod prelude;
pub mod raw;
mod server;
mod status;
#[cfg(feature = "tower")]
pub mod tower;

pub use client::breaker::CircuitBreaker;
pub use client::events::{ClientEvent, ClientEvents};
pub use client::keeping::Balance;
pub use client::resolver::{ResolveError, Resolver};
pub use client::{Call, Client};
pub use client_builder::ClientBuilder;
pub use config::{
    ClientConfig, Config, ConfigError, ConfigProblem, ConfigSource, LogFormat, LogLevel, LoggingConfig, Reload,
    ServerConfig, TransportConfig,
};
pub use crypto::{default_suite, provider};
pub use error::{Error, ErrorKind};
pub use identity::Identity;
pub use np_compress::{Algorithm, Encoder, Settings as CompressionSettings};
pub use np_dispatch::{
    Answer, AttemptEnd, CallContext, CodecError, Epoch, Handler, Health, HealthState, InstanceId, Message,
    MessageReceiver, MessageSender, MessageStream, MethodOptions, OnceClient, OnceError, OnceHeader, OnceNext,
    OnceSettings, RegisterError, Reply, Router, Schema, StreamHandler, Target, TypedReceiver, TypedSender, TypedStream,
    bytes, bytes_async, decode, decode_borrowed, encode, encode_as, stream, typed, typed_async,
};
pub use np_driver::{
    ByteReader, ByteStream, ByteWriter, Clock, Compression, Connection, KeyLog, Lifetime, OnceStatus, Priority,
    Request, ServerStatus, Telemetry, WhenFull, random_psk, random_secret_key, random_sign_key,
};
pub use np_noise::{Keypair, Pattern, Provider};
pub use np_transport::{
    Address, AddressError, BindOptions, ClientAuth, ConnectOptions, InheritedSocket, Scheme, SecurityMode,
    SocketOptions, TlsClient, TlsClientBuilder, TlsError, TlsInfo, TlsServer, TlsServerBuilder, TlsSetupError,
    TlsSuite, TlsVersion, TransportError,
};
#[cfg(feature = "dev-certificates")]
pub use np_transport::{DevCertificates, DevCertificatesError, dev_certificates};
pub use np_trust::{
    AllowEntry, AllowList, AllowListError, Decision, KeyFileError, KeyFileMode, KeyFileProblem, KnownPeer, KnownPeers,
    KnownPeersError, NewFileMode, Policy, PolicyError, Proof, PskIdError, Psks, checks_mode, psk_id, read_psk,
    read_secret_key, read_sign_key, write_new_file, write_new_secret,
};
pub use np_types::{
    CallError, CloseCode, CodeClass, Codec, ConnectionError, Deadline, Fingerprint, Incompatible, KeyError, LimitHit,
    LimitName, Limits, LimitsError, LocalPeer, Malformed, Metadata, MetadataError, MethodName, Misbehaved, Misuse,
    Outcome, PeerIdentity, Psk, PublicKey, SecretKey, SignKey, Status, Suite, TraceContext, UnixMillis, VerifyKey,
    escape, escape_path,
};
pub use server::{Server, ServerBuilder};

/// The method name of the message-style stream: what [`Client::send`] and [`Client::recv`] use.
///
/// ```
/// assert_eq!(np_facade::MESSAGES, "messages");
/// ```
pub const MESSAGES: &str = "messages";
