//! Settings inside the program, with variables of the environment and code over them, and mistakes told all at once.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_facade::Config;
use np_facade::prelude::*;

/// A program may read it from a file (`Config::load`), or take it along with `include_str!`.
const SETTINGS: &str = r#"
[server]
address = "tcp://127.0.0.1:0"
allow = "anyone"
max_connections = 50

[client]
response_timeout = "5s"

[transport]
max_message = "64KiB"
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("np.toml"), SETTINGS)?;
    let key = folder.path().join("server.key");
    Identity::create(&key)?;

    // The file, then the variables: a program passes `std::env::vars_os()`. The later wins.
    let variables =
        [("NP_SERVER__IDENTITY", key.display().to_string()), ("NP_SERVER__MAX_CONNECTIONS", "100".to_owned())];
    let mut config = Config::load(Some(&folder.path().join("np.toml")), variables)?;
    println!("max_connections = {}, from {:?}", config.server.max_connections, config.source("server.max_connections"));
    assert_eq!(config.server.max_connections, 100);

    // Then code. Methods are always code.
    config.server.max_handshakes = 20;
    let server = Server::from_config(&config)?.on("shout", |_ctx, body| Ok(body.to_ascii_uppercase())).start().await?;
    config.client.address = vec![server.addresses().first().ok_or("no address")?.to_string()];
    let client = Client::from_config(&config)?.connect().await?;
    assert_eq!(client.call("shout", "set").await?, "SET");

    // Each setting has an effect: this body is longer than `max_message`, and is refused before it is sent.
    let Err(error) = client.call("shout", vec![b'x'; 65_537]).await else { return Err("too long, and sent".into()) };
    println!("too long: {error}");
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::NotProcessed));

    // Every mistake at once, each with its line and the nearest name that exists.
    let Err(wrong) = Config::parse("[server]\nmax_conections = 5\n[transport]\nmax_message = \"lots\"\n", "np.toml")
    else {
        return Err("read what cannot be read".into());
    };
    println!("{wrong}");
    assert_eq!(wrong.problems().len(), 2);

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
