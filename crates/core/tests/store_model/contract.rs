//! What `Mailbox` promises while nothing fails, rule by rule.

use campanile_mailbox::{
    Append, Count, DEDUP_IDS_PER_USER_MAX, DedupKey, DedupScope, DeviceRecord, Mailbox, MailboxLimits,
    READ_MESSAGES_MAX, Remembered, StorageStatus, Stored, UserRecord,
};

use crate::store::ModelMailbox;
use crate::{
    LATER, NOW, ROOMY, ann, body, dedup, device, key, mailbox, message, reads, store, topic, trim, user,
};

const YES: Stored = Stored::Yes;

#[test]
fn each_device_reads_its_own_envelopes_in_order() {
    let mut mailbox = mailbox();
    let outcomes = mailbox.append(&[message(3, &[1, 2]), message(5, &[2]), message(9, &[1])], NOW).unwrap();
    assert_eq!(outcomes, [vec![YES, YES], vec![YES], vec![YES]]);
    assert_eq!((reads(&mut mailbox, 1), reads(&mut mailbox, 2)), (vec![3, 9], vec![3, 5]));
    assert!(reads(&mut mailbox, 3).is_empty());
    let page = mailbox.read(&ann(2), 3, 10, usize::MAX, NOW).unwrap();
    assert_eq!((page.messages[0].seq, &page.messages[0].body), (5, &body(5, 2)));
    assert_eq!(mailbox.fetch(&ann(1), 9, NOW).unwrap(), Some(body(9, 1)));
    assert_eq!(mailbox.fetch(&ann(1), 5, NOW).unwrap(), None);
}

#[test]
fn numbers_are_given_out_once() {
    let mut mailbox = mailbox();
    assert_eq!(mailbox.epoch(), 7);
    let first = mailbox.reserve(10).unwrap();
    let second = mailbox.reserve(5).unwrap();
    assert!(first.start > 0 && second.start >= first.end && second.end - second.start == 5);
}

#[test]
#[should_panic(expected = "5 after 5")]
fn a_number_that_does_not_grow_is_noticed_even_if_the_message_was_lost() {
    let mut mailbox = mailbox();
    store(&mut mailbox, message(5, &[1]));
    store(&mut mailbox.power_cut(), message(5, &[1]));
}

#[test]
fn a_page_ends_at_either_limit_but_has_one_message() {
    let mut mailbox = mailbox();
    (1..=5).for_each(|seq| assert_eq!(store(&mut mailbox, message(seq, &[1])), [YES]));
    let mut page = |after, messages_max, bytes_max| {
        let page = mailbox.read(&ann(1), after, messages_max, bytes_max, NOW).unwrap();
        (page.messages.iter().map(|waiting| waiting.seq).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(page(0, 2, 1000), (vec![1, 2], true));
    assert_eq!(page(0, 10, 30), (vec![1, 2, 3], true));
    assert_eq!(page(0, 10, 39), (vec![1, 2, 3], true));
    assert_eq!(page(2, 10, 1), (vec![3], true));
    assert_eq!(page(2, 3, 30), (vec![3, 4, 5], false));
    assert_eq!(page(5, 10, 0), (vec![], false));
    assert_eq!(page(u64::MAX, 10, 10), (vec![], false));
}

#[test]
fn a_page_has_a_limit_of_its_own() {
    let limits = MailboxLimits { messages_per_device_max: u64::MAX, ..ROOMY };
    let mut mailbox = ModelMailbox::new(7, limits, 1);
    let appends: Vec<_> = (1..=READ_MESSAGES_MAX as u64 + 1).map(|seq| message(seq, &[1])).collect();
    mailbox.append(&appends, NOW).unwrap();
    let page = mailbox.read(&ann(1), 0, usize::MAX, usize::MAX, NOW).unwrap();
    assert_eq!((page.messages.len(), page.more), (READ_MESSAGES_MAX, true));
}

#[test]
fn a_full_device_fails_alone_and_keeps_its_topic() {
    let mut mailbox = ModelMailbox::new(7, MailboxLimits { messages_per_device_max: 2, ..ROOMY }, 1);
    store(&mut mailbox, topic("t", message(1, &[1])));
    store(&mut mailbox, message(2, &[1]));
    assert_eq!(store(&mut mailbox, message(3, &[1, 2])), [Stored::MailboxFull, YES]);
    assert_eq!(store(&mut mailbox, topic("other", message(4, &[1]))), [Stored::MailboxFull]);
    assert_eq!((reads(&mut mailbox, 1), reads(&mut mailbox, 2)), (vec![1, 2], vec![3]));
    // What is replaced makes room.
    assert_eq!(store(&mut mailbox, topic("t", message(5, &[1]))), [YES]);
    assert_eq!(reads(&mut mailbox, 1), [2, 5]);
}

#[test]
fn a_device_is_full_by_bytes_and_a_larger_replacement_is_refused() {
    let mut mailbox = ModelMailbox::new(7, MailboxLimits { bytes_per_device_max: 25, ..ROOMY }, 1);
    store(&mut mailbox, topic("t", message(1, &[1])));
    store(&mut mailbox, message(2, &[1]));
    assert_eq!(store(&mut mailbox, message(3, &[1])), [Stored::MailboxFull]);
    let mut large = topic("t", message(4, &[1]));
    large.envelopes[0].body = vec![0; 16].into();
    assert_eq!(store(&mut mailbox, large), [Stored::MailboxFull]);
    assert_eq!(reads(&mut mailbox, 1), [1, 2]);
    let mut fits = topic("t", message(5, &[1]));
    fits.envelopes[0].body = vec![0; 15].into();
    assert_eq!(store(&mut mailbox, fits), [YES]);
    assert_eq!(mailbox.count(&ann(1)).unwrap(), Count { messages: 2, bytes: 25, acknowledged: 0 });
}

#[test]
fn full_storage_refuses_and_takes_again_after_trims() {
    let mut mailbox = ModelMailbox::new(7, MailboxLimits { bytes_total_max: 25, ..ROOMY }, 1);
    assert_eq!(store(&mut mailbox, message(1, &[1, 2, 3])), [YES, YES, Stored::StorageFull]);
    assert_eq!(store(&mut mailbox, message(2, &[1])), [Stored::StorageFull]);
    mailbox.trim(&[trim(1, 1)]).unwrap();
    assert_eq!(store(&mut mailbox, message(3, &[3])), [YES]);
    assert_eq!(mailbox.status(), StorageStatus { bytes: 20, full: false, damages: 0 });
    mailbox.fill(1);
    assert!(mailbox.status().full);
    mailbox.trim(&[trim(2, 1)]).unwrap();
    assert_eq!(reads(&mut mailbox, 3), [3]);
    assert_eq!(store(&mut mailbox, message(4, &[1])), [Stored::StorageFull]);
    assert_eq!(store(&mut mailbox, message(5, &[1])), [YES]);
}

#[test]
fn a_topic_is_replaced_device_by_device() {
    let mut mailbox = mailbox();
    store(&mut mailbox, topic("t", message(1, &[1, 2])));
    store(&mut mailbox, topic("u", message(2, &[1])));
    store(&mut mailbox, topic("t", message(3, &[2, 3])));
    assert_eq!(reads(&mut mailbox, 1), [1, 2]);
    assert_eq!(reads(&mut mailbox, 2), [3]);
    // No topic is not a topic.
    store(&mut mailbox, message(4, &[3]));
    store(&mut mailbox, message(5, &[3]));
    assert_eq!(reads(&mut mailbox, 3), [3, 4, 5]);
}

#[test]
fn a_confirmed_envelope_counts_as_stored_and_is_not_written() {
    let mut mailbox = ModelMailbox::new(7, MailboxLimits { messages_per_device_max: 1, ..ROOMY }, 1);
    store(&mut mailbox, topic("t", message(1, &[1])));
    let mut confirmed = dedup(key("a"), message(2, &[1]));
    confirmed.envelopes[0].confirmed = true;
    mailbox.fill(1);
    assert_eq!(store(&mut mailbox, confirmed), [YES]);
    assert_eq!(reads(&mut mailbox, 1), [1]);
    let remembered = mailbox.recall(&user("ann"), &key("a"), NOW).unwrap().unwrap();
    assert_eq!(remembered.outcomes, [(device(1), YES)]);
    // So does what the watermark has passed.
    mailbox.trim(&[trim(1, 9)]).unwrap();
    assert_eq!(store(&mut mailbox, message(8, &[1])), [YES]);
    assert!(reads(&mut mailbox, 1).is_empty());
}

#[test]
fn a_confirmed_envelope_replaces_its_topic() {
    let mut mailbox = mailbox();
    store(&mut mailbox, topic("t", message(1, &[1])));
    let mut confirmed = topic("t", message(2, &[1]));
    confirmed.envelopes[0].confirmed = true;
    store(&mut mailbox, confirmed);
    assert!(reads(&mut mailbox, 1).is_empty());
}

#[test]
fn a_deduplication_id_is_remembered_with_what_became_of_the_envelopes() {
    let mut mailbox = ModelMailbox::new(7, MailboxLimits { messages_per_device_max: 1, ..ROOMY }, 1);
    store(&mut mailbox, message(1, &[1]));
    store(&mut mailbox, dedup(key("a"), message(2, &[1, 2])));
    let outcomes = vec![(device(1), Stored::MailboxFull), (device(2), YES)];
    let remembered = Remembered { digest: [1; 16], seq: 2, outcomes };
    assert_eq!(mailbox.recall(&user("ann"), &key("a"), NOW).unwrap(), Some(remembered.clone()));
    assert_eq!(mailbox.recall(&user("ann"), &key("a"), LATER - 1).unwrap(), Some(remembered));
    assert_eq!(mailbox.recall(&user("ann"), &key("a"), LATER).unwrap(), None);
    assert_eq!(mailbox.recall(&user("bob"), &key("a"), NOW).unwrap(), None);
    let sibling = DedupKey { scope: DedupScope::Sibling(1), id: "a".into() };
    assert_eq!(mailbox.recall(&user("ann"), &sibling, NOW).unwrap(), None);
}

#[test]
fn nothing_is_remembered_of_what_nobody_could_take() {
    let mut mailbox = ModelMailbox::new(7, MailboxLimits { messages_per_device_max: 0, ..ROOMY }, 1);
    assert_eq!(store(&mut mailbox, dedup(key("a"), message(2, &[1, 2]))), [Stored::MailboxFull; 2]);
    assert_eq!(mailbox.recall(&user("ann"), &key("a"), NOW).unwrap(), None);
    assert_eq!(mailbox.unsynced(), 0);
}

#[test]
fn the_oldest_ids_of_publishers_and_of_siblings_are_forgotten_apart() {
    let mut mailbox = mailbox();
    let of = |scope, id: u64| DedupKey { scope, id: id.to_string().into() };
    let confirmed = |seq: u64, key| {
        let mut append: Append = dedup(key, message(seq, &[1]));
        append.envelopes[0].confirmed = true;
        append
    };
    let publisher = |id: u64| of(DedupScope::Publisher(id % 2), id);
    let most = DEDUP_IDS_PER_USER_MAX as u64;
    let mut appends: Vec<_> = (1..=most).map(|id| confirmed(id, publisher(id))).collect();
    appends.push(confirmed(most + 1, of(DedupScope::Sibling(1), 1)));
    mailbox.append(&appends, NOW).unwrap();
    let mut recalls = |key| mailbox.recall(&user("ann"), &key, NOW).unwrap().is_some();
    assert!(recalls(publisher(1)) && recalls(of(DedupScope::Sibling(1), 1)));
    store(&mut mailbox, confirmed(most + 2, publisher(most + 1)));
    let mut recalls = |key| mailbox.recall(&user("ann"), &key, NOW).unwrap().is_some();
    assert!(!recalls(publisher(1)));
    assert!(recalls(publisher(2)) && recalls(publisher(most + 1)) && recalls(of(DedupScope::Sibling(1), 1)));
}

#[test]
fn a_watermark_never_moves_back_and_is_kept_without_messages() {
    let mut mailbox = mailbox();
    (1..=4).for_each(|seq| assert_eq!(store(&mut mailbox, message(seq, &[1, 2])), [YES; 2]));
    mailbox.trim(&[trim(1, 3), trim(1, 2), trim(3, 8)]).unwrap();
    assert_eq!(reads(&mut mailbox, 1), [4]);
    assert_eq!(reads(&mut mailbox, 2), [1, 2, 3, 4]);
    assert_eq!(mailbox.fetch(&ann(1), 3, NOW).unwrap(), None);
    assert_eq!(mailbox.count(&ann(1)).unwrap(), Count { messages: 1, bytes: 10, acknowledged: 3 });
    assert_eq!(mailbox.count(&ann(3)).unwrap(), Count { messages: 0, bytes: 0, acknowledged: 8 });
}

#[test]
fn one_message_is_removed() {
    let mut mailbox = mailbox();
    (1..=3).for_each(|seq| assert_eq!(store(&mut mailbox, message(seq, &[1])), [YES]));
    assert!(mailbox.remove(&ann(1), 2, NOW).unwrap());
    assert!(!mailbox.remove(&ann(1), 2, NOW).unwrap());
    assert!(!mailbox.remove(&ann(1), 3, LATER).unwrap());
    assert!(!mailbox.remove(&ann(2), 1, NOW).unwrap());
    assert_eq!(reads(&mut mailbox, 1), [1, 3]);
    assert_eq!(mailbox.count(&ann(1)).unwrap().acknowledged, 0);
}

#[test]
fn the_expired_are_passed_over_and_count_until_they_are_removed() {
    let mut mailbox = mailbox();
    store(&mut mailbox, message(1, &[1, 2]));
    store(&mut mailbox, Append { expires_at_ms: NOW + 1, ..dedup(key("a"), message(2, &[1])) });
    store(&mut mailbox, Append { expires_at_ms: LATER + 1, ..message(3, &[1]) });
    assert_eq!(mailbox.fetch(&ann(1), 2, NOW + 1).unwrap(), None);
    let page = mailbox.read(&ann(1), 0, 10, 1000, LATER).unwrap();
    assert_eq!(page.messages.iter().map(|waiting| waiting.seq).collect::<Vec<_>>(), [3]);
    assert_eq!(mailbox.count(&ann(1)).unwrap().messages, 3);
    assert_eq!(mailbox.expire(NOW + 1, 100).unwrap().messages, 1);
    assert_eq!(mailbox.waiting(&ann(1)), [1, 3]);
    assert_eq!(mailbox.expire(LATER, 100).unwrap().messages, 2);
    assert_eq!(mailbox.waiting(&ann(1)), [3]);
    assert_eq!(mailbox.recall(&user("ann"), &key("a"), NOW).unwrap(), None, "an id expires, too");
}

#[test]
fn expiry_goes_on_where_it_stopped_and_begins_again() {
    let mut mailbox = mailbox();
    (1..=9).for_each(|seq| assert_eq!(store(&mut mailbox, message(seq, &[1])), [YES]));
    store(&mut mailbox, Append { expires_at_ms: NOW + 1, ..message(10, &[2]) });
    let removed: Vec<u64> = (0..4).map(|_| mailbox.expire(NOW + 1, 3).unwrap().messages).collect();
    assert_eq!(removed, [0, 0, 0, 1]);
    let removed: Vec<u64> = (0..4).map(|_| mailbox.expire(LATER, 3).unwrap().messages).collect();
    assert_eq!(removed, [3, 3, 3, 0]);
}

#[test]
fn a_users_record_is_replaced() {
    let mut mailbox = mailbox();
    assert_eq!(mailbox.user(&user("ann")).unwrap(), None);
    let one = DeviceRecord { device: device(4), created_at_ms: NOW, last_seen_at_ms: NOW };
    let record = UserRecord { devices: vec![one], last_device: 4 };
    mailbox.put_user(&user("ann"), &record).unwrap();
    assert_eq!(mailbox.user(&user("ann")).unwrap(), Some(record));
    let none = UserRecord { devices: Vec::new(), last_device: 4 };
    mailbox.put_user(&user("ann"), &none).unwrap();
    assert_eq!(mailbox.user(&user("ann")).unwrap(), Some(none));
    assert_eq!(mailbox.user(&user("bob")).unwrap(), None);
}
