//! tarpc over TCP, with bincode and without encryption.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tarpc::tokio_util::codec::length_delimited::Builder;
use tarpc::{client, context, serde_transport};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;
use crate::peer::{Connection, Dialer, Peer, Place, Served};

/// Room for the largest body and what stands beside it.
const FRAME: usize = 16 << 20;

#[tarpc::service]
pub(crate) trait Echo {
    async fn echo(body: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: context::Context, body: Bytes) -> Bytes {
        body
    }
}

/// The peer.
pub(crate) struct Tarpc;

/// The peer, before a connection.
pub(crate) struct TarpcDialer(SocketAddr);

impl Peer for Tarpc {
    type Dialer = TarpcDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let transport = serde_transport::new(codec().new_framed(socket), Bincode::default());
                let requests = BaseChannel::with_defaults(transport).execute(Server.serve());
                tokio::spawn(requests.for_each(async |handler| drop(tokio::spawn(handler))));
            }
        });
        Ok(Served::at(address, &[]))
    }

    fn dialer(&self, place: &Place) -> Result<TarpcDialer, Failure> {
        Ok(TarpcDialer(place.address.parse()?))
    }
}

fn codec() -> Builder {
    LengthDelimitedCodec::builder().max_frame_length(FRAME).to_owned()
}

impl Dialer for TarpcDialer {
    type Connection = EchoClient;

    async fn dial(&self) -> Result<EchoClient, Failure> {
        let socket = TcpStream::connect(self.0).await?;
        socket.set_nodelay(true)?;
        let transport = serde_transport::new(codec().new_framed(socket), Bincode::default());
        Ok(EchoClient::new(client::Config::default(), transport).spawn())
    }
}

impl Connection for EchoClient {
    async fn call(&self, body: Bytes) -> Result<Bytes, Failure> {
        Ok(self.echo(context::current(), body).await?)
    }

    async fn close(self) {}
}
