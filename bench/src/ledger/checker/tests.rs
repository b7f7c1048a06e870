//! Each kind of breach is planted into records that are in order, and must be found, alone.

use super::*;
use crate::ledger::records::Manner;

/// User 0 has devices 0 and 1, user 1 has device 0. Message `n` is for all devices of user `n % 2`, has id `100 + n`
/// and number `10 + n`.
struct Story {
    records: Records,
}

const USERS: [u32; 2] = [0b11, 0b1];

impl Story {
    /// Everything as it should be, with a restart after message 3 and repeats of what was not acknowledged.
    fn told() -> Story {
        let publication = |number: u64| {
            let user = (number % 2) as u32;
            let asked = USERS[user as usize];
            let incarnation = u32::from(number > 3);
            let outcome =
                Outcome::Accepted { id: 100 + u128::from(number), taken: asked, failed: 0, incarnation };
            Publication { number, user, asked, confirmed: 0, stored: 0, unanswered: Vec::new(), outcome }
        };
        let device = |user, device| Device { user, device, receipts: Vec::new() };
        let mut records = Records {
            publications: (0..8).map(publication).collect(),
            devices: vec![device(0, 0), device(0, 1), device(1, 0)],
        };
        for device in &mut records.devices {
            let user = u64::from(device.user);
            let numbers = |from: u64| (from..8).filter(move |number| number % 2 == user);
            for number in numbers(0).filter(|&number| number < 4) {
                device.receipts.push(receipt(0, 0, number));
            }
            // The second session repeats from message 2 or 3 on.
            for number in numbers(2) {
                device.receipts.push(receipt(1, 1, number));
            }
        }
        Story { records }
    }

    fn receipts(&mut self, device: usize) -> &mut Vec<Receipt> {
        &mut self.records.devices[device].receipts
    }

    fn breaches(&self) -> Vec<Breach> {
        check(&self.records).breaches
    }

    #[track_caller]
    fn breaks_only(&self, kind: &str) {
        let breaches = self.breaches();
        let kinds: Vec<_> = breaches.iter().map(Breach::kind).collect();
        assert!(!kinds.is_empty() && kinds.iter().all(|&found| found == kind), "{breaches:#?}");
        assert!(breaches.iter().all(|breach| breach.to_string().starts_with(kind)));
    }
}

fn receipt(session: u32, incarnation: u32, number: u64) -> Receipt {
    Receipt {
        session,
        manner: Manner::Promptly,
        caught_up: true,
        incarnation,
        seq: 10 + number,
        id: 100 + u128::from(number),
        content: Ok(number),
    }
}

#[test]
fn what_is_in_order_is_not_complained_about() {
    let found = check(&Story::told().records);
    assert_eq!(found.breaches, []);
    // Four messages for two devices, four for one; each device has one twice.
    assert_eq!((found.accepted, found.expected, found.receipts, found.repeats), (8, 12, 15, 3));
    assert_eq!((found.refused, found.retried, found.orphans), (0, 0, 0));
}

#[test]
fn a_message_that_one_device_never_got_is_lost() {
    let mut story = Story::told();
    story.receipts(1).retain(|receipt| receipt.content != Ok(2));
    assert_eq!(story.breaches(), [Breach::Lost { number: 2, user: 0, device: 1, id: 102 }]);
    // Unless the answer said so.
    let Outcome::Accepted { taken, failed, .. } = &mut story.records.publications[2].outcome else {
        panic!()
    };
    (*taken, *failed) = (0b01, 0b10);
    assert_eq!(story.breaches(), []);
    story.records.publications[2].outcome = Outcome::Refused;
    assert_eq!(story.breaches(), [], "what is refused may be received or not");
}

#[test]
fn a_message_that_was_received_only_before_the_kill_counts_as_received() {
    let mut story = Story::told();
    // It was acknowledged: the second session does not repeat it.
    story.receipts(0).retain(|receipt| !(receipt.session == 1 && receipt.content == Ok(2)));
    assert_eq!(story.breaches(), []);
}

#[test]
fn an_answer_must_name_every_device_and_no_other() {
    let mut story = Story::told();
    let Outcome::Accepted { taken, .. } = &mut story.records.publications[4].outcome else { panic!() };
    *taken = 0b01;
    story.breaks_only("wrong_devices");
    let mut story = Story::told();
    let Outcome::Accepted { failed, .. } = &mut story.records.publications[4].outcome else { panic!() };
    *failed = 0b1000;
    story.breaks_only("wrong_devices");
}

#[test]
fn numbers_that_do_not_grow_within_a_session_are_found() {
    let mut story = Story::told();
    let again = story.receipts(0)[1];
    story.receipts(0).insert(2, again);
    story.breaks_only("not_growing");
}

#[test]
fn a_first_receipt_after_a_higher_number_is_found() {
    let mut story = Story::told();
    // Message 0 comes only in a third session, when everything else has been seen.
    let first = Receipt { session: 2, incarnation: 1, ..story.receipts(2).remove(0) };
    story.receipts(2).push(first);
    let seqs = (17, 11);
    assert_eq!(story.breaches(), [Breach::Reordered { user: 1, device: 0, session: 2, seqs }]);
}

#[test]
fn messages_that_are_numbered_in_another_order_than_published_are_found() {
    let mut story = Story::told();
    for device in 0..2 {
        for receipt in story.receipts(device) {
            // 4 and 6 change places.
            let other = match receipt.content {
                Ok(4) => 6,
                Ok(6) => 4,
                _ => continue,
            };
            (receipt.content, receipt.id) = (Ok(other), 100 + u128::from(other));
        }
    }
    story.breaks_only("publish_order");
}

#[test]
fn a_message_redelivered_under_another_id_is_found() {
    let mut story = Story::told();
    let changed = story.receipts(0).iter_mut().find(|receipt| receipt.session == 1).unwrap();
    changed.id = 999;
    story.breaks_only("id_changed");
}

#[test]
fn a_retry_that_is_stored_twice_is_found() {
    // The first attempt was stored, not answered, and comes after the restart too.
    let mut story = Story::told();
    story.records.publications[4].unanswered.push((0, 0));
    let twice = Receipt { seq: 13, id: 555, ..receipt(1, 1, 4) };
    story.receipts(0).insert(3, twice);
    story.breaks_only("id_changed");
    // Nor may the incarnation that answered show another id.
    let mut story = Story::told();
    story.records.publications[4].unanswered.push((1, 1));
    story.receipts(0).insert(3, twice);
    story.breaks_only("id_changed");
}

#[test]
fn what_was_delivered_before_a_commit_that_never_came_is_counted_and_no_breach() {
    let mut story = Story::told();
    story.records.publications[4].unanswered.push((0, 0));
    let orphan = Receipt { seq: 13, id: 555, ..receipt(0, 0, 4) };
    story.receipts(0).insert(2, orphan);
    let found = check(&story.records);
    assert_eq!((found.breaches, found.orphans, found.retried), (vec![], 1, 1));
    // But only if a publisher waited for an answer then.
    story.records.publications[4].unanswered.clear();
    story.breaks_only("id_changed");
}

#[test]
fn a_message_that_came_only_as_an_orphan_is_missing() {
    let mut story = Story::told();
    story.records.publications[4].unanswered.push((0, 0));
    story.receipts(0).retain(|receipt| receipt.content != Ok(4));
    story.receipts(0).insert(2, Receipt { seq: 13, id: 555, ..receipt(0, 0, 4) });
    assert_eq!(story.breaches(), [Breach::OtherIdOnly { number: 4, user: 0, device: 0, id: 104 }]);
}

#[test]
fn a_message_redelivered_under_another_number_is_found() {
    let mut story = Story::told();
    let changed = story.receipts(2).iter_mut().find(|receipt| receipt.session == 1).unwrap();
    // Message 3, before 13, now 14; message 5 is 15.
    changed.seq = 14;
    story.breaks_only("seq_changed");
}

#[test]
fn ids_and_numbers_that_two_messages_share_are_found() {
    let mut story = Story::told();
    for receipt in story.receipts(2) {
        if receipt.content == Ok(5) {
            receipt.id = 104;
        }
    }
    let Outcome::Accepted { id, .. } = &mut story.records.publications[5].outcome else { panic!() };
    *id = 104;
    assert_eq!(story.breaches(), [Breach::SharedId { id: 104, numbers: (4, 5) }]);

    let mut story = Story::told();
    for receipt in story.receipts(2).iter_mut().filter(|receipt| receipt.session == 1) {
        // A number that another message had in the session before.
        if receipt.content == Ok(3) {
            (receipt.content, receipt.id) = (Ok(5), 105);
        }
    }
    let kinds: Vec<_> = story.breaches().iter().map(Breach::kind).collect();
    assert!(kinds.contains(&"shared_seq"), "{kinds:?}");
}

#[test]
fn what_nobody_published_is_found() {
    for forgery in [Forgery::Foreign, Forgery::Damaged(4)] {
        let mut story = Story::told();
        story.receipts(0).push(Receipt { content: Err(forgery), id: 1, ..receipt(1, 1, 20) });
        story.breaks_only("forged");
    }
    let mut story = Story::told();
    story.receipts(0).push(receipt(1, 1, 20));
    story.breaks_only("forged");
}

#[test]
fn what_was_for_somebody_else_is_found() {
    let mut story = Story::told();
    story.receipts(2).push(receipt(1, 1, 8));
    let mut meant = story.records.publications[6].clone();
    // For device 0 of user 0 alone; device 1 and user 1 have no business with it.
    (meant.number, meant.asked) = (8, 0b01);
    meant.outcome = Outcome::Accepted { id: 108, taken: 0b01, failed: 0, incarnation: 1 };
    story.records.publications.push(meant);
    story.receipts(0).push(receipt(1, 1, 8));
    story.breaks_only("astray");
    story.receipts(2).pop();
    story.receipts(1).push(receipt(1, 1, 8));
    story.breaks_only("astray");
}
