//! quinn: a stream of its own for each call, as its documents advise.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, Incoming, ServerConfig, TransportConfig, VarInt};

use crate::Failure;
use crate::certificate::{self, Certificate};
use crate::peer::{Connection, Dialer, Peer, Place, Served};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The largest body.
const BODY: usize = 16 << 20;

/// Calls at once; the default would hold up the workload with 128.
const STREAMS: u32 = 1_024;

/// The peer.
pub(crate) struct Quic;

/// The peer, before a connection.
pub(crate) struct QuicDialer {
    endpoint: Endpoint,
    address: SocketAddr,
}

impl Peer for Quic {
    type Dialer = QuicDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let certificate = Certificate::new()?;
        let crypto = QuicServerConfig::try_from(certificate.server()?)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        transport.max_concurrent_bidi_streams(VarInt::from_u32(STREAMS));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::server(config, ANY)?;
        let address = endpoint.local_addr()?;
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(serve(incoming));
            }
        });
        Ok(Served::at(address, &certificate.der))
    }

    fn dialer(&self, place: &Place) -> Result<QuicDialer, Failure> {
        let crypto = QuicClientConfig::try_from(certificate::client(&place.trust)?)?;
        let mut endpoint = Endpoint::client(ANY)?;
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        Ok(QuicDialer { endpoint, address: place.address.parse()? })
    }
}

async fn serve(incoming: Incoming) -> Result<(), Failure> {
    let connection = incoming.await?;
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        tokio::spawn(async move {
            let body = receive.read_to_end(BODY).await?;
            send.write_chunk(body.into()).await?;
            send.finish()?;
            Ok::<_, Failure>(())
        });
    }
}

impl Dialer for QuicDialer {
    type Connection = quinn::Connection;

    async fn dial(&self) -> Result<quinn::Connection, Failure> {
        Ok(self.endpoint.connect(self.address, certificate::NAME)?.await?)
    }
}

impl Connection for quinn::Connection {
    async fn call(&self, body: Bytes) -> Result<Bytes, Failure> {
        let (mut send, mut receive) = self.open_bi().await?;
        send.write_chunk(body).await?;
        send.finish()?;
        Ok(receive.read_to_end(BODY).await?.into())
    }

    async fn close(self) {
        Self::close(&self, VarInt::from_u32(0), &[]);
    }
}
