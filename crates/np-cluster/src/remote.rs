//! What others ask a node about its cluster, and the words in which it answers. Must never decide who may ask.

use np_facade::{CallError, Client, MessageStream};
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::member::{Member, MemberState};

pub(crate) const MEMBERS: &str = "np.cluster.members";
pub(crate) const WATCH: &str = "np.cluster.watch";
pub(crate) const SET: &str = "np.cluster.set";
pub(crate) const GET: &str = "np.cluster.get";

/// A member as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    name: String,
    state: State,
    address: std::net::SocketAddr,
    key: Option<String>,
    service: String,
    version: String,
    zone: String,
    addresses: Vec<String>,
    generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Live,
    Failed,
    Left,
}

impl Row {
    pub(crate) fn of(member: &Member) -> Self {
        let Attributes { service, version, zone, addresses } = member.attributes.clone();
        let state = match member.state {
            MemberState::Live => State::Live,
            MemberState::Failed => State::Failed,
            MemberState::Left => State::Left,
        };
        let (name, key, generation) = (member.name.clone(), member.key.clone(), member.generation);
        Self { name, state, address: member.address, key, service, version, zone, addresses, generation }
    }

    /// About as many bytes as it travels in.
    pub(crate) fn size(&self) -> usize {
        let texts = [&self.name, &self.service, &self.version, &self.zone];
        let key = self.key.as_ref().map_or(0, String::len);
        let told = texts.into_iter().chain(&self.addresses).map(|text| text.len() + 2);
        // The state, the address and the start, and the counts of what follows.
        key + told.sum::<usize>() + 40
    }

    /// The same without what the member tells about itself.
    pub(crate) fn plain(self) -> Self {
        Self { service: String::new(), version: String::new(), zone: String::new(), addresses: Vec::new(), ..self }
    }

    fn into_member(self) -> Member {
        let Self { name, state, address, key, service, version, zone, addresses, generation } = self;
        let state = match state {
            State::Live => MemberState::Live,
            State::Failed => MemberState::Failed,
            State::Left => MemberState::Left,
        };
        Member { name, state, address, key, attributes: Attributes { service, version, zone, addresses }, generation }
    }
}

/// Which key, and of which node where not of all.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) key: String,
    pub(crate) node: Option<String>,
}

/// What a node has for a key, as another node tells it.
///
/// ```
/// # async fn example(node: np_cluster::ClusterClient) -> Result<(), np_facade::CallError> {
/// for entry in node.get("leader", None).await? {
///     println!("{} {}", entry.node, entry.value);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The node whose key it is.
    pub node: String,
    /// The value.
    pub value: String,
    /// Whether it carries a signature.
    pub signed: bool,
    /// Whether the list of the node that was asked has a key to check it by (`sign=`).
    pub known: bool,
    /// Whether that node has checked the signature by this key, and it is right.
    pub valid: bool,
}

/// Asks a node about its cluster from outside: what `np cluster` does. The node has to allow the client's key
/// ([`Peering::control`](crate::Peering::control)).
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use np_cluster::ClusterClient;
/// use np_facade::Client;
/// let node = ClusterClient::new(Client::connect("tcp://10.0.0.1:7400?key=np1...").await?);
/// for member in node.members().await? {
///     println!("{} {}", member.name, member.state);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClusterClient {
    client: Client,
}

impl ClusterClient {
    /// Asks over this client's connections.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The members, as the node sees them. Where a table of all would have more than 1 MiB, they come without their
    /// attributes.
    ///
    /// # Errors
    /// When the node does not allow this client, is in no cluster, or there is no answer.
    pub async fn members(&self) -> Result<Vec<Member>, CallError> {
        let rows: Vec<Row> = self.client.call_as(MEMBERS, &()).await?;
        Ok(rows.into_iter().map(Row::into_member).collect())
    }

    /// The members now, and again whenever something about them has changed.
    ///
    /// # Errors
    /// When no stream could be opened; what the node says to it is told by [`MemberTables::next`], as that it does not allow
    /// this client any more.
    pub async fn watch(&self) -> Result<MemberTables, CallError> {
        Ok(MemberTables { stream: self.client.open_stream(WATCH).await? })
    }

    /// Sets a key of the node that is asked.
    ///
    /// # Errors
    /// As [`Self::members`], and when the node refuses the key or the value; the text says why.
    pub async fn set(&self, key: &str, value: &str) -> Result<(), CallError> {
        self.client.call_as(SET, &(key, value)).await
    }

    /// What every node has for a key, or one node alone.
    ///
    /// # Errors
    /// As [`Self::members`], and when the values of all nodes have more than 1 MiB: then ask for one node.
    pub async fn get(&self, key: &str, node: Option<&str>) -> Result<Vec<Entry>, CallError> {
        let question = Question { key: key.to_owned(), node: node.map(ToOwned::to_owned) };
        self.client.call_as(GET, &question).await
    }
}

/// The members of a cluster, whenever something about them changes.
///
/// ```
/// # async fn example(node: np_cluster::ClusterClient) -> Result<(), np_facade::CallError> {
/// let mut tables = node.watch().await?;
/// while let Some(members) = tables.next().await {
///     println!("{} members", members?.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemberTables {
    stream: MessageStream,
}

impl MemberTables {
    /// The next table; nothing once the node has left its cluster.
    pub async fn next(&mut self) -> Option<Result<Vec<Member>, CallError>> {
        let rows: Result<Vec<Row>, _> = self.stream.recv_as().await?;
        Some(rows.map(|rows| rows.into_iter().map(Row::into_member).collect()))
    }
}

#[cfg(test)]
mod tests {
    use np_facade::encode;

    use super::{Entry, Question, Row};
    use crate::attributes::Attributes;
    use crate::member::{Member, MemberState};

    fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
        encode(value).unwrap().to_vec()
    }

    /// `docs/CLUSTER.md`, "What a node is asked".
    #[test]
    fn the_words_of_a_node_are_the_bytes_of_its_page() {
        let attributes = Attributes {
            service: "s".to_owned(),
            version: "v".to_owned(),
            zone: String::new(),
            addresses: vec!["t".to_owned()],
        };
        let member = |state, address: &str, key: Option<&str>| {
            let (name, address) = ("n".to_owned(), address.parse().unwrap());
            let key = key.map(ToOwned::to_owned);
            Member { name, state, address, key, attributes: attributes.clone(), generation: 300 }
        };
        let told = [1, b's', 1, b'v', 0, 1, 1, b't', 0xac, 0x02];
        let live = member(MemberState::Live, "10.0.0.1:7400", Some("k"));
        let place = [1, b'n', 0, 0, 10, 0, 0, 1, 0xe8, 0x39, 1, 1, b'k'];
        assert_eq!(bytes(&vec![Row::of(&live)]), [&[1][..], &place, &told].concat());
        for (state, number) in [(MemberState::Failed, 1), (MemberState::Left, 2)] {
            let row = bytes(&Row::of(&member(state, "[::1]:1", None)));
            let place = [&[1, b'n', number, 1][..], &[0; 15], &[1, 1, 0]].concat();
            assert_eq!(row, [&place[..], &told].concat());
        }
        let question = |node: Option<&str>| Question { key: "k".to_owned(), node: node.map(ToOwned::to_owned) };
        assert_eq!(bytes(&question(None)), [1, b'k', 0]);
        assert_eq!(bytes(&question(Some("n"))), [1, b'k', 1, 1, b'n']);
        let entry = Entry { node: "n".to_owned(), value: "v".to_owned(), signed: true, known: false, valid: true };
        assert_eq!(bytes(&entry), [1, b'n', 1, b'v', 1, 0, 1]);
    }
}
