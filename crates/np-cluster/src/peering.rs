//! Who a node is to the others, whom it takes for members, and where it is reached. Must never open anything itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use np_facade::{Address, Client, ClientBuilder, Identity, Policy, PublicKey, Scheme, Server, TlsClient};

use crate::error::ClusterError;

/// Who a node is to the other nodes of its cluster, whom it takes for members, and which server takes their links.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use np_cluster::{Cluster, ClusterConfig, Peering};
/// use np_facade::{Identity, Policy};
/// let members = Policy::parse_allow("members.txt")?;
/// let peering = Peering::new(Identity::load("orders-1.key")?, members)
///     .listen("tcp://10.0.0.1:7400")
///     .seed("tcp://10.0.0.2:7400")?;
/// let cluster = Cluster::join(ClusterConfig::new("orders-1", "shop", ([10, 0, 0, 1], 7400).into()), peering).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Peering {
    pub(crate) identity: Option<Identity>,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) members: Policy,
    pub(crate) control: Option<Policy>,
    pub(crate) writers: Option<Policy>,
    pub(crate) seeds: Vec<Address>,
    pub(crate) place: Place,
}

/// Which server takes links.
#[derive(Debug)]
pub(crate) enum Place {
    /// One of the node's own, at these addresses.
    Own(Vec<String>),
    /// One of the program's.
    Shared(Server),
}

impl Peering {
    /// A node that proves this key, and takes those for members that the policy allows.
    ///
    /// A name that a list of the policy gives to a key is binding: nobody else can be that node.
    #[must_use]
    pub const fn new(identity: Identity, members: Policy) -> Self {
        Self::with(Some(identity), None, members)
    }

    /// A node that proves its certificate over `tls://`: the client's settings say by which authority the others are
    /// trusted and which certificate is shown to them. The server of [`Peering::server`] asks for certificates of the same
    /// authority. A node shows the same certificate on both sides, since it is known by its key.
    ///
    /// ```no_run
    /// # fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_cluster::Peering;
    /// use np_facade::{Policy, TlsClient};
    /// // Without a name the certificates carry the addresses of their nodes.
    /// let tls = TlsClient::builder()
    ///     .ca_file("ca.pem")
    ///     .client_certificate_files("node.pem", "node-key.pem")
    ///     .server_name("shop.internal")
    ///     .build()?;
    /// let peering = Peering::by_certificates(tls, Policy::allow_san("shop.internal")?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn by_certificates(tls: TlsClient, members: Policy) -> Self {
        Self::with(None, Some(tls), members)
    }

    const fn with(identity: Option<Identity>, tls: Option<TlsClient>, members: Policy) -> Self {
        Self { identity, tls, members, control: None, writers: None, seeds: Vec::new(), place: Place::Own(Vec::new()) }
    }

    /// Adds an address for a server of the node's own, which lets in members, and who may ask about the cluster
    /// ([`Self::control`]), and no others.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        match &mut self.place {
            Place::Own(addresses) => addresses.push(address.into()),
            Place::Shared(_) => self.place = Place::Own(vec![address.into()]),
        }
        self
    }

    /// Lets a server of the program take the links beside its calls. It proves the same key, and lets members in.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_cluster::{Cluster, ClusterConfig, Peering};
    /// use np_facade::prelude::*;
    /// let identity = Identity::generate()?;
    /// let server = Server::builder(identity.clone(), Policy::anyone())
    ///     .on("order", |_ctx, _body| Ok("ordered"))
    ///     .listen("tcp://127.0.0.1:0")
    ///     .start().await?;
    /// let members = Policy::allow_keys([identity.public_key()]);
    /// // The address is the server's.
    /// let config = ClusterConfig::new("orders-1", "shop", ([0, 0, 0, 0], 0).into());
    /// let cluster = Cluster::join(config, Peering::new(identity, members).server(&server)).await?;
    /// assert_eq!(Some(cluster.address().port()), server.addresses()[0].port());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn server(mut self, server: &Server) -> Self {
        self.place = Place::Shared(server.clone());
        self
    }

    /// Adds a node to ask first who else is there, as its server printed its address; a key in it is asked for. A host name
    /// is looked up again as long as nobody else is there. One that is the node itself is ignored.
    ///
    /// # Errors
    /// When the address is none, or is reached otherwise than over TCP.
    pub fn seed(mut self, address: &str) -> Result<Self, ClusterError> {
        let wrong = |why: String| ClusterError::Seed { address: np_facade::escape(address, 256), why };
        let seed: Address =
            address.parse().map_err(|error: np_facade::AddressError| wrong(error.message().to_owned()))?;
        if seed.scheme() != self.scheme() {
            return Err(wrong(format!("the nodes of this cluster are reached by {}://", self.scheme().as_str())));
        }
        self.seeds.push(seed);
        Ok(self)
    }

    /// Answers the methods `np.cluster.members`, `np.cluster.watch`, `np.cluster.get` and `np.cluster.set` of the server for
    /// the peers that the policy allows: what `np cluster` asks, and [`ClusterClient`](crate::ClusterClient). Default: for
    /// nobody.
    #[must_use]
    pub fn control(mut self, policy: Policy) -> Self {
        self.control = Some(policy);
        self
    }

    /// Who may set keys of this node by `np.cluster.set`, beside the node's own key; they may ask, too.
    ///
    /// Without it whom [`Self::control`] allows may, as long as the node signs nothing by itself: any member could make up
    /// its values anyway. The values of a node that signs ([`ClusterConfig::sign_by`](crate::ClusterConfig::sign_by)) are
    /// taken for its word, so that its own key alone may set them then.
    ///
    /// ```
    /// use np_cluster::Peering;
    /// use np_facade::{Identity, Policy};
    /// let [own, operator] = [Identity::generate()?, Identity::generate()?];
    /// let members = Policy::allow_keys([own.public_key()]);
    /// let peering = Peering::new(own, members.clone())
    ///     .control(members)
    ///     .writers(Policy::allow_keys([operator.public_key()]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn writers(mut self, policy: Policy) -> Self {
        self.writers = Some(policy);
        self
    }

    /// Who may ask about the cluster, where anybody may.
    pub(crate) fn may_ask(&self) -> Option<Policy> {
        let asking = self.control.iter().chain(&self.writers).cloned().reduce(Policy::or)?;
        Some(asking.or(Policy::allow_keys(self.own())))
    }

    /// Who may set keys of this node, which signs all that it sets or does not.
    pub(crate) fn may_set(&self, signs: bool) -> Policy {
        let own = Policy::allow_keys(self.own());
        match (&self.writers, &self.control) {
            (Some(writers), _) => own.or(writers.clone()),
            (None, Some(control)) if !signs => control.clone(),
            (None, _) => own,
        }
    }

    /// Whom a server of the node's own lets in.
    pub(crate) fn let_in(&self) -> Policy {
        self.may_ask().into_iter().fold(self.members.clone(), Policy::or)
    }

    /// By which scheme the nodes are reached.
    pub(crate) const fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Tls } else { Scheme::Tcp }
    }

    /// The key that the node proves, where it is one of np.
    pub(crate) fn own(&self) -> Option<PublicKey> {
        self.identity.as_ref().map(Identity::public_key)
    }

    /// How the node at an address is connected to.
    pub(crate) fn way(&self, pins: Pins) -> Arc<dyn Fn(SocketAddr) -> ClientBuilder + Send + Sync> {
        let (identity, tls, scheme) = (self.identity.clone(), self.tls.clone(), self.scheme().as_str());
        Arc::new(move |to| {
            let address = pins.get(to).unwrap_or_else(|| format!("{scheme}://{to}"));
            let builder = Client::builder(address);
            let builder = identity.iter().fold(builder, |builder, identity| builder.identity(identity.clone()));
            tls.iter().fold(builder, |builder, tls| builder.tls(tls.clone()))
        })
    }
}

/// The addresses of seeds that name a key, by where they lead.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Arc<Mutex<HashMap<SocketAddr, Vec<PublicKey>>>>);

impl Pins {
    /// Remembers where a seed leads.
    pub(crate) fn set(&self, to: SocketAddr, seed: &Address) {
        if !seed.keys().is_empty() {
            self.lock().insert(to, seed.keys().to_vec());
        }
    }

    fn get(&self, to: SocketAddr) -> Option<String> {
        let keys = self.lock().get(&to).cloned()?;
        let address = keys.into_iter().fold(Address::tcp(to), Address::with_key);
        Some(address.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<PublicKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
