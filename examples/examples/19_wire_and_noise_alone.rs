//! The lower crates by themselves: np-noise and np-wire on blocking sockets of the standard library, without tokio.
//!
//! For a protocol of your own, a small device, or another runtime: a Noise handshake, then records that hold frames. It
//! leaves out what np-session does (settings, credit, deadlines, renewal of keys), so it speaks to itself and not to `np`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use np_noise::{Handshake, Keypair, Keys, Pattern, Role, Traffic};
use np_types::{PublicKey, SecretKey};
use np_wire::{
    Frame, Frames, HandshakeFrame, RECORD_HEAD, Side, StreamId, TAG, decode_handshake_frame, encode_frame,
    encode_handshake_message, record_len,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Neither crate draws randomness: it is an argument, so that tests can repeat it.
fn random_key() -> Result<SecretKey, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(SecretKey::from_bytes(bytes))
}

/// Messages in turns until both sides have keys.
fn shake_hands(socket: &mut TcpStream, role: Role, own: &Keypair) -> Result<Traffic, Failure> {
    let keys = Keys { local: Some(own), ..Keys::default() };
    let mut handshake = Handshake::new(Pattern::XX, role, b"example 19", keys, random_key()?)?;
    let mut payload = Vec::new();
    while !handshake.is_finished() {
        let mut message = Vec::new();
        if handshake.is_my_turn() {
            handshake.write_message(b"", &mut message)?;
            let mut framed = Vec::new();
            encode_handshake_message(&mut framed, &message);
            socket.write_all(&framed)?;
            continue;
        }
        let mut bytes = Vec::new();
        loop {
            // A decoder says when something is missing, and refuses what is too long at its head.
            match decode_handshake_frame(&bytes)? {
                Some((HandshakeFrame::Message(message), _)) => break handshake.read_message(message, &mut payload)?,
                Some((HandshakeFrame::Refusal(refusal), _)) => return Err(refusal.text.to_owned().into()),
                None => bytes.push(read::<1>(socket)?[0]),
            }
        }
    }
    Ok(handshake.finish()?)
}

fn read<const N: usize>(socket: &mut TcpStream) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// One record: a length, and frames that are sealed in place.
fn send(socket: &mut TcpStream, traffic: &mut Traffic, frames: &[Frame<'_>]) -> Result<(), Failure> {
    let mut plaintext = Vec::new();
    frames.iter().for_each(|frame| encode_frame(&mut plaintext, frame));
    let tag = traffic.send.seal_in_place(&mut plaintext)?;
    let length = u16::try_from(plaintext.len() + tag.len())?;
    socket.write_all(&[&length.to_be_bytes()[..], &plaintext, &tag].concat())?;
    Ok(())
}

/// The frames of the next record: nothing of it counts before all of it has opened.
fn receive(socket: &mut TcpStream, traffic: &mut Traffic) -> Result<Vec<u8>, Failure> {
    let head: [u8; RECORD_HEAD] = read(socket)?;
    let length = record_len(&head, TAG + 1)?.ok_or("half a length")?;
    let mut record = vec![0; length];
    socket.read_exact(&mut record)?;
    Ok(traffic.receive.open_in_place(&mut record)?.to_vec())
}

/// Answers one record: a ping by a pong, data by data in capital letters.
fn serve(listener: &TcpListener, own: &Keypair) -> Result<PublicKey, Failure> {
    let (mut socket, _) = listener.accept()?;
    let mut traffic = shake_hands(&mut socket, Role::Responder, own)?;
    let plaintext = receive(&mut socket, &mut traffic)?;
    for frame in Frames::new(&plaintext) {
        match frame? {
            Frame::Ping(token) => send(&mut socket, &mut traffic, &[Frame::Pong(token)])?,
            Frame::Data { id, fin, end, body } => {
                let shouted = body.to_ascii_uppercase();
                send(&mut socket, &mut traffic, &[Frame::Data { id, fin, end, body: &shouted }])?;
            }
            other => return Err(format!("not in this example: {other:?}").into()),
        }
    }
    traffic.remote_static.ok_or_else(|| "nobody proved a key".into())
}

fn main() -> Result<(), Failure> {
    let (server, client) = (Keypair::from_secret(random_key()?), Keypair::from_secret(random_key()?));
    let (server_key, client_key) = (server.public(), client.public());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serving = thread::spawn(move || serve(&listener, &server));

    let mut socket = TcpStream::connect(address)?;
    let mut traffic = shake_hands(&mut socket, Role::Initiator, &client)?;
    assert_eq!(traffic.remote_static, Some(server_key), "somebody else answered");

    let id = StreamId::new(Side::Initiator, 0);
    let hello = Frame::Data { id, fin: true, end: true, body: b"hello" };
    send(&mut socket, &mut traffic, &[Frame::Ping(7), hello])?;
    for expected in [Frame::Pong(7), Frame::Data { id, fin: true, end: true, body: b"HELLO" }] {
        let plaintext = receive(&mut socket, &mut traffic)?;
        let frame = Frames::new(&plaintext).next().ok_or("an empty record")??;
        println!("{frame:?}");
        assert_eq!(frame, expected);
    }
    let seen = serving.join().map_err(|_| "the server panicked")??;
    assert_eq!(seen, client_key);
    println!("the server saw {seen}");
    Ok(())
}
