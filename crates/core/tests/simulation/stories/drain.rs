//! The end of a node.

use std::collections::BTreeSet;
use std::time::Duration;

use campanile_core::requests::{Answer, RequestBody};
use campanile_protocol::messages::Encoding::{Json, Protobuf};
use campanile_protocol::messages::ServerFrame;

use crate::support::{Entry, Gateway, Setup};

fn stopped(gateway: &mut Gateway) -> bool {
    !gateway.world.step()
}

#[test]
fn a_drain_tells_everybody_when_to_come_back_and_ends() {
    let mut gateway = Setup::shards(3).start();
    for name in 0..60 {
        let token = gateway.token(&format!("user {name}"), 1, 60);
        gateway.enter(name % 3, [Json, Protobuf][name % 2], Entry::Header(token));
    }
    gateway.settle();
    gateway.drain(10_000);
    gateway.wait(Duration::from_secs(3));
    let mut delays = BTreeSet::new();
    for device in &gateway.devices {
        let Some(ServerFrame::Drain(drain)) = device.frames().last() else { panic!("no drain") };
        assert_eq!(
            device.closed,
            Some((4503, format!("draining: come back in {} ms", drain.reconnect_after_ms)))
        );
        assert!(drain.reconnect_after_ms <= 10_000);
        delays.insert(drain.reconnect_after_ms / 1_000);
    }
    assert!(delays.len() >= 8, "not spread: {delays:?}");
    assert!(stopped(&mut gateway), "somebody still runs");
    gateway.assert_empty();
}

#[test]
fn a_draining_node_refuses_those_who_still_come() {
    let mut gateway = Setup::shards(2).start();
    let token = gateway.token("ada", 1, 60);
    // Connected before the drain, so that they are not merely never accepted.
    let late: Vec<usize> = [0, 1].map(|shard| gateway.dial(shard, Json, Entry::Header(token.clone()))).into();
    let hello: Vec<usize> = [0, 1].map(|shard| gateway.enter(shard, Json, Entry::Nothing)).into();
    gateway.settle();
    gateway.drain(0);
    gateway.settle();
    for device in late.iter().copied() {
        gateway[device].ask_upgrade();
    }
    for device in hello.iter().copied() {
        gateway[device].say_hello(&token);
    }
    gateway.wait(Duration::from_secs(2));
    for device in late {
        assert_eq!((gateway[device].status, gateway[device].retry_after), (Some(503), Some(2)));
    }
    for device in hello {
        assert_eq!(gateway[device].code(), Some(4503));
    }
    assert_eq!((gateway.count("upgrades_refused_draining"), gateway.count("sessions_opened")), (4, 0));
    assert!(stopped(&mut gateway));
    gateway.assert_empty();
}

#[test]
fn whoever_comes_during_a_drain_is_told_to_go_elsewhere() {
    let mut gateway = Setup::shards(2).start();
    let token = gateway.token("ada", 1, 60);
    // Says nothing, so that the drain takes a while.
    gateway.dial(0, Json, Entry::Nothing);
    gateway.settle();
    gateway.drain(0);
    gateway.settle();
    let late: Vec<usize> =
        [0, 1].map(|shard| gateway.enter(shard, Json, Entry::Header(token.clone()))).into();
    gateway.settle();
    for device in late {
        assert_eq!((gateway[device].status, gateway[device].retry_after), (Some(503), Some(2)));
    }
    assert_eq!((gateway.count("upgrades_refused_draining"), gateway.count("sessions_opened")), (2, 0));
    assert!(!stopped(&mut gateway), "the silent one still has its time");
    gateway.wait(Duration::from_secs(7));
    assert!(stopped(&mut gateway));
    gateway.assert_empty();
}

#[test]
fn those_who_keep_coming_do_not_keep_a_draining_node_alive() {
    for silent in [true, false] {
        let mut gateway = Setup::shards(2).start();
        let token = gateway.token("ada", 1, 60);
        let device = gateway.enter(0, Protobuf, Entry::Header(token.clone()));
        gateway.settle();
        gateway.drain(0);
        let (begun, mut came) = (gateway.world.time(), 0);
        while !stopped(&mut gateway) {
            assert!(gateway.world.time() < begun + Duration::from_secs(10), "{came} who came keep it alive");
            let entry = Entry::Header(token.clone());
            if silent {
                gateway.dial(came % 2, Json, entry);
            } else {
                gateway.enter(came % 2, Json, entry);
            }
            came += 1;
            gateway.wait(Duration::from_millis(100));
        }
        assert_eq!(gateway[device].code(), Some(4503));
        assert!(came > 5, "the last close frame was not read");
    }
}

#[test]
fn a_drain_does_not_wait_for_those_who_say_nothing() {
    let mut gateway = Setup::shards(2).start();
    gateway.dial(0, Json, Entry::Nothing);
    gateway.enter(1, Json, Entry::Nothing);
    gateway.settle();
    gateway.drain(0);
    gateway.wait(Duration::from_secs(7));
    assert!(stopped(&mut gateway));
    gateway.assert_empty();
}

#[test]
fn an_idle_node_drains_at_once_and_answers_whoever_asked() {
    let mut gateway = Setup::shards(4).start();
    gateway.drain(0);
    gateway.drain(0);
    let ticket = gateway.broadcast(3, "too late");
    let answer = gateway.settled_answer(ticket);
    assert!(matches!(answer, Answer::Broadcast { sent: 0, skipped: 0 }));
    assert!(stopped(&mut gateway));
    gateway.assert_empty();
}

#[test]
fn a_stop_leaves_no_question_without_an_answer() {
    let mut gateway = Setup::shards(1).start();
    gateway.device("ada", 1);
    gateway.broadcast(0, "one");
    gateway.broadcast(0, "two");
    gateway.ask(0, RequestBody::Stop);
    for _ in 0..100 {
        gateway.broadcast(0, "after");
    }
    gateway.settle();
    assert!(stopped(&mut gateway));
    assert_eq!(gateway.unanswered(), 0);
}
