//! Files that are cut, torn or overwritten: what is read is right or missing, and what was durable before the cut is
//! there.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use campanile_mailbox::Trim;
use campanile_mailbox::executor::Mailbox;
use campanile_storage::OpenError;
use fastrand::Rng;
use tempfile::TempDir;

use crate::support::{NOW_MS, ROOMY, address, copy, directory, message, open, open_large, waiting, written};

const DEVICES: u32 = 3;

/// A store as a crash finds it, and what was durable when the newest journal was so long.
struct Crashed {
    directory: TempDir,
    /// Length of the newest journal at each sync, and the last message then.
    syncs: Vec<(u64, u64)>,
    last: u64,
}

impl Crashed {
    /// Writes with a sync now and then, keeps the last group unsynced, and copies the files.
    fn new(rng: &mut Rng) -> Crashed {
        let live = directory();
        // All of it stays in the journal.
        let mut mailbox = open_large(live.path()).expect("it opens");
        let mut syncs = vec![(0, 0)];
        let mut seq = 0;
        for group in 0..20 {
            for _ in 0..rng.u32(1..4) {
                // The journal's buffer holds 8 KiB back: of the last group some must be written.
                let least = if group < 19 { 1 } else { 18 };
                let appends: Vec<_> =
                    (0..rng.u64(least..20)).map(|more| message(seq + 1 + more, 1..=DEVICES)).collect();
                seq += appends.len() as u64;
                mailbox.append(&appends, NOW_MS).expect("an append");
            }
            if group < 19 {
                mailbox.sync().expect("a sync");
                let journal = newest_journal(live.path());
                syncs.push((written(&journal), seq));
            }
        }
        let directory = directory();
        copy(live.path(), directory.path());
        Crashed { directory, syncs, last: seq }
    }

    fn journal(&self) -> PathBuf {
        newest_journal(self.directory.path())
    }

    /// The last message that was durable when the journal was as long as this.
    fn durable_at(&self, len: u64) -> u64 {
        self.syncs.iter().take_while(|(at, _)| *at <= len).last().map_or(0, |(_, seq)| *seq)
    }

    /// Everything up to a message is there for every device, and nothing that was never written.
    fn check(&self, durable: u64) {
        let mut mailbox = open(self.directory.path()).expect("it opens");
        for device in 1..=DEVICES {
            let waiting = waiting(&mut mailbox, device);
            assert!(waiting.len() as u64 >= durable && waiting.len() as u64 <= self.last);
            assert!(waiting.iter().copied().eq(1..=waiting.len() as u64), "{waiting:?}");
            let count = mailbox.count(&address(device)).expect("a count").messages;
            assert_eq!(count, waiting.len() as u64);
        }
        // It can be written to again.
        mailbox.append(&[message(self.last + 1, 1..=DEVICES)], NOW_MS).expect("an append");
        mailbox.sync().expect("a sync");
        drop(mailbox);
        let mut mailbox = open(self.directory.path()).expect("it opens");
        assert_eq!(waiting(&mut mailbox, 1).last(), Some(&(self.last + 1)));
    }
}

fn newest_journal(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory.join("store")).expect("a store");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let journals = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max_by_key(number).expect("a journal")
}

fn seeded(seed: u64) -> Rng {
    println!("seed {seed}");
    Rng::with_seed(seed)
}

#[test]
fn a_journal_that_was_cut_has_all_that_was_durable_before_the_cut() {
    for seed in 0..25 {
        let mut rng = seeded(seed);
        let crashed = Crashed::new(&mut rng);
        let journal = crashed.journal();
        let len = rng.u64(..=written(&journal));
        OpenOptions::new().write(true).open(&journal).expect("it is there").set_len(len).expect("it is cut");
        crashed.check(crashed.durable_at(len));
    }
}

#[test]
fn a_torn_tail_takes_nothing_with_it_that_was_durable() {
    for seed in 100..125 {
        let mut rng = seeded(seed);
        let crashed = Crashed::new(&mut rng);
        let journal = crashed.journal();
        let (synced, end) = (crashed.syncs.last().expect("a sync").0, written(&journal));
        assert!(end > synced, "there is no tail: {synced} {end}");
        // Any of the pages that were not synced may be missing.
        let file = OpenOptions::new().write(true).open(&journal).expect("it is there");
        let mut at = synced;
        while at < end {
            let len = rng.u64(1..2_000).min(end - at);
            if rng.bool() {
                file.write_all_at(&vec![0; len as usize], at).expect("a hole");
            }
            at += len;
        }
        drop(file);
        crashed.check(crashed.syncs.last().expect("a sync").1);
    }
}

#[test]
fn damage_of_what_was_durable_is_reported_and_never_delivered() {
    let (mut refused, mut opened) = (0, 0);
    for seed in 200..230 {
        let mut rng = seeded(seed);
        let crashed = Crashed::new(&mut rng);
        let journal = crashed.journal();
        let at = rng.u64(..written(&journal));
        let garbage: Vec<u8> = (0..rng.usize(1..64)).map(|_| rng.u8(..)).collect();
        let file = OpenOptions::new().write(true).open(&journal).expect("it is there");
        file.write_all_at(&garbage, at).expect("garbage");
        drop(file);
        match open(crashed.directory.path()) {
            Ok(mut mailbox) => {
                opened += 1;
                for device in 1..=DEVICES {
                    let durable = crashed.durable_at(at);
                    let waiting = waiting(&mut mailbox, device);
                    assert!(waiting.len() as u64 >= durable, "{} of {durable}", waiting.len());
                }
            }
            Err(error @ (OpenError::Damaged(_) | OpenError::Unknown { .. })) => {
                refused += 1;
                assert!(error.to_string().contains(".jnl"), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && opened > 0, "{refused} refused, {opened} opened");
}

#[test]
fn what_was_closed_in_order_cannot_be_taken_for_torn() {
    let live = directory();
    let mut mailbox = open_large(live.path()).expect("it opens");
    mailbox.append(&[message(1, 1..=DEVICES), message(2, 1..=DEVICES)], NOW_MS).expect("an append");
    mailbox.sync().expect("a sync");
    mailbox.append(&[message(3, 1..=DEVICES)], NOW_MS).expect("an append");
    mailbox.sync().expect("a sync");
    drop(mailbox);
    let end = written(&newest_journal(live.path()));
    let mut refused = 0;
    for at in (0..end).step_by(23) {
        let damaged = directory();
        copy(live.path(), damaged.path());
        let journal = newest_journal(damaged.path());
        let file = OpenOptions::new().read(true).write(true).open(&journal).expect("it is there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte");
        file.write_all_at(&[byte[0] ^ 0x10], at).expect("damage");
        match open_large(damaged.path()) {
            Ok(mut mailbox) => assert_eq!(waiting(&mut mailbox, 1), [1, 2, 3], "byte {at} of {end}"),
            Err(OpenError::Damaged(_) | OpenError::Unknown { .. }) => refused += 1,
            Err(error) => panic!("byte {at} of {end}: {error}"),
        }
    }
    assert!(refused > 20, "{refused} refused");
}

#[test]
fn damaged_tables_are_passed_over_and_do_not_stand_in_the_way_of_others() {
    let mut damages = 0;
    for seed in 300..320 {
        let mut rng = seeded(seed);
        let directory = directory();
        let mut mailbox = open(directory.path()).expect("it opens");
        // Far more than is sorted in memory, so that most of it is in tables.
        for first in (0..2_000).step_by(100) {
            let appends: Vec<_> = (1..=100).map(|more| message(first + more, [1])).collect();
            mailbox.append(&appends, NOW_MS).expect("an append");
            mailbox.sync().expect("a sync");
        }
        let tables = directory.path().join("store/keyspaces");
        let patience = Instant::now() + Duration::from_secs(10);
        while tables_in(&tables).is_empty() {
            assert!(Instant::now() < patience, "nothing is sorted into tables");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(mailbox);
        let files = tables_in(&tables);
        let (path, len) = &files[rng.usize(..files.len())];
        let file = OpenOptions::new().write(true).open(path).expect("it is there");
        // In the first half of the file there are messages, behind them what leads to them.
        file.write_all_at(&[0xaa; 3], rng.u64(..len / 2)).expect("garbage");
        drop(file);
        let mut mailbox = open(directory.path()).expect("it opens");
        let waiting = waiting(&mut mailbox, 1);
        // A block of 16 KiB has some 40 messages, and what is damaged is at most two blocks: nothing else is lost.
        assert!(waiting.len() > 1_880 && waiting.is_sorted(), "{} of 2000", waiting.len());
        damages += mailbox.status().damages;
        mailbox.append(&[message(2_001, [1, 2])], NOW_MS).expect("an append");
        mailbox.trim(&[Trim { address: address(1), up_to: 2_001 }]).expect("a trim");
        assert_eq!(mailbox.count(&address(1)).expect("a count").messages, 0);
        assert_eq!(mailbox.count(&address(1)).expect("a count").bytes, 0);
        assert_eq!(mailbox.count(&address(2)).expect("a count").messages, 1);
    }
    assert!(damages > 0);
}

/// The tables of messages, with their lengths: they are the largest files.
fn tables_in(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        // A merge removes what it has read.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            found.extend(tables_in(&entry.path()));
        } else if metadata.len() > 30_000 {
            found.push((entry.path(), metadata.len()));
        }
    }
    found
}

#[test]
fn a_store_in_use_and_a_store_of_another_version_are_refused_by_name() {
    let directory = directory();
    let mailbox = open(directory.path()).expect("it opens");
    let again = campanile_storage::FjallMailbox::open(directory.path(), ROOMY);
    assert!(matches!(again, Err(OpenError::Locked(_))));
    drop(mailbox);
    let format = directory.path().join("format");
    let text = fs::read_to_string(&format).expect("a format");
    fs::write(&format, text.replace("version 1", "version 2")).expect("a format");
    let error = open(directory.path()).map(drop).expect_err("another version");
    assert_eq!(error.to_string(), "the store has format version 2; this program knows version 1");
}
