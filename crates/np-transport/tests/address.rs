//! The grammar of addresses: what reads, what it reads as, and where each wrong text is wrong.
// Tells the lints that helper functions are tests too.
#![cfg(test)]

use std::net::SocketAddr;

use np_transport::{Address, Scheme, SecurityMode};
use np_types::{Fingerprint, Psk, PublicKey, SecretKey, Suite};
use proptest::prelude::*;

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn read(text: &str) -> Address {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn addresses_read_and_show_their_canonical_text() {
    let table = [
        ("tcp://localhost:9000", "tcp://localhost:9000"),
        ("tcp://Example.COM:09", "tcp://example.com:9"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("tcp://[::1]:9000", "tcp://[::1]:9000"),
        ("tcp://[0:0::0:1]:9000", "tcp://[::1]:9000"),
        ("tcp://[fe80::1%2]:65535", "tcp://[fe80::1%2]:65535"),
        ("tcp://a_b.c-d:1?mode=noise", "tcp://a_b.c-d:1"),
        ("tcp://a:1?mode=danger-plaintext", "tcp://a:1?mode=danger-plaintext"),
        ("unix:/run/np.sock", "unix:/run/np.sock"),
        ("unix:///run/np.sock", "unix:/run/np.sock"),
        ("unix:np.sock", "unix:np.sock"),
        ("unix:./a b", "unix:./a%20b"),
        ("unix:/a%3fb%25c%ff", "unix:/a%3Fb%25c%FF"),
        ("unix:////two", "unix:/%2Ftwo"),
        ("unix:/données:1&2=3#4", "unix:/données:1&2=3#4"),
        ("unix:/x?mode=local", "unix:/x?mode=local"),
        ("mem:a-b_c.D", "mem:a-b_c.D"),
        ("pipe:np?mode=local", "pipe:np?mode=local"),
        ("tls://example.com:443", "tls://example.com:443"),
        ("tls://10.0.0.1:9443?name=Example.COM", "tls://10.0.0.1:9443?name=example.com"),
        ("tls://10.0.0.1:9443?name=0:0::1", "tls://10.0.0.1:9443?name=::1"),
        ("tls+noise://example.com:443", "tls+noise://example.com:443"),
        ("tcp://a:1?suite=aes", "tcp://a:1?suite=aes"),
        ("tls+noise://a:1?suite=chacha&name=b.c", "tls+noise://a:1?name=b.c&suite=chacha"),
        ("unix:/x?suite=aes&mode=noise", "unix:/x?suite=aes"),
    ];
    for (text, canonical) in table {
        assert_eq!(read(text).to_string(), canonical);
        assert_eq!(read(canonical), read(text));
    }
}

#[test]
fn the_parts_of_an_address_are_told() {
    let tcp = read("tcp://[::1]:9000");
    assert_eq!((tcp.scheme(), tcp.host().as_deref(), tcp.port()), (Scheme::Tcp, Some("::1"), Some(9000)));
    assert_eq!(tcp.ip(), Some("::1".parse().unwrap()));
    assert_eq!(read("tcp://host:1").ip(), None);
    assert_eq!(read("tcp://host:1").mode(), SecurityMode::Noise);
    assert_eq!(read("tls://host:1").mode(), SecurityMode::Tls);
    assert_eq!(read("tls+noise://host:1").mode(), SecurityMode::TlsNoise);
    assert_eq!(read("unix:/x?mode=local").mode(), SecurityMode::Local);
    assert_eq!(read("unix:/a%20b").path().unwrap().to_str(), Some("/a b"));
    assert_eq!(read("mem:name").name(), Some("name"));
    assert_eq!(read("mem:name").path(), None);
    assert_eq!(read("unix:/x").name(), None);
}

#[test]
fn several_keys_are_kept_in_order_and_once() {
    let text = format!("tcp://h:1?key={}&key={}&key={}", key(2), key(1), key(2));
    assert_eq!(read(&text).keys(), [key(2), key(1)]);
    let shown = format!("tcp://h:1?key={}&key={}", key(2), key(1));
    assert_eq!(read(&text).to_string(), shown);
    let built = read("tcp://h:1").with_key(key(2)).with_key(key(1)).with_key(key(1));
    assert_eq!(built, read(&text));
    assert_eq!(built.without_keys().to_string(), "tcp://h:1");
    let both = read(&format!("tls+noise://h:1?key={}", key(1)));
    assert_eq!(both.keys(), [key(1)]);
}

#[test]
fn a_suite_is_told_and_kept_where_there_is_a_handshake_by_key() {
    let address = read(&format!("tcp://h:1?suite=aes&key={}", key(1)));
    assert_eq!(address.suite(), Some(Suite::AesGcm));
    assert_eq!(address.to_string(), format!("tcp://h:1?key={}&suite=aes", key(1)));
    assert_eq!(address.without_keys().to_string(), "tcp://h:1?suite=aes");
    assert_eq!(address.without_keys().with_suite(None), read("tcp://h:1"));
    assert_eq!(read("tls://h:1").with_suite(Some(Suite::AesGcm)), read("tls://h:1"));
    assert_eq!(read("tcp://h:1").suite(), None);
}

#[test]
fn pins_are_read_in_order_and_once() {
    let (one, two) = ("01".repeat(32), "AB".repeat(32));
    let text = format!("tls://h:1?name=a.b&pin=sha256:{two}&pin=sha256:{one}&pin=sha256:{two}");
    let address = read(&text);
    assert_eq!(address.pins(), [Fingerprint([0xab; 32]), Fingerprint([1; 32])]);
    assert_eq!(address.server_name(), Some("a.b"));
    let shown = format!("tls://h:1?pin=sha256:{}&pin=sha256:{one}&name=a.b", two.to_lowercase());
    assert_eq!(address.to_string(), shown);
    assert_eq!(read(&shown), address);
    assert_eq!(address.without_keys().to_string(), "tls://h:1?name=a.b");
    let built = read("tls://h:1?name=a.b").with_pin(Fingerprint([0xab; 32])).with_pin(Fingerprint([1; 32]));
    assert_eq!(built.with_pin(Fingerprint([1; 32])), address);
    let both = read(&format!("tls+noise://h:1?pin=sha256:{one}&key={}", key(1)));
    assert_eq!((both.pins().len(), both.keys().len()), (1, 1));
    assert!(read("tcp://h:1").with_pin(Fingerprint([1; 32])).pins().is_empty());
}

#[test]
fn a_wrong_address_is_refused_where_it_is_wrong() {
    let good = key(1);
    let long_host = format!("tcp://{}:1", "a".repeat(254));
    let long_name = format!("mem:{}", "a".repeat(65));
    let too_long = format!("unix:/{}", "a".repeat(5000));
    let table: &[(&str, usize, &str)] = &[
        ("", 0, "starts with its scheme"),
        ("nonsense", 0, "starts with its scheme"),
        ("localhost:9000", 0, "write tcp://"),
        ("http://host:1", 0, "unknown scheme"),
        ("TCP://host:1", 0, "unknown scheme"),
        ("tcp:host:1", 4, "// belongs here"),
        ("tcp:/host:1", 4, "// belongs here"),
        ("tcp://", 6, "port is missing"),
        ("tcp://:9000", 6, "host is missing"),
        ("tcp://host", 10, "port is missing"),
        ("tcp://h:1?pin=sha256:00", 10, "it is for tls://"),
        ("unix:/x?name=a", 8, "it is for tls://"),
        ("tls://h:1?pin=00", 14, "sha256: and 64"),
        ("tls://h:1?pin=sha256:00", 23, "sha256: and 64"),
        ("tls://h:1?pin=sha256:0x", 22, "sha256: and 64"),
        ("tls://h:1?pin", 13, "a value"),
        ("tls://h:1?name=", 15, "a DNS name or an IP"),
        ("tls://h:1?name=a b", 16, "not a character"),
        ("tls://h:1?name=a&name=b", 17, "name stands twice"),
        ("tls://h:1?name=-", 15, "not a DNS name"),
        ("tcp://host?key=x", 10, "port is missing"),
        ("tcp://host:", 11, "a port is a number"),
        ("tcp://host:?mode=noise", 11, "a port is a number"),
        ("tcp://host:12a", 13, "a port is a number"),
        ("tcp://host:+1", 11, "a port is a number"),
        ("tcp://host:65536", 11, "a port is a number"),
        ("tcp://host:1/path", 12, "a port is a number"),
        ("tcp://user@host:1", 10, "not a character of a host name"),
        ("tcp://ho st:1", 8, "not a character of a host name"),
        ("tcp://h%6fst:1", 7, "not a character of a host name"),
        ("tcp://bücher.de:1", 7, "ASCII"),
        ("tcp://256.0.0.1:1", 6, "not an IPv4 address"),
        ("tcp://127.1:1", 6, "not an IPv4 address"),
        ("tcp://0x7f000001:1", 6, "not an IPv4 address"),
        (&long_host, 259, "at most 253"),
        ("tcp://::1:9000", 6, "brackets"),
        ("tcp://[::1", 10, "closing ]"),
        ("tcp://[::1]", 11, "port is missing"),
        ("tcp://[::1]9000", 11, "port is missing"),
        ("tcp://[::x]:1", 7, "not an IPv6 address"),
        ("tcp://[127.0.0.1]:1", 7, "not an IPv6 address"),
        ("tcp://[::1]:70000", 12, "a port is a number"),
        ("unix:", 5, "path is missing"),
        ("unix:?mode=local", 5, "path is missing"),
        ("unix://host/path", 7, "no host"),
        ("unix:/a%", 7, "two hexadecimal digits"),
        ("unix:/a%2", 7, "two hexadecimal digits"),
        ("unix:/a%zz", 7, "two hexadecimal digits"),
        ("unix:/a%00", 7, "no NUL"),
        ("unix:/a\nb", 7, "control character"),
        ("mem:", 4, "a name is"),
        ("mem:a/b", 5, "a name is"),
        (&long_name, 68, "a name is"),
        ("pipe:a b", 6, "a name is"),
        ("mem:a?", 6, "a parameter belongs here"),
        ("mem:a?key", 9, "= and a value"),
        ("mem:a?mode", 10, "= and a value"),
        ("mem:a?suite", 11, "= and a value"),
        ("mem:a?suite=", 12, "suites are chacha and aes"),
        ("mem:a?suite=AES", 12, "suites are chacha and aes"),
        ("mem:a?suite=aes&suite=aes", 16, "suite stands twice"),
        ("tls://a:1?suite=aes", 10, "the mode tls has no handshake by key"),
        ("mem:a?suite=aes&mode=danger-plaintext", 6, "no handshake by key"),
        ("mem:a?kee=1", 6, "known parameters are key, mode, pin, name and suite"),
        ("mem:a?Key=1", 6, "known parameters are key, mode, pin, name and suite"),
        ("mem:a?mode=noise&", 17, "a parameter belongs here"),
        ("mem:a?mode=noise&&mode=noise", 17, "a parameter belongs here"),
        ("mem:a?mode=noise&mode=noise", 17, "twice"),
        ("mem:a?mode=plain", 11, "unknown mode"),
        ("mem:a?mode=local", 11, "unix: and pipe:"),
        ("tcp://a:1?mode=local", 15, "unix: and pipe:"),
        ("tls://a:1?mode=noise", 10, "the scheme tls is the mode"),
        ("tcp://a:1?key=", 14, "the key is empty"),
        ("tcp://a:1?mode=noise&key=np1nope", 25, "not a key"),
        (&too_long, 4096, "at most 4096 bytes"),
    ];
    for (text, at, message) in table {
        let error = text.parse::<Address>().expect_err(text);
        assert_eq!(error.at(), *at, "{error}");
        assert!(error.message().contains(message), "{error}");
        assert!(error.to_string().contains(&format!("offset {at} ")), "{error}");
    }
    for keyless in ["tls://a:1?", "unix:/x?mode=local&", "mem:a?mode=danger-plaintext&"] {
        let error = format!("{keyless}key={good}").parse::<Address>().unwrap_err();
        assert_eq!(error.at(), keyless.len(), "{error}");
        assert!(error.message().contains("does not prove peers by key"), "{error}");
    }
}

#[test]
fn a_caret_points_at_the_offending_character() {
    for (text, fault) in
        [("tcp://user@host:1", '@'), ("unix:/données/%zz", '%'), ("mem:a/b", '/'), ("unix:/tab\u{7}", '\\')]
    {
        let error = text.parse::<Address>().unwrap_err();
        let explained = error.explain();
        let lines: Vec<&str> = explained.lines().collect();
        assert_eq!(lines.len(), 3, "{explained}");
        let caret = lines[2].find('^').unwrap();
        assert_eq!(lines[1].chars().nth(caret), Some(fault), "{explained}");
    }
    let end = "tcp://host".parse::<Address>().unwrap_err().explain();
    assert!(end.ends_with("\n  tcp://host\n            ^"), "{end}");
}

#[test]
fn a_caret_in_a_long_text_has_its_surroundings() {
    let text = format!("unix:/{}%{}", "a".repeat(900), "b".repeat(900)).replacen("%b", "%zzz!", 1);
    let explained = text.parse::<Address>().unwrap_err().explain();
    let lines: Vec<&str> = explained.lines().collect();
    assert!(lines[1].chars().count() < 250, "{explained}");
    assert_eq!(lines[1].chars().nth(lines[2].find('^').unwrap()), Some('%'), "{explained}");
}

#[test]
fn a_secret_is_refused_by_kind_and_never_echoed() {
    let secret = SecretKey::from_bytes([9; 32]).to_text().to_string();
    let shared = Psk::from_bytes([9; 32]).to_text().to_string();
    let body = secret.strip_prefix("npsec1").unwrap().to_owned();
    for (text, hidden) in [
        (format!("tcp://h:1?key={secret}"), body.clone()),
        (format!("tcp://h:1?key={}", secret.to_uppercase()), body.to_uppercase()),
        (format!("tcp://h:1?key={shared}"), shared.strip_prefix("nppsk1").unwrap().to_owned()),
        (format!("tcp://h:1?key={body}"), body.clone()),
        (format!("tcp://h:1?key={}x", secret.replacen("npsec1", "npsec", 1)), body.clone()),
        (format!("tcp://h:1?kee={secret}"), body.clone()),
        (format!("nowhere?key={secret}"), body.clone()),
        (format!("tcp://{secret}:1?"), body.clone()),
        (secret.clone(), body.clone()),
    ] {
        let error = text.parse::<Address>().unwrap_err();
        for shown in [error.to_string(), error.explain(), format!("{error:?}")] {
            for piece in hidden.as_bytes().windows(8) {
                let piece = str::from_utf8(piece).unwrap();
                assert!(!shown.contains(piece), "{piece} leaked: {shown}");
            }
        }
    }
    let error = format!("tcp://h:1?key={secret}").parse::<Address>().unwrap_err();
    assert_eq!(error.at(), 14);
    assert!(error.message().contains("SECRET key"), "{error}");
}

#[test]
fn made_addresses_read_back() {
    assert_eq!(Address::mem("a").unwrap(), read("mem:a"));
    for wrong in ["", "a?mode=noise", "a b", "a/b"] {
        assert!(Address::mem(wrong).is_err(), "{wrong}");
    }
    let path = std::path::Path::new("/a?b c");
    assert_eq!(Address::unix(path).unwrap(), read("unix:/a%3Fb%20c"));
    assert!(Address::unix("".as_ref()).is_err());
    assert!(Address::unix("/a\0b".as_ref()).is_err());
}

#[cfg(unix)]
#[test]
fn any_bytes_make_a_path() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    for first in 1..=255u8 {
        for second in [b'/', b'a', 0x80, 0xc3, first] {
            let path = std::path::PathBuf::from(OsStr::from_bytes(&[b'/', first, second, 0xa9]));
            let address = Address::unix(&path).unwrap();
            assert_eq!(read(&address.to_string()).path().unwrap().as_os_str(), path.as_os_str());
            assert!(!address.to_string().chars().any(char::is_control));
        }
    }
}

fn some_address() -> impl Strategy<Value = Address> {
    let place = prop_oneof![
        any::<SocketAddr>().prop_map(Address::tcp),
        "[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,5}){0,2}".prop_flat_map(|host| any::<u16>().prop_map(move |port| format!(
            "tcp://{host}:{port}"
        )
        .parse()
        .unwrap())),
        "[^\u{0}]{1,80}".prop_map(|path| Address::unix(path.as_ref()).unwrap()),
        "[A-Za-z0-9._-]{1,64}".prop_map(|name| Address::mem(&name).unwrap()),
    ];
    let suite = proptest::option::of(any::<bool>().prop_map(|aes| Suite::ALL[usize::from(aes)]));
    (place, proptest::collection::vec(any::<[u8; 32]>(), 0..4), suite).prop_map(|(place, keys, suite)| {
        keys.into_iter().fold(place.with_suite(suite), |place, key| place.with_key(PublicKey::from_bytes(key)))
    })
}

proptest! {
    #[test]
    fn every_address_reads_back_from_its_text(address in some_address()) {
        prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn any_text_reads_or_is_refused_inside_itself(
        scheme in "(tcp://|unix:|mem:|tls://|)", rest in "\\PC{0,40}", query in "(\\?(key|mode|suite)=\\PC{0,20})?",
    ) {
        let text = format!("{scheme}{rest}{query}");
        match text.parse::<Address>() {
            Ok(address) => prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address),
            Err(error) => {
                prop_assert!(text.is_char_boundary(error.at()), "{}", error);
                prop_assert_eq!(error.explain().lines().count(), 3);
            }
        }
    }
}

#[test]
fn an_address_that_is_too_long_once_printed_is_refused() {
    // Each of these letters of two bytes is printed as six.
    let fits = format!("unix:/{}", "\u{2f0}".repeat(681));
    let printed = fits.parse::<Address>().unwrap().to_string();
    assert!(printed.parse::<Address>().is_ok() && printed.len() > 4_000, "{}", printed.len());
    let longer = format!("unix:/{}", "\u{2f0}".repeat(682));
    assert!(longer.parse::<Address>().unwrap_err().to_string().contains("escapes"), "{longer}");
}
