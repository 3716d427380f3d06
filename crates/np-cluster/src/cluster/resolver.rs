//! Where the live members of a service are, for clients. Must never name a server that is not pinned to its member's key.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use np_facade::{Address, Fingerprint, PublicKey, ResolveError, Resolver, SecurityMode};

use super::{Cluster, Inner};
use crate::member::{Member, MemberState};

/// The scheme of its names.
const SCHEME: &str = "cluster";

/// Says to clients where the live members of a service are: `cluster:orders`. It is asked whenever a connection is made, so
/// that connections follow failures.
///
/// Of a member that tells no addresses its gossip address counts. Addresses are pinned to the key that the member has proven
/// to this node, whatever other members tell of it; one that has proven none yet is left out. The gossip address of a member
/// with a certificate is a `tls://` address that is pinned to the key of the certificate. Of `tls://` addresses that members
/// tell pins are left out, so that the client's own trust decides.
///
/// ```no_run
/// # async fn run(cluster: np_cluster::Cluster) -> Result<(), Box<dyn std::error::Error>> {
/// use np_facade::{Balance, Client};
/// let orders = Client::builder("cluster:orders")
///     .resolver(cluster.resolver())
///     .balance(Balance::RoundRobin)
///     .connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ClusterResolver {
    inner: Weak<Inner>,
    turn: AtomicUsize,
}

impl Cluster {
    /// What resolves the names `cluster:SERVICE` of a client. It does not keep the node in its cluster.
    #[must_use]
    pub fn resolver(&self) -> ClusterResolver {
        ClusterResolver { inner: Arc::downgrade(&self.inner), turn: AtomicUsize::new(0) }
    }
}

type Found = Pin<Box<dyn Future<Output = Result<Vec<Address>, ResolveError>> + Send>>;

impl Resolver for ClusterResolver {
    fn resolve(&self) -> Found {
        Box::pin(ready(Err("a service is named behind the scheme: cluster:orders".into())))
    }

    fn scheme(&self) -> Option<&str> {
        Some(SCHEME)
    }

    fn resolve_name(&self, name: &str) -> Found {
        Box::pin(ready(self.find(name)))
    }
}

impl ClusterResolver {
    fn find(&self, name: &str) -> Result<Vec<Address>, ResolveError> {
        let inner = self.inner.upgrade().ok_or("this node has left its cluster")?;
        let members = Cluster { inner }.members();
        let serves = |member: &&Member| member.state == MemberState::Live && member.attributes.service == name;
        let mut found: Vec<Vec<Address>> = members.iter().filter(serves).map(addresses).collect();
        found.retain(|addresses| !addresses.is_empty());
        if found.is_empty() {
            let shown = np_facade::escape(name, 64);
            return Err(format!("no live member of the cluster serves `{shown}` and has proven its key").into());
        }
        // Clients of one program begin with different members.
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
        found.rotate_left(start);
        Ok(found.concat())
    }
}

/// Where a member is reached, and by which key.
fn addresses(member: &Member) -> Vec<Address> {
    let key: Option<PublicKey> = member.key.as_deref().and_then(|key| key.parse().ok());
    let pinned = |address: Address| match address.mode() {
        SecurityMode::Noise | SecurityMode::TlsNoise => key.map(|key| address.without_keys().with_key(key)),
        SecurityMode::Tls => Some(address.without_keys()),
        // Another member may have said this: nothing would prove who is there.
        _ => None,
    };
    if member.attributes.addresses.is_empty() {
        return pinned(Address::tcp(member.address)).or_else(|| by_certificate(member)).into_iter().collect();
    }
    member.attributes.addresses.iter().filter_map(|text| pinned(text.parse().ok()?)).collect()
}

/// Where a member with a certificate is reached: one server takes its links and its calls, and shows the same certificate.
fn by_certificate(member: &Member) -> Option<Address> {
    let key: Fingerprint = member.key.as_deref()?.strip_prefix("spki:")?.parse().ok()?;
    let address: Address = format!("tls://{}", member.address).parse().ok()?;
    Some(address.with_pin(key))
}

#[cfg(test)]
mod tests {
    use np_facade::PublicKey;

    use super::addresses;
    use crate::attributes::Attributes;
    use crate::member::{Member, MemberState};

    #[test]
    fn addresses_are_pinned_to_the_proven_key_whatever_a_member_tells() {
        let (proven, other) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let member = |key: Option<String>, told: &[String]| Member {
            name: "a".to_owned(),
            state: MemberState::Live,
            address: ([10, 0, 0, 1], 7_400).into(),
            key,
            attributes: Attributes { addresses: told.to_vec(), ..Attributes::default() },
            generation: 0,
        };
        let shown = |member: &Member| addresses(member).iter().map(ToString::to_string).collect::<Vec<_>>();
        let known = Some(proven.to_string());
        assert_eq!(shown(&member(known.clone(), &[])), [format!("tcp://10.0.0.1:7400?key={proven}")]);
        let told = [
            format!("tcp://10.0.0.9:1?key={other}"),
            "tcp://10.0.0.9:2".to_owned(),
            "tcp://10.0.0.9:3?mode=danger-plaintext".to_owned(),
            format!("tls://10.0.0.9:4?pin=sha256:{}", "ab".repeat(32)),
            "no address".to_owned(),
        ];
        let wanted = [
            format!("tcp://10.0.0.9:1?key={proven}"),
            format!("tcp://10.0.0.9:2?key={proven}"),
            "tls://10.0.0.9:4".to_owned(),
        ];
        assert_eq!(shown(&member(known, &told)), wanted);
        // Who has proven nothing to this node is reached where TLS proves it alone.
        assert_eq!(shown(&member(None, &told)), wanted[2..]);
        assert!(shown(&member(None, &[])).is_empty());
        // Who has proven a certificate is pinned to its key.
        let pin = "cd".repeat(32);
        let certified = Some(format!("spki:{pin}"));
        assert_eq!(shown(&member(certified.clone(), &[])), [format!("tls://10.0.0.1:7400?pin=sha256:{pin}")]);
        assert_eq!(shown(&member(certified, &told)), wanted[2..]);
    }
}
