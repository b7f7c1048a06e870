//! The executor: what shards hear, in which order, and what they hear when the disk fails.

use campanile_mailbox::operations::{Completion, Open, Operation, RegisterError, Registration, Tag};
use campanile_mailbox::{Append, Mailbox, Stored};

use crate::store::{Call, ModelMailbox, SimStore, StoreFaults};
use crate::{LATER, NOW, ROOMY, ann, dedup, device, key, mailbox, message, reads, topic, trim, user};

/// Longer than a mailbox waits before it is opened again, in milliseconds.
const REOPEN_MS: u64 = 500;

/// A store that two shards use.
fn store() -> SimStore {
    SimStore::new(mailbox(), 2, 0, 1)
}

fn append(tag: u32, seq: u64) -> Operation {
    Operation::Append(Tag(tag), message(seq, &[1]))
}

fn read(tag: u32) -> Operation {
    Operation::Read { tag: Tag(tag), address: ann(1), after: 0, messages_max: 100, bytes_max: 1_000 }
}

fn open(tag: u32, acknowledged: u64, register: bool) -> Operation {
    let open = Open { address: ann(1), acknowledged, register, devices_max: 5, now_ms: NOW };
    Operation::Open(Tag(tag), Box::new(open))
}

fn register(tag: u32, number: Option<u32>) -> Operation {
    let wanted = Registration { user: user("ann"), device: number.map(device), devices_max: 5, now_ms: NOW };
    Operation::Register(Tag(tag), wanted)
}

/// What a shard has heard, in a word each.
fn heard(store: &SimStore, shard: usize) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(completions) = store.port(shard).take_completions() {
        words.extend(completions.into_iter().map(word));
    }
    words
}

fn word(completion: Completion) -> String {
    let (what, tag, works) = match completion {
        Completion::Appended(tag, outcome) => ("appended", tag, outcome.is_ok()),
        Completion::Recalled(tag, outcome) => ("recalled", tag, outcome.is_ok()),
        Completion::Opened(tag, outcome) => ("opened", tag, outcome.is_ok()),
        Completion::User(tag, outcome) => ("user", tag, outcome.is_ok()),
        Completion::Registered(tag, outcome) => ("registered", tag, outcome.is_ok()),
        Completion::Read(tag, outcome) => ("read", tag, outcome.is_ok()),
        Completion::Fetched(tag, outcome) => ("fetched", tag, outcome.is_ok()),
        Completion::Removed(tag, outcome) => ("removed", tag, outcome.is_ok()),
        Completion::Reserved(outcome) => ("reserved", Tag(0), outcome.is_ok()),
        Completion::Reopened => return "reopened".to_owned(),
    };
    format!("{what} {}{}", tag.0, if works { "" } else { " failed" })
}

/// One of everything that is answered.
fn everything() -> Vec<Operation> {
    vec![
        append(1, 10),
        Operation::Recall(Tag(2), user("ann"), key("a")),
        open(3, 0, true),
        Operation::User(Tag(4), user("ann")),
        register(5, None),
        read(6),
        Operation::Fetch(Tag(7), ann(1), 10),
        Operation::Remove(Tag(8), ann(1), 10),
        Operation::Reserve(100),
    ]
}

#[test]
fn promises_come_after_the_commit_and_the_rest_at_once() {
    let mut store = store();
    store.port(0).ask(everything());
    assert!(store.has_work());
    assert!(store.execute(NOW) && !store.has_work());
    assert_eq!(heard(&store, 0), ["recalled 2", "opened 3", "user 4", "read 6", "fetched 7", "reserved 0"]);
    assert!(store.commit(NOW));
    assert_eq!(heard(&store, 0), ["appended 1", "registered 5", "removed 8"]);
    assert!(heard(&store, 1).is_empty());
    assert_eq!(store.mailbox().unsynced(), 0);
    assert!(!store.commit(NOW), "nothing is left to commit");
}

#[test]
fn a_read_sees_what_was_asked_before_it() {
    let mut store = store();
    store.port(0).ask(vec![append(1, 10), read(2), append(3, 11)]);
    store.execute(NOW);
    match store.port(0).take_completions().unwrap().remove(0) {
        Completion::Read(Tag(2), Ok(page)) => assert_eq!(page.messages[0].seq, 10),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_failed_sync_every_promise_is_a_failure_and_every_shard_hears_of_it() {
    let mut store = store();
    store.port(0).ask(everything());
    store.port(1).ask(vec![Operation::Append(Tag(9), message(11, &[2]))]);
    store.execute(NOW);
    heard(&store, 0);
    store.mailbox().fail_next(Call::Sync);
    store.commit(NOW);
    let failed = ["appended 1 failed", "registered 5 failed", "removed 8 failed", "reopened"];
    assert_eq!(heard(&store, 0), failed);
    assert_eq!(heard(&store, 1), ["appended 9 failed", "reopened"]);
    assert_eq!(store.counters.failures.get(), 1);
    assert!(store.counters.failed.get() == 0);
    store.port(0).ask(vec![append(1, 20), read(2)]);
    assert!(store.turn(NOW));
    assert_eq!(heard(&store, 0), ["read 2", "appended 1"]);
    assert!(store.mailbox().waiting_durably(&ann(1)).contains(&20));
}

#[test]
fn while_the_store_cannot_be_opened_everything_is_refused() {
    let mut store = store();
    store.mailbox().fail_next(Call::Append);
    store.mailbox().fail_next(Call::Reopen);
    store.port(0).ask(everything());
    store.turn(NOW);
    let answers = heard(&store, 0);
    assert_eq!(answers.len(), everything().len(), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.ends_with(" failed")), "{answers:?}");
    assert!(store.counters.failed.get() == 1);
    store.port(0).ask(vec![append(1, 20)]);
    store.turn(NOW + REOPEN_MS - 1);
    assert_eq!(heard(&store, 0), ["appended 1 failed"]);
    store.port(0).ask(vec![append(1, 21)]);
    store.turn(NOW + REOPEN_MS);
    assert_eq!(heard(&store, 0), ["reopened", "appended 1"]);
    assert_eq!(heard(&store, 1), ["reopened"]);
    assert!(store.counters.failed.get() == 0);
}

#[test]
fn whatever_is_heard_after_the_news_of_a_failure_was_done_after_it() {
    for (fails, lost) in [(Call::Append, "appended 3 failed"), (Call::Other, "read 2 failed")] {
        let mut store = store();
        let first = Operation::Append(Tag(1), message(10, &[1]));
        let operations = match fails {
            Call::Append => vec![append(3, 11), read(4), append(5, 12)],
            _ => vec![first, read(2), read(4), append(5, 12)],
        };
        store.mailbox().fail_next(fails);
        store.port(0).ask(operations);
        store.turn(NOW);
        let answers = heard(&store, 0);
        let news = answers.iter().position(|answer| answer == "reopened").unwrap();
        assert!(answers[..news].contains(&lost.to_owned()), "{answers:?}");
        assert_eq!(answers[news + 1..], ["read 4", "appended 5"], "{answers:?}");
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
fn a_disk_that_goes_on_failing_is_not_opened_again_for_every_operation() {
    let mut store = store();
    store.turn(NOW);
    (0..50).for_each(|_| store.mailbox().fail_next(Call::Other));
    store.port(0).ask((0..50).map(read).collect());
    store.turn(NOW);
    let answers = heard(&store, 0);
    assert_eq!(answers.len(), 51);
    assert_eq!(answers.iter().filter(|answer| *answer == "reopened").count(), 1);
    store.turn(NOW + REOPEN_MS - 1);
    assert!(heard(&store, 0).is_empty());
    store.turn(NOW + REOPEN_MS);
    assert_eq!(heard(&store, 0), ["reopened"]);
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
    store.port(0).ask(vec![Operation::Append(Tag(2), soon)]);
    store.turn(earlier);
    assert_eq!(store.counters.messages_expired.get(), 1);
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
    store.port(0).ask(vec![Operation::Append(Tag(1), soon)]);
    store.turn(NOW);
    store.turn(NOW + 200);
    assert_eq!(store.mailbox().waiting_durably(&ann(1)), [10]);
    assert!(store.commit(NOW + 1_200));
    assert!(store.mailbox().waiting_durably(&ann(1)).is_empty());
}

#[test]
fn what_is_confirmed_within_one_drain_is_not_written_and_its_id_is() {
    let mut store = store();
    let sent = dedup(key("a"), topic("t", message(10, &[1, 2])));
    store.port(0).ask(vec![Operation::Append(Tag(1), sent)]);
    store.port(0).ask(vec![Operation::Trim(vec![trim(1, 10), trim(2, 9)])]);
    store.port(0).ask(vec![append(2, 11)]);
    store.turn(NOW);
    for completions in store.port(0).take_completions().into_iter().flatten() {
        let Completion::Appended(_, Ok(outcomes)) = completions else { panic!("{completions:?}") };
        assert!(outcomes.iter().all(|&stored| stored == Stored::Yes));
    }
    assert_eq!(store.counters.envelopes_spared.get(), 1);
    let mut mailbox = store.cut();
    assert_eq!((reads(&mut mailbox, 1), reads(&mut mailbox, 2)), (vec![11], vec![10]));
    let remembered = mailbox.recall(&user("ann"), &key("a"), NOW).unwrap().unwrap();
    assert_eq!(remembered.outcomes, [(device(1), Stored::Yes), (device(2), Stored::Yes)]);
}

#[test]
fn a_trim_spares_nothing_that_was_asked_after_it() {
    let mut store = store();
    store.port(0).ask(vec![Operation::Trim(vec![trim(1, 9)]), append(1, 10), append(2, 11)]);
    store.port(0).ask(vec![Operation::Trim(vec![trim(1, 10)]), Operation::Trim(vec![trim(1, 4)])]);
    store.turn(NOW);
    assert_eq!(store.counters.envelopes_spared.get(), 1);
    assert_eq!(reads(store.mailbox(), 1), [11]);
}

#[test]
fn what_is_confirmed_when_it_is_asked_for_counts_as_spared_unless_it_fails() {
    let mut store = store();
    let mut confirmed = message(10, &[1]);
    confirmed.envelopes[0].confirmed = true;
    store.port(0).ask(vec![Operation::Append(Tag(1), confirmed)]);
    store.turn(NOW);
    assert_eq!(store.counters.envelopes_spared.get(), 1);
    store.mailbox().fail_next(Call::Append);
    store.port(0).ask(vec![append(2, 11), Operation::Trim(vec![trim(1, 11)])]);
    store.turn(NOW);
    assert_eq!(store.counters.envelopes_spared.get(), 1);
}

#[test]
fn nothing_is_kept_of_a_device_that_is_turned_away() {
    let mut store = store();
    store.port(0).ask(vec![open(1, 50, false)]);
    store.turn(NOW);
    match store.port(0).take_completions().unwrap().remove(0) {
        Completion::Opened(Tag(1), Ok(opened)) => {
            assert_eq!(opened.admitted, Err(RegisterError::Unknown));
            assert!(opened.user.devices.is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.mailbox().unsynced(), 0);
    store.port(0).ask(vec![append(2, 60), open(3, 60, true)]);
    store.execute(NOW);
    match store.port(0).take_completions().unwrap().remove(0) {
        Completion::Opened(Tag(3), Ok(opened)) => {
            assert_eq!((opened.count.messages, opened.count.acknowledged), (0, 60));
        }
        other => panic!("{other:?}"),
    }
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
fn devices_are_registered_up_to_the_limit_and_numbers_are_not_given_twice() {
    let mut store = store();
    store.port(0).ask(vec![register(1, Some(7)), register(2, None), register(3, Some(7))]);
    store.port(0).ask(vec![register(4, None), register(5, None), register(6, None), register(7, None)]);
    store.turn(NOW);
    let answers = store.port(0).take_completions().unwrap();
    let registered: Vec<_> = answers
        .into_iter()
        .map(|completion| match completion {
            Completion::Registered(_, Ok(outcome)) => outcome.map(|device| device.get()),
            other => panic!("{other:?}"),
        })
        .collect();
    let too_many = Err(RegisterError::TooMany);
    assert_eq!(registered, [Ok(7), Ok(8), Err(RegisterError::Exists), Ok(9), Ok(10), Ok(11), too_many]);
}

#[test]
fn a_slow_store_leaves_out_turns() {
    let mut store = SimStore::new(mailbox(), 1, 500, 1);
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
        let mut store = SimStore::new(ModelMailbox::new(7, ROOMY, seed), 1, 0, seed);
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
fn every_question_is_answered_once_and_what_was_promised_is_there() {
    for seed in 0..500 {
        let mut store = SimStore::new(ModelMailbox::new(7, ROOMY, seed), 2, 200, seed);
        store.mailbox().set_faults(StoreFaults::HOSTILE);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut now, mut asked) = (NOW, [0u32; 2]);
        let mut promised = [Vec::new(), Vec::new()];
        let mut answers = [0; 2];
        while now < NOW + 20_000 {
            let shard = rng.usize(0..2);
            for _ in 0..rng.u32(0..8) {
                asked[shard] += 1;
                let (tag, seq) = (Tag(asked[shard]), u64::from(asked[shard]));
                let mut append = message(seq, &[1]);
                append.user = user(["ann", "bob"][shard]);
                let mut address = ann(1);
                address.user = append.user.clone();
                store.port(shard).ask(vec![match rng.u32(0..4) {
                    0..3 => Operation::Append(tag, append),
                    _ => Operation::Fetch(tag, address, seq),
                }]);
            }
            store.turn(now);
            now += rng.u64(0..200);
            for shard in 0..2 {
                take(&store, shard, &mut answers[shard], &mut promised[shard]);
            }
        }
        store.mailbox().set_faults(StoreFaults::NONE);
        for _ in 0..10 {
            now += REOPEN_MS;
            store.turn(now);
        }
        (0..2).for_each(|shard| take(&store, shard, &mut answers[shard], &mut promised[shard]));
        assert_eq!(answers, asked, "seed {seed}");
        let mailbox = store.cut();
        for (shard, promised) in promised.iter().enumerate() {
            let mut address = ann(1);
            address.user = user(["ann", "bob"][shard]);
            let waiting = mailbox.waiting(&address);
            let lost: Vec<_> = promised.iter().filter(|seq| !waiting.contains(seq)).collect();
            assert!(lost.is_empty() && !promised.is_empty(), "seed {seed}: lost {lost:?}");
        }
    }
}

/// Counts answers, and keeps the numbers of the messages that are promised to be stored.
fn take(store: &SimStore, shard: usize, answers: &mut u32, promised: &mut Vec<u64>) {
    while let Some(completions) = store.port(shard).take_completions() {
        for completion in completions {
            match completion {
                Completion::Appended(Tag(tag), Ok(outcomes)) if outcomes == [Stored::Yes] => {
                    promised.push(u64::from(tag));
                }
                Completion::Reopened => continue,
                _ => {}
            }
            *answers += 1;
        }
    }
}
