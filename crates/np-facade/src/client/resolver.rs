//! Where a client's servers are: addresses that are asked for anew at each attempt to connect.

use std::error::Error as StdError;

use np_dispatch::BoxFuture;
use np_transport::Address;

/// Why a [`Resolver`] has no addresses now.
pub type ResolveError = Box<dyn StdError + Send + Sync>;

/// Says where servers are, whenever a client is about to connect: a registry, a file, a name with a record per server.
///
/// Addresses name their servers' keys, as everywhere; a plain host name needs no resolver, since its IP addresses are looked
/// up again at each attempt anyway. A function that returns a future of addresses is a resolver.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use np_facade::{Address, Client, ResolveError};
/// let resolver = || async {
///     let text = std::fs::read_to_string("servers.txt")?;
///     text.lines().map(|line| line.parse().map_err(ResolveError::from)).collect::<Result<Vec<Address>, _>>()
/// };
/// let client = Client::resolved_by(resolver).connect().await?;
/// # Ok(())
/// # }
/// ```
pub trait Resolver: Send + Sync + 'static {
    /// The addresses in the order in which they are to be tried.
    ///
    /// # Errors
    /// Why there are none now. The client then goes by the addresses that its builder names, and tries again later where
    /// it names none.
    fn resolve(&self) -> BoxFuture<Result<Vec<Address>, ResolveError>>;

    /// The scheme of the names that it resolves: `cluster` for `cluster:orders`. Such a resolver answers for the builder's
    /// addresses that begin so, by [`Self::resolve_name`], and for nothing else; other builders know nothing of the scheme.
    fn scheme(&self) -> Option<&str> {
        None
    }

    /// As [`Self::resolve`], for what stands behind the scheme. Names are the resolver's to refuse.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::prelude::*;
    /// use np_facade::{Address, ResolveError, Resolver};
    /// use std::future::{Future, ready};
    /// use std::pin::Pin;
    ///
    /// struct Shop(Vec<Address>);
    ///
    /// type Found = Pin<Box<dyn Future<Output = Result<Vec<Address>, ResolveError>> + Send>>;
    ///
    /// impl Resolver for Shop {
    ///     fn resolve(&self) -> Found {
    ///         Box::pin(ready(Err("name a service: shop:orders".into())))
    ///     }
    ///
    ///     fn scheme(&self) -> Option<&str> {
    ///         Some("shop")
    ///     }
    ///
    ///     fn resolve_name(&self, name: &str) -> Found {
    ///         Box::pin(ready(if name == "orders" { Ok(self.0.clone()) } else { Err("no such service".into()) }))
    ///     }
    /// }
    ///
    /// let server = Server::builder(Identity::generate()?, Policy::anyone()).listen("mem:shop").start().await?;
    /// let client = Client::builder("shop:orders").resolver(Shop(server.addresses().to_vec())).connect().await?;
    /// assert_eq!(client.call("np.echo", "hi").await?, "hi");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::resolve`].
    fn resolve_name(&self, _name: &str) -> BoxFuture<Result<Vec<Address>, ResolveError>> {
        self.resolve()
    }
}

impl<F, Fut> Resolver for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<Address>, ResolveError>> + Send + 'static,
{
    fn resolve(&self) -> BoxFuture<Result<Vec<Address>, ResolveError>> {
        Box::pin(self())
    }
}
