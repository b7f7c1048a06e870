//! What the mailbox keeps when the power is cut, and what it does on a disk that fails.

use campanile_mailbox::executor::Mailbox;
use campanile_mailbox::model::{Call, ModelMailbox, StoreFaults};
use campanile_mailbox::{Count, Stored, UserRecord};
use fastrand::Rng;

use crate::{LATER, NOW, ROOMY, ann, dedup, key, mailbox, message, reads, store, topic, trim, user};

const SEEDS: u64 = 1_000;

/// All that can be seen of the mailbox through the contract.
type Sight = (Vec<u64>, Vec<u64>, Count, Count, Vec<bool>, Option<UserRecord>);

fn sight(mailbox: &mut ModelMailbox) -> Sight {
    let mut recalls = |seq: u64| mailbox.recall(&user("ann"), &key(&seq.to_string()), NOW).unwrap().is_some();
    let remembered = (1..=40).map(&mut recalls).collect();
    let counts = (mailbox.count(&ann(1)).unwrap(), mailbox.count(&ann(2)).unwrap());
    let record = mailbox.user(&user("ann")).unwrap();
    (reads(mailbox, 1), reads(mailbox, 2), counts.0, counts.1, remembered, record)
}

/// Makes one atomic change.
fn change(mailbox: &mut ModelMailbox, rng: &mut Rng, seq: u64) {
    let devices: &[u32] = [&[1][..], &[2], &[1, 2]][rng.usize(0..3)];
    match rng.u32(0..10) {
        0..5 => drop(store(mailbox, dedup(key(&seq.to_string()), message(seq, devices)))),
        5..7 => drop(store(mailbox, topic("t", message(seq, devices)))),
        7 => mailbox.trim(&[trim(devices[0], rng.u64(0..seq))]).unwrap(),
        8 => drop(mailbox.remove(&ann(devices[0]), rng.u64(0..seq), NOW).unwrap()),
        _ => {
            let record = UserRecord { devices: Vec::new(), last_device: seq as u32 };
            mailbox.put_user(&user("ann"), &record).unwrap();
        }
    }
}

/// After random changes with syncs in between: what was seen since the last sync, oldest first, and the mailbox.
fn history(seed: u64) -> (Vec<Sight>, ModelMailbox) {
    let mut rng = Rng::with_seed(seed);
    let mut mailbox = ModelMailbox::new(7, ROOMY, rng.u64(..));
    let mut seen = vec![sight(&mut mailbox)];
    for seq in 1..=rng.u64(1..40) {
        if rng.u32(0..12) == 0 {
            mailbox.sync().unwrap();
            seen.drain(..seen.len() - 1);
        }
        change(&mut mailbox, &mut rng, seq);
        seen.push(sight(&mut mailbox));
    }
    (seen, mailbox)
}

/// Whether what is left was seen once since the last sync; counts where.
fn assert_prefix(seed: u64, seen: &[Sight], left: &Sight, kinds: &mut [u32; 3]) {
    let at = seen.iter().position(|sight| sight == left);
    let at = at.unwrap_or_else(|| panic!("seed {seed}: this never was: {left:?}"));
    let kind = if at == 0 {
        0
    } else if at + 1 == seen.len() {
        2
    } else {
        1
    };
    kinds[kind] += 1;
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_a_prefix_of_the_rest() {
    let mut kinds = [0; 3];
    for seed in 0..SEEDS {
        let (seen, mailbox) = history(seed);
        let mut left = mailbox.power_cut();
        let after = sight(&mut left);
        assert_prefix(seed, &seen, &after, &mut kinds);
        // What has survived once is not lost by the next power cut.
        assert_eq!(sight(&mut left.power_cut()), after, "seed {seed}");
    }
    assert!(kinds.iter().all(|&count| count > SEEDS as u32 / 20), "nothing, some and all is kept: {kinds:?}");
}

#[test]
fn a_failed_sync_keeps_a_prefix_of_what_was_not_synced() {
    let mut kinds = [0; 3];
    for seed in 0..SEEDS {
        let (seen, mut mailbox) = history(seed);
        mailbox.fail_next(Call::Sync);
        mailbox.sync().unwrap_err();
        mailbox.reopen().unwrap();
        let left = sight(&mut mailbox);
        assert_prefix(seed, &seen, &left, &mut kinds);
        assert_eq!(mailbox.unsynced(), 0);
        mailbox.sync().unwrap();
        assert_eq!(sight(&mut mailbox.power_cut()), left, "seed {seed}");
    }
    assert!(kinds.iter().all(|&count| count > SEEDS as u32 / 20), "nothing, some and all is kept: {kinds:?}");
}

#[test]
fn what_was_synced_survives() {
    for seed in 0..SEEDS {
        let (_, mut mailbox) = history(seed);
        mailbox.sync().unwrap();
        assert_eq!(mailbox.waiting(&ann(1)), mailbox.waiting_durably(&ann(1)), "seed {seed}");
        let before = sight(&mut mailbox);
        assert_eq!(sight(&mut mailbox.power_cut()), before, "seed {seed}");
    }
}

#[test]
fn a_message_is_kept_with_its_id_and_its_topic_or_not_at_all() {
    let mut kept = 0;
    for seed in 0..SEEDS {
        let mut mailbox = ModelMailbox::new(7, ROOMY, seed);
        store(&mut mailbox, topic("t", message(1, &[1, 2])));
        mailbox.sync().unwrap();
        store(&mut mailbox, dedup(key("a"), topic("t", message(2, &[1, 2]))));
        let mut left = mailbox.power_cut();
        let remembered = left.recall(&user("ann"), &key("a"), NOW).unwrap().is_some();
        let expected: &[u64] = if remembered { &[2] } else { &[1] };
        assert_eq!((&*reads(&mut left, 1), &*reads(&mut left, 2)), (expected, expected), "seed {seed}");
        kept += u64::from(remembered);
    }
    assert!((SEEDS / 4..SEEDS * 3 / 4).contains(&kept), "{kept}");
}

#[test]
fn numbers_are_durable_at_once() {
    for seed in 0..SEEDS {
        let mut mailbox = ModelMailbox::new(7, ROOMY, seed);
        store(&mut mailbox, message(1, &[1]));
        let range = mailbox.reserve(100).unwrap();
        let mut mailbox = mailbox.power_cut();
        assert_eq!(mailbox.next_number(), range.end);
        mailbox.fail_next(Call::Other);
        mailbox.reserve(100).unwrap_err();
        mailbox.reopen().unwrap();
        let next = mailbox.reserve(1).unwrap().start;
        assert!(next == range.end || next == range.end + 100, "seed {seed}: {next}");
    }
}

#[test]
fn a_failed_append_has_appended_a_prefix() {
    let mut seen = [false; 4];
    for seed in 0..SEEDS {
        let mut mailbox = ModelMailbox::new(7, ROOMY, seed);
        mailbox.fail_next(Call::Append);
        mailbox.append(&[message(1, &[1]), message(2, &[1]), message(3, &[1])], NOW).unwrap_err();
        mailbox.reopen().unwrap();
        let left = reads(&mut mailbox, 1);
        assert!([1, 2, 3].starts_with(&left), "seed {seed}: {left:?}");
        seen[left.len()] = true;
    }
    assert_eq!(seen, [true; 4]);
}

#[test]
#[should_panic(expected = "Append on a mailbox that has failed")]
fn use_after_a_failure_is_noticed() {
    let mut mailbox = mailbox();
    mailbox.fail_next(Call::Sync);
    mailbox.sync().unwrap_err();
    store(&mut mailbox, message(1, &[1]));
}

#[test]
fn a_spell_of_failures_ends_by_itself() {
    let mut mailbox = mailbox();
    mailbox.fail_for(3);
    mailbox.expire(LATER, 10).unwrap_err();
    mailbox.reopen().unwrap_err();
    mailbox.reopen().unwrap_err();
    mailbox.reopen().unwrap();
    assert_eq!(store(&mut mailbox, message(1, &[1])), [Stored::Yes]);
}

#[test]
fn a_hostile_disk_does_all_that_it_may() {
    let mut mailbox = mailbox();
    mailbox.set_faults(StoreFaults::HOSTILE);
    let (mut failed, mut refused, mut stored, mut reopens_failed) = ([0; 2], 0, 0, 0);
    for seq in 1..=20_000 {
        let outcome = mailbox.append(&[message(seq, &[1])], NOW).map(|mut outcomes| outcomes.remove(0)[0]);
        let end = match outcome {
            Ok(Stored::Yes) => {
                stored += 1;
                mailbox.trim(&[trim(1, seq)]).and_then(|()| mailbox.sync()).inspect_err(|_| failed[0] += 1)
            }
            Ok(_) => {
                refused += 1;
                Ok(())
            }
            Err(error) => {
                failed[1] += 1;
                Err(error)
            }
        };
        if end.is_err() {
            while mailbox.reopen().is_err() {
                reopens_failed += 1;
            }
        }
    }
    let all = [failed[0], failed[1], refused, stored, reopens_failed];
    assert!(all.iter().all(|&count| count > 100), "{all:?}");
    mailbox.set_faults(StoreFaults::NONE);
    assert!(reads(&mut mailbox, 1).len() <= 1);
}
