//! Who returns gets what was missed, or is told that it cannot be had.

use std::time::Duration;

use campanile_protocol::messages::Position;

use crate::support::channels::{a_publish, position};
use crate::support::{Gateway, Setup};

/// Ten messages in `log:1`, which keeps eight for a minute; and where the channel is.
fn ten() -> (Gateway, Position) {
    let setup = Setup::shards(3).namespace("log", |namespace| {
        namespace.history_messages_max = 8;
        namespace.history_ttl = Duration::from_secs(60);
    });
    let mut gateway = setup.start();
    let batch = (1..=10).map(|number| a_publish("log:1", &number.to_string()));
    let published = gateway.publish_all(batch.collect());
    let last = published.last().unwrap().unwrap();
    assert_eq!(last.offset, 10);
    (gateway, last)
}

/// What a new device of each shard sees that has got this.
fn returns(gateway: &mut Gateway, number: u32, since: Position) -> Vec<(bool, Position, Vec<u64>)> {
    (0..3)
        .map(|shard| {
            let name = gateway.user_of(shard, number as usize);
            let device = gateway.member(&name, 1);
            gateway[device].subscribe_since("log:1", since);
            gateway.settle();
            let subscribed = gateway[device].subscribed("log:1").expect("not subscribed");
            let (recovered, began) = (subscribed.recovered, gateway[device].began("log:1"));
            (recovered, began, gateway[device].heard_offsets("log:1"))
        })
        .collect()
}

#[test]
fn who_missed_what_the_history_has_gets_exactly_that() {
    let (mut gateway, head) = ten();
    for (number, since) in [2, 3, 9, 10].into_iter().enumerate() {
        let missed: Vec<u64> = (since + 1..=10).collect();
        let seen = returns(&mut gateway, number as u32, position(head.epoch, since));
        assert_eq!(seen, vec![(true, head, missed); 3], "since {since}");
    }
    assert_eq!(gateway.count("subscriptions_recovered"), 12);
    // And then what is new.
    gateway.publish("log:1", "11");
    for device in 0..gateway.devices.len() {
        assert_eq!(gateway[device].heard_offsets("log:1").last(), Some(&11));
    }
    gateway.ends_forgotten();
}

#[test]
fn who_missed_more_than_the_history_has_is_told_and_gets_only_what_is_new() {
    let (mut gateway, head) = ten();
    // Too old; from the beginning; of another epoch; beyond the head.
    let wrong = [
        position(head.epoch, 1),
        position(head.epoch, 0),
        position(head.epoch + 1, 9),
        position(head.epoch, 11),
    ];
    for (number, since) in wrong.into_iter().enumerate() {
        let seen = returns(&mut gateway, number as u32, since);
        assert_eq!(seen, vec![(false, head, Vec::new()); 3], "{since:?}");
    }
    assert_eq!(gateway.count("subscriptions_not_recovered"), 12);
    gateway.publish("log:1", "11");
    for device in 0..gateway.devices.len() {
        assert_eq!(gateway[device].heard_offsets("log:1"), [11]);
    }
    gateway.ends_forgotten();
}

#[test]
fn the_newest_come_first_if_one_asks_for_them() {
    let (mut gateway, head) = ten();
    for (number, (newest, expected)) in
        [(0, 11..11), (1, 10..11), (3, 8..11), (8, 3..11), (100, 3..11)].into_iter().enumerate()
    {
        for shard in 0..3 {
            let name = gateway.user_of(shard, number);
            let device = gateway.member(&name, 1);
            gateway[device].subscribe_newest("log:1", newest);
            gateway.settle();
            assert_eq!(gateway[device].began("log:1"), head);
            assert!(!gateway[device].subscribed("log:1").unwrap().recovered);
            assert_eq!(gateway[device].heard_offsets("log:1"), expected.clone().collect::<Vec<_>>());
        }
    }
    gateway.ends_forgotten();
}

#[test]
fn what_is_older_than_the_history_keeps_is_not_given_out() {
    let (mut gateway, head) = ten();
    gateway.wait(Duration::from_secs(30));
    gateway.publish("log:1", "11");
    gateway.wait(Duration::from_secs(31));
    let history = gateway.history("log:1", None, 100);
    assert_eq!(history.messages.iter().map(|message| message.offset).collect::<Vec<_>>(), [11]);
    let now = position(head.epoch, 11);
    assert_eq!(returns(&mut gateway, 0, position(head.epoch, 9)), vec![(false, now, vec![]); 3]);
    assert_eq!(returns(&mut gateway, 1, position(head.epoch, 10)), vec![(true, now, vec![11]); 3]);
    gateway.ends_forgotten();
}

#[test]
fn the_control_plane_sees_the_history() {
    let (mut gateway, head) = ten();
    let offsets = |gateway: &mut Gateway, since, most| {
        let history = gateway.history("log:1", since, most);
        assert_eq!(history.position, Some(head));
        let offsets: Vec<u64> = history.messages.iter().map(|message| message.offset).collect();
        (history.complete, offsets)
    };
    assert_eq!(offsets(&mut gateway, None, 100), (true, (3..=10).collect()));
    assert_eq!(offsets(&mut gateway, None, 3), (true, vec![8, 9, 10]), "the newest");
    assert_eq!(offsets(&mut gateway, Some(position(head.epoch, 4)), 3), (true, vec![5, 6, 7]), "the next");
    assert_eq!(offsets(&mut gateway, Some(position(head.epoch, 10)), 3), (true, vec![]));
    assert!(!offsets(&mut gateway, Some(position(head.epoch, 1)), 100).0);
    assert!(!offsets(&mut gateway, Some(position(head.epoch, 11)), 100).0);
    assert!(!offsets(&mut gateway, Some(position(head.epoch + 1, 5)), 100).0);
    let message = &gateway.history("log:1", None, 1).messages[0];
    assert_eq!((message.channel.as_str(), message.kind.as_str()), ("log:1", "10"));
    let unknown = gateway.history("log:2", None, 100);
    assert_eq!((unknown.position, unknown.messages.len()), (None, 0));
    assert_eq!(gateway.channel("log:1").history_messages, 8);
    gateway.ends_forgotten();
}

#[test]
fn without_a_history_only_who_missed_nothing_recovers() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.subscriber("ada", 1, "news");
    for number in 1..=3 {
        gateway.publish("news", &number.to_string());
    }
    let epoch = gateway[ada].began("news").epoch;
    for (number, (since, recovered)) in [(3, true), (2, false)].into_iter().enumerate() {
        for shard in 0..3 {
            let name = gateway.user_of(shard, number + 5);
            let device = gateway.member(&name, 1);
            gateway[device].subscribe_since("news", position(epoch, since));
            gateway.settle();
            assert_eq!(gateway[device].subscribed("news").unwrap().recovered, recovered);
            assert_eq!(gateway[device].heard("news").len(), 0);
        }
    }
    gateway.ends_forgotten();
}

#[test]
fn a_client_that_was_away_for_a_moment_misses_nothing() {
    let (mut gateway, head) = ten();
    let mut ada = gateway.member("ada", 1);
    gateway[ada].subscribe_since("log:1", position(head.epoch, 5));
    gateway.settle();
    let mut heard = gateway[ada].heard_offsets("log:1");
    for round in 0..5 {
        gateway.hang_up(ada, round % 2 == 0);
        gateway.publish("log:1", "while away");
        ada = gateway.member("ada", 1);
        gateway[ada].subscribe_since("log:1", position(head.epoch, *heard.last().unwrap()));
        gateway.publish("log:1", "at once");
        assert!(gateway[ada].subscribed("log:1").unwrap().recovered);
        heard.extend(gateway[ada].heard_offsets("log:1"));
    }
    assert_eq!(heard, (6..=20).collect::<Vec<_>>());
    gateway.ends_forgotten();
}
