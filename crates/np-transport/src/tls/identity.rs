//! Who a certificate says its holder is: the fingerprint of its key, and its names.
//!
//! It must never be asked about a certificate whose holder has not proven its key.

use std::net::IpAddr;

use np_types::{Fingerprint, PeerIdentity, escape};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The most characters of a subject that are kept.
const SUBJECT: usize = 512;

/// The SHA-256 of the certificate's subject public key info.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Fingerprint(Sha256::digest(parsed.subject_public_key_info()).into()))
}

/// The identity of a peer that showed these certificates; its names count only where an authority has vouched for them.
pub(super) fn of(certificates: Option<&[CertificateDer<'_>]>, vouched: bool) -> PeerIdentity {
    let Some(leaf) = certificates.and_then(<[_]>::first) else { return PeerIdentity::Anonymous };
    match fingerprint(leaf) {
        Ok(spki) if vouched => PeerIdentity::Certificate { spki, names: names(leaf), subject: subject(leaf) },
        Ok(spki) => PeerIdentity::Certificate { spki, names: Vec::new(), subject: String::new() },
        Err(_) => PeerIdentity::Anonymous,
    }
}

/// The subject alternative names that have a form of their own: DNS names, IP addresses, URIs, mail addresses.
///
/// Each form excludes the others, so that a rule for one kind is never met by another. Names that cannot be read are left
/// out: a rule that waits for one then admits nobody.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    let found = extensions
        .filter(|extension| extension.extn_id == SubjectAltName::OID)
        .filter_map(|extension| all_names(extension.extn_value.as_bytes()));
    found.flatten().filter_map(|name| text(&name)).collect()
}

/// The subject as RFC 4514 writes it, harmless to show; empty where it cannot be read.
fn subject(certificate: &CertificateDer<'_>) -> String {
    let parsed = Certificate::from_der(certificate).ok();
    parsed.map_or_else(String::new, |it| escape(&it.tbs_certificate().subject().to_string(), SUBJECT))
}

/// The names of the extension; none, where there is one among them that the standard forbids.
fn all_names(bytes: &[u8]) -> Option<Vec<GeneralName>> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let names = SubjectAltName::decode(&mut reader).ok()?;
    reader.is_finished().then_some(names.0)
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => dns(name.as_str()),
        GeneralName::IpAddress(bytes) => ip(bytes.as_bytes()).map(|ip| ip.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => self::uri(uri.as_str()),
        GeneralName::Rfc822Name(mail) => self::mail(mail.as_str()),
        _ => None,
    }
}

fn dns(name: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
    let plain = !name.is_empty() && name.bytes().all(fits) && name.parse::<IpAddr>().is_err();
    plain.then(|| name.to_ascii_lowercase())
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn uri(text: &str) -> Option<String> {
    let shaped =
        text.split_once(':').is_some_and(|(scheme, _)| scheme.starts_with(|ch: char| ch.is_ascii_alphabetic()));
    (shaped && printable(text) && text.parse::<IpAddr>().is_err()).then(|| text.to_owned())
}

fn mail(text: &str) -> Option<String> {
    (text.contains('@') && !text.contains(':') && printable(text)).then(|| text.to_owned())
}

fn printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};
    use sha2::{Digest as _, Sha256};

    use super::{dns, fingerprint, mail, names, uri};

    #[test]
    fn a_certificate_tells_its_key_and_its_names() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["Svc.Example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://a/b".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("me@example.com".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("::1".parse().unwrap()));
        let certificate = params.self_signed(&key).unwrap();
        let expected = ["svc.example", "127.0.0.1", "spiffe://a/b", "me@example.com", "::1"];
        assert_eq!(names(certificate.der()), expected);
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert_eq!(fingerprint(certificate.der()).unwrap().0, <[u8; 32]>::from(Sha256::digest(spki)));
    }

    #[test]
    fn a_name_of_one_kind_cannot_pass_for_another() {
        for text in ["127.0.0.1", "a:b", "me@example.com", "", "a b", "a\u{1b}"] {
            assert_eq!(dns(text), None, "{text}");
        }
        for text in ["example.com", "::1", "fe80::1", "1:2", "a:\n"] {
            assert_eq!(uri(text), None, "{text}");
        }
        for text in ["example.com", "spiffe://a@b", "a @b"] {
            assert_eq!(mail(text), None, "{text}");
        }
    }
}
