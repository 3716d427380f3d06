//! A file over a stream: read and written by tokio as if it were a socket, in constant memory, its hash compared.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::time::Duration;

use np_facade::ByteStream;
use np_facade::prelude::*;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const SIZE: usize = 8 << 20;

/// Copies to the end, and hashes what passes. The buffer is all that is held: who writes waits for who reads.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<Vec<u8>> {
    let (mut buffer, mut hash) = (vec![0; 64 * 1024], Sha256::new());
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            return Ok(hash.finalize().to_vec());
        };
        hash.update(part);
        to.write_all(part).await?;
    }
}

/// Takes a file, and answers with the hash of what has come.
async fn receive(path: std::path::PathBuf, stream: MessageStream) -> Result<(), CallError> {
    let mut stream = ByteStream::new(stream);
    let received = async {
        let mut file = File::create(path).await?;
        let hash = copy(&mut stream, &mut file).await?;
        file.sync_all().await?;
        stream.write_all(&hash).await?;
        stream.shutdown().await
    };
    received.await.map_err(|error| CallError::failed(error.to_string()))
}

/// Sends a file, and returns both hashes: of what was sent, and of what the server says has come.
async fn send(client: &Client, path: &Path) -> Result<(Vec<u8>, Vec<u8>), Box<dyn std::error::Error>> {
    let mut stream = ByteStream::new(client.request("put").deadline(Duration::from_secs(60)).open_stream().await?);
    let sent = copy(&mut File::open(path).await?, &mut stream).await?;
    // The end of this direction; the other one goes on.
    stream.shutdown().await?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await?;
    Ok((sent, received))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (from, to) = (folder.path().join("sent"), folder.path().join("received"));
    let content: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8).collect();
    tokio::fs::write(&from, &content).await?;

    let place = to.clone();
    let server = Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on_stream("put", move |_ctx, stream| receive(place.clone(), stream))
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    let client = Client::connect(&address).await?;

    let (sent, received) = send(&client, &from).await?;
    println!("{} MiB sent, and both ends agree on what: {}", SIZE >> 20, sent == received);
    assert_eq!(sent, received);
    assert_eq!(tokio::fs::read(&to).await?, content);

    // `np send` and `np serve --receive` do this with names, progress, and going on after a cut.
    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
