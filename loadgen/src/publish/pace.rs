//! Which messages are to be published, and when: at fixed times, or as soon as a publisher is free.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use campanile_engine::Time;
use tokio::sync::Notify;

use super::PublishProgress;
use crate::schedule::Schedule;

/// The pacer sleeps no shorter than this …
const TICK_MIN: Duration = Duration::from_micros(20);
/// … and looks so often whether it is over.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// When messages are due.
#[derive(Clone, Debug)]
pub enum Pace {
    /// At fixed times, whatever the gateway does.
    Open(Schedule),
    /// When a publisher is free.
    Closed {
        /// Nothing is begun after this.
        until: Time,
        /// Most messages.
        messages_max: u64,
    },
}

impl Pace {
    /// How many messages there are, or may be.
    pub fn messages(&self) -> u64 {
        match self {
            Pace::Open(schedule) => schedule.messages(),
            Pace::Closed { messages_max, .. } => *messages_max,
        }
    }

    /// When a message is due that is taken at `now`.
    pub(super) fn due(&self, number: u64, now: Time) -> Time {
        match self {
            Pace::Open(schedule) => schedule.due(number),
            Pace::Closed { .. } => now,
        }
    }
}

/// Gives out messages. In an open loop it says when something is due, from a thread of its own: the runtime's timers
/// have a grain of a millisecond, and its thread is busy.
pub(super) struct Pacer {
    pace: Pace,
    /// Messages that publishers have taken.
    taken: AtomicU64,
    /// After this nothing is begun, however much is due; only in an open loop.
    end: Option<Time>,
    /// Something is due.
    pub(super) ticks: Notify,
    /// There will be no more ticks.
    over: AtomicBool,
}

impl Pacer {
    /// What is due is still begun for `graceful_stop` after the last message of an open loop.
    pub(super) fn new(pace: Pace, graceful_stop: Duration) -> Pacer {
        let end = match &pace {
            Pace::Open(schedule) => Some(schedule.due(schedule.messages()) + graceful_stop),
            Pace::Closed { .. } => None,
        };
        let over = AtomicBool::new(end.is_none());
        Pacer { pace, taken: AtomicU64::new(0), end, ticks: Notify::new(), over }
    }

    fn has_ended(&self, now: Time) -> bool {
        self.end.is_some_and(|end| now >= end)
    }

    /// Messages that fell due and were not begun until the end.
    pub(super) fn not_begun(&self) -> u64 {
        match &self.pace {
            Pace::Open(schedule) => schedule.messages() - self.taken.load(Ordering::Relaxed),
            Pace::Closed { .. } => 0,
        }
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether there will be no more ticks: whoever finds nothing to take may go.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// How many messages have fallen due.
    pub(super) fn offered(&self, stopped: bool) -> u64 {
        match &self.pace {
            Pace::Open(schedule) if stopped => schedule.due_by(Time::monotonic()),
            Pace::Open(schedule) => schedule.messages(),
            Pace::Closed { .. } => self.taken.load(Ordering::Relaxed),
        }
    }

    /// Says what is due: together every `batch`, or each message by itself. Ends at once in a closed loop.
    pub(super) fn run(&self, batch: Option<Duration>, progress: &PublishProgress) {
        let Pace::Open(schedule) = &self.pace else { return };
        let messages = schedule.messages();
        let mut at = batch.map_or(schedule.due(0), |batch| Time::monotonic() + batch);
        while self.taken.load(Ordering::Relaxed) < messages && !progress.stop.load(Ordering::Relaxed) {
            let wait = at.since(Time::monotonic());
            // In pieces, so that it hears of the end.
            std::thread::sleep(wait.clamp(TICK_MIN, STOP_CHECK));
            let now = Time::monotonic();
            if self.has_ended(now) {
                break;
            }
            if now < at {
                continue;
            }
            let due = schedule.due_by(now);
            if due > self.taken.load(Ordering::Relaxed) {
                self.ticks.notify_one();
            }
            // Ticks that have been missed are not made up for: one takes everything that is due.
            at = match batch {
                Some(batch) => (at + batch).max(now),
                None => schedule.due(due),
            };
        }
        self.over.store(true, Ordering::SeqCst);
        self.ticks.notify_waiters();
    }

    /// Takes messages that are due, at most `count`. Only the publishers' thread may call it.
    pub(super) fn take(&self, count: u64) -> Range<u64> {
        let first = self.taken.load(Ordering::Relaxed);
        let now = Time::monotonic();
        let due = match &self.pace {
            _ if self.has_ended(now) => first,
            Pace::Open(schedule) => schedule.due_by(now).max(first),
            Pace::Closed { until, messages_max } if now < *until => *messages_max,
            Pace::Closed { .. } => first,
        };
        let end = due.min(first + count);
        self.taken.store(end, Ordering::Relaxed);
        if end < due {
            // More than one request takes: somebody else may begin at once.
            self.ticks.notify_one();
        }
        first..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_everybody_takes_full_batches_until_the_end() {
        let until = Time::monotonic() + Duration::from_secs(60);
        let pacer = Pacer::new(Pace::Closed { until, messages_max: 250 }, Duration::ZERO);
        assert!(pacer.is_over(), "nobody waits for a tick");
        assert_eq!([pacer.take(100), pacer.take(100), pacer.take(100)], [0..100, 100..200, 200..250]);
        assert!(pacer.take(100).is_empty());
        assert_eq!(pacer.offered(false), 250);
        let late = Pacer::new(Pace::Closed { until: Time::monotonic(), messages_max: 250 }, Duration::ZERO);
        assert!(late.take(100).is_empty(), "its time is over");
        assert_eq!(late.offered(false), 0);
    }

    #[test]
    fn with_a_rate_only_what_is_due_is_taken() {
        let start = Time::monotonic();
        let schedule = Schedule::new(start, 1_000.0, Duration::from_secs(60));
        let pacer = Pacer::new(Pace::Open(schedule), Duration::ZERO);
        while Time::monotonic().since(start) < Duration::from_millis(20) {}
        let first = pacer.take(10);
        assert_eq!(first, 0..10);
        let rest = pacer.take(1_000_000);
        let latest = Time::monotonic().since(start).as_millis() as u64 + 1;
        assert!(rest.start == 10 && (20..=latest).contains(&rest.end), "{rest:?} after {latest} ms");
        assert_eq!(pacer.offered(false), 60_000);
    }

    #[test]
    fn a_gateway_that_does_not_answer_cannot_make_a_run_last() {
        let schedule = Schedule::new(Time::monotonic(), 100_000.0, Duration::from_millis(2));
        let pacer = Pacer::new(Pace::Open(schedule), Duration::from_millis(1));
        assert_eq!(pacer.not_begun(), 200);
        // Nobody takes anything; it ends nevertheless.
        pacer.run(Some(Duration::from_millis(1)), &PublishProgress::default());
        assert!(pacer.is_over() && pacer.take(100).is_empty());
        assert_eq!((pacer.offered(false), pacer.not_begun()), (200, 200));
    }
}
