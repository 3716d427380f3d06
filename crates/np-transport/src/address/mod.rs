//! Addresses: where a peer is, which mode protects the way there, and which keys it may show.
//!
//! Owns the one grammar of the house and its canonical text. It must never resolve a name or open a socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use np_types::{Fingerprint, PublicKey, Suite};

mod error;
mod parse;

pub use error::AddressError;

/// Where a peer is reached, and which public keys it may prove there.
///
/// | text | meaning |
/// |---|---|
/// | `tcp://host:port` | a host name, an IPv4 address or an IPv6 address in brackets (`tcp://[::1]:9000`) |
/// | `unix:/run/np.sock` | a Unix socket; `unix:///run/np.sock` means the same |
/// | `unix:np.sock` | a Unix socket, relative to the working directory of the process |
/// | `mem:name` | a pipe inside this process |
/// | `unix:@name` | an abstract Unix socket of Linux, without a file; a file of that name is `unix:./@name` |
/// | `tls://host:port` | TLS over TCP |
/// | `tls+noise://host:port` | Noise inside TLS over TCP |
/// | `pipe:name` | a Windows named pipe |
///
/// `?key=np1...` names a public key that the peer may show; several, joined by `&`, mean any one of them. `?mode=` takes
/// `noise` (the default), `local` (for `unix:` and `pipe:`) and `danger-plaintext`; keys go with Noise modes alone.
/// `?pin=sha256:HEX` names the SHA-256 of the public key (SPKI) of a TLS server, several mean any one; `?name=example.com`
/// the name that its certificate must carry where that is not the host. Both are for `tls` and `tls+noise`.
/// `?suite=chacha` or `?suite=aes` names the cipher suite of the handshake by key: a client uses it, a listener takes no other.
/// Other parameters are refused. In the path of a Unix socket `%XX` stands for one byte: `?` and `%` must be written so,
/// spaces and control characters are shown so, and bytes that are not UTF-8 can be written in no other way. The names of
/// `mem:` and `pipe:` are 1 to 64 characters of `A-Z a-z 0-9 . _ -`. An address has at most 4,096 bytes.
///
/// `Display` writes the canonical text, which reads back as an equal value.
///
/// ```
/// use np_transport::{Address, Scheme};
/// let address: Address = "unix:///run/my%20app.sock".parse()?;
/// assert_eq!(address.scheme(), Scheme::Unix);
/// assert_eq!(address.to_string(), "unix:/run/my%20app.sock");
///
/// let error = "tcp://localhost:9000?kee=np1".parse::<Address>().unwrap_err();
/// assert_eq!(error.at(), 21);
/// # Ok::<(), np_transport::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    scheme: Scheme,
    place: Place,
    mode: SecurityMode,
    keys: Vec<PublicKey>,
    pins: Vec<Fingerprint>,
    /// A DNS name or an IP address, in canonical form.
    server_name: Option<String>,
    suite: Option<Suite>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A host and a port: `tcp`, `tls`, `tls+noise`.
    Network { host: Host, port: u16 },
    /// The bytes of a file's path: `unix`.
    File(Vec<u8>),
    /// A name: `mem`, `pipe`.
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Name(String),
    V4(Ipv4Addr),
    /// With the number of the interface, 0 for none.
    V6(Ipv6Addr, u32),
}

/// The kind of transport that an address names.
///
/// ```
/// assert_eq!(np_transport::Scheme::TlsNoise.to_string(), "tls+noise");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// A Unix domain socket.
    Unix,
    /// A pipe inside this process.
    Mem,
    /// TLS over TCP.
    Tls,
    /// Noise inside TLS over TCP.
    TlsNoise,
    /// A Windows named pipe.
    Pipe,
}

impl Scheme {
    /// Every scheme, in the order that messages name them.
    pub(crate) const ALL: [Self; 6] = [Self::Tcp, Self::Unix, Self::Mem, Self::Tls, Self::TlsNoise, Self::Pipe];

    /// The text before the colon.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Mem => "mem",
            Self::Tls => "tls",
            Self::TlsNoise => "tls+noise",
            Self::Pipe => "pipe",
        }
    }

    /// Whether TLS is on the way.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsNoise)
    }

    /// The mode of an address of this scheme that names none.
    const fn default_mode(self) -> SecurityMode {
        match self {
            Self::Tcp | Self::Unix | Self::Mem | Self::Pipe => SecurityMode::Noise,
            Self::Tls => SecurityMode::Tls,
            Self::TlsNoise => SecurityMode::TlsNoise,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What protects the bytes of a link and proves its peer.
///
/// ```
/// use np_transport::{Address, SecurityMode};
/// let address: Address = "tcp://127.0.0.1:9000".parse()?;
/// assert_eq!(address.mode(), SecurityMode::Noise);
/// # Ok::<(), np_transport::AddressError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecurityMode {
    /// A Noise handshake on the bare stream, keys prove the peers. The default.
    Noise,
    /// TLS alone, certificates prove the peers.
    Tls,
    /// A Noise handshake inside TLS, bound to it.
    TlsNoise,
    /// No encryption on a socket of this machine, the operating system proves the peers.
    Local,
    /// No encryption and no proof of anything.
    DangerPlaintext,
}

impl SecurityMode {
    /// The name, as `?mode=` takes it where it takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Tls => "tls",
            Self::TlsNoise => "tls+noise",
            Self::Local => "local",
            Self::DangerPlaintext => "danger-plaintext",
        }
    }

    /// Whether peers prove themselves by a Noise key in this mode.
    #[must_use]
    pub const fn uses_keys(self) -> bool {
        matches!(self, Self::Noise | Self::TlsNoise)
    }
}

impl fmt::Display for SecurityMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Address {
    /// The TCP address of an IP address and a port.
    ///
    /// ```
    /// let address = np_transport::Address::tcp(([127, 0, 0, 1], 9000).into());
    /// assert_eq!(address.to_string(), "tcp://127.0.0.1:9000");
    /// ```
    #[must_use]
    pub fn tcp(at: SocketAddr) -> Self {
        let host = match at {
            SocketAddr::V4(v4) => Host::V4(*v4.ip()),
            SocketAddr::V6(v6) => Host::V6(*v6.ip(), v6.scope_id()),
        };
        let port = at.port();
        Self::plain(Scheme::Tcp, Place::Network { host, port })
    }

    /// The address of a Unix socket.
    ///
    /// # Errors
    /// When the path is empty, holds a NUL byte or makes the text longer than 4,096 bytes.
    pub fn unix(path: &Path) -> Result<Self, AddressError> {
        let address = Self::plain(Scheme::Unix, Place::File(path_bytes(path)));
        // Reading the text back applies the one set of rules.
        address.to_string().parse()
    }

    /// The address of a pipe inside this process.
    ///
    /// # Errors
    /// When the name is not 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    pub fn mem(name: &str) -> Result<Self, AddressError> {
        let text = format!("mem:{name}");
        let address: Self = text.parse()?;
        if text.contains('?') {
            let at = text.find('?').unwrap_or(text.len());
            return Err(AddressError::new(&text, at, parse::NAME_RULE.to_owned()));
        }
        Ok(address)
    }

    fn plain(scheme: Scheme, place: Place) -> Self {
        let mode = scheme.default_mode();
        Self { scheme, place, mode, keys: Vec::new(), pins: Vec::new(), server_name: None, suite: None }
    }

    /// The kind of transport.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What protects the link.
    #[must_use]
    pub const fn mode(&self) -> SecurityMode {
        self.mode
    }

    /// The public keys of which the peer must prove one; empty where the address names none.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// The host, without brackets, of `tcp`, `tls` and `tls+noise`.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match &self.place {
            Place::Network { host, .. } => Some(match host {
                Host::Name(name) => name.clone(),
                Host::V4(ip) => ip.to_string(),
                Host::V6(ip, 0) => ip.to_string(),
                Host::V6(ip, scope) => format!("{ip}%{scope}"),
            }),
            Place::File(_) | Place::Name(_) => None,
        }
    }

    /// The IP address, where the host is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match &self.place {
            Place::Network { host, .. } => match host {
                Host::Name(_) => None,
                Host::V4(ip) => Some(IpAddr::V4(*ip)),
                Host::V6(ip, _) => Some(IpAddr::V6(*ip)),
            },
            Place::File(_) | Place::Name(_) => None,
        }
    }

    /// The port of `tcp`, `tls` and `tls+noise`; 0 lets the system choose when it is bound.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Network { port, .. } => Some(*port),
            Place::File(_) | Place::Name(_) => None,
        }
    }

    /// The path of a Unix socket. `None` for other schemes, and where this system cannot express the bytes.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match &self.place {
            Place::File(bytes) => bytes_path(bytes),
            Place::Network { .. } | Place::Name(_) => None,
        }
    }

    /// The name of `mem` and `pipe`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.place {
            Place::Name(name) => Some(name),
            Place::Network { .. } | Place::File(_) => None,
        }
    }

    /// The SHA-256 of each public key that a TLS server may have; empty where the address names none.
    #[must_use]
    pub fn pins(&self) -> &[Fingerprint] {
        &self.pins
    }

    /// The name that a TLS server's certificate must carry, where the address says another than its host.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The cipher suite of the handshake by key, where the address names one.
    ///
    /// ```
    /// use np_transport::Address;
    /// use np_types::Suite;
    /// let address: Address = "tcp://10.0.0.1:9000?suite=chacha".parse()?;
    /// assert_eq!(address.suite(), Some(Suite::ChaChaPoly));
    /// assert_eq!(address.with_suite(None).to_string(), "tcp://10.0.0.1:9000");
    /// # Ok::<(), np_transport::AddressError>(())
    /// ```
    #[must_use]
    pub const fn suite(&self) -> Option<Suite> {
        self.suite
    }

    /// The same address with this suite, or none; where its mode has no handshake by key, it has none.
    #[must_use]
    pub fn with_suite(mut self, suite: Option<Suite>) -> Self {
        self.suite = suite.filter(|_| self.mode.uses_keys());
        self
    }

    /// The same address with one more key; a key that it names already is not named twice.
    #[must_use]
    pub fn with_key(mut self, key: PublicKey) -> Self {
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
        self
    }

    /// The same address with one more pin, where its scheme is of TLS; one that it names already is not named twice.
    #[must_use]
    pub fn with_pin(mut self, pin: Fingerprint) -> Self {
        if self.scheme.is_tls() && !self.pins.contains(&pin) {
            self.pins.push(pin);
        }
        self
    }

    /// The same address without its keys and pins: short enough for logs.
    #[must_use]
    pub fn without_keys(&self) -> Self {
        Self { keys: Vec::new(), pins: Vec::new(), ..self.clone() }
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// The same address at the place where a listener really is.
    pub(crate) fn moved_to(&self, at: SocketAddr) -> Self {
        Self { place: Self::tcp(at).place, ..self.clone() }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        match &self.place {
            Place::Network { host, port } => match host {
                Host::Name(name) => write!(f, "//{name}:{port}")?,
                Host::V4(ip) => write!(f, "//{ip}:{port}")?,
                // The standard library's text adds the brackets and the scope.
                Host::V6(ip, scope) => {
                    write!(f, "//{}", SocketAddrV6::new(*ip, *port, 0, *scope))?;
                }
            },
            Place::File(bytes) => write_path(f, bytes)?,
            Place::Name(name) => f.write_str(name)?,
        }
        let mut mark = '?';
        if self.mode != self.scheme.default_mode() {
            write!(f, "{mark}mode={}", self.mode)?;
            mark = '&';
        }
        for key in &self.keys {
            write!(f, "{mark}key={key}")?;
            mark = '&';
        }
        for pin in &self.pins {
            write!(f, "{mark}pin=sha256:{pin}")?;
            mark = '&';
        }
        if let Some(name) = &self.server_name {
            write!(f, "{mark}name={name}")?;
            mark = '&';
        }
        if let Some(suite) = self.suite {
            write!(f, "{mark}suite={suite}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Writes a path so that it reads back the same, byte for byte, and moves no cursor.
fn write_path(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut rest = bytes;
    // Two slashes at the start would read as the start of a host.
    if let Some(tail) = bytes.strip_prefix(b"//") {
        f.write_str("/%2F")?;
        rest = tail;
    }
    for chunk in rest.utf8_chunks() {
        for ch in chunk.valid().chars() {
            let plain = (ch.is_ascii_graphic() && !matches!(ch, '?' | '%')) || ch.is_alphanumeric();
            if plain {
                write!(f, "{ch}")?;
            } else {
                write_escaped(f, ch.encode_utf8(&mut [0; 4]).as_bytes())?;
            }
        }
        write_escaped(f, chunk.invalid())?;
    }
    Ok(())
}

fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

#[cfg(unix)]
fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(not(unix))]
fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(unix)]
fn bytes_path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(Path::new(std::ffi::OsStr::from_bytes(bytes)).to_path_buf())
}

#[cfg(not(unix))]
fn bytes_path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}
