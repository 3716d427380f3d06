//! What the demo claims about certificates: over TLS, with an authority that lives as long as the demo.

use std::time::{Duration, Instant};

use np_facade::raw::driver::ConnectError;
use np_facade::{
    Client, ConnectionError, DevCertificates, Error, Fingerprint, Policy, Server, TlsClient, TlsClientBuilder,
    TlsError, TlsServer, TransportError, dev_certificates,
};

use crate::demo::items::{Checked, ensure, told};
use crate::span::show_span;

/// The claims, in the order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    Authority,
    ClientCertificate,
    Pin,
}

impl Claim {
    pub(crate) const ALL: [Self; 3] = [Self::Authority, Self::ClientCertificate, Self::Pin];

    /// The name of its row.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Authority => "server certificate",
            Self::ClientCertificate => "certificates both ways",
            Self::Pin => "pinned server key",
        }
    }

    /// Checks the claim.
    pub(crate) async fn check(self) -> Checked {
        let made = dev_certificates(&[]).map_err(told)?;
        match self {
            Self::Authority => by_authority(&made).await,
            Self::ClientCertificate => by_client_certificate(&made).await,
            Self::Pin => by_pin(&made).await,
        }
    }
}

/// A client that trusts the authority connects, and takes its session up again; one that trusts another refuses.
async fn by_authority(made: &DevCertificates) -> Checked {
    let server = serve(made, Policy::anonymous(), false).await?;
    let tls = trusting(made).build().map_err(told)?;
    let (mut times, mut agreed) = (Vec::new(), String::new());
    for resumed in [false, true] {
        let begun = Instant::now();
        let client = Client::builder(bare(&server)?).tls(tls.clone()).connect().await.map_err(told)?;
        times.push(show_span(begun.elapsed()));
        let connection = client.connection();
        let info = connection.tls().ok_or("the connection is not inside TLS")?;
        ensure(info.resumed == resumed, format!("connection {} was resumed: {}", times.len(), info.resumed))?;
        agreed = format!("TLS {}, {}", info.version, info.group);
        // The session's ticket comes with what the server says.
        client.call("np.echo", "").await.map_err(told)?;
        client.close().await;
    }
    let other = dev_certificates(&[]).map_err(told)?;
    let tried = Client::builder(bare(&server)?).tls(trusting(&other).build().map_err(told)?).connect().await;
    let refused = matches!(tls_error(&tried), Some(TlsError::UnknownIssuer { .. }));
    ensure(refused, format!("an authority that has not signed it was good enough: {tried:?}"))?;
    Ok(format!("{agreed}; connected in {}, resumed in {}; another authority refused", show(&times, 0), show(&times, 1)))
}

/// The server sees the certificate of its client, and takes no client without one.
async fn by_client_certificate(made: &DevCertificates) -> Checked {
    let server = serve(made, Policy::allow_spki(made.client_pin), true).await?;
    let known = trusting(made).client_certificate_pem(made.client.as_str(), made.client_key.as_str());
    let begun = Instant::now();
    let client = Client::builder(bare(&server)?).tls(known.build().map_err(told)?).connect().await.map_err(told)?;
    let time = show_span(begun.elapsed());
    let seen = client.call("demo.whoami", "").await.map_err(told)?;
    let wanted = format!("spki:{}", made.client_pin);
    ensure(seen == wanted, format!("the server saw {}, not {wanted}", String::from_utf8_lossy(&seen)))?;
    client.close().await;
    let without = Client::builder(bare(&server)?).tls(trusting(made).build().map_err(told)?).connect().await;
    judge_without(&without)?;
    Ok(format!("server saw spki:{}…; connected in {time}; a client without one refused", short(made.client_pin)))
}

fn judge_without(tried: &Result<Client, Error>) -> Result<(), String> {
    match tried {
        Err(Error::Connect(ConnectError::Handshake { error: ConnectionError::Tls(why), .. })) => {
            ensure(why.contains("certificate is required"), format!("the refusal is for something else: {why}"))
        }
        Ok(_) => Err("the server let a client without a certificate in".to_owned()),
        Err(error) => Err(format!("the client was not refused for its certificate, but got: {error}")),
    }
}

/// The pin in the server's address is all that a client needs, and another pin is refused whoever has signed.
async fn by_pin(made: &DevCertificates) -> Checked {
    let server = serve(made, Policy::anonymous(), false).await?;
    let printed = server.addresses().first().ok_or("the server has no address")?;
    let begun = Instant::now();
    let client = Client::connect(&printed.to_string()).await.map_err(told)?;
    let time = show_span(begun.elapsed());
    client.close().await;
    let other = printed.without_keys().with_pin(made.client_pin);
    let tried = Client::builder(other.to_string()).tls(trusting(made).build().map_err(told)?).connect().await;
    let refused = matches!(tls_error(&tried), Some(TlsError::PinMismatch { seen }) if *seen == made.server_pin);
    ensure(refused, format!("another key than the pinned one was good enough: {tried:?}"))?;
    Ok(format!("pin=sha256:{}… alone proved it, in {time}; another pin refused", short(made.server_pin)))
}

async fn serve(made: &DevCertificates, policy: Policy, asks: bool) -> Result<Server, String> {
    let mut tls = TlsServer::builder().certificate_pem(made.server.as_str(), made.server_key.as_str());
    if asks {
        tls = tls.client_ca_pem(made.ca.as_str());
    }
    let builder = Server::builder_without_identity(policy).tls(tls.build().map_err(told)?).listen("tls://127.0.0.1:0");
    builder.on("demo.whoami", |context, _| Ok(context.peer().to_string())).start().await.map_err(told)
}

fn trusting(made: &DevCertificates) -> TlsClientBuilder {
    TlsClient::builder().ca_pem(made.ca.as_str())
}

/// The server's address without its pin.
fn bare(server: &Server) -> Result<String, String> {
    Ok(server.addresses().first().ok_or("the server has no address")?.without_keys().to_string())
}

fn tls_error(tried: &Result<Client, Error>) -> Option<&TlsError> {
    match tried {
        Err(Error::Connect(ConnectError::Transport(TransportError::Tls { error, .. }))) => Some(error),
        _ => None,
    }
}

fn short(pin: Fingerprint) -> String {
    pin.to_string().chars().take(12).collect()
}

fn show(times: &[String], at: usize) -> &str {
    times.get(at).map_or("", String::as_str)
}

/// How long a row may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use np_facade::{Client, Policy, dev_certificates};

    use super::{Claim, bare, judge_without, serve, trusting};

    #[tokio::test]
    async fn the_rows_hold() {
        for claim in Claim::ALL {
            claim.check().await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_row_of_client_certificates_fails_where_the_server_asks_for_none() {
        let made = dev_certificates(&[]).unwrap();
        let server = serve(&made, Policy::anonymous(), false).await.unwrap();
        let tls = || trusting(&made).build().unwrap();
        let tried = Client::builder(bare(&server).unwrap()).tls(tls()).connect().await;
        assert!(judge_without(&tried).unwrap_err().contains("let a client without"));
        let gone = Client::builder("tls://127.0.0.1:1").tls(tls()).connect().await;
        assert!(judge_without(&gone).unwrap_err().contains("not refused for its certificate"));
    }
}
