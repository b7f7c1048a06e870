//! What sessions make the shard hold: unfinished messages, and what sockets did not take.
//!
//! Only sessions that hold something stand here. Together they may hold so much; beyond it the largest holder goes
//! first, and of several that are equal the oldest, whoever it was that added the last byte. Finding it is no search.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use campanile_engine::Time;
use rustc_hash::FxBuildHasher;

/// How long a message may stay unfinished, beside what its bytes take at [`MESSAGE_BYTES_PER_SECOND_MIN`].
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The slowest link that a message may be sent over, in bytes per second: each byte that has come prolongs the time by
/// what it takes there, so that large messages are not only for fast clients.
const MESSAGE_BYTES_PER_SECOND_MIN: u64 = 1_024;

/// What one session makes the shard hold.
struct Holder {
    bytes: usize,
    /// Since when it has held something.
    since: Time,
    /// When its unfinished message began.
    message_since: Option<Time>,
}

/// What all sessions make the shard hold.
pub(super) struct Held {
    bytes: usize,
    bytes_max: usize,
    holders: HashMap<u32, Holder, FxBuildHasher>,
    /// The same in order: the last is the one to let go of.
    by_bytes: BTreeSet<(usize, Reverse<Time>, u32)>,
}

impl Held {
    pub(super) fn new(bytes_max: usize) -> Held {
        Held { bytes: 0, bytes_max, holders: HashMap::default(), by_bytes: BTreeSet::new() }
    }

    /// Bytes of all sessions.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A session holds so much from now on.
    pub(super) fn set(&mut self, slot: u32, bytes: usize, now: Time) {
        if bytes == 0 {
            return self.remove(slot);
        }
        let holder = self.holders.entry(slot).or_insert(Holder { bytes: 0, since: now, message_since: None });
        if holder.bytes > 0 {
            self.by_bytes.remove(&(holder.bytes, Reverse(holder.since), slot));
        }
        self.bytes = self.bytes - holder.bytes + bytes;
        holder.bytes = bytes;
        self.by_bytes.insert((bytes, Reverse(holder.since), slot));
    }

    /// A session holds nothing from now on.
    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(holder) = self.holders.remove(&slot) {
            self.by_bytes.remove(&(holder.bytes, Reverse(holder.since), slot));
            self.bytes -= holder.bytes;
        }
    }

    /// When what a session has not finished began; `None` if it is between messages.
    pub(super) fn set_message_since(&mut self, slot: u32, since: Option<Time>) {
        if let Some(holder) = self.holders.get_mut(&slot) {
            holder.message_since = since;
        }
    }

    /// When the session's unfinished message began.
    pub(super) fn message_since(&self, slot: u32) -> Option<Time> {
        self.holders.get(&slot)?.message_since
    }

    /// Until when a session's unfinished message, of which it holds `bytes`, is to be finished.
    pub(super) fn message_deadline(&self, slot: u32, bytes: usize) -> Option<Time> {
        let paid = Duration::from_millis(bytes as u64 * 1_000 / MESSAGE_BYTES_PER_SECOND_MIN);
        Some(self.message_since(slot)? + MESSAGE_TIMEOUT + paid)
    }

    /// The session to let go of, if all together hold too much.
    pub(super) fn beyond(&self) -> Option<u32> {
        let (_, _, slot) = self.by_bytes.last().filter(|_| self.is_beyond())?;
        Some(*slot)
    }

    /// Whether all together hold too much.
    pub(super) fn is_beyond(&self) -> bool {
        self.bytes > self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Time};

    #[test]
    fn the_largest_goes_first_and_the_oldest_of_equals() {
        let mut held = Held::new(100);
        for (slot, bytes, at) in [(1, 30, 3), (2, 40, 2), (3, 40, 1), (4, 1, 0)] {
            held.set(slot, bytes, Time(at));
        }
        assert_eq!((held.bytes(), held.beyond()), (111, Some(3)));
        held.set(3, 10, Time(9));
        assert_eq!((held.bytes(), held.beyond()), (81, None));
        held.set(1, 60, Time(9));
        assert_eq!(held.beyond(), Some(1));
        (1..=4).for_each(|slot| held.remove(slot));
        assert!(held.bytes() == 0 && held.holders.is_empty() && held.by_bytes.is_empty());
    }
}
