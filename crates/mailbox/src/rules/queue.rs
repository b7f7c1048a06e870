//! What the queue of a device takes.

use crate::{Count, MailboxLimits, Stored};

/// What becomes of an envelope.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The device has confirmed it already: it is not written, and counts as stored. Nothing is replaced: what would be
    /// is confirmed as well.
    Confirmed,
    /// It waits, in the place of what it replaces.
    Waits,
    /// It is refused, and replaces nothing.
    Refused(Stored),
}

/// Whether an envelope is confirmed before it is stored: somebody says so, or its number is at most the device's
/// watermark.
#[must_use]
pub fn is_confirmed(said: bool, number: u64, watermark: u64) -> bool {
    said || number <= watermark
}

/// Whether a queue takes a message that is not confirmed. `replaced` are the bytes of the waiting message of its topic
/// (RFC 8030 §5.4), which makes room for it; `storage_full` says that nothing is stored at all.
#[must_use]
pub fn decide(
    waiting: &Count,
    replaced: Option<u64>,
    bytes: u64,
    limits: &MailboxLimits,
    storage_full: bool,
) -> Decision {
    if storage_full {
        return Decision::Refused(Stored::StorageFull);
    }
    let messages = waiting.messages.saturating_sub(replaced.is_some().into());
    let others = waiting.bytes.saturating_sub(replaced.unwrap_or(0));
    if messages >= limits.messages_per_device_max || others + bytes > limits.bytes_per_device_max {
        return Decision::Refused(Stored::MailboxFull);
    }
    Decision::Waits
}

/// Whether a queue is so full that what has expired of it has to go before a message of so many bytes can be judged.
#[must_use]
pub fn needs_room(waiting: &Count, bytes: u64, limits: &MailboxLimits) -> bool {
    decide(waiting, None, bytes, limits, false) != Decision::Waits
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MailboxLimits =
        MailboxLimits { messages_per_device_max: 3, bytes_per_device_max: 100, bytes_total_max: 0 };

    fn waiting(messages: u64, bytes: u64) -> Count {
        Count { messages, bytes, acknowledged: 0 }
    }

    #[test]
    fn either_limit_is_reached_and_not_passed() {
        let takes = |messages, bytes, more| decide(&waiting(messages, bytes), None, more, &LIMITS, false);
        assert_eq!(takes(2, 60, 40), Decision::Waits);
        assert_eq!(takes(2, 60, 41), Decision::Refused(Stored::MailboxFull));
        assert_eq!(takes(3, 0, 0), Decision::Refused(Stored::MailboxFull));
        assert!(needs_room(&waiting(3, 0), 0, &LIMITS) && !needs_room(&waiting(2, 60), 40, &LIMITS));
    }

    #[test]
    fn what_is_replaced_makes_room() {
        let takes = |replaced, more| decide(&waiting(3, 90), replaced, more, &LIMITS, false);
        assert_eq!(takes(Some(20), 30), Decision::Waits);
        assert_eq!(takes(Some(20), 31), Decision::Refused(Stored::MailboxFull));
        assert_eq!(takes(Some(0), 10), Decision::Waits);
        assert_eq!(takes(None, 0), Decision::Refused(Stored::MailboxFull));
    }

    #[test]
    fn full_storage_says_so_even_of_a_full_queue() {
        assert_eq!(decide(&waiting(3, 0), Some(9), 1, &LIMITS, true), Decision::Refused(Stored::StorageFull));
    }

    #[test]
    fn a_watermark_confirms_all_up_to_it() {
        assert!(is_confirmed(false, 5, 5) && is_confirmed(true, 6, 5) && !is_confirmed(false, 6, 5));
    }
}
