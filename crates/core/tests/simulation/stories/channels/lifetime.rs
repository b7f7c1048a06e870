//! How long channels are, and what is left of them.

use std::time::Duration;

use campanile_engine::sim::Ending;
use campanile_protocol::messages::ServerFrame;

use crate::support::Setup;
use crate::support::channels::{a_publish, position};

#[test]
fn a_channel_without_a_history_is_forgotten_soon_after_its_last_subscriber() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.subscriber("ada", 1, "news");
    let before = gateway.publish("news", "one");
    gateway[ada].unsubscribe("news");
    gateway.wait(Duration::from_secs(120));
    assert_eq!(gateway.channel("news").position, None);
    assert_eq!((gateway.count("channels"), gateway.count("channel_log_bytes")), (0, 0));
    // What comes later is another channel of the same name, and nobody takes it for the old one.
    gateway[ada].subscribe_since("news", before);
    gateway.settle();
    assert_ne!(gateway[ada].began("news").epoch, before.epoch);
    assert!(!gateway[ada].subscribed("news").unwrap().recovered);
    gateway.publish("news", "two");
    assert_eq!(gateway[ada].heard_kinds("news"), ["one", "two"]);
    gateway.ends_forgotten();
}

#[test]
fn a_channel_nobody_is_subscribed_to_costs_nothing_for_long() {
    let mut gateway = Setup::shards(3).start();
    for number in 0..20 {
        gateway.publish(&format!("room:{number}"), "unheard");
    }
    assert_eq!(gateway.count("channels"), 20);
    gateway.wait(Duration::from_secs(60));
    assert_eq!((gateway.count("channels"), gateway.count("channel_log_bytes")), (0, 0));
    gateway.ends_forgotten();
}

#[test]
fn a_channel_with_a_history_is_kept_as_long_as_its_messages() {
    let setup = Setup::shards(3).namespace("log", |namespace| {
        namespace.history_messages_max = 5;
        namespace.history_ttl = Duration::from_secs(100);
    });
    let mut gateway = setup.start();
    let one = gateway.publish("log:1", "one");
    gateway.wait(Duration::from_secs(60));
    let two = gateway.publish("log:1", "two");
    assert_eq!(two, position(one.epoch, 2), "the same channel");
    gateway.wait(Duration::from_secs(90));
    assert_eq!(gateway.channel("log:1").position, Some(two));
    assert_eq!(gateway.channel("log:1").history_messages, 1);
    gateway.wait(Duration::from_secs(60));
    assert_eq!(gateway.channel("log:1").position, None, "a history that is over is forgotten");
    gateway.ends_forgotten();
}

#[test]
fn a_channel_with_subscribers_lives_however_long_nothing_happens() {
    let mut gateway = Setup::shards(3).start();
    let devices: Vec<usize> = (0..3)
        .map(|shard| {
            let name = gateway.user_of(shard, 0);
            gateway.subscriber(&name, 1, "news")
        })
        .collect();
    let one = gateway.publish("news", "one");
    gateway.wait(Duration::from_secs(300));
    assert_eq!(gateway.publish("news", "two"), position(one.epoch, 2));
    for device in devices {
        assert_eq!(gateway[device].heard_kinds("news"), ["one", "two"]);
    }
    gateway.ends_forgotten();
}

#[test]
fn logs_that_are_too_large_together_are_cut_and_the_newest_is_kept() {
    let mut setup = Setup::shards(1).namespace("", |namespace| namespace.history_messages_max = 1_000);
    setup.namespaces.log_bytes_per_shard_max = 100_000;
    let mut gateway = setup.start();
    let ada = gateway.subscriber("ada", 1, "room:0");
    for round in 0..40 {
        for number in 0..4 {
            let name = format!("room:{number}");
            let publish = crate::support::channels::a_large_publish(&name, &round.to_string(), 2_000);
            assert!(gateway.publish_all(vec![publish])[0].is_ok());
        }
        assert!(gateway.count("channel_log_bytes") < 120_000, "{}", gateway.count("channel_log_bytes"));
    }
    assert!(gateway.count("channel_logs_cut") > 0);
    assert_eq!(gateway[ada].heard("room:0").len(), 40, "who keeps up does not notice");
    assert_eq!(gateway[ada].gaps("room:0").len(), 0);
    for number in 0..4 {
        let history = gateway.history(&format!("room:{number}"), None, 1_000);
        assert_eq!(history.messages.last().unwrap().kind, "39");
    }
    gateway.ends_forgotten();
}

#[test]
fn a_newer_session_of_a_device_takes_nothing_over() {
    let mut gateway = Setup::shards(3).start();
    let old = gateway.subscriber("ada", 1, "news");
    gateway.publish("news", "one");
    let new = gateway.member("ada", 1);
    assert_eq!(gateway[old].code(), Some(4409));
    gateway.publish("news", "two");
    assert_eq!(gateway[old].heard_kinds("news"), ["one"]);
    assert_eq!(gateway[new].heard("news").len(), 0);
    assert_eq!(gateway.count("subscriptions"), 0);
    gateway.ends_forgotten();
}

#[test]
fn a_node_with_channels_drains() {
    let mut setup = Setup::shards(3).namespace("", |namespace| namespace.history_messages_max = 100);
    setup.lane_waiting_max = 1;
    let mut gateway = setup.start();
    let names: Vec<String> = (0..3).map(|shard| gateway.channel_of("room", shard)).collect();
    for number in 0..6 {
        let name = gateway.user_of(number % 3, number / 3);
        let device = gateway.member(&name, 1);
        names.iter().for_each(|name| gateway[device].subscribe(name));
    }
    gateway.settle();
    for name in &names {
        let batch = (0..50).map(|number| a_publish(name, &number.to_string()));
        gateway.ask_publish(batch.collect());
    }
    gateway.drain(1_000);
    gateway.wait(Duration::from_secs(4));
    assert!(!gateway.world.step(), "somebody still runs");
    assert_eq!(gateway.unanswered(), 0, "publishes without an answer");
    assert_eq!((gateway.count("sessions"), gateway.count("subscriptions")), (0, 0));
    for device in &gateway.devices {
        assert_eq!((device.code(), device.ending), (Some(4503), Ending::Closed));
        assert!(matches!(device.frames().last(), Some(ServerFrame::Drain(_))));
        for name in &names {
            let offsets = device.heard_offsets(name);
            assert!(offsets.iter().copied().eq(1..=offsets.len() as u64), "{offsets:?}");
        }
    }
}
