//! Whose turn it is when each of many is to have one in a fixed time, evenly spread over it.

use std::ops::Range;
use std::time::{Duration, Instant};

/// A round of turns that starts again and again.
#[derive(Debug)]
pub(super) struct Turns {
    every: Duration,
    start: Option<Instant>,
    done: usize,
}

impl Turns {
    /// Everyone is to have a turn once in `every`.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, start: None, done: 0 }
    }

    /// Which of `count` are due. A round that is late is finished first; the next one starts no earlier than now, so
    /// that nothing is ever made up for.
    pub(super) fn due(&mut self, count: usize, now: Instant) -> Range<usize> {
        let start = *self.start.get_or_insert(now);
        let passed = now.saturating_duration_since(start).as_nanos();
        let due = (count as u128 * passed / self.every.as_nanos()).min(count as u128) as usize;
        let due = due.max(self.done.min(count));
        let turns = self.done.min(count)..due;
        self.done = due;
        if passed >= self.every.as_nanos() {
            self.start = Some(now);
            self.done = 0;
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_one_turn_a_round_and_late_rounds_are_not_made_up_for() {
        let mut turns = Turns::new(Duration::from_millis(100));
        let start = Instant::now();
        let mut at = |msec| turns.due(1000, start + Duration::from_millis(msec));
        assert_eq!(at(0), 0..0);
        assert_eq!(at(10), 0..100);
        assert_eq!(at(10), 100..100);
        assert_eq!(at(55), 100..550);
        assert_eq!(at(101), 550..1000);
        assert_eq!(at(102), 0..10);
        assert_eq!(at(5000), 10..1000, "one round, though many have passed");
        assert_eq!(at(5001), 0..10);
    }

    #[test]
    fn there_may_be_nobody() {
        let mut turns = Turns::new(Duration::from_millis(100));
        let start = Instant::now();
        assert_eq!(turns.due(0, start), 0..0);
        assert_eq!(turns.due(0, start + Duration::from_millis(150)), 0..0);
        assert_eq!(turns.due(10, start + Duration::from_millis(200)), 0..5);
    }
}
