//! `np inspect`: what stands in a capture or in bytes, as far as it is in clear or a key log opens it. Must never print a
//! body or a key.

mod bytes;
mod capture;
mod dissect;
mod flows;
mod frames;
mod input;
mod keys;
mod packet;
mod tree;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use self::dissect::{Dissector, Item, Side, is_client};
use self::flows::{Connection, End, Flows, Stream};
use self::input::Input;
use self::keys::Keys;
use self::packet::Skipped;
use self::tree::Shown;
use crate::counted::counted;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::screen;
use crate::signals::blocking;

/// The most bytes of a key log that are read: some 100,000 connections.
const MAX_KEYS: u64 = 16 << 20;
/// The most packets of a capture that are looked at.
const MAX_PACKETS: usize = 1 << 24;

/// Shows what stands in a capture: preface, handshake, records and, with a key log, frames, each
/// with its size.
///
/// FILE is a capture (pcap or pcapng, of loopback, Ethernet, Linux's `any` or raw IP), or the bytes
/// of one direction from their beginning, as they are or as hexadecimal digits (`xxd -p`). Records
/// stay sealed unless --keys names what a program wrote that ran with NPKEYLOGFILE=FILE. Bodies and
/// the values of metadata are never shown. What np sends inside TLS cannot be seen.
///
///   tcpdump -i lo -w np.pcap tcp port 9000
///   NPKEYLOGFILE=keys.log np call ADDR np.echo hello
///   np inspect np.pcap --keys keys.log
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Inspect {
    /// The file to inspect; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The key log that opens the records
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// How many pieces and frames are shown at most
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    limit: usize,

    /// The most bytes of FILE that are read
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    max_size: u64,
}

/// Reads, takes apart and prints.
pub(crate) async fn run(command: Inspect, output: Output) -> Result<(), Failure> {
    let found = blocking(move || inspect(&command)).await?;
    found.print(output)
}

/// What was found in a file.
struct Found {
    shown: Vec<Shown>,
    /// What a capture held beside; nothing where there was none.
    capture: Option<Summary>,
    /// What is missing, and why.
    notes: Vec<String>,
}

/// What a capture held.
#[derive(Debug, Default)]
struct Summary {
    packets: usize,
    tcp: usize,
    fragments: usize,
    malformed: usize,
    connections: usize,
    /// Connections that begin with TLS, and of those that do not begin as np's do.
    tls: usize,
    /// A kind of link that is not read.
    link: Option<u32>,
}

fn inspect(command: &Inspect) -> Result<Found, Failure> {
    let keys = match &command.keys {
        Some(path) => {
            let text = input::read(path, MAX_KEYS)?;
            let failed = |why: String| {
                Failure::usage(format!("--keys {}: {why}; give what NPKEYLOGFILE named", np_facade::escape_path(path)))
            };
            let keys = Keys::read(&String::from_utf8_lossy(&text)).map_err(failed)?;
            if keys.is_empty() {
                return Err(failed("holds no keys of np".to_owned()));
            }
            keys
        }
        None => Keys::default(),
    };
    let name = np_facade::escape_path(&command.file);
    let read = input::recognise(input::read(&command.file, command.max_size)?).map_err(|why| {
        Failure::usage(format!("inspect {name}: {why}; give a capture (tcpdump -w), or the bytes of one direction"))
    })?;
    let mut dissector = Dissector { keys: &keys, left: command.limit };
    let mut found = match read {
        Input::Capture(bytes) => of_capture(&bytes, &mut dissector, &name)?,
        Input::Client(bytes) => of_bytes(&mut dissector, Side::Client, bytes),
        Input::Server(bytes) => of_bytes(&mut dissector, Side::Server, bytes),
    };
    if dissector.left == 0 {
        let limit = counted(command.limit, "piece or frame", "pieces and frames");
        found.notes.push(format!("limit --limit of {limit} reached: what follows is left out"));
    }
    Ok(found)
}

fn of_bytes(dissector: &mut Dissector<'_>, side: Side, bytes: Vec<u8>) -> Found {
    let stream = Stream::whole(bytes);
    let (client, server) = match side {
        Side::Client => (Some(&stream.bytes[..]), None),
        Side::Server => (None, Some(&stream.bytes[..])),
    };
    let (items, about) = dissector.connection(client, server);
    let items = items.into_iter().map(|item| (None, item)).collect();
    let shown = Shown { number: 1, ends: None, about, closed: [""; 2], items };
    Found { shown: vec![shown], capture: None, notes: Vec::new() }
}

fn of_capture(bytes: &[u8], dissector: &mut Dissector<'_>, name: &str) -> Result<Found, Failure> {
    let capture = capture::read(bytes, MAX_PACKETS).unwrap_or_default();
    let mut notes: Vec<String> = capture.broken.into_iter().collect();
    let mut summary = Summary { packets: capture.packets.len(), ..Summary::default() };
    let mut flows = Flows::default();
    for packet in &capture.packets {
        match packet::segment(packet) {
            Ok(segment) => {
                summary.tcp += 1;
                flows.take(packet, &segment);
            }
            Err(Skipped::Other) => {}
            Err(Skipped::Fragment) => summary.fragments += 1,
            Err(Skipped::Malformed) => summary.malformed += 1,
            Err(Skipped::Link(link)) => summary.link = Some(link),
        }
    }
    summary.connections = flows.connections.len();
    if flows.left_out > 0 {
        notes.push(format!("limit `connections` of {} reached: later ones are left out", flows::MAX_CONNECTIONS));
    }
    let mut shown = Vec::new();
    for connection in flows.connections {
        summary.tls += usize::from(connection.streams.iter().any(|stream| stream.bytes.starts_with(&[0x16, 3])));
        if let Some(connection) = oriented(connection) {
            shown.push(of_connection(&connection, shown.len() + 1, dissector));
        }
    }
    if shown.is_empty() {
        return Err(Failure::usage(format!("inspect {name}: no connection of np in it: {}", summary.why_nothing())));
    }
    Ok(Found { shown, capture: Some(summary), notes })
}

/// The same connection with the client first; nothing where neither end begins as a client does.
fn oriented(mut connection: Connection<'_>) -> Option<Connection<'_>> {
    let [forth, back] = &connection.streams;
    if !is_client(&forth.bytes) {
        if !is_client(&back.bytes) {
            return None;
        }
        connection.streams.reverse();
        connection.ends.reverse();
    }
    Some(connection)
}

fn of_connection(connection: &Connection<'_>, number: usize, dissector: &mut Dissector<'_>) -> Shown {
    let [client, server] = &connection.streams;
    let (items, about) = dissector.connection(Some(&client.bytes), Some(&server.bytes));
    let stream = |side| if side == Side::Client { client } else { server };
    let mut items: Vec<_> =
        items.into_iter().map(|item| (stream(item.side).when(item.offset + item.size), item)).collect();
    for side in [Side::Client, Side::Server] {
        if let Some((missing, behind)) = stream(side).gap() {
            let offset = stream(side).bytes.len();
            let fields = vec![("bytes", json!(missing)), ("bytes_behind", json!(behind))];
            let item = Item { side, offset, size: 0, what: "missing", number: None, fields, frames: Vec::new() };
            items.push((stream(side).when(offset), item));
        }
    }
    // As the packets came; what came in one packet stays in its order.
    items.sort_by_key(|(when, _)| when.packet);
    let began = items.first().map_or(0, |(when, _)| when.time);
    let items = items.into_iter().map(|(when, item)| (Some(when.time.saturating_sub(began)), item)).collect();
    let closed = connection.streams.each_ref().map(|stream| match stream.end {
        End::Open => "open",
        End::Finished => "finished",
        End::Reset => "reset",
    });
    Shown { number, ends: Some(connection.ends.map(|end| end.to_string())), about, closed, items }
}

impl Summary {
    fn value(&self) -> Value {
        json!({
            "packets": self.packets, "tcp": self.tcp, "fragments": self.fragments, "malformed": self.malformed,
            "connections": self.connections, "tls": self.tls,
        })
    }

    fn text(&self, of_np: usize) -> String {
        format!(
            "capture: {}, {} of TCP, {}, {} malformed; {}, {of_np} of np, {} of TLS",
            counted(self.packets, "packet", "packets"),
            self.tcp,
            counted(self.fragments, "fragment", "fragments"),
            self.malformed,
            counted(self.connections, "connection", "connections"),
            self.tls
        )
    }

    /// Why no connection is one of np's, and what to do.
    fn why_nothing(&self) -> String {
        let text = self.text(0);
        match self.link {
            _ if self.tls > 0 => format!("{text}; what np sends inside TLS cannot be seen: capture a tcp:// address"),
            Some(link) if self.tcp == 0 => {
                format!("{text}; the link type {link} is not read: capture on loopback, Ethernet or `any`")
            }
            _ if self.tcp == 0 => {
                format!("{text}; capture the port of the server: tcpdump -i any -w np.pcap tcp port N")
            }
            _ => format!("{text}; begin the capture before the connection is made: its first bytes say what it is"),
        }
    }
}

impl Found {
    fn print(self, output: Output) -> Result<(), Failure> {
        for note in &self.notes {
            output::note(&format!("note: {note}"));
        }
        if output.is_ndjson() {
            return self.shown.iter().flat_map(Shown::values).try_for_each(|value| output.json(&value));
        }
        if output.is_json() {
            let connections: Vec<Value> = self.shown.iter().map(Shown::value).collect();
            let capture = self.capture.as_ref().map(Summary::value);
            return output.json(&json!({ "capture": capture, "connections": connections, "notes": self.notes }));
        }
        let width = screen::width();
        if let Some(capture) = &self.capture {
            output::write(format!("{}\n", screen::fit(&capture.text(self.shown.len()), 4, width)).as_bytes())?;
        }
        self.shown.iter().try_for_each(|shown| output::write(shown.text(width).as_bytes()))
    }
}

#[cfg(test)]
mod tests;
