//! A process that is killed at any moment loses nothing that it was told is durable.

use std::collections::BTreeMap;
use std::io::{Read, Write, stdout};
use std::thread::sleep;
use std::time::Duration;

use campanile_mailbox::executor::Mailbox;
use campanile_mailbox::{Dedup, DedupKey, DedupScope, Trim};

use crate::support::{LATER_MS, NOW_MS, address, child, child_directory, directory, message, open, waiting};

const ROUNDS: u32 = 25;
const ROUNDS_MAX: u32 = 200;
const DEVICES: u32 = 4;

fn dedup_key(seq: u64) -> DedupKey {
    DedupKey { scope: DedupScope::Publisher(7), id: seq.to_string().into() }
}

#[test]
#[ignore = "the process that is killed"]
fn writer() {
    let Some(directory) = child_directory() else { return };
    let mut mailbox = open(&directory).expect("it opens");
    let mut rng = fastrand::Rng::new();
    let say = |what: String| writeln!(stdout(), "\n:{what}").expect("the parent listens");
    loop {
        let range = mailbox.reserve(rng.u64(1..2_000)).expect("numbers");
        say(format!("range {} {}", range.start, range.end));
        let mut seq = range.start;
        while seq < range.end {
            let mut appends = Vec::new();
            for seq in seq..range.end.min(seq + rng.u64(1..50)) {
                let mut append = message(seq, (1..=DEVICES).filter(|_| rng.u8(..4) > 0));
                let (key, until_ms) = (dedup_key(seq), LATER_MS);
                append.dedup = (rng.u8(..8) == 0).then_some(Dedup { key, digest: [1; 16], until_ms });
                appends.push(append);
            }
            mailbox.append(&appends, NOW_MS).expect("an append");
            if rng.bool() {
                let (device, up_to) = (rng.u32(1..=DEVICES), rng.u64(1..=seq));
                // Said first: it may be done although nobody hears of it.
                say(format!("trim {device} {up_to}"));
                mailbox.trim(&[Trim { address: address(device), up_to }]).expect("a trim");
            }
            mailbox.sync().expect("a sync");
            for append in &appends {
                append.envelopes.iter().for_each(|one| say(format!("durable {} {}", one.device, append.seq)));
                if append.dedup.is_some() && !append.envelopes.is_empty() {
                    say(format!("remembered {}", append.seq));
                }
            }
            seq += appends.len() as u64;
        }
    }
}

#[test]
fn what_was_durable_survives_a_kill_and_no_number_comes_twice() {
    let directory = directory();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut reserved = 1;
    let mut trimmed: BTreeMap<u32, u64> = BTreeMap::new();
    let mut durable: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut remembered = Vec::new();
    let enough = |durable: &BTreeMap<u32, Vec<u64>>| {
        durable.len() == DEVICES as usize && durable.values().all(|numbers| numbers.len() > 1_000)
    };
    for round in 0..ROUNDS_MAX {
        // On a machine that is busy with other things a round brings little.
        if round >= ROUNDS && enough(&durable) {
            break;
        }
        let mut child = child("kill::writer", directory.path(), &[]);
        let mut output = child.stdout.take().expect("its output");
        let listener = std::thread::spawn(move || {
            let mut said = String::new();
            output.read_to_string(&mut said).map(|_| said)
        });
        sleep(Duration::from_millis(rng.u64(20..180)));
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let said = listener.join().expect("a listener").expect("what it said");
        // Behind the last end of a line there may be half a line.
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines().filter_map(|line| line.strip_prefix(':')) {
            let (what, numbers) = line.split_once(' ').expect("a line");
            let numbers: Vec<u64> =
                numbers.split(' ').map(|number| number.parse().expect("a number")).collect();
            match (what, numbers.as_slice()) {
                ("range", [start, end]) => {
                    assert!(*start >= reserved, "round {round}: {start} was given out before {reserved}");
                    reserved = *end;
                }
                ("trim", [device, up_to]) => {
                    let trimmed = trimmed.entry(*device as u32).or_default();
                    *trimmed = (*trimmed).max(*up_to);
                }
                ("durable", [device, seq]) => durable.entry(*device as u32).or_default().push(*seq),
                ("remembered", [seq]) => remembered.push(*seq),
                _ => panic!("{line}"),
            }
        }
        let mut mailbox = open(directory.path()).expect("it opens");
        for device in 1..=DEVICES {
            let waiting = waiting(&mut mailbox, device);
            let count = mailbox.count(&address(device)).expect("a count");
            assert_eq!(count.messages, waiting.len() as u64, "round {round}, device {device}");
            let trimmed = trimmed.get(&device).copied().unwrap_or(0);
            assert!(count.acknowledged <= trimmed);
            let missing = durable
                .get(&device)
                .into_iter()
                .flatten()
                .find(|seq| **seq > trimmed && waiting.binary_search(seq).is_err());
            assert_eq!(missing, None, "round {round}, device {device} lost a message");
        }
        for seq in remembered.iter().rev().take(100) {
            let recalled =
                mailbox.recall(&address(1).user, &dedup_key(*seq), NOW_MS).expect("a recollection");
            assert_eq!(recalled.map(|recalled| recalled.seq), Some(*seq));
        }
    }
    assert!(enough(&durable), "the rounds are too short to show anything");
}
