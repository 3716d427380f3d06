//! A configuration taken over while a client runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use np_facade::{Client, CloseCode, Config, Error, ErrorKind, PublicKey, Reload, Server};
use tokio::time::timeout;

use crate::effects::{Place, address};

/// How long what happens at once may take.
const SOON: Duration = Duration::from_secs(20);

/// A server that lets in those keys, and a folder with the keys of ada, bob and eve.
async fn house(name: &str) -> (Place, Server, [PublicKey; 2]) {
    let place = Place::new();
    place.key("server");
    place.key("eve");
    let keys = [place.key("ada"), place.key("bob")];
    let allow = keys.map(|key| format!("\"{key}\"")).join(", ");
    let text = format!("[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\nallow = [{allow}]\n");
    let server = place.serve(&text).await;
    (place, server, keys)
}

fn config(place: &Place, server: &Server, text: &str) -> Config {
    let again = "idempotent_methods = \"np.echo\"\nretry_budget = 100000\nreconnect_delay = \"1ms\"\n";
    let mut config = place.config(&format!("[client]\n{again}{text}"));
    config.client.address = vec![address(server)];
    config
}

/// Cuts every connection; the clients come back.
async fn cut(server: &Server) {
    for connection in server.connections() {
        connection.close(CloseCode::Drained, "cut").await;
    }
}

/// As [`cut`], and the client has seen it.
async fn end(server: &Server, client: &Client) {
    let connection = client.connection();
    cut(server).await;
    connection.closed().await;
}

fn peers(server: &Server) -> Vec<String> {
    server.connections().iter().map(|connection| connection.peer().to_string()).collect()
}

/// Whom the server knows a client as, once it has called.
async fn known_as(server: &Server, client: &Client) -> String {
    timeout(SOON, client.call("np.echo", "x")).await.unwrap().unwrap();
    // The newest: one that was cut may be on its way out.
    server.connections().last().unwrap().peer().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_under_load_comes_back_with_its_new_key_and_loses_no_call() {
    let (place, server, [ada, bob]) = house("rc-load").await;
    let of = |name: &str| config(&place, &server, &format!("identity = \"@{name}\"\npool_size = 2\n"));
    let client = Client::from_config(&of("ada")).unwrap().connect().await.unwrap();
    assert_eq!(known_as(&server, &client).await, ada.to_string());
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (client, over, answered) = (client.clone(), Arc::clone(&over), Arc::clone(&answered));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    client.call("np.echo", "load").await.unwrap();
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let more_answers = async || {
        let goal = answered.load(Ordering::SeqCst) + 20;
        while answered.load(Ordering::SeqCst) < goal && load.iter().all(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
    };
    // Both stand: one that is still being made would come with the next key.
    let all_are = async |key: PublicKey| {
        while peers(&server) != [key.to_string(), key.to_string()] {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, all_are(ada)).await.expect("both connections");
    for (name, key) in [("bob", bob), ("ada", ada), ("bob", bob)] {
        let reload = client.reload(&of(name)).await.unwrap();
        assert_eq!((reload.changed(), reload.needs_restart()), (&["client.identity".to_owned()][..], &[][..]));
        more_answers().await;
        // What stands goes on as it was.
        assert!(peers(&server).iter().all(|peer| *peer != key.to_string()), "{name}");
        cut(&server).await;
        more_answers().await;
        timeout(SOON, all_are(key)).await.expect("every new connection has the new key");
    }
    over.store(true, Ordering::SeqCst);
    for task in load {
        timeout(SOON, task).await.unwrap().expect("no call was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_changes_nothing_at_a_client() {
    let (place, server, [ada, _]) = house("rc-bad").await;
    let good = config(&place, &server, "identity = \"@ada\"\n");
    let client = Client::from_config(&good).unwrap().connect().await.unwrap();
    let mut gone = good.clone();
    gone.client.identity = Some(place.path("nobody"));
    gone.transport.max_message = 4_096;
    let mut wild = good.clone();
    wild.client.identity = Some(place.path("bob"));
    wild.transport.max_message = 1;
    // TLS has no place at this address.
    let mut unfit = good.clone();
    unfit.client.identity = Some(place.path("bob"));
    unfit.client.tls_server_name = Some("elsewhere.example".to_owned());
    for bad in [gone, wild, unfit] {
        client.reload(&bad).await.unwrap_err();
        cut(&server).await;
        assert_eq!(known_as(&server, &client).await, ada.to_string());
        client.call("np.echo", vec![0; 8_192]).await.unwrap();
    }
    assert_eq!(client.reload(&good).await.unwrap(), Reload::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_of_a_client_go_one_at_a_time_and_leave_it_as_one_of_them_says() {
    let (place, server, [ada, bob]) = house("rc-many").await;
    let of = |name: &str, size: u32| {
        let mut config = config(&place, &server, &format!("identity = \"@{name}\"\n"));
        config.transport.max_message = size;
        config
    };
    let client = Client::from_config(&of("ada", 4_096)).unwrap().connect().await.unwrap();
    let reloads: Vec<_> = (0..20)
        .map(|at| {
            let (client, config) = (client.clone(), if at % 2 == 0 { of("bob", 65_536) } else { of("ada", 4_096) });
            tokio::spawn(async move { client.reload(&config).await.unwrap() })
        })
        .collect();
    for reload in reloads {
        let reload = timeout(SOON, reload).await.unwrap().unwrap();
        // Both or neither, whichever came before it.
        let both = ["client.identity".to_owned(), "transport.max_message".to_owned()];
        assert!(reload.changed().is_empty() || reload.changed() == both, "{reload:?}");
    }
    cut(&server).await;
    let takes_more = client.call("np.echo", vec![0; 8_192]).await.is_ok();
    let key = if takes_more { bob } else { ada };
    assert_eq!(known_as(&server, &client).await, key.to_string());
}

#[tokio::test]
async fn limits_and_certificates_of_a_client_count_for_its_next_connection_and_others_are_named() {
    let place = Place::new();
    let made = [(); 2].map(|()| np_facade::raw::transport::dev_certificates(&[]).unwrap());
    std::fs::write(place.path("cert"), &made[0].server).unwrap();
    std::fs::write(place.path("cert-key"), made[0].server_key.as_bytes()).unwrap();
    let text = "[server]\naddress = \"tls://127.0.0.1:0\"\nallow = \"anonymous\"\ntls_cert = \"@cert\"\ntls_key = \"@cert-key\"\n";
    let server = place.serve(text).await;
    let of = |at: usize, more: &str| {
        let pin = made[at].server_pin;
        let mut config =
            place.config(&format!("[client]\ntls_pin = \"sha256:{pin}\"\nreconnect_delay = \"1ms\"\n{more}"));
        config.client.address = vec![server.addresses()[0].without_keys().to_string()];
        config
    };
    let client = Client::from_config(&of(0, "")).unwrap().connect().await.unwrap();
    let reload =
        client.reload(&of(0, "pool_size = 3\npattern = \"nk\"\n[transport]\nmax_message = \"1KiB\"\n")).await.unwrap();
    assert_eq!(reload.changed(), ["transport.max_message"]);
    assert_eq!(reload.needs_restart(), ["client.pattern", "client.pool_size"]);
    client.call("np.echo", vec![0; 2_000]).await.unwrap();
    end(&server, &client).await;
    client.call("np.echo", vec![0; 2_000]).await.unwrap_err();
    client.call("np.echo", vec![0; 1_000]).await.unwrap();
    // It asks for another certificate from now on, until it is told that it need not.
    client.reload(&of(1, "")).await.unwrap();
    client.call("np.echo", "x").await.unwrap();
    end(&server, &client).await;
    let call = client.request("np.echo").deadline(Duration::from_millis(300));
    assert_eq!(call.send().await.unwrap_err().outcome, np_facade::Outcome::NotProcessed);
    client.reload(&of(0, "")).await.unwrap();
    timeout(SOON, client.request("np.echo").deadline(SOON).send()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_key_that_the_server_refuses_is_the_end_of_a_client_as_it_would_be_without_a_reload() {
    let (place, server, _) = house("rc-eve").await;
    let of = |name: &str| config(&place, &server, &format!("identity = \"@{name}\"\n"));
    let client = Client::from_config(&of("ada")).unwrap().connect().await.unwrap();
    client.reload(&of("eve")).await.unwrap();
    client.call("np.echo", "x").await.unwrap();
    cut(&server).await;
    let reason = timeout(SOON, client.closed()).await.unwrap();
    assert!(reason.to_string().to_lowercase().contains("not"), "{reason}");
    let error: Error = Client::from_config(&of("eve")).unwrap().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}
