//! Messages that wait: stored, replayed, confirmed.

use std::time::Duration;

use bytes::Bytes;
use campanile_core::requests::{Answer, Durability, Outcome, PushError, RequestBody};
use campanile_mailbox::{Dedup, DedupKey, DedupScope};
use campanile_protocol::messages::Encoding::{Json, Protobuf};
use campanile_protocol::messages::{Ack, ClientFrame, Deliver, Hello, Payload, ServerFrame, Sync};

use crate::support::store::Call;
use crate::support::{Entry, Gateway, Seen, Setup, Targets, a_push, listed, message, outcomes, user};

/// A gateway on which ada has so many devices registered, none connected.
fn ada_has(devices: u32) -> Gateway {
    let mut gateway = Setup::shards(2).start();
    for number in 1..=devices {
        let ada = gateway.device("ada", number);
        gateway.hang_up(ada, false);
        gateway.settle();
    }
    gateway
}

fn ack(gateway: &mut Gateway, device: usize, seq: u64) {
    gateway[device].say(&ClientFrame::Ack(Ack { seq }));
    gateway.settle();
}

/// Confirms everything that the device has got.
fn ack_all(gateway: &mut Gateway, device: usize) {
    let last = gateway[device].delivered().last().map_or(0, |message| message.seq);
    ack(gateway, device, last);
}

fn is_caught_up(gateway: &Gateway, device: usize) -> bool {
    gateway[device].frames().any(|frame| matches!(frame, ServerFrame::CaughtUp(_)))
}

#[test]
fn a_message_for_a_device_that_is_away_waits_for_it() {
    let mut gateway = ada_has(2);
    assert_eq!(gateway.stored("ada", Targets::All, "one"), [(1, Outcome::Stored), (2, Outcome::Stored)]);
    assert_eq!(
        gateway.stored("ada", listed(&[2, 9]), "two"),
        [(2, Outcome::Stored), (9, Outcome::UnknownDevice)]
    );
    let (one, two) = (gateway.device("ada", 1), gateway.device("ada", 2));
    assert_eq!(gateway[one].welcome().unwrap().waiting, 1);
    assert_eq!(gateway[two].welcome().unwrap().waiting, 2);
    assert_eq!(gateway[one].kinds(), ["one"]);
    assert_eq!(gateway[two].kinds(), ["one", "two"]);
    assert!(is_caught_up(&gateway, one) && is_caught_up(&gateway, two));
    assert_eq!(gateway.stored("ada", Targets::All, "three"), [(1, Outcome::Sent), (2, Outcome::Sent)]);
    assert_eq!(gateway[two].kinds(), ["one", "two", "three"]);
    gateway.ends_empty();
}

#[test]
fn what_is_not_confirmed_comes_again_with_the_same_id_and_what_is_confirmed_does_not() {
    let mut gateway = ada_has(1);
    for kind in ["one", "two", "three"] {
        gateway.stored("ada", Targets::All, kind);
    }
    let first = gateway.device("ada", 1);
    let seen: Vec<(String, u64)> =
        gateway[first].delivered().iter().map(|message| (message.id.clone(), message.seq)).collect();
    ack(&mut gateway, first, seen[0].1);
    let second = gateway.device("ada", 1);
    let again: Vec<(String, u64)> =
        gateway[second].delivered().iter().map(|message| (message.id.clone(), message.seq)).collect();
    assert_eq!(again, seen[1..]);
    assert_eq!(gateway[second].welcome().unwrap().acknowledged, seen[0].1);
    ack_all(&mut gateway, second);
    let third = gateway.device("ada", 1);
    assert_eq!((gateway[third].welcome().unwrap().waiting, gateway[third].kinds().len()), (0, 0));
    gateway.ends_empty();
}

#[test]
fn a_hello_confirms_what_an_earlier_session_got() {
    let mut gateway = ada_has(1);
    for kind in ["one", "two"] {
        gateway.stored("ada", Targets::All, kind);
    }
    let first = gateway.device("ada", 1);
    let seq = gateway[first].delivered()[0].seq;
    let hello = |gateway: &mut Gateway, last, epoch| {
        let token = gateway.token("ada", 1, 60);
        let device = gateway.enter(1, Json, Entry::Nothing);
        gateway.settle();
        gateway[device].say(&ClientFrame::Hello(Hello { token, last, epoch, ..Hello::default() }));
        gateway.settle();
        gateway[device].kinds().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(hello(&mut gateway, seq, 8), ["one", "two"], "another epoch confirms nothing");
    assert_eq!(hello(&mut gateway, u64::MAX, 9), ["one", "two"], "never handed out");
    assert_eq!(gateway.count("acknowledgements_refused"), 2);
    assert_eq!(hello(&mut gateway, seq, 9), ["two"]);
    gateway.ends_empty();
}

#[test]
fn a_user_without_a_device_is_refused_and_nothing_is_stored() {
    let mut gateway = Setup::shards(2).start();
    let refused = gateway.store("ada", Targets::All, message("lost"));
    assert_eq!(refused, Err(PushError::NoDevices));
    assert_eq!(gateway.store("ada", listed(&[1]), message("lost")), Err(PushError::NoDevices));
    let ada = gateway.device("ada", 1);
    assert_eq!(gateway[ada].kinds().len(), 0);
    gateway.ends_empty();
}

#[test]
fn a_confirmation_before_the_commit_is_told_to_the_publisher() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    let push = a_push("ada", Targets::All, message("one"), Durability::Durable);
    let ticket = gateway.ask_home("ada", RequestBody::Push(vec![push]));
    // The store does nothing meanwhile.
    for _ in 0..20 {
        gateway.world.steps(4);
        gateway.pump();
        let last = gateway[ada].delivered().last().map(|message| message.seq);
        if let Some(seq) = last {
            gateway[ada].say(&ClientFrame::Ack(Ack { seq }));
            break;
        }
    }
    gateway.world.steps(10);
    gateway.pump();
    gateway.world.steps(10);
    assert!(!gateway.has_answer(ticket), "answered before it is durable");
    let Answer::Pushed(pushed) = gateway.settled_answer(ticket) else { panic!("another answer") };
    assert_eq!(outcomes(pushed[0].as_ref().unwrap()), [(1, Outcome::Confirmed)]);
    assert_eq!(gateway.store.counts().envelopes_spared, 1, "the write was for nothing");
    gateway.ends_empty();
}

#[test]
fn the_window_bounds_what_is_unconfirmed_and_the_rest_follows_in_order() {
    for encoding in [Protobuf, Json] {
        let mut setup = Setup::shards(1).limits(|limits| {
            limits.window_messages_max = 4;
            limits.window_bytes_max = 3_000;
        });
        setup.seed = 3;
        let mut gateway = setup.start();
        let token = gateway.token("ada", 1, 600);
        let ada = gateway.enter(0, encoding, Entry::Header(token));
        gateway.settle();
        let mut kinds = Vec::new();
        for number in 0..30 {
            let kind = format!("{number}");
            let payload = Payload::data(Bytes::from(vec![0; [10, 10, 10, 10, 10, 2_000, 5_000][number % 7]]));
            gateway
                .store(
                    "ada",
                    Targets::All,
                    Deliver { kind: kind.clone(), payload: Some(payload), ..Deliver::default() },
                )
                .unwrap();
            kinds.push(kind);
        }
        assert_eq!(gateway[ada].kinds(), kinds[..4]);
        let mut seen = 4;
        while seen < kinds.len() {
            ack_all(&mut gateway, ada);
            let now = gateway[ada].kinds().len();
            assert!(now > seen && now <= seen + 4, "{now} after {seen}");
            seen = now;
        }
        assert_eq!(gateway[ada].kinds(), kinds);
        ack_all(&mut gateway, ada);
        assert_eq!(gateway.stored("ada", Targets::All, "live"), [(1, Outcome::Sent)]);
        let (messages, bytes) = (gateway.count("messages_sent"), gateway.count("bytes_held"));
        assert_eq!((messages, bytes), (5, 0), "four and the last were live");
        gateway.ends_empty();
    }
}

#[test]
fn a_device_that_confirms_nothing_while_mail_waits_is_closed() {
    let mut gateway = Setup::shards(1)
        .limits(|limits| {
            limits.window_messages_max = 2;
            limits.acknowledge_timeout_ms = 60_000;
        })
        .start();
    let ada = gateway.device("ada", 1);
    for kind in ["one", "two", "three"] {
        gateway.stored("ada", Targets::All, kind);
    }
    gateway.wait(Duration::from_secs(58));
    assert!(gateway[ada].is_connected());
    gateway.wait(Duration::from_secs(3));
    assert_eq!((gateway[ada].code(), gateway.count("sessions_not_acknowledging")), (Some(4414), 1));
    assert_eq!(gateway[ada].kinds(), ["one", "two"]);
    gateway.ends_empty();
}

#[test]
fn a_device_that_confirms_nothing_and_lacks_nothing_stays() {
    let mut gateway = Setup::shards(1).limits(|limits| limits.window_messages_max = 2).start();
    let ada = gateway.device("ada", 1);
    for kind in ["one", "two"] {
        gateway.stored("ada", Targets::All, kind);
    }
    gateway.wait(Duration::from_secs(130));
    assert!(gateway[ada].is_connected());
    gateway.ends_empty();
}

#[test]
fn a_client_without_acknowledgements_gets_everything_once() {
    let mut gateway = ada_has(1);
    let many: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    for kind in &many {
        gateway.stored("ada", Targets::All, kind);
    }
    let token = gateway.token("ada", 1, 60);
    let connect = |gateway: &mut Gateway| {
        let ada = gateway.dial(0, Json, Entry::Header(token.clone()));
        gateway[ada].ask_upgrade_at("/v2/connect?ack=none");
        gateway.settle();
        ada
    };
    let ada = connect(&mut gateway);
    assert_eq!(gateway[ada].kinds(), many);
    assert_eq!(gateway.stored("ada", Targets::All, "live"), [(1, Outcome::Sent)]);
    gateway.hang_up(ada, false);
    gateway.settle();
    let again = connect(&mut gateway);
    assert_eq!(gateway[again].kinds().len(), 0);
    gateway.ends_empty();
}

#[test]
fn a_retry_with_the_same_deduplication_id_is_the_same_message() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    let push = |kind: &str, digest| {
        let mut push = a_push("ada", Targets::All, message(kind), Durability::Durable);
        push.dedup = Some(Dedup {
            key: DedupKey { scope: DedupScope::Publisher(1), id: "id".into() },
            digest: [digest; 16],
            until_ms: u64::MAX,
        });
        push
    };
    // Both under way at once.
    let tickets = [(); 2].map(|()| gateway.ask_home("ada", RequestBody::Push(vec![push("one", 1)])));
    let answers = tickets.map(|ticket| match gateway.settled_answer(ticket) {
        Answer::Pushed(mut pushed) => pushed.remove(0).unwrap(),
        other => panic!("{other:?}"),
    });
    assert_eq!((answers[0].id, answers[0].duplicate), (answers[1].id, false));
    assert!(answers[1].duplicate);
    let late = gateway.store_push(push("one", 1)).unwrap();
    assert_eq!((late.id, late.duplicate), (answers[0].id, true));
    assert_eq!(gateway.store_push(push("another", 2)), Err(PushError::DedupConflict));
    assert_eq!(gateway[ada].kinds(), ["one"]);
    assert_eq!(gateway.count("pushes_duplicate"), 2);
    gateway.ends_empty();
}

#[test]
fn a_message_of_a_topic_replaces_the_one_that_waits() {
    let mut gateway = ada_has(1);
    for (kind, topic) in [("one", "read"), ("two", ""), ("three", "read")] {
        let message = Deliver { topic: topic.into(), ..message(kind) };
        gateway.store("ada", Targets::All, message).unwrap();
    }
    let ada = gateway.device("ada", 1);
    assert_eq!(gateway[ada].kinds(), ["two", "three"]);
    gateway.ends_empty();
}

#[test]
fn a_sync_reaches_every_sibling_once_and_tells_its_sender() {
    let mut gateway = ada_has(3);
    let (one, two) = (gateway.device("ada", 1), gateway.device("ada", 2));
    let sync = Sync {
        r#ref: "r1".into(),
        kind: "message".into(),
        payload: Some(Payload::text("hi")),
        ..Sync::default()
    };
    for _ in 0..2 {
        gateway[one].say(&ClientFrame::Sync(sync.clone()));
        gateway.settle();
    }
    let receipts: Vec<_> = gateway[one]
        .frames()
        .filter_map(|frame| match frame {
            ServerFrame::Receipt(receipt) => Some(receipt.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(receipts.len(), 2);
    assert_eq!((&*receipts[0].r#ref, &receipts[0].id), ("r1", &receipts[1].id));
    let states: Vec<_> = receipts[0].devices.iter().map(|state| (state.device, &*state.state)).collect();
    assert_eq!(states, [(2, "sent"), (3, "stored")]);
    assert_eq!((gateway[one].kinds().len(), gateway[two].kinds()), (0, vec!["message"]));
    let from = gateway[two].delivered()[0].from.clone().unwrap();
    assert_eq!((from.user.as_str(), from.device), ("ada", 1));
    let three = gateway.device("ada", 3);
    assert_eq!(gateway[three].kinds(), ["message"]);
    gateway.ends_empty();
}

#[test]
fn a_sync_that_asks_for_the_impossible_is_refused_and_the_session_goes_on() {
    let mut gateway = Setup::shards(2).limits(|limits| limits.push_bytes_max = 1_000).start();
    let two = gateway.device("ada", 2);
    gateway.hang_up(two, false);
    let one = gateway.device("ada", 1);
    let good = Sync { r#ref: "r".into(), kind: "message".into(), ..Sync::default() };
    let cases = [
        (Sync { kind: "forward".into(), ..good.clone() }, "invalid_field"),
        (Sync { kind: "read-sync".into(), ..good.clone() }, "invalid_field"),
        (Sync { device: 1, ..good.clone() }, "invalid_field"),
        (Sync { device: 7, ..good.clone() }, "unknown_device"),
        (Sync { kind: String::new(), ..good.clone() }, "invalid_field"),
        (Sync { payload: Some(Payload::data(vec![0; 1_001])), ..good.clone() }, "payload_too_large"),
    ];
    for (sync, reason) in cases {
        gateway[one].say(&ClientFrame::Sync(sync));
        gateway.settle();
        let last = gateway[one].seen.last().cloned();
        let Some(Seen::Frame(ServerFrame::Error(error))) = last else { panic!("{last:?}") };
        assert_eq!((error.reason.as_str(), error.r#ref.as_str()), (reason, "r"));
    }
    let forward = Sync { kind: "forward".into(), device: 2, ..good };
    gateway[one].say(&ClientFrame::Sync(forward));
    gateway.settle();
    let two = gateway.device("ada", 2);
    assert_eq!(gateway[two].kinds(), ["forward"]);
    gateway.ends_empty();
}

#[test]
fn a_push_that_the_store_cannot_keep_is_refused_and_later_ones_are_kept() {
    for call in [Call::Append, Call::Sync] {
        let mut gateway = ada_has(1);
        gateway.store.mailbox().fail_next(call);
        let refused = gateway.store("ada", Targets::All, message("refused"));
        assert!(matches!(refused, Err(PushError::Unavailable(_))), "{refused:?}");
        gateway.wait(Duration::from_secs(1));
        assert_eq!(gateway.stored("ada", Targets::All, "kept"), [(1, Outcome::Stored)]);
        let ada = gateway.device("ada", 1);
        // What was refused may have been stored before the disk failed.
        assert_eq!(gateway[ada].kinds().last(), Some(&"kept"));
        gateway.ends_empty();
    }
}

#[test]
fn a_full_disk_refuses_messages_and_goes_on_delivering() {
    let mut gateway = ada_has(1);
    gateway.stored("ada", Targets::All, "kept");
    gateway.store.mailbox().fill(1);
    assert_eq!(gateway.stored("ada", Targets::All, "refused"), [(1, Outcome::StorageFull)]);
    assert_eq!(gateway.stored("ada", Targets::All, "again"), [(1, Outcome::Stored)]);
    let ada = gateway.device("ada", 1);
    assert_eq!(gateway[ada].kinds(), ["kept", "again"]);
    gateway.ends_empty();
}

#[test]
fn mail_can_be_listed_fetched_and_confirmed_one_by_one() {
    let mut gateway = ada_has(1);
    let ids =
        ["one", "two", "three"].map(|kind| gateway.store("ada", Targets::All, message(kind)).unwrap().id);
    let address = campanile_mailbox::Address { user: user("ada"), device: 1.try_into().unwrap() };
    let list = |gateway: &mut Gateway, after| {
        let body = RequestBody::List { address: address.clone(), after, messages_max: 2 };
        let ticket = gateway.ask_home("ada", body);
        let Answer::Listed(Ok(page)) = gateway.settled_answer(ticket) else { panic!("another answer") };
        (page.messages.iter().map(|waiting| waiting.seq).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(list(&mut gateway, 0), (vec![ids[0].seq, ids[1].seq], true));
    assert_eq!(list(&mut gateway, ids[1].seq).0, [ids[2].seq]);
    let other = campanile_protocol::ids::MessageId { epoch: 1, seq: ids[1].seq };
    for (id, there) in [(ids[1], true), (ids[1], false), (other, false)] {
        let ticket = gateway.ask_home("ada", RequestBody::Confirm(address.clone(), id));
        let Answer::Confirmed(confirmed) = gateway.settled_answer(ticket) else { panic!("another answer") };
        assert_eq!(confirmed, Ok(there));
        let ticket = gateway.ask_home("ada", RequestBody::Fetch(address.clone(), id));
        let Answer::Fetched(fetched) = gateway.settled_answer(ticket) else { panic!("another answer") };
        assert_eq!(fetched, Ok(None));
    }
    let ticket = gateway.ask_home("ada", RequestBody::Fetch(address.clone(), ids[2]));
    assert!(matches!(gateway.settled_answer(ticket), Answer::Fetched(Ok(Some(_)))));
    let ada = gateway.device("ada", 1);
    assert_eq!(gateway[ada].kinds(), ["one", "three"]);
    gateway.ends_empty();
}

#[test]
fn acknowledgements_do_not_count_as_a_flood() {
    let mut gateway = Setup::shards(1).limits(|limits| limits.frames_per_second_max = 1).start();
    let ada = gateway.device("ada", 1);
    for number in 0..60 {
        gateway.stored("ada", Targets::All, &number.to_string());
        ack_all(&mut gateway, ada);
    }
    assert!(gateway[ada].is_connected(), "{:?}", gateway[ada].closed);
    gateway.ends_empty();
}

#[test]
fn an_unknown_device_is_refused_where_tokens_do_not_register() {
    let mut setup = Setup::shards(2);
    setup.auto_register = false;
    let mut gateway = setup.start();
    let token = gateway.token("ada", 1, 60);
    let refused = gateway.enter(0, Json, Entry::Header(token));
    gateway.settle();
    assert_eq!(gateway[refused].status, Some(403));
    assert!(gateway[refused].refusal().contains("device_unknown"));
    for given in [1, 2] {
        let ticket = gateway.ask_home("ada", RequestBody::Register(user("ada"), None));
        let answer = gateway.settled_answer(ticket);
        assert!(matches!(answer, Answer::Registered(Ok(Ok(device))) if device.get() == given), "{answer:?}");
    }
    let ada = gateway.device("ada", 1);
    assert_eq!(gateway.stored("ada", Targets::All, "x"), [(1, Outcome::Sent), (2, Outcome::Stored)]);
    assert_eq!(gateway[ada].kinds(), ["x"]);
    gateway.ends_empty();
}

#[test]
fn a_message_that_does_not_fit_the_window_waits_and_is_not_passed_over() {
    let mut gateway = Setup::shards(1).limits(|limits| limits.window_bytes_max = 1_000).start();
    let ada = gateway.device("ada", 1);
    for kind in ["one", "two", "three"] {
        let payload = Some(Payload::data(vec![0; 600]));
        let message = Deliver { kind: kind.into(), payload, ..Deliver::default() };
        gateway.store("ada", Targets::All, message).unwrap();
    }
    assert_eq!(gateway[ada].kinds(), ["one"], "there is room, but not for another of that size");
    for seen in [2, 3] {
        ack_all(&mut gateway, ada);
        assert_eq!(gateway[ada].kinds(), ["one", "two", "three"][..seen]);
    }
    gateway.ends_empty();
}

#[test]
fn what_was_refused_is_not_confirmed_by_a_session_that_has_nothing_to_confirm() {
    let mut gateway = ada_has(1);
    gateway.store.mailbox().fill(1);
    let push = a_push("ada", Targets::All, message("refused"), Durability::Durable);
    let ticket = gateway.ask_home("ada", RequestBody::Push(vec![push]));
    let token = gateway.token("ada", 1, 60);
    let ada = gateway.enter(0, Protobuf, Entry::Header(token));
    // The session opens and catches up before the sync that the answer waits for.
    for _ in 0..30 {
        gateway.world.steps(4);
        gateway.pump();
        let now_ms = gateway.world.now().unix_ms;
        gateway.store.execute(now_ms);
    }
    assert!(is_caught_up(&gateway, ada) && !gateway.has_answer(ticket));
    let Answer::Pushed(pushed) = gateway.settled_answer(ticket) else { panic!("another answer") };
    assert_eq!(outcomes(pushed[0].as_ref().unwrap()), [(1, Outcome::StorageFull)]);
    assert_eq!(gateway[ada].kinds().len(), 0);
    gateway.ends_empty();
}

#[test]
fn the_receipt_of_an_ephemeral_sync_does_not_wait_for_something_else_to_send() {
    let mut gateway = Setup::shards(1).start();
    let (one, two) = (gateway.device("ada", 1), gateway.device("ada", 2));
    let sync = Sync { r#ref: "r".into(), kind: "typing".into(), ephemeral: true, ..Sync::default() };
    gateway[one].say(&ClientFrame::Sync(sync));
    // A shard with nothing to do sleeps; what it does then all the same, no driver would have woken it for.
    gateway.settle();
    let receipt = gateway[one].frames().find_map(|frame| match frame {
        ServerFrame::Receipt(receipt) => Some(receipt.devices[0].state.clone()),
        _ => None,
    });
    assert_eq!(receipt.as_deref(), Some("sent"));
    assert_eq!(gateway[two].kinds(), ["typing"]);
    gateway.ends_empty();
}

#[test]
fn a_connected_device_that_the_store_forgot_is_registered_again() {
    for seed in 0..8 {
        let mut setup = Setup::shards(1);
        setup.seed = seed;
        let mut gateway = setup.start();
        let ada = gateway.device("ada", 1);
        // That it is registered is not synced yet.
        gateway.store.mailbox().fail_next(Call::Sync);
        let refused = gateway.store("ada", Targets::All, message("refused"));
        assert!(matches!(refused, Err(PushError::Unavailable(_))), "{refused:?}");
        gateway.wait(Duration::from_secs(1));
        assert_eq!(gateway.stored("ada", Targets::All, "kept"), [(1, Outcome::Sent)]);
        assert_eq!(gateway[ada].kinds().last(), Some(&"kept"));
        ack_all(&mut gateway, ada);
        gateway.ends_empty();
    }
}

#[test]
fn a_session_keeps_its_user_while_many_who_are_away_are_pushed_to() {
    let mut gateway = Setup::shards(1).start();
    let mut ada = gateway.device("ada", 1);
    let bob = gateway.device("bob", 2);
    gateway.hang_up(bob, false);
    gateway.settle();
    // As many as are remembered, each needed twice.
    for _ in 0..2 {
        for part in 0..32 {
            let pushes = (0..512).map(|number| {
                let name = format!("nobody {part} {number}");
                a_push(&name, Targets::All, message("x"), Durability::Durable)
            });
            let ticket = gateway.ask(0, RequestBody::Push(pushes.collect()));
            gateway.settled_answer(ticket);
        }
    }
    // Coming back replaces the older session.
    for _ in 0..3 {
        ada = gateway.device("ada", 1);
    }
    assert_eq!(gateway.stored("bob", Targets::All, "for bob"), [(2, Outcome::Stored)]);
    assert_eq!(gateway.stored("ada", Targets::All, "for ada"), [(1, Outcome::Sent)]);
    assert_eq!(gateway[ada].kinds(), ["for ada"]);
    gateway.ends_empty();
}

#[test]
fn the_end_of_the_replay_is_told_although_new_messages_keep_coming() {
    let mut gateway = Setup::shards(1).limits(|limits| limits.window_messages_max = 2).start();
    let ada = gateway.device("ada", 1);
    gateway.hang_up(ada, false);
    gateway.settle();
    for kind in ["one", "two", "three"] {
        gateway.stored("ada", Targets::All, kind);
    }
    let ada = gateway.device("ada", 1);
    // Two messages for each that is confirmed: the device never has everything.
    for number in 0..6 {
        gateway.stored("ada", Targets::All, &format!("new {number}"));
        gateway.stored("ada", Targets::All, &format!("newer {number}"));
        let last = gateway[ada].delivered().last().map(|message| message.seq).unwrap();
        ack(&mut gateway, ada, last - 1);
    }
    assert!(is_caught_up(&gateway, ada));
    let caught_up = gateway[ada].frames().filter(|frame| matches!(frame, ServerFrame::CaughtUp(_))).count();
    assert_eq!(caught_up, 1);
    gateway.ends_empty();
}

#[test]
fn a_retry_is_told_of_unknown_devices_as_the_first_was() {
    let mut gateway = ada_has(1);
    let mut push = a_push("ada", listed(&[1, 9]), message("one"), Durability::Durable);
    push.dedup = Some(Dedup {
        key: DedupKey { scope: DedupScope::Publisher(1), id: "id".into() },
        digest: [1; 16],
        until_ms: u64::MAX,
    });
    let first = outcomes(&gateway.store_push(push.clone()).unwrap());
    assert_eq!(first, [(1, Outcome::Stored), (9, Outcome::UnknownDevice)]);
    assert_eq!(outcomes(&gateway.store_push(push).unwrap()), first);
    gateway.ends_empty();
}

#[test]
fn many_pushes_that_waited_for_one_user_are_all_executed_in_order() {
    let mut gateway = ada_has(1);
    let ada = gateway.device("ada", 1);
    gateway[ada].say_close(1000);
    gateway.settle();
    // A new gateway knows nobody: everything waits until the store has told who ada is.
    let mailbox = gateway.store.cut();
    let mut setup = Setup::shards(1);
    setup.mailbox = Some(mailbox);
    let mut gateway = setup.start();
    let pushes = (0..900)
        .map(|number: u32| a_push("ada", Targets::All, message(&number.to_string()), Durability::Durable));
    let ticket = gateway.ask(0, RequestBody::Push(pushes.collect()));
    gateway.settle();
    let Some(Answer::Pushed(pushed)) = gateway.answer(ticket) else { panic!("no answer") };
    let seqs: Vec<u64> = pushed.iter().map(|pushed| pushed.as_ref().unwrap().id.seq).collect();
    assert_eq!(seqs.len(), 900);
    assert!(seqs.is_sorted());
    gateway.ends_empty();
}

#[test]
fn what_a_full_or_failed_store_is_going_to_refuse_is_not_sent_either() {
    let mut gateway = Setup::shards(1).start();
    let ada = gateway.device("ada", 1);
    gateway.store.mailbox().fill(3);
    gateway.wait(Duration::from_millis(300));
    assert_eq!(gateway.stored("ada", Targets::All, "refused"), [(1, Outcome::StorageFull)]);
    gateway.store.mailbox().fill(0);
    gateway.wait(Duration::from_millis(300));
    assert_eq!(gateway.stored("ada", Targets::All, "kept"), [(1, Outcome::Sent)]);
    gateway.store.mailbox().fail_for(1_000);
    gateway.wait(Duration::from_millis(300));
    let refused = gateway.store("ada", Targets::All, message("failed"));
    assert!(matches!(refused, Err(PushError::Unavailable(_))), "{refused:?}");
    assert_eq!(gateway[ada].kinds(), ["kept"]);
    gateway.ends_empty();
}

#[test]
fn a_window_that_stays_shut_ends_the_session_in_time() {
    let mut gateway = Setup::shards(1)
        .limits(|limits| {
            limits.window_messages_max = 1;
            limits.acknowledge_timeout_ms = 2_000;
        })
        .start();
    let ada = gateway.device("ada", 1);
    for kind in ["one", "two"] {
        gateway.stored("ada", Targets::All, kind);
    }
    gateway.wait(Duration::from_millis(1_700));
    assert!(gateway[ada].is_connected());
    gateway.wait(Duration::from_millis(600));
    assert_eq!(gateway[ada].code(), Some(4414));
    gateway.ends_empty();
}
