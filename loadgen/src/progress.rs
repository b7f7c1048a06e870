//! The line per second.

use std::sync::Arc;
use std::time::Duration;

use campanile_engine::Time;

use crate::publish::PublishProgress;
use crate::report::{Latency, grouped};
use crate::stats::{Stats, histogram};

const INTERVAL: Duration = Duration::from_secs(1);

/// The sum over all shards.
#[derive(Copy, Clone, Debug, Default)]
pub struct Totals {
    /// Devices that are connected now.
    pub connected: u64,
    /// Upgrades that succeeded.
    pub opened: u64,
    /// Devices that could not connect.
    pub failed: u64,
    /// Connections that ended before we wanted it.
    pub ended: u64,
    /// Messages that arrived.
    pub received: u64,
    /// Messages that arrived, whoever published them and however often.
    pub delivered: u64,
    /// Sessions whose replay is over.
    pub caught_up: u64,
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
            totals.received += stats.received.value();
            totals.delivered += stats.delivered.value();
            totals.caught_up += stats.caught_up.value();
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
    pub fn show(&mut self, phase: &str, stats: &[Arc<Stats>], publishing: Option<&PublishProgress>) {
        let now = Time::monotonic();
        let passed = now.since(self.last);
        if !self.shown || passed < INTERVAL {
            return;
        }
        let totals = Totals::of(stats);
        let sent = publishing.map_or(self.sent, |publishing| publishing.sent.value());
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
        if publishing.is_some() {
            let mut latency = histogram();
            for stats in stats {
                // All have the same bounds, so there is nothing that could fail.
                let _ = latency.add(&stats.details().latency);
            }
            let latency = Latency::of(&latency);
            line += &format!(
                "; {} pushes/s, {} received/s, p50 {:.2} ms, p99 {:.2} ms",
                per_second(sent, self.sent),
                per_second(totals.received, self.totals.received),
                latency.p50,
                latency.p99,
            );
        }
        eprintln!("{line}");
        (self.last, self.totals, self.sent) = (now, totals, sent);
    }
}
