//! The window by itself: its answers, its limits at n and n + 1, and who cannot disturb whom.

use std::time::Duration;

use bytes::Bytes;
use np_types::{CallError, PeerIdentity, Status, Time};

use super::{OnceWindow, Ticket};
use crate::{Begin, Epoch, InstanceId, OnceHeader, OnceRefusal, OnceReply, OnceSettings, OnceUnknown, Reply};

const SMALL: OnceSettings = OnceSettings {
    max_remembered: 6,
    max_identity_remembered: 4,
    max_remembered_bytes: 150,
    max_identity_remembered_bytes: 100,
    max_instances: 3,
    max_identity_instances: 2,
    remember_for: Duration::from_secs(10),
};

/// A window, and calls by few words. Calls are joined by their number.
struct House {
    window: OnceWindow<u64>,
    now: Time,
    /// Bytes of each request.
    request: usize,
}

/// One client of the house.
#[derive(Clone)]
struct Guest {
    peer: PeerIdentity,
    instance: InstanceId,
    epoch: Epoch,
}

impl Guest {
    fn header(&self, sequence: u64, below: u64, also: &[u64]) -> OnceHeader {
        OnceHeader { instance: self.instance, epoch: self.epoch, sequence, below, also: also.to_vec() }
    }
}

fn replied(body: &[u8], settings: &OnceSettings) -> OnceReply {
    OnceReply::new(Ok(Reply::from(Bytes::copy_from_slice(body))), settings)
}

impl House {
    fn new() -> Self {
        Self { window: OnceWindow::new(SMALL, Epoch::from_bytes([1; 16])), now: Time::ZERO, request: 0 }
    }

    fn guest(&mut self, peer: &str, instance: u8) -> Guest {
        let (peer, instance) = (PeerIdentity::Psk(peer.to_owned()), InstanceId::from_bytes([instance; 16]));
        let epoch = self.window.open(self.now, &peer, instance).unwrap();
        Guest { peer, instance, epoch }
    }

    fn begin(&mut self, guest: &Guest, header: &OnceHeader) -> Begin<u64> {
        self.window.begin(self.now, &guest.peer, header, self.request, || header.sequence)
    }

    fn call(&mut self, guest: &Guest, sequence: u64) -> Begin<u64> {
        self.begin(guest, &guest.header(sequence, 0, &[]))
    }

    fn run(&mut self, guest: &Guest, sequence: u64) -> Ticket {
        match self.call(guest, sequence) {
            Begin::Run(ticket) => ticket,
            other => panic!("{sequence}: {other:?}"),
        }
    }

    fn answer(&mut self, ticket: Ticket, body: &[u8]) {
        let reply = replied(body, &self.window.settings);
        self.window.answer(self.now, ticket, reply);
    }

    /// Runs a call to its end.
    fn serve(&mut self, guest: &Guest, sequence: u64, body: &[u8]) {
        let ticket = self.run(guest, sequence);
        self.answer(ticket, body);
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn is_forgotten(&mut self, guest: &Guest, sequence: u64) -> bool {
        self.call(guest, sequence) == Begin::Unknown(OnceUnknown::Forgotten)
    }

    fn is_replayed(&mut self, guest: &Guest, sequence: u64) -> bool {
        matches!(self.call(guest, sequence), Begin::Replay(reply) if reply.outcome().is_ok())
    }
}

#[test]
fn a_call_runs_once_and_its_retries_join_or_have_its_reply() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    let ticket = house.run(&guest, 0);
    assert_eq!(house.call(&guest, 0), Begin::Join(0));
    house.answer(ticket, b"done");
    for _ in 0..3 {
        assert_eq!(house.call(&guest, 0), Begin::Replay(replied(b"done", &SMALL)));
    }
    // An error is a reply as well, without what does not travel.
    let ticket = house.run(&guest, 1);
    let long = CallError::failed("ä".repeat(2_000))
        .because(np_types::ConnectionError::ClosedHere(np_types::CloseCode::Normal));
    house.window.settings.max_identity_remembered_bytes = 10_000;
    house.window.settings.max_remembered_bytes = 10_000;
    house.window.answer(house.now, ticket, OnceReply::new(Err(long), &SMALL));
    let Begin::Replay(reply) = house.call(&guest, 1) else { panic!() };
    let error = reply.outcome().unwrap_err().clone();
    assert_eq!((error.status, error.text.len(), error.cause), (Status::Failed, 1_024, None));
}

#[test]
fn another_epoch_runs_nothing() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    house.serve(&guest, 0, b"");
    let mut restarted =
        House { window: OnceWindow::new(SMALL, Epoch::from_bytes([9; 16])), now: Time::ZERO, request: 0 };
    let again = restarted.guest("meter", 1);
    assert_ne!(guest.epoch, again.epoch);
    assert_eq!(restarted.call(&guest, 0), Begin::Unknown(OnceUnknown::Epoch));
    assert_eq!(restarted.call(&guest, 7), Begin::Unknown(OnceUnknown::Epoch));
    restarted.run(&again, 0);
    // Opening again changes nothing while the instance is remembered.
    assert_eq!(house.guest("meter", 1).epoch, guest.epoch);
    assert!(house.is_replayed(&guest, 0));
}

#[test]
fn what_is_acknowledged_is_forgotten_and_never_run_again() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    for sequence in 0..3 {
        house.serve(&guest, sequence, b"0123456789");
    }
    assert_eq!(house.window.sizes(), (3, 30, 1));
    // By count: 0. By itself: 2, and 9, which never came.
    let header = guest.header(3, 1, &[2, 9]);
    let Begin::Run(ticket) = house.begin(&guest, &header) else { panic!() };
    assert_eq!(house.window.sizes(), (4, 10, 1), "1, and 3 that runs; and 2 and 9 without bytes");
    assert!(house.is_forgotten(&guest, 0) && house.is_forgotten(&guest, 2) && house.is_forgotten(&guest, 9));
    assert!(house.is_replayed(&guest, 1));
    // A call that runs and is given up leaves no reply.
    assert_eq!(house.begin(&guest, &guest.header(1, 1, &[3])), Begin::Replay(replied(b"0123456789", &SMALL)));
    house.answer(ticket, b"nobody wants it");
    assert!(house.is_forgotten(&guest, 3));
    // The count takes all of it away.
    assert!(matches!(house.begin(&guest, &guest.header(10, 10, &[])), Begin::Run(_)));
    assert_eq!(house.window.sizes(), (1, 0, 1));
    assert!((0..10).all(|sequence| house.is_forgotten(&guest, sequence)));
}

#[test]
fn tombstones_go_where_the_count_reaches_them() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    for sequence in 0..50 {
        house.serve(&guest, sequence, b"x");
        let acknowledges = guest.header(sequence + 1, 0, &[sequence]);
        let Begin::Run(ticket) = house.begin(&guest, &acknowledges) else { panic!() };
        house.window.withdraw(house.now, ticket);
        assert_eq!(house.window.sizes(), (0, 0, 1), "{sequence}");
    }
}

#[test]
fn a_call_that_was_withdrawn_may_come_again() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    let ticket = house.run(&guest, 0);
    house.window.withdraw(house.now, ticket);
    assert_eq!(house.window.sizes(), (0, 0, 1));
    let ticket = house.run(&guest, 0);
    // Unless it was given up meanwhile.
    house.serve(&guest, 1, b"");
    house.begin(&guest, &guest.header(1, 0, &[0]));
    house.window.withdraw(house.now, ticket);
    assert!(house.is_forgotten(&guest, 0));
}

#[test]
fn calls_of_an_identity_are_bounded_and_the_oldest_answered_one_goes() {
    let mut house = House::new();
    let (one, two) = (house.guest("meter", 1), house.guest("meter", 2));
    let ticket = house.run(&one, 0);
    house.serve(&one, 1, b"");
    house.wait(1);
    house.serve(&two, 0, b"");
    house.serve(&two, 1, b"");
    assert!(house.is_replayed(&one, 1));
    // The fifth takes the place of the oldest that does not run.
    let second = house.run(&two, 2);
    assert!(house.is_forgotten(&one, 1) && house.is_replayed(&two, 1));
    let (third, fourth) = (house.run(&two, 3), house.run(&two, 4));
    assert!(house.is_forgotten(&two, 0) && house.is_forgotten(&two, 1));
    // Calls that run are never forgotten: there is no room then.
    let Begin::Full(refusal) = house.call(&one, 2) else { panic!() };
    assert_eq!(refusal.setting, "max_identity_remembered");
    assert_eq!(CallError::from(refusal).status, Status::Unavailable);
    assert_eq!(house.call(&one, 0), Begin::Join(0));
    for ticket in [ticket, second, third, fourth] {
        house.answer(ticket, b"");
    }
    house.run(&one, 2);
}

#[test]
fn bytes_of_an_identity_are_bounded_and_a_reply_that_is_too_long_is_not_kept() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    house.serve(&guest, 0, &[0; 50]);
    house.serve(&guest, 1, &[0; 50]);
    assert_eq!(house.window.sizes(), (2, 100, 1));
    let ticket = house.run(&guest, 2);
    house.answer(ticket, &[0; 101]);
    assert!(house.is_forgotten(&guest, 2) && house.is_replayed(&guest, 0));
    house.serve(&guest, 3, &[0]);
    assert!(house.is_forgotten(&guest, 0) && house.is_replayed(&guest, 1) && house.is_replayed(&guest, 3));
    assert_eq!(house.window.sizes().1, 51);
}

#[test]
fn bytes_of_requests_count_while_they_run() {
    let mut house = House::new();
    let (guest, other) = (house.guest("meter", 1), house.guest("other", 1));
    house.serve(&guest, 0, &[0; 50]);
    house.request = 50;
    let ticket = house.run(&guest, 1);
    assert_eq!(house.window.sizes(), (2, 100, 2));
    // A reply gives its place up, a request does not.
    house.request = 1;
    let second = house.run(&guest, 2);
    assert!(house.is_forgotten(&guest, 0));
    house.request = 50;
    assert_eq!(
        house.call(&guest, 3),
        Begin::Full(OnceRefusal { setting: "max_identity_remembered_bytes", for_good: false })
    );
    house.request = 100;
    let refused = house.call(&other, 0);
    assert_eq!(refused, Begin::Full(OnceRefusal { setting: "max_remembered_bytes", for_good: false }));
    house.window.withdraw(house.now, second);
    house.run(&other, 0);
    assert_eq!(house.window.sizes().1, 150);
    house.answer(ticket, &[0; 3]);
    assert_eq!(house.window.sizes().1, 103);
    house.request = 101;
    let Begin::Full(refusal) = house.call(&guest, 4) else { panic!() };
    assert_eq!((refusal.for_good, CallError::from(refusal).status), (true, Status::LimitReached));
}

#[test]
fn nobody_is_disturbed_by_what_others_do() {
    let mut house = House::new();
    let victim = house.guest("meter", 1);
    house.serve(&victim, 0, &[0; 60]);
    let ticket = house.run(&victim, 1);
    // The same instance id, and another identity: other calls, whatever it names.
    let thief = house.guest("thief", 1);
    assert_ne!(thief.epoch, victim.epoch);
    let stolen = Guest { epoch: victim.epoch, ..thief.clone() };
    assert_eq!(house.call(&stolen, 0), Begin::Unknown(OnceUnknown::Epoch));
    house.serve(&thief, 0, &[0; 91]);
    assert_eq!(house.window.sizes(), (2, 60, 2), "its own reply has no room beside the victim's");
    for sequence in 1..20 {
        house.serve(&thief, sequence, &[0; 10]);
    }
    house.begin(&thief, &thief.header(20, u64::MAX, &[0, 1, 2, u64::MAX]));
    assert!(house.is_forgotten(&thief, u64::MAX));
    house.guest("thief", 2);
    // Others have their places out of what the thief does not use, and never the victim's.
    for other in ["another", "a third", "a fourth"] {
        house.guest(other, 1);
    }
    assert!(house.is_replayed(&victim, 0));
    assert_eq!(house.call(&victim, 1), Begin::Join(1));
    house.answer(ticket, b"");
    assert!(house.is_replayed(&victim, 1));
}

#[test]
fn calls_of_all_are_bounded_and_whoever_has_nothing_to_give_up_is_refused() {
    let mut house = House::new();
    let (one, two) = (house.guest("one", 1), house.guest("two", 1));
    for sequence in 0..4 {
        house.run(&one, sequence);
    }
    house.run(&two, 0);
    house.serve(&two, 1, b"");
    // Its own answered call goes, and not one of the other.
    house.run(&two, 2);
    assert!(house.is_forgotten(&two, 1));
    let Begin::Full(refusal) = house.call(&two, 3) else { panic!() };
    assert_eq!(refusal.setting, "max_remembered");
}

#[test]
fn instances_of_an_identity_are_bounded_and_the_one_used_longest_ago_goes() {
    let mut house = House::new();
    let (one, two) = (house.guest("meter", 1), house.guest("meter", 2));
    house.serve(&two, 0, b"two");
    house.wait(1);
    let ticket = house.run(&one, 0);
    let three = house.guest("meter", 3);
    assert_eq!(house.call(&two, 0), Begin::Unknown(OnceUnknown::Epoch));
    assert_eq!(house.window.sizes(), (1, 0, 2));
    // What was forgotten begins anew, under another epoch.
    let again = house.guest("meter", 2);
    assert_ne!(again.epoch, two.epoch);
    assert_eq!(house.call(&three, 0), Begin::Unknown(OnceUnknown::Epoch));
    assert_eq!(house.call(&two, 0), Begin::Unknown(OnceUnknown::Epoch));
    house.run(&again, 0);
    // Both have a call that runs.
    let refused = house.window.open(house.now, &one.peer, three.instance).unwrap_err();
    assert_eq!(refused.setting, "max_identity_instances");
    house.answer(ticket, b"one");
}

#[test]
fn an_identity_without_an_instance_has_the_place_of_an_empty_one_and_of_no_other() {
    let mut house = House::new();
    let few = house.guest("few", 1);
    house.wait(1);
    let (one, two) = (house.guest("many", 1), house.guest("many", 2));
    let ticket = house.run(&two, 0);
    // Whoever holds the most gives first, though others have not used theirs for longer, and nothing that is at work.
    let third = house.guest("third", 1);
    assert_eq!(house.call(&one, 0), Begin::Unknown(OnceUnknown::Epoch));
    assert_eq!(house.call(&two, 0), Begin::Join(0));
    // Between equals it is the one that was used longest ago.
    house.wait(1);
    assert_eq!(house.guest("few", 1).epoch, few.epoch);
    let fourth = house.guest("fourth", 1);
    assert_eq!(house.call(&third, 0), Begin::Unknown(OnceUnknown::Epoch));
    // A call that runs and replies that wait keep their instances, whatever comes.
    house.serve(&few, 0, b"");
    house.serve(&fourth, 0, b"");
    let stranger = PeerIdentity::Psk("stranger".to_owned());
    let refused = house.window.open(house.now, &stranger, fourth.instance).unwrap_err();
    assert_eq!(refused.setting, "max_instances");
    house.answer(ticket, b"");
    assert!(house.is_replayed(&few, 0) && house.is_replayed(&two, 0) && house.is_replayed(&fourth, 0));
    assert!(house.window.open(house.now, &stranger, fourth.instance).is_err());
    // What is acknowledged is no reason any more. The client has another epoch, and runs nothing under the old one.
    house.begin(&few, &few.header(0, 1, &[]));
    house.guest("stranger", 1);
    assert_eq!(house.call(&few, 1), Begin::Unknown(OnceUnknown::Epoch));
    assert_eq!(house.window.sizes(), (2, 0, 3));
}

#[test]
fn what_is_over_is_no_reason_to_keep_an_instance() {
    let mut house = House::new();
    let [one, two, three] = ["one", "two", "three"].map(|name| house.guest(name, 1));
    for guest in [&one, &two, &three] {
        house.serve(guest, 1, b"");
    }
    let stranger = PeerIdentity::Psk("stranger".to_owned());
    assert_eq!(house.window.open(house.now, &stranger, one.instance).unwrap_err().setting, "max_instances");
    // Its client has the reply, and the call before it was never made: what stays is that it must not run.
    assert_eq!(house.begin(&two, &two.header(1, 0, &[1])), Begin::Unknown(OnceUnknown::Forgotten));
    house.window.open(house.now, &stranger, one.instance).unwrap();
    assert_eq!(house.call(&two, 2), Begin::Unknown(OnceUnknown::Epoch));
    assert!(house.is_replayed(&one, 1) && house.is_replayed(&three, 1));
}

#[test]
fn however_many_instances_some_identities_hold_there_are_free_ones_for_others() {
    let settings = OnceSettings { max_instances: 100, max_identity_instances: 50, ..OnceSettings::default() };
    let mut house = House { window: OnceWindow::new(settings, Epoch::from_bytes([1; 16])), ..House::new() };
    for peer in ["one", "two", "three", "four"] {
        for instance in 0..50 {
            let guest = house.guest(peer, instance);
            house.serve(&guest, 0, b"nobody acknowledges it");
        }
    }
    let (.., instances) = house.window.sizes();
    assert!((95..100).contains(&instances), "{instances}");
    // And none of those that came later has one of the others' places.
    let guest = house.guest("fifth", 1);
    house.serve(&guest, 0, b"");
    assert_eq!(house.window.sizes().2, instances + 1);
}

#[test]
fn what_is_older_than_remember_for_is_forgotten_but_for_what_runs() {
    let mut house = House::new();
    let (one, two) = (house.guest("meter", 1), house.guest("other", 1));
    let ticket = house.run(&one, 0);
    house.serve(&one, 1, b"x");
    house.serve(&two, 0, b"x");
    house.wait(9);
    assert!(house.is_replayed(&one, 1));
    house.wait(1);
    house.window.expire(house.now);
    assert!(house.is_forgotten(&one, 1));
    assert_eq!(house.call(&two, 0), Begin::Unknown(OnceUnknown::Epoch), "nobody had used it for so long");
    house.wait(100);
    assert_eq!(house.call(&one, 0), Begin::Join(0));
    house.answer(ticket, b"late");
    assert!(house.is_replayed(&one, 0));
    // It happens by itself as others call.
    house.wait(20);
    let two = house.guest("other", 1);
    house.run(&two, 0);
    assert_eq!(house.window.sizes(), (1, 0, 1));
}

#[test]
fn a_reply_is_remembered_and_given_again_without_a_copy() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    let ticket = house.run(&guest, 0);
    let reply = replied(&[7; 60], &SMALL);
    house.window.answer(house.now, ticket, reply.clone());
    assert_eq!(house.window.sizes(), (1, 60, 1));
    let at = |reply: &OnceReply| reply.outcome().unwrap().body.as_ptr();
    for _ in 0..2 {
        let Begin::Replay(remembered) = house.call(&guest, 0) else { panic!() };
        assert_eq!(at(&remembered), at(&reply));
    }
}

#[test]
fn a_call_below_what_made_room_for_it_does_not_run() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    (5..9).for_each(|sequence| house.serve(&guest, sequence, b""));
    // The oldest goes to make room, and what is below it is over with it.
    assert!(house.is_forgotten(&guest, 4));
    assert!(house.is_forgotten(&guest, 5) && house.is_replayed(&guest, 6));
}

#[test]
fn a_call_that_is_acknowledged_again_and_again_stays_over() {
    for (below, also) in [(0, [5]), (3, [5]), (5, [5])] {
        let mut house = House::new();
        let guest = house.guest("meter", 1);
        house.serve(&guest, 5, b"done");
        for sequence in 7..9 {
            let header = guest.header(sequence, below, &also);
            assert!(matches!(house.begin(&guest, &header), Begin::Run(_)), "{below} {sequence}");
            assert!(house.is_forgotten(&guest, 5), "{below} {sequence}");
        }
    }
    // The count and the list say it at once, of a call that is over by the list alone so far.
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    house.begin(&guest, &guest.header(7, 0, &[5]));
    house.begin(&guest, &guest.header(8, 5, &[5]));
    assert!(house.is_forgotten(&guest, 5));
}

#[test]
fn a_reply_as_long_as_an_identity_may_hold_is_remembered_and_a_longer_one_is_not() {
    let mut house = House::new();
    let guest = house.guest("meter", 1);
    house.serve(&guest, 0, &[7; 100]);
    assert!(house.is_replayed(&guest, 0));
    house.serve(&guest, 1, &[7; 101]);
    assert!(house.is_forgotten(&guest, 1));
}

#[test]
fn bytes_of_all_are_bounded_and_a_reply_that_fills_them_is_remembered() {
    let mut house = House::new();
    let (one, two) = (house.guest("one", 1), house.guest("two", 1));
    house.serve(&one, 0, &[7; 100]);
    house.serve(&two, 0, &[7; 50]);
    assert_eq!(house.window.sizes(), (2, 150, 2));
    assert!(house.is_replayed(&one, 0) && house.is_replayed(&two, 0));
    // A byte more takes the place of its own, though it alone holds less than it may.
    house.serve(&two, 1, &[7]);
    assert!(house.is_replayed(&one, 0) && house.is_forgotten(&two, 0) && house.is_replayed(&two, 1));
    assert_eq!(house.window.sizes(), (2, 101, 2));
}

/// Whoever finds no place looks for an empty instance where there is one, and nowhere else.
#[test]
fn an_instance_that_is_gone_is_no_empty_one() {
    let mut house = House::new();
    let empty = |house: &mut House, peer, instance| {
        house.guest(peer, instance);
        let all = house.window.owners.values().flat_map(|owner| owner.instances.values());
        assert_eq!(all.filter(|one| one.held == 0).count(), house.window.empty, "{peer} {instance}");
        house.window.empty
    };
    assert_eq!((empty(&mut house, "one", 1), empty(&mut house, "one", 2)), (1, 2));
    // In the place of its own, in that of another identity's, and after those that are too old.
    assert_eq!(empty(&mut house, "one", 3), 2);
    assert_eq!((empty(&mut house, "two", 1), empty(&mut house, "three", 1)), (3, 3));
    house.wait(10);
    assert_eq!(empty(&mut house, "four", 1), 1);
}

/// At its share exactly the identity gives a place of its own, not one of those that are free.
#[test]
fn an_identity_holds_four_times_the_places_that_it_leaves_free_and_no_more() {
    for (max_instances, held) in [(5, 4), (6, 4), (10, 8), (11, 8)] {
        let settings = OnceSettings { max_instances, max_identity_instances: max_instances, ..OnceSettings::default() };
        let mut house = House { window: OnceWindow::new(settings, Epoch::from_bytes([1; 16])), ..House::new() };
        for instance in 0..20 {
            house.guest("many", instance);
        }
        assert_eq!(house.window.sizes().2, held, "of {max_instances}");
    }
}

/// An identity without an instance has the place of an empty one: which are empty is counted as their calls come and go.
#[test]
fn an_instance_is_empty_from_its_last_call_to_its_next() {
    let mut house = House::new();
    let (one, _) = (house.guest("one", 1), house.guest("two", 1));
    assert_eq!(house.window.empty, 2);
    let (first, second) = (house.run(&one, 0), house.run(&one, 1));
    assert_eq!(house.window.empty, 1, "that of the other");
    house.answer(first, b"done");
    house.window.withdraw(house.now, second);
    assert_eq!(house.window.empty, 1, "a reply is remembered");
    let Begin::Run(last) = house.begin(&one, &one.header(1, 1, &[])) else { panic!() };
    house.window.withdraw(house.now, last);
    assert_eq!(house.window.empty, 2);
}
