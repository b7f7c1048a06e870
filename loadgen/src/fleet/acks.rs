//! Acknowledgements: what each device has been delivered, what of it it has confirmed, and when the next is due.
//!
//! A device confirms after so many messages or so long after the first that is not confirmed, whichever comes first:
//! one frame for all of them. What it has processed outlives its session, as it would on a real device.

use std::time::Duration;

use campanile_engine::{Time, Wheel};

/// When devices acknowledge.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AckSettings {
    /// After so many messages.
    pub every: u32,
    /// So long after the first that is not acknowledged.
    pub within: Duration,
}

/// What a device has received.
#[derive(Copy, Clone, Debug, Default)]
struct Window {
    /// Epoch of the numbers.
    epoch: u64,
    /// The highest number of this session.
    seq: u64,
    /// The highest number of any session.
    processed: u64,
    /// Messages of this session that are not acknowledged.
    unacknowledged: u32,
    /// The clock runs for the first of them.
    timed: bool,
}

/// How a message stands to those before it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Its number is higher than all before it in this session, as it must be.
    InOrder,
    /// It is not.
    OutOfOrder,
}

/// The windows of one fleet's devices, by their place in it.
pub(super) struct Acks {
    settings: Option<AckSettings>,
    windows: Vec<Window>,
    /// By slot.
    wheel: Option<Wheel>,
    due: Vec<u32>,
}

impl Acks {
    pub(super) fn new(settings: Option<AckSettings>) -> Acks {
        Acks { settings, windows: Vec::new(), wheel: None, due: Vec::new() }
    }

    fn window(&mut self, place: usize) -> &mut Window {
        if self.windows.len() <= place {
            self.windows.resize(place + 1, Window::default());
        }
        &mut self.windows[place]
    }

    /// A session begins. What is to be said in a hello: the highest number that the device has processed, if it is of
    /// this epoch.
    pub(super) fn welcomed(&mut self, place: usize, epoch: u64) -> Option<u64> {
        let acknowledges = self.settings.is_some();
        let window = self.window(place);
        if window.epoch != epoch {
            *window = Window { epoch, ..Window::default() };
        }
        (window.seq, window.unacknowledged, window.timed) = (0, 0, false);
        (acknowledges && window.processed > 0).then_some(window.processed)
    }

    /// Message `seq` has arrived. 0 stands for one that is not to be acknowledged and has no place in the order.
    pub(super) fn delivered(&mut self, place: usize, seq: u64) -> Order {
        if seq == 0 {
            return Order::InOrder;
        }
        let window = self.window(place);
        window.unacknowledged += 1;
        window.processed = window.processed.max(seq);
        if seq <= window.seq {
            return Order::OutOfOrder;
        }
        window.seq = seq;
        Order::InOrder
    }

    /// After some messages: whether to acknowledge now. Otherwise the time runs.
    pub(super) fn is_due(&mut self, place: usize, slot: u32, now: Time) -> bool {
        let Some(AckSettings { every, within }) = self.settings else { return false };
        let tick = (within / 10).max(Duration::from_millis(1));
        let window = self.window(place);
        if window.unacknowledged >= every {
            return true;
        }
        if window.unacknowledged > 0 && !std::mem::replace(&mut window.timed, true) {
            self.wheel.get_or_insert_with(|| Wheel::new(now, tick)).set(slot, now + within);
        }
        false
    }

    /// Takes the number to acknowledge, if there is any.
    pub(super) fn take(&mut self, place: usize, slot: u32) -> Option<u64> {
        self.settings?;
        self.clear(slot);
        let window = self.window(place);
        window.timed = false;
        (std::mem::take(&mut window.unacknowledged) > 0).then_some(window.seq)
    }

    /// The slot's session has ended.
    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(wheel) = &mut self.wheel {
            wheel.clear(slot);
        }
    }

    /// The slots whose time has come. To be given back to [`Acks::recycle`].
    pub(super) fn expire(&mut self, now: Time) -> Vec<u32> {
        let mut due = std::mem::take(&mut self.due);
        if let Some(wheel) = &mut self.wheel {
            wheel.expire(now, &mut due);
        }
        due
    }

    /// Keeps the memory for the next turn.
    pub(super) fn recycle(&mut self, mut due: Vec<u32>) {
        due.clear();
        self.due = due;
    }

    /// When [`Acks::expire`] is to be called next.
    pub(super) fn next(&self) -> Option<Time> {
        self.wheel.as_ref().and_then(Wheel::next_tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn acks(every: u32) -> Acks {
        Acks::new(Some(AckSettings { every, within: 50 * MS }))
    }

    #[test]
    fn one_acknowledgement_confirms_all_that_came_before_it() {
        let mut acks = acks(3);
        acks.welcomed(0, 9);
        for seq in [4, 6] {
            assert_eq!(acks.delivered(0, seq), Order::InOrder);
            assert!(!acks.is_due(0, 5, Time(0)));
        }
        acks.delivered(0, 8);
        assert!(acks.is_due(0, 5, Time(0)));
        assert_eq!(acks.take(0, 5), Some(8));
        assert_eq!(acks.take(0, 5), None, "everything is confirmed");
        assert_eq!(acks.next(), None, "and no timer runs");
    }

    #[test]
    fn the_first_message_that_is_not_confirmed_starts_the_clock() {
        let mut acks = acks(100);
        acks.welcomed(0, 9);
        let start = Time(0) + 10 * MS;
        for (seq, after) in [(1, 0), (2, 30)] {
            acks.delivered(0, seq);
            assert!(!acks.is_due(0, 7, start + after * MS));
        }
        assert!(acks.expire(start + 49 * MS).is_empty());
        let due = acks.expire(start + 56 * MS);
        assert_eq!(due, [7], "not pushed out by the second message");
        acks.recycle(due);
        assert_eq!(acks.take(0, 7), Some(2));
    }

    #[test]
    fn numbers_that_do_not_grow_are_seen_within_a_session_only() {
        let mut acks = acks(100);
        acks.welcomed(0, 9);
        acks.delivered(0, 5);
        for seq in [5, 3] {
            assert_eq!(acks.delivered(0, seq), Order::OutOfOrder);
        }
        assert_eq!(acks.delivered(0, 0), Order::InOrder, "nothing to acknowledge");
        assert_eq!(acks.welcomed(0, 9), Some(5), "what was processed is said to the next session");
        assert_eq!(acks.delivered(0, 3), Order::InOrder, "which may repeat");
        assert_eq!(acks.welcomed(0, 10), None, "numbers of another epoch mean nothing");
    }

    #[test]
    fn a_device_that_does_not_acknowledge_says_nothing() {
        let mut acks = Acks::new(None);
        acks.welcomed(0, 9);
        acks.delivered(0, 5);
        assert!(!acks.is_due(0, 1, Time(0)));
        assert_eq!((acks.take(0, 1), acks.next(), acks.welcomed(0, 9)), (None, None, None));
    }
}
