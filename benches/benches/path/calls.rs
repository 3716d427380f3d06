//! Whole calls through a client and a server as users build them, over memory, and whole connections over TCP; on one thread.

use bytes::Bytes;
use np_benches::plain;
use np_facade::prelude::*;

pub(crate) fn run(calls: usize, in_flight: usize, size: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::builder(Identity::generate().unwrap(), Policy::anyone());
        let server = server.listen("mem:path").start().await.unwrap();
        let client = Client::connect(&server.addresses().first().unwrap().to_string()).await.unwrap();
        echo(&client, calls, in_flight, size).await;
        server.shutdown(std::time::Duration::from_secs(1)).await;
    });
}

/// Whoever has bytes sent back.
pub(crate) trait Echo: Clone + Send + Sync + 'static {
    fn echo(&self, body: Bytes) -> impl Future<Output = Bytes> + Send;
}

impl Echo for Client {
    async fn echo(&self, body: Bytes) -> Bytes {
        self.call("np.echo", body).await.unwrap()
    }
}

impl Echo for plain::Client {
    async fn echo(&self, body: Bytes) -> Bytes {
        self.call(body).await.unwrap()
    }
}

/// Calls, some at once, until all are answered; what comes back is compared.
pub(crate) async fn echo(client: &impl Echo, calls: usize, in_flight: usize, size: usize) {
    let body = Bytes::from(vec![7; size]);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (client, body) = (client.clone(), body.clone());
        callers.spawn(async move {
            for _ in 0..calls / in_flight {
                assert_eq!(client.echo(body.clone()).await, body);
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
}

/// Connections that make one call and close, one after the other.
pub(crate) fn connect(connections: usize, early: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::builder(Identity::generate().unwrap(), Policy::anyone());
        let server = server.listen("tcp://127.0.0.1:0").start().await.unwrap();
        let (address, me) = (server.addresses().first().unwrap().to_string(), Identity::generate().unwrap());
        for _ in 0..connections {
            let client = Client::builder(&address).identity(me.clone()).early_call(early).connect().await.unwrap();
            echo(&client, 1, 1, 64).await;
            client.close().await;
        }
        server.shutdown(std::time::Duration::from_secs(1)).await;
    });
}
