//! Seeded simulation: two peers with scripts on a network with faults, checked against a model.
//!
//! The model: every call ends exactly once; an answer is the right one and comes from one execution; a call that is
//! said to be not processed was never begun; nothing is begun twice; on a healthy network everything is answered, both
//! tables are empty afterwards and every byte of credit is back.

use std::time::Duration;

use np_noise::Pattern;
use np_session::OpenKind;
use np_types::{CloseCode, ConnectionError, Limits, Malformed, Misbehaved, Outcome, Status, Time};

use crate::network::FOREVER;
use crate::{
    Action, Actor, Application, CallRecord, CallResult, Fault, Harm, NetworkConfig, Pair, Peer, Rng, Setup, Step,
};

/// After this much virtual time a run that has not come to rest hangs, unless its network is stalled for ever.
const LIMIT: Duration = Duration::from_secs(100);

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Healthy,
    /// The network is cut.
    Cut,
    /// A direction stops for a while.
    Stall,
    /// A direction stops for ever.
    StallForEver,
    /// Somebody on the way turns a bit, or loses bytes, repeats them or puts them into another order.
    Harm(Harm),
    /// A side drains or closes.
    End,
}

/// What a run was, for statistics.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What went wrong.
    pub kind: Kind,
    /// Calls, messages and streams that were opened.
    pub calls: usize,
    /// Those that were answered, sent or ended well.
    pub fine: usize,
    /// How often a session was folded up where nothing moved on it, and woken again.
    pub rests: u64,
    /// Every byte of both directions, where it was asked for.
    pub transcript: Vec<u8>,
}

/// Runs one seed.
///
/// # Errors
/// The rules that were broken, one per line.
pub fn run(seed: u64, transcript: bool) -> Result<Summary, String> {
    let mut rng = Rng::new(seed);
    let kind = rng.pick(&[
        Kind::Healthy,
        Kind::Healthy,
        Kind::Healthy,
        Kind::Cut,
        Kind::Stall,
        Kind::StallForEver,
        Kind::Harm(Harm::Flip),
        Kind::Harm(Harm::Lose),
        Kind::Harm(Harm::Twice),
        Kind::Harm(Harm::Swap),
        Kind::End,
    ]);
    let setup = setup(seed, kind, &mut rng);
    let apps = [0, 1].map(|side| script(seed, side, kind, &setup.limits, &mut rng));
    let mut pair = Pair::new(&setup, apps);
    if transcript {
        pair.network.pipes.iter_mut().for_each(|pipe| pipe.transcript = Some(Vec::new()));
    }
    let quiet = pair.run_until(Time::ZERO + LIMIT);
    let mut broken = Vec::new();
    match kind {
        Kind::Healthy | Kind::Stall => check_rest(&mut pair.peers, quiet, &setup.limits, &mut broken),
        Kind::Harm(_) => check_harm(&pair, &mut broken),
        _ => {}
    }
    if pair.peers.iter().any(|peer| peer.error().is_none()) {
        pair.cut();
    }
    check_model(&pair.peers, &mut broken);
    let calls = || pair.peers.iter().flat_map(|peer| peer.app.calls.values());
    let fine = calls().filter(|call| !matches!(call.results.first(), None | Some(CallResult::Failed(..)))).count();
    let transcript = pair.network.pipes.iter().flat_map(|pipe| pipe.transcript.clone().unwrap_or_default()).collect();
    let rests = pair.peers.iter().map(|peer| peer.rests).sum();
    let summary = Summary { kind, calls: calls().count(), fine, rests, transcript };
    if broken.is_empty() { Ok(summary) } else { Err(format!("{kind:?}\n{}", broken.join("\n"))) }
}

pub(crate) fn setup(seed: u64, kind: Kind, rng: &mut Rng) -> Setup {
    let pattern = rng.pick(&Pattern::ALL);
    let limits = [limits(rng), limits(rng)];
    let latency = Duration::from_micros(rng.below(20_000));
    let jitter = Duration::from_micros(rng.below(5_000));
    let capacity = if rng.chance(50) { 1 << 20 } else { rng.between(100, 20_000) as usize };
    let chunk = rng.pick(&[0, 0, 0, 100, 5_000, 1]);
    // Reading byte by byte is slow, so there is not much to be read then.
    let chunk = if chunk == 1 && !rng.chance(10) { 700 } else { chunk };
    let mut faults = [Fault::default(); 2];
    let side = rng.below(2) as usize;
    let at = Time::ZERO + Duration::from_micros(rng.below(400_000));
    match kind {
        Kind::Cut => {
            let other = Time::ZERO + Duration::from_micros(rng.below(400_000));
            faults[side].cut = Some(at);
            faults[1 - side].cut = Some(if rng.chance(50) { at } else { at.max(other) });
        }
        Kind::Stall => faults[side].stall = Some((at, at + Duration::from_millis(rng.below(3_000)))),
        Kind::StallForEver => faults[side].stall = Some((at, FOREVER)),
        Kind::Harm(harm) => {
            let within = rng.pick(&[400, 20_000]);
            faults[side].harm = Some((rng.below(within), harm));
        }
        Kind::Healthy | Kind::End => {}
    }
    let network = NetworkConfig { latency, jitter, capacity, chunk, faults };
    Setup { seed, pattern, limits, eager: rng.chance(50), network, ..Setup::default() }
}

fn limits(rng: &mut Rng) -> Limits {
    let stream_window = rng.between(1_024, 6_000) as u32;
    let max_message = rng.between(1_024, 30_000) as u32;
    let limits = Limits {
        max_message,
        max_calls: rng.between(1, 6) as u32,
        max_queued_calls: rng.between(2, 20) as u32,
        stream_window,
        connection_window: 2 * stream_window + rng.below(10_000) as u32,
        max_window: 3 * stream_window,
        reassembly_budget: max_message + rng.below(20_000) as u32,
        call_budget: Limits::default().call_budget,
        accept_compressed: true,
        rekey_records: rng.pick(&[1, 2, 7, 1 << 20]),
        rekey_bytes: rng.pick(&[500, 64 << 30]),
        rekey_age: Duration::from_secs(rng.between(1, 120)),
        // The least: no run may be taken for a flood.
        useless_acts: 256,
        pad_records_to: rng.pick(&[0, 0, 0, 16, 100, 512]),
    };
    limits.validate().expect("limits in their ranges");
    limits
}

fn script(seed: u64, side: usize, kind: Kind, limits: &[Limits; 2], rng: &mut Rng) -> Actor {
    let mut steps: Vec<Step> = (0..rng.between(1, 9))
        .map(|at| {
            let number = (side as u64 + 1) << 32 | at;
            Step {
                at: Time::ZERO + Duration::from_micros(rng.below(300_000)),
                action: action(number, side, limits, rng),
            }
        })
        .collect();
    if kind == Kind::End && (side == 0 || rng.chance(50)) {
        let at = Time::ZERO + Duration::from_micros(rng.below(400_000));
        steps.push(Step { at, action: if rng.chance(50) { Action::GoAway } else { Action::Close } });
    }
    steps.sort_by_key(|step| step.at);
    Actor::new(seed ^ side as u64, (side as u64 + 1) << 33, steps)
}

fn action(number: u64, side: usize, limits: &[Limits; 2], rng: &mut Rng) -> Action {
    if rng.chance(8) {
        return if rng.chance(50) { Action::Ping } else { Action::UpdateKey };
    }
    let kind = rng.pick(&[
        OpenKind::Request,
        OpenKind::Request,
        OpenKind::Request,
        OpenKind::Request,
        OpenKind::OneWay,
        OpenKind::Stream,
    ]);
    // An echo must fit the caller as well.
    let most = limits[0].max_message.min(limits[1].max_message) as usize;
    let peer = &limits[1 - side];
    let mut size = || match rng.below(5) {
        0 => rng.below(16) as usize,
        1 => peer.stream_window as usize - 1 + rng.below(3) as usize,
        2 => most,
        _ => rng.below(3_000) as usize,
    };
    let sizes = if kind == OpenKind::Stream { vec![size(), size(), size()] } else { vec![size()] };
    let sizes: Vec<usize> = sizes.into_iter().map(|size| size.min(most).min(1 << 14)).collect();
    let count = if kind == OpenKind::Stream { rng.below(4) as usize } else { 1 };
    let method = match kind {
        OpenKind::Request => rng.pick(&["echo", "echo", "echo", "nest", "fail", "hang"]),
        OpenKind::OneWay => "note",
        OpenKind::Stream => "chat",
    };
    let span = |rng: &mut Rng, most: u64| Duration::from_micros(rng.below(most));
    let cancel = rng.chance(12).then(|| span(rng, 200_000));
    let hangs = method == "hang" && cancel.is_none();
    let deadline = (hangs || rng.chance(15)).then(|| span(rng, 300_000));
    Action::Open {
        number,
        kind,
        method,
        sizes: sizes.into_iter().take(count.max(usize::from(kind != OpenKind::Stream))).collect(),
        deadline,
        cancel,
    }
}

/// On a network without faults everything comes to rest, and nothing is held any more.
pub(crate) fn check_rest(peers: &mut [Peer<Actor>; 2], quiet: bool, limits: &[Limits; 2], broken: &mut Vec<String>) {
    if !quiet {
        broken.push("the run did not come to rest".to_owned());
    }
    for (at, peer) in peers.iter().enumerate() {
        if let Some(error) = peer.error() {
            broken.push(format!("{:?} ended without a reason: {error}", peer.side));
            return;
        }
        for call in peer.app.calls.values().filter(|call| !call.cancelled) {
            check_answer(call, peers[1 - at].app.refused_calls, broken);
        }
        if peer.app.pings.0 != peer.app.pings.1 {
            broken.push(format!("{:?} pinged {} and heard {}", peer.side, peer.app.pings.0, peer.app.pings.1));
        }
        if peer.app.unanswered() > 0 {
            broken.push(format!("{:?} has {} calls unanswered", peer.side, peer.app.unanswered()));
        }
    }
    check_held(peers, limits, broken);
}

/// When all is over no call is open, and every byte of credit and of budgets is back.
pub(crate) fn check_held<A: Application>(peers: &mut [Peer<A>; 2], limits: &[Limits; 2], broken: &mut Vec<String>) {
    let held = peers.each_mut().map(|peer| {
        let session = peer.session();
        (session.is_idle(), session.held_bytes(), format!("{session:?}"))
    });
    for (at, (idle, bytes, state)) in held.iter().enumerate() {
        if *bytes > 0 {
            broken.push(format!("peer {at} holds {bytes} bytes: {state}"));
        }
        if !idle {
            broken.push(format!("peer {at} is not idle: {state}"));
        }
        check_credit(at, state, &held[1 - at].2, &limits[at], broken);
    }
}

/// A call that nobody gave up, on a healthy network; its callee may have had no memory for it.
fn check_answer(call: &CallRecord, may_refuse: bool, broken: &mut Vec<String>) {
    let fine = match (call.method, call.results.as_slice()) {
        ("fail", [CallResult::Failed(Outcome::Answered, Status::Failed)]) => true,
        // The nested call may have found its queue full.
        ("nest", [CallResult::Failed(Outcome::Answered, Status::Failed)]) => true,
        ("note", [CallResult::Sent]) | ("chat", [CallResult::Ended]) => true,
        ("echo" | "nest", [CallResult::Answered]) => true,
        (_, [CallResult::Failed(_, Status::DeadlineExceeded)]) => call.has_deadline,
        (_, [CallResult::Failed(Outcome::NotProcessed, Status::Unavailable)]) => may_refuse,
        // It had said something before it knew.
        ("chat", [CallResult::Failed(Outcome::Unknown, Status::Unavailable)]) => may_refuse,
        _ => false,
    };
    if !fine {
        broken.push(format!("call {:#x} ({}) ended as {:?}", call.number, call.method, call.results));
    }
}

/// What the sender may send is what the receiver lets it, and with what is owed it makes the whole window.
fn check_credit(at: usize, state: &str, sender: &str, limits: &Limits, broken: &mut Vec<String>) {
    let receive = field(state, "receive_window: ReceiveWindow", "available: ");
    let owed = field(state, "receive_window: ReceiveWindow", "owed: ");
    // It may have grown.
    let window = field(state, "receive_window: ReceiveWindow", "window: ");
    let send = field(sender, "send_window: SendWindow", "available: ");
    if receive != send || receive + owed != window || window < u64::from(limits.connection_window) {
        broken.push(format!("peer {at} of {window}: lets {receive}, owes {owed}, the other may send {send}"));
    }
    if field(state, "budget: ReassemblyBudget", "left: ") != u64::from(limits.reassembly_budget) {
        broken.push(format!("peer {at} did not give its reassembly budget back"));
    }
}

/// A number in the debug text of a session: how a test sees what is nobody else's business.
fn field(state: &str, part: &str, name: &str) -> u64 {
    let rest = state.split_once(part).and_then(|(_, rest)| rest.split_once(name)).map_or("", |(_, rest)| rest);
    let end = rest.find(|other: char| !other.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().expect("the session's debug text names its credit")
}

/// A changed byte that was read ends the connection, and nothing else.
fn check_harm(pair: &Pair<Actor>, broken: &mut Vec<String>) {
    for (at, pipe) in pair.network.pipes.iter().enumerate() {
        if !pipe.harmed || pipe.in_flight() > 0 {
            continue;
        }
        let reader = &pair.peers[1 - at];
        let fine = match reader.error() {
            // A longer record, a longer message: the rest of it never comes.
            None => true,
            Some(ConnectionError::Misbehaved(
                Misbehaved::Record | Misbehaved::Handshake | Misbehaved::PreSharedKey,
            )) => true,
            // The length of a record, a message or a preface, or another field in clear before the handshake is done.
            Some(ConnectionError::Malformed(Malformed::Value(_) | Malformed::Magic | Malformed::Text(_))) => true,
            Some(ConnectionError::Malformed(Malformed::Trailing(_))) => true,
            Some(ConnectionError::Incompatible(_) | ConnectionError::Limit(_)) => true,
            Some(ConnectionError::ClosedByPeer { code, .. }) => *code != CloseCode::Normal,
            Some(ConnectionError::Misbehaved(Misbehaved::Truncated)) => true,
            Some(ConnectionError::Refused { .. }) => false,
            Some(_) => false,
        };
        if !fine {
            broken.push(format!("harmed bytes made {:?}", reader.error()));
        }
    }
}

/// The rules that hold on any network.
pub(crate) fn check_model(peers: &[Peer<Actor>; 2], broken: &mut Vec<String>) {
    for (at, peer) in peers.iter().enumerate() {
        broken.extend(peer.app.violations.iter().cloned());
        let executed = &peers[1 - at].app.executed;
        for call in peer.app.calls.values() {
            let times = executed.get(&call.number).copied().unwrap_or_default();
            let fine = match call.results.as_slice() {
                [] => call.cancelled && times <= 1,
                [CallResult::Answered | CallResult::Ended] => times == 1,
                [CallResult::Sent] => times <= 1,
                [CallResult::Failed(Outcome::NotProcessed, _)] => times == 0,
                // The session of the callee may have refused it before its handler saw it.
                [CallResult::Failed(..)] => times <= 1,
                _ => false,
            };
            if !fine {
                let (number, method, results) = (call.number, call.method, &call.results);
                broken.push(format!("call {number:#x} ({method}): {results:?}, begun {times} times"));
            }
        }
    }
}
