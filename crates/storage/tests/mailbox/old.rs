//! Directories that the program of commit c51ac1f wrote, before there was a placement key: they open and deliver.
//!
//! `data/c51ac1f-killed.pack.z` is what a process leaves that is killed, `data/c51ac1f-closed.pack.z` what one leaves
//! that has closed its store. [`make`] wrote both, run at that commit, and `zlib` packed them; nothing in them expires.
//! A pack is a list of entries, numbers little-endian: the length of a path (2 bytes), the path, the length of the file
//! (4 bytes; all ones for a directory), the file.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use campanile_mailbox::executor::Mailbox;
use campanile_mailbox::{
    Address, Append, Dedup, DedupKey, DedupScope, DeviceRecord, Envelope, Trim, UserRecord,
};
use campanile_protocol::ids::UserId;
use campanile_storage::{FjallMailbox, MailboxOptions, RoomOptions, TableOptions};

use tempfile::TempDir;

use crate::support::{ROOMY, child_directory, directory};

const NOW_MS: u64 = 1_700_000_000_000;
/// In some thirty million years.
const NEVER_MS: u64 = 1 << 60;
const DIRECTORY: u32 = u32::MAX;
/// The devices of each user, and the last number that was given to one.
const RECORDS: [(&str, (&[u32], u32)); 4] =
    [("ann", (&[1, 2], 4)), ("bob", (&[7], 7)), ("名前", (&[1], 1)), ("cid", (&[], 3))];

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

fn address(name: &str, device: u32) -> Address {
    Address { user: user(name), device: device.try_into().expect("a device") }
}

fn body(seq: u64, device: u32) -> Bytes {
    format!("message {seq} for device {device}. ").repeat(1 + seq as usize % 5).into()
}

fn message(name: &str, seq: u64, devices: &[u32]) -> Append {
    let envelope = |&device: &u32| Envelope {
        device: device.try_into().expect("a device"),
        body: body(seq, device),
        confirmed: false,
    };
    Append {
        user: user(name),
        seq,
        expires_at_ms: NEVER_MS,
        topic: "".into(),
        envelopes: devices.iter().map(envelope).collect(),
        dedup: None,
    }
}

fn of_topic(topic: &str, append: Append) -> Append {
    Append { topic: topic.into(), ..append }
}

fn key(scope: DedupScope, id: &str) -> DedupKey {
    DedupKey { scope, id: id.into() }
}

fn with_id(key: DedupKey, append: Append) -> Append {
    Append { dedup: Some(Dedup { key, digest: [7; 16], until_ms: NEVER_MS }), ..append }
}

fn devices(numbers: &[u32], last_device: u32) -> UserRecord {
    let record = |&device: &u32| DeviceRecord {
        device: device.try_into().expect("a device"),
        created_at_ms: NOW_MS + u64::from(device),
        last_seen_at_ms: NOW_MS + 1_000,
    };
    UserRecord { devices: numbers.iter().map(record).collect(), last_device }
}

fn open(directory: &Path) -> FjallMailbox {
    let room = RoomOptions { ballast_bytes: 0, free_low_bytes: 0, free_critical_bytes: 0 };
    // So that some of it is in tables.
    let tables = TableOptions { messages_memtable_bytes: 16 << 10, ..TableOptions::default() };
    FjallMailbox::open_with(directory, ROOMY, MailboxOptions { room, tables }).expect("it opens")
}

const KILLED: &[u8] = include_bytes!("data/c51ac1f-killed.pack.z");
const CLOSED: &[u8] = include_bytes!("data/c51ac1f-closed.pack.z");

fn unpacked(packed: &[u8]) -> TempDir {
    let directory = directory();
    let packed = miniz_oxide::inflate::decompress_to_vec_zlib(packed).expect("a pack");
    let mut left = &packed[..];
    let mut take = |bytes: usize| {
        let (taken, rest) = left.split_at_checked(bytes)?;
        left = rest;
        Some(taken)
    };
    while let Some(length) = take(2).and_then(|bytes| bytes.try_into().ok()) {
        let path = take(u16::from_le_bytes(length).into()).expect("a path");
        let path = directory.path().join(std::str::from_utf8(path).expect("a path"));
        match u32::from_le_bytes(take(4).expect("a length").try_into().expect("four bytes")) {
            DIRECTORY => fs::create_dir(path).expect("a directory"),
            bytes => fs::write(path, take(bytes as usize).expect("a file")).expect("a file"),
        }
    }
    directory
}

/// What waits for a device, each with its body.
fn waiting(mailbox: &mut FjallMailbox, name: &str, device: u32) -> Vec<u64> {
    let address = address(name, device);
    let page = mailbox.read(&address, 0, 1_000, usize::MAX, NOW_MS + 1).expect("a page");
    assert!(!page.more);
    page.messages.iter().for_each(|message| assert_eq!(message.body, body(message.seq, device)));
    page.messages.iter().map(|message| message.seq).collect()
}

fn check(mailbox: &mut FjallMailbox) {
    let ann: Vec<u64> = (1..=200).chain([301]).collect();
    assert!(waiting(mailbox, "ann", 1).into_iter().eq(ann.iter().copied().filter(|seq| *seq > 150)));
    assert!(waiting(mailbox, "ann", 2).into_iter().eq(ann.into_iter().filter(|seq| *seq != 77)));
    assert_eq!(
        waiting(mailbox, "bob", 7),
        [303, 304],
        "a topic is replaced, and what has expired is not delivered"
    );
    assert!(waiting(mailbox, "名前", 1).is_empty());
    let acknowledged = [("ann", 1, 150), ("ann", 2, 0), ("bob", 7, 0), ("名前", 1, 500)];
    for (name, device, up_to) in acknowledged {
        assert_eq!(mailbox.count(&address(name, device)).expect("a count").acknowledged, up_to, "{name}");
    }
    for (name, record) in RECORDS {
        let expected = devices(record.0, record.1);
        assert_eq!(mailbox.user(&user(name)).expect("a user"), Some(expected), "{name}");
    }
    assert_eq!(mailbox.user(&user("dora")).expect("an answer"), None);
    let recalled = |mailbox: &mut FjallMailbox, name: &str, key: DedupKey| {
        let recalled = mailbox.recall(&user(name), &key, NOW_MS).expect("a recollection");
        recalled.map(|recalled| (recalled.seq, recalled.digest, recalled.outcomes.len()))
    };
    assert_eq!(recalled(mailbox, "ann", key(DedupScope::Publisher(7), "order 1")), Some((301, [7; 16], 2)));
    assert_eq!(recalled(mailbox, "名前", key(DedupScope::Sibling(1), "sync 1")), Some((306, [7; 16], 1)));
    assert_eq!(recalled(mailbox, "ann", key(DedupScope::Publisher(8), "order 1")), None);
    assert_eq!(mailbox.status().damages, 0);
}

#[test]
fn what_an_older_version_has_stored_is_delivered_and_its_numbers_go_on() {
    for packed in [KILLED, CLOSED] {
        let directory = unpacked(packed);
        assert!(!directory.path().join("placement").exists());
        let mut mailbox = open(directory.path());
        check(&mut mailbox);
        let (epoch, placement_key) = (mailbox.epoch(), mailbox.placement_key());
        let numbers = mailbox.reserve(65_536).expect("numbers");
        assert_eq!(numbers.start, 66_537, "above all that were given out, and no leap");
        // It is written to, and has kept everything when it is opened again.
        let first = numbers.start;
        mailbox.append(&[of_topic("news", message("bob", first, &[7]))], NOW_MS).expect("an append");
        assert_eq!(waiting(&mut mailbox, "bob", 7), [304, first]);
        assert!(mailbox.remove(&address("bob", 7), first, NOW_MS).expect("a removal"));
        mailbox.append(&[of_topic("news", message("bob", first + 1, &[7]))], NOW_MS).expect("an append");
        mailbox.sync().expect("a sync");
        drop(mailbox);
        let mut mailbox = open(directory.path());
        assert_eq!(waiting(&mut mailbox, "bob", 7), [304, first + 1]);
        assert_eq!((mailbox.epoch(), mailbox.placement_key()), (epoch, placement_key));
        assert_eq!(mailbox.reserve(1).expect("numbers").start, numbers.end);
    }
}

#[test]
fn damage_to_the_numbers_of_an_older_version_repeats_none() {
    let newest = 4_096 * u64::from(numbers_generation(&unpacked(CLOSED)) % 2 == 1);
    for damaged in [newest, 4_096 - newest] {
        let directory = unpacked(CLOSED);
        let path = directory.path().join("numbers");
        let mut bytes = fs::read(&path).expect("the numbers");
        bytes[damaged as usize + 9] ^= 1;
        fs::write(&path, bytes).expect("the numbers");
        let mut mailbox = open(directory.path());
        assert!(mailbox.reserve(1).expect("numbers").start >= 66_537);
        check(&mut mailbox);
    }
}

/// Which of the two slots was written last.
fn numbers_generation(directory: &TempDir) -> u64 {
    let bytes = fs::read(directory.path().join("numbers")).expect("the numbers");
    let generation = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    generation(0).max(generation(4_096))
}

#[test]
#[ignore = "has written the test data, at the commit whose format they have"]
fn make() {
    let Some(directory) = child_directory() else { return };
    let store = directory.join("mailbox");
    let mut mailbox = open(&store);
    assert_eq!(mailbox.reserve(1_000).expect("numbers"), 1..1_001);
    assert_eq!(mailbox.reserve(65_536).expect("numbers"), 1_001..66_537);
    for (name, record) in RECORDS {
        mailbox.put_user(&user(name), &devices(record.0, record.1)).expect("a user");
    }
    for seq in 1..=200 {
        mailbox.append(&[message("ann", seq, &[1, 2])], NOW_MS).expect("an append");
        mailbox.sync().expect("a sync");
    }
    mailbox.trim(&[Trim { address: address("ann", 1), up_to: 150 }]).expect("a trim");
    mailbox.sync().expect("a sync");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let publisher = |id: &str| key(DedupScope::Publisher(7), id);
    let appends = [
        with_id(publisher("order 1"), message("ann", 301, &[1, 2])),
        of_topic("weather", message("bob", 302, &[7])),
        of_topic("news", message("bob", 303, &[7])),
        of_topic("weather", message("bob", 304, &[7])),
        Append { expires_at_ms: NOW_MS + 1, ..message("bob", 305, &[7]) },
        with_id(key(DedupScope::Sibling(1), "sync 1"), message("名前", 306, &[1])),
    ];
    mailbox.append(&appends, NOW_MS).expect("an append");
    assert!(mailbox.remove(&address("ann", 2), 77, NOW_MS).expect("a removal"));
    mailbox.sync().expect("a sync");
    mailbox.trim(&[Trim { address: address("名前", 1), up_to: 500 }]).expect("a trim");
    mailbox.sync().expect("a sync");
    fs::write(directory.join("c51ac1f-killed.pack"), pack(&store)).expect("a pack");
    drop(mailbox);
    fs::write(directory.join("c51ac1f-closed.pack"), pack(&store)).expect("a pack");
}

fn pack(directory: &Path) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(within) = left.pop() {
        let mut entries: Vec<_> = fs::read_dir(directory.join(&within))
            .expect("a directory")
            .map(|entry| entry.expect("an entry"))
            .collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = within.join(entry.file_name());
            let text = path.to_str().expect("a name");
            packed.extend_from_slice(&(text.len() as u16).to_le_bytes());
            packed.extend_from_slice(text.as_bytes());
            if entry.file_type().expect("a type").is_dir() {
                packed.extend_from_slice(&DIRECTORY.to_le_bytes());
                left.push(path);
                continue;
            }
            let mut bytes = fs::read(entry.path()).expect("a file");
            if path.extension().is_some_and(|extension| extension == "jnl") {
                // Without the 64 MiB of nothing at its end.
                bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            }
            packed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            packed.extend_from_slice(&bytes);
        }
    }
    packed
}
