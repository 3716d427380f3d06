//! Seeded streams with a model of every byte: two applications open calls, messages and streams by plans that both know,
//! read at their own pace, stall, pause, give up, close one direction and end early, and the model says what each must see.
//!
//! The model: what is delivered is what was sent, in order, with each message's end in its place, and never more than the
//! sender gave to its session; nothing comes after an end; a reader never holds more than its windows; a caller sees one
//! end, which is the one that its callee made, with its pairs; whoever is told that a stream went well has all of it; and
//! what nobody disturbs ends as it was planned, with every byte of both directions. When all is over, both windows are whole.

mod app;
mod model;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use np_types::{Limits, Time};

use self::app::App;
use self::model::{Callee, Caller};
use crate::sim::{self, Kind, check_held};
use crate::{Pair, Rng};

/// After this much virtual time a run that has not come to rest hangs. The last message of a stream has a minute for itself,
/// whose timer may still be set when it has long gone.
const LIMIT: Duration = Duration::from_secs(150);

/// What a run was, for statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flows {
    /// Calls, messages and streams that were opened.
    pub opened: usize,
    /// Messages that came whole.
    pub messages: usize,
    /// Those that nothing disturbed, so that the model foretold each byte and the end.
    pub foretold: usize,
}

/// Runs one seed.
///
/// ```
/// let flows = np_testkit::flows::run(4).unwrap();
/// assert!(flows.opened > 0);
/// ```
///
/// # Errors
/// The rules that were broken, with the plan and what both sides saw of it.
pub fn run(seed: u64) -> Result<Flows, String> {
    let mut rng = Rng::new(!seed);
    let kind = rng.pick(&[Kind::Healthy, Kind::Healthy, Kind::Healthy, Kind::Healthy, Kind::Stall, Kind::Cut]);
    let mut setup = sim::setup(seed, kind, &mut rng);
    setup.limits.iter_mut().for_each(|limits| widen(limits, &mut rng));
    let plans = Arc::new(plan::plans(&setup.limits, &mut rng));
    let apps = [0, 1].map(|side| App::new(seed ^ side as u64, side, Arc::clone(&plans), &setup.limits[side]));
    let mut pair = Pair::new(&setup, apps);
    let quiet = pair.run_until(Time::ZERO + LIMIT);
    let (healthy, mut broken) = (kind != Kind::Cut, Vec::new());
    if healthy && !quiet {
        broken.push("the run did not come to rest".to_owned());
    }
    if healthy {
        let ended = pair.peers.iter().filter_map(|peer| Some(format!("{:?} ended: {}", peer.side, peer.error()?)));
        broken.extend(ended);
    }
    if healthy && broken.is_empty() {
        check_held(&mut pair.peers, &setup.limits, &mut broken);
    }
    pair.cut();
    let mut flows = Flows::default();
    for plan in plans.iter() {
        let callers = &mut pair.peers[plan.opener].app.callers;
        let caller = callers.remove(&plan.number).unwrap_or_default();
        let callee = pair.peers[1 - plan.opener].app.callees.remove(&plan.number).unwrap_or_default();
        broken.extend(model::check(plan, &caller, &callee, healthy));
        flows.count(&caller, &callee, healthy && plan.is_undisturbed());
    }
    broken.extend(pair.peers.iter_mut().flat_map(|peer| std::mem::take(&mut peer.app.violations)));
    if broken.is_empty() { Ok(flows) } else { Err(format!("{kind:?}\n{}", broken.join("\n"))) }
}

impl Flows {
    fn count(&mut self, caller: &Caller, callee: &Callee, foretold: bool) {
        self.opened += usize::from(caller.opened);
        self.messages += caller.reader.at + callee.reader.at;
        self.foretold += usize::from(caller.opened && foretold);
    }
}

/// Small messages and small reads are what these runs are about, so nobody is cut for them, nor refused for all at once; half of all windows stay
/// as they are, so that what they let through is known exactly.
fn widen(limits: &mut Limits, rng: &mut Rng) {
    (limits.useless_acts, limits.max_queued_calls) = (1 << 16, 20);
    if rng.chance(50) {
        limits.max_window = limits.stream_window;
    }
}
