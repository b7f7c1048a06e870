//! Presence by itself: what those are told who watch a user, and when.

use super::*;
use crate::testing::Ground;

const CHANNEL: u32 = 7;
const OFFLINE_AFTER: Duration = Duration::from_secs(5);

fn ann() -> UserId {
    UserId::try_from("ann").unwrap()
}

/// A user who is connected and watched.
fn watched() -> (Presence, Ground) {
    let (mut presence, turn) = (Presence::new(HashKey::new([7; 16])), Ground::new());
    assert_eq!(turn.settings.namespaces.offline_after, OFFLINE_AFTER);
    assert_eq!(&*presence.watch(&ann(), CHANNEL, true), ONLINE);
    (presence, turn)
}

/// What is told while so much time passes, looking whenever something is due.
fn told(presence: &mut Presence, turn: &mut Ground, passes: Duration) -> Vec<String> {
    let until = turn.now.time + passes;
    let mut told = Vec::new();
    while let Some(due) = presence.due().filter(|&due| due <= until) {
        turn.now.time = due.max(turn.now.time);
        for one in presence.take_due(&turn.turn()) {
            assert_eq!((one.channel, one.user), (CHANNEL, ann()));
            told.push(one.state.into_string());
        }
    }
    turn.now.time = until;
    told
}

#[test]
fn what_a_user_says_is_told_once_and_soon() {
    let (mut presence, mut turn) = watched();
    presence.say(&turn.turn(), &ann(), "away".to_owned());
    assert!(told(&mut presence, &mut turn, ONLINE_AFTER / 2).is_empty());
    assert_eq!(told(&mut presence, &mut turn, ONLINE_AFTER), ["away"]);
    presence.say(&turn.turn(), &ann(), "away".to_owned());
    assert!(told(&mut presence, &mut turn, OFFLINE_AFTER * 2).is_empty());
}

#[test]
fn of_many_changes_only_the_last_is_told() {
    let (mut presence, mut turn) = watched();
    for state in ["busy", "away", "online", "in a call"] {
        presence.say(&turn.turn(), &ann(), state.to_owned());
    }
    assert_eq!(turn.counters.states_coalesced.get(), 3);
    assert_eq!(told(&mut presence, &mut turn, OFFLINE_AFTER), ["in a call"]);
    presence.say(&turn.turn(), &ann(), "busy".to_owned());
    presence.say(&turn.turn(), &ann(), "in a call".to_owned());
    assert!(told(&mut presence, &mut turn, OFFLINE_AFTER).is_empty(), "it is what was told last");
}

#[test]
fn a_user_who_comes_back_in_time_was_never_away() {
    let (mut presence, mut turn) = watched();
    for _ in 0..3 {
        presence.went(&turn.turn(), &ann());
        assert!(told(&mut presence, &mut turn, OFFLINE_AFTER / 2).is_empty());
        presence.came(&turn.turn(), &ann());
        assert!(told(&mut presence, &mut turn, OFFLINE_AFTER / 4).is_empty());
    }
    assert!(told(&mut presence, &mut turn, OFFLINE_AFTER * 2).is_empty());
}

#[test]
fn a_user_is_offline_only_after_the_whole_time_since_it_went_last() {
    let (mut presence, mut turn) = watched();
    presence.went(&turn.turn(), &ann());
    told(&mut presence, &mut turn, OFFLINE_AFTER - Duration::from_secs(1));
    presence.came(&turn.turn(), &ann());
    presence.went(&turn.turn(), &ann());
    assert!(told(&mut presence, &mut turn, OFFLINE_AFTER - Duration::from_secs(1)).is_empty());
    assert_eq!(told(&mut presence, &mut turn, Duration::from_secs(1)), ["offline"]);
    assert!(told(&mut presence, &mut turn, OFFLINE_AFTER * 2).is_empty(), "told once");
    presence.came(&turn.turn(), &ann());
    assert_eq!(told(&mut presence, &mut turn, OFFLINE_AFTER), ["online"]);
}

#[test]
fn what_was_said_is_forgotten_with_the_last_session() {
    let (mut presence, mut turn) = watched();
    presence.say(&turn.turn(), &ann(), "away".to_owned());
    presence.went(&turn.turn(), &ann());
    assert_eq!(told(&mut presence, &mut turn, OFFLINE_AFTER), ["offline"]);
    presence.came(&turn.turn(), &ann());
    assert_eq!(told(&mut presence, &mut turn, OFFLINE_AFTER), ["online"]);
    assert!(presence.said.is_empty());
}

#[test]
fn who_watches_later_is_told_what_was_said_before() {
    let (mut presence, mut turn) = (Presence::new(HashKey::new([7; 16])), Ground::new());
    presence.came(&turn.turn(), &ann());
    presence.say(&turn.turn(), &ann(), "away".to_owned());
    assert_eq!(presence.due(), None, "nobody watches");
    assert_eq!(&*presence.watch(&ann(), CHANNEL, true), "away");
    let bob = UserId::try_from("bob").unwrap();
    assert_eq!(&*presence.watch(&bob, CHANNEL + 1, false), OFFLINE);
}

#[test]
fn what_was_due_for_those_who_watched_before_is_not_told_to_others() {
    let (mut presence, mut turn) = watched();
    presence.say(&turn.turn(), &ann(), "busy".to_owned());
    presence.unwatch("ann");
    assert_eq!(&*presence.watch(&ann(), CHANNEL, true), "busy");
    presence.say(&turn.turn(), &ann(), "away".to_owned());
    assert_eq!(told(&mut presence, &mut turn, OFFLINE_AFTER), ["away"]);
}

#[test]
fn a_herd_is_told_a_few_in_a_turn() {
    let (mut presence, mut turn) = (Presence::new(HashKey::new([7; 16])), Ground::new());
    let users: Vec<UserId> = (0..2 * DUE_PER_TURN_MAX + 1)
        .map(|user| UserId::try_from(user.to_string().as_str()).unwrap())
        .collect();
    for user in &users {
        presence.watch(user, CHANNEL, false);
        presence.came(&turn.turn(), user);
    }
    turn.now.time = turn.now.time + ONLINE_AFTER;
    let turns: Vec<usize> = (0..4).map(|_| presence.take_due(&turn.turn()).len()).collect();
    assert_eq!(turns, [DUE_PER_TURN_MAX, DUE_PER_TURN_MAX, 1, 0]);
    assert_eq!(presence.due(), None);
}
