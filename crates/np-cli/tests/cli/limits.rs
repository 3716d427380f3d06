//! Limits (6), and what this machine does not give (7).

use std::net::TcpListener;

use np_facade::{Client, Identity};
use tokio::runtime::Runtime;

use crate::support::{Folder, House, Serve, run, run_with_input};

#[test]
fn a_server_that_is_full_is_6() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &["--max-connections", "1"]);
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(Client::connect(serve.address())).unwrap();
    let ran = run(["call", serve.address(), "np.echo"]);
    ran.fails(6, &["connection-limit", "max_connections", "try again later"]);
    runtime.block_on(client.close());
}

#[test]
fn a_message_that_is_too_large_is_6() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let fits = vec![b'x'; 16 << 20];
    let file = folder.file("fits", &fits);
    let reply = run(["call", serve.address(), "np.echo", &format!("@{file}"), "--timeout", "60s"]).ok_bytes();
    assert!(reply == fits);
    let file = folder.file("large", vec![b'x'; (16 << 20) + 1]);
    let ran = run(["call", serve.address(), "np.echo", &format!("@{file}")]);
    ran.fails(6, &["body file", "large", "more than 16 MiB", "max_message", "send less"]);
    let ran = run_with_input(["call", serve.address(), "np.echo", "-"], &vec![b'x'; (16 << 20) + 1]);
    ran.fails(6, &["standard input", "more than 16 MiB", "max_message"]);
    let nobody = format!("tcp://127.0.0.1:1?key={}", Identity::generate().unwrap().public_key());
    run(["call", &nobody, "np.echo", &format!("@{file}")]).fails(6, &["max_message"]);
}

#[test]
fn a_limit_of_the_server_is_6() {
    let house = House::start(|builder| {
        builder.on("full", |_, _| {
            Err::<&str, _>(np_facade::CallError::answered(np_facade::Status::LimitReached, "limit of orders reached"))
        })
    });
    run(["call", &house.address, "full"]).fails(6, &["limit of orders reached", "raise the limit"]);
}

#[test]
fn a_port_in_use_is_7() {
    let folder = Folder::new();
    let (key, _) = folder.key("a.key");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let friend = Identity::generate().unwrap().public_key().to_string();
    let ran = run(["serve", "--listen", &address, "--identity", &key, "--allow", &friend]);
    ran.fails(7, &[&address, "another program listens there", "choose another port"]);
}

#[cfg(unix)]
#[test]
fn a_socket_in_use_is_7() {
    let folder = Folder::new();
    let (key, _) = folder.key("a.key");
    let socket = format!("unix:{}", folder.arg("np.sock"));
    let friend = Identity::generate().unwrap().public_key().to_string();
    let arguments = ["--listen", &socket, "--identity", &key, "--allow", &friend];
    let _serve = Serve::start(&arguments);
    run(["serve"].iter().chain(&arguments)).fails(7, &["np.sock"]);
}
