//! Cipher suites: which one a client asks for, which a server takes, and what each is told by addresses and refusals.

use np_facade::raw::driver::ConnectError;
use np_facade::{
    Client, ClientBuilder, CloseCode, ConnectionError, Error, ErrorKind, Identity, KnownPeers, Policy, Server,
    ServerBuilder, Suite, default_suite,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::certificates::{client, server};

const BOTH: [[Suite; 2]; 2] = [Suite::ALL, [Suite::AesGcm, Suite::ChaChaPoly]];

fn keyed(place: &str) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(place)
}

fn address(server: &Server, suite: Option<Suite>) -> String {
    server.addresses()[0].clone().with_suite(suite).to_string()
}

async fn echo(builder: ClientBuilder) {
    let client = builder.connect().await.unwrap();
    assert_eq!(client.call("np.echo", "hello").await.unwrap(), "hello");
}

/// Refused by name, with what to ask for instead.
async fn refused(builder: ClientBuilder, other: Suite) {
    let error = builder.connect().await.unwrap_err();
    assert!(error.to_string().contains(&format!("suite={other}")), "{error}");
    let Error::Connect(ConnectError::Handshake { error, .. }) = &error else { panic!("{error:?}") };
    assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::Incompatible, .. }), "{error:?}");
}

/// The number in the preface that a client sends first.
async fn asked(settle: impl FnOnce(String) -> ClientBuilder) -> u8 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let builder = settle(listener.local_addr().unwrap().to_string());
    let accepted = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 8];
        stream.read_exact(&mut head).await.unwrap();
        head[7]
    };
    let (number, failed) = tokio::join!(accepted, builder.danger_trust_anyone().connect());
    failed.unwrap_err();
    number
}

#[tokio::test]
async fn a_client_asks_for_what_its_processor_its_setting_or_its_address_says() {
    assert_eq!(asked(|at| Client::builder(format!("tcp://{at}"))).await, default_suite().to_wire());
    for [one, other] in BOTH {
        assert_eq!(asked(|at| Client::builder(format!("tcp://{at}")).suite(one)).await, one.to_wire());
        let both = asked(|at| Client::builder(format!("tcp://{at}?suite={one}")).suite(other)).await;
        assert_eq!(both, one.to_wire(), "the address goes before the setting");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn aes_is_asked_for_where_the_processor_has_both_of_its_instructions() {
    let has = is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq");
    assert_eq!(default_suite() == Suite::AesGcm, has);
}

#[tokio::test]
async fn a_server_takes_either_suite_by_default() {
    let tls = || server().build().unwrap();
    for builder in [keyed("tcp://127.0.0.1:0"), keyed("tls+noise://127.0.0.1:0").tls(tls())] {
        let server = builder.start().await.unwrap();
        for suite in Suite::ALL {
            let mut builder = Client::builder(address(&server, Some(suite)));
            if server.addresses()[0].scheme().is_tls() {
                builder = builder.tls(client().build().unwrap());
            }
            echo(builder).await;
        }
    }
}

#[tokio::test]
async fn a_server_of_one_suite_says_so_in_its_address_and_to_whoever_asks_for_another() {
    for [taken, other] in BOTH {
        let by_setting = keyed("tcp://127.0.0.1:0").suites([taken]);
        // What the address says goes before the setting.
        let by_address = keyed(&format!("tcp://127.0.0.1:0?suite={taken}")).suites([other]);
        for builder in [by_setting, by_address] {
            let server = builder.start().await.unwrap();
            assert_eq!(server.addresses()[0].suite(), Some(taken));
            echo(Client::builder(server.addresses()[0].to_string())).await;
            refused(Client::builder(address(&server, Some(other))), taken).await;
            refused(Client::builder(address(&server, None)).suite(other), taken).await;
        }
    }
    let error = keyed("mem:no-suite").suites([]).start().await.unwrap_err();
    assert!(error.to_string().contains("suites"), "{error}");
}

#[tokio::test]
async fn a_suite_in_the_address_is_of_its_own_listener_alone() {
    let server = keyed("tcp://127.0.0.1:0?suite=chacha").listen("tcp://127.0.0.1:0?suite=aes").start().await.unwrap();
    for (at, suite) in Suite::ALL.into_iter().enumerate() {
        assert_eq!(server.addresses()[at].suite(), Some(suite));
        echo(Client::builder(server.addresses()[at].to_string())).await;
    }
}

#[tokio::test]
async fn a_server_is_remembered_whatever_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known");
    let known = || KnownPeers::open(&path).unwrap();
    let first = keyed("mem:suite-known").start().await.unwrap();
    echo(Client::builder("mem:suite-known?suite=chacha").trust_first_use(known())).await;
    echo(Client::builder("mem:suite-known?suite=aes").trust_first_use(known())).await;
    first.stop().await;
    let _impostor = keyed("mem:suite-known").start().await.unwrap();
    let error = Client::builder("mem:suite-known?suite=aes").trust_first_use(known()).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test]
async fn a_suite_that_the_mode_would_ignore_is_refused() {
    let error = Client::builder("tls://127.0.0.1:9").suite(Suite::AesGcm).connect().await.unwrap_err();
    assert!(matches!(error, Error::Unfit { setting: "suite", .. }), "{error}");
    assert!(matches!(Client::builder("tls://127.0.0.1:9?suite=aes").connect().await, Err(Error::Address(_))));
}
