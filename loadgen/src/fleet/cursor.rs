//! What one device has of one channel, and whether what comes fits it: the promise is a sequence without holes, but for
//! those that a `gap` frame tells of.

/// How many of the last messages are remembered one by one, to tell a duplicate from one that comes too late.
const WINDOW: u64 = 64;

/// How a message stands to what the device has.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The next one.
    Next {
        /// It was published before the subscription began, and is part of what was missed.
        recovered: bool,
    },
    /// Later than the next one, and nothing was said about so many before it.
    Hole(u64),
    /// The device has it.
    Duplicate,
    /// The device has later ones, and not this one.
    Late,
    /// There is no subscription.
    Unasked,
}

/// How a subscription has begun.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// For the first time.
    Fresh,
    /// Everything that was missed follows.
    Recovered,
    /// It does not, or not all of it.
    NotRecovered,
}

/// A place in a channel's messages.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    epoch: u64,
    /// The highest number that is settled: it has come, or the device was told that it will not.
    offset: u64,
    /// Bit `i`: message `offset - i` has come.
    seen: u64,
    /// The newest message when the subscription began.
    began_at: u64,
    subscribed: bool,
    /// The session before had it: a position can be given.
    known: bool,
}

impl Cursor {
    /// Whether the session is subscribed.
    pub(super) fn is_subscribed(&self) -> bool {
        self.subscribed
    }

    /// The session has ended.
    pub(super) fn left(&mut self) {
        self.subscribed = false;
    }

    /// What the device has, if it was subscribed before: epoch and number.
    pub(super) fn since(&self) -> Option<(u64, u64)> {
        self.known.then_some((self.epoch, self.offset))
    }

    /// A subscription begins. `recovered` says that everything since the device's position follows.
    pub(super) fn subscribed(&mut self, epoch: u64, newest: u64, recovered: bool) -> Beginning {
        let (known, same) = (self.known, self.epoch == epoch);
        (self.subscribed, self.known, self.began_at) = (true, true, newest);
        if known && same && recovered {
            return Beginning::Recovered;
        }
        (self.epoch, self.offset, self.seen) = (epoch, newest, 0);
        if known { Beginning::NotRecovered } else { Beginning::Fresh }
    }

    /// Message `offset` has come.
    pub(super) fn message(&mut self, offset: u64) -> Order {
        if !self.subscribed {
            return Order::Unasked;
        }
        if offset > self.offset {
            let hole = offset - self.offset - 1;
            self.advance(offset);
            self.seen |= 1;
            return match hole {
                0 => Order::Next { recovered: offset <= self.began_at },
                hole => Order::Hole(hole),
            };
        }
        let bit = match self.offset - offset {
            back if back < WINDOW => 1 << back,
            _ => return Order::Duplicate,
        };
        let had = self.seen & bit != 0;
        self.seen |= bit;
        if had { Order::Duplicate } else { Order::Late }
    }

    /// The device is told that what it lacks up to `until` will not come. How many messages that is.
    pub(super) fn gap(&mut self, until: u64) -> u64 {
        let missed = until.saturating_sub(self.offset);
        self.advance(self.offset + missed);
        missed
    }

    /// How many messages it lacks of those up to `newest`, if that is of the same epoch.
    pub(super) fn behind(&self, epoch: u64, newest: u64) -> u64 {
        if self.subscribed && self.epoch == epoch { newest.saturating_sub(self.offset) } else { 0 }
    }

    fn advance(&mut self, offset: u64) {
        let by = offset - self.offset;
        self.seen = if by < WINDOW { self.seen << by } else { 0 };
        self.offset = offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: Order = Order::Next { recovered: false };

    fn at(offset: u64) -> Cursor {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.subscribed(7, offset, false), Beginning::Fresh);
        cursor
    }

    #[test]
    fn a_hole_that_nobody_told_of_is_found_and_one_that_was_told_is_none() {
        let mut cursor = at(10);
        assert_eq!([11, 12].map(|offset| cursor.message(offset)), [NEXT; 2]);
        assert_eq!(cursor.message(16), Order::Hole(3));
        assert_eq!(cursor.gap(20), 4);
        assert_eq!(cursor.message(21), NEXT);
        assert_eq!(cursor.gap(30), 9);
        assert_eq!(cursor.message(33), Order::Hole(2), "the gap told of those up to 30");
        assert_eq!(cursor.gap(31), 0, "which it has passed");
        assert_eq!(cursor.message(34), NEXT);
    }

    #[test]
    fn a_duplicate_is_told_from_one_that_comes_too_late() {
        let mut cursor = at(0);
        for offset in [1, 2, 5] {
            cursor.message(offset);
        }
        assert_eq!(cursor.message(5), Order::Duplicate);
        assert_eq!(cursor.message(2), Order::Duplicate);
        assert_eq!([cursor.message(4), cursor.message(4)], [Order::Late, Order::Duplicate]);
        cursor.gap(7);
        assert_eq!(cursor.message(6), Order::Late, "it was said that it would not come");
        cursor.gap(1_000);
        assert_eq!(cursor.message(900), Order::Duplicate, "nobody remembers that long");
        assert_eq!(cursor.message(1_001), NEXT);
    }

    #[test]
    fn who_comes_back_goes_on_where_it_was_if_that_is_possible() {
        let mut cursor = at(10);
        cursor.message(11);
        cursor.left();
        assert!(!cursor.is_subscribed());
        assert_eq!(cursor.message(12), Order::Unasked);
        assert_eq!(cursor.since(), Some((7, 11)));
        assert_eq!(cursor.subscribed(7, 13, true), Beginning::Recovered);
        assert_eq!(cursor.message(12), Order::Next { recovered: true });
        assert_eq!(cursor.message(14), Order::Hole(1), "message 13 was promised");
        cursor.left();
        assert_eq!(cursor.subscribed(7, 20, false), Beginning::NotRecovered);
        assert_eq!(cursor.message(21), NEXT);
        assert_eq!(cursor.subscribed(8, 3, true), Beginning::NotRecovered, "another epoch has nothing of it");
        assert_eq!((cursor.since(), cursor.behind(8, 5), cursor.behind(7, 50)), (Some((8, 3)), 2, 0));
    }
}
