//! The results as a table for people.

use std::fmt;

use super::{Channels, Latency, Report};
use crate::saturation::Saturation;
use crate::stats::Reasons;

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

/// A distribution, or that there is none.
fn latency(latency: Option<&Latency>) -> String {
    latency.map_or_else(|| "nothing measured".into(), Latency::to_string)
}

/// A rate, rounded, or that there is none.
fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| "-/s".into(), |per_second| grouped(per_second as u64) + "/s")
}

/// A time in seconds, or that there is none.
fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "- s".into(), |seconds| format!("{seconds:.3} s"))
}

/// Millions of bytes, or that nobody knows how many.
fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "- MB".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6))
}

/// Reasons with their counts in brackets, or nothing.
fn reasons(reasons: &Reasons) -> String {
    let list: Vec<String> =
        reasons.iter().map(|(reason, &count)| format!("{reason}: {}", grouped(count))).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p90, p95, p99, p99_9, max, .. } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p95 {p95:.2}  p99 {p99:.2}  p99.9 {p99_9:.2}  max {max:.2} ms")
    }
}

impl fmt::Display for Saturation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.busiest_thread_share * 100.0;
        write!(
            f,
            "the load generator itself: its busiest thread was idle only {:.0} % of the time",
            100.0 - percent
        )
    }
}

impl Channels {
    fn rows(&self, row: &mut impl FnMut(&str, String) -> fmt::Result) -> fmt::Result {
        row(
            "channels",
            format!(
                "{}, {} subscribers with {} each, {} refused{}, {} recovered, {} not recovered",
                grouped(self.channels.max(self.published_channels).into()),
                grouped(self.subscribed_at_end),
                self.subscriptions_per_device,
                grouped(self.refused),
                reasons(&self.refused_by_reason),
                grouped(self.recovered),
                grouped(self.not_recovered)
            ),
        )?;
        row(
            "  frames",
            format!(
                "{} of {} expected ({} for {}), {} late, {} lost",
                grouped(self.frames),
                grouped(self.expected),
                rate(self.frames_per_second),
                time(self.seconds),
                grouped(self.frames_late),
                grouped(self.lost)
            ),
        )?;
        row(
            "  gaps",
            format!(
                "{} told ({} to those that stood still), {} not told; {} duplicated, {} out of order, {} astray",
                grouped(self.gaps_told + self.gaps_told_late),
                grouped(self.gaps_told_late),
                grouped(self.gaps_not_told),
                grouped(self.duplicated),
                grouped(self.out_of_order),
                grouped(self.astray)
            ),
        )?;
        row("  latency", latency(self.latency_ms.as_ref()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<18} {value}");
        let connections = &self.connections;
        row(
            "connections",
            format!(
                "{} of {} devices ({} users, {}0 and so on), {} connections opened, {} attempts failed{}",
                grouped(connections.connected),
                grouped(connections.target.into()),
                grouped(connections.users.into()),
                connections.user_prefix,
                grouped(connections.opened),
                grouped(connections.failed),
                reasons(&connections.failed_by_reason)
            ),
        )?;
        if connections.counted_at == "upgrade" {
            row(
                "  sessions",
                "none known of: devices are anonymous, and counted when their upgrade is answered".into(),
            )?;
        }
        row(
            "  ended early",
            grouped(connections.ended_early) + &reasons(&connections.ended_early_by_reason),
        )?;
        row(
            "  connect rate",
            format!("{} for {}", rate(connections.opened_per_second), time(connections.ramp_seconds)),
        )?;
        row("  connect latency", latency(connections.connect_latency_ms.as_ref()))?;
        row("  session latency", latency(connections.session_latency_ms.as_ref()))?;
        row("  pings answered", grouped(connections.pings_answered))?;
        for pushes in self.publications() {
            row(
                "pushes",
                format!(
                    "{} offered to {}, {} sent, {} accepted ({}), {} failed{}",
                    grouped(pushes.offered),
                    pushes.to,
                    grouped(pushes.sent),
                    grouped(pushes.accepted),
                    rate(pushes.accepted_per_second),
                    grouped(pushes.failed),
                    reasons(&pushes.failed_by_reason)
                ),
            )?;
            row("  answer latency", latency(pushes.answer_latency_ms.as_ref()))?;
            if !pushes.devices_by_state.is_empty() {
                row("  devices", reasons(&pushes.devices_by_state).trim().to_owned())?;
            }
        }
        if let Some(deliveries) = &self.deliveries {
            row(
                "deliveries",
                format!(
                    "{} received ({}), {} lost, {} duplicated, {} redelivered, {} astray, {} out of order",
                    grouped(deliveries.received),
                    rate(deliveries.received_per_second),
                    grouped(deliveries.lost),
                    grouped(deliveries.duplicated),
                    grouped(deliveries.redelivered),
                    grouped(deliveries.astray),
                    grouped(deliveries.out_of_order)
                ),
            )?;
            row("  latency", latency(deliveries.latency_ms.as_ref()))?;
        }
        if let Some(channels) = &self.channels {
            channels.rows(&mut row)?;
        }
        for checked in &self.thresholds {
            row("threshold", format!("{} {checked}", checked.sign()))?;
        }
        if let Some(replay) = &self.replay {
            row(
                "replay",
                format!(
                    "{} messages in {} ({}, {}/s), {} of {} sessions caught up, {} out of order",
                    grouped(replay.messages),
                    time(replay.seconds),
                    rate(replay.messages_per_second),
                    megabytes(replay.payload_bytes_per_second.map(|bytes| bytes as u64)),
                    grouped(replay.caught_up),
                    grouped(connections.opened),
                    grouped(replay.out_of_order)
                ),
            )?;
        }
        let process = &self.process;
        row(
            "load generator",
            format!(
                "{} driver, {} shards; CPU {:.1} s (ramp {}, publish {}); RSS {}, at most {}",
                self.driver,
                self.shards,
                process.cpu_seconds,
                time(process.cpu_ramp_seconds),
                time(process.cpu_publish_seconds),
                megabytes(process.rss_bytes),
                megabytes(process.rss_max_bytes)
            ),
        )?;
        if let Some(saturation) = self.bottleneck() {
            row("BOTTLENECK", saturation.to_string())?;
        }
        if self.interrupted { row("interrupted", "yes".into()) } else { Ok(()) }
    }
}
