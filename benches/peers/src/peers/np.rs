//! np by its facade, as a program would use it.

use bytes::Bytes;
use np_facade::prelude::*;
use np_facade::raw::noise::RustCrypto;
use np_facade::{ClientBuilder, ServerBuilder, TlsServer};

use crate::Failure;
use crate::certificate::Certificate;
use crate::peer::{Connection, Dialer, Peer, Place, Served};

/// What is under np.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Way {
    /// TCP, Noise XX.
    #[default]
    Tcp,
    /// TCP, TLS 1.3, with a certificate of the server's, whose pin the client knows.
    Tls,
    /// A Unix socket, Noise XX.
    Unix,
}

/// np over one transport.
#[derive(Default)]
pub(crate) struct Np {
    /// The transport.
    pub(crate) way: Way,
    /// What the client adds to the address that the server printed, such as `&suite=chacha`.
    pub(crate) options: &'static str,
    /// Whether both sides compute in Rust alone.
    pub(crate) rust: bool,
    /// Whether a client that is to make a call connects first, and waits to hear whether the server takes it.
    pub(crate) waits: bool,
}

/// np, before a connection.
pub(crate) struct NpDialer {
    address: String,
    identity: Option<Identity>,
    rust: bool,
    waits: bool,
}

impl Peer for Np {
    type Dialer = NpDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let folder = tempfile::tempdir()?;
        let builder = match self.way {
            Way::Tcp => with_identity()?.listen("tcp://127.0.0.1:0"),
            Way::Unix => with_identity()?.listen(format!("unix:{}", folder.path().join("np.sock").display())),
            Way::Tls => {
                let certificate = Certificate::new()?;
                let tls = TlsServer::builder().certificate_pem(certificate.pem, certificate.key_pem).build()?;
                Server::builder_without_identity(Policy::anonymous()).tls(tls).listen("tls://127.0.0.1:0")
            }
        };
        let builder = if self.rust { builder.provider(&RustCrypto) } else { builder };
        let server = builder.start().await?;
        let address = server.addresses().first().ok_or("the server has no address")?.to_string();
        Ok(Served { place: Place { address, trust: Vec::new() }, keep: Box::new((server, folder)) })
    }

    fn dialer(&self, place: &Place) -> Result<NpDialer, Failure> {
        let identity = match self.way {
            Way::Tls => None,
            Way::Tcp | Way::Unix => Some(Identity::generate()?),
        };
        Ok(NpDialer {
            address: format!("{}{}", place.address, self.options),
            identity,
            rust: self.rust,
            waits: self.waits,
        })
    }
}

fn with_identity() -> Result<ServerBuilder, Failure> {
    Ok(Server::builder(Identity::generate()?, Policy::anyone()))
}

impl Dialer for NpDialer {
    type Connection = Client;

    async fn dial(&self) -> Result<Client, Failure> {
        Ok(self.builder().connect().await?)
    }

    async fn dial_and_call(&self, body: Bytes) -> Result<(Client, Bytes), Failure> {
        if self.waits {
            let client = self.dial().await?;
            let answer = Connection::call(&client, body).await?;
            return Ok((client, answer));
        }
        let (client, answer) = self.builder().connect_and_call("np.echo", body).await?;
        Ok((client, answer?.body))
    }
}

impl NpDialer {
    fn builder(&self) -> ClientBuilder {
        let mut builder = Client::builder(&self.address);
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        if self.rust {
            builder = builder.provider(&RustCrypto);
        }
        builder
    }
}

impl Connection for Client {
    async fn call(&self, body: Bytes) -> Result<Bytes, Failure> {
        Ok(Self::call(self, "np.echo", body).await?)
    }

    async fn close(self) {
        Self::close(&self).await;
    }
}
