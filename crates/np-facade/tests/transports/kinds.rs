//! The kinds of transports, each with a server, a client that is welcome, and a server that refuses that client.

use std::sync::atomic::{AtomicUsize, Ordering};

use np_facade::{Client, ClientAuth, ClientBuilder, Decision, Identity, Policy, SecretKey, Server, ServerBuilder};

use crate::certificates::{asking_server, certificates, client, known_client, server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
    UnixAbstract,
    UnixLocal,
    Pipe,
    Mem,
    Tls,
    MutualTls,
    TlsNoise,
    Plaintext,
}

impl Kind {
    /// Those of this system.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Tcp, Self::Mem, Self::Tls, Self::MutualTls, Self::TlsNoise, Self::Plaintext];
        if cfg!(unix) {
            all.extend([Self::Unix, Self::UnixLocal]);
        }
        if cfg!(target_os = "linux") {
            all.push(Self::UnixAbstract);
        }
        if cfg!(windows) {
            all.push(Self::Pipe);
        }
        all
    }

    /// A place of this kind where nobody is.
    pub(crate) fn place(self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("np-matrix-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = std::env::temp_dir().join(&name);
        match self {
            Self::Tcp => "tcp://127.0.0.1:0".to_owned(),
            Self::Plaintext => "tcp://127.0.0.1:0?mode=danger-plaintext".to_owned(),
            Self::Tls | Self::MutualTls => "tls://127.0.0.1:0".to_owned(),
            Self::TlsNoise => "tls+noise://127.0.0.1:0".to_owned(),
            Self::Unix => format!("unix:{}", file.display()),
            Self::UnixLocal => format!("unix:{}?mode=local", file.display()),
            Self::UnixAbstract => format!("unix:@{name}"),
            Self::Pipe => format!("pipe:{name}"),
            Self::Mem => format!("mem:{name}"),
        }
    }

    /// A server at such a place.
    pub(crate) fn server(self) -> ServerBuilder {
        self.open(self.policy()).listen(self.place())
    }

    /// A server that lets nobody in whom these tests know.
    pub(crate) fn refusing_server(self) -> ServerBuilder {
        let nobody = match self {
            // A client without a certificate meets a server that asks for one.
            Self::MutualTls => self.policy(),
            Self::Tls => Policy::allow_spki(certificates().made.server_pin),
            Self::UnixLocal => Policy::allow_user("4294967294").unwrap(),
            Self::Plaintext => Policy::closure(|_| Decision::Refuse { reason: "nobody".to_owned() }),
            _ => Policy::allow_keys([Identity::generate().unwrap().public_key()]),
        };
        self.open(nobody).listen(self.place())
    }

    fn policy(self) -> Policy {
        match self {
            Self::Tls if std::env::var_os(crate::certificates::FOLDER).is_some() => Policy::anonymous(),
            Self::Tls => Policy::allow_spki(certificates().made.client_pin).or(Policy::anonymous()),
            Self::MutualTls => Policy::allow_san("np-dev-client").unwrap(),
            Self::UnixLocal => own_user(),
            Self::Plaintext => Policy::anonymous(),
            _ => Policy::allow_keys([member().public_key()]),
        }
    }

    fn open(self, policy: Policy) -> ServerBuilder {
        let identity = Identity::generate().unwrap();
        match self {
            Self::Tls => {
                let tls = asking_server().client_auth(ClientAuth::Optional).build().unwrap();
                Server::builder_without_identity(policy).tls(tls)
            }
            Self::MutualTls => Server::builder_without_identity(policy).tls(asking_server().build().unwrap()),
            Self::TlsNoise => Server::builder(identity, policy).tls(server().build().unwrap()),
            Self::UnixLocal | Self::Plaintext => Server::builder_without_identity(policy),
            _ => Server::builder(identity, policy),
        }
    }

    /// A client of an address of this kind, welcome at [`Self::server`].
    pub(crate) fn client(self, address: &str) -> ClientBuilder {
        let builder = Client::builder(address);
        match self {
            Self::Tls => builder.tls(client().build().unwrap()),
            Self::MutualTls => builder.tls(known_client().build().unwrap()),
            Self::TlsNoise => builder.tls(client().build().unwrap()).identity(member()),
            Self::UnixLocal | Self::Plaintext => builder,
            _ => builder.identity(member()),
        }
    }

    /// A client whom [`Self::refusing_server`] refuses.
    pub(crate) fn stranger(self, address: &str) -> ClientBuilder {
        match self {
            Self::MutualTls => Client::builder(address).tls(client().build().unwrap()),
            _ => self.client(address),
        }
    }
}

/// The key of the client that is welcome where keys count.
pub(crate) fn member() -> Identity {
    Identity::from_secret(SecretKey::from_bytes([7; 32]))
}

#[cfg(unix)]
pub(crate) fn own_user() -> Policy {
    use std::os::unix::fs::MetadataExt as _;
    // What this process makes belongs to its user.
    let made = tempfile::tempdir().unwrap();
    Policy::allow_user(&made.path().metadata().unwrap().uid().to_string()).unwrap()
}

/// No user is known there, where no kind goes by users.
#[cfg(not(unix))]
pub(crate) fn own_user() -> Policy {
    Policy::allow_keys([])
}
