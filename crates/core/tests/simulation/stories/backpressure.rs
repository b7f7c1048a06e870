//! Clients that do not read.

use std::time::Duration;

use campanile_core::requests::{Answer, Outcome, RequestBody};
use campanile_core::settings::HELD_BYTES_MAX;
use campanile_engine::sim::{Ending, Faults};
use campanile_protocol::frame::Opcode;
use campanile_protocol::messages::Encoding::Json;
use campanile_protocol::messages::{ClientFrame, Deliver, Payload, Ping, ServerFrame};

use crate::support::{Entry, Gateway, Seen, Setup, Targets, user};

/// A gateway whose connections hold little, and a device on it that has stopped reading and is blocked.
fn blocked() -> (Gateway, usize, Vec<String>) {
    let faults = Faults { window_bytes_max: 3_000, ..Faults::NONE };
    let mut gateway = Setup::shards(2).faults(faults).start();
    let ada = gateway.device("ada", 1);
    gateway[ada].reads = false;
    let mut sent = Vec::new();
    for number in 0.. {
        let kind = format!("{number}");
        let payload = Some(Payload::data(vec![number as u8; 700]));
        let pushed =
            gateway.push("ada", Targets::All, Deliver { kind: kind.clone(), payload, ..Deliver::default() });
        match pushed.devices[0].1 {
            Outcome::Sent => sent.push(kind),
            Outcome::NotKeepingUp => break,
            other => panic!("{other:?}"),
        }
    }
    (gateway, ada, sent)
}

#[test]
fn a_slow_reader_loses_nothing_that_was_sent_and_gets_nothing_that_was_not() {
    let (mut gateway, ada, mut sent) = blocked();
    assert!(gateway.count("sends_incomplete") > 0);
    assert_eq!(gateway.outcomes("ada", Targets::All, "refused"), [(1, Outcome::NotKeepingUp)]);
    gateway[ada].reads = true;
    gateway.settle();
    assert_eq!(gateway[ada].kinds(), sent);
    assert_eq!(gateway.outcomes("ada", Targets::All, "again"), [(1, Outcome::Sent)]);
    sent.push("again".into());
    assert_eq!(gateway[ada].kinds(), sent);
    assert_eq!(gateway.count("messages_not_keeping_up"), 2);
    gateway.ends_empty();
}

#[test]
fn a_broadcast_passes_over_those_who_do_not_keep_up() {
    let (mut gateway, ada, _) = blocked();
    let home = gateway.home.of(&user("ada"));
    let ticket = gateway.broadcast(home, "news");
    let answer = gateway.settled_answer(ticket);
    assert!(matches!(answer, Answer::Broadcast { sent: 0, skipped: 1 }), "{answer:?}");
    gateway[ada].reads = true;
    gateway.settle();
    assert_eq!(gateway[ada].events().len(), 0);
    gateway.ends_empty();
}

#[test]
fn a_blocked_client_that_reads_again_gets_its_close_frame() {
    let (mut gateway, ada, sent) = blocked();
    let ticket = gateway.ask_home("ada", RequestBody::Disconnect(user("ada"), None));
    gateway.settled_answer(ticket);
    assert_eq!((gateway.count("sessions"), gateway.count("connections")), (0, 1));
    gateway[ada].reads = true;
    gateway.settle();
    assert_eq!(gateway[ada].kinds(), sent);
    assert_eq!((gateway[ada].code(), gateway[ada].ending), (Some(4403), Ending::Closed));
    gateway.ends_empty();
}

#[test]
fn a_blocked_client_that_never_reads_is_let_go_after_a_second() {
    let (mut gateway, ada, _) = blocked();
    let ticket = gateway.ask_home("ada", RequestBody::Disconnect(user("ada"), None));
    gateway.settled_answer(ticket);
    gateway.wait(Duration::from_millis(700));
    assert_eq!(gateway.count("connections"), 1);
    gateway.wait(Duration::from_millis(600));
    gateway.assert_empty();
    gateway[ada].reads = true;
    gateway.settle();
    assert_eq!(gateway[ada].ending, Ending::Reset);
}

#[test]
fn a_client_that_does_not_read_is_closed_however_much_it_sends() {
    let (mut gateway, ada, _) = blocked();
    assert!(gateway.count("bytes_held") > 0);
    for _ in 0..30 {
        gateway[ada].say_raw(Opcode::Ping, b"");
        gateway.wait(Duration::from_millis(500));
    }
    assert_eq!((gateway.count("sessions"), gateway.count("sessions_not_reading")), (0, 1));
    assert_eq!(gateway.count("bytes_held"), 0);
    gateway[ada].reads = true;
    gateway.settle();
    assert_ne!(gateway[ada].ending, Ending::Open);
    gateway.ends_empty();
}

#[test]
fn a_client_that_does_not_read_is_closed_in_time_whatever_else_is_awaited() {
    let (mut gateway, ada, _) = blocked();
    let token = gateway.subscription_token("ada", "news", 3_600);
    gateway[ada].subscribe_with("news", token);
    gateway.wait(Duration::from_secs(9));
    assert_eq!((gateway.count("subscriptions"), gateway.count("sessions_not_reading")), (1, 0));
    gateway.wait(Duration::from_millis(1_500));
    assert_eq!(gateway.count("sessions_not_reading"), 1);
    gateway.ends_empty();
}

/// The header of a masked frame of so many bytes; its mask is of zeros.
fn header(fin: bool, opcode: Opcode, len: u16) -> Vec<u8> {
    let first = opcode as u8 | if fin { 0x80 } else { 0 };
    let mut header = match len {
        0..126 => vec![first, 0x80 | len as u8],
        _ => [&[first, 0x80 | 126], &len.to_be_bytes()[..]].concat(),
    };
    header.extend([0; 4]);
    header
}

#[test]
fn a_message_that_stays_unfinished_ends_the_session_in_time() {
    let part = header(true, Opcode::Binary, 1_000);
    let fragment = [header(false, Opcode::Binary, 4), vec![0; 4]].concat();
    for begun in [&part[..1], &part, &fragment] {
        let mut gateway = Setup::shards(1).start();
        let ada = gateway.device("ada", 1);
        gateway[ada].outgoing.extend(begun);
        gateway.wait(Duration::from_secs(29));
        assert!(gateway[ada].is_connected(), "{:?}", gateway[ada].closed);
        gateway.wait(Duration::from_secs(2));
        assert_eq!((gateway[ada].code(), gateway.count("sessions_message_unfinished")), (Some(1008), 1));
        assert_eq!(gateway.count("bytes_held"), 0);
        gateway.ends_empty();
    }
}

#[test]
fn control_frames_between_fragments_win_no_time() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    gateway[ada].outgoing.extend([header(false, Opcode::Binary, 4), vec![0; 4]].concat());
    for _ in 0..29 {
        gateway[ada].say_raw(Opcode::Ping, b"still here");
        gateway.wait(Duration::from_secs(1));
    }
    assert!(gateway[ada].is_connected(), "{:?}", gateway[ada].closed);
    gateway[ada].say_raw(Opcode::Ping, b"still here");
    gateway.wait(Duration::from_secs(2));
    assert_eq!(gateway[ada].code(), Some(1008));
    gateway.ends_empty();
}

#[test]
fn a_client_that_is_never_between_messages_and_finishes_each_stays() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    // Each second the rest of one ping or message, and the beginning of the next.
    for round in 0..90 {
        match round % 3 {
            0 => gateway[ada].say_raw(Opcode::Ping, b"ping"),
            _ => gateway[ada].say(&ClientFrame::Ping(Ping { nonce: round })),
        }
        let begun = gateway[ada].outgoing.len() - 3;
        let late = gateway[ada].outgoing.split_off(begun);
        gateway.wait(Duration::from_secs(1));
        gateway[ada].outgoing.extend(late);
    }
    gateway.settle();
    assert!(gateway[ada].is_connected(), "{:?}", gateway[ada].closed);
    gateway.ends_empty();
}

#[test]
fn a_large_message_over_a_slow_link_arrives() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    gateway[ada].outgoing.extend(header(true, Opcode::Binary, 60_000));
    for _ in 0..39 {
        gateway[ada].outgoing.extend([0xff; 1_500]);
        gateway.wait(Duration::from_secs(1));
        assert!(gateway[ada].is_connected(), "{:?}", gateway[ada].closed);
    }
    gateway[ada].outgoing.extend([0xff; 1_500]);
    gateway.settle();
    // It was read to its end, and is no frame of the schema.
    assert_eq!(gateway[ada].code(), Some(4400));
    gateway.ends_empty();
}

#[test]
fn who_makes_the_shard_hold_the_most_goes_first_and_not_who_adds_a_byte() {
    let holding = |held_bytes_max: usize| {
        let mut setup = Setup::shards(1);
        setup.held_bytes_max = held_bytes_max;
        let mut gateway = setup.start();
        let devices = ["ada", "bob", "cyd"].map(|name| gateway.device(name, 1));
        for (device, bytes) in devices.into_iter().zip([10_000, 50_000, 100]) {
            let begun = [header(false, Opcode::Binary, bytes), vec![0; bytes.into()]].concat();
            gateway[device].outgoing.extend(begun);
            gateway.settle();
        }
        (gateway, devices)
    };
    let held = holding(HELD_BYTES_MAX).0.count("bytes_held") as usize;
    let (mut gateway, [ada, bob, cyd]) = holding(held);
    assert!([ada, bob, cyd].iter().all(|&device| gateway[device].is_connected()));
    let more = [header(false, Opcode::Continuation, 1_000), vec![0; 1_000]].concat();
    gateway[cyd].outgoing.extend(more);
    gateway.settle();
    assert_eq!((gateway[bob].code(), gateway.count("sessions_over_budget")), (Some(4429), 1));
    assert!(gateway[ada].is_connected() && gateway[cyd].is_connected());
    gateway.ends_empty();
}

#[test]
fn of_the_pings_of_a_client_that_does_not_read_the_last_is_answered() {
    let (mut gateway, ada, sent) = blocked();
    let held = gateway.count("bytes_held");
    for number in 0..100 {
        gateway[ada].say_raw(Opcode::Ping, format!("ping {number}").as_bytes());
        gateway[ada].say(&ClientFrame::Ping(Ping { nonce: number }));
    }
    gateway.wait(Duration::from_millis(500));
    assert!(gateway.count("bytes_held") < held + 100, "pongs are hoarded");
    gateway[ada].reads = true;
    gateway.wait(Duration::from_millis(500));
    assert_eq!(gateway[ada].kinds(), sent);
    let [.., raw, of_schema] = &gateway[ada].seen[..] else { panic!("nothing was sent") };
    assert_eq!(*raw, Seen::Pong(b"ping 99".to_vec()));
    assert!(matches!(of_schema, Seen::Frame(ServerFrame::Pong(pong)) if pong.nonce == 99), "{of_schema:?}");
    gateway.ends_empty();
}

#[test]
fn a_ping_is_answered_however_much_else_the_client_is_sent() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    let payload = Some(Payload::data(vec![7; 64 * 1024]));
    gateway.ask_push("ada", Targets::All, Deliver { kind: "large".into(), payload, ..Deliver::default() });
    for number in 0..20 {
        gateway[ada].say_raw(Opcode::Ping, format!("ping {number}").as_bytes());
    }
    gateway.settle();
    assert!(gateway[ada].has_its_pongs(), "{:?}", gateway[ada].seen.last());
    assert_eq!(gateway[ada].kinds(), ["large"]);
    gateway.ends_empty();
}

#[test]
fn an_echo_gives_everything_back_in_order_however_little_the_network_takes() {
    for seed in 0..20 {
        let faults = Faults { reset: 0, refused_hand_off: 0, window_bytes_max: 600, ..Faults::HOSTILE };
        let mut setup =
            Setup::shards(1).faults(faults).limits(|limits| limits.handshake_timeout_ms = 600_000);
        (setup.echo, setup.seed) = (true, seed);
        let mut gateway = setup.start();
        let device = gateway.enter(0, Json, Entry::Nothing);
        gateway.wait(Duration::from_millis(500));
        let mut expected = Vec::new();
        for number in 0..40u8 {
            let text = format!("{number} {}", "x".repeat(usize::from(number) * 7));
            gateway[device].say_raw(Opcode::Text, text.as_bytes());
            expected.push(Seen::Text(text));
            gateway[device].say_raw(Opcode::Binary, &[number; 50]);
            expected.push(Seen::Binary(vec![number; 50]));
        }
        gateway.wait(Duration::from_secs(1));
        gateway[device].reads = false;
        gateway.wait(Duration::from_secs(1));
        gateway[device].reads = true;
        let data = |seen: &&Seen| **seen != Seen::Ping;
        // Some connections hold only a few bytes.
        for _ in 0..3_000 {
            gateway.wait(Duration::from_millis(200));
            if gateway[device].seen.iter().filter(data).count() == expected.len() {
                break;
            }
        }
        let device = &gateway[device];
        assert!(device.seen.iter().filter(data).eq(expected.iter()), "seed {seed}: {:?}", device.closed);
        gateway.ends_empty();
    }
}
