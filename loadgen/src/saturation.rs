//! Whether the load generator itself was the bottleneck: its figures are then its own, and not the server's.
//!
//! A thread that is never idle, because it works or waits for a core, begins what is due too late and sees arrivals too
//! late. The kernel knows both times of each thread (`/proc/…/schedstat`).

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_engine::Time;
use serde::{Deserialize, Serialize};

/// How long a window is.
const WINDOW: Duration = Duration::from_millis(200);
/// A thread that is idle for less than the rest of its time is saturated.
const SATURATED_SHARE: f64 = 0.95;
/// Of fewer windows nothing is said.
const WINDOWS_MIN: u32 = 5;

/// How busy the threads were that publish and receive, while messages were published.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// Windows of 200 ms.
    pub windows: u32,
    /// Those in which a thread was never idle.
    pub saturated_windows: u32,
    /// How much of its time the busiest thread was at work or waited for a core, on average over the windows.
    pub busiest_thread_share: f64,
}

impl Saturation {
    /// Whether a thread was never idle for half of the time or more.
    pub fn is_bottleneck(&self) -> bool {
        self.windows >= WINDOWS_MIN && self.saturated_windows * 2 >= self.windows
    }

    /// Adds a window, of which the busiest thread was busy for this share.
    fn add(&mut self, share: f64) {
        let before = f64::from(self.windows) * self.busiest_thread_share;
        self.windows += 1;
        self.saturated_windows += u32::from(share >= SATURATED_SHARE);
        self.busiest_thread_share = (before + share) / f64::from(self.windows);
    }
}

/// Looks at threads from time to time.
#[derive(Debug, Default)]
pub struct Watch {
    since: Option<Time>,
    /// By thread: how long it had been busy when the window began.
    busy: BTreeMap<u64, Duration>,
    found: Saturation,
}

impl Watch {
    /// Looks at these threads of this process, by their number, if a window has passed. A number of 0 is none yet.
    pub fn look(&mut self, now: Time, threads: impl Iterator<Item = u64>) {
        let passed = self.since.map(|since| now.since(since));
        if passed.is_some_and(|passed| passed < WINDOW) {
            return;
        }
        let busy: BTreeMap<u64, Duration> =
            threads.filter_map(|thread| Some((thread, busy_time(thread)?))).collect();
        let grown = |(thread, now): (&u64, &Duration)| Some(now.saturating_sub(*self.busy.get(thread)?));
        if let Some((passed, most)) = passed.zip(busy.iter().filter_map(grown).max()) {
            self.found.add((most.as_secs_f64() / passed.as_secs_f64()).min(1.0));
        }
        (self.since, self.busy) = (Some(now), busy);
    }

    /// What was found; `None` if nothing could be measured.
    pub fn found(&self) -> Option<Saturation> {
        (self.found.windows > 0).then_some(self.found)
    }
}

/// How long a thread of this process has been at work or has waited for a core.
fn busy_time(thread: u64) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let mut nanos = text.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    Some(Duration::from_nanos(nanos.next()? + nanos.next()?))
}

/// The number of the calling thread.
pub fn this_thread() -> u64 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saturation(shares: impl IntoIterator<Item = f64>) -> Saturation {
        let mut saturation = Saturation::default();
        shares.into_iter().for_each(|share| saturation.add(share));
        saturation
    }

    #[test]
    fn whoever_is_never_idle_for_half_of_the_time_is_the_bottleneck() {
        assert!(saturation([1.0, 0.1, 1.0, 0.1, 0.96, 0.2]).is_bottleneck());
        assert!(!saturation([1.0, 0.1, 1.0, 0.1, 0.94, 0.2]).is_bottleneck());
        assert!(!saturation([1.0; 4]).is_bottleneck(), "too short to tell");
        let share = saturation([0.5, 1.0, 0.0, 0.5]).busiest_thread_share;
        assert!((share - 0.5).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_thread_that_works_gets_busier() {
        let this = this_thread();
        let before = busy_time(this).unwrap();
        let mut spun = 0u64;
        while busy_time(this).unwrap() < before + Duration::from_millis(20) {
            spun = std::hint::black_box(spun + 1);
        }
        let mut watch = Watch::default();
        assert_eq!(watch.found(), None, "{spun}");
        for at in 0..3 {
            // Whoever has no number yet is not looked at.
            watch.look(Time(0) + WINDOW * at, [this, 0].into_iter());
        }
        assert_eq!(watch.found().unwrap().windows, 2);
    }
}
