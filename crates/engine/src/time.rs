//! The clock as a core sees it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since an origin that all drivers of a process share.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `CLOCK_MONOTONIC`, which every process of this machine shares.
    pub fn monotonic() -> Time {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;

    fn sub(self, rhs: Time) -> Duration {
        self.since(rhs)
    }
}

/// The two clocks at one moment.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: for every deadline and duration.
    pub time: Time,
    /// Milliseconds since the Unix epoch: for expiry claims and time stamps. It can jump.
    pub unix_ms: u64,
}

impl Now {
    /// Reads the machine's clocks.
    pub fn read() -> Now {
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Now { time: Time::monotonic(), unix_ms: wall.tv_sec as u64 * 1_000 + wall.tv_nsec as u64 / 1_000_000 }
    }
}

/// Lets something through once a second at most: what is logged for every failure while a machine is short of
/// something would make it worse.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Time>,
}

impl Seldom {
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Time::monotonic();
        let due = self.last.is_none_or(|last| now.since(last) >= Duration::from_secs(1));
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seldom_is_once_a_second() {
        let mut seldom = Seldom::default();
        assert!(seldom.is_due());
        assert!(!seldom.is_due());
        seldom.last = Some(Time(Time::monotonic().0 - 1_000_000_000));
        assert!(seldom.is_due());
        assert!(!seldom.is_due());
    }
}
