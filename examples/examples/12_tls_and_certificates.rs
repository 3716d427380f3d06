//! TLS with certificates on both sides: who calls, who is refused, and a server's certificate that changes while a
//! connection stands.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::time::Duration;

use np_facade::prelude::*;
use np_facade::{DevCertificates, ErrorKind, PeerIdentity, TlsClient, TlsServer, dev_certificates};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // For development: an authority, and certificates of it for a server and a client. `np cert dev` makes them as files.
    let made = dev_certificates(&[])?;
    let folder = tempfile::tempdir()?;
    put_server(&made, folder.path())?;

    // No key of np is needed: certificates prove both ends. The authority says which are genuine, the policy who may come.
    let tls = TlsServer::builder()
        .certificate_files(folder.path().join("server.pem"), folder.path().join("server-key.pem"))
        .client_ca_pem(made.ca.as_str())
        .build()?;
    let server = Server::builder_without_identity(Policy::allow_san("np-dev-client")?)
        .tls(tls.clone())
        .listen("tls://127.0.0.1:0")
        .on("who", |ctx, _body| Ok(described(ctx.peer())))
        .start()
        .await?;
    let listening = server.addresses().first().ok_or("no address")?.clone();
    println!("listening {listening}");

    // The address carries the pin of the server's key: this client needs no authority, and shows a certificate of its own.
    let certified =
        TlsClient::builder().client_certificate_pem(made.client.as_str(), made.client_key.as_str()).build()?;
    let client = Client::builder(listening.to_string()).tls(certified.clone()).connect().await?;
    println!("the server sees {}", String::from_utf8_lossy(&client.call("who", "").await?));

    // Without a certificate nobody comes in.
    must_fail("without a certificate", Client::connect(&listening.to_string()).await)?;

    // Another certificate with another key takes the place of the first, and the server reads its files again.
    let next = dev_certificates(&[])?;
    put_server(&next, folder.path())?;
    tls.reload()?;
    assert_eq!(tls.pins(), [next.server_pin]);

    // The connection that stands goes on. Whoever comes anew meets the new key, which the old pin refuses.
    println!("still here: {}", String::from_utf8_lossy(&client.call("who", "").await?));
    must_fail("with the old pin", Client::builder(listening.to_string()).tls(certified.clone()).connect().await)?;

    // So clients get both pins first: any one of them will do, before the change and after it.
    let both = listening.without_keys().with_pin(made.server_pin).with_pin(next.server_pin);
    let newcomer = Client::builder(both.to_string()).tls(certified).connect().await?;
    println!("with both pins: {}", String::from_utf8_lossy(&newcomer.call("who", "").await?));

    newcomer.close().await;
    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// Who a caller has proven to be. The names count, since the authority has vouched for them.
fn described(peer: &PeerIdentity) -> String {
    match peer {
        PeerIdentity::Certificate { names, subject, .. } => format!("{subject}, with the names {}", names.join(", ")),
        other => other.to_string(),
    }
}

/// Puts the server's certificate and key where the server reads them. The folder is its owner's alone.
fn put_server(made: &DevCertificates, folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("server.pem"), &made.server)?;
    std::fs::write(folder.join("server-key.pem"), made.server_key.as_bytes())
}

/// Expects that one end has refused the other.
fn must_fail(who: &str, connected: Result<Client, np_facade::Error>) -> Result<(), Box<dyn std::error::Error>> {
    match connected {
        Ok(_) => Err(format!("{who}: the connection should have failed").into()),
        Err(error) => {
            println!("{who}: {error}");
            assert_eq!(error.kind(), ErrorKind::Authentication);
            Ok(())
        }
    }
}
