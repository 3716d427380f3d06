//! Names of a scheme of a client's own, in the place of addresses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use np_facade::prelude::*;
use np_facade::{Address, ErrorKind, ResolveError, Resolver};

type Found = Pin<Box<dyn Future<Output = Result<Vec<Address>, ResolveError>> + Send>>;

/// Resolves the names of one scheme, as it was last told.
#[derive(Clone)]
struct Book(&'static str, Arc<Mutex<Vec<(&'static str, Address)>>>);

impl Book {
    fn new(scheme: &'static str) -> Self {
        Self(scheme, Arc::default())
    }

    fn add(&self, name: &'static str, server: &Server) {
        self.1.lock().unwrap().push((name, server.addresses()[0].clone()));
    }
}

impl Resolver for Book {
    fn resolve(&self) -> Found {
        Box::pin(ready(Err("a name is needed".into())))
    }

    fn scheme(&self) -> Option<&str> {
        Some(self.0)
    }

    fn resolve_name(&self, name: &str) -> Found {
        let found: Vec<Address> =
            self.1.lock().unwrap().iter().filter(|(has, _)| *has == name).map(|(_, address)| address.clone()).collect();
        let nobody = format!("nobody serves {name}");
        Box::pin(ready(if found.is_empty() { Err(nobody.into()) } else { Ok(found) }))
    }
}

async fn serve(place: &'static str) -> Server {
    let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    builder.on("where", move |_, _| Ok(place)).listen(place).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_name_of_a_scheme_is_asked_for_anew_and_addresses_stand_beside_it() {
    let (cluster, shop) = (Book::new("cluster"), Book::new("shop"));
    let (one, two, plain) = (serve("mem:scheme-1").await, serve("mem:scheme-2").await, serve("mem:scheme-3").await);
    cluster.add("orders", &one);
    shop.add("orders", &two);
    let client = |text: String| Client::builder(text).resolver(cluster.clone()).resolver(shop.clone());
    for (name, place) in [("cluster:orders", "mem:scheme-1"), ("shop:orders", "mem:scheme-2")] {
        let client = client(name.to_owned()).connect().await.unwrap();
        assert_eq!(client.call("where", "").await.unwrap(), place);
    }
    // In the order of the builder's addresses; one that nobody serves is passed over.
    let address = plain.addresses()[0].to_string();
    let many = client("cluster:nobody".to_owned()).address(address).address("cluster:orders").connect().await.unwrap();
    assert_eq!(many.call("where", "").await.unwrap(), "mem:scheme-3");
    plain.shutdown(Duration::ZERO).await;
    assert_eq!(many.call("where", "").await.unwrap(), "mem:scheme-1");
    // A server that comes after the client is found when the first is lost.
    let late = serve("mem:scheme-4").await;
    cluster.add("orders", &late);
    one.shutdown(Duration::ZERO).await;
    assert_eq!(many.call("where", "").await.unwrap(), "mem:scheme-4");
}

#[tokio::test(start_paused = true)]
async fn a_scheme_is_one_builders_alone_and_an_unknown_name_says_so() {
    let cluster = Book::new("cluster");
    let server = serve("mem:scheme-alone").await;
    cluster.add("orders", &server);
    let error = Client::builder("cluster:other").resolver(cluster.clone()).connect().await.unwrap_err();
    assert!(error.to_string().contains("nobody serves other"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Connect);
    Client::builder("cluster:orders").resolver(cluster).connect().await.unwrap();
    for builder in [Client::builder("cluster:orders"), Client::builder("cluster:orders").resolver(Book::new("clust"))] {
        let error = builder.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}
