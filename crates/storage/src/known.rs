//! What is known of the mailboxes that were used lately, so that neither an append nor a trim has to read.
//!
//! A mailbox's [`Checkpoint`] on disk says how much waits up to a number; what came after it is counted when the
//! mailbox is first touched. It is written when [`APPENDS_PER_CHECKPOINT`] messages have come since, and together with
//! every removal of messages that it counts, so that it is right after a crash at any point.

use std::collections::{HashMap, VecDeque};
use std::mem;

use campanile_mailbox::Count;

use super::keys::AddressKey;
use super::records::Checkpoint;

/// Messages that have to be counted again at most when a mailbox is touched.
pub(super) const APPENDS_PER_CHECKPOINT: u32 = 256;
/// Removals of one mailbox that wait to be written.
pub(super) const REMOVALS_PENDING_MAX: usize = 128;
/// Messages at the end of each mailbox that are known without reading: more than devices confirm at a time.
const RECENT_MAX: usize = 64;
/// Half of the mailboxes that are known at most: about 1.5 KiB each when all their recent messages wait.
const GENERATION_MAX: usize = 4_096;

/// A waiting message of which no more than this is needed to remove it.
#[derive(Clone, Copy)]
pub(super) struct Recent {
    pub(super) seq: u64,
    pub(super) bytes: u32,
    pub(super) has_topic: bool,
}

/// What is known of one mailbox.
pub(super) struct KnownMailbox {
    /// The watermark: ahead of the one on disk while removals are pending.
    pub(super) acknowledged: u64,
    /// The highest number appended.
    pub(super) head: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// No message expires earlier.
    pub(super) earliest: u64,
    /// The checkpoint on disk, if there is one.
    pub(super) written: Option<Checkpoint>,
    pub(super) appended: u32,
    /// Every waiting message above `recent_after`.
    pub(super) recent: VecDeque<Recent>,
    pub(super) recent_after: u64,
    /// Confirmed, but still on disk.
    pub(super) pending: Vec<Recent>,
    /// It is in the list of those whose watermark on disk is behind.
    pub(super) listed: bool,
}

impl KnownMailbox {
    pub(super) fn new(written: Option<Checkpoint>) -> KnownMailbox {
        let checkpoint = written.unwrap_or(Checkpoint { earliest: u64::MAX, ..Checkpoint::default() });
        let counted = checkpoint.as_of.max(checkpoint.acknowledged);
        KnownMailbox {
            acknowledged: checkpoint.acknowledged,
            head: counted,
            messages: checkpoint.messages,
            bytes: checkpoint.bytes,
            earliest: checkpoint.earliest,
            written,
            appended: 0,
            recent: VecDeque::new(),
            recent_after: if checkpoint.messages == 0 { checkpoint.acknowledged } else { counted },
            pending: Vec::new(),
            listed: false,
        }
    }

    /// What waits, and what is confirmed.
    pub(super) fn count(&self) -> Count {
        Count { messages: self.messages, bytes: self.bytes, acknowledged: self.acknowledged }
    }

    /// Counts a message that has been appended, or was found above the checkpoint.
    pub(super) fn add(&mut self, message: Recent, expires_at_ms: u64) {
        self.head = self.head.max(message.seq);
        self.messages += 1;
        self.bytes += u64::from(message.bytes);
        self.earliest = self.earliest.min(expires_at_ms);
        self.appended += 1;
        self.recent.push_back(message);
        if self.recent.len() > RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_after = oldest.seq;
        }
    }

    /// Counts a message no more that is removed out of turn.
    pub(super) fn forget(&mut self, seq: u64, bytes: u32) {
        self.uncount(bytes);
        if let Ok(at) = self.recent.binary_search_by_key(&seq, |recent| recent.seq) {
            self.recent.remove(at);
        }
    }

    /// Counts a message no more that is confirmed.
    pub(super) fn confirm(&mut self, message: Recent) {
        self.uncount(message.bytes);
        self.pending.push(message);
    }

    fn uncount(&mut self, bytes: u32) {
        self.messages = self.messages.saturating_sub(1);
        // A damaged message may have been counted with another size; nothing is left of it when nothing waits.
        self.bytes = if self.messages == 0 { 0 } else { self.bytes.saturating_sub(bytes.into()) };
    }

    /// Whether a removal of this message is to be written with a checkpoint.
    pub(super) fn is_counted_on_disk(&self, seq: u64) -> bool {
        self.written.is_some_and(|written| seq <= written.as_of)
    }

    /// Whether what is on disk must be written anew with what is appended now.
    pub(super) fn needs_checkpoint(&self) -> bool {
        self.appended >= APPENDS_PER_CHECKPOINT
            || self.written.is_none_or(|written| self.earliest < written.earliest)
    }

    /// Whether the watermark on disk is behind.
    pub(super) fn is_ahead(&self) -> bool {
        self.acknowledged > self.written.map_or(0, |written| written.acknowledged)
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            acknowledged: self.acknowledged,
            as_of: self.head,
            messages: self.messages,
            bytes: self.bytes,
            earliest: self.earliest,
        }
    }
}

/// Mailboxes that were used lately, in two generations: what is used moves to the young one, and the old one is
/// forgotten when the young one is large.
#[derive(Default)]
pub(super) struct KnownMailboxes {
    young: HashMap<Box<[u8]>, KnownMailbox>,
    old: HashMap<Box<[u8]>, KnownMailbox>,
}

impl KnownMailboxes {
    pub(super) fn get(&mut self, address: &AddressKey) -> Option<&mut KnownMailbox> {
        let key = address.as_slice();
        if !self.young.contains_key(key) {
            let (key, known) = self.old.remove_entry(key)?;
            self.young.insert(key, known);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, address: &AddressKey, known: KnownMailbox) -> &mut KnownMailbox {
        self.young.entry(address.as_slice().into()).insert_entry(known).into_mut()
    }

    /// The mailboxes that are to be forgotten, once there are too many.
    pub(super) fn take_old(&mut self) -> Option<HashMap<Box<[u8]>, KnownMailbox>> {
        if self.young.len() < GENERATION_MAX {
            return None;
        }
        Some(mem::replace(&mut self.old, mem::take(&mut self.young)))
    }

    /// All of them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Box<[u8]>, &mut KnownMailbox)> {
        self.young.iter_mut().chain(&mut self.old)
    }
}
