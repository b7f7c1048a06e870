//! The subscriptions of one shard, by number. Those of one session are a list; a channel has the numbers of its
//! subscribers, and each subscription its place among them.

use crate::directory::NONE;
use crate::table::Table;

/// One session's place in one channel.
#[derive(Default)]
pub(super) struct Subscription {
    /// The session.
    pub(super) slot: u32,
    pub(super) channel: u32,
    /// Where the channel has its number; [`NONE`] while it waits for the owner's log.
    pub(super) place: u32,
    /// The session's next subscription; for one that is free the next free one.
    pub(super) next: u32,
    /// The position of the first entry that was not sent, in its lowest 32 bits.
    pub(super) cursor: u32,
    /// When the token that allows it ends, in seconds since the Unix epoch; the largest number if the session's grants or
    /// its namespace allow it.
    pub(super) until: u32,
    /// The socket did not take what it was sent, and the session has not caught up since.
    pub(super) is_slow: bool,
    /// It stands in the queue of those who are behind.
    pub(super) is_behind: bool,
    /// It had to wait a turn because the session was sent something else.
    pub(super) is_deferred: bool,
}

// Promised: with its number in the channel a subscription costs no more than 32 bytes.
const _: () = assert!(size_of::<Subscription>() + size_of::<u32>() <= 32);

/// Subscriptions by number.
pub(super) struct Subscriptions {
    table: Table<Subscription>,
    free: u32,
    end: u32,
    len: u32,
}

impl Subscriptions {
    pub(super) const fn new() -> Subscriptions {
        Subscriptions { table: Table::new(), free: NONE, end: 0, len: 0 }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Subscription> {
        self.table.get(number).filter(|subscription| subscription.slot != NONE)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Subscription> {
        self.table.get_mut(number).filter(|subscription| subscription.slot != NONE)
    }

    pub(super) fn add(&mut self, subscription: Subscription) -> u32 {
        let number = match self.free {
            NONE => {
                self.end += 1;
                self.end - 1
            }
            free => {
                self.free = self.table.get(free).map_or(NONE, |free| free.next);
                free
            }
        };
        *self.table.entry(number) = subscription;
        self.len += 1;
        number
    }

    pub(super) fn remove(&mut self, number: u32) {
        let free = self.free;
        if let Some(subscription) = self.get_mut(number) {
            *subscription = Subscription { slot: NONE, next: free, ..Subscription::default() };
            self.free = number;
            self.len -= 1;
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The one before another among a session's subscriptions, or [`NONE`].
    pub(super) fn before(&self, first: u32, number: u32) -> u32 {
        let before = self.of_session(first).find(|(_, subscription)| subscription.next == number);
        before.map_or(NONE, |(before, _)| before)
    }

    /// The subscriptions of a session, from its first on.
    pub(super) fn of_session(&self, first: u32) -> impl Iterator<Item = (u32, &Subscription)> {
        let entry = |number: u32| self.get(number).map(|subscription| (number, subscription));
        std::iter::successors(entry(first), move |(_, subscription)| entry(subscription.next))
    }
}
