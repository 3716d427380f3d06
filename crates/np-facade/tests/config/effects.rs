//! What settings do to servers and clients that are made of a file.

use std::path::PathBuf;
use std::time::Duration;

use np_facade::{
    CallError, Client, Config, Error, ErrorKind, Identity, Outcome, PublicKey, Server, Status, random_psk,
    write_new_secret,
};
use tempfile::TempDir;
use tokio::time::Instant;

/// A folder with files, and configurations that name them as `@name`.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn key(&self, name: &str) -> PublicKey {
        Identity::create(self.path(name)).unwrap().public_key()
    }

    fn psk(&self, name: &str) {
        write_new_secret(&self.path(name), &random_psk().unwrap().to_text()).unwrap();
    }

    /// Certificates for development.
    fn certificates(&self) -> np_facade::Fingerprint {
        let made = np_facade::raw::transport::dev_certificates(&[]).unwrap();
        for (name, text) in [("ca", &made.ca), ("cert", &made.server), ("client-cert", &made.client)] {
            std::fs::write(self.path(name), text).unwrap();
        }
        std::fs::write(self.path("cert-key"), made.server_key.as_bytes()).unwrap();
        std::fs::write(self.path("client-cert-key"), made.client_key.as_bytes()).unwrap();
        made.server_pin
    }

    pub(crate) fn config(&self, text: &str) -> Config {
        let folder = self.0.path().to_str().unwrap().replace('\\', "/");
        Config::parse(&text.replace('@', &format!("{folder}/")), "np.toml").unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn serve(&self, text: &str) -> Server {
        Server::from_config(&self.config(text)).unwrap().start().await.unwrap()
    }

    /// A server with a fresh key for anyone.
    pub(crate) async fn open(&self, name: &str, more: &str) -> Server {
        if !self.path("server").exists() {
            self.key("server");
        }
        let text = format!("[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\nallow = \"anyone\"\n{more}");
        self.serve(&text).await
    }

    pub(crate) async fn connect(&self, address: &str, text: &str) -> Result<Client, Error> {
        let mut config = self.config(&format!("[client]\n{text}"));
        config.client.address = vec![address.to_owned()];
        // The end of its connection is the end of the client, and is told at once.
        Client::from_config(&config).unwrap().auto_reconnect(false).connect().await
    }
}

pub(crate) fn address(server: &Server) -> String {
    server.addresses()[0].to_string()
}

#[tokio::test]
async fn address_identity_and_allow_of_a_file_count() {
    let place = Place::new();
    let (one, two, ada) = (place.key("one"), place.key("two"), place.key("ada"));
    place.key("eve");
    std::fs::write(place.path("staff"), format!("{ada} ada\n")).unwrap();
    let text =
        "[server]\naddress = [\"mem:c-one\", \"mem:c-two\"]\nidentity = [\"@one\", \"@two\"]\nallow = \"@staff\"\n";
    let server = place.serve(text).await;
    let shown: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("mem:c-one?key={one}"), format!("mem:c-two?key={one}")]);
    for address in &shown {
        let client = place.connect(address, "identity = \"@ada\"\n").await.unwrap();
        assert_eq!(client.call("np.echo", "x").await.unwrap(), "x");
        let error = place.connect(address, "identity = \"@eve\"\n").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    }
    // The second identity is for those who ask for it.
    place.connect(&format!("mem:c-one?key={two}"), "identity = \"@ada\"\npattern = \"ik\"\n").await.unwrap();
}

#[tokio::test]
async fn pre_shared_keys_of_both_files_have_to_be_the_same() {
    let place = Place::new();
    place.psk("team");
    place.psk("other");
    let server = place.open("c-psk", "psk = \"@team\"\npsk_id = \"team\"\n").await;
    let address = address(&server);
    place.connect(&address, "psk = \"@team\"\npsk_id = \"team\"\n").await.unwrap();
    for wrong in ["psk = \"@team\"\n", "psk = \"@other\"\npsk_id = \"team\"\n"] {
        let error = place.connect(&address, wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    }
    // The default id, and the client's own key in the place of one.
    let server = place.open("c-psk-default", "psk = \"@team\"\n").await;
    place.connect(&self::address(&server), "psk = \"@team\"\n").await.unwrap();
    let ada = place.key("ada");
    let server = place.open("c-psk-own", &format!("psk = \"@team\"\npsk_id = \"{ada}\"\n")).await;
    place.connect(&self::address(&server), "identity = \"@ada\"\npsk = \"@team\"\npsk_id = \"\"\n").await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn key_files_that_others_may_read_need_a_setting_with_danger() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.key("server");
    std::fs::set_permissions(place.path("server"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let server = "[server]\naddress = \"mem:c-mode\"\nidentity = \"@server\"\nallow = \"anyone\"\n";
    let error = Server::from_config(&place.config(server)).unwrap_err();
    assert!(error.to_string().contains("server.identity"), "{error}");
    let server = place.serve(&format!("{server}danger_key_mode = true\n")).await;
    let client = "[client]\nidentity = \"@server\"\n";
    let error = Client::from_config(&place.config(client)).unwrap_err();
    assert!(error.to_string().contains("client.identity"), "{error}");
    place.connect(&address(&server), "identity = \"@server\"\ndanger_key_mode = true\n").await.unwrap();
}

#[tokio::test]
async fn both_sides_use_the_patterns_of_their_files() {
    let place = Place::new();
    let server = place.open("c-patterns", "patterns = \"ik\"\n").await;
    place.connect(&address(&server), "pattern = \"ik\"\n").await.unwrap();
    for refused in ["", "pattern = \"xx\"\n", "pattern = \"kk\"\n"] {
        assert!(place.connect(&address(&server), refused).await.is_err(), "{refused}");
    }
}

#[tokio::test]
async fn both_sides_use_the_suite_of_their_files() {
    let place = Place::new();
    for [ours, other] in [["chacha", "aes"], ["aes", "chacha"]] {
        let named = |suite: &str| format!("[transport]\nsuite = \"{suite}\"\n");
        let server = place.open(&format!("c-suite-{ours}"), &named(ours)).await;
        let address = server.addresses()[0].clone();
        assert!(address.to_string().ends_with(&format!("&suite={ours}")));
        let unnamed = address.with_suite(None).to_string();
        place.connect(&unnamed, &named(ours)).await.unwrap();
        let error = place.connect(&unnamed, &named(other)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("suite={ours}")), "{error}");
    }
    // A file whose server has keys and whose client goes to TLS: the suite is none of the client's affair.
    let both = "[server]\naddress = \"tcp://127.0.0.1:0\"\n[client]\naddress = \"tls://127.0.0.1:1\"\n[transport]\nsuite = \"aes\"\n";
    let error = Client::from_config(&Config::parse(both, "np.toml").unwrap()).unwrap().connect().await.unwrap_err();
    assert!(!matches!(error, Error::Unfit { .. }), "{error}");
    let idle = Config::parse("[client]\naddress = \"tls://a:1\"\n[transport]\nsuite = \"aes\"\n", "np.toml");
    assert!(idle.unwrap_err().to_string().contains("transport.suite"));
}

#[tokio::test]
async fn a_client_trusts_whom_its_file_says() {
    let place = Place::new();
    let server = place.open("c-trust", "").await;
    let keyless = "mem:c-trust";
    assert!(matches!(place.connect(keyless, "").await, Err(Error::NoServerKey { .. })));
    place.connect(keyless, "danger_trust_anyone = true\n").await.unwrap();
    let first = "known_peers = \"@known\"\n";
    place.connect(keyless, first).await.unwrap();
    server.stop().await;
    std::fs::remove_file(place.path("server")).unwrap();
    let _impostor = place.open("c-trust", "").await;
    let error = place.connect(keyless, first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test]
async fn certificates_and_rules_of_tls_are_those_of_the_files() {
    let place = Place::new();
    let pin = place.certificates();
    let base = "[server]\naddress = \"tls://127.0.0.1:0\"\ntls_cert = \"@cert\"\ntls_key = \"@cert-key\"\n";
    let server = place.serve(&format!("{base}allow = \"anonymous\"\n")).await;
    let at = |server: &Server| server.addresses()[0].without_keys().to_string();
    for good in [format!("tls_pin = \"sha256:{pin}\"\n"), "tls_ca = \"@ca\"\n".to_owned()] {
        place.connect(&at(&server), &good).await.unwrap();
    }
    for wrong in [
        format!("tls_pin = \"sha256:{}\"\n", "0".repeat(64)),
        "tls_ca = \"@ca\"\ntls_server_name = \"elsewhere.example\"\n".to_owned(),
        format!("tls_pin = \"sha256:{pin}\"\ntls_trust_platform = true\n"),
    ] {
        assert!(place.connect(&at(&server), &wrong).await.is_err(), "{wrong}");
    }
    // Of two certificates of clients, and of none.
    let asking = format!("{base}allow = [\"anyone\", \"anonymous\"]\ntls_ca = \"@ca\"\n");
    let own = "tls_ca = \"@ca\"\ntls_cert = \"@client-cert\"\ntls_key = \"@client-cert-key\"\n";
    let server = place.serve(&asking).await;
    let client = place.connect(&at(&server), own).await.unwrap();
    client.call("np.echo", "x").await.unwrap();
    assert!(server.connections()[0].peer().is_authenticated(), "{}", server.connections()[0].peer());
    drop(client);
    // In TLS 1.3 a client may learn of it after its handshake.
    let refused = async |text: &str| match place.connect(&at(&server), text).await {
        Ok(client) => client.call("np.echo", "x").await.is_err(),
        Err(_) => true,
    };
    assert!(refused("tls_ca = \"@ca\"\n").await);
    let server = place.serve(&format!("{asking}tls_client_auth = \"optional\"\n")).await;
    place.connect(&at(&server), "tls_ca = \"@ca\"\n").await.unwrap().call("np.echo", "x").await.unwrap();
}

#[tokio::test]
async fn versions_suites_and_sessions_of_tls_are_those_of_the_files() {
    let place = Place::new();
    place.certificates();
    let base = "[server]\naddress = \"tls://127.0.0.1:0\"\ntls_cert = \"@cert\"\ntls_key = \"@cert-key\"\nallow = \"anonymous\"\n";
    let old = "tls_ca = \"@ca\"\ntls_min = \"1.2\"\ntls_suites = \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"\n";
    let at = |server: &Server| server.addresses()[0].without_keys().to_string();
    let server = place.serve(base).await;
    assert!(place.connect(&at(&server), old).await.is_err());
    let server = place.serve(&format!("{base}tls_min = \"1.2\"\n")).await;
    let client = place.connect(&at(&server), old).await.unwrap();
    assert_eq!(client.connection().tls().unwrap().suite.to_string(), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    let server = place.serve(&format!("{base}tls_suites = \"TLS13_CHACHA20_POLY1305_SHA256\"\n")).await;
    let client = place.connect(&at(&server), "tls_ca = \"@ca\"\n").await.unwrap();
    assert_eq!(client.connection().tls().unwrap().suite.to_string(), "TLS13_CHACHA20_POLY1305_SHA256");
}

#[tokio::test]
async fn max_connections_of_a_file_and_of_a_variable_refuse_the_next() {
    let place = Place::new();
    place.key("server");
    let file = place.path("np.toml");
    let text = format!(
        "[server]\naddress = \"mem:c-full\"\nidentity = {:?}\nallow = \"anyone\"\nmax_connections = 1\n",
        place.path("server")
    );
    std::fs::write(&file, text).unwrap();
    for (env, most) in [(&[][..], 1), (&[("NP_SERVER__MAX_CONNECTIONS", "2")][..], 2)] {
        let config = Config::load(Some(&file), env.iter().copied()).unwrap();
        let server = Server::from_config(&config).unwrap().start().await.unwrap();
        let mut clients = Vec::new();
        for _ in 0..most {
            clients.push(Client::connect(&address(&server)).await.unwrap());
        }
        let error = Client::connect(&address(&server)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("max_connections"), "{error}");
        server.stop().await;
    }
}

#[tokio::test]
async fn what_code_says_goes_before_the_configuration() {
    let place = Place::new();
    let builder = {
        place.key("server");
        let text =
            "[server]\naddress = \"mem:c-code\"\nidentity = \"@server\"\nallow = \"anyone\"\nmax_connections = 5\n";
        Server::from_config(&place.config(text)).unwrap()
    };
    let server = builder.max_connections(1).start().await.unwrap();
    let _client = Client::connect(&address(&server)).await.unwrap();
    Client::connect(&address(&server)).await.unwrap_err();
    // What a configuration names and nobody reads is no silent loss.
    let mut config = Config::default();
    config.server.psk = vec!["team".into()];
    let builder = Server::builder(Identity::generate().unwrap(), np_facade::Policy::anyone()).config(&config);
    let error = builder.listen("mem:c-unread").start().await.unwrap_err();
    assert!(error.to_string().contains("server.psk") && error.to_string().contains("Server::from_config"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_both_files_hold() {
    let place = Place::new();
    let server = place.open("c-times", "connection_timeout = \"2s\"\n").await;
    let mut silent = np_facade::raw::transport::connect(&server.addresses()[0]).await.unwrap();
    let before = Instant::now();
    tokio::io::AsyncReadExt::read_to_end(&mut silent.io, &mut Vec::new()).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 2);
    let options = np_facade::BindOptions { backlog: 1, ..np_facade::BindOptions::default() };
    let _mute = np_facade::raw::transport::Listener::bind(&"mem:c-mute".parse().unwrap(), &options).await.unwrap();
    let client = "danger_trust_anyone = true\nconnection_timeout = \"3s\"\nhandshake_timeout = \"5s\"\n";
    for (kind, seconds) in [(ErrorKind::Timeout, 5..=6), (ErrorKind::Connect, 3..=3)] {
        let before = Instant::now();
        let error = place.connect("mem:c-mute", client).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(seconds.contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_as_long_as_the_files_say() {
    let place = Place::new();
    place.key("server");
    let text = "[server]\naddress = \"mem:c-calls\"\nidentity = \"@server\"\nallow = \"anyone\"\nbackpressure_limit = 1\n\
                shutdown_timeout = \"3s\"\n";
    let builder = Server::from_config(&place.config(text)).unwrap();
    let builder = builder.on_async("forever", |_, _| std::future::pending::<Result<&str, CallError>>());
    let server = builder.start().await.unwrap();
    let client = place.connect(&address(&server), "response_timeout = \"2s\"\n").await.unwrap();
    let before = Instant::now();
    let error = client.call("forever", "").await.unwrap_err();
    assert_eq!((error.status, before.elapsed().as_secs()), (Status::DeadlineExceeded, 2));
    // One call may be open, so the other waits here until its time is over.
    let open = tokio::spawn({
        let client = client.clone();
        async move { client.request("forever").deadline(Duration::from_secs(600)).send().await }
    });
    tokio::task::yield_now().await;
    let error = client.call("np.echo", "").await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::DeadlineExceeded, Outcome::NotProcessed), "{error}");
    let before = Instant::now();
    server.stop().await;
    assert!((3..=4).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    open.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn limits_of_transport_hold_for_servers_and_for_clients() {
    let place = Place::new();
    let small = "[transport]\nmax_message = \"1KiB\"\n";
    let server = place.open("c-small", small).await;
    let client = place.connect(&address(&server), "").await.unwrap();
    client.call("np.echo", vec![0; 1 << 10]).await.unwrap();
    let error = client.call("np.echo", vec![0; (1 << 10) + 1]).await.unwrap_err();
    assert_eq!(ErrorKind::of_call(&error), ErrorKind::Limit);
    let server = place.open("c-large", "").await;
    let client = place.connect(&address(&server), small).await.unwrap();
    let error = client.call("np.echo", vec![0; 2 << 10]).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::Answered), "{error}");
}

#[tokio::test(start_paused = true)]
async fn connections_live_as_long_as_the_file_says() {
    let place = Place::new();
    for (more, span, code) in [
        ("idle_timeout = \"5s\"\n", 5_000..=5_100, "idle"),
        ("max_age = \"100s\"\nheartbeat_interval = \"off\"\n", 80_000..=100_100, "age"),
    ] {
        let server = place.open(&format!("c-life-{code}"), more).await;
        let client = place.connect(&address(&server), "").await.unwrap();
        let before = Instant::now();
        let error = client.closed().await;
        assert!(error.to_string().contains(code), "{error}");
        assert!(span.contains(&before.elapsed().as_millis()), "{more}: {:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_variable_reaches_the_client() {
    let place = Place::new();
    place.key("server");
    let text = "[server]\naddress = \"mem:c-variable\"\nidentity = \"@server\"\nallow = \"anyone\"\n";
    let builder = Server::from_config(&place.config(text)).unwrap();
    let builder = builder.on_async("forever", |_, _| std::future::pending::<Result<&str, CallError>>());
    let server = builder.start().await.unwrap();
    let env = [("NP_CLIENT__ADDRESS", address(&server)), ("NP_CLIENT__RESPONSE_TIMEOUT", "7s".to_owned())];
    let client = Client::from_config(&Config::load(None, env).unwrap()).unwrap().connect().await.unwrap();
    let before = Instant::now();
    let error = client.call("forever", "").await.unwrap_err();
    assert_eq!((error.status, before.elapsed().as_secs()), (Status::DeadlineExceeded, 7));
}

#[tokio::test]
async fn those_of_status_allow_are_told_how_the_server_does_and_a_reload_changes_who() {
    let place = Place::new();
    let keys = [place.key("ada"), place.key("eve")];
    place.key("server");
    let of = |name: &str, who: &str| {
        place.config(&format!(
            "[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\nallow = \"anyone\"\nstatus_allow = [{who}]\n"
        ))
    };
    let quoted = keys.map(|key| format!("\"{key}\""));
    let server = Server::from_config(&of("c-status", &quoted[0])).unwrap().start().await.unwrap();
    let told = async || {
        let mut told = Vec::new();
        for name in ["ada", "eve"] {
            let client = place.connect(&address(&server), &format!("identity = \"@{name}\"\n")).await.unwrap();
            told.push(client.call("np.status", "").await.is_ok());
        }
        told
    };
    assert_eq!(told().await, [true, false]);
    for (who, answered) in [(&quoted[1], [false, true]), (&String::new(), [false, false])] {
        let reload = server.reload(&of("c-status", who)).await.unwrap();
        assert_eq!((reload.changed(), reload.needs_restart()), (&["server.status_allow".to_owned()][..], &[][..]));
        assert_eq!(told().await, answered);
    }
    // A server without the method gets none, and nothing else of that configuration either.
    let server = Server::from_config(&of("c-status-off", "")).unwrap().start().await.unwrap();
    let error = server.reload(&of("c-status-off", &quoted[0])).await.unwrap_err();
    assert!(error.to_string().contains("server.status_allow"), "{error}");
    let builder = Server::builder(Identity::generate().unwrap(), np_facade::Policy::anyone());
    let error = builder.config(&of("c-status-unread", &quoted[0])).start().await.unwrap_err();
    assert!(error.to_string().contains("server.status_allow"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_says_that_it_ends_for_as_long_as_drain_delay() {
    let place = Place::new();
    let server = place.open("c-delay", "drain_delay = \"30s\"\n").await;
    let client = place.connect(&address(&server), "").await.unwrap();
    let before = Instant::now();
    let ending = tokio::spawn({
        let server = server.clone();
        async move { server.stop().await }
    });
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(client.call("np.health", "").await.unwrap(), "draining");
    place.connect(&address(&server), "").await.unwrap();
    ending.await.unwrap();
    assert!((30..=32).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
}
