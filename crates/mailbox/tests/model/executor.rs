//! The executor: when it syncs, looks for what has expired, and opens a mailbox anew.

use campanile_mailbox::Append;
use campanile_mailbox::executor::Mailbox;
use campanile_mailbox::model::{Call, ModelMailbox, ModelStore};
use campanile_mailbox::operations::{Answer, Completion, Open, Operation, Takes, Ticket};

use crate::{LATER, NOW, ROOMY, ann, mailbox, message, reads, trim, user};

/// Longer than a mailbox waits before it is opened again, in milliseconds.
const REOPEN_MS: u64 = 500;

/// A store that two shards use.
fn store() -> ModelStore {
    ModelStore::new(mailbox(), 2, 0, 1)
}

fn append(tag: u32, seq: u64) -> Operation {
    Operation::Append(Ticket::new(tag), message(seq, &[1]))
}

fn open(tag: u32, acknowledged: u64, register: bool) -> Operation {
    let open = Open { address: ann(1), acknowledged, register, devices_max: 5, now_ms: NOW };
    Operation::Open(Ticket::new(tag), Box::new(open))
}

/// What a shard has heard, in a word each.
fn heard(store: &ModelStore, shard: usize) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(completions) = store.port(shard).take_completions() {
        words.extend(completions.into_iter().map(word));
    }
    words
}

fn word(completion: Completion) -> String {
    fn of<T>(what: &str, ticket: Ticket<T>, answer: &Answer<T>) -> String {
        format!("{what} {}{}", ticket.number(), if answer.is_ok() { "" } else { " failed" })
    }
    match completion {
        Completion::Appended(ticket, answer) => of("appended", ticket, &answer),
        Completion::Recalled(ticket, answer) => of("recalled", ticket, &answer),
        Completion::Opened(ticket, answer) => of("opened", ticket, &answer),
        Completion::User(ticket, answer) => of("user", ticket, &answer),
        Completion::Registered(ticket, answer) => of("registered", ticket, &answer),
        Completion::Read(ticket, answer) => of("read", ticket, &answer),
        Completion::Fetched(ticket, answer) => of("fetched", ticket, &answer),
        Completion::Removed(ticket, answer) => of("removed", ticket, &answer),
        Completion::Reserved(ticket, answer) => of("reserved", ticket, &answer),
        Completion::Reopened(_) => "reopened".to_owned(),
    }
}

#[test]
fn a_broken_store_does_not_spin() {
    let mut store = store();
    store.turn(NOW);
    store.mailbox().fail_next(Call::Append);
    store.mailbox().fail_next(Call::Reopen);
    store.port(0).ask(vec![append(1, 10)]);
    store.turn(NOW + 1);
    for now in (NOW + 1..NOW + 1 + REOPEN_MS).step_by(50) {
        store.turn(now);
        assert_eq!(store.next_due_ms(), NOW + 1 + REOPEN_MS);
    }
}

#[test]
fn a_clock_that_goes_back_holds_nothing_up() {
    let mut store = store();
    store.turn(NOW);
    store.mailbox().fail_next(Call::Append);
    store.mailbox().fail_next(Call::Reopen);
    store.port(0).ask(vec![append(1, 10)]);
    store.turn(NOW);
    assert_eq!(heard(&store, 0), ["appended 1 failed"]);
    let earlier = NOW / 2;
    store.turn(earlier);
    assert_eq!(heard(&store, 0), ["reopened"]);
    // What nobody waits for, and what expires.
    store.port(0).ask(vec![Operation::Trim(vec![trim(1, 5)])]);
    store.execute(NOW);
    store.commit(earlier);
    assert_eq!(store.mailbox().unsynced(), 0);
    let soon = Append { expires_at_ms: earlier, ..message(11, &[1]) };
    store.port(0).ask(vec![Operation::Append(Ticket::new(2), soon)]);
    store.turn(earlier);
    assert_eq!(store.counts().messages_expired, 1);
}

#[test]
fn what_nobody_waits_for_is_synced_within_a_second_whatever_time_a_shard_says() {
    let mut store = store();
    store.port(0).ask(vec![open(1, 0, true)]);
    store.turn(NOW);
    assert!(!store.commit(NOW + 999));
    assert!(store.commit(NOW + 1_000));
    store.port(0).ask(vec![Operation::Seen(ann(1), LATER * 2)]);
    store.execute(NOW + 2_000);
    assert_eq!(store.mailbox().unsynced(), 1);
    assert!(!store.commit(NOW + 2_999), "a later time seen does not hurry");
    assert!(store.commit(NOW + 3_000));
    assert_eq!(store.mailbox().unsynced(), 0);
    store.port(0).ask(vec![Operation::Seen(ann(1), NOW)]);
    store.turn(NOW + 4_000);
    let record = store.mailbox().user(&user("ann")).unwrap().unwrap();
    assert_eq!(record.devices[0].last_seen_at_ms, LATER * 2, "the last time seen does not go back");
}

#[test]
fn what_has_expired_is_gone_for_good_within_a_second() {
    let mut store = store();
    let soon = Append { expires_at_ms: NOW + 1, ..message(10, &[1]) };
    store.port(0).ask(vec![Operation::Append(Ticket::new(1), soon)]);
    store.turn(NOW);
    store.turn(NOW + 200);
    assert_eq!(store.mailbox().waiting_durably(&ann(1)), [10]);
    assert!(store.commit(NOW + 1_200));
    assert!(store.mailbox().waiting_durably(&ann(1)).is_empty());
}

#[test]
fn what_is_confirmed_when_it_is_asked_for_counts_as_spared_unless_it_fails() {
    let mut store = store();
    let mut confirmed = message(10, &[1]);
    confirmed.envelopes[0].confirmed = true;
    store.port(0).ask(vec![Operation::Append(Ticket::new(1), confirmed)]);
    store.turn(NOW);
    assert_eq!(store.counts().envelopes_spared, 1);
    store.mailbox().fail_next(Call::Append);
    store.port(0).ask(vec![append(2, 11), Operation::Trim(vec![trim(1, 11)])]);
    store.turn(NOW);
    assert_eq!(store.counts().envelopes_spared, 1);
}

#[test]
fn numbers_that_could_not_be_reserved_leave_a_store_that_recovers() {
    let mut store = store();
    store.mailbox().fail_next(Call::Other);
    store.reserve(10).unwrap_err();
    store.port(0).ask(vec![append(1, 10)]);
    store.turn(NOW);
    assert_eq!(heard(&store, 0), ["reopened", "appended 1"]);
    assert!(store.reserve(10).is_ok());
}

#[test]
fn numbers_that_are_reserved_while_the_store_is_broken_are_refused() {
    let mut store = store();
    store.mailbox().fail_next(Call::Append);
    store.mailbox().fail_next(Call::Reopen);
    store.port(0).ask(vec![append(1, 10)]);
    store.turn(NOW);
    store.reserve(10).unwrap_err();
}

#[test]
fn a_slow_store_leaves_out_turns() {
    let mut store = ModelStore::new(mailbox(), 1, 500, 1);
    let mut turns = 0;
    for seq in 1..=200 {
        store.port(0).ask(vec![append(seq, u64::from(seq))]);
        turns += u32::from(store.turn(NOW));
    }
    assert!((50..150).contains(&turns), "{turns}");
}

#[test]
fn a_power_cut_between_the_halves_of_a_turn_takes_no_answer_back() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..1_000 {
        let mut store = ModelStore::new(ModelMailbox::new(7, ROOMY, seed), 1, 0, seed);
        store.port(0).ask(vec![append(1, 1), append(2, 2)]);
        store.turn(NOW);
        store.port(0).ask(vec![append(3, 3), append(4, 4)]);
        store.execute(NOW);
        assert_eq!(heard(&store, 0), ["appended 1", "appended 2"]);
        let mut mailbox = store.cut();
        let left = reads(&mut mailbox, 1);
        assert!(left.starts_with(&[1, 2]) && [1, 2, 3, 4].starts_with(&left), "seed {seed}: {left:?}");
        lost += 4 - left.len();
        kept += left.len() - 2;
    }
    assert!(lost > 500 && kept > 500, "{lost} lost, {kept} kept");
}

#[test]
fn a_store_that_cannot_be_opened_is_tried_again_after_a_while_and_says_so() {
    let mut store = store();
    store.mailbox().fail_next(Call::Append);
    store.mailbox().fail_next(Call::Reopen);
    store.port(0).ask(vec![append(1, 10)]);
    store.turn(NOW);
    assert_eq!(heard(&store, 0), ["appended 1 failed"]);
    assert!(store.counts().failed && store.port(0).takes() == Takes::Nothing);
    store.port(0).ask(vec![append(1, 20)]);
    store.turn(NOW + REOPEN_MS - 1);
    assert_eq!(heard(&store, 0), ["appended 1 failed"]);
    store.port(0).ask(vec![append(1, 21)]);
    store.turn(NOW + REOPEN_MS);
    assert_eq!(heard(&store, 0), ["reopened", "appended 1"]);
    assert_eq!(heard(&store, 1), ["reopened"]);
    assert!(!store.counts().failed && store.port(0).takes() == Takes::Messages);
}
