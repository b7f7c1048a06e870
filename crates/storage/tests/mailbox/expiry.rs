//! What has expired goes as fast as it comes, and is never in the way of what has not.

use campanile_mailbox::executor::{Executor, Mailbox};
use campanile_mailbox::{Dedup, DedupKey, DedupScope, MailboxLimits, Stored};
use campanile_protocol::ids::UserId;
use campanile_storage::{FjallMailbox, MailboxOptions, RoomOptions};

use crate::support::{LATER_MS, NOW_MS, ROOMY, directory, message, open, waiting};

fn user(number: u64) -> UserId {
    format!("user {number:06}").parse().expect("an id")
}

#[test]
fn what_expired_is_removed_between_commits_until_little_is_found() {
    const IDS: u64 = 20_000;
    let directory = directory();
    let mut mailbox = open(directory.path()).expect("it opens");
    let key = |seq: u64| DedupKey { scope: DedupScope::Publisher(7), id: seq.to_string().into() };
    for first in (0..IDS).step_by(1_000) {
        let appends: Vec<_> = (first + 1..=first + 1_000)
            .map(|seq| {
                let mut append = message(seq, [1]);
                append.user = user(seq);
                append.dedup = Some(Dedup { key: key(seq), digest: [1; 16], until_ms: NOW_MS + 1 });
                append
            })
            .collect();
        mailbox.append(&appends, NOW_MS).expect("an append");
    }
    let mut store = Executor::new(mailbox, Vec::new());
    // No time passes: all of it is done before the next look is due.
    let (mut turns, now_ms) = (0, LATER_MS);
    store.execute(now_ms);
    while store.next_due_ms() <= now_ms {
        assert!(turns < 1_000, "{} messages", store.counts().messages_expired);
        store.execute(now_ms);
        store.commit(now_ms);
        turns += 1;
    }
    assert_eq!(store.counts().messages_expired, IDS);
    // Each turn is short all the same.
    assert!(turns > 10, "{turns} turns");
    let mailbox = store.mailbox_mut();
    // Looking at a time before it was over shows that it is gone, and not only passed over.
    assert!((1..=IDS).all(|seq| mailbox.recall(&user(seq), &key(seq), NOW_MS).expect("an answer").is_none()));
}

#[test]
fn a_mailbox_is_not_full_of_what_has_expired() {
    let directory = directory();
    let limits = MailboxLimits { messages_per_device_max: 10, ..ROOMY };
    let room = RoomOptions { ballast_bytes: 0, free_low_bytes: 0, free_critical_bytes: 0 };
    let options = MailboxOptions { room, ..MailboxOptions::default() };
    let mut mailbox = FjallMailbox::open_with(directory.path(), limits, options).expect("it opens");
    let mut short = message(1, [1]);
    short.expires_at_ms = NOW_MS + 1;
    let appends: Vec<_> = std::iter::once(short).chain((2..=11).map(|seq| message(seq, [1, 2]))).collect();
    let stored = mailbox.append(&appends, NOW_MS).expect("an append");
    assert_eq!(stored[10], [Stored::MailboxFull, Stored::Yes]);
    let stored = mailbox.append(&[message(12, [1]), message(13, [1])], NOW_MS + 1).expect("an append");
    assert_eq!(stored, [[Stored::Yes], [Stored::MailboxFull]]);
    assert_eq!(mailbox.expire(NOW_MS + 1, 100).expect("expiry").messages, 1, "it is counted");
    assert_eq!(waiting(&mut mailbox, 1), [2, 3, 4, 5, 6, 7, 8, 9, 10, 12]);
}

#[test]
fn a_clock_that_goes_back_takes_the_walk_to_another_mailbox_from_its_beginning() {
    let directory = directory();
    let mut mailbox = open(directory.path()).expect("it opens");
    let expiring = |seq: u64, device: u32, at_ms: u64| {
        let mut append = message(seq, [device]);
        append.expires_at_ms = at_ms;
        append
    };
    let appends: Vec<_> = (1..=20)
        .map(|seq| expiring(seq, 2, NOW_MS + 100))
        .chain((21..=40).map(|seq| expiring(seq, 1, NOW_MS + 900)))
        .collect();
    mailbox.append(&appends, NOW_MS).expect("an append");
    let removed = mailbox.expire(NOW_MS + 1_000, 20).expect("expiry").messages;
    assert!((1..20).contains(&removed), "{removed}: it is not partway");
    assert_eq!(mailbox.expire(NOW_MS + 200, 100).expect("expiry").messages, 20);
}
