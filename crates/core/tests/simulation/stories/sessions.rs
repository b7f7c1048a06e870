//! Sessions: who has one, how long, and how it ends.

use std::time::Duration;

use campanile_core::requests::{Answer, Outcome, RequestBody};
use campanile_engine::sim::Ending;
use campanile_protocol::frame::Opcode;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::Encoding::{Json, Protobuf};
use campanile_protocol::messages::{Ack, ClientFrame, Ping, ServerFrame};

use crate::support::{Entry, Gateway, Seen, Setup, listed, user};

#[test]
fn the_newest_session_of_a_device_wins() {
    let mut gateway = Setup::shards(3).start();
    let old = gateway.device("ada", 1);
    let token = gateway.token("ada", 1, 60);
    let new = gateway.enter(2, Json, Entry::Hello(token));
    gateway.settle();
    assert_eq!(gateway[old].code(), Some(4409));
    assert!(gateway[new].is_connected());
    assert!(gateway[new].welcome().unwrap().generation > gateway[old].welcome().unwrap().generation);
    assert_eq!(gateway.outcomes("ada", listed(&[1]), "hi"), [(1, Outcome::Sent)]);
    assert_eq!((gateway[old].kinds().len(), gateway[new].kinds()), (0, vec!["hi"]));
    assert_eq!((gateway.count("sessions"), gateway.count("sessions_replaced")), (1, 1));
    gateway.ends_empty();
}

#[test]
fn a_device_too_many_is_refused_and_the_others_may_come_back() {
    let mut gateway = Setup::shards(2).start();
    for device in 1..=5 {
        gateway.device("ada", device);
    }
    let token = gateway.token("ada", 6, 60);
    let header = gateway.enter(0, Protobuf, Entry::Header(token.clone()));
    let hello = gateway.enter(1, Protobuf, Entry::Hello(token));
    gateway.settle();
    assert_eq!(gateway[header].status, Some(403));
    assert!(gateway[header].refusal().contains("device_limit"));
    assert_eq!(gateway[hello].code(), Some(4403));
    let again = gateway.device("ada", 3);
    assert!(gateway[again].is_connected());
    assert_eq!((gateway.count("sessions"), gateway.count("devices_refused")), (5, 2));
    // One who leaves is still registered.
    gateway[again].say_close(1000);
    gateway.settle();
    let token = gateway.token("ada", 6, 60);
    let sixth = gateway.enter(0, Protobuf, Entry::Header(token));
    gateway.settle();
    assert_eq!(gateway[sixth].status, Some(403));
    gateway.ends_empty();
}

fn connected(gateway: &mut Gateway, name: &str) -> Vec<(u32, u64, &'static str)> {
    let ticket = gateway.ask_home(name, RequestBody::Devices(user(name)));
    let Answer::Devices(Ok(devices)) = gateway.settled_answer(ticket) else { panic!("another answer") };
    let mut devices: Vec<_> = devices
        .iter()
        .filter_map(|known| {
            let session = known.session.as_ref()?;
            Some((known.record.device.get(), session.generation, session.subprotocol))
        })
        .collect();
    devices.sort_unstable();
    devices
}

#[test]
fn the_devices_of_a_user_can_be_asked_for() {
    let mut gateway = Setup::shards(2).start();
    let one = gateway.device("ada", 1);
    let token = gateway.token("ada", 2, 60);
    let two = gateway.enter(0, Json, Entry::Hello(token));
    gateway.settle();
    let generations = [one, two].map(|device| gateway[device].welcome().unwrap().generation);
    let both = [(1, generations[0], "campanile.v2"), (2, generations[1], "campanile.v2+json")];
    assert_eq!(connected(&mut gateway, "ada"), both);
    assert_eq!(connected(&mut gateway, "bob"), []);
    gateway.hang_up(one, true);
    gateway.settle();
    assert_eq!(connected(&mut gateway, "ada"), both[1..]);
    gateway.ends_empty();
}

#[test]
fn an_operator_disconnects_a_device_or_a_user() {
    let mut gateway = Setup::shards(2).start();
    let devices: Vec<usize> = (1..=3).map(|device| gateway.device("ada", device)).collect();
    let bob = gateway.device("bob", 1);
    for (device, closed) in [(DeviceId::try_from(2).ok(), 1), (None, 2), (None, 0)] {
        let ticket = gateway.ask_home("ada", RequestBody::Disconnect(user("ada"), device));
        let answer = gateway.settled_answer(ticket);
        assert!(matches!(answer, Answer::Disconnected(count) if count == closed), "{answer:?}");
        assert_eq!(gateway[devices[1]].code(), Some(4403));
    }
    assert!(devices.iter().all(|&device| gateway[device].code() == Some(4403)));
    assert!(gateway[bob].is_connected());
    assert_eq!(gateway.count("sessions_disconnected"), 3);
    gateway.ends_empty();
}

#[test]
fn pings_and_acknowledgements_are_taken_in_both_forms() {
    for encoding in [Protobuf, Json] {
        let mut gateway = Setup::shards(1).start();
        let token = gateway.token("ada", 1, 60);
        let ada = gateway.enter(0, encoding, Entry::Header(token));
        gateway.settle();
        let seq = gateway[ada].welcome().unwrap().generation;
        gateway[ada].say(&ClientFrame::Ack(Ack { seq }));
        gateway[ada].say_raw(Opcode::Ping, b"raw");
        gateway[ada].say(&ClientFrame::Ping(Ping { nonce: 5 }));
        gateway.settle();
        assert_eq!(gateway[ada].seen[2], Seen::Pong(b"raw".to_vec()));
        assert!(matches!(&gateway[ada].seen[3], Seen::Frame(ServerFrame::Pong(pong)) if pong.nonce == 5));
        gateway.ends_empty();
    }
}

#[test]
fn a_client_that_answers_pings_stays() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    gateway.wait(Duration::from_secs(125));
    assert!(gateway[ada].is_connected());
    let pings = gateway[ada].pings();
    assert!((4..=6).contains(&pings), "{pings}");
    assert_eq!(gateway.count("pongs_received"), pings as u64);
    gateway.ends_empty();
}

#[test]
fn a_client_that_talks_is_not_pinged() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    for nonce in 0..60 {
        gateway[ada].say(&ClientFrame::Ping(Ping { nonce }));
        gateway.wait(Duration::from_secs(2));
    }
    assert!(gateway[ada].is_connected());
    assert_eq!(gateway[ada].pings(), 0);
    gateway.ends_empty();
}

#[test]
fn a_client_that_answers_no_ping_is_closed_in_time() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    gateway[ada].pongs = false;
    let begun = gateway.world.time();
    while gateway[ada].pings() == 0 {
        gateway.wait(Duration::from_millis(20));
    }
    let pinged = gateway.world.time().since(begun);
    assert!(pinged >= Duration::from_millis(12_400) && pinged < Duration::from_millis(25_300), "{pinged:?}");
    while gateway[ada].code().is_none() {
        gateway.wait(Duration::from_millis(20));
    }
    let patience = gateway.world.time().since(begun) - pinged;
    assert!(
        patience >= Duration::from_millis(9_800) && patience < Duration::from_millis(10_400),
        "{patience:?}"
    );
    assert_eq!((gateway[ada].code(), gateway.count("sessions_timed_out")), (Some(1001), 1));
    gateway.ends_empty();
}

/// A device that has just been pinged and does not answer, and of whose subscriptions one ends in about two seconds.
fn pinged_before_a_subscription_ends() -> (Gateway, usize) {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    gateway[ada].pongs = false;
    for (name, seconds) in [("one", 20), ("two", 22)] {
        let token = gateway.subscription_token("ada", name, seconds);
        gateway[ada].subscribe_with(name, token);
    }
    while gateway[ada].pings() == 0 {
        gateway.wait(Duration::from_millis(20));
    }
    assert!(gateway[ada].unsubscribed("two").is_empty(), "the ping came after the subscription's end");
    (gateway, ada)
}

#[test]
fn a_ping_is_given_its_whole_time_whatever_ends_meanwhile() {
    let (mut gateway, ada) = pinged_before_a_subscription_ends();
    gateway.wait(Duration::from_secs(8));
    assert_eq!((gateway[ada].unsubscribed("two").len(), gateway[ada].code()), (1, None));
    gateway[ada].say_raw(Opcode::Pong, b"");
    gateway.wait(Duration::from_secs(20));
    assert!(gateway[ada].is_connected(), "{:?}", gateway[ada].closed);
    assert_eq!(gateway[ada].pings(), 1, "pinged again before it was silent");
    gateway.ends_empty();
}

#[test]
fn a_ping_is_given_no_more_than_its_time_whatever_ends_meanwhile() {
    let (mut gateway, ada) = pinged_before_a_subscription_ends();
    gateway.wait(Duration::from_millis(10_300));
    assert_eq!((gateway[ada].code(), gateway[ada].pings()), (Some(1001), 1));
    gateway.ends_empty();
}

#[test]
fn the_end_of_the_token_ends_the_session() {
    let mut gateway = Setup::shards(2).start();
    let token = gateway.token("ada", 1, 10);
    let ada = gateway.enter(1, Json, Entry::Header(token));
    gateway.wait(Duration::from_secs(8));
    assert!(gateway[ada].is_connected());
    gateway.wait(Duration::from_millis(2_500));
    assert_eq!((gateway[ada].code(), gateway.count("sessions_expired")), (Some(4401), 1));
    gateway.ends_empty();
}

#[test]
fn a_hello_with_a_new_token_prolongs_the_session() {
    let mut gateway = Setup::shards(2).start();
    let token = gateway.token("ada", 1, 10);
    let ada = gateway.enter(1, Json, Entry::Header(token));
    gateway.wait(Duration::from_secs(8));
    let token = gateway.token("ada", 1, 10);
    gateway[ada].say_hello(&token);
    gateway.wait(Duration::from_secs(8));
    assert!(gateway[ada].is_connected());
    gateway.wait(Duration::from_secs(3));
    assert_eq!(gateway[ada].code(), Some(4401));
    gateway.ends_empty();
}

#[test]
fn a_hello_with_a_token_that_ends_sooner_shortens_the_session() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    let token = gateway.token("ada", 1, 3);
    gateway[ada].say_hello(&token);
    gateway.wait(Duration::from_secs(2));
    assert!(gateway[ada].is_connected());
    gateway.wait(Duration::from_millis(1_500));
    assert_eq!(gateway[ada].code(), Some(4401));
    gateway.ends_empty();
}

#[test]
fn nobody_renews_a_session_with_another_devices_token() {
    for (name, number) in [("ada", 2), ("bob", 1)] {
        let mut gateway = Setup::shards(1).start();
        let ada = gateway.device("ada", 1);
        let token = gateway.token(name, number, 60);
        gateway[ada].say_hello(&token);
        gateway.settle();
        assert_eq!(gateway[ada].code(), Some(4401));
        gateway.ends_empty();
    }
}

#[test]
fn a_close_is_echoed_with_its_code() {
    let mut gateway = Setup::shards(1).start();
    for code in [1000, 1001, 4999] {
        let ada = gateway.device("ada", 1);
        gateway[ada].say_close(code);
        gateway.settle();
        assert_eq!(gateway[ada].code(), Some(code));
    }
    let ada = gateway.device("ada", 1);
    gateway[ada].say_raw(Opcode::Close, b"");
    gateway.settle();
    assert_eq!((gateway[ada].code(), gateway.count("sessions_ended_by_client")), (Some(1005), 4));
    gateway.ends_empty();
}

#[test]
fn a_client_that_is_gone_leaves_nothing() {
    let mut gateway = Setup::shards(2).start();
    for (device, reset) in [(1, true), (2, false)] {
        let ada = gateway.device("ada", device);
        gateway.hang_up(ada, reset);
        gateway.settle();
        assert_eq!((gateway.count("sessions"), gateway.count("users")), (0, 0));
        assert_eq!(gateway.outcomes("ada", listed(&[device]), "late"), [(device, Outcome::NotConnected)]);
    }
    gateway.wait(Duration::from_secs(2));
    gateway.assert_empty();
}

/// What a session is closed with when it says this.
fn answered(say: impl Fn(&mut crate::support::Device)) -> (Option<u16>, Gateway) {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    let bob = gateway.device("bob", 1);
    say(&mut gateway[ada]);
    gateway.wait(Duration::from_millis(300));
    assert_eq!(gateway[ada].ending, Ending::Closed, "the close frame did not arrive");
    assert!(gateway[bob].is_connected(), "another connection noticed");
    (gateway[ada].code(), gateway)
}

#[test]
fn a_malformed_frame_is_answered_with_the_code_of_its_fault() {
    let raw = |bytes: &'static [u8]| answered(move |ada| ada.outgoing.extend_from_slice(bytes));
    let cases: [(u16, &[u8]); 7] = [
        // Not masked; a reserved bit; a reserved opcode; a continuation of nothing.
        (1002, &[0x82, 0]),
        (1002, &[0xc2, 0x80, 0, 0, 0, 0]),
        (1002, &[0x83, 0x80, 0, 0, 0, 0]),
        (1002, &[0x80, 0x80, 0, 0, 0, 0]),
        // Text that is not UTF-8; a close code that must not be sent; 64 KiB and a byte.
        (1007, &[0x81, 0x81, 0, 0, 0, 0, 0xff]),
        (1002, &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed]),
        (1009, &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]),
    ];
    for (code, bytes) in cases {
        let (answered, gateway) = raw(bytes);
        assert_eq!(answered, Some(code), "{bytes:x?}");
        assert_eq!(gateway.count("sessions_malformed") + gateway.count("sessions_too_large"), 1);
        gateway.ends_empty();
    }
}

#[test]
fn a_frame_that_is_not_of_the_schema_is_answered_with_4400() {
    for payload in [&b"\xff\xff\xff"[..], b""] {
        let (code, gateway) = answered(|ada| ada.say_raw(Opcode::Binary, payload));
        assert_eq!((code, gateway.count("sessions_malformed")), (Some(4400), 1));
        gateway.ends_empty();
    }
}

#[test]
fn text_where_the_subprotocol_is_binary_is_answered_with_1003() {
    let (code, gateway) = answered(|ada| ada.say_raw(Opcode::Text, br#"{"ping":{}}"#));
    assert_eq!((code, gateway.count("sessions_malformed")), (Some(1003), 1));
    gateway.ends_empty();
}

#[test]
fn a_message_in_too_many_fragments_is_refused() {
    let (code, gateway) = answered(|ada| {
        ada.outgoing.extend([0x02, 0x80, 0, 0, 0, 0]);
        for _ in 0..64 {
            ada.outgoing.extend([0x00, 0x80, 0, 0, 0, 0]);
        }
    });
    assert_eq!((code, gateway.count("sessions_too_large")), (Some(1008), 1));
    gateway.ends_empty();
}

#[test]
fn a_flood_of_pings_is_closed_with_4429() {
    let (code, gateway) = answered(|ada| (0..600).for_each(|_| ada.say_raw(Opcode::Ping, b"x")));
    assert_eq!((code, gateway.count("sessions_too_many_frames")), (Some(4429), 1));
    gateway.ends_empty();
}

#[test]
fn frames_at_the_allowed_rate_are_no_flood() {
    let mut gateway = Setup::shards(1).limits(|limits| limits.frames_per_second_max = 50).start();
    let ada = gateway.device("ada", 1);
    for _ in 0..30 {
        (0..40).for_each(|_| gateway[ada].say_raw(Opcode::Ping, b"x"));
        gateway.wait(Duration::from_secs(1));
    }
    assert!(gateway[ada].is_connected());
    gateway.ends_empty();
}
