//! What only the model promises: the bytes of a whole store, numbers that grow, and the steps of expiry.

use campanile_mailbox::executor::{Mailbox, StorageStatus};
use campanile_mailbox::model::ModelMailbox;
use campanile_mailbox::{Append, MailboxLimits, Stored};

use crate::{LATER, NOW, ROOMY, mailbox, message, reads, store, trim};

const YES: Stored = Stored::Yes;

#[test]
#[should_panic(expected = "5 after 5")]
fn a_number_that_does_not_grow_is_noticed_even_if_the_message_was_lost() {
    let mut mailbox = mailbox();
    store(&mut mailbox, message(5, &[1]));
    store(&mut mailbox.power_cut(), message(5, &[1]));
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
fn expiry_goes_on_where_it_stopped_and_begins_again() {
    let mut mailbox = mailbox();
    (1..=9).for_each(|seq| assert_eq!(store(&mut mailbox, message(seq, &[1])), [YES]));
    store(&mut mailbox, Append { expires_at_ms: NOW + 1, ..message(10, &[2]) });
    let removed: Vec<u64> = (0..4).map(|_| mailbox.expire(NOW + 1, 3).unwrap().messages).collect();
    assert_eq!(removed, [0, 0, 0, 1]);
    let removed: Vec<u64> = (0..4).map(|_| mailbox.expire(LATER, 3).unwrap().messages).collect();
    assert_eq!(removed, [3, 3, 3, 0]);
}
