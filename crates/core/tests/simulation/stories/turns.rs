//! What happens within one turn: a shard driven by hand.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use campanile_core::requests::{Answer, Durability, Outcome, RequestBody};
use campanile_engine::{Conn, Event as Happened, Next};
use campanile_protocol::messages::{ClientFrame, Encoding, Event, Payload, ServerFrame, Sync};

use crate::support::{Alone, Device, Entry, Setup, Targets, a_push, message};

const NOW_MS: u64 = 1_800_000_000_000;

/// A shard with so many sessions of different users, and what the client of the first has received.
fn shard(sessions: u32) -> (Alone, Vec<Conn>, Device) {
    let mut setup = Setup::shards(1);
    setup.slots = 4_096;
    let mut alone = Alone::new(setup, NOW_MS);
    // Only to have a client: it is never connected to anything.
    let mut gateway = Setup::shards(1).start();
    let client = gateway.world.connect(0);
    let mut first = None;
    let mut conns = Vec::new();
    for session in 0..sessions {
        let token = gateway.token(&format!("user {session}"), 1, 60);
        let mut device = Device::new(client, Encoding::Protobuf, Entry::Header(token));
        device.ask_upgrade();
        let conn = alone.accept(session);
        alone.turn(|_| None);
        alone.receive(conn, &device.outgoing);
        // The store is asked, and answers.
        alone.turn(|_| None);
        let (sends, _) = alone.turn(|_| None);
        assert_eq!(sends.len(), 1, "the upgrade and the welcome are one send");
        device.take(&sends[0].1);
        first.get_or_insert(device);
        conns.push(conn);
    }
    (alone, conns, first.unwrap())
}

fn push(kind: &str) -> RequestBody {
    RequestBody::Push(vec![a_push("user 0", Targets::All, message(kind), Durability::Ephemeral)])
}

fn outcome(answer: Option<Answer>) -> Outcome {
    match answer {
        Some(Answer::Pushed(pushed)) => pushed[0].as_ref().unwrap().devices[0].1,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_messages_of_one_turn_leave_in_one_send() {
    let (mut alone, conns, mut device) = shard(1);
    for ticket in 0..5 {
        alone.ask(ticket, push(&ticket.to_string()));
    }
    let (sends, _) = alone.turn(|_| None);
    assert_eq!(sends.len(), 1);
    assert_eq!(sends[0].0, conns[0]);
    device.take(&sends[0].1);
    assert_eq!(device.kinds(), ["0", "1", "2", "3", "4"]);
    for _ in 0..5 {
        assert_eq!(outcome(alone.answer()), Outcome::Sent);
    }
}

#[test]
fn a_sync_to_a_sibling_that_goes_before_it_is_sent_is_answered_broken() {
    let mut alone = Alone::new(Setup::shards(1), NOW_MS);
    let mut gateway = Setup::shards(1).start();
    let client = gateway.world.connect(0);
    let mut devices = [1, 2].map(|number| {
        let token = gateway.token("ada", number, 60);
        let mut device = Device::new(client, Encoding::Protobuf, Entry::Header(token));
        device.ask_upgrade();
        let conn = alone.accept(number);
        alone.receive(conn, &device.outgoing);
        device.outgoing.clear();
        alone.turn(|_| None);
        let (sends, _) = alone.turn(|_| None);
        device.take(&sends[0].1);
        (conn, device)
    });
    let [(conn, ada), (sibling, _)] = &mut devices;
    let payload = Some(Payload::data(vec![1]));
    let sync = Sync { kind: "typing".into(), r#ref: "1".into(), ephemeral: true, payload, ..Sync::default() };
    ada.say(&ClientFrame::Sync(sync));
    alone.receive(*conn, &ada.outgoing);
    alone.event(Happened::HungUp { conn: *sibling, error: None });
    let sends = [alone.turn(|_| None).0, alone.turn(|_| None).0].concat();
    assert!(sends.iter().all(|(to, _)| to == conn), "something was sent to who has gone");
    sends.iter().for_each(|(_, bytes)| ada.take(bytes));
    let receipt = ada.frames().find_map(|frame| match frame {
        ServerFrame::Receipt(receipt) => Some(receipt),
        _ => None,
    });
    let states = &receipt.expect("no receipt").devices;
    assert_eq!((states[0].device, states[0].reason.as_str()), (2, "connection_broken"), "{states:?}");
}

#[test]
fn a_connection_that_breaks_in_the_turn_of_a_push_is_answered_broken() {
    let (mut alone, conns, _) = shard(1);
    let conn = conns[0];
    alone.ask(0, push("one"));
    alone.ask(1, push("two"));
    alone.turn(|bytes| {
        let error = Some(ErrorKind::BrokenPipe);
        Some(Happened::SendIncomplete { conn, rest: bytes.clone(), error })
    });
    assert_eq!(outcome(alone.answer()), Outcome::Broken);
    assert_eq!(outcome(alone.answer()), Outcome::Broken);
    // The session is gone by the next turn.
    alone.ask(2, push("three"));
    let (sends, _) = alone.turn(|_| None);
    assert!(sends.is_empty());
    assert!(
        matches!(alone.answer(), Some(Answer::Pushed(pushed)) if pushed[0].as_ref().unwrap().devices.is_empty())
    );
}

#[test]
fn the_unsent_rest_goes_before_what_is_pushed_in_the_same_turn() {
    let (mut alone, conns, mut device) = shard(1);
    let conn = conns[0];
    alone.ask(0, push("one"));
    let short = |bytes: &Bytes| Some(Happened::SendIncomplete { conn, rest: bytes.slice(7..), error: None });
    let (sends, _) = alone.turn(short);
    device.take(&sends[0].1[..7]);
    alone.ask(1, push("refused"));
    assert!(alone.turn(|_| None).0.is_empty());
    alone.event(Happened::Writable { conn });
    alone.ask(2, push("two"));
    let (sends, _) = alone.turn(|_| None);
    assert_eq!(sends.len(), 1);
    device.take(&sends[0].1);
    assert_eq!(device.kinds(), ["one", "two"]);
    let outcomes = [(); 3].map(|()| outcome(alone.answer()));
    assert_eq!(outcomes, [Outcome::Sent, Outcome::NotKeepingUp, Outcome::Sent]);
}

#[test]
fn what_is_too_much_for_one_turn_goes_out_in_the_next() {
    let (mut alone, _, mut device) = shard(1);
    let many = (0..60).map(|number| {
        let long = message(&format!("{number} {}", "x".repeat(2_000)));
        a_push("user 0", Targets::All, long, Durability::Ephemeral)
    });
    alone.ask(0, RequestBody::Push(many.collect()));
    alone.ask(1, push("behind"));
    let mut turns = 0;
    let answers = loop {
        let (sends, _) = alone.turn(|_| None);
        turns += 1;
        assert_eq!(sends.len(), 1);
        assert!(sends[0].1.len() < 64 * 1024 + 8_192, "{}", sends[0].1.len());
        device.take(&sends[0].1);
        if let Some(answer) = alone.answer() {
            break [answer, alone.answer().expect("the second request is answered with the first")];
        }
    };
    assert_eq!(turns, 4, "240 KB, since the kind is the payload too, at 64 KB a turn");
    let pushed: Vec<_> = answers
        .into_iter()
        .flat_map(|answer| match answer {
            Answer::Pushed(pushed) => pushed,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(
        pushed.len() == 61 && pushed.iter().all(|push| push.as_ref().unwrap().devices[0].1 == Outcome::Sent)
    );
    assert_eq!(device.kinds().len(), 61, "a device that keeps up gets everything");
    assert_eq!(device.kinds()[60], "behind");
}

#[test]
fn a_large_request_is_cut_in_slices_and_each_push_knows_its_own_end() {
    let (mut alone, conns, _) = shard(1_000);
    let one_each = (0..1_000)
        .map(|number| a_push(&format!("user {number}"), Targets::All, message("one"), Durability::Ephemeral));
    alone.ask(0, RequestBody::Push(one_each.collect()));
    // The connection of number 500, which is sent to in the second turn, breaks then.
    let (mut sends, mut turns, broken) = (0, 0, conns[500]);
    let answer = loop {
        let turn = alone.turn_with(|conn, bytes| {
            let error = Some(ErrorKind::BrokenPipe);
            (conn == broken).then(|| Happened::SendIncomplete { conn, rest: bytes.clone(), error })
        });
        turns += 1;
        sends += turn.0.len();
        assert!(turn.0.len() < 500, "{} sends in one turn", turn.0.len());
        if let Some(answer) = alone.answer() {
            break answer;
        }
        assert_eq!(turn.1, Next::Now);
    };
    assert_eq!((sends, turns), (1_000, 3));
    let Answer::Pushed(pushed) = answer else { panic!("{answer:?}") };
    let outcomes: Vec<Outcome> = pushed.iter().map(|push| push.as_ref().unwrap().devices[0].1).collect();
    assert_eq!(outcomes.iter().filter(|&&outcome| outcome == Outcome::Sent).count(), 999);
    assert_eq!(outcomes[500], Outcome::Broken);
}

#[test]
fn pushes_to_nobody_are_cut_in_slices_too() {
    let (mut alone, _, _) = shard(1);
    let nobody = (0..1_000).map(|number| {
        a_push(&format!("nobody {number}"), Targets::All, message("lost"), Durability::Ephemeral)
    });
    alone.ask(0, RequestBody::Push(nobody.collect()));
    let (_, next) = alone.turn(|_| None);
    assert_eq!(next, Next::Now);
    assert!(alone.answer().is_none(), "a thousand look-ups in one turn");
    alone.turn(|_| None);
    alone.turn(|_| None);
    assert!(matches!(alone.answer(), Some(Answer::Pushed(pushed)) if pushed.len() == 1_000));
}

#[test]
fn a_broadcast_is_cut_in_slices_and_pushes_go_between_them() {
    let (mut alone, _, mut device) = shard(1_000);
    let event = Arc::new(Event { name: "news".into(), ..Event::default() });
    alone.ask(0, RequestBody::Broadcast(event));
    let (first, next) = alone.turn(|_| None);
    assert!(first.len() < 500, "{} sends in one turn", first.len());
    assert_eq!(next, Next::Now);
    assert!(alone.answer().is_none());
    alone.ask(1, push("between"));
    let (second, next) = alone.turn(|_| None);
    assert!(second.len() > 1);
    assert_eq!(next, Next::Now);
    assert_eq!(outcome(alone.answer()), Outcome::Sent);
    let (third, next) = alone.turn(|_| None);
    assert!(matches!(next, Next::At(_)), "{next:?}");
    assert!(matches!(alone.answer(), Some(Answer::Broadcast { sent: 1_000, skipped: 0 })));
    assert_eq!(first.len() + second.len() + third.len(), 1_001);
    device.take(&first[0].1);
    assert_eq!(device.events().len(), 1);
}

/// What a shard keeps for one more idle session of a user with one device, to the byte: 80 in the table of connections,
/// 56 in that of users, the user's id (here 9), 12 for the timer and 5 in the table of users' numbers, of which the
/// last two have room to grow.
#[test]
fn an_idle_session_keeps_what_the_results_say() {
    let bytes = |sessions| {
        let (alone, _, _) = shard(sessions);
        alone.bytes_held()
    };
    // Both a whole number of chunks, and tables of numbers that are as full.
    let (few, many) = (1_792, 3_584);
    let each = (bytes(many) - bytes(few)) as f64 / f64::from(many - few);
    eprintln!("an idle session keeps {each:.1} bytes in its shard");
    assert!(each <= 170.0, "an idle session keeps {each:.1} bytes in its shard");
}
