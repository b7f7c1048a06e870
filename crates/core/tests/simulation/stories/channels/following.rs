//! Who is subscribed gets every message, once and in order, on whichever shard.

use std::time::Duration;

use campanile_protocol::messages::Encoding::{Json, Protobuf};
use campanile_protocol::messages::{ChannelMessage, Device, Payload, ServerFrame};

use crate::support::Setup;
use crate::support::channels::{a_publish, channel, everything, position};

#[test]
fn subscribers_on_every_shard_get_the_same_messages_in_the_same_order() {
    let mut gateway = Setup::shards(4).start();
    let devices: Vec<usize> = (0..8)
        .map(|number| {
            let name = gateway.user_of(number % 4, number / 4);
            gateway.subscriber(&name, 1, "news")
        })
        .collect();
    let kinds: Vec<String> = (0..50).map(|number| format!("{number}")).collect();
    for some in kinds.chunks(7) {
        let published = gateway.publish_all(some.iter().map(|kind| a_publish("news", kind)).collect());
        assert!(published.iter().all(Result::is_ok));
    }
    let offsets: Vec<u64> = (1..=50).collect();
    let epoch = gateway[devices[0]].began("news").epoch;
    assert!(epoch > 0);
    for &device in &devices {
        assert_eq!(gateway[device].began("news"), position(epoch, 0));
        assert_eq!(gateway[device].heard_kinds("news"), kinds);
        assert_eq!(gateway[device].heard_offsets("news"), offsets);
    }
    assert_eq!(gateway.channel("news").position, Some(position(epoch, 50)));
    gateway.ends_forgotten();
}

#[test]
fn a_publisher_hears_which_message_it_was() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.subscriber("ada", 1, "news");
    let epoch = gateway[ada].began("news").epoch;
    let batch = ["a", "b", "c"].map(|kind| a_publish("news", kind));
    let published: Vec<_> = gateway.publish_all(batch.into()).into_iter().map(Result::unwrap).collect();
    assert_eq!(published, [1, 2, 3].map(|offset| position(epoch, offset)));
    assert_eq!(gateway.publish("news", "d"), position(epoch, 4));
    assert_eq!(gateway[ada].heard_kinds("news"), ["a", "b", "c", "d"]);
    gateway.ends_forgotten();
}

#[test]
fn messages_of_many_channels_in_one_request_keep_the_order_of_each() {
    let mut gateway = Setup::shards(3).start();
    let owner = gateway.home.of_channel(&channel("a:1"));
    let names: Vec<String> = (1..)
        .map(|number| format!("a:{number}"))
        .filter(|name| gateway.home.of_channel(&channel(name)) == owner)
        .take(3)
        .collect();
    let ada = gateway.member("ada", 1);
    names.iter().for_each(|name| gateway[ada].subscribe(name));
    gateway.settle();
    let batch = (0..30).map(|number| a_publish(&names[number % 3], &number.to_string()));
    assert!(gateway.publish_all(batch.collect()).iter().all(Result::is_ok));
    for (at, name) in names.iter().enumerate() {
        let expected: Vec<String> = (0..10).map(|number| (3 * number + at).to_string()).collect();
        assert_eq!(gateway[ada].heard_kinds(name), expected);
        assert_eq!(gateway[ada].heard_offsets(name), (1..=10).collect::<Vec<_>>());
    }
    gateway.ends_forgotten();
}

#[test]
fn one_session_follows_many_channels() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.member("ada", 1);
    let names: Vec<String> = (0..40).map(|number| format!("room:{number}")).collect();
    names.iter().for_each(|name| gateway[ada].subscribe(name));
    gateway.settle();
    for name in &names {
        gateway.publish(name, name);
    }
    for name in &names {
        assert_eq!(gateway[ada].heard_kinds(name), [name.as_str()]);
    }
    // Out of the middle, the first and the last.
    for number in [20, 0, 39] {
        gateway[ada].unsubscribe(&names[number]);
    }
    gateway.settle();
    for name in &names {
        gateway.publish(name, "again");
    }
    for (number, name) in names.iter().enumerate() {
        let still = ![20, 0, 39].contains(&number);
        assert_eq!(gateway[ada].heard(name).len(), 1 + usize::from(still), "{name}");
    }
    assert_eq!(gateway.count("subscriptions"), 37);
    gateway.ends_forgotten();
}

#[test]
fn a_message_arrives_as_it_was_published_in_both_forms() {
    let mut gateway = Setup::shards(2).start();
    let devices = [(0, Protobuf), (0, Json), (1, Protobuf), (1, Json)].map(|(shard, encoding)| {
        let number = 1 + u32::from(encoding == Json);
        let name = gateway.user_of(shard, 0);
        let device = gateway.device_with(&name, number, encoding, &everything());
        gateway.subscribes(device, "news");
        device
    });
    let payloads = [
        Payload::data((0..=255).collect::<Vec<u8>>()),
        Payload::text("grüße"),
        Payload::json(r#"{"a":[1,2.5,null]}"#).unwrap(),
        Payload::data(vec![7; 30_000]),
    ];
    let from = Some(Device { user: "somebody".into(), device: 3 });
    for (number, payload) in payloads.into_iter().enumerate() {
        let now_ms = gateway.world.now().unix_ms as i64;
        let mut publish = a_publish("news", "letter");
        publish.message.payload = Some(payload);
        publish.message.from = from.clone();
        // What the owner fills in cannot be forged.
        (publish.message.offset, publish.message.sent_at_ms) = (99, 1);
        publish.message.channel = "another".into();
        let position = gateway.publish_all(vec![publish.clone()]).remove(0).unwrap();
        assert_eq!(position.offset, number as u64 + 1);
        for device in devices {
            let got = (*gateway[device].heard("news").last().unwrap()).clone();
            assert!((now_ms..now_ms + 1_000).contains(&got.sent_at_ms), "{}", got.sent_at_ms);
            let channel = "news".to_owned();
            let expected = ChannelMessage {
                channel,
                offset: position.offset,
                sent_at_ms: got.sent_at_ms,
                ..publish.message.clone()
            };
            assert_eq!(got, expected);
        }
    }
    gateway.ends_forgotten();
}

#[test]
fn who_unsubscribes_gets_no_more() {
    let mut gateway = Setup::shards(3).start();
    let (ada, bob) = (gateway.subscriber("ada", 1, "news"), gateway.subscriber("bob", 1, "news"));
    gateway.publish("news", "one");
    gateway[ada].unsubscribe("news");
    gateway.settle();
    let ended = gateway[ada].unsubscribed("news");
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].r#ref.as_str(), ended[0].reason.as_str()), ("news", ""));
    gateway.publish("news", "two");
    gateway[ada].unsubscribe("news");
    gateway.settle();
    assert_eq!(gateway[ada].refused(), [("news", "not_subscribed")]);
    assert_eq!(gateway[ada].heard_kinds("news"), ["one"]);
    assert_eq!(gateway[bob].heard_kinds("news"), ["one", "two"]);
    assert_eq!(gateway.channel("news").subscribers, 1);
    gateway.ends_forgotten();
}

#[test]
fn a_full_lane_between_shards_loses_nothing() {
    let mut setup = Setup::shards(3);
    setup.lane_waiting_max = 1;
    let mut gateway = setup.start();
    let names: Vec<String> = (0..3).map(|shard| gateway.channel_of("room", shard)).collect();
    let devices: Vec<usize> = (0..6)
        .map(|number| {
            let name = gateway.user_of(number % 3, number / 3);
            let device = gateway.member(&name, 1);
            names.iter().for_each(|name| gateway[device].subscribe(name));
            gateway.settle();
            device
        })
        .collect();
    // Nobody is waited for.
    for number in 0..60 {
        for name in &names {
            gateway.ask_publish(vec![a_publish(name, &number.to_string())]);
        }
        gateway[devices[number % 6]].set_state(&names[0], &format!("state {number}"));
        gateway.pump();
        gateway.steps(3);
    }
    gateway.settle();
    assert!(gateway.count("channel_feeds_delayed") > 0, "no lane was ever full");
    let kinds: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    for &device in &devices {
        for name in &names {
            assert_eq!(gateway[device].heard_kinds(name), kinds);
        }
    }
    gateway.ends_forgotten();
}

#[test]
fn what_becomes_too_old_on_its_way_between_shards_is_not_skipped_silently() {
    let mut delayed = 0;
    for seed in 0..20 {
        let mut setup = Setup::shards(2);
        (setup.seed, setup.lane_waiting_max) = (seed, 1);
        let mut gateway = setup.start();
        let names: Vec<String> = (0..)
            .map(|number| format!("room:{number}"))
            .filter(|name| gateway.home.of_channel(&channel(name)) == 0)
            .take(3)
            .collect();
        let name = gateway.user_of(1, 0);
        let ada = gateway.member(&name, 1);
        names.iter().for_each(|name| gateway[ada].subscribe(name));
        gateway.settle();
        let before = gateway.count("channel_feeds_delayed");
        let ticket = gateway.ask_publish(names.iter().map(|name| a_publish(name, "one")).collect());
        while !gateway.has_answer(ticket) {
            gateway.steps(1);
            gateway.pump();
        }
        delayed += gateway.count("channel_feeds_delayed") - before;
        // The machine sleeps for a while.
        gateway.world.advance(Duration::from_secs(60));
        gateway.settle();
        let other = gateway.user_of(1, 1);
        let late = gateway.member(&other, 1);
        for name in &names {
            let heard = gateway[ada].heard_offsets(name);
            let missed: Vec<u64> = gateway[ada].gaps(name).iter().map(|gap| gap.until).collect();
            assert!(matches!((&heard[..], &missed[..]), ([1], []) | ([], [1])), "{heard:?}, {missed:?}");
            gateway.subscribes(late, name);
            assert_eq!(Some(gateway[late].began(name)), gateway.channel(name).position);
        }
        gateway.ends_forgotten();
    }
    assert!(delayed > 0, "no lane was ever full");
}

#[test]
fn a_session_that_closes_while_it_subscribes_leaves_nothing() {
    for steps in 0..12 {
        let mut setup = Setup::shards(3);
        (setup.seed, setup.lane_waiting_max) = (steps, 1 + steps as usize % 3);
        let mut gateway = setup.start();
        let names: Vec<String> = (0..3).map(|shard| gateway.channel_of("room", shard)).collect();
        let ada = gateway.member("ada", 1);
        names.iter().for_each(|name| gateway[ada].subscribe(name));
        gateway.pump();
        gateway.steps(steps as usize);
        gateway.hang_up(ada, steps % 2 == 0);
        gateway.settle();
        assert_eq!(gateway.count("subscriptions"), 0);
        // The next one is not mistaken for the one that left.
        let bob = gateway.subscriber("bob", 1, &names[0]);
        gateway.publish(&names[0], "one");
        assert_eq!(gateway[bob].heard_kinds(&names[0]), ["one"]);
        gateway.ends_forgotten();
    }
}

#[test]
fn every_subscribe_is_answered_even_if_it_is_taken_back_at_once() {
    let mut gateway = Setup::shards(3).start();
    let names: Vec<String> = (0..3).map(|shard| gateway.channel_of("room", shard)).collect();
    let ada = gateway.member("ada", 1);
    for name in &names {
        gateway[ada].subscribe(name);
        gateway[ada].unsubscribe(name);
        gateway[ada].subscribe(name);
    }
    gateway.settle();
    for name in &names {
        let answers = gateway[ada].frames().filter(|frame| match frame {
            ServerFrame::Subscribed(subscribed) => subscribed.channel == *name,
            ServerFrame::Error(error) => error.r#ref == *name,
            _ => false,
        });
        assert_eq!(answers.count(), 2, "{name}");
        assert_eq!(gateway[ada].unsubscribed(name).len(), 1);
        gateway.publish(name, "one");
        assert_eq!(gateway[ada].heard_kinds(name), ["one"]);
    }
    gateway.ends_forgotten();
}
