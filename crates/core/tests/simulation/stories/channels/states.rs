//! What users are doing: in a channel, and in general.

use std::time::Duration;

use campanile_protocol::messages::Encoding::{Json, Protobuf};

use crate::support::channels::{channel, everything, grants};
use crate::support::{Entry, Gateway, Setup};

/// Longer than it takes to say that somebody has come, shorter than that somebody has gone.
const SOON: Duration = Duration::from_secs(1);
/// Longer than it takes to say that somebody has gone.
const LATER: Duration = Duration::from_secs(7);

#[test]
fn typing_reaches_the_subscribers_of_the_channel_and_nobody_else() {
    let mut gateway = Setup::shards(3).start();
    let devices: Vec<usize> = (0..6)
        .map(|number| {
            let name = gateway.user_of(number % 3, number / 3);
            gateway.subscriber(&name, 1, "room:1")
        })
        .collect();
    let typist = gateway.user_of(1, 0);
    let outsider = gateway.subscriber("outsider", 1, "room:2");
    gateway[devices[1]].set_state("room:1", "typing");
    gateway[outsider].set_state("room:1", "calling");
    gateway.settle();
    for device in devices {
        assert_eq!(gateway[device].states("room:1"), [(typist.as_str(), "typing")]);
        let from = gateway[device].events()[0].from.clone().unwrap();
        assert_eq!(from.device, 1);
    }
    assert_eq!(gateway[outsider].events().len(), 0);
    assert_eq!(gateway[outsider].refused(), [("calling", "not_subscribed")]);
    gateway.ends_forgotten();
}

#[test]
fn the_same_state_is_said_at_most_once_a_second() {
    let mut gateway = Setup::shards(2).start();
    let (ada, bob) = (gateway.subscriber("ada", 1, "room:1"), gateway.subscriber("bob", 1, "room:1"));
    for _ in 0..10 {
        gateway[ada].set_state("room:1", "typing");
        gateway.settle();
    }
    assert_eq!(gateway[bob].states("room:1"), [("ada", "typing")]);
    gateway[ada].set_state("room:1", "recording");
    gateway[bob].set_state("room:1", "typing");
    gateway.settle();
    let all = [("ada", "typing"), ("ada", "recording"), ("bob", "typing")];
    let mut told = gateway[bob].states("room:1");
    told.sort_unstable_by_key(|told| all.iter().position(|known| known == told));
    assert_eq!(told, all);
    gateway.wait(Duration::from_secs(2));
    gateway[ada].set_state("room:1", "typing");
    gateway.settle();
    assert_eq!(gateway[bob].states("room:1").len(), 4, "after a while it is said again");
    gateway.ends_forgotten();
}

#[test]
fn typing_is_not_replayed_and_takes_no_number() {
    let setup = Setup::shards(3).namespace("room", |namespace| namespace.history_messages_max = 100);
    let mut gateway = setup.start();
    let ada = gateway.subscriber("ada", 1, "room:1");
    let one = gateway.publish("room:1", "one");
    gateway[ada].set_state("room:1", "typing");
    gateway.settle();
    let two = gateway.publish("room:1", "two");
    assert_eq!(two.offset, 2);
    gateway[ada].set_state("room:1", "recording");
    gateway.wait(Duration::from_secs(12));
    for shard in 0..3 {
        let name = gateway.user_of(shard, 9);
        let late = gateway.member(&name, 1);
        gateway[late].subscribe_since("room:1", one);
        gateway.settle();
        assert_eq!(gateway[late].heard_kinds("room:1"), ["two"]);
        assert_eq!(gateway[late].states("room:1"), []);
        gateway[late].unsubscribe("room:1");
        gateway[late].subscribe_newest("room:1", 100);
        gateway.settle();
        assert_eq!(gateway[late].heard_kinds("room:1"), ["two", "one", "two"]);
        assert_eq!(gateway[late].states("room:1"), []);
    }
    let history = gateway.history("room:1", None, 100);
    assert_eq!(history.messages.len(), 2);
    gateway.ends_forgotten();
}

#[test]
fn a_state_that_is_none_is_refused() {
    let mut gateway = Setup::shards(2).start();
    let ada = gateway.subscriber("ada", 1, "room:1");
    gateway[ada].set_state("room:1", "");
    gateway[ada].set_state("room:1", &"x".repeat(33));
    gateway[ada].set_state("", "a\nb");
    gateway[ada].set_state("presence:bob", "online");
    gateway.settle();
    let reasons: Vec<&str> = gateway[ada].refused().iter().map(|refused| refused.1).collect();
    assert_eq!(reasons, ["invalid_field", "invalid_field", "invalid_field", "channel_reserved"]);
    assert_eq!(gateway[ada].events().len(), 0);
    gateway.ends_forgotten();
}

#[test]
fn what_a_user_has_said_is_forgotten_with_the_last_session_also_when_that_is_replaced() {
    let mut gateway = Setup::shards(2).start();
    let watcher = gateway.subscriber("ada", 1, "presence:bob");
    let phone = gateway.member("bob", 1);
    gateway[phone].set_state("", "away");
    gateway.wait(SOON);
    let again = gateway.member("bob", 1);
    gateway.wait(SOON);
    assert_eq!(gateway[phone].code(), Some(4409));
    let states: Vec<&str> = gateway[watcher].states("presence:bob").iter().map(|told| told.1).collect();
    assert_eq!(states, ["offline", "away", "online"]);
    // With another session left, what was said counts on.
    gateway[again].set_state("", "away");
    gateway.member("bob", 2);
    gateway.member("bob", 1);
    gateway.wait(SOON);
    let states: Vec<&str> = gateway[watcher].states("presence:bob").iter().map(|told| told.1).collect();
    assert_eq!(states, ["offline", "away", "online", "away"]);
    gateway.ends_forgotten();
}

#[test]
fn who_watches_a_user_hears_the_present_state_first_and_then_every_change() {
    let mut gateway = Setup::shards(3).start();
    let watchers: Vec<usize> = (0..3)
        .map(|shard| {
            let name = gateway.user_of(shard, 0);
            gateway.subscriber(&name, 1, "presence:bob")
        })
        .collect();
    let told = |gateway: &Gateway, expected: &[&str]| {
        for &watcher in &watchers {
            let states = gateway[watcher].states("presence:bob");
            assert_eq!(states, expected.iter().map(|&state| ("bob", state)).collect::<Vec<_>>());
        }
    };
    told(&gateway, &["offline"]);
    let phone = gateway.member("bob", 1);
    gateway.wait(SOON);
    told(&gateway, &["offline", "online"]);
    let laptop = gateway.member("bob", 2);
    gateway.wait(SOON);
    told(&gateway, &["offline", "online"]);
    gateway[laptop].set_state("", "away");
    gateway.wait(SOON);
    told(&gateway, &["offline", "online", "away"]);
    // One of two devices leaves: the user is still there.
    gateway.hang_up(laptop, false);
    gateway.wait(LATER);
    told(&gateway, &["offline", "online", "away"]);
    gateway[phone].set_state("", "online");
    gateway.wait(SOON);
    told(&gateway, &["offline", "online", "away", "online"]);
    gateway.hang_up(phone, true);
    gateway.wait(SOON);
    told(&gateway, &["offline", "online", "away", "online"]);
    gateway.wait(LATER);
    told(&gateway, &["offline", "online", "away", "online", "offline"]);
    // Who comes later hears only what is.
    let late = gateway.subscriber("late", 1, "presence:bob");
    assert_eq!(gateway[late].states("presence:bob"), [("bob", "offline")]);
    gateway.ends_forgotten();
}

#[test]
fn what_a_user_says_does_not_outlive_the_last_session() {
    let mut gateway = Setup::shards(2).start();
    let bob = gateway.member("bob", 1);
    gateway[bob].set_state("", "busy");
    gateway.settle();
    let ada = gateway.subscriber("ada", 1, "presence:bob");
    assert_eq!(gateway[ada].states("presence:bob"), [("bob", "busy")]);
    gateway.hang_up(bob, false);
    gateway.wait(LATER);
    gateway.member("bob", 1);
    gateway.wait(SOON);
    assert_eq!(gateway[ada].states("presence:bob"), [("bob", "busy"), ("bob", "offline"), ("bob", "online")]);
    gateway.ends_forgotten();
}

#[test]
fn who_is_back_at_once_was_never_gone() {
    let mut gateway = Setup::shards(2).start();
    let mut bob = gateway.member("bob", 1);
    let ada = gateway.subscriber("ada", 1, "presence:bob");
    for _ in 0..5 {
        gateway.hang_up(bob, true);
        gateway.wait(SOON);
        bob = gateway.member("bob", 1);
        gateway.wait(SOON);
    }
    gateway.wait(LATER);
    assert_eq!(gateway[ada].states("presence:bob"), [("bob", "online")]);
    gateway.ends_forgotten();
}

#[test]
fn a_status_has_no_messages_and_needs_a_grant() {
    let mut gateway = Setup::shards(2).start();
    let ada = gateway.device_with("ada", 1, Protobuf, &grants(&["presence:bob"], &["*"], &[]));
    gateway[ada].subscribe("presence:bob");
    gateway[ada].subscribe("presence:cyd");
    gateway[ada].publish("presence:bob", "hello");
    gateway.settle();
    assert_eq!(
        gateway[ada].refused(),
        [("presence:cyd", "channel_forbidden"), ("hello", "channel_reserved")]
    );
    let name = channel("presence:bob");
    assert_eq!(gateway.home.of_channel(&name), gateway.home.of(&crate::support::user("bob")));
    gateway.ends_forgotten();
}

/// So many users who all are watched by one.
const HERD: usize = 500;

/// They come at once.
fn herd_comes(gateway: &mut Gateway) -> Vec<usize> {
    let shards = gateway.counters.len();
    let enter = |number| {
        let token = gateway.token_with(&format!("cow {number}"), 1, 3_600, &everything());
        gateway.enter(number % shards, Protobuf, Entry::Header(token))
    };
    (0..HERD).map(enter).collect()
}

#[test]
fn a_herd_that_comes_back_is_coalesced_and_delays_no_message() {
    let mut setup = Setup::shards(2).limits(|limits| limits.frames_per_second_max = 1_000);
    setup.namespaces.subscriptions_per_session_max = 1_000;
    (setup.namespaces.offline_after, setup.slots) = (Duration::from_secs(5), 1_200);
    let mut gateway = setup.start();
    let herd = herd_comes(&mut gateway);
    gateway.settle();
    let ada = gateway.subscriber("ada", 1, "news");
    for number in 0..HERD {
        gateway[ada].subscribe(&format!("presence:cow {number}"));
    }
    gateway.settle();
    let events = gateway[ada].events().len();
    assert_eq!(events, HERD);
    // A whole node reconnects: nobody was gone.
    herd.iter().for_each(|&device| gateway.hang_up(device, true));
    gateway.wait(SOON);
    let herd = herd_comes(&mut gateway);
    gateway.wait(LATER);
    assert_eq!(gateway[ada].events().len(), events);
    assert!(gateway.count("states_coalesced") >= HERD as u64);
    // They go for good. All are told, and what is published meanwhile does not wait behind them.
    herd.iter().for_each(|&device| gateway.hang_up(device, true));
    gateway.settle();
    let mut published = 0;
    let mut delayed = 0;
    while gateway[ada].events().len() < events + HERD {
        published += 1;
        assert!(published < 2_000, "not everybody is told: {}", gateway[ada].events().len() - events);
        gateway.ask_publish(vec![crate::support::channels::a_publish("news", &published.to_string())]);
        gateway.steps(24);
        gateway.pump();
        delayed += usize::from(gateway[ada].heard("news").len() < published);
    }
    // Two dozen turns, dealt to two shards by chance, are now and then too few for one of them.
    assert!(delayed <= published / 50, "{delayed} of {published} came late");
    gateway.ends_forgotten();
}

#[test]
fn whoever_may_not_publish_tells_states_only_where_all_may() {
    let mut gateway = Setup::shards(2).namespace("room", |namespace| namespace.states = true).start();
    let reader = gateway.device_with("ada", 1, Json, &grants(&["*"], &[], &[]));
    gateway.subscribes(reader, "room:1");
    gateway.subscribes(reader, "news");
    gateway[reader].set_state("room:1", "typing");
    gateway[reader].set_state("news", "typing");
    gateway.settle();
    assert_eq!(gateway[reader].refused(), [("typing", "channel_forbidden")]);
    assert_eq!(gateway[reader].states("room:1").len(), 1);
    assert!(gateway[reader].states("news").is_empty());
    gateway.ends_forgotten();
}
