//! tonic: one unary method of one message with a field of bytes, with and without TLS.
//!
//! What a code generator would write stands here by hand, so that no compiler of protocol buffers is needed.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate as Root, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::Failure;
use crate::certificate::{self, Certificate};
use crate::peer::{Connection, Dialer, Peer, Place, Served};

const PATH: &str = "/np.peers.Echo/Echo";

/// The message, both ways.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Payload {
    /// What is echoed.
    #[prost(bytes = "bytes", tag = "1")]
    body: Bytes,
}

/// The peer.
pub(crate) struct Tonic {
    /// Whether TLS is under it.
    pub(crate) tls: bool,
}

/// The peer, before a connection.
pub(crate) struct TonicDialer(Endpoint);

impl Peer for Tonic {
    type Dialer = TonicDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let certificate = Certificate::new()?;
        let mut server = Server::builder();
        if self.tls {
            let identity = Identity::from_pem(&certificate.pem, &certificate.key_pem);
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(server.add_service(EchoService).serve_with_incoming(incoming));
        Ok(Served::at(address, certificate.pem.as_bytes()))
    }

    fn dialer(&self, place: &Place) -> Result<TonicDialer, Failure> {
        let scheme = if self.tls { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", place.address))?;
        if self.tls {
            let root = Root::from_pem(&place.trust);
            endpoint =
                endpoint.tls_config(ClientTlsConfig::new().ca_certificate(root).domain_name(certificate::NAME))?;
        }
        Ok(TonicDialer(endpoint))
    }
}

impl Dialer for TonicDialer {
    type Connection = Channel;

    async fn dial(&self) -> Result<Channel, Failure> {
        Ok(self.0.connect().await?)
    }
}

impl Connection for Channel {
    async fn call(&self, body: Bytes) -> Result<Bytes, Failure> {
        let mut client = Grpc::new(self.clone());
        client.ready().await?;
        let codec = ProstCodec::<Payload, Payload>::default();
        let response = client.unary(Request::new(Payload { body }), PathAndQuery::from_static(PATH), codec).await?;
        Ok(response.into_inner().body)
    }

    async fn close(self) {}
}

#[derive(Clone, Debug)]
struct EchoService;

impl NamedService for EchoService {
    const NAME: &'static str = "np.peers.Echo";
}

impl Service<http::Request<Body>> for EchoService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<Payload, Payload>::default();
            Ok(tonic::server::Grpc::new(codec).unary(Echo, request).await)
        })
    }
}

struct Echo;

impl UnaryService<Payload> for Echo {
    type Response = Payload;
    type Future = std::future::Ready<Result<Response<Payload>, Status>>;

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}
