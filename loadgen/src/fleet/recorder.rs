//! A shard's own histograms, handed over a few times a second.

use std::time::Duration;

use campanile_engine::Time;
use hdrhistogram::Histogram;

use crate::stats::{Stats, histogram};

/// How often what was recorded is handed over.
const HAND_OVER: Duration = Duration::from_millis(250);

/// Records without a lock; hands over under one.
pub(super) struct Recorder {
    connecting: Histogram<u64>,
    opening: Histogram<u64>,
    latency: Histogram<u64>,
    channel_latency: Histogram<u64>,
    /// When each message was due and how long it took, in nanoseconds, if that is kept.
    samples: Option<Vec<(u64, u64)>>,
    /// When to hand over; `None` when there is nothing.
    due: Option<Time>,
}

impl Recorder {
    pub(super) fn new(samples: bool) -> Recorder {
        let samples = samples.then(Vec::new);
        Recorder {
            connecting: histogram(),
            opening: histogram(),
            latency: histogram(),
            channel_latency: histogram(),
            samples,
            due: None,
        }
    }

    /// A connection has been upgraded.
    pub(super) fn connected(&mut self, now: Time, took: Duration) {
        record(&mut self.connecting, took);
        self.due.get_or_insert(now + HAND_OVER);
    }

    /// A connection has become a session.
    pub(super) fn opened(&mut self, now: Time, took: Duration) {
        record(&mut self.opening, took);
        self.due.get_or_insert(now + HAND_OVER);
    }

    /// A message to a device that was due then has arrived.
    pub(super) fn arrived(&mut self, now: Time, due: Time) {
        record(&mut self.latency, now.since(due));
        self.sample(now, due);
    }

    /// A message of a channel that was due then has arrived.
    pub(super) fn arrived_on_channel(&mut self, now: Time, due: Time) {
        record(&mut self.channel_latency, now.since(due));
        self.sample(now, due);
    }

    fn sample(&mut self, now: Time, due: Time) {
        if let Some(samples) = &mut self.samples {
            samples.push((due.as_nanos(), now.as_nanos().saturating_sub(due.as_nanos())));
        }
        self.due.get_or_insert(now + HAND_OVER);
    }

    /// Hands over when it is time, or `at_once`. When to call it again.
    pub(super) fn hand_over(&mut self, now: Time, stats: &Stats, at_once: bool) -> Option<Time> {
        if self.due.is_some_and(|due| at_once || due <= now) {
            self.due = None;
            let details = &mut *stats.details();
            for (own, shared) in [
                (&mut self.connecting, &mut details.connecting),
                (&mut self.opening, &mut details.opening),
                (&mut self.latency, &mut details.latency),
                (&mut self.channel_latency, &mut details.channel_latency),
            ] {
                if !own.is_empty() {
                    // Both have the same bounds, so there is nothing that could fail.
                    let added = shared.add(&*own);
                    debug_assert!(added.is_ok());
                    own.reset();
                }
            }
            if let Some(samples) = &mut self.samples {
                details.samples.append(samples);
            }
        }
        self.due
    }
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}
