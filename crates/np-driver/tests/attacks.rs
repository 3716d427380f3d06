//! Attacks over real sockets: somebody on the path, or at the other end, against an acceptor and a connector. Nothing of
//! an attacker is ever accepted: no connection, no handler, no answer; and whoever notices says whose fault it is.
//!
//! The same attacks without sockets, with more detail and a million mutations, are those of np-session.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::middle::{Fate, Unit, stand_between};
use common::{
    Harm, House, Places, echo, every_pattern, fitting, handshake_error, keypair, proxy, psk, request, serve_with,
    until, within,
};
use np_dispatch::Router;
use np_driver::{AcceptorConfig, Connection, ConnectorConfig, connect};
use np_noise::{Keypair, Pattern, Role};
use np_session::server_hint;
use np_transport::Address;
use np_trust::{Policy, Psks};
use np_types::{Blame, CloseCode, ConnectionError, Misbehaved};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// The patterns in which somebody proves something.
fn proving() -> impl Iterator<Item = Pattern> {
    Pattern::ALL.into_iter().filter(|pattern| *pattern != Pattern::DangerNN)
}

/// A method that counts its runs.
fn pay() -> (Router, Arc<AtomicUsize>) {
    let (router, runs) = (echo(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&runs);
    router
        .on("pay", move |_, body: bytes::Bytes| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(body)
        })
        .unwrap();
    (router, runs)
}

/// A house that lets in one client by key, the team by its psk, and nobody else but the anonymous of NK.
fn guarded(client: &Keypair) -> impl FnOnce(&mut AcceptorConfig) {
    let known = Policy::allow_keys([client.public()]).or(Policy::allow_psk("team").unwrap());
    move |config| {
        every_pattern(config);
        config.policy = known.or(Policy::anonymous());
    }
}

fn as_client(house: &House, pattern: Pattern, identity: &Keypair) -> ConnectorConfig {
    ConnectorConfig { identity: identity.clone(), ..fitting(house, pattern) }
}

/// What is done to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// It passes twice.
    Replay,
    Drop,
    /// The next one overtakes it.
    Reorder,
    /// Its last byte is missing, and the length says so.
    Shorten,
    /// The stream ends in its middle.
    CutInside,
    /// The stream ends before it.
    CutBefore,
    /// It goes back to where it came from as well.
    Reflect,
    /// It takes the place of the record with the same number of another connection between the same two.
    Splice,
}

const ATTACKS: [Attack; 8] = [
    Attack::Replay,
    Attack::Drop,
    Attack::Reorder,
    Attack::Shorten,
    Attack::CutInside,
    Attack::CutBefore,
    Attack::Reflect,
    Attack::Splice,
];

/// Strikes once, at the first record of its direction after it was armed.
struct Attacker {
    attack: Attack,
    towards: bool,
    armed: Arc<AtomicBool>,
    struck: Arc<AtomicUsize>,
    held: Vec<u8>,
}

impl Attacker {
    fn decide(&mut self, unit: Unit) -> Fate {
        if !unit.is_record || unit.towards != self.towards || !self.armed.load(Ordering::SeqCst) {
            return Fate::pass(unit.bytes);
        }
        let bytes = unit.bytes;
        let first = self.struck.fetch_add(1, Ordering::SeqCst) == 0;
        match (self.attack, first) {
            (Attack::Replay, true) => Fate::pass(bytes.repeat(2)),
            (Attack::Drop, true) => Fate::default(),
            (Attack::Reorder, true) => {
                self.held = bytes;
                Fate::default()
            }
            (Attack::Reorder, false) => Fate::pass([bytes, std::mem::take(&mut self.held)].concat()),
            (Attack::Shorten, true) => {
                let length = u16::try_from(bytes.len() - 3).unwrap().to_be_bytes();
                Fate::pass([&length[..], &bytes[2..bytes.len() - 1]].concat())
            }
            (Attack::CutInside, true) => Fate { end: true, ..Fate::pass(&bytes[..bytes.len() / 2]) },
            (Attack::CutBefore, true) => Fate { end: true, ..Fate::default() },
            (Attack::Reflect, true) => Fate { back: bytes.clone(), ..Fate::pass(bytes) },
            (Attack::Splice, true) => {
                self.held.clone_from(&bytes);
                Fate::pass(bytes)
            }
            (Attack::Splice, false) if unit.connection == 1 && !self.held.is_empty() => {
                Fate::pass(std::mem::take(&mut self.held))
            }
            (_, false) => Fate::pass(bytes),
        }
    }
}

/// Starts a call whose answer, if there is one, must be its own; gives whether it was answered.
fn start_call(client: &Connection, body: &'static str) -> tokio::task::JoinHandle<bool> {
    let client = client.clone();
    tokio::spawn(async move {
        let reply = client.call(request("pay").body(body)).await;
        reply.is_ok_and(|reply| {
            assert_eq!(reply.body, body);
            true
        })
    })
}

async fn attack_a_record(places: &mut Places, kind: &str, pattern: Pattern, attack: Attack, towards: bool) {
    let what = format!("{attack:?} of {pattern:?} over {kind}, towards the server: {towards}");
    let (router, runs) = pay();
    let identity = keypair();
    let house = serve_with(&places.next(kind), router, guarded(&identity)).await;
    let (armed, struck) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut attacker =
        Attacker { attack, towards, armed: Arc::clone(&armed), struck: Arc::clone(&struck), held: Vec::new() };
    let between = stand_between(&places.next(kind), &house.address, pattern, move |unit| attacker.decide(unit)).await;

    let mut clients = Vec::new();
    for number in 1..=if attack == Attack::Splice { 2 } else { 1 } {
        let client = connect(&between, as_client(&house, pattern, &identity)).await.unwrap();
        assert!(start_call(&client, "at peace").await.unwrap(), "{what}");
        assert_eq!(runs.load(Ordering::SeqCst), number);
        clients.push(client);
    }
    let at_peace = runs.load(Ordering::SeqCst);
    let victims = house.acceptor.connections();
    // The last connection is the one that is harmed.
    let (client, server) = (clients.last().unwrap(), victims.last().unwrap());
    armed.store(true, Ordering::SeqCst);
    if attack == Attack::Splice {
        assert!(start_call(&clients[0], "on the other one").await.unwrap(), "{what}");
    }
    let one = start_call(client, "one");
    until(|| struck.load(Ordering::SeqCst) > 0).await;
    // Some attacks show only when something follows.
    let two = start_call(client, "two");
    let (at_client, at_server) = within(async { (client.closed().await, server.closed().await) }).await;
    let answered = usize::from(one.await.unwrap()) + usize::from(two.await.unwrap());

    // A reflected record comes out at the end that sent it.
    let at_the_server = towards != (attack == Attack::Reflect);
    let (victim, other) = if at_the_server { (&at_server, &at_client) } else { (&at_client, &at_server) };
    assert_eq!(victim.blame(), Blame::Misbehaved, "{what}: {victim}");
    let cut = matches!(attack, Attack::CutInside | Attack::CutBefore);
    let expected = if cut { Misbehaved::Truncated } else { Misbehaved::Record };
    assert_eq!(*victim, ConnectionError::Misbehaved(expected), "{what}");
    // The other end is told by an authenticated close; a way that was cut brings nobody a word.
    let code = victim.close_code();
    let told = matches!(other, ConnectionError::ClosedByPeer { code: told, in_clear: false, .. } if *told == code);
    assert!(told || cut && *other == ConnectionError::Misbehaved(Misbehaved::Truncated), "{what}: {other}");
    let ran = runs.load(Ordering::SeqCst) - at_peace;
    if towards {
        // What came before the harm, and nothing after it.
        let before = usize::from(matches!(attack, Attack::Replay | Attack::Splice | Attack::Reflect));
        // A client that is shown its own record may say more before it notices.
        let more = usize::from(attack == Attack::Reflect);
        assert!((before..=before + more).contains(&ran), "{what}: {ran}");
    } else {
        assert!(ran <= 3, "{what}: {ran}");
    }
    let whole = match attack {
        Attack::Replay => 1,
        Attack::Reflect => 2,
        _ => 0,
    };
    assert!(answered <= whole, "{what}: {answered}");
}

#[tokio::test]
async fn no_record_is_replayed_dropped_reordered_truncated_reflected_or_spliced() {
    let mut places = Places::new("records");
    for pattern in proving() {
        for kind in Places::kinds() {
            for attack in ATTACKS {
                for towards in [true, false] {
                    attack_a_record(&mut places, kind, pattern, attack, towards).await;
                }
            }
        }
    }
}

/// Nobody got in and nothing ran.
fn untouched(house: &House, runs: &AtomicUsize, what: &str) {
    assert!(house.acceptor.connections().is_empty(), "{what}");
    assert_eq!(runs.load(Ordering::SeqCst), 0, "{what}");
}

/// An attacker's own house: it takes everyone, by its own key and a psk that is not the team's.
async fn den(at: &str) -> (House, Arc<AtomicUsize>) {
    let (router, runs) = pay();
    let house = serve_with(at, router, |config| {
        every_pattern(config);
        config.psks = Psks::new().with_id("team", psk(6)).unwrap();
    })
    .await;
    (house, runs)
}

#[tokio::test]
async fn a_man_in_the_middle_with_keys_of_his_own_reaches_neither_end() {
    let mut places = Places::new("middle");
    for pattern in proving() {
        for kind in Places::kinds() {
            let what = format!("{pattern:?} over {kind}");
            let (router, runs) = pay();
            let (identity, own) = (keypair(), keypair());
            let house = serve_with(&places.next(kind), router, guarded(&identity)).await;
            let (den, heard) = den(&places.next(kind)).await;
            let hint = server_hint(&den.address.keys()[0]);
            // The client's first flight names the true key, or, where the attacker edits it, his.
            for edits in [false, true] {
                let address = stand_between(&places.next(kind), &den.address, pattern, move |mut unit| {
                    if edits && unit.towards && unit.bytes.starts_with(b"np\r\n") && unit.bytes[33..37] != [0; 4] {
                        unit.bytes[33..37].copy_from_slice(&hint);
                    }
                    Fate::pass(unit.bytes)
                })
                .await;
                let error =
                    handshake_error(connect(&address, as_client(&house, pattern, &identity)).await.unwrap_err());
                assert!(matches!(error.blame(), Blame::Refused | Blame::Closed | Blame::Misbehaved), "{what}: {error}");
                // In clear, by somebody who may be anyone: nobody that the client trusts has closed this.
                let proven = matches!(error, ConnectionError::ClosedByPeer { in_clear: false, .. });
                assert!(!proven, "{what}: {error}");
                untouched(&den, &heard, &what);
            }
            if pattern == Pattern::NK {
                // Whoever comes is anonymous, and served as such.
                continue;
            }
            let posing =
                ConnectorConfig { psk: pattern.needs_psk().then(|| psk(6)), ..as_client(&house, pattern, &own) };
            let error = handshake_error(connect(&house.address, posing).await.unwrap_err());
            let code = if pattern.needs_psk() { CloseCode::Authentication } else { CloseCode::NotAllowed };
            // Who learns it first depends on where the pattern mixes the psk in. After message 2 a server that cannot
            // open message 3 has nothing to say in clear.
            let own = match pattern {
                Pattern::IKpsk2 => Some(Misbehaved::PreSharedKey),
                Pattern::XXpsk3 => Some(Misbehaved::Truncated),
                _ => None,
            };
            let told = matches!(error, ConnectionError::ClosedByPeer { code: told, .. } if told == code);
            assert!(told || own.is_some_and(|own| error == own.into()), "{what}: {error}");
            untouched(&house, &runs, &what);
        }
    }
}

#[tokio::test]
async fn an_answer_made_without_the_pinned_key_or_the_psk_is_refused() {
    let mut places = Places::new("answer");
    for pattern in proving() {
        for kind in Places::kinds() {
            let (router, runs) = pay();
            let identity = keypair();
            let house = serve_with(&places.next(kind), router, guarded(&identity)).await;
            let between = stand_between(&places.next(kind), &house.address, pattern, move |mut unit| {
                if !unit.towards && !unit.is_record {
                    // A fresh ephemeral key, and nonsense where the proof would be.
                    let ephemeral = keypair().public();
                    unit.bytes[3..35].copy_from_slice(ephemeral.as_bytes());
                    unit.bytes[35..].fill(0x5a);
                }
                Fate::pass(unit.bytes)
            })
            .await;
            let error = handshake_error(connect(&between, as_client(&house, pattern, &identity)).await.unwrap_err());
            let expected = if pattern.needs_psk() { Misbehaved::PreSharedKey } else { Misbehaved::Handshake };
            assert_eq!(error, ConnectionError::Misbehaved(expected), "{pattern:?} over {kind}");
            untouched(&house, &runs, pattern.name());
        }
    }
}

/// Sends bytes to a house and waits until it hangs up.
async fn say(address: &Address, bytes: &[u8]) -> Vec<u8> {
    let mut link = np_transport::connect(address).await.unwrap();
    // The server may hang up in the middle.
    let _ = link.io.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = within(link.io.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn a_recorded_conversation_connects_nobody_even_after_a_restart() {
    let mut places = Places::new("copies");
    for pattern in proving() {
        for kind in Places::kinds() {
            let what = format!("{pattern:?} over {kind}");
            let (client, server) = (keypair(), keypair());
            let start = |place: String| {
                let (router, runs) = pay();
                let (server, open) = (server.clone(), guarded(&client));
                async move {
                    let change = move |config: &mut AcceptorConfig| {
                        open(config);
                        config.identities = vec![server];
                    };
                    (serve_with(&place, router, change).await, runs)
                }
            };
            let (house, runs) = start(places.next(kind)).await;
            let harm = Arc::new(Harm::default());
            let between = proxy(&places.next(kind), &house, Arc::clone(&harm)).await;
            let honest = connect(&between, as_client(&house, pattern, &client)).await.unwrap();
            honest.call(request("pay")).await.unwrap();
            let recorded = harm.sent.lock().unwrap().clone();

            let answer = say(&house.address, &recorded).await;
            let kept = pattern != Pattern::NK;
            // The kind of a refusal in clear, and its code.
            let copy = [3, CloseCode::Replay.to_wire().to_be_bytes()[1]];
            assert_eq!(kept, [answer[0], answer[4]] == copy, "{what}: {answer:?}");
            assert_eq!((house.acceptor.connections().len(), runs.load(Ordering::SeqCst)), (1, 1), "{what}");
            honest.call(request("pay")).await.unwrap();
            drop(house);

            // The same server, inside the window, with nothing left of what it had seen.
            let (house, runs) = start(places.next(kind)).await;
            let answer = say(&house.address, &recorded).await;
            assert_eq!(answer[0], 2, "{what}: it was worked on: {answer:?}");
            untouched(&house, &runs, &what);
            // Another copy finds the nonce of the first, where that one proved a key by itself.
            let answer = say(&house.address, &recorded).await;
            let first_proves = matches!(pattern, Pattern::IK | Pattern::KK | Pattern::IKpsk2 | Pattern::NNpsk0);
            assert_eq!(first_proves, [answer[0], answer[4]] == copy, "{what}: {answer:?}");
            untouched(&house, &runs, &what);
        }
    }
}

/// Flips bits of whatever goes one way before the first record, one position per connection.
#[tokio::test]
async fn an_edited_preface_or_handshake_message_connects_nobody() {
    for pattern in proving() {
        let (router, runs) = pay();
        let identity = keypair();
        let house = serve_with("tcp://127.0.0.1:0", router, guarded(&identity)).await;
        let lengths = Arc::new(Mutex::new([0, 0]));
        let between = stand_between("tcp://127.0.0.1:0", &house.address, pattern, {
            let lengths = Arc::clone(&lengths);
            move |unit| {
                lengths.lock().unwrap()[usize::from(unit.towards)] += if unit.is_record { 0 } else { unit.bytes.len() };
                Fate::pass(unit.bytes)
            }
        })
        .await;
        connect(&between, as_client(&house, pattern, &identity)).await.unwrap();
        let [back, towards] = *lengths.lock().unwrap();
        until(|| house.acceptor.connections().is_empty()).await;

        // Every byte of the preface, which is in clear, and some of each message.
        let positions = (0..towards).filter(|at| *at < 40 || at % 5 == 0).map(|at| (true, at));
        let mut tries = JoinSet::new();
        for (way, at) in positions.chain((0..back).step_by(5).map(|at| (false, at))) {
            let mut passed = 0;
            let between = stand_between("tcp://127.0.0.1:0", &house.address, pattern, move |mut unit| {
                if unit.towards == way && !unit.is_record {
                    if let Some(byte) = usize::checked_sub(at, passed).and_then(|at| unit.bytes.get_mut(at)) {
                        *byte ^= 1 << (at % 8);
                    }
                    passed += unit.bytes.len();
                }
                Fate::pass(unit.bytes)
            })
            .await;
            // A longer length makes the other side wait for what never comes.
            let handshake_timeout = Duration::from_millis(500);
            let config = ConnectorConfig { handshake_timeout, ..as_client(&house, pattern, &identity) };
            tries.spawn(async move { (way, at, connect(&between, config).await.map_err(handshake_error)) });
        }
        for (way, at, connected) in tries.join_all().await {
            let error = connected.expect_err("an edited handshake").blame();
            let blamed = matches!(
                error,
                Blame::Malformed
                    | Blame::Misbehaved
                    | Blame::Incompatible
                    | Blame::Closed
                    | Blame::Refused
                    | Blame::Limit
            );
            assert!(blamed, "{pattern:?}, byte {at}, towards the server: {way}: {error:?}");
        }
        untouched(&house, &runs, pattern.name());
    }
}

#[tokio::test]
async fn strangers_wrong_pins_and_wrong_psks_are_refused_for_what_they_are() {
    let mut places = Places::new("wrong");
    for pattern in proving() {
        for kind in Places::kinds() {
            let what = format!("{pattern:?} over {kind}");
            let (router, runs) = pay();
            let identity = keypair();
            let house = serve_with(&places.next(kind), router, guarded(&identity)).await;
            let refused = |config: ConnectorConfig| async {
                let error = handshake_error(connect(&house.address, config).await.unwrap_err());
                untouched(&house, &runs, &what);
                error
            };
            let fits = as_client(&house, pattern, &identity);
            if pattern.needs_local_static(Role::Initiator) {
                let error = refused(as_client(&house, pattern, &keypair())).await;
                let told =
                    matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. });
                assert!(told, "{what}: {error}");
            }
            if pattern.needs_local_static(Role::Responder) {
                let other = keypair().public();
                let pinned = ConnectorConfig { policy: Policy::allow_keys([other]), ..fits.clone() };
                let error = refused(pinned).await;
                let unpinned = matches!(error, ConnectionError::Refused { code: CloseCode::NotAllowed, .. });
                assert!(unpinned, "{what}: {error}");
                if pattern.needs_remote_static_up_front() {
                    let error = refused(ConnectorConfig { server_keys: vec![other], ..fits.clone() }).await;
                    let unknown =
                        matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::UnknownIdentity, .. });
                    assert!(unknown, "{what}: {error}");
                }
            }
            if pattern.needs_psk() {
                let error = refused(ConnectorConfig { psk: Some(psk(9)), ..fits }).await;
                let told = matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::Authentication, .. });
                let cut = error == ConnectionError::Misbehaved(Misbehaved::Truncated)
                    || error == ConnectionError::Misbehaved(Misbehaved::PreSharedKey);
                assert!(told || cut, "{what}: {error}");
            }
        }
    }
}

/// KK names the client's key in clear: a listed name alone must not do.
#[tokio::test]
async fn the_name_of_a_listed_key_is_no_proof_of_it() {
    let (router, runs) = pay();
    let identity = keypair();
    let house = serve_with("tcp://127.0.0.1:0", router, guarded(&identity)).await;
    let listed = identity.public();
    let between = stand_between("tcp://127.0.0.1:0", &house.address, Pattern::KK, move |mut unit| {
        if unit.bytes.starts_with(b"np\r\n") {
            unit.bytes[38..70].copy_from_slice(listed.as_bytes());
        }
        Fate::pass(unit.bytes)
    })
    .await;
    let error = handshake_error(connect(&between, as_client(&house, Pattern::KK, &keypair())).await.unwrap_err());
    assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::Authentication, .. }), "{error}");
    untouched(&house, &runs, "KK");
}
