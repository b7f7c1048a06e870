//! The results: as JSON, with units in the names, and as a table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use campanile_engine::DriverKind;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ledger::{Balance, Ledger};
use crate::options::Plan;
use crate::process;
use crate::progress::Totals;
use crate::publish::Published;
use crate::stats::{Counter, Reasons, Stats, histogram, merge};

/// What the control thread has noted.
#[derive(Debug, Default)]
pub struct Moments {
    /// From the first connect until all devices had connected or failed.
    pub ramp: Duration,
    /// CPU time of this process in it.
    pub ramp_cpu: Duration,
    /// From the first message until the last answer.
    pub publish: Duration,
    /// CPU time of this process in it.
    pub publish_cpu: Duration,
    /// Devices connected before we said goodbye.
    pub connected_at_end: u64,
    /// The run was ended by a signal.
    pub interrupted: bool,
}

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `uring` or `epoll`.
    pub driver: String,
    /// Threads that held devices.
    pub shards: usize,
    /// The run was ended by a signal.
    pub interrupted: bool,
    /// Devices and their connections.
    pub connections: Connections,
    /// What was published; absent if nothing was.
    pub pushes: Option<Pushes>,
    /// What arrived; absent if nothing was published.
    pub deliveries: Option<Deliveries>,
    /// What the load generator itself cost.
    pub process: Process,
}

/// Devices and their connections.
#[derive(Clone, Debug, Serialize)]
pub struct Connections {
    /// Devices that were to connect.
    pub target: u32,
    /// Their users.
    pub users: u32,
    /// Devices that connected.
    pub opened: u64,
    /// Devices that did not.
    pub failed: u64,
    /// Why: `http_503`, `timed_out`, `connection_refused`, …
    pub failed_by_reason: Reasons,
    /// Connections that the gateway ended, or that broke, before the end of the run.
    pub ended_early: u64,
    /// How: the close code (1006: none was sent), or what broke.
    pub ended_early_by_reason: Reasons,
    /// Devices connected at the end of the run.
    pub connected_at_end: u64,
    /// From the first connect until every device had connected or failed.
    pub ramp_seconds: f64,
    /// Connections per second in that time.
    pub opened_per_second: f64,
    /// From connect to the 101 answer.
    pub connect_latency_ms: Latency,
    /// WebSocket pings answered.
    pub pings_answered: u64,
    /// Welcome frames received.
    pub welcomes_received: u64,
}

/// What was published.
#[derive(Clone, Debug, Serialize)]
pub struct Pushes {
    /// `random-device`, `random-user` or `broadcast`.
    pub to: String,
    /// What was asked for.
    pub rate_per_second: f64,
    /// From the first message until the last answer.
    pub seconds: f64,
    /// Size of each payload.
    pub payload_bytes: usize,
    /// Messages that fell due.
    pub offered: u64,
    /// Messages that were put into a request.
    pub sent: u64,
    /// Messages that the gateway accepted.
    pub accepted: u64,
    /// Messages that it did not accept, or whose fate is not known.
    pub failed: u64,
    /// Why: the API's error code, `http_503`, `timed_out`, …
    pub failed_by_reason: Reasons,
    /// Devices that answers named as failed.
    pub failed_devices_by_reason: Reasons,
    /// HTTP requests.
    pub requests: u64,
    /// Accepted messages per second.
    pub accepted_per_second: f64,
    /// From when a message was due to the answer of its request.
    pub answer_latency_ms: Latency,
}

/// What arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Deliveries {
    /// Deliveries that the gateway reported (the sum of `deliveredCount`, or of `sent`).
    pub reported: u64,
    /// Deliveries that arrived, each counted once.
    pub received: u64,
    /// Reported, and not arrived within 2 s after the last answer.
    pub lost: u64,
    /// Arrived though the gateway had not reported it.
    pub unreported: u64,
    /// Arrived at a device that had it already.
    pub duplicated: u64,
    /// Arrived at a device that it was not for.
    pub astray: u64,
    /// Messages of somebody else or of an earlier run.
    pub foreign: u64,
    /// Frames that are not of the schema.
    pub undecodable: u64,
    /// Arrivals per second while messages were published.
    pub received_per_second: f64,
    /// From when a message was due to its arrival.
    pub latency_ms: Latency,
}

/// What the load generator itself cost.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// CPU time of the ramp.
    pub cpu_ramp_seconds: f64,
    /// CPU time while messages were published.
    pub cpu_publish_seconds: f64,
    /// CPU time of the whole process.
    pub cpu_seconds: f64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// Resident memory at its highest.
    pub rss_max_bytes: u64,
}

/// A distribution of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 % took no longer.
    pub p90: f64,
    /// 95 % took no longer.
    pub p95: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// 99.9 % took no longer.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Of times in nanoseconds.
    pub fn of(nanos: &Histogram<u64>) -> Latency {
        if nanos.is_empty() {
            return Latency::default();
        }
        let ms = |nanos: u64| nanos as f64 / 1e6;
        let quantile = |quantile| ms(nanos.value_at_quantile(quantile));
        Latency {
            count: nanos.len(),
            mean: nanos.mean() / 1e6,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: ms(nanos.max()),
        }
    }
}

impl Report {
    /// Puts together what everybody has counted.
    pub fn new(
        plan: &Plan,
        driver: DriverKind,
        stats: &[Arc<Stats>],
        ledger: Option<&Ledger>,
        published: Option<Published>,
        moments: Moments,
    ) -> Report {
        let (rss_bytes, rss_max_bytes) = process::resident_bytes();
        let deliveries = ledger
            .zip(published.as_ref())
            .map(|(ledger, published)| Deliveries::new(stats, ledger, published, &moments));
        Report {
            driver: driver.to_string(),
            shards: stats.len(),
            interrupted: moments.interrupted,
            connections: Connections::new(plan, stats, &moments),
            pushes: published.map(|published| Pushes::new(plan, published, &moments)),
            deliveries,
            process: Process {
                cpu_ramp_seconds: moments.ramp_cpu.as_secs_f64(),
                cpu_publish_seconds: moments.publish_cpu.as_secs_f64(),
                cpu_seconds: process::cpu().as_secs_f64(),
                rss_bytes,
                rss_max_bytes,
            },
        }
    }

    /// Whether every device connected and stayed, and every message arrived once, where it should.
    pub fn is_flawless(&self) -> bool {
        let connected = self.connections.failed == 0 && self.connections.ended_early == 0;
        let accepted = self.pushes.as_ref().is_none_or(|pushes| pushes.failed == 0);
        let arrived = self.deliveries.as_ref().is_none_or(|deliveries| {
            deliveries.lost + deliveries.duplicated + deliveries.astray + deliveries.undecodable == 0
        });
        connected && accepted && arrived
    }
}

fn per_second(count: u64, duration: Duration) -> f64 {
    if duration.is_zero() { 0.0 } else { count as f64 / duration.as_secs_f64() }
}

fn sum(stats: &[Arc<Stats>], counter: impl Fn(&Stats) -> &Counter) -> u64 {
    stats.iter().map(|stats| counter(stats).value()).sum()
}

impl Connections {
    fn new(plan: &Plan, stats: &[Arc<Stats>], moments: &Moments) -> Connections {
        let totals = Totals::of(stats);
        let (mut failed_by_reason, mut ended_early_by_reason) = (Reasons::new(), Reasons::new());
        let mut connecting = histogram();
        for stats in stats {
            let details = stats.details();
            merge(&mut failed_by_reason, &details.failures);
            merge(&mut ended_early_by_reason, &details.endings);
            // All have the same bounds, so there is nothing that could fail.
            let _ = connecting.add(&details.connecting);
        }
        Connections {
            target: plan.options.connections,
            users: plan.audience.users,
            opened: totals.opened,
            failed: totals.failed,
            failed_by_reason,
            ended_early: totals.ended,
            ended_early_by_reason,
            connected_at_end: moments.connected_at_end,
            ramp_seconds: moments.ramp.as_secs_f64(),
            opened_per_second: per_second(totals.opened, moments.ramp),
            connect_latency_ms: Latency::of(&connecting),
            pings_answered: sum(stats, |stats| &stats.pings),
            welcomes_received: sum(stats, |stats| &stats.welcomes),
        }
    }
}

impl Pushes {
    fn new(plan: &Plan, published: Published, moments: &Moments) -> Pushes {
        let failed = published.failures.values().sum();
        let accepted = published.latency.len();
        Pushes {
            to: plan.audience.to.to_string(),
            rate_per_second: plan.publishing.map_or(0.0, |publishing| publishing.per_second),
            seconds: moments.publish.as_secs_f64(),
            payload_bytes: plan.options.payload_bytes,
            offered: published.offered,
            sent: accepted + failed,
            accepted,
            failed,
            failed_by_reason: published.failures,
            failed_devices_by_reason: published.failed_devices,
            requests: published.requests,
            accepted_per_second: per_second(accepted, moments.publish),
            answer_latency_ms: Latency::of(&published.latency),
        }
    }
}

impl Deliveries {
    fn new(stats: &[Arc<Stats>], ledger: &Ledger, published: &Published, moments: &Moments) -> Deliveries {
        let mut latency = histogram();
        for stats in stats {
            // As above.
            let _ = latency.add(&stats.details().latency);
        }
        let Balance { lost, unreported } = ledger.balance(&published.delivered);
        let received = sum(stats, |stats| &stats.received);
        Deliveries {
            reported: published.delivered.iter().copied().map(u64::from).sum(),
            received,
            lost,
            unreported,
            duplicated: sum(stats, |stats| &stats.duplicated),
            astray: sum(stats, |stats| &stats.astray),
            foreign: sum(stats, |stats| &stats.foreign),
            undecodable: sum(stats, |stats| &stats.undecodable),
            received_per_second: per_second(received, moments.publish),
            latency_ms: Latency::of(&latency),
        }
    }
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Reasons with their counts in brackets, or nothing.
fn reasons(reasons: &Reasons) -> String {
    let list: Vec<String> =
        reasons.iter().map(|(reason, &count)| format!("{reason}: {}", grouped(count))).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("nothing measured");
        }
        let Latency { p50, p90, p95, p99, p99_9, max, .. } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p95 {p95:.2}  p99 {p99:.2}  p99.9 {p99_9:.2}  max {max:.2} ms")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<18} {value}");
        let connections = &self.connections;
        row(
            "connections",
            format!(
                "{} of {} ({} users), {} failed{}",
                grouped(connections.opened),
                grouped(connections.target.into()),
                grouped(connections.users.into()),
                grouped(connections.failed),
                reasons(&connections.failed_by_reason)
            ),
        )?;
        row(
            "  ended early",
            grouped(connections.ended_early) + &reasons(&connections.ended_early_by_reason),
        )?;
        row(
            "  connect rate",
            format!(
                "{}/s for {:.1} s",
                grouped(connections.opened_per_second as u64),
                connections.ramp_seconds
            ),
        )?;
        row("  connect latency", connections.connect_latency_ms.to_string())?;
        row("  pings answered", grouped(connections.pings_answered))?;
        if let Some(pushes) = &self.pushes {
            row(
                "pushes",
                format!(
                    "{} offered to {}, {} sent, {} accepted ({}/s), {} failed{}",
                    grouped(pushes.offered),
                    pushes.to,
                    grouped(pushes.sent),
                    grouped(pushes.accepted),
                    grouped(pushes.accepted_per_second as u64),
                    grouped(pushes.failed),
                    reasons(&pushes.failed_by_reason)
                ),
            )?;
            row("  answer latency", pushes.answer_latency_ms.to_string())?;
        }
        if let Some(deliveries) = &self.deliveries {
            row(
                "deliveries",
                format!(
                    "{} received ({}/s), {} lost, {} duplicated, {} astray",
                    grouped(deliveries.received),
                    grouped(deliveries.received_per_second as u64),
                    grouped(deliveries.lost),
                    grouped(deliveries.duplicated),
                    grouped(deliveries.astray)
                ),
            )?;
            row("  latency", deliveries.latency_ms.to_string())?;
        }
        let process = &self.process;
        row(
            "load generator",
            format!(
                "{} driver, {} shards; CPU {:.1} s (ramp {:.1}, publish {:.1}); RSS {:.1} MB, at most {:.1} MB",
                self.driver,
                self.shards,
                process.cpu_seconds,
                process.cpu_ramp_seconds,
                process.cpu_publish_seconds,
                process.rss_bytes as f64 / 1e6,
                process.rss_max_bytes as f64 / 1e6
            ),
        )?;
        if self.interrupted { row("interrupted", "yes".into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let numbers = [0, 999, 1_000, 12_345_678].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn latencies_are_in_milliseconds() {
        let mut nanos = histogram();
        for ms in 1..=1_000u64 {
            nanos.saturating_record(ms * 1_000_000);
        }
        let latency = Latency::of(&nanos);
        for (value, expected) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1_000.0)] {
            assert!((value - expected).abs() <= expected * 0.002, "{value} is not {expected}");
        }
        assert_eq!(Latency::of(&histogram()).to_string(), "nothing measured");
    }
}
