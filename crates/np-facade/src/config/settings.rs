//! Every setting: its name, type, default, how it is written, when a new value counts, and what it is put into. Must never
//! read a file.
//!
//! To add one, add its description and its line here, a row with the test of its effect to `docs/CONFIGURATION.md`, and
//! write `docs/np.sample.toml` anew (`np config print --defaults`).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use np_compress::Encoder;
use np_driver::WhenFull;
use np_noise::Pattern;
use np_transport::{Address, ClientAuth, TlsSuite, TlsVersion};
use np_types::{Fingerprint, MethodName, Suite};

use super::declare::{Change, Entry, Table, settings};
use super::form::{Choice, Count, File, Flag, Form, List, Maybe, Parsed, Size, Span, Text};
use super::plan::{ClientPlan, ServerPlan, TransportPlan};
use crate::Balance;

/// The most connections, handshakes and calls that can be asked for.
const MOST: u64 = (1 << 28) - 1;
const GIB: u64 = 1 << 30;

settings! {
    /// `[server]`: where a server listens, who is let in, and how much of everything there may be.
    ///
    /// ```
    /// let config = np_facade::Config::default();
    /// assert_eq!(config.server.max_connections, 16_384);
    /// ```
    server: ServerConfig => ServerPlan {
        /// Where to listen: `tcp://127.0.0.1:9000`, `tls://0.0.0.0:9443`, `unix:/run/app.sock`; a list for several.
        address: Vec<String> = Vec::new(), List(ADDRESS), Restart, |to, it| to.address(it);
        /// The key files of this server, as `np keygen` wrote them. Further ones are for clients that ask for their keys.
        identity: Vec<PathBuf> = Vec::new(), List(File), Live, |to, it| to.files.identity.clone_from(it);
        /// Who may connect: public keys (`np1...`), files of them, `spki:HEX`, `san:NAME`, `user:ID`, `group:ID`, `psk:ID`, `anyone`
        /// who proves something, or `anonymous`. Nobody is let in where this is empty.
        allow: Vec<String> = Vec::new(), List(Text(not_empty)), Live, |to, it| to.files.allow.clone_from(it);
        /// The files of pre-shared keys that clients must hold, beside a key that `allow` lets in.
        psk: Vec<PathBuf> = Vec::new(), List(File), Live, |to, it| to.files.psk.clone_from(it);
        /// By what name clients ask for each `psk`, in the same order, or the public key of the client that it belongs to. Empty:
        /// the ids that `np keygen --psk` printed.
        psk_id: Vec<String> = Vec::new(), List(Text(not_empty)), Live, |to, it| to.files.psk_id.clone_from(it);
        /// Whether key files may be readable by others.
        danger_key_mode: bool = false, Flag, Live, |to, it| to.files.danger_key_mode = *it;
        /// Which handshakes are accepted: `xx`, `ik`, `nk`, `kk`, `xxpsk3`, `ikpsk2`, `nnpsk0`, `danger-nn`. Empty: xx and ik; with
        /// pre-shared keys xxpsk3, ikpsk2 and nnpsk0.
        patterns: Vec<Pattern> = Vec::new(), List(PATTERN), Restart, |to, it| to.patterns(it);
        /// PEM files of certificates with their chains, for `tls://` and `tls+noise://`; of several, clients get the one that
        /// carries the name they ask for.
        tls_cert: Vec<PathBuf> = Vec::new(), List(File), Live, |to, it| to.files.tls.cert.clone_from(it);
        /// The PEM files of the key of each `tls_cert`, in the same order.
        tls_key: Vec<PathBuf> = Vec::new(), List(File), Live, |to, it| to.files.tls.key.clone_from(it);
        /// PEM files of authorities that sign clients' certificates.
        tls_ca: Vec<PathBuf> = Vec::new(), List(File), Live, |to, it| to.files.tls.ca.clone_from(it);
        /// PEM files of revocation lists: with one, every client's certificate must be covered by a current list.
        tls_crl: Vec<PathBuf> = Vec::new(), List(File), Live, |to, it| to.files.tls.crl.clone_from(it);
        /// Whether clients need a certificate of `tls_ca`: `required`, `optional`, or `off` where there is no authority. `default`
        /// is required where an authority is named.
        tls_client_auth: Option<ClientAuth> = None, Maybe(AUTH, "default"), Live, |to, it| to.files.tls.auth = *it;
        /// The least version of TLS: `1.3` or `1.2`.
        tls_min: TlsVersion = TlsVersion::Tls13, VERSION, Live, |to, it| to.files.tls.least = *it;
        /// The cipher suites that may be used. Empty: all that are safe.
        tls_suites: Vec<TlsSuite> = Vec::new(), List(SUITE), Live, |to, it| to.files.tls.suites.clone_from(it);
        /// Whether clients may take up earlier TLS sessions.
        tls_resumption: bool = true, Flag, Live, |to, it| to.files.tls.no_resumption = !*it;
        /// How many connections may stand at once; one more is refused and told.
        max_connections: usize = 16_384, Count(1, MOST), Live, |to, it| to.accept().max_connections = *it;
        /// How many handshakes may be in progress at once; one more takes the place of the oldest silent client.
        max_handshakes: usize = 4_096, Count(1, MOST), Live, |to, it| to.accept().max_handshakes = *it;
        /// How many connections one source may have at once, or `off`: an IPv4 address, or an IPv6 network of 64 bits.
        max_source_connections: Option<usize> = None, Maybe(Count(1, MOST), "off"), Live, |to, it| to.accept().max_source_connections = *it;
        /// How many handshakes a second one source may begin, or `off`; as many may come at once.
        max_source_handshakes_per_second: Option<u32> = None, Maybe(Count(1, MOST), "off"), Live, |to, it| to.accept().max_source_handshakes_per_second = *it;
        /// How long a client's handshake may take, up to its first record.
        connection_timeout: Duration = Duration::from_secs(10), Span(1), Live, |to, it| to.accept().handshake_timeout = *it;
        /// How long written bytes may wait for a client to take them, and a record that has begun to come for its end; a slower
        /// client is cut.
        operation_timeout: Duration = Duration::from_secs(60), Span(1), Live, |to, it| to.accept().progress_timeout = *it;
        /// After how long without a byte from a client it is asked for a sign of life, or `off`; after twice as long it counts as
        /// dead.
        heartbeat_interval: Option<Duration> = Some(Duration::from_secs(15)), Maybe(Span(1), "off"), Live, |to, it| to.accept().lifetime.heartbeat_interval = *it;
        /// After how long without a call or stream a connection is ended in order, or `off`.
        idle_timeout: Option<Duration> = None, Maybe(Span(1), "off"), Live, |to, it| to.accept().lifetime.idle_timeout = *it;
        /// At what age a connection is ended in order, up to a fifth sooner, or `off`.
        max_age: Option<Duration> = None, Maybe(Span(1), "off"), Live, |to, it| to.accept().lifetime.max_age = *it;
        /// How many calls and streams one client may have open at once; further ones wait at the client.
        backpressure_limit: u32 = 1_024, Count(1, 1 << 20), Live, |to, it| to.accept().limits.max_calls = *it;
        /// How many calls and streams may be at work for all clients.
        max_server_calls: usize = 65_536, Count(1, MOST), Live, |to, it| to.accept().max_server_calls = *it;
        /// How many calls and streams may be at work for one identity, over all of its connections.
        max_identity_calls: usize = 8_192, Count(1, MOST), Live, |to, it| to.accept().max_identity_calls = *it;
        /// How many calls and streams a second one identity may open, over all of its connections, or `off`; as many may come at
        /// once.
        max_peer_calls_per_second: Option<u32> = None, Maybe(Count(1, MOST), "off"), Live, |to, it| to.accept().max_peer_calls_per_second = *it;
        /// What happens to a call beyond `max_server_calls` or `max_identity_calls`: `refuse` at once, as safe to send again, or `wait` until its deadline.
        when_full: WhenFull = WhenFull::Refuse, WHEN_FULL, Restart, |to, it| to.accept().when_full = *it;
        /// How many bytes of messages all connections may hold together, or `off`. Above it those that hold much are not read, and
        /// are cut when that lasts as long as `operation_timeout`. Up to half of it may be bytes that wait for clients; what waits
        /// beyond that half comes on top of it, and who keeps much there and does not move it is cut after half of that time.
        max_memory: Option<usize> = None, Maybe(Size(1, 1 << 50), "off"), Live, |to, it| to.accept().max_memory = *it;
        /// How many first flights are remembered against replay.
        replay_capacity: usize = 100_000, Count(10_000, MOST), Restart, |to, it| to.accept().replay_capacity = *it;
        /// Whether the replies of exactly-once calls are remembered, so that clients may send such a call again; else such calls
        /// are refused.
        exactly_once: bool = false, Flag, Restart, |to, it| to.exactly_once = *it;
        /// How many exactly-once calls may run, or have their replies remembered, of all clients.
        max_remembered: usize = 65_536, Count(1, MOST), Restart, |to, it| to.once.max_remembered = *it;
        /// How many exactly-once calls may run, or have their replies remembered, of one identity.
        max_identity_remembered: usize = 4_096, Count(1, MOST), Restart, |to, it| to.once.max_identity_remembered = *it;
        /// How many bytes of requests that run and of replies that are remembered there may be, of all clients.
        max_remembered_bytes: usize = 256 << 20, Size(1, 1 << 50), Restart, |to, it| to.once.max_remembered_bytes = *it;
        /// The same bytes of one identity. A longer request is refused, a longer reply not remembered.
        max_identity_remembered_bytes: usize = 32 << 20, Size(1, 1 << 50), Restart, |to, it| to.once.max_identity_remembered_bytes = *it;
        /// How many clients that make exactly-once calls are remembered, of all identities.
        max_instances: usize = 16_384, Count(1, MOST), Restart, |to, it| to.once.max_instances = *it;
        /// How many of them are remembered of one identity; one more takes the place of the one that called longest ago.
        max_identity_instances: usize = 1_024, Count(1, MOST), Restart, |to, it| to.once.max_identity_instances = *it;
        /// How long a reply is remembered that was not acknowledged, and a client that calls no more.
        remember_for: Duration = Duration::from_secs(600), Span(1), Restart, |to, it| to.once.remember_for = *it;
        /// How long open calls may go on when the server is told to end.
        shutdown_timeout: Duration = Duration::from_secs(10), Span(0), Live, |to, it| to.builder.shutdown_timeout = *it;
        /// How long a server that is told to end goes on as before, but for `np.health`, which answers `draining`: time for load
        /// balancers.
        drain_delay: Duration = Duration::ZERO, Span(0), Live, |to, it| to.builder.drain_delay = *it;
        /// Whom `np.status` tells how the server does, in the words of `allow`. Nobody where this is empty.
        status_allow: Vec<String> = Vec::new(), List(Text(not_empty)), Live, |to, it| to.files.status_allow.clone_from(it);
        /// Where `np serve` answers Prometheus and monitors over plain HTTP, as `127.0.0.1:9100`, or `off`. Nothing protects it. The
        /// server of another program counts then, and the program shows its figures.
        metrics: Option<SocketAddr> = None, Maybe(SOCKET, "off"), Restart, |to, it| to.metrics(*it);
        /// The permission bits of Unix sockets, in octal.
        unix_mode: u32 = 0o600, Parsed(read_mode, write_mode), Restart, |to, it| to.bind().unix_mode = *it;
        /// How many connections wait to be accepted before further ones are held up.
        backlog: u32 = 1_024, Count(1, 65_535), Restart, |to, it| to.bind().backlog = *it;
        /// Whether TCP may bind a port whose earlier connections still linger. `default` is yes on Unix, no on Windows.
        reuse_address: Option<bool> = None, Maybe(Flag, "default"), Restart, |to, it| to.bind().reuse_address = it.unwrap_or(cfg!(unix));
        /// Whether further servers may listen on the same TCP port, each with this setting, and the system spreads connections over
        /// them. On Linux and Android.
        share_port: bool = false, Flag, Restart, |to, it| to.bind().share_port = *it;
        /// Whether a TCP listener on an IPv6 address leaves IPv4 alone. `default` is the system's rule.
        ipv6_only: Option<bool> = None, Maybe(Flag, "default"), Restart, |to, it| to.bind().ipv6_only = *it;
        /// Whether every TCP connection starts with a PROXY header (version 2). Only where nobody but such a proxy can reach the
        /// addresses.
        proxy_protocol: bool = false, Flag, Restart, |to, it| to.bind().proxy_protocol = *it;
    }

    /// `[client]`: where a client connects to, whom it trusts, how long it waits, and how it stays connected.
    ///
    /// ```
    /// let config = np_facade::Config::default();
    /// assert_eq!(config.client.response_timeout.as_secs(), 30);
    /// ```
    client: ClientConfig => ClientPlan {
        /// Where the server is, as it printed it: `tcp://127.0.0.1:9000?key=np1...`; a list where several serve the same, in one
        /// mode.
        address: Vec<String> = Vec::new(), List(ADDRESS), Restart, |to, it| to.builder.addresses.extend_from_slice(it);
        /// The key file of this client. Empty: a fresh identity.
        identity: Option<PathBuf> = None, Maybe(File, ""), Live, |to, it| to.files.identity.clone_from(it);
        /// The file of a pre-shared key that the server holds, too.
        psk: Option<PathBuf> = None, Maybe(File, ""), Live, |to, it| to.files.psk.clone_from(it);
        /// By what name the server finds the pre-shared key. `default` is the key's own id; empty: by this client's key.
        psk_id: Option<String> = None, Maybe(Text(any), "default"), Live, |to, it| to.builder.psk_id.clone_from(it);
        /// Whether key files may be readable by others.
        danger_key_mode: bool = false, Flag, Live, |to, it| to.files.danger_key_mode = *it;
        /// The handshake, as in `[server]`. `default` is xx; with a pre-shared key xxpsk3, or nnpsk0 where the address names no key.
        pattern: Option<Pattern> = None, Maybe(PATTERN, "default"), Restart, |to, it| to.builder.pattern = *it;
        /// The file in which the key is kept that a server shows first, for addresses without a key. Empty: no key is learned.
        known_peers: Option<PathBuf> = None, Maybe(File, ""), Live, |to, it| to.files.known_peers.clone_from(it);
        /// Whether whoever answers is trusted: nothing tells the server from an impostor then.
        danger_trust_anyone: bool = false, Flag, Live, |to, it| to.files.danger_trust_anyone = *it;
        /// PEM files of the authorities that sign servers' certificates, in place of those of this system.
        tls_ca: Vec<PathBuf> = Vec::new(), List(File), Live, |to, it| to.files.tls.ca.clone_from(it);
        /// The SHA-256 of servers' public keys (`sha256:HEX`), of which a server must have one.
        tls_pin: Vec<Fingerprint> = Vec::new(), List(PIN), Live, |to, it| to.files.tls.pins.clone_from(it);
        /// Whether the authorities of this system must have signed the server's certificate where `tls_pin` names keys, too.
        tls_trust_platform: bool = false, Flag, Live, |to, it| to.files.tls.platform = *it;
        /// The PEM file of this client's certificate, for servers that ask for one. Empty: none.
        tls_cert: Option<PathBuf> = None, Maybe(File, ""), Live, |to, it| to.files.tls.cert.clone_from(it);
        /// The PEM file of its key.
        tls_key: Option<PathBuf> = None, Maybe(File, ""), Live, |to, it| to.files.tls.key.clone_from(it);
        /// The name that the server's certificate must carry. Empty: the host of the address.
        tls_server_name: Option<String> = None, Maybe(Text(any), ""), Live, |to, it| to.files.tls.name.clone_from(it);
        /// The least version of TLS: `1.3` or `1.2`.
        tls_min: TlsVersion = TlsVersion::Tls13, VERSION, Live, |to, it| to.files.tls.least = *it;
        /// The cipher suites that may be used. Empty: all that are safe.
        tls_suites: Vec<TlsSuite> = Vec::new(), List(SUITE), Live, |to, it| to.files.tls.suites.clone_from(it);
        /// Whether earlier TLS sessions are taken up again.
        tls_resumption: bool = true, Flag, Live, |to, it| to.files.tls.no_resumption = !*it;
        /// How long a link may take to come about.
        connection_timeout: Duration = Duration::from_secs(10), Span(1), Live, |to, it| to.builder.connect_timeout = *it;
        /// How long the handshake may take after that.
        handshake_timeout: Duration = Duration::from_secs(10), Span(1), Live, |to, it| to.builder.handshake_timeout = *it;
        /// Whether the first call of a connection leaves with the end of the handshake, a round trip sooner; a server that refuses
        /// this client then fails that call, and not the attempt to connect.
        early_call: bool = false, Flag, Live, |to, it| to.builder.early_call = *it;
        /// How long written bytes may wait for the server to take them, and a record that has begun to come for its end.
        operation_timeout: Duration = Duration::from_secs(60), Span(1), Live, |to, it| to.builder.progress_timeout = *it;
        /// The deadline of calls that name none.
        response_timeout: Duration = Duration::from_secs(30), Span(1), Restart, |to, it| to.builder.deadline = *it;
        /// After how long without a byte from the server it is asked for a sign of life, or `off`; after twice as long it counts
        /// as dead.
        heartbeat_interval: Option<Duration> = Some(Duration::from_secs(15)), Maybe(Span(1), "off"), Live, |to, it| to.builder.lifetime.heartbeat_interval = *it;
        /// After how long without a call or stream a connection is ended in order, or `off`.
        idle_timeout: Option<Duration> = None, Maybe(Span(1), "off"), Live, |to, it| to.builder.lifetime.idle_timeout = *it;
        /// At what age a connection is ended in order, up to a fifth sooner, or `off`.
        max_age: Option<Duration> = None, Maybe(Span(1), "off"), Live, |to, it| to.builder.lifetime.max_age = *it;
        /// Whether a connection that is lost is made again.
        auto_reconnect: bool = true, Flag, Restart, |to, it| to.builder.keeping.auto_reconnect = *it;
        /// After how many failed attempts in a row to connect again the client is over, or `off`.
        max_reconnect_attempts: Option<u32> = None, Maybe(Count(1, MOST), "off"), Restart, |to, it| to.builder.keeping.backoff.max_attempts = *it;
        /// The longest delay before the first attempt to connect again; it doubles with each further one.
        reconnect_delay: Duration = Duration::from_millis(100), Span(1), Restart, |to, it| to.builder.keeping.backoff.least = *it;
        /// The longest delay between two attempts; at least `reconnect_delay`.
        max_reconnect_delay: Duration = Duration::from_secs(30), Span(1), Restart, |to, it| to.builder.keeping.backoff.most = *it;
        /// How many calls may be sent again at once that may have been done, or that a server refused; each success gives back a
        /// tenth.
        retry_budget: u32 = 10, Count(0, 1 << 20), Restart, |to, it| to.builder.keeping.retry_budget = *it;
        /// The methods that do no harm when they run twice, so that their calls are sent again when it is not known whether they
        /// ran.
        idempotent_methods: Vec<String> = Vec::new(), List(Text(method)), Restart, |to, it| to.idempotent(it);
        /// Whether every call is an exactly-once call: sent again, and run once all the same, where the server has `exactly_once`.
        exactly_once: bool = false, Flag, Restart, |to, it| to.builder.keeping.exactly_once = *it;
        /// How calls are spread over addresses and connections: `fail-over`, `round-robin`, `least-in-flight`.
        balance: Balance = Balance::FailOver, BALANCE, Restart, |to, it| to.builder.keeping.balance = *it;
        /// How many connections each address gets, in all with `fail-over`.
        pool_size: usize = 1, Count(1, 64), Restart, |to, it| to.builder.keeping.pool_size = *it;
        /// Whether an address that fails again and again is left alone for a while, where there are others.
        circuit_breaker: bool = true, Flag, Restart, |to, it| to.circuit_breaker = *it;
        /// After how many failures in a row an address is left alone.
        circuit_breaker_failures_in_a_row: u32 = 5, Count(1, MOST), Restart, |to, it| to.breaker.failures_in_a_row = *it;
        /// After how many failures among the last 20 results of an address it is left alone.
        circuit_breaker_failures_of_twenty: u32 = 10, Count(1, 20), Restart, |to, it| to.breaker.failures_of_twenty = *it;
        /// For how long an address is left alone before it is tried again, once.
        circuit_breaker_open_for: Duration = Duration::from_secs(10), Span(1), Restart, |to, it| to.breaker.open_for = *it;
        /// How many calls and streams the server may have open at once; further ones wait at the server.
        backpressure_limit: u32 = 1_024, Count(1, 1 << 20), Live, |to, it| to.builder.limits.max_calls = *it;
        /// The user whose listener is accepted in `?mode=local` and on pipes: a uid, a SID. Empty: the one that runs this program.
        local_user: Option<String> = None, Maybe(Text(any), ""), Restart, |to, it| to.builder.link.local_user.clone_from(it);
        /// The IP address of this machine that TCP connects from. `default` is the system's choice.
        source_address: Option<IpAddr> = None, Maybe(IP, "default"), Restart, |to, it| to.builder.link.source = *it;
        /// For how long one IP address of a name may stay silent before the next is tried beside it.
        stagger: Duration = Duration::from_millis(250), Span(0), Restart, |to, it| to.builder.link.stagger = *it;
    }

    /// `[transport]`: what a connection may cost, how it is compressed, and the settings of its socket; for servers and
    /// clients.
    ///
    /// ```
    /// let config = np_facade::Config::default();
    /// assert_eq!(config.transport.max_message, 16 << 20);
    /// ```
    transport: TransportConfig => TransportPlan {
        /// The longest message that is received.
        max_message: u32 = 16 << 20, Size(1 << 10, GIB), Live, |to, it| to.limits.max_message = *it;
        /// How many calls of this side wait on a connection for the peer's allowance before further ones wait in front of it.
        max_queued_calls: u32 = 1_024, Count(1, 1 << 20), Live, |to, it| to.limits.max_queued_calls = *it;
        /// Credit of a stream at its start, and the longest message that is sent without asking.
        stream_window: u32 = 256 << 10, Size(1 << 10, GIB), Live, |to, it| to.limits.stream_window = *it;
        /// Credit of the whole connection at its start; at least twice `stream_window`.
        connection_window: u32 = 1 << 20, Size(2 << 10, GIB), Live, |to, it| to.limits.connection_window = *it;
        /// The most that a window grows to; at least `stream_window`.
        max_window: u32 = 16 << 20, Size(1 << 10, GIB), Live, |to, it| to.limits.max_window = *it;
        /// Bytes of messages larger than the stream window that are put together at once; at least `max_message`.
        reassembly_budget: u32 = 32 << 20, Size(1 << 10, U32), Live, |to, it| to.limits.reassembly_budget = *it;
        /// Bytes of requests without an answer, and of answers without credit; at least `max_message` and 8 KiB.
        call_budget: u32 = 64 << 20, Size(1 << 10, U32), Live, |to, it| to.limits.call_budget = *it;
        /// Whether messages that come may be compressed.
        accept_compressed: bool = true, Flag, Live, |to, it| to.limits.accept_compressed = *it;
        /// The cipher suite of handshakes by key: `chacha`, `aes`, or `auto`. A client asks for it, a server takes no other;
        /// `auto` is what the client's processor is fast at, and both at a server. `suite=` in an address goes before it.
        suite: Option<Suite> = None, Maybe(CIPHER, "auto"), Restart, |to, it| to.suite = *it;
        /// Records after which a key is renewed.
        rekey_records: u64 = 1 << 20, Count(1, 1 << 20), Live, |to, it| to.limits.rekey_records = *it;
        /// Bytes after which a key is renewed.
        rekey_bytes: u64 = 64 << 30, Size(1, 64 << 30), Live, |to, it| to.limits.rekey_bytes = *it;
        /// Age after which a key is renewed before the next record.
        rekey_age: Duration = Duration::from_secs(120), Span(1_000), Live, |to, it| to.limits.rekey_age = *it;
        /// Acts of each kind that are legal and of no use, such as pings, that a peer may do without work in between.
        useless_acts: u32 = 4_096, Count(256, 1 << 20), Live, |to, it| to.limits.useless_acts = *it;
        /// Records are padded to a multiple of this many bytes, to hide sizes; 0 for no padding.
        pad_records_to: u16 = 0, Count(0, 16_384), Live, |to, it| to.limits.pad_records_to = *it;
        /// Whether messages are compressed for which neither call nor method says anything. The size of a compressed message tells
        /// about what is in it.
        compression_enabled: bool = false, Flag, Restart, |to, it| to.compression.by_default = *it;
        /// How messages are compressed: `lz4`, `zstd`, or `zstd:LEVEL` (1 to 19).
        compression_algorithm: Encoder = Encoder::Lz4, ENCODER, Restart, |to, it| to.compression.settings.encoder = *it;
        /// The shortest message that is compressed.
        compression_threshold_bytes: u32 = 512, Size(1, GIB), Restart, |to, it| to.compression.settings.threshold = *it;
        /// The most bytes that one compressed byte may stand for; a message that shrinks further travels plain.
        compression_max_ratio: u32 = 256, Count(2, 32_768), Restart, |to, it| to.compression.settings.max_ratio = *it;
        /// Whether methods whose messages do not shrink are left alone for a while.
        compression_adaptive: bool = true, Flag, Restart, |to, it| to.compression.settings.adaptive = *it;
        /// Whether TCP sends small writes at once.
        no_delay: bool = true, Flag, Restart, |to, it| to.socket.no_delay = *it;
        /// After how long the system asks an idle TCP peer whether it is there, or `off`.
        keep_alive: Option<Duration> = None, Maybe(Span(1_000), "off"), Restart, |to, it| to.socket.keep_alive = *it;
        /// Bytes that the system buffers for sending over TCP, or `default`.
        send_buffer: Option<u32> = None, Maybe(BUFFER, "default"), Restart, |to, it| to.socket.send_buffer = *it;
        /// Bytes that the system buffers for receiving over TCP, or `default`.
        receive_buffer: Option<u32> = None, Maybe(BUFFER, "default"), Restart, |to, it| to.socket.receive_buffer = *it;
        /// How many unsent bytes the kernel takes over TCP (Linux and Android), or `default`.
        unsent_limit: Option<u32> = Some(128 << 10), Maybe(BUFFER, "default"), Restart, |to, it| to.socket.unsent_limit = *it;
        /// For how long sent data may stay unacknowledged over TCP (Linux and Android), or `default`.
        user_timeout: Option<Duration> = None, Maybe(Span(1), "default"), Restart, |to, it| to.socket.user_timeout = *it;
    }

    /// `[logging]`: what a program of np tells about itself. A library has its program's log.
    ///
    /// ```
    /// let config = np_facade::Config::default();
    /// assert_eq!(config.logging.level.name(), "warn");
    /// ```
    logging: LoggingConfig => (LogLevel, LogFormat) {
        /// What is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`.
        level: LogLevel = LogLevel::Warn, Choice(LogLevel::ALL), Live, |to, it| to.0 = *it;
        /// How each line is written: `text` for people, `json` for programs.
        format: LogFormat = LogFormat::Text, Choice(LogFormat::ALL), Restart, |to, it| to.1 = *it;
    }
}

const U32: u64 = u32::MAX as u64;
const BUFFER: Size = Size(1, GIB);
const ADDRESS: Text = Text(check_address);
const AUTH: Choice<ClientAuth> =
    Choice(&[("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)]);
const WHEN_FULL: Choice<WhenFull> = Choice(&[("refuse", WhenFull::Refuse), ("wait", WhenFull::Wait)]);
const BALANCE: Choice<Balance> = Choice(&[
    ("fail-over", Balance::FailOver),
    ("round-robin", Balance::RoundRobin),
    ("least-in-flight", Balance::LeastInFlight),
]);
const VERSION: Choice<TlsVersion> = Choice(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]);
const SUITE: Parsed<TlsSuite> = Parsed(|text| text.parse(), ToString::to_string);
const CIPHER: Choice<Suite> = Choice(&[("chacha", Suite::ChaChaPoly), ("aes", Suite::AesGcm)]);
const PATTERN: Choice<Pattern> = Choice(&[
    ("xx", Pattern::XX),
    ("ik", Pattern::IK),
    ("nk", Pattern::NK),
    ("kk", Pattern::KK),
    ("xxpsk3", Pattern::XXpsk3),
    ("ikpsk2", Pattern::IKpsk2),
    ("nnpsk0", Pattern::NNpsk0),
    ("danger-nn", Pattern::DangerNN),
]);
const PIN: Parsed<Fingerprint> = Parsed(
    |text| {
        let digits = text.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
        digits.ok_or_else(|| "sha256: and 64 hexadecimal digits, as the server printed it".to_owned())
    },
    |pin| format!("sha256:{pin}"),
);
const SOCKET: Parsed<SocketAddr> = Parsed(
    |text| text.parse().map_err(|_| "an IP address and a port, as 127.0.0.1:9100".to_owned()),
    ToString::to_string,
);
const IP: Parsed<IpAddr> = Parsed(|text| text.parse().map_err(|_| "an IP address".to_owned()), ToString::to_string);
const ENCODER: Parsed<Encoder> = Parsed(read_encoder, |encoder| match encoder {
    Encoder::Lz4 => "lz4".to_owned(),
    Encoder::Zstd { level } => format!("zstd:{level}"),
});

/// How much is logged.
///
/// ```
/// use np_facade::LogLevel;
/// assert!(LogLevel::Warn < LogLevel::Debug);
/// assert_eq!(LogLevel::Off.name(), "off");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What ends a service.
    Error,
    /// And what needs somebody's attention.
    Warn,
    /// And what happens: connections, reloads.
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

impl LogLevel {
    const ALL: &[(&str, Self)] = &[
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The name that the setting has.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How lines of the log are written.
///
/// ```
/// use np_facade::{Config, LogFormat};
/// assert_eq!(Config::default().logging.format, LogFormat::Text);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object a line.
    Json,
}

impl LogFormat {
    const ALL: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("holds an empty text; take it out".to_owned()) } else { Ok(()) }
}

fn method(text: &str) -> Result<(), String> {
    MethodName::new(text).map(drop).map_err(|error| error.to_string())
}

fn check_address(text: &str) -> Result<(), String> {
    match text.parse::<Address>() {
        Ok(_) => Ok(()),
        // The error's own message shows no part of the text.
        Err(error) => Err(format!("is no address: {}", error.message())),
    }
}

fn read_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "permission bits in octal, up to \"777\"".to_owned())
}

fn write_mode(mode: &u32) -> String {
    format!("{mode:03o}")
}

fn read_encoder(text: &str) -> Result<Encoder, String> {
    let level = match text {
        "lz4" => return Ok(Encoder::Lz4),
        "zstd" => Some(3),
        text => text.strip_prefix("zstd:").and_then(|level| level.parse().ok()),
    };
    match level {
        Some(level @ 1..=19) => Ok(Encoder::Zstd { level }),
        _ => Err("\"lz4\", \"zstd\" or \"zstd:LEVEL\" (1 to 19)".to_owned()),
    }
}
