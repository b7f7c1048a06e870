//! What a store promises while nothing fails, rule by rule.

use super::asker::{Asker, ann, body, dedup, device, key, message, of, to, topic, trim, user};
use super::{LATER, NOW, ROOMY, SOON_MS, Subject};
use crate::operations::{Operation, RegisterError};
use crate::{
    Append, Count, DEDUP_IDS_PER_USER_MAX, DedupKey, DedupScope, MailboxLimits, READ_MESSAGES_MAX,
    Remembered, Stored,
};

const YES: Stored = Stored::Yes;

/// Each device reads its own envelopes, in the order of their numbers.
pub fn each_device_reads_its_own_envelopes_in_order<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    assert_eq!(asker.append(message(3, &[1, 2])), [YES, YES]);
    assert_eq!(asker.append(message(5, &[2])), [YES]);
    assert_eq!(asker.append(message(9, &[1])), [YES]);
    assert_eq!((asker.reads(&ann(1)), asker.reads(&ann(2))), (vec![3, 9], vec![3, 5]));
    assert!(asker.reads(&ann(3)).is_empty() && asker.reads(&of("bob", 1)).is_empty());
    assert_eq!(asker.page(&ann(2), 3, 10, usize::MAX).messages[0].body, body(5, 2));
    assert_eq!(asker.fetch(&ann(1), 9), Some(body(9, 1)));
    assert_eq!(asker.fetch(&ann(1), 5), None);
}

/// No number is given out twice, whatever happens in between.
pub fn numbers_are_given_out_once_whatever_happens<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let mut next = 1;
    for (count, reopen) in [(10, None), (1, Some(true)), (65_536, None), (5, Some(false)), (2, Some(true))] {
        let numbers = asker.reserve(count).expect("numbers");
        assert!(numbers.start >= next && numbers.end - numbers.start == count, "{numbers:?} after {next}");
        next = numbers.end;
        asker = match reopen {
            None => asker,
            Some(true) => asker.reopened(S::restart),
            Some(false) => asker.reopened(S::crash),
        };
    }
    asker.store.fail(super::Call::Other);
    let reserve = Operation::Reserve(asker.ticket(), 10);
    asker.store.port(0).ask(vec![reserve]);
    asker.turn();
    asker.now_ms += SOON_MS;
    asker.turn();
    asker.heard(0);
    assert!(asker.reserve(1).expect("it works again").start >= next);
}

/// Epoch and placement key are made with the store, and stay.
pub fn the_epoch_and_the_placement_key_are_the_stores_own<S: Subject>() {
    let store = S::make(ROOMY, 1, 1);
    let (epoch, key) = (store.epoch(), store.placement_key());
    assert!(epoch != 0 && epoch >> 63 == 0, "it fits a signed integer");
    let store = store.restart();
    assert_eq!((store.epoch(), store.placement_key()), (epoch, key));
    let store = store.crash();
    assert_eq!((store.epoch(), store.placement_key()), (epoch, key));
}

/// A page ends when it has as many messages or bytes as were asked for.
pub fn a_page_ends_at_either_limit_but_has_one_message<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    (1..=5).for_each(|number| assert_eq!(asker.append(message(number, &[1])), [YES]));
    let mut page = |after, messages_max, bytes_max| {
        let page = asker.page(&ann(1), after, messages_max, bytes_max);
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

/// A page has at most [`READ_MESSAGES_MAX`] messages.
pub fn a_page_has_a_limit_of_its_own<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let appends = (1..=READ_MESSAGES_MAX as u64 + 1).map(|number| (asker.ticket(), message(number, &[1])));
    let appends = appends.map(|(ticket, append)| Operation::Append(ticket, append)).collect();
    asker.store.port(0).ask(appends);
    asker.turn();
    asker.heard(0);
    let page = asker.page(&ann(1), 0, usize::MAX, usize::MAX);
    assert_eq!((page.messages.len(), page.more), (READ_MESSAGES_MAX, true));
}

/// A device whose mailbox is full is the only one that fails, and loses nothing that would be replaced.
pub fn a_full_device_fails_alone_and_keeps_its_topic<S: Subject>() {
    let mut asker = Asker::<S>::new(MailboxLimits { messages_per_device_max: 2, ..ROOMY }, 1, 1);
    asker.append(topic("t", message(1, &[1])));
    asker.append(message(2, &[1]));
    assert_eq!(asker.append(message(3, &[1, 2])), [Stored::MailboxFull, YES]);
    assert_eq!(asker.append(topic("other", message(4, &[1]))), [Stored::MailboxFull]);
    assert_eq!((asker.reads(&ann(1)), asker.reads(&ann(2))), (vec![1, 2], vec![3]));
    // What is replaced makes room.
    assert_eq!(asker.append(topic("t", message(5, &[1]))), [YES]);
    assert_eq!(asker.reads(&ann(1)), [2, 5]);
}

/// Bytes are a limit as well as messages, and a replacement that does not fit replaces nothing.
pub fn a_device_is_full_by_bytes_and_a_larger_replacement_is_refused<S: Subject>() {
    let mut asker = Asker::<S>::new(MailboxLimits { bytes_per_device_max: 25, ..ROOMY }, 1, 1);
    asker.append(topic("t", message(1, &[1])));
    asker.append(message(2, &[1]));
    assert_eq!(asker.append(message(3, &[1])), [Stored::MailboxFull]);
    let mut large = topic("t", message(4, &[1]));
    large.envelopes[0].body = vec![0; 16].into();
    assert_eq!(asker.append(large), [Stored::MailboxFull]);
    assert_eq!(asker.reads(&ann(1)), [1, 2]);
    let mut fits = topic("t", message(5, &[1]));
    fits.envelopes[0].body = vec![0; 15].into();
    assert_eq!(asker.append(fits), [YES]);
    assert_eq!(asker.count(&ann(1)), Count { messages: 2, bytes: 25, acknowledged: 0 });
}

/// What has expired makes room for what has not, at the latest when it is needed.
pub fn a_mailbox_is_not_full_of_what_has_expired<S: Subject>() {
    let mut asker = Asker::<S>::new(MailboxLimits { messages_per_device_max: 3, ..ROOMY }, 1, 1);
    asker.append(Append { expires_at_ms: NOW + 1, ..message(1, &[1]) });
    asker.append(message(2, &[1]));
    asker.append(message(3, &[1]));
    assert_eq!(asker.append(message(4, &[1])), [Stored::MailboxFull]);
    asker.now_ms += 1;
    assert_eq!(asker.append(message(5, &[1])), [YES]);
    assert_eq!(asker.append(message(6, &[1])), [Stored::MailboxFull]);
    assert_eq!(asker.reads(&ann(1)), [2, 3, 5]);
}

/// A message replaces the waiting one of its topic, for each device on its own.
pub fn a_topic_is_replaced_device_by_device<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    asker.append(topic("t", message(1, &[1, 2])));
    asker.append(topic("u", message(2, &[1])));
    asker.append(topic("t", message(3, &[2, 3])));
    assert_eq!(asker.reads(&ann(1)), [1, 2]);
    assert_eq!(asker.reads(&ann(2)), [3]);
    // No topic is not a topic.
    asker.append(message(4, &[3]));
    asker.append(message(5, &[3]));
    assert_eq!(asker.reads(&ann(3)), [3, 4, 5]);
    // The topic of a message that is gone is nobody's.
    assert!(asker.remove(&ann(1), 1));
    asker.trim(vec![trim(2, 3)]);
    asker.append(topic("t", message(6, &[1, 2])));
    assert_eq!((asker.reads(&ann(1)), asker.reads(&ann(2))), (vec![2, 6], vec![6]));
}

/// An envelope that its device has confirmed already is stored without being written.
pub fn a_confirmed_envelope_counts_as_stored_and_is_not_written<S: Subject>() {
    let mut asker = Asker::<S>::new(MailboxLimits { messages_per_device_max: 1, ..ROOMY }, 1, 1);
    asker.append(message(1, &[1]));
    let mut confirmed = dedup(key("a"), message(2, &[1]));
    confirmed.envelopes[0].confirmed = true;
    assert_eq!(asker.append(confirmed), [YES], "although it would be full");
    assert_eq!(asker.reads(&ann(1)), [1]);
    let remembered = asker.recall(&user("ann"), &key("a")).expect("it is remembered");
    assert_eq!(remembered.outcomes, [(device(1), YES)]);
    // So is what the watermark has passed.
    asker.trim(vec![trim(1, 9)]);
    assert_eq!(asker.append(message(8, &[1])), [YES]);
    assert!(asker.reads(&ann(1)).is_empty());
}

/// A deduplication id is remembered for its user and its scope, until its time is over.
pub fn a_deduplication_id_is_remembered_with_what_became_of_the_envelopes<S: Subject>() {
    let mut asker = Asker::<S>::new(MailboxLimits { messages_per_device_max: 1, ..ROOMY }, 1, 1);
    asker.append(message(1, &[1]));
    asker.append(dedup(key("a"), message(2, &[1, 2])));
    let outcomes = vec![(device(1), Stored::MailboxFull), (device(2), YES)];
    let remembered = Remembered { digest: [1; 16], seq: 2, outcomes };
    assert_eq!(asker.recall(&user("ann"), &key("a")), Some(remembered.clone()));
    assert_eq!(asker.recall(&user("bob"), &key("a")), None);
    let sibling = DedupKey { scope: DedupScope::Sibling(1), id: "a".into() };
    assert_eq!(asker.recall(&user("ann"), &sibling), None);
    let mut asker = asker.reopened(S::restart);
    asker.now_ms = LATER - 1;
    assert_eq!(asker.recall(&user("ann"), &key("a")), Some(remembered));
    asker.now_ms = LATER;
    assert_eq!(asker.recall(&user("ann"), &key("a")), None);
}

/// An id whose message nobody could take may be used again.
pub fn nothing_is_remembered_of_what_nobody_could_take<S: Subject>() {
    let mut asker = Asker::<S>::new(MailboxLimits { messages_per_device_max: 0, ..ROOMY }, 1, 1);
    assert_eq!(asker.append(dedup(key("a"), message(2, &[1, 2]))), [Stored::MailboxFull; 2]);
    assert_eq!(asker.recall(&user("ann"), &key("a")), None);
}

/// [`DEDUP_IDS_PER_USER_MAX`] ids of publishers are remembered, and as many of siblings.
pub fn the_oldest_ids_of_publishers_and_of_siblings_are_forgotten_apart<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let of = |scope, id: u64| DedupKey { scope, id: id.to_string().into() };
    let confirmed = |number: u64, key| {
        let mut append: Append = dedup(key, message(number, &[1]));
        append.envelopes[0].confirmed = true;
        append
    };
    let publisher = |id: u64| of(DedupScope::Publisher(id % 2), id);
    let most = DEDUP_IDS_PER_USER_MAX as u64;
    let mut appends: Vec<_> = (1..=most).map(|id| confirmed(id, publisher(id))).collect();
    appends.push(confirmed(most + 1, of(DedupScope::Sibling(1), 1)));
    let appends = appends.into_iter().map(|append| Operation::Append(asker.ticket(), append));
    let appends = appends.collect();
    asker.store.port(0).ask(appends);
    asker.turn();
    asker.heard(0);
    let ann = user("ann");
    assert!(asker.recall(&ann, &publisher(1)).is_some());
    assert!(asker.recall(&ann, &of(DedupScope::Sibling(1), 1)).is_some());
    // A store may forget a few at a time.
    for more in 1..=256 {
        asker.append(confirmed(most + 1 + more, publisher(most + more)));
    }
    assert!(asker.recall(&ann, &publisher(1)).is_none());
    for id in [most + 1, most + 256] {
        assert!(asker.recall(&ann, &publisher(id)).is_some(), "{id} is among the newest");
    }
    assert!(asker.recall(&ann, &of(DedupScope::Sibling(1), 1)).is_some());
}

/// A watermark only grows, removes what it passes, and is kept.
pub fn a_watermark_never_moves_back_and_is_kept_without_messages<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    (1..=4).for_each(|number| assert_eq!(asker.append(message(number, &[1, 2])), [YES; 2]));
    asker.trim(vec![trim(1, 3), trim(1, 2), trim(3, 8)]);
    for round in 0..2 {
        assert_eq!(asker.reads(&ann(1)), [4], "round {round}");
        assert_eq!(asker.reads(&ann(2)), [1, 2, 3, 4]);
        assert_eq!(asker.fetch(&ann(1), 3), None);
        assert_eq!(asker.count(&ann(1)), Count { messages: 1, bytes: 10, acknowledged: 3 });
        assert_eq!(asker.count(&ann(3)), Count { messages: 0, bytes: 0, acknowledged: 8 });
        asker = asker.reopened(S::restart);
    }
}

/// One message is removed, and the watermark stays.
pub fn one_message_is_removed<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    (1..=3).for_each(|number| assert_eq!(asker.append(message(number, &[1])), [YES]));
    assert!(asker.remove(&ann(1), 2));
    assert!(!asker.remove(&ann(1), 2));
    assert!(!asker.remove(&ann(2), 1));
    assert_eq!(asker.reads(&ann(1)), [1, 3]);
    assert_eq!(asker.count(&ann(1)), Count { messages: 2, bytes: 20, acknowledged: 0 });
    asker.now_ms = LATER;
    assert!(!asker.remove(&ann(1), 3), "it has expired");
}

/// What has expired is not delivered, and soon not kept.
pub fn the_expired_are_passed_over_and_soon_removed<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    asker.append(message(1, &[1, 2]));
    asker.append(Append { expires_at_ms: NOW + 1, ..message(2, &[1]) });
    asker.append(Append { expires_at_ms: LATER + SOON_MS * 2, ..message(3, &[1]) });
    asker.now_ms += 1;
    assert_eq!((asker.fetch(&ann(1), 2), asker.reads(&ann(1))), (None, vec![1, 3]));
    asker.now_ms = LATER;
    assert_eq!((asker.reads(&ann(1)), asker.reads(&ann(2))), (vec![3], vec![]));
    asker.now_ms += SOON_MS;
    asker.turn();
    assert_eq!(asker.count(&ann(1)), Count { messages: 1, bytes: 10, acknowledged: 0 });
    assert_eq!(asker.count(&ann(2)).messages, 0);
}

/// A user has so many devices, and the number of a device is given once.
pub fn devices_are_registered_up_to_the_limit_and_numbers_are_not_given_twice<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let ann = user("ann");
    assert_eq!(asker.register(&ann, Some(device(7))), Ok(device(7)));
    assert_eq!(asker.register(&ann, None), Ok(device(8)));
    assert_eq!(asker.register(&ann, Some(device(7))), Err(RegisterError::Exists));
    let mut asker = asker.reopened(S::crash);
    for number in 9..=11 {
        assert_eq!(asker.register(&ann, None), Ok(device(number)));
    }
    assert_eq!(asker.register(&ann, None), Err(RegisterError::TooMany));
    let record = asker.user(&ann);
    assert!(record.devices.iter().map(|known| known.device.get()).eq(7..=11));
    assert_eq!((record.last_device, record.devices[0].created_at_ms), (11, NOW));
    assert_eq!(asker.user(&user("bob")).devices, []);
}

/// A device that may not open a session leaves nothing behind.
pub fn nothing_is_kept_of_a_device_that_is_turned_away<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    let opened = asker.open(&ann(1), 50, false);
    assert_eq!((opened.admitted, opened.count), (Err(RegisterError::Unknown), Count::default()));
    assert_eq!(asker.user(&user("ann")).devices, []);
    asker.append(message(60, &[1]));
    asker.append(to("bob", message(61, &[1])));
    let opened = asker.open(&ann(1), 60, true);
    assert_eq!((opened.admitted, opened.user.devices.len()), (Ok(()), 1));
    assert_eq!(opened.count, Count { messages: 0, bytes: 0, acknowledged: 60 });
    assert_eq!(asker.reads(&of("bob", 1)), [61]);
}

/// The time that a device was seen last only grows.
pub fn the_last_time_seen_does_not_go_back<S: Subject>() {
    let mut asker = Asker::<S>::roomy();
    asker.open(&ann(1), 0, true);
    for at_ms in [LATER * 2, NOW] {
        asker.store.port(0).ask(vec![Operation::Seen(ann(1), at_ms)]);
        asker.turn();
        assert_eq!(asker.user(&user("ann")).devices[0].last_seen_at_ms, LATER * 2);
    }
    asker.store.port(0).ask(vec![Operation::Seen(ann(2), NOW)]);
    asker.turn();
    assert_eq!(asker.user(&user("ann")).devices.len(), 1, "nothing is kept of a stranger");
}
