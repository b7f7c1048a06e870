//! What is left when the process is killed.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::asker::{Asker, ann, body, dedup, device, key, message, topic, trim, user};
use super::{ROOMY, Subject};
use crate::Stored;
use crate::operations::{Completion, Operation, Registration};

/// What is true of the store as far as its answers tell.
#[derive(Default)]
struct Told {
    /// Numbers that are stored for each device.
    stored: BTreeMap<u32, Vec<u64>>,
    /// The highest watermark that each device was said to have.
    trimmed: BTreeMap<u32, u64>,
    /// Messages that are gone for good.
    removed: Vec<(u32, u64)>,
    /// Messages that may be gone: nobody has heard.
    removing: Vec<(u32, u64)>,
    remembered: Vec<u64>,
    devices: Vec<u32>,
}

/// What a store has answered is true after a crash at any moment; the rest may be there or not.
pub fn what_was_answered_survives<S: Subject>() {
    for seed in 0..15 {
        let mut asker = Asker::<S>::new(ROOMY, 1, seed);
        let mut rng = Rng::with_seed(seed);
        let mut known = Told::default();
        let mut number = 0;
        for round in 0..6 {
            for _ in 0..rng.u32(1..12) {
                number = ask(&mut asker, &mut rng, &mut known, number);
                if rng.bool() {
                    asker.turn();
                }
            }
            // The last of it is carried out, or begun, or not even that.
            match rng.u8(..3) {
                0 => asker.turn(),
                1 => asker.store.begin(asker.now_ms),
                _ => {}
            }
            hear(&asker, &mut known);
            asker = asker.reopened(S::crash);
            check(&mut asker, &known, number, &format!("seed {seed}, round {round}"));
        }
    }
}

/// Asks a few things. The highest number so far.
fn ask<S: Subject>(asker: &mut Asker<S>, rng: &mut Rng, known: &mut Told, mut number: u64) -> u64 {
    let mut operations = Vec::new();
    for _ in 0..rng.u32(1..5) {
        // Its ticket says which message an answer is about.
        number += 1;
        let address = ann(rng.u32(1..=3));
        operations.push(match rng.u8(..10) {
            0..6 => {
                let devices: &[u32] = [&[1][..], &[2, 3], &[1, 2, 3]][rng.usize(..3)];
                let append = message(number, devices);
                let append = if rng.bool() { dedup(key(&number.to_string()), append) } else { append };
                Operation::Append(crate::operations::Ticket::new(number as u32), append)
            }
            6 => {
                let up_to = rng.u64(..number);
                let trimmed = known.trimmed.entry(address.device.get()).or_default();
                *trimmed = (*trimmed).max(up_to);
                Operation::Trim(vec![trim(address.device.get(), up_to)])
            }
            7 | 8 => {
                let removed = rng.u64(1..=number);
                known.removing.push((address.device.get(), removed));
                let ticket = crate::operations::Ticket::new((removed as u32) << 2 | address.device.get());
                Operation::Remove(ticket, address, removed)
            }
            _ => {
                let (ticket, now_ms) = (asker.ticket(), asker.now_ms);
                let wanted = Registration { user: user("ann"), device: None, devices_max: 1_000, now_ms };
                Operation::Register(ticket, wanted)
            }
        });
    }
    asker.store.port(0).ask(operations);
    number
}

fn hear<S: Subject>(asker: &Asker<S>, known: &mut Told) {
    for answer in asker.heard(0) {
        match answer {
            Completion::Appended(ticket, Ok(stored)) => {
                let number = u64::from(ticket.number());
                assert!(stored.iter().all(|stored| *stored == Stored::Yes));
                known.remembered.push(number);
                // Which devices it was for is seen by how many there were.
                let devices: &[u32] = [&[][..], &[1], &[2, 3], &[1, 2, 3]][stored.len()];
                devices.iter().for_each(|device| known.stored.entry(*device).or_default().push(number));
            }
            Completion::Removed(ticket, Ok(true)) => {
                known.removed.push((ticket.number() & 3, u64::from(ticket.number() >> 2)));
            }
            // It was confirmed by a watermark that may be taken back, or never there.
            Completion::Removed(_, Ok(false)) => {}
            Completion::Registered(_, Ok(registered)) => known.devices.push(registered.expect("room").get()),
            other => panic!("{other:?}"),
        }
    }
}

fn check<S: Subject>(asker: &mut Asker<S>, known: &Told, last: u64, when: &str) {
    for number in 1..=3 {
        let waiting = asker.reads_all(&ann(number));
        let trimmed = known.trimmed.get(&number).copied().unwrap_or(0);
        assert!(waiting.is_sorted_by(|one, next| one.0 < next.0), "{when}: {waiting:?}");
        assert!(
            waiting.iter().all(|(found, bytes)| *found <= last && *bytes == body(*found, number)),
            "{when}"
        );
        let has = |wanted: u64| waiting.binary_search_by_key(&wanted, |(found, _)| *found).is_ok();
        for stored in known.stored.get(&number).into_iter().flatten().copied() {
            let may_be_gone = stored <= trimmed || known.removing.contains(&(number, stored));
            assert!(may_be_gone || has(stored), "{when}: device {number} has lost {stored}");
        }
        let back = known.removed.iter().find(|(device, removed)| *device == number && has(*removed));
        assert_eq!(back, None, "{when}: it was removed");
        let count = asker.count(&ann(number));
        assert_eq!(
            (count.messages, count.bytes),
            (waiting.len() as u64, 10 * waiting.len() as u64),
            "{when}"
        );
        assert!(count.acknowledged <= trimmed, "{when}: {count:?}");
        assert!(waiting.first().is_none_or(|(first, _)| *first > count.acknowledged), "{when}");
    }
    for number in known.remembered.iter().rev().take(20) {
        // Half of them have an id.
        let remembered = asker.recall(&user("ann"), &key(&number.to_string()));
        assert!(remembered.is_none_or(|remembered| remembered.seq == *number), "{when}");
    }
    let record = asker.user(&user("ann"));
    let lost = known
        .devices
        .iter()
        .find(|number| !record.devices.iter().any(|known| known.device == device(**number)));
    assert_eq!(lost, None, "{when}: it was registered");
}

/// A message comes with its deduplication id and in the place of the one that it replaces, or not at all.
pub fn a_message_is_kept_with_its_id_and_its_topic_or_not_at_all<S: Subject>() {
    for seed in 0..30 {
        let mut asker = Asker::<S>::new(ROOMY, 1, seed);
        asker.append(topic("t", message(1, &[1, 2])));
        let append = dedup(key("a"), topic("t", message(2, &[1, 2])));
        let ticket = asker.ticket();
        asker.store.port(0).ask(vec![Operation::Append(ticket, append)]);
        let answered = seed % 3 == 0;
        if answered {
            asker.turn();
        } else {
            asker.store.begin(asker.now_ms);
        }
        let mut asker = asker.reopened(S::crash);
        let remembered = asker.recall(&user("ann"), &key("a")).is_some();
        assert!(remembered || !answered, "seed {seed}: it was durable");
        let expected: &[u64] = if remembered { &[2] } else { &[1] };
        assert_eq!((&*asker.reads(&ann(1)), &*asker.reads(&ann(2))), (expected, expected), "seed {seed}");
    }
}
