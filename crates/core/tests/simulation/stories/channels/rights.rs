//! Who may subscribe, and to how much.

use std::time::Duration;

use campanile_protocol::messages::Encoding::{Json, Protobuf};
use campanile_protocol::messages::{ClientFrame, Hello, Subscribe};

use crate::support::channels::{everything, grants};
use crate::support::{Entry, Setup};

#[test]
fn a_token_decides_what_may_be_subscribed_to() {
    let mut gateway = Setup::shards(3).namespace("open", |namespace| namespace.open = true).start();
    let ada = gateway.device_with("ada", 1, Protobuf, &grants(&["chat:*", "news"], &["*"], &[]));
    let plain = gateway.device("bob", 1);
    for name in ["chat:1", "news", "open:1", "chat", "news:2", "other"] {
        gateway[ada].subscribe(name);
        gateway[plain].subscribe(name);
    }
    gateway.settle();
    let forbidden = |name| (name, "channel_forbidden");
    assert_eq!(gateway[ada].refused(), ["chat", "news:2", "other"].map(forbidden));
    assert_eq!(gateway[plain].refused(), ["chat:1", "news", "chat", "news:2", "other"].map(forbidden));
    for name in ["chat:1", "news", "open:1"] {
        assert_eq!(gateway[ada].subscribed(name).unwrap().r#ref, name);
    }
    gateway.publish("chat", "secret");
    gateway.publish("chat:1", "hello");
    assert_eq!((gateway[ada].heard("chat").len(), gateway[ada].heard("chat:1").len()), (0, 1));
    assert_eq!(gateway.count("subscriptions_refused"), 8);
    gateway.ends_forgotten();
}

#[test]
fn a_token_for_one_subscription_opens_one_channel_to_one_user() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.device("ada", 1);
    let tokens = [
        ("right", gateway.subscription_token("ada", "right", 60)),
        ("user", gateway.subscription_token("bob", "user", 60)),
        ("channel", gateway.subscription_token("ada", "another", 60)),
        ("expired", gateway.subscription_token("ada", "expired", -1)),
        ("garbage", "garbage".to_owned()),
        ("session", gateway.token_with("ada", 1, 60, &everything())),
    ];
    for (name, token) in tokens {
        gateway[ada].subscribe_with(name, token);
    }
    gateway.settle();
    assert_eq!(
        gateway[ada].refused(),
        [
            ("user", "token_invalid"),
            ("channel", "token_invalid"),
            ("expired", "token_expired"),
            ("garbage", "token_invalid"),
            ("session", "token_invalid"),
        ]
    );
    gateway.publish("right", "hello");
    assert_eq!(gateway[ada].heard_kinds("right"), ["hello"]);
    assert!(gateway[ada].is_connected());
    gateway.ends_forgotten();
}

#[test]
fn a_token_subscribes_from_the_beginning_of_the_session() {
    let mut gateway = Setup::shards(3).start();
    let own = grants(&[], &[], &["inbox:ada", "news", "presence:bob"]);
    let header = gateway.device_with("ada", 1, Protobuf, &own);
    let token = gateway.token_with("ada", 2, 60, &own);
    let hello = gateway.enter(1, Json, Entry::Hello(token));
    gateway.settle();
    for name in ["inbox:ada", "news"] {
        gateway.publish(name, "hello");
        for device in [header, hello] {
            assert_eq!(gateway[device].subscribed(name).unwrap().r#ref, "");
            assert_eq!(gateway[device].heard_kinds(name), ["hello"]);
        }
    }
    for device in [header, hello] {
        assert_eq!(gateway[device].states("presence:bob"), [("bob", "offline")]);
        // What the token subscribes to may be left and asked for again.
        gateway[device].subscribe("news");
        gateway[device].unsubscribe("news");
        gateway[device].subscribe("news");
    }
    gateway.settle();
    for device in [header, hello] {
        assert_eq!(gateway[device].refused(), [("news", "already_subscribed")]);
        assert_eq!(gateway[device].subscribed("news").unwrap().r#ref, "news");
    }
    gateway.ends_forgotten();
}

#[test]
fn nobody_is_subscribed_twice_to_the_same() {
    let mut gateway = Setup::shards(3).start();
    for shard in 0..3 {
        let name = gateway.channel_of("room", shard);
        let ada = gateway.member("ada", 1);
        gateway[ada].subscribe(&name);
        gateway[ada].subscribe(&name);
        gateway.settle();
        gateway[ada].subscribe(&name);
        gateway.settle();
        assert_eq!(gateway[ada].refused(), [(name.as_str(), "already_subscribed"); 2]);
        gateway.publish(&name, "one");
        assert_eq!(gateway[ada].heard_kinds(&name), ["one"]);
    }
    gateway.ends_forgotten();
}

#[test]
fn a_session_has_only_so_many_subscriptions() {
    let mut setup = Setup::shards(3);
    setup.namespaces.subscriptions_per_session_max = 2;
    let mut gateway = setup.start();
    let ada = gateway.member("ada", 1);
    for name in ["a", "b", "c"] {
        gateway[ada].subscribe(name);
    }
    gateway.settle();
    assert_eq!(gateway[ada].refused(), [("c", "too_many_subscriptions")]);
    gateway[ada].unsubscribe("a");
    gateway[ada].subscribe("c");
    gateway.settle();
    assert!(gateway[ada].subscribed("c").is_some());
    // Another session has its own.
    let bob = gateway.subscriber("bob", 1, "a");
    assert!(gateway[bob].is_connected());
    gateway.ends_forgotten();
}

#[test]
fn a_shard_knows_only_so_many_channels() {
    let mut setup = Setup::shards(2);
    setup.namespaces.channels_per_shard_max = 3;
    let mut gateway = setup.start();
    let ada = gateway.member("ada", 1);
    let names: Vec<String> = (0..12).map(|number| format!("room:{number}")).collect();
    names.iter().for_each(|name| gateway[ada].subscribe(name));
    gateway.settle();
    let refused = gateway[ada].refused();
    assert!(
        refused.len() >= 9 && refused.iter().all(|refused| refused.1 == "too_many_channels"),
        "{refused:?}"
    );
    let refused: Vec<String> = refused.iter().map(|refused| refused.0.to_owned()).collect();
    for name in &names {
        let known = !refused.contains(name);
        assert_eq!(gateway[ada].subscribed(name).is_some(), known);
    }
    assert_eq!(gateway.count("subscriptions") as usize, 12 - refused.len());
    gateway.ends_forgotten();
}

#[test]
fn a_frame_that_names_no_channel_is_refused_and_the_session_goes_on() {
    let mut gateway = Setup::shards(2).start();
    let ada = gateway.member("ada", 1);
    for name in ["", "a*", "a\nb", &"x".repeat(256)] {
        let channel = name.to_owned();
        let subscribe = Subscribe { r#ref: "it".into(), channel, ..Subscribe::default() };
        gateway[ada].say(&ClientFrame::Subscribe(subscribe));
    }
    gateway[ada].unsubscribe("nowhere");
    gateway.settle();
    let mut expected = vec![("it", "invalid_field"); 4];
    expected.push(("nowhere", "not_subscribed"));
    assert_eq!(gateway[ada].refused(), expected);
    gateway.subscribes(ada, "news");
    gateway.ends_forgotten();
}

#[test]
fn members_are_told_across_shards_where_it_is_enabled() {
    let mut gateway = Setup::shards(3).namespace("room", |namespace| namespace.members = true).start();
    let mut expected = Vec::new();
    let mut devices = Vec::new();
    let names: Vec<String> = (0..6).map(|number| gateway.user_of(number % 3, number / 3)).collect();
    for name in &names {
        devices.push(gateway.subscriber(name, 7, "room:1"));
        expected.push((name.as_str(), 7));
    }
    expected.sort_unstable();
    let outsider = gateway.subscriber("outsider", 1, "plain");
    gateway[outsider].list_members("room:1");
    gateway[outsider].list_members("plain");
    gateway[devices[0]].list_members("room:1");
    gateway.settle();
    assert_eq!(gateway[outsider].refused(), [("room:1", "not_subscribed"), ("plain", "members_disabled")]);
    assert_eq!(gateway[devices[0]].members("room:1"), Some((6, expected.clone())));
    gateway[devices[1]].unsubscribe("room:1");
    gateway.hang_up(devices[2], true);
    gateway.settle();
    gateway[devices[0]].list_members("room:1");
    gateway.settle();
    expected.retain(|member| member.0 != names[1] && member.0 != names[2]);
    assert_eq!(gateway[devices[0]].members("room:1"), Some((4, expected)));
    // The control plane may always ask.
    let part = gateway.channel("plain");
    assert_eq!((part.subscribers, part.members.len()), (1, 1));
    gateway.ends_forgotten();
}

#[test]
fn a_subscription_ends_with_the_token_that_allows_it() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.device("ada", 1);
    let token = gateway.subscription_token("ada", "room:1", 30);
    gateway[ada].subscribe_with("room:1", token);
    gateway.settle();
    gateway.publish("room:1", "before");
    gateway.wait(Duration::from_secs(40));
    gateway.publish("room:1", "after");
    let reasons: Vec<_> = gateway[ada].unsubscribed("room:1").iter().map(|ended| &*ended.reason).collect();
    assert_eq!(reasons, ["token_expired"]);
    assert_eq!(gateway[ada].heard_kinds("room:1"), ["before"]);
    assert_eq!(gateway[ada].code(), None, "the session goes on");
    gateway.ends_forgotten();
}

#[test]
fn a_renewed_token_ends_what_it_does_not_allow() {
    let mut gateway = Setup::shards(3).start();
    let ada = gateway.subscriber("ada", 1, "room:1");
    gateway.subscribes(ada, "news");
    let token = gateway.token_with("ada", 1, 600, &grants(&["news"], &[], &[]));
    gateway[ada].say(&ClientFrame::Hello(Hello { token, ..Hello::default() }));
    gateway.settle();
    gateway.publish("room:1", "secret");
    gateway.publish("news", "open");
    let reasons: Vec<_> = gateway[ada].unsubscribed("room:1").iter().map(|ended| &*ended.reason).collect();
    assert_eq!(reasons, ["channel_forbidden"]);
    assert!(gateway[ada].heard_kinds("room:1").is_empty());
    assert_eq!(gateway[ada].heard_kinds("news"), ["open"]);
    gateway.ends_forgotten();
}
