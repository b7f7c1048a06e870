//! What has been received, and how late.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;

/// The shortest and longest latency that is told apart, in nanoseconds: 1 µs and 2 minutes.
const NANOS: (u64, u64) = (1_000, 120_000_000_000);

/// How much of an unexpected frame is kept for the error message, in bytes.
const EXCERPT_BYTES_MAX: usize = 120;

/// What one receiver process has counted.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) sample: Sample,
    latency: Histogram<u64>,
}

/// What receivers have counted; of several processes, the sum. All but `reached` and what says so is since the last
/// reset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// CPU time of the receiver so far, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Bytes received, without the answers to the upgrades.
    pub(crate) bytes: u64,
    /// Those of the sampled sockets.
    pub(crate) sampled_bytes: u64,
    /// Messages in the sampled sockets.
    pub(crate) sampled_messages: u64,
    /// Messages that came after one with a higher number of the same publisher, or a second time.
    pub(crate) out_of_order: u64,
    /// Numbers that were passed over in the order of one publisher and one socket.
    pub(crate) skipped: u64,
    /// Reads that returned data, and the most that one returned, in bytes.
    pub(crate) reads: u64,
    /// See `reads`.
    pub(crate) read_bytes_max: u64,
    /// Sampled sockets that have ever got a message.
    pub(crate) reached: u32,
    /// Sockets that have ended, since the beginning.
    pub(crate) closed: u32,
    /// Why the first of the sampled ones ended.
    pub(crate) closed_why: Option<String>,
    /// How the first data frame without a stamp began.
    pub(crate) unstamped: Option<String>,
    /// Latencies in nanoseconds and how often each was seen.
    latencies: Vec<(u64, u64)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { sample: Sample::default(), latency: histogram() }
    }
}

impl Tally {
    /// Forgets what was counted, and keeps what is known of the sockets.
    pub(super) fn reset(&mut self) {
        let Sample { reached, closed, closed_why, .. } = std::mem::take(&mut self.sample);
        self.sample = Sample { reached, closed, closed_why, ..Sample::default() };
        self.latency.reset();
    }

    /// So many bytes were read at once.
    pub(super) fn on_read(&mut self, bytes: usize) {
        self.sample.bytes += bytes as u64;
        self.sample.reads += 1;
        self.sample.read_bytes_max = self.sample.read_bytes_max.max(bytes as u64);
    }

    /// A sampled socket got a message.
    pub(super) fn on_message(&mut self, stamp: Stamp, now_nanos: u64, order: &mut Order) {
        self.sample.sampled_messages += 1;
        self.latency.saturating_record(now_nanos.saturating_sub(stamp.nanos).max(NANOS.0));
        if order.next.is_empty() {
            self.sample.reached += 1;
        }
        match order.place(stamp) {
            Place::Next => {}
            Place::After(skipped) => self.sample.skipped += skipped,
            Place::Before => self.sample.out_of_order += 1,
        }
    }

    /// A sampled socket got a frame without a message.
    pub(super) fn on_unstamped(&mut self, payload: &[u8]) {
        if self.sample.unstamped.is_none() {
            let excerpt = &payload[..payload.len().min(EXCERPT_BYTES_MAX)];
            self.sample.unstamped = Some(String::from_utf8_lossy(excerpt).into_owned());
        }
    }

    /// Everything until now.
    pub(super) fn sample(&self, cpu_seconds: f64) -> Sample {
        let latencies = self.latency.iter_recorded();
        let latencies = latencies.map(|value| (value.value_iterated_to(), value.count_at_value())).collect();
        Sample { cpu_seconds, latencies, ..self.sample.clone() }
    }
}

impl Sample {
    /// Adds what another process has counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.bytes += other.bytes;
        self.sampled_bytes += other.sampled_bytes;
        self.sampled_messages += other.sampled_messages;
        self.out_of_order += other.out_of_order;
        self.skipped += other.skipped;
        self.reads += other.reads;
        self.read_bytes_max = self.read_bytes_max.max(other.read_bytes_max);
        self.reached += other.reached;
        self.closed += other.closed;
        self.closed_why = self.closed_why.take().or(other.closed_why);
        self.unstamped = self.unstamped.take().or(other.unstamped);
        self.latencies.extend(other.latencies);
    }

    /// Messages in all sockets, by the bytes that one took in the sampled ones.
    pub(crate) fn messages(&self) -> f64 {
        if self.sampled_bytes == 0 {
            return 0.0;
        }
        self.bytes as f64 * self.sampled_messages as f64 / self.sampled_bytes as f64
    }

    /// How late messages were, in milliseconds, by the share of them that was not later; NaN without any.
    pub(crate) fn latency_msec(&self, quantiles: &[f64]) -> Vec<f64> {
        let mut all = histogram();
        for &(nanos, count) in &self.latencies {
            all.saturating_record_n(nanos, count);
        }
        let msec = |quantile: &f64| {
            if all.is_empty() { f64::NAN } else { all.value_at_quantile(*quantile) as f64 / 1e6 }
        };
        quantiles.iter().map(msec).collect()
    }
}

/// Which message of each publisher comes next in one socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// By publisher; nothing for one of which nothing was seen yet.
    next: Vec<Option<u64>>,
}

/// Where a message stands in its publisher's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Next,
    /// So many were passed over.
    After(u64),
    Before,
}

impl Order {
    /// The first message that is seen of a publisher is always the next one.
    fn place(&mut self, stamp: Stamp) -> Place {
        let publisher = usize::from(stamp.publisher);
        if self.next.len() <= publisher {
            self.next.resize(publisher + 1, None);
        }
        let expected = self.next[publisher].unwrap_or(stamp.sequence);
        if stamp.sequence < expected {
            return Place::Before;
        }
        self.next[publisher] = Some(stamp.sequence + 1);
        match stamp.sequence - expected {
            0 => Place::Next,
            skipped => Place::After(skipped),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(NANOS.0, NANOS.1, 3).expect("constant bounds that the crate allows")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(publisher: u8, sequence: u64) -> Stamp {
        Stamp { publisher, sequence, nanos: 1_000_000 }
    }

    #[test]
    fn what_is_passed_over_and_what_comes_late_is_told_for_each_publisher() {
        let (mut tally, mut order) = (Tally::default(), Order::default());
        for (publisher, sequence) in [(0, 5), (0, 6), (1, 0), (0, 9), (0, 7), (1, 1), (1, 1)] {
            tally.on_message(stamp(publisher, sequence), 2_000_000, &mut order);
        }
        assert_eq!(tally.sample.sampled_messages, 7);
        assert_eq!(tally.sample.skipped, 2, "7 and 8 were not there when 9 came");
        assert_eq!(tally.sample.out_of_order, 2, "7 came late, and 1 twice");
        assert_eq!(tally.sample.reached, 1);
    }

    #[test]
    fn messages_of_all_sockets_follow_from_the_bytes_of_the_sampled_ones() {
        let mut tally = Tally::default();
        let mut order = Order::default();
        for sequence in 0..10 {
            tally.on_read(130);
            tally.sample.sampled_bytes += 130;
            tally.on_message(stamp(0, sequence), 2_000_000, &mut order);
        }
        tally.on_read(130 * 990);
        assert_eq!(tally.sample(0.0).messages(), 1000.0);
        assert_eq!(tally.sample.read_bytes_max, 130 * 990);
        assert_eq!(Sample::default().messages(), 0.0, "and of none there are none");
    }

    #[test]
    fn samples_of_processes_add_up() {
        let (mut fast, mut slow) = (Tally::default(), Tally::default());
        for sequence in 0..95 {
            fast.on_message(stamp(0, sequence), 2_000_000, &mut Order::default());
        }
        for sequence in 0..5 {
            slow.on_message(stamp(0, sequence), 101_000_000, &mut Order::default());
        }
        let mut sum = fast.sample(1.0);
        sum.merge(slow.sample(0.5));
        assert_eq!((sum.cpu_seconds, sum.sampled_messages, sum.reached), (1.5, 100, 100));
        let latency = sum.latency_msec(&[0.5, 0.95, 0.96, 1.0]);
        for (found, expected) in latency.iter().zip([1.0, 1.0, 100.0, 100.0]) {
            assert!((found / expected - 1.0).abs() < 0.002, "{latency:?}");
        }
        assert!(Sample::default().latency_msec(&[0.95])[0].is_nan());
    }

    #[test]
    fn a_reset_forgets_messages_and_keeps_what_is_known_of_the_sockets() {
        let (mut tally, mut order) = (Tally::default(), Order::default());
        tally.on_message(stamp(0, 3), 2_000_000, &mut order);
        tally.sample.closed = 2;
        tally.reset();
        assert_eq!(tally.sample(0.0), Sample { reached: 1, closed: 2, ..Sample::default() });
        tally.on_message(stamp(0, 4), 2_000_000, &mut order);
        assert_eq!((tally.sample.sampled_messages, tally.sample.skipped, tally.sample.reached), (1, 0, 1));
    }
}
