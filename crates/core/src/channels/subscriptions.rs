//! The subscriptions of one shard, by number. Those of one session are a list; a channel has the numbers of its
//! subscribers, and each subscription its place among them.

use crate::net::wire::NONE;
use crate::table::Table;

/// The subscription ends with its session at the latest: no token of its own allows it.
pub(super) const UNENDING: u32 = u32::MAX;

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
    /// When the token that allows it ends, in seconds since the Unix epoch; [`UNENDING`] if the session's grants or its
    /// namespace allow it.
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

impl Subscription {
    /// When it ends because of its token, in seconds since the Unix epoch.
    pub(super) fn ends_at(&self) -> Option<u32> {
        (self.until != UNENDING).then_some(self.until)
    }
}

/// Subscriptions by number.
pub(super) struct Subscriptions {
    table: Table<Subscription>,
    free: u32,
    end: u32,
    len: u32,
}

impl Subscriptions {
    /// No subscriptions.
    pub(super) const fn new() -> Subscriptions {
        Subscriptions { table: Table::new(), free: NONE, end: 0, len: 0 }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Subscription> {
        self.table.get(number).filter(|subscription| subscription.slot != NONE)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Subscription> {
        self.table.get_mut(number).filter(|subscription| subscription.slot != NONE)
    }

    /// Adds a subscription, whose `next` is the first of its session's so far. Its number.
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

    /// Forgets a subscription, which is in no session's list any more.
    pub(super) fn remove(&mut self, number: u32) {
        let free = self.free;
        if let Some(subscription) = self.get_mut(number) {
            *subscription = Subscription { slot: NONE, next: free, ..Subscription::default() };
            self.free = number;
            self.len -= 1;
        }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Takes a subscription out of its session's list, of which `first` is the first. The first of what is left.
    pub(super) fn unlink(&mut self, first: u32, number: u32) -> u32 {
        let Some(next) = self.get(number).map(|subscription| subscription.next) else { return first };
        if first == number {
            return next;
        }
        let before = self.of_session(first).find(|(_, subscription)| subscription.next == number);
        if let Some(before) = before.map(|(before, _)| before)
            && let Some(before) = self.get_mut(before)
        {
            before.next = next;
        }
        first
    }

    /// The subscriptions of a session, from its first on.
    pub(super) fn of_session(&self, first: u32) -> impl Iterator<Item = (u32, &Subscription)> {
        let entry = |number: u32| self.get(number).map(|subscription| (number, subscription));
        std::iter::successors(entry(first), move |(_, subscription)| entry(subscription.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session with so many subscriptions: the first of them, which is the newest.
    fn session(subscriptions: &mut Subscriptions, slot: u32, count: u32) -> u32 {
        (0..count).fold(NONE, |next, channel| {
            subscriptions.add(Subscription { slot, channel, next, ..Subscription::default() })
        })
    }

    fn channels(subscriptions: &Subscriptions, first: u32) -> Vec<u32> {
        subscriptions.of_session(first).map(|(_, subscription)| subscription.channel).collect()
    }

    #[test]
    fn a_session_loses_the_subscription_that_ends_and_no_other() {
        for ended in 0..4 {
            let mut subscriptions = Subscriptions::new();
            let other = session(&mut subscriptions, 1, 3);
            let first = session(&mut subscriptions, 2, 4);
            let found = subscriptions.of_session(first).find(|(_, found)| found.channel == ended);
            let number = found.map(|(number, _)| number).unwrap();
            let first = subscriptions.unlink(first, number);
            subscriptions.remove(number);
            let left: Vec<u32> = (0..4).rev().filter(|&channel| channel != ended).collect();
            assert_eq!(channels(&subscriptions, first), left);
            assert_eq!(channels(&subscriptions, other), [2, 1, 0]);
            assert_eq!(subscriptions.len(), 6);
        }
    }

    #[test]
    fn numbers_are_used_again_and_what_is_free_is_found_by_nobody() {
        let mut subscriptions = Subscriptions::new();
        let first = session(&mut subscriptions, 0, 1);
        let second = session(&mut subscriptions, 1, 1);
        for number in [first, second, second] {
            subscriptions.remove(number);
            assert!(subscriptions.get(number).is_none());
        }
        assert_eq!((subscriptions.len(), subscriptions.unlink(NONE, first)), (0, NONE));
        let again = [session(&mut subscriptions, 5, 1), session(&mut subscriptions, 6, 1)];
        assert_eq!(again, [second, first]);
        assert_eq!(session(&mut subscriptions, 7, 1), 2);
        assert_eq!(subscriptions.len(), 3);
    }

    #[test]
    fn only_a_token_of_its_own_ends_a_subscription_by_itself() {
        assert_eq!(Subscription { until: UNENDING, ..Subscription::default() }.ends_at(), None);
        assert_eq!(Subscription { until: 1_000, ..Subscription::default() }.ends_at(), Some(1_000));
    }
}
