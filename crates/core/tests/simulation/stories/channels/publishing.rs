//! Clients that publish.

use std::time::Duration;

use campanile_core::requests::PublishError;
use campanile_protocol::messages::Encoding::{Json, Protobuf};
use campanile_protocol::messages::{ClientFrame, Content, Device, Payload, Publish};

use crate::support::Setup;
use crate::support::channels::{a_publish, everything, grants, position};

#[test]
fn what_a_client_publishes_is_stamped_and_answered_with_its_place() {
    let mut gateway = Setup::shards(3).start();
    let bob = gateway.subscriber("bob", 1, "news");
    let epoch = gateway[bob].began("news").epoch;
    for (number, encoding) in [(1, Protobuf), (2, Json)] {
        for shard in 0..3 {
            let name = gateway.user_of(shard, 0);
            let ada = gateway.device_with(&name, number, encoding, &everything());
            // Who publishes need not be subscribed.
            gateway[ada].publish("news", &format!("{name} {number}"));
            gateway.settle();
            let message = (*gateway[bob].heard("news").last().unwrap()).clone();
            let name_of_frame = format!("{name} {number}");
            assert_eq!(gateway[ada].published(), [(name_of_frame.as_str(), position(epoch, message.offset))]);
            assert_eq!(message.from, Some(Device { user: name.clone(), device: number }));
            assert_eq!((message.kind, message.payload), {
                let payload = Payload::data(name_of_frame.clone().into_bytes());
                (name_of_frame.clone(), Some(payload))
            });
            assert!(message.sent_at_ms > 0);
        }
    }
    assert_eq!(gateway[bob].heard_offsets("news"), [1, 2, 3, 4, 5, 6]);
    gateway.ends_forgotten();
}

#[test]
fn a_publisher_that_is_subscribed_gets_its_own_message_too() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.subscriber("ada", 1, "news");
    for number in 0..20 {
        gateway[ada].publish("news", &number.to_string());
    }
    gateway.settle();
    let kinds: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(gateway[ada].heard_kinds("news"), kinds);
    let answered: Vec<u64> = gateway[ada].published().iter().map(|(_, position)| position.offset).collect();
    assert_eq!(answered, (1..=20).collect::<Vec<_>>());
    gateway.ends_forgotten();
}

#[test]
fn a_client_publishes_only_where_its_token_says() {
    let mut gateway = Setup::shards(3).namespace("open", |namespace| namespace.open = true).start();
    let ada = gateway.device_with("ada", 1, Protobuf, &grants(&["*"], &["chat:*"], &[]));
    let plain = gateway.device("bob", 1);
    let names = ["news", "open:1", "chat:1"];
    names.iter().for_each(|name| gateway.subscribes(ada, name));
    for name in names {
        gateway[ada].publish(name, &format!("ada in {name}"));
        gateway[plain].publish(name, &format!("bob in {name}"));
    }
    gateway.settle();
    let forbidden = |name: &'static str| (name, "channel_forbidden");
    assert_eq!(gateway[ada].refused(), ["ada in news", "ada in open:1"].map(forbidden));
    assert_eq!(gateway[plain].refused(), ["bob in news", "bob in open:1", "bob in chat:1"].map(forbidden));
    assert_eq!(gateway[ada].heard_kinds("chat:1"), ["ada in chat:1"]);
    assert_eq!((gateway[ada].heard("news").len(), gateway[ada].heard("open:1").len()), (0, 0));
    assert_eq!(gateway.count("client_publishes_refused"), 5);
    gateway.ends_forgotten();
}

#[test]
fn a_client_that_publishes_too_fast_is_told_and_may_go_on_later() {
    let setup = Setup::shards(3).namespace("chat", |namespace| namespace.publishes_per_second_max = 2);
    let mut gateway = setup.limits(|limits| limits.frames_per_second_max = 1_000).start();
    let (ada, bob) = (gateway.subscriber("ada", 1, "chat:1"), gateway.member("bob", 1));
    for number in 0..200 {
        gateway[ada].publish("chat:1", &number.to_string());
    }
    gateway.settle();
    let published = gateway[ada].published().len();
    let refused = gateway[ada].refused();
    assert!((2..100).contains(&published), "{published} at once");
    assert_eq!(refused.len(), 200 - published);
    assert!(refused.iter().all(|refused| refused.1 == "publish_too_fast"));
    assert_eq!(gateway[ada].heard("chat:1").len(), published, "what is refused is not published");
    // Others are not held up, and it is soon over.
    gateway[bob].publish("chat:1", "bob's");
    gateway.settle();
    assert_eq!(gateway[bob].published().len(), 1);
    gateway.wait(Duration::from_secs(2));
    gateway[ada].publish("chat:1", "later");
    gateway.settle();
    assert_eq!(gateway[ada].published().last().unwrap().0, "later");
    gateway.ends_forgotten();
}

#[test]
fn what_cannot_be_carried_is_refused_and_nobody_gets_it() {
    let mut gateway = Setup::shards(2).limits(|limits| limits.push_bytes_max = 1_000).start();
    let ada = gateway.subscriber("ada", 1, "news");
    let payloads = [
        ("large", "news", Payload::data(vec![0; 1_001])),
        ("json", "news", Content::Json("{".into()).into()),
        ("deep", "news", Content::Json("[".repeat(200)).into()),
        ("status", "presence:ada", Payload::text("hello")),
        ("name", "", Payload::text("hello")),
        ("fits", "news", Payload::data(vec![0; 1_000])),
    ];
    for (name, channel, payload) in payloads {
        let (r#ref, kind) = (name.to_owned(), name.to_owned());
        let publish = Publish { r#ref, channel: channel.to_owned(), kind, payload: Some(payload) };
        gateway[ada].say(&ClientFrame::Publish(publish));
    }
    gateway.settle();
    assert_eq!(
        gateway[ada].refused(),
        [
            ("large", "payload_too_large"),
            ("json", "invalid_field"),
            ("deep", "invalid_field"),
            ("status", "channel_reserved"),
            ("name", "invalid_field"),
        ]
    );
    assert_eq!(gateway[ada].heard_kinds("news"), ["fits"]);
    assert_eq!(gateway[ada].heard_offsets("news"), [1], "what is refused takes no number");
    gateway.ends_forgotten();
}

#[test]
fn the_control_plane_is_told_message_by_message_what_is_refused() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.subscriber("ada", 1, "news");
    let epoch = gateway[ada].began("news").epoch;
    let batch = vec![a_publish("news", "one"), a_publish("presence:ada", "status"), a_publish("news", "two")];
    assert_eq!(
        gateway.publish_all(batch),
        [Ok(position(epoch, 1)), Err(PublishError::Reserved), Ok(position(epoch, 2)),]
    );
    assert_eq!(gateway[ada].heard_kinds("news"), ["one", "two"]);
    gateway.ends_forgotten();
}
