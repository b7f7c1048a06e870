//! The results as a table for people.

use std::fmt;

use super::{Channels, Checked, Latency, Report};
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

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked { quantile, limit_ms, value_ms, .. } = self;
        write!(f, "{quantile} {value_ms:.2} of at most {limit_ms} ms")
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
                "{} of {} expected ({}/s for {:.1} s), {} late, {} lost",
                grouped(self.frames),
                grouped(self.expected),
                grouped(self.frames_per_second as u64),
                self.seconds,
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
        row("  latency", self.latency_ms.to_string())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<18} {value}");
        let connections = &self.connections;
        row(
            "connections",
            format!(
                "{} of {} devices ({} users), {} connections opened, {} attempts failed{}",
                grouped(connections.connected),
                grouped(connections.target.into()),
                grouped(connections.users.into()),
                grouped(connections.opened),
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
        row("  session latency", connections.session_latency_ms.to_string())?;
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
            if !pushes.devices_by_state.is_empty() {
                row("  devices", reasons(&pushes.devices_by_state).trim().to_owned())?;
            }
        }
        if let Some(deliveries) = &self.deliveries {
            row(
                "deliveries",
                format!(
                    "{} received ({}/s), {} lost, {} duplicated, {} redelivered, {} astray, {} out of order",
                    grouped(deliveries.received),
                    grouped(deliveries.received_per_second as u64),
                    grouped(deliveries.lost),
                    grouped(deliveries.duplicated),
                    grouped(deliveries.redelivered),
                    grouped(deliveries.astray),
                    grouped(deliveries.out_of_order)
                ),
            )?;
            row("  latency", deliveries.latency_ms.to_string())?;
        }
        if let Some(channels) = &self.channels {
            channels.rows(&mut row)?;
        }
        for checked in &self.thresholds {
            let verdict = if checked.kept { "kept" } else { "not kept" };
            row("threshold", format!("{checked}: {verdict}"))?;
        }
        if let Some(replay) = &self.replay {
            row(
                "replay",
                format!(
                    "{} messages in {:.3} s ({}/s, {:.1} MB/s), {} of {} sessions caught up, {} out of order",
                    grouped(replay.messages),
                    replay.seconds,
                    grouped(replay.messages_per_second as u64),
                    replay.payload_bytes_per_second / 1e6,
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
