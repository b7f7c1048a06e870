//! Pushes and broadcasts.

use std::collections::BTreeSet;

use campanile_core::requests::{Answer, Durability, Outcome, RequestBody};
use campanile_protocol::messages::Encoding::{Json, Protobuf};
use campanile_protocol::messages::{Content, Deliver, Payload};

use crate::support::{Entry, Setup, Targets, a_push, listed, message};

#[test]
fn a_push_reaches_one_several_or_all_devices() {
    let mut gateway = Setup::shards(3).start();
    let devices: Vec<usize> = (1..=3).map(|device| gateway.device("ada", device)).collect();
    let bob = gateway.device("bob", 1);
    use Outcome::{NotConnected, Sent};
    assert_eq!(gateway.outcomes("ada", listed(&[2]), "one"), [(2, Sent)]);
    assert_eq!(
        gateway.outcomes("ada", listed(&[1, 3, 9, 3]), "several"),
        [(1, Sent), (3, Sent), (9, NotConnected)]
    );
    assert_eq!(gateway.outcomes("ada", Targets::All, "all"), [(1, Sent), (2, Sent), (3, Sent)]);
    assert_eq!(gateway.outcomes("eve", Targets::All, "nobody"), []);
    assert_eq!(gateway.outcomes("eve", listed(&[1]), "nobody"), [(1, NotConnected)]);
    assert_eq!(gateway[devices[0]].kinds(), ["several", "all"]);
    assert_eq!(gateway[devices[1]].kinds(), ["one", "all"]);
    assert_eq!(gateway[devices[2]].kinds(), ["several", "all"]);
    assert_eq!(gateway[bob].kinds().len(), 0);
    assert_eq!((gateway.count("messages_sent"), gateway.count("messages_not_connected")), (6, 3));
    gateway.ends_empty();
}

#[test]
fn a_message_arrives_as_it_was_pushed_in_both_forms() {
    let mut gateway = Setup::shards(2).start();
    let binary = gateway.device("ada", 1);
    let token = gateway.token("ada", 2, 60);
    let json = gateway.enter(1, Json, Entry::Header(token));
    gateway.settle();
    let payloads = [
        Payload::data((0..=255).collect::<Vec<u8>>()),
        Payload::text("grüße"),
        Payload::json(r#"{"a":[1,2.5,null]}"#).unwrap(),
        Payload::data(vec![7; 70_000]),
    ];
    for payload in payloads {
        let sent = Deliver {
            kind: "letter".into(),
            sent_at_ms: 17,
            topic: "t".into(),
            payload: Some(payload),
            ..Deliver::default()
        };
        let pushed = gateway.push("ada", Targets::All, sent.clone());
        for device in [binary, json] {
            let delivered = (*gateway[device].delivered().last().unwrap()).clone();
            assert_eq!(delivered.id, pushed.id.to_string());
            assert_eq!(delivered.seq, 0, "there is nothing to acknowledge");
            assert_eq!(delivered, Deliver { id: delivered.id.clone(), seq: delivered.seq, ..sent.clone() });
        }
    }
    gateway.ends_empty();
}

#[test]
fn a_payload_that_has_no_json_form_fails_only_those_who_speak_json() {
    let mut gateway = Setup::shards(1).start();
    let binary = gateway.device("ada", 1);
    let token = gateway.token("ada", 2, 60);
    let json = gateway.enter(0, Json, Entry::Header(token));
    gateway.settle();
    let broken = Deliver { payload: Some(Content::Json("{".into()).into()), ..Deliver::default() };
    let pushed = gateway.push("ada", Targets::All, broken);
    let outcome = |number| pushed.devices.iter().find(|(device, _)| device.get() == number).unwrap().1;
    assert_eq!((outcome(1), outcome(2)), (Outcome::Sent, Outcome::NotEncodable));
    assert_eq!((gateway[binary].delivered().len(), gateway[json].delivered().len()), (1, 0));
    assert!(gateway[json].is_connected());
    gateway.ends_empty();
}

#[test]
fn no_two_messages_of_a_node_have_the_same_id() {
    let mut gateway = Setup::shards(4).start();
    let mut ids = BTreeSet::new();
    for name in ["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"] {
        for _ in 0..5 {
            let pushed = gateway.push(name, Targets::All, message("x"));
            assert!(pushed.id.seq > 0);
            assert!(ids.insert(pushed.id), "{} was given out twice", pushed.id);
        }
    }
    gateway.ends_empty();
}

#[test]
fn the_pushes_of_one_request_are_answered_in_their_order() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    let names = ["ada", "bob", "ada", "eve", "ada"];
    let pushes = names
        .iter()
        .enumerate()
        .map(|(place, name)| a_push(name, Targets::All, message(&place.to_string()), Durability::Ephemeral));
    let ticket = gateway.ask(0, RequestBody::Push(pushes.collect()));
    let Answer::Pushed(pushed) = gateway.settled_answer(ticket) else { panic!("another answer") };
    assert_eq!(
        pushed.iter().map(|pushed| pushed.as_ref().unwrap().devices.len()).collect::<Vec<_>>(),
        [1, 0, 1, 0, 1]
    );
    assert_eq!(gateway[ada].kinds(), ["0", "2", "4"]);
    gateway.ends_empty();
}

#[test]
fn a_broadcast_reaches_every_session_of_every_shard_once() {
    let mut gateway = Setup::shards(3).start();
    for name in 0..100 {
        let encoding = [Json, Protobuf][name % 2];
        let token = gateway.token(&format!("user {name}"), 1, 60);
        gateway.enter(name % 3, encoding, Entry::Header(token));
    }
    gateway.settle();
    assert_eq!(gateway.count("sessions"), 100);
    let tickets: Vec<_> = (0..3).map(|shard| gateway.broadcast(shard, "news")).collect();
    let mut total = 0;
    for ticket in tickets {
        let Answer::Broadcast { sent, skipped: 0 } = gateway.settled_answer(ticket) else {
            panic!("another answer")
        };
        total += sent;
    }
    assert_eq!(total, 100);
    for device in &gateway.devices {
        assert_eq!(device.events().iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["news"]);
    }
    gateway.ends_empty();
}

#[test]
fn broadcasts_are_passed_one_after_the_other() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    let tickets = ["one", "two", "three"].map(|name| gateway.broadcast(0, name));
    for ticket in tickets {
        let answer = gateway.settled_answer(ticket);
        assert!(matches!(answer, Answer::Broadcast { sent: 1, skipped: 0 }), "{answer:?}");
    }
    assert_eq!(
        gateway[ada].events().iter().map(|event| event.name.as_str()).collect::<Vec<_>>(),
        ["one", "two", "three"]
    );
    gateway.ends_empty();
}
