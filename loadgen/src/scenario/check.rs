//! What a scenario file would do, without doing it.

use std::fmt;
use std::time::Duration;

use super::{Scenario, Scenarios};
use crate::ledger::Ledger;
use crate::options::{PORTS_PER_SOURCE, Publishing};
use crate::report::grouped;
use crate::schedule::Rate;

/// What a device costs here, in bytes: its place in the tables, its window and, until it connects, its token.
const DEVICE_BYTES: u64 = 700;
/// What the kernel keeps for a connection, in bytes, on our side alone.
const SOCKET_BYTES: u64 = 4_096;

/// A time as people write it: `2m30s`.
fn written(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs_f64() % 60.0);
    let seconds = (seconds * 1_000.0).round() / 1_000.0;
    match (minutes, seconds) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, 0.0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

impl Scenario {
    fn memory_bytes(&self) -> u64 {
        let ledger = self.plan.pushes.as_ref();
        let ledger = ledger.map_or(0, |pushes| Ledger::bytes(&self.plan.audience, pushes.messages()));
        ledger + u64::from(self.plan.options.connections) * (DEVICE_BYTES + SOCKET_BYTES)
    }

    fn write_publishing(f: &mut fmt::Formatter<'_>, whom: &str, publishing: &Publishing) -> fmt::Result {
        let rate = match &publishing.rate {
            Some(Rate::Constant(per_second)) => format!("{per_second}/s"),
            Some(Rate::Stages(stages)) => format!("up to {}/s", stages.peak()),
            None => "as many as are taken".into(),
        };
        writeln!(
            f,
            "  publishes         {rate} to {whom} from {} on for {}: {} messages of {} bytes",
            written(publishing.start.unwrap_or_default()),
            written(publishing.duration),
            grouped(publishing.messages()),
            grouped(publishing.payload_bytes as u64),
        )
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, staging) = (&self.plan, &self.staging);
        let (most_are_there, first_goes) = staging.connections.plateau();
        writeln!(f, "scenario            {}", self.name)?;
        writeln!(
            f,
            "  devices           {} of {} users, all there from {} to {}; {} in all, and at most {} more to stop",
            grouped(plan.options.connections.into()),
            grouped(plan.audience.users.into()),
            written(staging.start + most_are_there),
            written(staging.start + first_goes),
            written(staging.start + staging.connections.length()),
            written(staging.graceful_stop),
        )?;
        if let Some(subscriptions) = &plan.channels.subscriptions {
            writeln!(
                f,
                "  subscribe         {} devices to {} of {} channels each",
                grouped(plan.options.connections.min(subscriptions.devices()).into()),
                subscriptions.of_each(),
                grouped(subscriptions.names().channels().into()),
            )?;
        }
        for publishing in plan.pushes.iter() {
            Scenario::write_publishing(f, &plan.audience.to.to_string(), publishing)?;
        }
        for publishing in plan.messages.iter() {
            Scenario::write_publishing(f, "channels", publishing)?;
        }
        let sources = plan.options.sources.0.len() as u64;
        writeln!(
            f,
            "  ports             {} of about {} at {sources} source addresses",
            grouped(plan.options.connections.into()),
            grouped(sources * u64::from(PORTS_PER_SOURCE)),
        )?;
        writeln!(
            f,
            "  memory            about {:.1} MB here, the kernel's part of it included",
            self.memory_bytes() as f64 / 1e6
        )
    }
}

impl fmt::Display for Scenarios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(description) = &self.description {
            writeln!(f, "{}", description.trim_end())?;
        }
        for scenario in &self.scenarios {
            write!(f, "{scenario}")?;
        }
        for threshold in &self.thresholds {
            writeln!(f, "threshold           {} {}", threshold.key, threshold.expression)?;
        }
        writeln!(f, "ends after          {} at the latest", written(self.length_max()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        for (millis, text) in
            [(0, "0s"), (1_500, "1.5s"), (60_000, "1m"), (150_000, "2m30s"), (60_250, "1m0.25s")]
        {
            assert_eq!(written(Duration::from_millis(millis)), text);
        }
    }
}
