//! TLS from the command line: the commands that `np cert dev` prints, bad certificates each by its own error, other
//! implementations; and local sockets, whose peers the operating system proves.

use std::process::{Command, Stdio};

use np_facade::{DevCertificates, dev_certificates};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _, date_time_ymd};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Folder, Ran, Serve, finish, run};

/// Certificates for development, in files.
struct Dev {
    folder: Folder,
    made: DevCertificates,
}

impl Dev {
    fn new() -> Self {
        let (folder, made) = (Folder::new(), dev_certificates(&[]).unwrap());
        let files: [(&str, &str); 5] = [
            ("ca.pem", &made.ca),
            ("server.pem", &made.server),
            ("server-key.pem", &made.server_key),
            ("client.pem", &made.client),
            ("client-key.pem", &made.client_key),
        ];
        for (name, text) in files {
            folder.secret(name, text);
        }
        Self { folder, made }
    }

    fn arg(&self, name: &str) -> String {
        self.folder.arg(name)
    }

    fn serve(&self, more: &[&str]) -> Serve {
        let (cert, key) = (self.arg("server.pem"), self.arg("server-key.pem"));
        let mut arguments = vec!["--listen", "tls://127.0.0.1:0", "--cert", &cert, "--key", &key];
        arguments.extend(more);
        Serve::start(&arguments)
    }

    /// A server that asks for certificates of the authority.
    fn asking(&self, more: &[&str]) -> Serve {
        let ca = self.arg("ca.pem");
        self.serve(&[&["--ca", ca.as_str()], more].concat())
    }

    /// Calls with the client's certificate.
    fn call_known(&self, address: &str) -> Ran {
        let (cert, key) = (self.arg("client.pem"), self.arg("client-key.pem"));
        run(["call", address, "np.echo", "hello", "--client-cert", &cert, "--client-key", &key])
    }
}

/// An address without what stands behind its `?`.
fn bare(address: &str) -> &str {
    address.split('?').next().unwrap()
}

#[test]
fn the_commands_that_cert_dev_prints_do_what_they_say() {
    let folder = Folder::new();
    let made = run(["cert", "dev", "--json", "--out", &folder.arg("dev")]).ok_json();
    let text = |value: &Value| value.as_str().unwrap().replace(['\'', '"'], "");
    let commands: Vec<String> = made["commands"].as_array().unwrap().iter().map(text).collect();
    let words = |command: &str| command.split_whitespace().skip(1).map(ToOwned::to_owned).collect::<Vec<_>>();
    let port = "tls://127.0.0.1:9443";
    // The port of the printed commands may be taken here.
    let serve: Vec<String> =
        words(&commands[0]).into_iter().skip(1).map(|it| it.replace(port, "tls://127.0.0.1:0")).collect();
    let serve = Serve::start(&serve.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(serve.address(), format!("{}?pin={}", bare(serve.address()), text(&made["server_pin"])));
    assert_eq!(commands.len(), 3);
    for command in &commands[1..] {
        let call = words(command).into_iter().map(|it| it.replace(port, bare(serve.address())));
        assert_eq!(run(call).ok(), "hello", "{command}");
    }
}

#[test]
fn a_tls_server_needs_no_identity_and_prints_its_pin() {
    let dev = Dev::new();
    let serve = dev.serve(&["--allow", "anonymous"]);
    assert_eq!(serve.address(), format!("{}?pin=sha256:{}", bare(serve.address()), dev.made.server_pin));
    assert_eq!(run(["call", serve.address(), "np.echo", "pinned"]).ok(), "pinned");
    let pin = format!("sha256:{}", dev.made.server_pin);
    assert_eq!(run(["call", bare(serve.address()), "np.echo", "x", "--pin", &pin]).ok(), "x");
    assert_eq!(run(["call", bare(serve.address()), "np.echo", "x", "--ca", &dev.arg("ca.pem")]).ok(), "x");
    run(["ping", serve.address(), "--count", "1"]).ok();
    let unverified = run(["call", bare(serve.address()), "np.echo", "x", "--danger-trust-anyone"]);
    assert!(unverified.err.contains("warning: --danger-trust-anyone"), "{}", unverified.err);
    assert_eq!(unverified.ok(), "x");
}

#[test]
fn a_server_with_ca_lets_in_certificates_of_it_alone() {
    let dev = Dev::new();
    let mut serve = dev.asking(&[]);
    serve.wait_for("--ca without --allow");
    assert_eq!(dev.call_known(serve.address()).ok(), "hello");
    run(["call", serve.address(), "np.echo"]).fails(4, &["client certificate is required", "--client-cert"]);
    let other = Dev::new();
    other.call_known(serve.address()).fails(4, &["our certificate", "no trusted authority"]);
    let optional = dev.asking(&["--client-auth", "optional", "--allow", "anonymous", "--allow", "san:np-dev-client"]);
    assert_eq!(run(["call", optional.address(), "np.echo", "x"]).ok(), "x");
    assert_eq!(dev.call_known(optional.address()).ok(), "hello");
    other.call_known(optional.address()).fails(4, &["no trusted authority"]);
}

#[test]
fn allow_takes_the_key_and_the_names_of_certificates() {
    let dev = Dev::new();
    let spki = format!("spki:{}", dev.made.client_pin);
    for (allow, welcome) in [
        (spki.as_str(), true),
        ("san:np-dev-client", true),
        ("san:somebody-else", false),
        (&format!("spki:{}", dev.made.server_pin), false),
    ] {
        let serve = dev.asking(&["--allow", allow]);
        let ran = dev.call_known(serve.address());
        match welcome {
            true => assert_eq!(ran.ok(), "hello", "{allow}"),
            false => ran.fails(4, &["not-allowed", "spki:HEX"]),
        }
    }
    let serve = dev.asking(&["--client-auth", "optional", "--allow", &spki]);
    run(["call", serve.address(), "np.echo"]).fails(4, &["no certificate was shown", "--client-cert"]);
}

/// Each is refused by its own name, and nobody is called.
#[test]
fn bad_certificates_are_refused_each_by_its_own_error() {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let folder = Folder::new();
    let ca_file = folder.file("ca.pem", ca.pem());
    let years = |from: i32, to: i32| (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    let dates = [("expired", years(2001, 2002)), ("early", years(2980, 2990)), ("good", years(2001, 2990))];
    let here = ["localhost", "127.0.0.1"];
    let mut servers = Vec::new();
    let mut pins = Vec::new();
    for (name, dates, names) in dates.iter().map(|(name, dates)| (*name, *dates, &here[..])).chain([(
        "elsewhere",
        dates[2].1,
        &["other.example"][..],
    )]) {
        let mut params = CertificateParams::new(names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).unwrap();
        (params.not_before, params.not_after) = dates;
        let key = KeyPair::generate().unwrap();
        let cert = folder.file(&format!("{name}.pem"), params.signed_by(&key, &ca).unwrap().pem());
        let key_file = folder.secret(&format!("{name}-key.pem"), key.serialize_pem());
        let digest: [u8; 32] = Sha256::digest(key.subject_public_key_info()).into();
        pins.push(format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
        let arguments = ["--listen", "tls://127.0.0.1:0", "--cert", &cert, "--key", &key_file, "--allow", "anonymous"];
        servers.push(Serve::start(&arguments));
    }
    let call = |at: usize, more: &[&str]| run(["call", bare(servers[at].address()), "np.echo", "x"].iter().chain(more));
    let trusted = ["--ca", ca_file.as_str()];
    assert_eq!(call(2, &trusted).ok(), "x");
    call(0, &trusted).fails(4, &["certificate has expired", "renew it"]);
    call(1, &trusted).fails(4, &["not valid yet", "check both clocks"]);
    call(3, &trusted).fails(4, &["is not for 127.0.0.1 but for other.example;", "add it as name="]);
    let elsewhere = format!("{}?name=other.example", bare(servers[3].address()));
    assert_eq!(run(["call", &elsewhere, "np.echo", "x", "--ca", &ca_file]).ok(), "x");
    let wrong_ca = folder.file("wrong.pem", &dev_certificates(&[]).unwrap().ca);
    call(2, &["--ca", &wrong_ca]).fails(4, &["no trusted authority", "--ca"]);
    // A key that is pinned no more is refused, whoever has signed for it; with two pins either will do.
    call(2, &["--ca", &ca_file, "--pin", &pins[3]]).fails(4, &["none of those pinned", &pins[2]]);
    assert_eq!(call(2, &["--ca", &ca_file, "--pin", &pins[3], "--pin", &pins[2]]).ok(), "x");
    call(2, &["--pin", &pins[3]]).fails(4, &["none of those pinned"]);
}

#[test]
fn a_revoked_client_is_refused_by_that_name() {
    use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
    let dev = Dev::new();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let ca_file = dev.folder.file("clients-ca.pem", ca.pem());
    let mut clients = Vec::new();
    for serial in [7u64, 8] {
        let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().unwrap();
        let cert = dev.folder.file(&format!("{serial}.pem"), params.signed_by(&key, &ca).unwrap().pem());
        clients.push((cert, dev.folder.secret(&format!("{serial}-key.pem"), key.serialize_pem())));
    }
    let entry = RevokedCertParams {
        serial_number: SerialNumber::from(7),
        revocation_time: date_time_ymd(2001, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2001, 1, 1),
        next_update: date_time_ymd(2990, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![entry],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = dev.folder.file("crl.pem", list.signed_by(&ca).unwrap().pem().unwrap());
    let serve = dev.serve(&["--ca", &ca_file, "--crl", &list]);
    let call = |(cert, key): &(String, String)| {
        run(["call", serve.address(), "np.echo", "x", "--client-cert", cert, "--client-key", key])
    };
    call(&clients[0]).fails(4, &["our certificate is revoked"]);
    assert_eq!(call(&clients[1]).ok(), "x");
}

#[test]
fn a_system_that_trusts_nobody_says_so_with_the_way_out() {
    let folder = Folder::new();
    let empty = folder.file("empty.pem", "");
    let none = folder.arg("nowhere");
    let mut command = crate::support::np(["call", "tls://127.0.0.1:1", "np.echo"]);
    command.env("SSL_CERT_FILE", &empty).env("SSL_CERT_DIR", &none);
    if cfg!(target_os = "linux") {
        finish(command.spawn().unwrap()).fails(4, &["trusts no certificate authority", "--ca", "--pin"]);
    }
}

#[test]
fn tls_arguments_that_cannot_be_are_refused_by_name() {
    let dev = Dev::new();
    let [ca, cert, key] = ["ca.pem", "server.pem", "server-key.pem"].map(|name| dev.arg(name));
    let noise = format!("tcp://127.0.0.1:1?key={}", np_facade::Identity::generate().unwrap().public_key());
    let pin = format!("sha256:{}", "0".repeat(64));
    let pin_parameter = format!("pin={pin}");
    for (flag, value) in [("--ca", ca.as_str()), ("--pin", &pin), ("--tls-min", "1.2")] {
        run(["call", &noise, "np.echo", flag, value]).fails(2, &[flag, "there is no TLS", "write tls://"]);
    }
    let tls = ["call", "tls://127.0.0.1:1", "np.echo"];
    let call = |more: &[&str]| run(tls.iter().chain(more));
    call(&["--pin", "abc"]).fails(2, &["--pin", "a pin is sha256:"]);
    call(&["--tls-min", "1.1"]).fails(2, &["--tls-min", "1.2 or 1.3"]);
    call(&["--client-cert", &cert]).fails(2, &["--client-key"]);
    call(&["--ca", &dev.arg("gone.pem")]).fails(2, &["gone.pem", "check the path"]);
    call(&["--ca", &key]).fails(2, &["holds no certificate", "one starts with the line -----BEGIN CERTIFICATE-----"]);
    call(&["--ca", &ca, "--danger-trust-anyone"]).fails(2, &["contradict each other"]);
    call(&["--trust", "first-use", "--known-peers", &dev.arg("known")])
        .fails(2, &["--trust first-use", "the mode tls"]);
    let (identity, _) = dev.folder.key("client.key");
    call(&["--identity", &identity]).fails(2, &["--identity", "the mode tls"]);
    let key_in_tls = format!("tls://127.0.0.1:1?key={}", np_facade::Identity::generate().unwrap().public_key());
    run(["ping", &key_in_tls]).fails_with_pointer(2, &["no key= here", "pin="]);
    let serve = |more: &[&str]| run(["serve", "--listen", "tls://127.0.0.1:0"].iter().chain(more));
    let pair = ["--cert", cert.as_str(), "--key", key.as_str()];
    serve(&pair).fails(2, &["prove nothing", "--ca FILE", "--allow anonymous"]);
    serve(&[&pair[..], &["--allow", "anyone"]].concat()).fails(2, &["by nothing (anonymous)", "allow some of them"]);
    let foreign = ["serve", "--listen", &format!("tls://127.0.0.1:0?{pin_parameter}"), "--allow", "anonymous"];
    run(foreign.iter().chain(&pair)).fails(2, &["none of this server's certificates", "drop pin="]);
    // A pre-shared key is no leave for those who come by another way.
    let (psk, key_file) = (dev.folder.arg("team.psk"), dev.folder.key("psk-server.key").0);
    run(["keygen", "--psk", "--out", &psk]).ok();
    let mixed = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key_file, "--psk", &psk];
    let local = ["--listen", "unix:np.sock?mode=local"];
    let by_certificate = [&["--listen", "tls://127.0.0.1:0", "--ca", &ca][..], &pair].concat();
    for other in [&local[..], &by_certificate] {
        run(mixed.iter().chain(other)).fails(2, &["no --allow says who may connect"]);
    }
    serve(&[&pair[..], &["--cert", &cert, "--allow", "anonymous"]].concat()).fails(2, &["--key: 1 given for 2"]);
    serve(&["--cert", &cert, "--key", &dev.arg("client-key.pem"), "--allow", "anonymous"]).fails(2, &["another key"]);
    serve(&["--allow", "anonymous"]).fails(2, &["needs a certificate", "--cert, --key"]);
    serve(&[&pair[..], &["--allow", "anonymous", "--pattern", "xx"]].concat()).fails(2, &["--pattern", "no address"]);
    let plain = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &identity, "--allow", "anyone"];
    run(plain.iter().chain(&pair)).fails(2, &["tls", "none of them is tls://"]);
}

/// OpenSSL as a client: an implementation of TLS that is not ours.
#[test]
fn openssl_completes_a_handshake_and_is_refused_without_a_certificate() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIPPED: openssl is not installed here");
        return;
    }
    let dev = Dev::new();
    let ca = dev.arg("ca.pem");
    let client = |address: &str, more: &[&str]| {
        let port = bare(address).strip_prefix("tls://").unwrap();
        let base = [
            "s_client",
            "-connect",
            port,
            "-CAfile",
            &ca,
            "-verify_return_error",
            "-ign_eof",
            "-servername",
            "localhost",
        ];
        // It stays until the server ends the connection, which this one does over what is no preface.
        let mut child = Command::new("openssl")
            .args(base.iter().chain(more))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &[b'x'; 64]).unwrap();
        let output = child.wait_with_output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    };
    let open = dev.serve(&["--allow", "anonymous"]);
    let said = client(open.address(), &["-tls1_3", "-alpn", "np/1"]);
    for part in ["TLSv1.3", "ALPN protocol: np/1", "Verify return code: 0 (ok)"] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    let said = client(open.address(), &["-tls1_3"]);
    assert!(said.contains("no application protocol"), "a peer without the ALPN name is refused: {said}");
    let said = client(open.address(), &["-tls1_2", "-alpn", "np/1"]);
    assert!(said.contains("protocol version"), "{said}");
    let lower = dev.serve(&["--allow", "anonymous", "--tls-min", "1.2"]);
    let said = client(lower.address(), &["-tls1_2", "-alpn", "np/1"]);
    assert!(said.contains("TLSv1.2") && said.contains("Extended master secret: yes"), "{said}");
    let asking = dev.asking(&[]);
    let said = client(asking.address(), &["-tls1_3", "-alpn", "np/1"]);
    assert!(said.contains("certificate required"), "{said}");
    let (cert, key) = (dev.arg("client.pem"), dev.arg("client-key.pem"));
    let said = client(asking.address(), &["-tls1_3", "-alpn", "np/1", "-cert", &cert, "-key", &key]);
    assert!(said.contains("Verify return code: 0 (ok)") && !said.contains("certificate required"), "{said}");
}

#[cfg(unix)]
#[test]
fn local_mode_goes_by_users() {
    let folder = Folder::new();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path("")).unwrap());
    let listen = format!("unix:{}?mode=local", folder.arg("np.sock"));
    let (own, nobody) = (format!("user:{uid}"), "4294967294");
    let serve = Serve::start(&["--listen", &listen, "--allow", &own]);
    assert_eq!(run(["call", serve.address(), "np.echo", "local"]).ok(), "local");
    run(["call", serve.address(), "np.echo", "--local-user", nobody]).fails(4, &["4294967294", &uid.to_string()]);
    run(["call", "tcp://127.0.0.1:1?mode=danger-plaintext", "np.echo", "--local-user", nobody])
        .fails(2, &["--local-user"]);
    drop(serve);
    let other = format!("unix:{}?mode=local", folder.arg("other.sock"));
    let serve = Serve::start(&["--listen", &other, "--allow", "user:4294967294"]);
    run(["call", serve.address(), "np.echo"]).fails(4, &["not-allowed", "--allow user:ID"]);
}

#[cfg(unix)]
#[test]
fn a_private_key_that_every_user_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dev = Dev::new();
    let serve = dev.asking(&[]);
    let [cert, key, client, client_key] =
        ["server.pem", "server-key.pem", "client.pem", "client-key.pem"].map(|name| dev.arg(name));
    let open = |path: &str, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(&key, 0o644);
    open(&client_key, 0o604);
    let start = ["serve", "--listen", "tls://127.0.0.1:0", "--cert", &cert, "--key", &key, "--allow", "anonymous"];
    run(start).fails(2, &["--key", "mode 644", "chmod 600", "--danger-key-mode"]);
    let call = ["call", serve.address(), "np.echo", "x", "--client-cert", &client, "--client-key", &client_key];
    run(call).fails(2, &["--client-key", "mode 604"]);
    assert_eq!(run(call.iter().chain(&["--danger-key-mode"])).ok(), "x");
    // A group may: whatever renews certificates keeps them so.
    open(&client_key, 0o640);
    assert_eq!(run(call).ok(), "x");
}

#[cfg(unix)]
#[test]
fn the_mode_of_a_unix_socket_is_the_one_that_was_asked_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let listen = format!("unix:{}", folder.arg("np.sock"));
    let serve = ["--listen", &listen, "--identity", &key, "--allow", "anyone", "--unix-mode"];
    let _serve = Serve::start(&[&serve[..], &["660"]].concat());
    assert_eq!(std::fs::metadata(folder.path("np.sock")).unwrap().permissions().mode() & 0o777, 0o660);
    run(["serve"].iter().chain(&serve).chain(&["rw"])).fails(2, &["--unix-mode", "octal"]);
    for (listen, argument) in [
        ("unix:@np-no-file", &["--unix-mode", "660"][..]),
        ("tcp://127.0.0.1:0", &["--unix-mode", "660"]),
        (&listen, &["--proxy-protocol"]),
    ] {
        let serve = ["serve", "--listen", listen, "--identity", &key, "--allow", "anyone"];
        run(serve.iter().chain(argument)).fails(2, &[argument[0], "no address is", "leave the flag away"]);
    }
}

#[test]
fn plaintext_takes_its_name_on_both_sides() {
    let serve = Serve::start(&["--listen", "tcp://127.0.0.1:0?mode=danger-plaintext", "--allow", "anonymous"]);
    assert!(serve.address().ends_with("?mode=danger-plaintext"), "{}", serve.address());
    assert_eq!(run(["call", serve.address(), "np.echo", "open"]).ok(), "open");
    let ran = run(["call", bare(serve.address()), "np.echo", "x", "--danger-trust-anyone"]);
    assert_eq!(ran.code, Some(4), "no client falls back to another mode: {}", ran.err);
}

#[test]
fn a_proxys_header_is_asked_for_where_that_is_said() {
    use std::io::Read as _;
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &["--proxy-protocol"]);
    let ran = run(["call", serve.address(), "np.echo", "x", "--timeout", "2s"]);
    assert!(matches!(ran.code, Some(3..=5)), "a client that comes without a proxy gets nowhere: {}", ran.err);
    // A header, and behind it what is no preface: np answers that in clear.
    let port = bare(serve.address()).strip_prefix("tcp://").unwrap();
    let mut stream = std::net::TcpStream::connect(port).unwrap();
    let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &[192, 0, 2, 1, 192, 0, 2, 2, 0x10, 0, 0x20, 0][..]].concat();
    std::io::Write::write_all(&mut stream, &[&header[..], &[b'x'; 64]].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(!answer.is_empty());
}
