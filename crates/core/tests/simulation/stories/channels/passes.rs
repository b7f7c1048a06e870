//! What a pass over very many subscribers does in each turn: a shard driven by hand.

use std::collections::HashMap;

use bytes::Bytes;
use campanile_core::requests::{Answer, Durability, RequestBody};
use campanile_engine::{Conn, Event as Happened, Next};
use campanile_protocol::messages::Encoding;

use crate::support::channels::{a_publish, grants};
use crate::support::{Alone, Device, Entry, Setup, Targets, a_push, message};

const NOW_MS: u64 = 1_800_000_000_000;
/// The sends of one turn, and some.
const SENDS_PER_TURN: usize = 600;

/// A shard with so many sessions that their tokens have subscribed to `news`, and what their clients have received.
fn room(sessions: u32) -> (Alone, Vec<Conn>, HashMap<Conn, Device>) {
    let mut setup = Setup::shards(1);
    setup.slots = 8_192;
    let mut alone = Alone::new(setup, NOW_MS);
    // Only to have a client: it is never connected to anything.
    let mut gateway = Setup::shards(1).start();
    let client = gateway.world.connect(0);
    let grants = grants(&[], &[], &["news"]);
    let (mut conns, mut devices) = (Vec::new(), HashMap::new());
    for session in 0..sessions {
        let token = gateway.token_with(&format!("user {session}"), 1, 60, &grants);
        let mut device = Device::new(client, Encoding::Protobuf, Entry::Header(token));
        device.ask_upgrade();
        let conn = alone.accept(session);
        alone.turn(|_| None);
        alone.receive(conn, &device.outgoing);
        for _ in 0..4 {
            alone.turn(|_| None).0.iter().for_each(|(_, bytes)| device.take(bytes));
        }
        assert!(device.subscribed("news").is_some());
        conns.push(conn);
        devices.insert(conn, device);
    }
    (alone, conns, devices)
}

fn publish(alone: &mut Alone, ticket: u32, kind: &str) {
    alone.ask(ticket, RequestBody::Publish(vec![a_publish("news", kind)]));
}

/// One turn; what was sent is received. Whom it was for.
fn turn(alone: &mut Alone, devices: &mut HashMap<Conn, Device>) -> (Vec<Conn>, Next) {
    let (sends, next) = alone.turn(|_| None);
    let conns = sends.iter().map(|&(conn, _)| conn).collect();
    sends.iter().for_each(|(conn, bytes)| devices.get_mut(conn).unwrap().take(bytes));
    (conns, next)
}

#[test]
fn a_pass_is_cut_in_slices_and_direct_messages_go_between_them() {
    let (mut alone, conns, mut devices) = room(2_000);
    publish(&mut alone, 0, "news");
    let (first, next) = turn(&mut alone, &mut devices);
    assert!((1..SENDS_PER_TURN).contains(&first.len()), "{} sends in one turn", first.len());
    assert_eq!(next, Next::Now);
    let (mut turns, mut sends) = (1, first.len());
    let last = *conns.last().unwrap();
    let push = a_push("user 1999", Targets::All, message("direct"), Durability::Ephemeral);
    alone.ask(1, RequestBody::Push(vec![push]));
    let (second, _) = turn(&mut alone, &mut devices);
    assert!(second.contains(&last), "the direct message waits behind the pass");
    assert_eq!(devices[&last].kinds(), ["direct"]);
    assert!(second.len() > 1, "the pass waits behind the direct message");
    sends += second.len();
    loop {
        turns += 1;
        let (conns, next) = turn(&mut alone, &mut devices);
        assert!(conns.len() < SENDS_PER_TURN, "{} sends in one turn", conns.len());
        sends += conns.len();
        if next != Next::Now {
            break;
        }
    }
    assert!(turns >= 4, "{turns} turns for 2000 subscribers");
    assert!((2_000..=2_001).contains(&sends), "{sends} sends");
    assert!(devices.values().all(|device| device.heard_kinds("news") == ["news"]));
    assert!(matches!(alone.answer(), Some(Answer::Published(published)) if published[0].is_ok()));
}

#[test]
fn what_is_published_during_a_pass_reaches_each_in_one_more_send() {
    let (mut alone, _, mut devices) = room(1_500);
    publish(&mut alone, 0, "first");
    let mut sends = turn(&mut alone, &mut devices).0.len();
    let before: Vec<Conn> = devices
        .iter()
        .filter(|(_, device)| !device.heard("news").is_empty())
        .map(|(&conn, _)| conn)
        .collect();
    for ticket in 1..=5 {
        publish(&mut alone, ticket, &ticket.to_string());
    }
    for _ in 0..40 {
        sends += turn(&mut alone, &mut devices).0.len();
    }
    let kinds = ["first", "1", "2", "3", "4", "5"];
    assert!(devices.values().all(|device| device.heard_kinds("news") == kinds));
    // Who had the first message before is sent to twice, all others once.
    assert_eq!(sends, 1_500 + before.len());
}

#[test]
fn the_messages_of_one_turn_leave_in_one_send() {
    let (mut alone, _, mut devices) = room(3);
    for ticket in 0..10 {
        publish(&mut alone, ticket, &ticket.to_string());
    }
    let mut sends = 0;
    for _ in 0..10 {
        sends += turn(&mut alone, &mut devices).0.len();
    }
    assert_eq!(sends, 3);
    assert!(devices.values().all(|device| device.heard("news").len() == 10));
}

#[test]
fn of_a_send_that_a_socket_cuts_short_only_the_rest_of_a_frame_is_kept() {
    let (mut alone, conns, mut devices) = room(2);
    let (slow, conn) = (conns[0], conns[0]);
    for cut in 1..200 {
        for ticket in 0..5 {
            publish(&mut alone, ticket, &format!("{cut} {ticket}"));
        }
        let mut received: HashMap<Conn, Vec<Bytes>> = HashMap::new();
        let (sends, _) = alone.turn_with(|to, bytes| {
            let short = to == slow && cut < bytes.len();
            short.then(|| Happened::SendIncomplete { conn, rest: bytes.slice(cut..), error: None })
        });
        for (to, bytes) in sends {
            let taken = if to == slow { bytes.slice(..cut.min(bytes.len())) } else { bytes };
            received.entry(to).or_default().push(taken);
        }
        for _ in 0..3 {
            assert!(alone.turn(|_| None).0.iter().all(|(to, _)| *to != slow), "it takes no bytes");
        }
        alone.event(Happened::Writable { conn });
        for _ in 0..4 {
            for (to, bytes) in alone.turn(|_| None).0 {
                received.entry(to).or_default().push(bytes);
            }
        }
        for (to, bytes) in received {
            bytes.iter().for_each(|bytes| devices.get_mut(&to).unwrap().take(bytes));
        }
        while alone.answer().is_some() {}
        for device in devices.values() {
            let heard = device.heard_offsets("news");
            assert!(heard.iter().copied().eq(1..=5 * cut as u64), "cut at {cut}: {heard:?}");
            assert!(device.gaps("news").is_empty());
        }
    }
}

#[test]
fn whoever_takes_the_place_of_one_who_leaves_in_the_middle_of_a_pass_is_not_passed_over() {
    let (mut alone, conns, mut devices) = room(500);
    publish(&mut alone, 0, "news");
    let (first, next) = turn(&mut alone, &mut devices);
    let last = *conns.last().unwrap();
    assert!(first.contains(&conns[0]) && !first.contains(&last));
    assert_eq!(next, Next::Now);
    // The last subscriber moves to where the pass has been.
    alone.event(Happened::HungUp { conn: conns[0], error: None });
    for _ in 0..10 {
        turn(&mut alone, &mut devices);
    }
    assert!(devices.values().all(|device| device.heard("news").len() == 1));
}
