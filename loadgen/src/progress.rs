//! The line per second.

use std::sync::Arc;
use std::time::Duration;

use campanile_engine::Time;

use crate::console;
use crate::report::{Latency, grouped};
use crate::stats::{Stats, histogram};

const INTERVAL: Duration = Duration::from_secs(1);

/// The sum over all shards.
#[derive(Copy, Clone, Debug, Default)]
pub struct Totals {
    /// Devices that have a session now.
    pub connected: u64,
    /// Connections that became sessions.
    pub opened: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    /// Connections that ended before we wanted it.
    pub ended: u64,
    /// Connections that devices ended by themselves.
    pub left: u64,
    /// Messages that arrived.
    pub received: u64,
    /// Messages that arrived, whoever published them and however often.
    pub delivered: u64,
    /// Sessions whose replay is over.
    pub caught_up: u64,
    /// Subscriptions that hold now.
    pub subscriptions: u64,
    /// Devices that have all of theirs.
    pub subscribed: u64,
    /// Subscriptions that were refused or ended.
    pub refused: u64,
    /// Messages of channels at devices that read.
    pub frames: u64,
    /// Messages of channels at devices that stood still.
    pub frames_late: u64,
    /// Of both, those that checked devices had.
    pub duplicates: u64,
    /// Gaps that devices were told of.
    pub gaps: u64,
    /// Messages that devices were to publish.
    pub offered: u64,
    /// Those that they sent.
    pub publish_sent: u64,
    /// Those that the gateway accepted.
    pub accepted: u64,
    /// Those that it did not, or that could not be sent.
    pub publish_failed: u64,
}

impl Totals {
    /// Adds up what the shards have counted so far.
    pub fn of(stats: &[Arc<Stats>]) -> Totals {
        let mut totals = Totals::default();
        for stats in stats {
            totals.connected += stats.connected.value();
            totals.opened += stats.opened.value();
            totals.failed += stats.failed.value();
            totals.ended += stats.ended.value();
            totals.left += stats.left.value();
            totals.received += stats.received.value();
            totals.delivered += stats.delivered.value();
            totals.caught_up += stats.caught_up.value();
            let channels = &stats.channels;
            totals.subscriptions += channels.subscriptions.value();
            totals.subscribed += channels.subscribed.value();
            totals.refused += channels.refused.value();
            totals.frames += channels.frames.value();
            totals.frames_late += channels.frames_late.value();
            totals.duplicates += channels.duplicated.value();
            totals.gaps += channels.gaps_told.value() + channels.gaps_told_late.value();
            totals.offered += channels.offered.value();
            totals.publish_sent += channels.sent.value();
            totals.accepted += channels.accepted.value();
            totals.publish_failed += channels.failed.value();
        }
        totals
    }
}

/// Prints the progress to standard error.
pub struct Progress {
    target: u32,
    shown: bool,
    start: Time,
    last: Time,
    totals: Totals,
    sent: u64,
}

impl Progress {
    /// Progress towards `target` connections; nothing is printed unless `shown`.
    pub fn new(target: u32, shown: bool) -> Progress {
        let now = Time::monotonic();
        Progress { target, shown, start: now, last: now, totals: Totals::default(), sent: 0 }
    }

    /// Prints a line if a second has passed since the last one.
    pub fn show(&mut self, phase: &str, stats: &[Arc<Stats>], published: Option<u64>) {
        let now = Time::monotonic();
        let passed = now.since(self.last);
        if !self.shown || passed < INTERVAL {
            return;
        }
        let totals = Totals::of(stats);
        // Either publishers send, or devices do.
        let sent = published.unwrap_or(self.sent).max(totals.publish_sent);
        let per_second = |now: u64, before: u64| {
            grouped((now.saturating_sub(before) as f64 / passed.as_secs_f64()) as u64)
        };
        let mut line = format!(
            "{:>5} s {phase:<8} {}/{} connected, {}/s, {} failed",
            now.since(self.start).as_secs(),
            grouped(totals.connected),
            grouped(self.target.into()),
            per_second(totals.opened, self.totals.opened),
            grouped(totals.failed),
        );
        if totals.ended > 0 {
            line += &format!(", {} ended", grouped(totals.ended));
        }
        if totals.subscriptions > 0 {
            line += &format!(", {} subscribed", grouped(totals.subscribed));
        }
        if sent > 0 {
            let mut latency = histogram();
            for stats in stats {
                // All have the same bounds, so there is nothing that could fail.
                let details = stats.details();
                let _ = latency.add(&details.latency);
                let _ = latency.add(&details.channel_latency);
            }
            line += &format!(
                "; {} published/s, {} received/s",
                per_second(sent, self.sent),
                per_second(totals.received + totals.frames, self.totals.received + self.totals.frames),
            );
            if let Some(latency) = Latency::of(&latency) {
                line += &format!(", p50 {:.2} ms, p99 {:.2} ms", latency.p50, latency.p99);
            }
        }
        if totals.gaps > 0 {
            line += &format!(", {} gaps told", grouped(totals.gaps));
        }
        console::progress(&line);
        (self.last, self.totals, self.sent) = (now, totals, sent);
    }
}
