//! The reader of addresses: every refusal says at which byte it was decided.
//!
//! It must never put a piece of the text into a message: the text may hold a secret that was pasted by mistake.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV6};

use np_types::{Fingerprint, PublicKey, Suite};

use super::{Address, AddressError, Host, Place, Scheme, SecurityMode};

/// The most bytes that an address may have: far above any real one, and a bound for whoever shows it.
const MAX_TEXT: usize = 4096;

/// The most characters of a host name (RFC 1035).
const MAX_HOST: usize = 253;

/// The most characters of a `mem:` or `pipe:` name.
const MAX_NAME: usize = 64;

pub(super) const NAME_RULE: &str = "a name is 1 to 64 characters of A-Z a-z 0-9 . _ -";

const KNOWN: &str = "the known parameters are key, mode, pin, name and suite";

pub(super) fn parse(text: &str) -> Result<Address, AddressError> {
    let address = read(text).map_err(|flaw| AddressError::new(text, flaw.at, flaw.message))?;
    // What is printed has to be read again, and escapes make it longer than what was written.
    if text.len() > MAX_TEXT / 3 && address.to_string().len() > MAX_TEXT {
        let message = format!("an address has at most {MAX_TEXT} bytes, its escapes included");
        return Err(AddressError::new(text, text.len(), message));
    }
    Ok(address)
}

struct Flaw {
    at: usize,
    message: String,
}

/// A piece of the text and the offset at which it starts.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Part<'a> {
    /// The part before the first `mark`, and the part after it.
    fn split(self, mark: char) -> (Self, Option<Self>) {
        match self.text.split_once(mark) {
            None => (self, None),
            Some((left, right)) => {
                let at = self.end().saturating_sub(right.len());
                let left = Part { text: left, at: self.at };
                (left, Some(Part { text: right, at }))
            }
        }
    }

    /// The part after `prefix`, where it starts so.
    fn strip(self, prefix: &str) -> Option<Self> {
        self.text.strip_prefix(prefix).map(|text| Part { text, at: self.at.saturating_add(prefix.len()) })
    }

    const fn end(self) -> usize {
        self.at.saturating_add(self.text.len())
    }

    /// A refusal of the first character that `fits` refuses.
    fn first_misfit(self, message: &str, fits: impl Fn(char) -> bool) -> Result<(), Flaw> {
        match self.text.char_indices().find(|(_, ch)| !fits(*ch)) {
            None => Ok(()),
            Some((index, _)) => Err(flaw(self.at.saturating_add(index), message)),
        }
    }
}

fn flaw(at: usize, message: impl Into<String>) -> Flaw {
    let message = message.into();
    Flaw { at, message }
}

fn read(text: &str) -> Result<Address, Flaw> {
    let whole = Part { text, at: 0 };
    if text.len() > MAX_TEXT {
        let message = format!("an address has at most {MAX_TEXT} bytes");
        return Err(flaw(MAX_TEXT, message));
    }
    let message = "a control character; in the path of a unix: address write it as %XX";
    whole.first_misfit(message, |ch| !ch.is_control())?;
    let (scheme, rest) = scheme(whole)?;
    let (body, query) = rest.split('?');
    let place = match scheme {
        Scheme::Tcp | Scheme::Tls | Scheme::TlsNoise => network(scheme, body)?,
        Scheme::Unix => Place::File(file(body)?),
        Scheme::Mem | Scheme::Pipe => Place::Name(name(body)?),
    };
    let mut address = Address::plain(scheme, place);
    if let Some(query) = query {
        parameters(&mut address, query)?;
    }
    Ok(address)
}

fn scheme(whole: Part<'_>) -> Result<(Scheme, Part<'_>), Flaw> {
    let known = Scheme::ALL.map(Scheme::as_str).join(", ");
    let (name, Some(rest)) = whole.split(':') else {
        let message = format!("an address starts with its scheme and a colon; schemes are {known}");
        return Err(flaw(0, message));
    };
    match Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == name.text) {
        Some(scheme) => Ok((scheme, rest)),
        None if rest.text.starts_with(|ch: char| ch.is_ascii_digit()) => {
            Err(flaw(0, "the scheme is missing; for TCP write tcp:// before it"))
        }
        None => Err(flaw(0, format!("unknown scheme; schemes are {known}"))),
    }
}

fn network(scheme: Scheme, body: Part<'_>) -> Result<Place, Flaw> {
    let Some(body) = body.strip("//") else {
        let message = format!("// belongs here: {scheme}://host:port");
        return Err(flaw(body.at, message));
    };
    if body.text.starts_with('[') {
        return bracketed(body);
    }
    let (host, port) = body.split(':');
    let host_value = host_name(host)?;
    let Some(port) = port else {
        return Err(flaw(host.end(), "the port is missing; write :PORT here"));
    };
    let port_value = port_number(port).map_err(|error| second_colon(body, port, error))?;
    if host.text.is_empty() {
        return Err(flaw(host.at, "the host is missing; write a name or an IP address"));
    }
    Ok(Place::Network { host: host_value, port: port_value })
}

/// A second colon means an IPv6 address without brackets more often than a wrong port.
fn second_colon(body: Part<'_>, port: Part<'_>, error: Flaw) -> Flaw {
    if port.text.contains(':') {
        return flaw(body.at, "an IPv6 address is written in brackets: [::1]:9000");
    }
    error
}

fn host_name(host: Part<'_>) -> Result<Host, Flaw> {
    host.first_misfit("a host name is ASCII (xn--...)", |ch| ch.is_ascii())?;
    let message = "not a character of a host name; an address here is host:port and nothing else";
    host.first_misfit(message, |ch| ch.is_ascii_alphanumeric() || matches!(ch, '.' | '-' | '_'))?;
    if let Ok(ip) = host.text.parse::<Ipv4Addr>() {
        return Ok(Host::V4(ip));
    }
    if host.text.len() > MAX_HOST {
        let message = format!("a host name has at most {MAX_HOST} characters");
        return Err(flaw(host.at.saturating_add(MAX_HOST), message));
    }
    // Resolvers read 127.1 or 010.0.0.1 as addresses that the reader of the text does not expect.
    let last = host.text.rsplit('.').find(|label| !label.is_empty());
    if last.is_some_and(|label| label.starts_with(|ch: char| ch.is_ascii_digit())) {
        let message = "not an IPv4 address (four numbers of 0 to 255), and no name's last part starts so";
        return Err(flaw(host.at, message));
    }
    Ok(Host::Name(host.text.to_ascii_lowercase()))
}

fn bracketed(body: Part<'_>) -> Result<Place, Flaw> {
    let (inside, after) = body.split(']');
    let Some(after) = after else {
        return Err(flaw(body.end(), "the closing ] is missing"));
    };
    let Some(port) = after.strip(":") else {
        return Err(flaw(after.at, "the port is missing; write :PORT here"));
    };
    let port = port_number(port)?;
    let text = format!("{}]:{port}", inside.text);
    let ip: SocketAddrV6 = text.parse().map_err(|_| {
        let message = "not an IPv6 address; an interface is a number: [fe80::1%2]";
        flaw(inside.at.saturating_add(1), message)
    })?;
    let host = Host::V6(*ip.ip(), ip.scope_id());
    Ok(Place::Network { host, port })
}

fn port_number(port: Part<'_>) -> Result<u16, Flaw> {
    let message = "a port is a number of 0 to 65535 and the address ends with it (or with ?key=)";
    if port.text.is_empty() {
        return Err(flaw(port.at, message));
    }
    port.first_misfit(message, |ch| ch.is_ascii_digit())?;
    port.text.parse().map_err(|_| flaw(port.at, message))
}

fn file(body: Part<'_>) -> Result<Vec<u8>, Flaw> {
    let mut path = body;
    if let Some(rest) = body.strip("//") {
        if !rest.text.starts_with('/') {
            let message = "a unix: address has no host; write unix:/path or unix:///path";
            return Err(flaw(rest.at, message));
        }
        path = rest;
    }
    let bytes = percent_decoded(path)?;
    if bytes.is_empty() {
        return Err(flaw(path.at, "the path is missing; write unix:/path"));
    }
    Ok(bytes)
}

fn percent_decoded(part: Part<'_>) -> Result<Vec<u8>, Flaw> {
    let mut bytes = Vec::with_capacity(part.text.len());
    let mut input = part.text.bytes().zip(part.at..);
    while let Some((byte, at)) = input.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || input.next().and_then(|(byte, _)| hex_digit(byte));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            let message = "two hexadecimal digits belong after %; a % itself is written %25";
            return Err(flaw(at, message));
        };
        match high << 4 | low {
            0 => return Err(flaw(at, "a path holds no NUL byte")),
            byte => bytes.push(byte),
        }
    }
    Ok(bytes)
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn name(body: Part<'_>) -> Result<String, Flaw> {
    body.first_misfit(NAME_RULE, |ch| ch.is_ascii_alphanumeric() || matches!(ch, '.' | '_' | '-'))?;
    if body.text.is_empty() {
        return Err(flaw(body.at, NAME_RULE));
    }
    if body.text.len() > MAX_NAME {
        return Err(flaw(body.at.saturating_add(MAX_NAME), NAME_RULE));
    }
    Ok(body.text.to_owned())
}

fn parameters(address: &mut Address, query: Part<'_>) -> Result<(), Flaw> {
    let mut mode_given = false;
    let (mut first_key, mut suite_at) = (None, None);
    let mut rest = Some(query);
    while let Some(here) = rest {
        let (pair, next) = here.split('&');
        rest = next;
        let (name, value) = pair.split('=');
        match (name.text, value) {
            ("key", Some(value)) => {
                address.keys.extend(new_key(&address.keys, value)?);
                first_key.get_or_insert(name.at);
            }
            ("mode", Some(value)) if !mode_given => {
                mode_given = true;
                address.mode = mode(address.scheme, name, value)?;
            }
            ("mode", Some(_)) => return Err(flaw(name.at, "mode stands twice")),
            ("suite", Some(value)) if suite_at.is_none() => {
                suite_at = Some(name.at);
                address.suite = Some(value.text.parse::<Suite>().map_err(|error| flaw(value.at, format!("{error}")))?);
            }
            ("suite", Some(_)) => return Err(flaw(name.at, "suite stands twice")),
            ("pin" | "name", Some(value)) => tls_parameter(address, name, value)?,
            ("key" | "mode" | "pin" | "name" | "suite", None) => {
                return Err(flaw(name.end(), "= and a value belong here"));
            }
            ("", _) => {
                let message = format!("a parameter belongs here; {KNOWN}");
                return Err(flaw(name.at, message));
            }
            _ => return Err(flaw(name.at, format!("unknown parameter; {KNOWN}"))),
        }
    }
    match (first_key, suite_at) {
        _ if address.mode.uses_keys() => Ok(()),
        (Some(at), _) => Err(flaw(at, keyless(address))),
        (None, Some(at)) => {
            let message = format!("no suite= here: the mode {} has no handshake by key", address.mode);
            Err(flaw(at, message))
        }
        (None, None) => Ok(()),
    }
}

fn keyless(address: &Address) -> String {
    let next = if address.scheme.is_tls() { "; pin its TLS key with pin=, or write tls+noise://" } else { "" };
    format!("no key= here: the mode {} does not prove peers by key{next}", address.mode)
}

fn tls_parameter(address: &mut Address, name: Part<'_>, value: Part<'_>) -> Result<(), Flaw> {
    if !address.scheme.is_tls() {
        return Err(flaw(name.at, format!("no {}= here: it is for tls:// and tls+noise://", name.text)));
    }
    if name.text == "pin" {
        let pin = pin(value)?;
        if !address.pins.contains(&pin) {
            address.pins.push(pin);
        }
        return Ok(());
    }
    if address.server_name.is_some() {
        return Err(flaw(name.at, "name stands twice"));
    }
    address.server_name = Some(server_name(value)?);
    Ok(())
}

fn pin(value: Part<'_>) -> Result<Fingerprint, Flaw> {
    let message = "a pin is sha256: and 64 hexadecimal digits, as the server printed it";
    let Some(digits) = value.strip("sha256:") else { return Err(flaw(value.at, message)) };
    digits.first_misfit(message, |ch| ch.is_ascii_hexdigit())?;
    digits.text.parse().map_err(|_| flaw(digits.end(), message))
}

/// A name as a certificate carries it, in the form that two of them can be compared by.
fn server_name(value: Part<'_>) -> Result<String, Flaw> {
    if let Ok(ip) = value.text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    if value.text.is_empty() {
        return Err(flaw(value.at, "a DNS name or an IP address belongs here"));
    }
    match host_name(value)? {
        Host::Name(name) if rustls::pki_types::DnsName::try_from(name.as_str()).is_ok() => Ok(name),
        _ => Err(flaw(value.at, "not a DNS name that a certificate can carry")),
    }
}

/// The key of a parameter, unless the address names it already.
fn new_key(keys: &[PublicKey], value: Part<'_>) -> Result<Option<PublicKey>, Flaw> {
    let key: PublicKey = value.text.parse().map_err(|error| flaw(value.at, format!("{error}")))?;
    Ok((!keys.contains(&key)).then_some(key))
}

fn mode(scheme: Scheme, name: Part<'_>, value: Part<'_>) -> Result<SecurityMode, Flaw> {
    if matches!(scheme, Scheme::Tls | Scheme::TlsNoise) {
        let message = format!("no mode= here: the scheme {scheme} is the mode");
        return Err(flaw(name.at, message));
    }
    match value.text {
        "noise" => Ok(SecurityMode::Noise),
        "danger-plaintext" => Ok(SecurityMode::DangerPlaintext),
        "local" if matches!(scheme, Scheme::Unix | Scheme::Pipe) => Ok(SecurityMode::Local),
        "local" => {
            let message = "the mode local is for unix: and pipe: addresses";
            Err(flaw(value.at, message))
        }
        _ => {
            let message = "unknown mode; modes are noise, local and danger-plaintext";
            Err(flaw(value.at, message))
        }
    }
}
