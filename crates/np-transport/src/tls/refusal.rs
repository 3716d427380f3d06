//! From what rustls says to what np says.
//!
//! It must never show bytes of a peer unescaped.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use np_types::escape;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::error::{Party, TlsError};
use super::verify::WrongPin;

/// The most characters of a peer's names that a message shows.
const SHOWN: usize = 200;

/// The failure of a handshake or of a read after it.
pub(super) fn from_io(error: io::Error) -> TlsError {
    if TlsError::of(&error).is_some() {
        let inner = error.into_inner().and_then(|inner| inner.downcast().ok());
        return inner.map_or_else(|| TlsError::Io(io::ErrorKind::Other.into()), |inner| *inner);
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) => from_rustls(inner),
        None => TlsError::Io(error),
    }
}

pub(super) fn from_rustls(error: &Error) -> TlsError {
    match error {
        Error::InvalidCertificate(error) => from_certificate(error),
        Error::InvalidCertRevocationList(_) => {
            TlsError::RevocationUnknown { why: "the list of its issuer is not signed by that issuer" }
        }
        Error::AlertReceived(alert) => from_alert(*alert),
        Error::NoApplicationProtocol => TlsError::NoAlpn,
        Error::NoCertificatesPresented => TlsError::NoClientCertificate,
        Error::PeerIncompatible(why) => from_offer(why),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => TlsError::NotTls,
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes | Error::General(_) | Error::Other(_) => {
            TlsError::Here { what: escape(&error.to_string(), SHOWN) }
        }
        _ => TlsError::Broken { what: escape(&error.to_string(), SHOWN) },
    }
}

const fn from_offer(why: &PeerIncompatible) -> TlsError {
    match why {
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => TlsError::NoExtendedMasterSecret,
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => TlsError::Version,
        _ => TlsError::Suite,
    }
}

/// What the peer's alert says of us.
fn from_alert(alert: AlertDescription) -> TlsError {
    let whose = Party::Ours;
    match alert {
        AlertDescription::CertificateExpired => TlsError::Expired { whose, when: String::new() },
        AlertDescription::CertificateRevoked => TlsError::Revoked { whose },
        AlertDescription::UnknownCA => TlsError::UnknownIssuer { whose },
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => TlsError::NoClientCertificate,
        AlertDescription::NoApplicationProtocol => TlsError::NoAlpn,
        AlertDescription::ProtocolVersion => TlsError::Version,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => TlsError::Suite,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => TlsError::BadCertificate { whose, why: format!("{alert:?}") },
        _ => TlsError::Refused { alert: format!("{alert:?}") },
    }
}

fn from_certificate(error: &CertificateError) -> TlsError {
    use CertificateError as Why;
    let whose = Party::Peer;
    let bad = |why: &str| TlsError::BadCertificate { whose, why: why.to_owned() };
    match error {
        Why::Expired => TlsError::Expired { whose, when: String::new() },
        Why::ExpiredContext { time, not_after } => {
            TlsError::Expired { whose, when: format!(", {} ago", between(*not_after, *time)) }
        }
        Why::NotValidYet => TlsError::NotYetValid { when: String::new() },
        Why::NotValidYetContext { time, not_before } => {
            TlsError::NotYetValid { when: format!(": it will be in {}", between(*time, *not_before)) }
        }
        Why::NotValidForName => {
            TlsError::WrongName { expected: "the name asked for".to_owned(), presented: "others".to_owned() }
        }
        Why::NotValidForNameContext { expected, presented } => {
            TlsError::WrongName { expected: escape(&expected.to_str(), SHOWN), presented: names(presented) }
        }
        Why::UnknownIssuer => TlsError::UnknownIssuer { whose },
        Why::Revoked => TlsError::Revoked { whose },
        Why::UnknownRevocationStatus => TlsError::RevocationUnknown { why: "no list is of its issuer" },
        Why::ExpiredRevocationList | Why::ExpiredRevocationListContext { .. } => {
            TlsError::RevocationUnknown { why: "the list of its issuer is too old" }
        }
        Why::BadEncoding => bad("it is malformed"),
        Why::UnhandledCriticalExtension => bad("it has a critical extension that is not known here"),
        Why::InvalidPurpose | Why::InvalidPurposeContext { .. } => bad("it was made for another purpose"),
        Why::BadSignature => TlsError::BadSignature,
        Why::Other(other) => match other.0.downcast_ref::<WrongPin>() {
            Some(WrongPin(seen)) => TlsError::PinMismatch { seen: *seen },
            None => bad(&escape(&other.to_string(), SHOWN)),
        },
        other => bad(&escape(&format!("{other:?}"), SHOWN)),
    }
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name at all".to_owned();
    }
    let names: Vec<String> = presented.iter().map(|listed| readable(listed)).collect();
    escape(&names.join(", "), SHOWN)
}

/// What rustls lists is its own debug text, such as `DnsName("localhost")` and `IpAddress(0::1)`.
fn readable(listed: &str) -> String {
    let ip = listed.strip_prefix("IpAddress(").and_then(|rest| rest.strip_suffix(')')?.parse::<IpAddr>().ok());
    let dns = listed.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")"));
    ip.map_or_else(|| dns.unwrap_or(listed).to_owned(), |ip| ip.to_string())
}

/// How long between two times, in the largest unit that fits.
fn between(from: UnixTime, to: UnixTime) -> String {
    let span = Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())).as_secs();
    let (number, unit) = match span {
        0..=119 => (span, "seconds"),
        120..=7199 => (span / 60, "minutes"),
        7200..=172_799 => (span / 3600, "hours"),
        _ => (span / 86_400, "days"),
    };
    format!("{number} {unit}")
}
