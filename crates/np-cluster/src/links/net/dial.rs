//! How a link is made to another node: connected, introduced, registered. Must never wait for a node for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_facade::raw::driver::random_number;
use np_facade::{CallError, Client, Decision, ErrorKind, Limits, MessageStream, Policy, Status, escape};
use tokio::time::Instant;

use super::super::announcement::Announcement;
use super::{Inner, MAX_MESSAGE, MAX_TEXT, METHOD, Standing, hello};

/// How long an attempt may take in each of its steps.
const CONNECT: Duration = Duration::from_secs(3);

/// Makes a link to the node at an address, and serves it.
pub(super) async fn dial(inner: Arc<Inner>, to: SocketAddr) {
    let random = || random_number().unwrap_or(u64::MAX);
    let made = {
        // Closed never: the semaphore lives as long as the links.
        let _permit = inner.attempts.acquire().await;
        open_link(&inner, to).await
    };
    inner.book().attempted(to, made.is_err(), Instant::now(), random());
    match made {
        Ok(None) => tracing::debug!(target: "np::cluster", %to, "a node that is linked has answered there"),
        Ok(Some((mut standing, stream, client))) => {
            let end = inner.serve(&mut standing, stream).await;
            drop(standing);
            tracing::debug!(target: "np::cluster", %to, why = escape(&end.text, MAX_TEXT), "gossip link ended");
            client.close().await;
        }
        Err(why) => tracing::debug!(target: "np::cluster", %to, why = escape(&why, MAX_TEXT), "no gossip link"),
    }
}

/// What a member may make this node hold on a connection that this node made: less than 8 MiB.
fn limits() -> Limits {
    let most = MAX_MESSAGE as u32;
    Limits {
        // Room for one that is too long, so that it is told from a lost connection.
        max_message: most * 2,
        max_calls: 16,
        stream_window: most * 2,
        connection_window: most * 4,
        max_window: most * 4,
        reassembly_budget: most * 2,
        call_budget: most * 4,
        ..Limits::default()
    }
}

type Made = (Standing, MessageStream, Client);

/// Connects, and makes a link unless there is one to the key that answered: then the address is known for its own.
async fn open_link(inner: &Arc<Inner>, to: SocketAddr) -> Result<Option<Made>, String> {
    let me = inner.me().map_err(|refused| refused.to_string())?;
    let builder = (inner.settings.way)(to)
        .policy(members(inner, to))
        .connect_timeout(CONNECT)
        .handshake_timeout(CONNECT)
        .limits(limits())
        .auto_reconnect(false);
    let client = builder.connect().await.map_err(|error| {
        if error.kind() == ErrorKind::Authentication {
            refused_by(to, &error.to_string());
        }
        error.to_string()
    })?;
    let connection = client.connection();
    let peer = connection.peer();
    let key = inner.admit(peer, true).map_err(|refused| refused.to_string())?;
    if inner.reached(to, key) {
        client.close().await;
        return Ok(None);
    }
    let (stream, said) = introduce(&client, &me).await.map_err(|error| {
        if matches!(error.status, Status::PermissionDenied | Status::InvalidArgument | Status::UnknownMethod) {
            refused_by(to, &error.text);
        }
        error.text
    })?;
    match inner.register(peer, key, &said, Some(to)) {
        Ok(standing) => Ok(Some((standing, stream, client))),
        Err(refused) => {
            inner.note(peer, connection.peer_address(), &refused);
            Err(refused.to_string())
        }
    }
}

/// Somebody has to see to it: the lists, the name, or the key of a seed.
fn refused_by(to: SocketAddr, why: &str) {
    tracing::warn!(target: "np::cluster", %to, why = escape(why, MAX_TEXT), "refused by a node");
}

/// What a member may make a server hold that serves members alone: less than 12 MiB a connection.
pub(crate) fn server_limits() -> Limits {
    // Answers about a large cluster are longer than gossip.
    Limits { max_message: 1 << 20, reassembly_budget: 1 << 20, call_budget: 2 << 20, max_calls: 64, ..limits() }
}

/// Opens the stream and says who this node is; gives what the other says.
async fn introduce(client: &Client, me: &Announcement) -> Result<(MessageStream, Bytes), CallError> {
    let mut stream = client.open_stream(METHOD).await?;
    stream.send(me.encode()).await?;
    let said = hello(&mut stream).await?;
    Ok((stream, said))
}

/// Whom a link may lead to: members, and not this node itself.
fn members(inner: &Arc<Inner>, to: SocketAddr) -> Policy {
    let inner = Arc::downgrade(inner);
    Policy::closure(move |peer| {
        let refuse = |reason: &str| Decision::Refuse { reason: reason.to_owned() };
        let Some(inner) = inner.upgrade() else {
            return refuse("this node has left its cluster");
        };
        if inner.settings.own.as_ref().is_some_and(|own| peer.public_key() == Some(own)) {
            inner.book().is_own(to, Instant::now());
            return refuse("this is the node itself");
        }
        inner.settings.members.decide(peer)
    })
}
