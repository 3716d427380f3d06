//! Windows named pipes: bytes both ways, one listener per name, and whose user is at the other end.
// Tells the lints that helper functions are tests too.
#![cfg(test)]
#![cfg(windows)]

use interprocess::os::windows::named_pipe::PipeListenerOptions;
use interprocess::os::windows::named_pipe::pipe_mode::Bytes;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use np_transport::{
    Address, BindOptions, ConnectOptions, Failure, Listener, SecurityMode, TransportError, connect, connect_with,
};
use np_types::{LocalPeer, PeerIdentity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::windows::named_pipe::ClientOptions;
use widestring::u16cstr;
use windows_permissions::constants::{AceType, SeObjectType, SecurityInformation};
use windows_permissions::wrappers::{ConvertSidToStringSid, GetSecurityInfo};

fn at(name: &str) -> Address {
    format!("pipe:np-test-{name}-{}", std::process::id()).parse().unwrap()
}

async fn bind(address: &Address) -> Result<Listener, TransportError> {
    Listener::bind(address, &BindOptions::default()).await
}

#[tokio::test]
async fn a_pipe_carries_bytes_both_ways() {
    let address = at("echo");
    let listener = bind(&address).await.unwrap();
    let (mut client, mut server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut there = vec![0; sent.len()];
    let (write, read) = tokio::join!(client.io.write_all(&sent), server.io.read_exact(&mut there));
    write.unwrap();
    read.unwrap();
    assert!(there == sent);
    server.io.write_all(b"back").await.unwrap();
    let mut back = [0; 4];
    client.io.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"back");
    assert_eq!(server.peer.ip, None);
}

#[tokio::test]
async fn several_clients_share_a_pipe_name() {
    let address = at("several");
    let listener = bind(&address).await.unwrap();
    let mut links = Vec::new();
    for _ in 0..8 {
        links.push(tokio::try_join!(connect(&address), listener.accept()).unwrap());
    }
    for (number, (client, server)) in links.iter_mut().enumerate() {
        client.io.write_all(&[number as u8]).await.unwrap();
        assert_eq!(server.io.read_u8().await.unwrap(), number as u8);
    }
}

/// Skipped aloud under Wine, whose older versions take no notice of the flag for the first instance.
#[tokio::test]
async fn a_pipe_name_is_bound_once() {
    if std::env::var_os("WINEPREFIX").is_some() {
        return println!("skipped: this Wine takes no notice of the flag");
    }
    let address = at("once");
    let _first = bind(&address).await.unwrap();
    let error = bind(&address).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
}

#[tokio::test]
async fn a_pipe_that_nobody_listens_on_refuses() {
    let error = connect(&at("nobody")).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
}

/// The SID of the user that runs the tests.
fn own_user() -> String {
    let sid = windows_permissions::utilities::current_process_sid().unwrap();
    ConvertSidToStringSid(&sid).unwrap().into_string().unwrap()
}

/// The pipe's name as Windows writes it.
fn path(address: &Address) -> String {
    address.to_string().replace("pipe:", r"\\.\pipe\")
}

fn local(address: &Address) -> Address {
    format!("{address}?mode=local").parse().unwrap()
}

fn of_user(user: &str) -> ConnectOptions {
    ConnectOptions { local_user: Some(user.to_owned()), ..ConnectOptions::default() }
}

#[tokio::test]
async fn both_ends_of_a_local_pipe_know_the_users() {
    let address = local(&at("local"));
    let listener = bind(&address).await.unwrap();
    let (client, server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    assert_eq!((client.mode, server.mode), (SecurityMode::Local, SecurityMode::Local));
    assert!(own_user().starts_with("S-1-5-"), "{}", own_user());
    let listening = LocalPeer { user: own_user(), group: None, process: None };
    assert_eq!(client.identity, PeerIdentity::Local(listening));
    let calling = LocalPeer { user: own_user(), group: None, process: Some(std::process::id()) };
    assert_eq!(server.identity, PeerIdentity::Local(calling));
}

#[tokio::test]
async fn in_other_modes_the_users_are_told_and_prove_nothing() {
    let address = at("told");
    let listener = bind(&address).await.unwrap();
    let (client, server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    for link in [client, server] {
        assert_eq!(link.local.unwrap().user, own_user());
        assert_eq!(link.identity, PeerIdentity::Anonymous);
    }
}

#[tokio::test]
async fn a_pipe_of_another_user_is_refused_in_every_mode() {
    let name = at("other");
    let plaintext = format!("{name}?mode=danger-plaintext").parse().unwrap();
    for address in [local(&name), name, plaintext] {
        let listener = bind(&address).await.unwrap();
        let (other, own) = (of_user("S-1-5-18"), of_user(&own_user()));
        let error = tokio::join!(connect_with(&address, &other), listener.accept()).0.unwrap_err();
        assert_eq!(error.failure(), Failure::Authentication);
        let TransportError::WrongUser { expected, found, .. } = error else { panic!("{error}") };
        assert_eq!((expected.as_str(), found), ("S-1-5-18", own_user()));
        tokio::try_join!(connect_with(&address, &own), listener.accept()).unwrap();
    }
}

/// Windows lets administrators alone give a pipe to the administrators: for other users skipped aloud.
#[tokio::test]
async fn a_squatter_is_refused_and_an_owner_that_is_set_is_not() {
    const ADMINISTRATORS: &str = "S-1-5-32-544";
    let address = at("squatter");
    let mut options = PipeListenerOptions::new().path(path(&address));
    let anybody = SecurityDescriptor::deserialize(u16cstr!("O:BAD:P(A;;GA;;;WD)")).unwrap();
    options.security_descriptor = Some(anybody);
    let Ok(squatter) = options.create_tokio_duplex::<Bytes>() else {
        return println!("skipped: this user may not give a pipe to the administrators");
    };
    for address in [local(&address), address.clone()] {
        let error = tokio::join!(connect(&address), squatter.accept()).0.unwrap_err();
        let TransportError::WrongUser { expected, found, .. } = error else { panic!("{error}") };
        assert_eq!((expected, found.as_str()), (own_user(), ADMINISTRATORS));
    }
    let (options, address) = (of_user(ADMINISTRATORS), local(&address));
    let link = tokio::join!(connect_with(&address, &options), squatter.accept()).0.unwrap();
    assert_eq!(link.identity.to_string(), format!("local:{ADMINISTRATORS}"));
}

#[tokio::test]
async fn a_pipe_belongs_to_its_user_and_lets_nobody_else_in() {
    let address = at("alone");
    let _listener = bind(&address).await.unwrap();
    let client = ClientOptions::new().open(path(&address)).unwrap();
    let parts = SecurityInformation::Owner | SecurityInformation::Dacl;
    let descriptor = GetSecurityInfo(&client, SeObjectType::SE_KERNEL_OBJECT, parts).unwrap();
    let text = |sid| ConvertSidToStringSid(sid).unwrap().into_string().unwrap();
    assert_eq!(text(descriptor.owner().unwrap()), own_user());
    let list = descriptor.dacl().unwrap();
    let entries = (0..list.len()).map(|index| list.get_ace(index).unwrap());
    let entries: Vec<_> = entries.map(|entry| (entry.ace_type(), text(entry.sid().unwrap()))).collect();
    let network = (AceType::ACCESS_DENIED_ACE_TYPE, "S-1-5-2".to_owned());
    assert_eq!(entries, [network, (AceType::ACCESS_ALLOWED_ACE_TYPE, own_user())]);
}
