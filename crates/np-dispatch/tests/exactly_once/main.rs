//! Every order of events of exactly-once calls within bounds, walked through on the real state machines of both sides: no
//! call runs twice, and none is lost. With a part of them broken the walk finds an order in which it matters.

#![allow(clippy::print_stdout, reason = "how far the walks went is told")]

mod model;

use model::{
    ANSWERED_RAN, Budget, DISPLACED, Fault, House, JOINS, MOVES, ONCE, OWED, REPLAYS, Sight, UNKNOWN, UNPROCESSED,
};
use stateright::{Checker as _, HasDiscoveries, Model as _};

const PLENTY: usize = 64;

/// One server, and one call of each client.
fn house(budget: Budget, sights: &[Sight]) -> House {
    let (max_calls, max_instances) = (PLENTY, PLENTY);
    House { servers: 1, calls: [1, 1], budget, max_calls, max_instances, fault: Fault::None, sights: sights.to_vec() }
}

/// Walks through all states; every property holds, and every sight is seen.
fn walk(house: House) {
    let budget = house.budget;
    let checker = house.checker().spawn_bfs().join();
    checker.assert_properties();
    println!("{budget:?}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    assert!(checker.unique_state_count() > 1_000, "the walk is short");
}

/// Walks until the property does not hold.
fn finds(house: House, fault: Fault, property: &'static str) {
    let broken = House { fault, sights: Vec::new(), ..house };
    let checker = broken.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "{fault:?} breaks nothing");
}

#[test]
fn two_clients_lose_connections_at_every_step() {
    let budget = Budget { losses: 3, ..Budget::default() };
    walk(house(budget, &[JOINS, REPLAYS]));
    let budget = Budget { losses: 1, ..budget };
    walk(House { calls: [2, 1], ..house(budget, &[JOINS, REPLAYS]) });
}

#[test]
fn a_server_restarts_at_every_step() {
    let budget = Budget { losses: 2, restarts: 1, ..Budget::default() };
    walk(house(budget, &[JOINS, REPLAYS, UNKNOWN]));
}

#[test]
fn a_server_forgets_at_every_step() {
    let budget = Budget { losses: 2, evictions: 1, ..Budget::default() };
    walk(house(budget, &[JOINS, REPLAYS, UNKNOWN]));
}

#[test]
fn calls_are_given_up_at_every_step() {
    let budget = Budget { losses: 1, give_ups: 1, evictions: 1, ..Budget::default() };
    walk(house(budget, &[JOINS, REPLAYS, UNKNOWN]));
}

#[test]
fn a_server_drains_at_every_step_and_clients_move_to_another() {
    let budget = Budget { losses: 1, drains: 1, ..Budget::default() };
    walk(House { servers: 2, ..house(budget, &[MOVES, UNKNOWN]) });
}

#[test]
fn a_server_drains_and_restarts_at_every_step() {
    let budget = Budget { restarts: 1, drains: 1, ..Budget::default() };
    walk(House { servers: 2, ..house(budget, &[MOVES, UNKNOWN]) });
}

#[test]
fn calls_take_each_others_place_at_every_step() {
    let budget = Budget { losses: 1, ..Budget::default() };
    walk(House { calls: [2, 1], max_calls: 1, ..house(budget, &[UNKNOWN]) });
}

#[test]
fn strangers_take_the_places_of_clients_at_every_step() {
    let budget = Budget { losses: 1, strangers: 2, ..Budget::default() };
    walk(House { max_instances: 2, ..house(budget, &[DISPLACED, JOINS, REPLAYS, UNKNOWN]) });
    let budget = Budget { losses: 0, strangers: 1, ..budget };
    walk(House { max_instances: 2, calls: [2, 1], ..house(budget, &[DISPLACED]) });
}

#[test]
fn each_rule_is_needed() {
    let restart = Budget { losses: 1, restarts: 1, ..Budget::default() };
    finds(house(restart, &[]), Fault::SameEpoch, ONCE);
    finds(house(restart, &[]), Fault::NewNumber, ONCE);
    finds(house(restart, &[]), Fault::LostIsNotProcessed, ONCE);
    let forget = Budget { losses: 1, evictions: 1, ..Budget::default() };
    finds(house(forget, &[]), Fault::NoFloor, ONCE);
    finds(house(forget, &[]), Fault::NoJoin, ANSWERED_RAN);
    let crowd = House { max_instances: 2, ..house(Budget { losses: 1, strangers: 1, ..Budget::default() }, &[]) };
    finds(crowd, Fault::NothingKept, OWED);
    let given_up = Budget { give_ups: 1, ..restart };
    finds(house(given_up, &[]), Fault::LostIsNotProcessed, UNPROCESSED);
}
