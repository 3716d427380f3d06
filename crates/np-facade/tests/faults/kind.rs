//! The transports of the matrix: a server, a client that is welcome, and places for both.

use std::path::Path;
use std::sync::OnceLock;

use np_facade::raw::transport::{DevCertificates, dev_certificates};
use np_facade::{Client, ClientBuilder, Identity, Policy, SecretKey, Server, ServerBuilder, TlsClient, TlsServer};

use crate::middlebox::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    #[cfg(unix)]
    Unix,
    Tls,
}

impl Kind {
    pub(crate) const ALL: &[Self] = &[
        Self::Tcp,
        #[cfg(unix)]
        Self::Unix,
        Self::Tls,
    ];

    /// A place for a server or a middlebox whose files are in a folder.
    pub(crate) fn place(self, folder: &Path, name: &str) -> Place {
        match self {
            #[cfg(unix)]
            Self::Unix => Place::Unix(folder.join(name)),
            Self::Tcp | Self::Tls => {
                let _ = (folder, name);
                Place::Tcp(([127, 0, 0, 1], 0).into())
            }
        }
    }

    /// The place in the address of a server, as it has printed it.
    pub(crate) fn place_of(self, address: &str) -> Place {
        let place = address.split_once(':').unwrap().1.trim_start_matches("//");
        let place = place.split('?').next().unwrap();
        match self {
            #[cfg(unix)]
            Self::Unix => Place::Unix(place.into()),
            Self::Tcp | Self::Tls => Place::Tcp(place.parse().unwrap()),
        }
    }

    fn address(self, place: &Place) -> String {
        match (self, place) {
            (Self::Tls, Place::Tcp(address)) => format!("tls://{address}"),
            (_, Place::Tcp(address)) => format!("tcp://{address}"),
            #[cfg(unix)]
            (_, Place::Unix(path)) => format!("unix:{}", path.display()),
        }
    }

    pub(crate) fn server(self, place: &Place, certificates: &[String; 3]) -> ServerBuilder {
        let builder = match self {
            Self::Tls => {
                let [_, chain, key] = certificates;
                let tls = TlsServer::builder().certificate_pem(chain.as_str(), key.as_str()).build().unwrap();
                Server::builder_without_identity(Policy::anonymous()).tls(tls)
            }
            _ => Server::builder(identity(9), Policy::allow_keys([identity(7).public_key()])),
        };
        builder.listen(self.address(place))
    }

    pub(crate) fn client(self, place: &Place, certificates: &[String; 3]) -> ClientBuilder {
        let address = self.address(place);
        match self {
            Self::Tls => {
                Client::builder(address).tls(TlsClient::builder().ca_pem(certificates[0].as_str()).build().unwrap())
            }
            _ => Client::builder(format!("{address}?key={}", identity(9).public_key())).identity(identity(7)),
        }
    }
}

fn identity(number: u8) -> Identity {
    Identity::from_secret(SecretKey::from_bytes([number; 32]))
}

/// An authority, and a server's chain and key.
pub(crate) fn certificates() -> [String; 3] {
    static MADE: OnceLock<DevCertificates> = OnceLock::new();
    let made = MADE.get_or_init(|| dev_certificates(&[]).unwrap());
    [made.ca.to_string(), made.server.to_string(), made.server_key.to_string()]
}
