//! When each message is due. An open loop: a slow gateway changes nothing about it.

use std::time::Duration;

use campanile_engine::Time;

use crate::stages::Stages;

/// Messages at a rate from a start for a while.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Time,
    rate: Rate,
    messages: u64,
}

/// How many messages there are a second.
#[derive(Clone, Debug, PartialEq)]
pub enum Rate {
    /// Always so many.
    Constant(f64),
    /// More and fewer.
    Stages(Stages),
}

impl Rate {
    /// How many messages that makes in this time; stages have a length of their own.
    pub fn messages(&self, duration: Duration) -> u64 {
        match self {
            Rate::Constant(per_second) => Schedule::count(*per_second, duration),
            Rate::Stages(stages) => Schedule::staged_count(stages),
        }
    }

    /// When they are due, the first at `start`.
    pub fn schedule(&self, start: Time, duration: Duration) -> Schedule {
        match self {
            Rate::Constant(per_second) => Schedule::new(start, *per_second, duration),
            Rate::Stages(stages) => Schedule::staged(start, stages.clone()),
        }
    }

    /// The rate, if it is always the same.
    pub fn constant(&self) -> Option<f64> {
        match self {
            Rate::Constant(per_second) => Some(*per_second),
            Rate::Stages(_) => None,
        }
    }
}

impl Schedule {
    /// `per_second` messages a second for `duration`, the first at `start`.
    pub fn new(start: Time, per_second: f64, duration: Duration) -> Schedule {
        Schedule { start, rate: Rate::Constant(per_second), messages: Schedule::count(per_second, duration) }
    }

    /// Messages at a rate that has stages, which begin at `start`.
    pub fn staged(start: Time, stages: Stages) -> Schedule {
        let messages = Schedule::staged_count(&stages);
        Schedule { start, rate: Rate::Stages(stages), messages }
    }

    /// The same, but no more than so many messages.
    pub fn limited(self, messages_max: u64) -> Schedule {
        Schedule { messages: self.messages.min(messages_max), ..self }
    }

    /// How many messages that makes.
    pub fn count(per_second: f64, duration: Duration) -> u64 {
        (per_second * duration.as_secs_f64()).round().max(0.0) as u64
    }

    /// How many messages stages make.
    pub fn staged_count(stages: &Stages) -> u64 {
        stages.area(stages.length()).round().max(0.0) as u64
    }

    /// How many messages there are.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// When message `number` is due.
    pub fn due(&self, number: u64) -> Time {
        self.start
            + match &self.rate {
                Rate::Constant(per_second) => Duration::from_secs_f64(number as f64 / per_second),
                Rate::Stages(stages) => stages.time_of(number as f64),
            }
    }

    /// How many messages are due at `now`.
    pub fn due_by(&self, now: Time) -> u64 {
        if now < self.start {
            return 0;
        }
        let passed = now.since(self.start);
        let about = match &self.rate {
            Rate::Constant(per_second) => (passed.as_secs_f64() * per_second) as u64,
            Rate::Stages(stages) => stages.area(passed) as u64,
        };
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
    use crate::stages::Stage;

    fn agree(schedule: &Schedule, now: Time) -> Result<(), TestCaseError> {
        let count = schedule.due_by(now);
        prop_assert!(count == 0 || schedule.due(count - 1) <= now);
        prop_assert!(count == schedule.messages() || schedule.due(count) > now);
        Ok(())
    }

    #[test]
    fn a_rate_may_have_stages() {
        let stage = |seconds, target| Stage { duration: Duration::from_secs(seconds), target };
        let stages = Stages::new(0.0, [stage(10, 100.0), stage(10, 100.0)]);
        let schedule = Schedule::staged(Time(0), stages);
        assert_eq!(schedule.messages(), 1_500);
        assert_eq!(schedule.due_by(Time(10_000_000_000)), 501);
        assert_eq!(schedule.due(1_000), Time(15_000_000_000));
    }

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
            agree(&Schedule::new(Time(start), rate, Duration::from_secs(10)), Time(start + after))?;
        }

        /// Also while the rate rises and falls.
        #[test]
        fn due_by_agrees_with_due_in_stages(rate in 1.0..3_000.0f64, after in 0..20_000_000_000u64) {
            let stage = |seconds, target| Stage { duration: Duration::from_secs(seconds), target };
            let stages = Stages::new(0.0, [stage(4, rate), stage(5, rate), stage(6, 0.0)]);
            agree(&Schedule::staged(Time(7), stages), Time(7 + after))?;
        }
    }
}
