//! A disk that is full: nothing is lost, reads and acknowledgements go on, and appends return by themselves.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_mailbox::executor::{Mailbox, MailboxError};
use campanile_mailbox::{Append, Stored, Trim};
use campanile_storage::{FjallMailbox, MailboxOptions, RoomOptions, TableOptions};

use crate::support::{LATER_MS, NOW_MS, ROOMY, address, child, child_directory, directory, message};

const DISK_BYTES: u64 = 360 << 20;
const BODY_BYTES: usize = 60_000;
const DEVICES: u32 = 4;

#[test]
fn a_full_disk_loses_nothing_and_recovers_by_itself() {
    let directory = directory();
    let wrapper = ["unshare", "--mount", "--map-root-user"];
    let tried = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        println!("skipped: this machine allows no namespace to mount a small disk in: {tried:?}");
        return;
    }
    let child = child("room::small_disk", directory.path(), &wrapper);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("recovered"), "{said}");
}

fn large(seq: u64) -> Append {
    let mut append = message(seq, [1 + seq as u32 % DEVICES]);
    append.envelopes[0].body = large_body(seq);
    append.expires_at_ms = LATER_MS;
    append
}

fn large_body(seq: u64) -> Bytes {
    let mut body = vec![0; BODY_BYTES];
    fastrand::Rng::with_seed(seq).fill(&mut body);
    body.into()
}

/// Does it as the store's thread would: after a failure it begins again with what it reads back.
fn insist<T>(mailbox: &mut FjallMailbox, what: impl Fn(&mut FjallMailbox) -> Result<T, MailboxError>) -> T {
    for _ in 0..20 {
        match what(mailbox) {
            Ok(done) => return done,
            Err(error) => {
                println!("{error}: {:?}", mailbox.reopen());
                sleep(Duration::from_millis(50));
            }
        }
    }
    panic!("it never works again");
}

/// All messages after the watermarks are there, with the right bodies.
fn check(mailbox: &mut FjallMailbox, trimmed: u64, last: u64) {
    for device in 1..=DEVICES {
        let mut after = 0;
        let mut expected = (trimmed + 1..=last).filter(|seq| 1 + *seq as u32 % DEVICES == device);
        loop {
            let page = mailbox.read(&address(device), after, 50, 10 << 20, NOW_MS).expect("a page");
            for message in &page.messages {
                assert_eq!(Some(message.seq), expected.next());
                assert!(message.body == large_body(message.seq), "message {}", message.seq);
            }
            after = page.messages.last().map_or(after, |last| last.seq);
            if !page.more {
                break;
            }
        }
        assert_eq!(expected.next(), None, "device {device} lost a message");
    }
}

/// Appends until the storage is full. The last message stored.
fn fill(mailbox: &mut FjallMailbox, mut seq: u64) -> u64 {
    loop {
        match mailbox.append(&[large(seq + 1)], NOW_MS).expect("an append")[0][0] {
            Stored::Yes => seq += 1,
            Stored::StorageFull => return seq,
            Stored::MailboxFull => panic!("there is no such limit"),
        }
        if seq.is_multiple_of(64) {
            mailbox.sync().expect("a sync");
        }
    }
}

fn trim(mailbox: &mut FjallMailbox, up_to: u64) {
    let trims: Vec<Trim> = (1..=DEVICES).map(|device| Trim { address: address(device), up_to }).collect();
    insist(mailbox, |mailbox| {
        mailbox.trim(&trims)?;
        mailbox.sync()?;
        mailbox.sync()
    });
}

/// Takes all room that is left, as another program would.
fn hog(path: &Path) {
    let mut file = File::create(path).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
#[ignore = "the process that sees a small disk"]
fn small_disk() {
    let Some(disk) = child_directory() else { return };
    tracing_subscriber::fmt().init();
    let size = format!("size={DISK_BYTES}");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&disk).status();
    assert!(mount.expect("mount runs").success());
    let room = RoomOptions { ballast_bytes: 8 << 20, free_low_bytes: 96 << 20, free_critical_bytes: 4 << 20 };
    let tables = TableOptions { messages_memtable_bytes: 4 << 20, ..TableOptions::default() };
    let options = MailboxOptions { room, tables };
    let store = disk.join("store");
    let mut mailbox = FjallMailbox::open_with(&store, ROOMY, options).expect("it opens");
    assert!(store.join("ballast").exists());

    let last = fill(&mut mailbox, 0);
    assert!(last > 1_000 && mailbox.status().full, "{last}");
    mailbox.sync().expect("a sync");
    check(&mut mailbox, 0, last);

    hog(&disk.join("hog"));
    sleep(Duration::from_millis(110));
    mailbox.status();
    assert!(!store.join("ballast").exists(), "the ballast is given back");
    trim(&mut mailbox, 100);
    check(&mut mailbox, 100, last);
    drop(mailbox);
    let mut mailbox = FjallMailbox::open_with(&store, ROOMY, options).expect("it opens on a full disk");
    assert_eq!(mailbox.count(&address(1)).expect("a count").acknowledged, 100);
    check(&mut mailbox, 100, last);
    // What the database has given back meanwhile is taken as well.
    hog(&disk.join("another hog"));
    sleep(Duration::from_millis(110));
    assert_eq!(mailbox.append(&[large(last + 1)], NOW_MS).expect("an answer"), [[Stored::StorageFull]]);
    check(&mut mailbox, 100, last);

    fs::remove_file(disk.join("hog")).expect("it is there");
    fs::remove_file(disk.join("another hog")).expect("it is there");
    let trimmed = last - 300;
    trim(&mut mailbox, trimmed);
    let patience = Instant::now() + Duration::from_secs(20);
    while mailbox.status().full || !store.join("ballast").exists() {
        assert!(Instant::now() < patience, "no room returns: {:?}", mailbox.status());
        insist(&mut mailbox, |mailbox| mailbox.expire(NOW_MS, 512));
        sleep(Duration::from_millis(20));
    }
    check(&mut mailbox, trimmed, last);
    let again = fill(&mut mailbox, last);
    assert!(again > last + 200, "{again}");
    mailbox.sync().expect("a sync");
    drop(mailbox);
    let mut mailbox = FjallMailbox::open_with(&store, ROOMY, options).expect("it opens");
    check(&mut mailbox, trimmed, again);
    println!("recovered: {last} messages before, {again} after");
}
