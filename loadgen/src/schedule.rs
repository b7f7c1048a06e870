//! When each message is due. An open loop: a slow gateway changes nothing about it.

use std::time::Duration;

use campanile_engine::Time;

/// Messages at a steady rate from a start for a while.
#[derive(Copy, Clone, Debug)]
pub struct Schedule {
    start: Time,
    per_second: f64,
    messages: u64,
}

impl Schedule {
    /// `per_second` messages a second for `duration`, the first at `start`.
    pub fn new(start: Time, per_second: f64, duration: Duration) -> Schedule {
        Schedule { start, per_second, messages: Schedule::count(per_second, duration) }
    }

    /// The same, but no more than so many messages.
    pub fn limited(self, messages_max: u64) -> Schedule {
        Schedule { messages: self.messages.min(messages_max), ..self }
    }

    /// How many messages that makes.
    pub fn count(per_second: f64, duration: Duration) -> u64 {
        (per_second * duration.as_secs_f64()).round().max(0.0) as u64
    }

    /// How many messages there are.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// When message `number` is due.
    pub fn due(&self, number: u64) -> Time {
        self.start + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many messages are due at `now`.
    pub fn due_by(&self, now: Time) -> u64 {
        if now < self.start {
            return 0;
        }
        let passed = now.since(self.start).as_secs_f64();
        let about = (passed * self.per_second) as u64;
        // Rounding may be off by one either way; what counts is `due`.
        let mut count = about.saturating_sub(1);
        while count < self.messages && self.due(count) <= now {
            count += 1;
        }
        count.min(self.messages)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_evenly_spaced_whatever_the_rate() {
        let schedule = Schedule::new(Time(5_000), 20_000.0, Duration::from_secs(2));
        assert_eq!(schedule.messages(), 40_000);
        assert_eq!(schedule.due(0), Time(5_000));
        assert_eq!(schedule.due(1), Time(55_000));
        assert_eq!(schedule.due(39_999), Time(5_000 + 39_999 * 50_000));
        assert_eq!(Schedule::new(Time(0), 0.5, Duration::from_secs(10)).messages(), 5);
    }

    #[test]
    fn nothing_is_forgotten_after_a_long_pause() {
        let schedule = Schedule::new(Time(0), 1_000.0, Duration::from_secs(10));
        assert_eq!(schedule.due_by(Time(9_999_000_000)), 10_000);
        assert_eq!(schedule.due_by(Time(99_000_000_000)), 10_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A message is handed out at its time, neither before nor after.
        #[test]
        fn due_by_agrees_with_due(start in 0..10_000_000_000u64, rate in 0.1..300_000.0f64, after in 0..20_000_000_000u64) {
            let schedule = Schedule::new(Time(start), rate, Duration::from_secs(10));
            let now = Time(start + after);
            let count = schedule.due_by(now);
            prop_assert!(count == 0 || schedule.due(count - 1) <= now);
            prop_assert!(count == schedule.messages() || schedule.due(count) > now);
        }
    }
}
