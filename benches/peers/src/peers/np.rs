//! np by its facade, as a program would use it.

use bytes::Bytes;
use np_facade::prelude::*;

use crate::Failure;
use crate::peer::{Connection, Dialer, Peer, Place, Served};

/// np over one transport.
pub(crate) struct Np {
    /// What the server listens on; its address, with what the client must know, comes of it.
    pub(crate) listen: &'static str,
    /// What the client adds to the server's address.
    pub(crate) options: &'static str,
}

/// np, before a connection.
pub(crate) struct NpDialer {
    address: String,
    identity: Identity,
}

impl Peer for Np {
    type Dialer = NpDialer;

    async fn serve(&self) -> Result<Served, Failure> {
        let server = Server::builder(Identity::generate()?, Policy::anyone()).listen(self.listen).start().await?;
        let address = server.addresses().first().ok_or("the server has no address")?.to_string();
        Ok(Served { place: Place { address, trust: Vec::new() }, keep: Box::new(server) })
    }

    fn dialer(&self, place: &Place) -> Result<NpDialer, Failure> {
        let address = format!("{}{}", place.address, self.options);
        Ok(NpDialer { address, identity: Identity::generate()? })
    }
}

impl Dialer for NpDialer {
    type Connection = Client;

    async fn dial(&self) -> Result<Client, Failure> {
        Ok(Client::builder(&self.address).identity(self.identity.clone()).connect().await?)
    }
}

impl Connection for Client {
    async fn call(&self, body: Bytes) -> Result<Bytes, Failure> {
        Ok(Self::call(self, "np.echo", body).await?)
    }

    async fn close(self) {
        let _ = Self::close(&self).await;
    }
}
