//! Identities that last: key files, an allow list, and a Unix socket, which on Windows is a named pipe.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_facade::prelude::*;
use np_facade::{ErrorKind, PeerIdentity};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);

    // Once, at installation: `np keygen --out FILE` does the same. The files are readable by their owner alone.
    let ada = Identity::create(path("ada.key"))?;
    let server_key = Identity::create(path("server.key"))?;
    assert!(Identity::create(path("ada.key")).is_err(), "an existing key file is never overwritten");

    // One public key a line, and a name for the log.
    std::fs::write(path("allowed"), format!("# who may call\n{} ada\n", ada.public_key()))?;

    let address = if cfg!(unix) {
        format!("unix:{}", path("app.sock").display())
    } else {
        format!("pipe:np-example-{}", std::process::id())
    };
    let server = Server::builder(Identity::load(path("server.key"))?, Policy::allow_file(&path("allowed"))?)
        .listen(address)
        .on("who", |ctx, _body| Ok(ctx.peer().to_string()))
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    println!("listening {address}");

    // Ada is on the list, and the server learns who calls.
    let client = Client::builder(&address).identity(Identity::load(path("ada.key"))?).connect().await?;
    let reply = client.call("who", "").await?;
    println!("the server sees {}", String::from_utf8_lossy(&reply));
    assert_eq!(reply, PeerIdentity::Noise(ada.public_key()).to_string());
    client.close().await;

    // A stranger's fresh key is not, and is told so.
    must_fail("a stranger", &address).await?;

    // Who answers with another key than the address names is no server of ours.
    let impostor = address.replace(&server_key.public_key().to_string(), &ada.public_key().to_string());
    must_fail("a wrong server", &impostor).await?;

    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// Connects with a fresh key, and expects to be refused or to refuse.
async fn must_fail(who: &str, address: &str) -> Result<(), Box<dyn std::error::Error>> {
    match Client::connect(address).await {
        Ok(_) => Err(format!("{who}: the connection should have failed").into()),
        Err(error) => {
            println!("{who}: {error}");
            assert_eq!(error.kind(), ErrorKind::Authentication);
            Ok(())
        }
    }
}
