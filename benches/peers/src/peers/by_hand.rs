//! The peers that are written by hand, over TCP: plaintext, rustls, and snow with two sets of primitives.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Failure;
use crate::certificate::{self, Certificate};
use crate::hand::client::Client;
use crate::hand::noise::Party;
use crate::hand::server::echo;
use crate::hand::wire::Plain;
use crate::peer::{Dialer, Peer, Place, Served};

async fn listen() -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(listener: &TcpListener) -> Result<TcpStream, Failure> {
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn dial(address: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Plaintext.
pub(crate) struct Raw;

/// Plaintext, before a connection.
pub(crate) struct RawDialer(SocketAddr);

impl Peer for Raw {
    type Dialer = RawDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let (listener, address) = listen().await?;
        tokio::spawn(async move {
            while let Ok(socket) = accept(&listener).await {
                tokio::spawn(echo(Plain(socket)));
            }
        });
        Ok(Served::at(address, &[]))
    }

    fn dialer(&self, place: &Place) -> Result<RawDialer, Failure> {
        Ok(RawDialer(place.address.parse()?))
    }
}

impl Dialer for RawDialer {
    type Connection = Client;

    async fn dial(&self) -> Result<Client, Failure> {
        Ok(Client::start(Plain(dial(self.0).await?)))
    }
}

/// Noise XX by snow.
pub(crate) struct Snow {
    /// Whether ring does what it can.
    pub(crate) ring: bool,
}

/// Noise XX by snow, before a connection.
pub(crate) struct SnowDialer {
    address: SocketAddr,
    party: Party,
    server: Vec<u8>,
}

impl Peer for Snow {
    type Dialer = SnowDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let (listener, address) = listen().await?;
        let (party, public) = Party::new(self.ring)?;
        let party = Arc::new(party);
        tokio::spawn(async move {
            while let Ok(socket) = accept(&listener).await {
                let party = Arc::clone(&party);
                tokio::spawn(async move {
                    // The handshake's state is on the heap, so that the long-lived task does not carry it.
                    let wire = Box::pin(party.accept(socket)).await?;
                    echo(wire).await?;
                    Ok::<_, Failure>(())
                });
            }
        });
        Ok(Served::at(address, &public))
    }

    fn dialer(&self, place: &Place) -> Result<SnowDialer, Failure> {
        let (party, _) = Party::new(self.ring)?;
        Ok(SnowDialer { address: place.address.parse()?, party, server: place.trust.clone() })
    }
}

impl Dialer for SnowDialer {
    type Connection = Client;

    async fn dial(&self) -> Result<Client, Failure> {
        Ok(Client::start(self.party.connect(dial(self.address).await?, &self.server).await?))
    }
}

/// TLS 1.3 by rustls, with a certificate of the server's.
pub(crate) struct Tls;

/// TLS, before a connection.
pub(crate) struct TlsDialer {
    address: SocketAddr,
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Peer for Tls {
    type Dialer = TlsDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let (listener, address) = listen().await?;
        let certificate = Certificate::new()?;
        let acceptor = TlsAcceptor::from(Arc::new(certificate.server()?));
        tokio::spawn(async move {
            while let Ok(socket) = accept(&listener).await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // As with Noise: what the handshake needs goes with it.
                    let stream = Box::pin(acceptor.accept(socket)).await?;
                    echo(Plain(stream)).await
                });
            }
        });
        Ok(Served::at(address, &certificate.der))
    }

    fn dialer(&self, place: &Place) -> Result<TlsDialer, Failure> {
        let connector = TlsConnector::from(Arc::new(certificate::client(&place.trust)?));
        Ok(TlsDialer { address: place.address.parse()?, connector, name: ServerName::try_from(certificate::NAME)? })
    }
}

impl Dialer for TlsDialer {
    type Connection = Client;

    async fn dial(&self) -> Result<Client, Failure> {
        let socket = dial(self.address).await?;
        Ok(Client::start(Plain(self.connector.connect(self.name.clone(), socket).await?)))
    }
}
