//! The results: as JSON, with units in the names, and as a table. What was not measured is null, and never 0.

mod channels;
mod flaws;
mod latency;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use campanile_engine::DriverKind;
use serde::{Deserialize, Serialize};

pub use self::channels::Channels;
pub use self::flaws::Flaw;
pub use self::latency::Latency;
pub use self::table::grouped;
use crate::ledger::{Balance, Ledger};
use crate::options::{Durability, Plan, Publishing};
use crate::process;
use crate::progress::Totals;
use crate::publish::Published;
use crate::roster::Roster;
use crate::run::Publications;
use crate::saturation::Saturation;
use crate::schedule::Rate;
use crate::stats::{Counter, Reasons, Stats, histogram, merge};
use crate::thresholds::Checked;

/// What is known device by device.
#[derive(Copy, Clone)]
pub struct Known<'a> {
    /// What has arrived, if anything was pushed to devices.
    pub ledger: Option<&'a Ledger>,
    /// Who has connected.
    pub roster: &'a Roster,
}

/// What the control thread has noted.
#[derive(Debug, Default)]
pub struct Moments {
    /// From the first connect until all devices had connected or failed.
    pub ramp: Duration,
    /// CPU time of this process in it.
    pub ramp_cpu: Duration,
    /// Connections that became sessions in it.
    pub ramp_opened: u64,
    /// From the first message until the last answer.
    pub publish: Duration,
    /// CPU time of this process in it.
    pub publish_cpu: Duration,
    /// Devices connected before we said goodbye.
    pub connected_at_end: u64,
    /// The run was ended by a signal.
    pub interrupted: bool,
    /// How busy our own threads were while messages were published.
    pub saturation: Option<Saturation>,
    /// From the end of the ramp until everybody was subscribed.
    pub subscribe: Duration,
    /// Devices that had all their subscriptions before we said goodbye.
    pub subscribed_at_end: u64,
    /// When publishing began, in nanoseconds on the machine's monotonic clock; 0 if it did not.
    pub publish_start: u64,
    /// Messages of channels that were to come of what the gateway has accepted.
    pub expected_frames: u64,
    /// Connections that had ended, or that devices had ended, when all of them had come or were given up.
    pub gone_when_drained: u64,
}

/// The results of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// What was published to channels, beside pushes to devices; absent if only one of the two was.
    pub channel_pushes: Option<Pushes>,
    /// What arrived; absent if nothing was pushed to devices.
    pub deliveries: Option<Deliveries>,
    /// What came of channels; absent without them.
    pub channels: Option<Channels>,
    /// What had waited for the devices; absent without `--until-caught-up`.
    pub replay: Option<Replay>,
    /// What was asked of the figures, and what was measured; empty without `--threshold` and `--fail-above`.
    pub thresholds: Vec<Checked>,
    /// What the load generator itself cost.
    pub process: Process,
}

/// Devices and their connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connections {
    /// Devices that were to connect.
    pub target: u32,
    /// Their users.
    pub users: u32,
    /// What users' names begin with; their number follows.
    pub user_prefix: String,
    /// When a device counts as connected: at the `welcome` of its session or, without sessions, at the answered
    /// `upgrade`.
    pub counted_at: String,
    /// Devices that connected, however often.
    pub connected: u64,
    /// Connections that became sessions: more than devices if some came back.
    pub opened: u64,
    /// Attempts to connect that failed: more than devices if some tried again.
    pub failed: u64,
    /// Why: `http_503`, `timed_out`, `connection_refused`, …
    pub failed_by_reason: Reasons,
    /// Connections that the gateway ended, or that broke, before the end of the run.
    pub ended_early: u64,
    /// How: the close code (1006: none was sent), or what broke.
    pub ended_early_by_reason: Reasons,
    /// Devices connected at the end of the run.
    pub connected_at_end: u64,
    /// From the first connect until every device had connected or failed; null if nobody was to connect.
    pub ramp_seconds: Option<f64>,
    /// Connections per second in that time.
    pub opened_per_second: Option<f64>,
    /// From connect to the 101 answer.
    pub connect_latency_ms: Option<Latency>,
    /// From connect to the session.
    pub session_latency_ms: Option<Latency>,
    /// WebSocket pings answered.
    pub pings_answered: u64,
    /// Welcome frames received.
    pub welcomes_received: u64,
    /// Connections that devices ended by themselves.
    pub left: u64,
    /// Devices that connected and did not read.
    pub stalled: u64,
    /// Acknowledgements sent.
    pub acks_sent: u64,
    /// Error frames received: something that a device sent was refused.
    pub refused_frames: u64,
}

/// What was published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pushes {
    /// `random-device`, `random-user`, `broadcast` or `channels`.
    pub to: String,
    /// `open`: each message was due at a fixed time; `closed`: as fast as the gateway answered.
    pub model: String,
    /// What was asked for; null in the closed model, and where the rate has stages.
    pub rate_per_second: Option<f64>,
    /// `durable` or `ephemeral`, or `default` if nothing was said about it.
    pub durability: String,
    /// Connections to the API.
    pub publishers: u32,
    /// Most pushes of one request.
    pub batch: u32,
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
    /// Devices by what answers said became of the message for them.
    pub devices_by_state: Reasons,
    /// HTTP requests.
    pub requests: u64,
    /// Accepted messages per second.
    pub accepted_per_second: Option<f64>,
    /// From when a message was due to the answer of its request.
    pub answer_latency_ms: Option<Latency>,
}

/// What arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deliveries {
    /// Devices for which the gateway took a message: sent, stored or confirmed.
    pub reported: u64,
    /// Of these, devices that have connected and read: the others are not expected to get anything.
    pub expected: u64,
    /// Deliveries that arrived, each counted once.
    pub received: u64,
    /// Expected, and not arrived when nothing had arrived for 2 s after the last answer.
    pub lost: u64,
    /// Arrived though the gateway had not reported it.
    pub unreported: u64,
    /// Arrived at a device that had it from the same session, or that is never sent it again.
    pub duplicated: u64,
    /// Arrived at a device that had it from an earlier session, as at-least-once delivery allows.
    pub redelivered: u64,
    /// Arrived at a device that it was not for.
    pub astray: u64,
    /// Messages of somebody else or of an earlier run.
    pub foreign: u64,
    /// Frames that are not of the schema.
    pub undecodable: u64,
    /// Arrivals whose number was not higher than all before it in their session.
    pub out_of_order: u64,
    /// Arrivals per second while messages were published.
    pub received_per_second: Option<f64>,
    /// From when a message was due to its arrival.
    pub latency_ms: Option<Latency>,
}

/// What had waited for the devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replay {
    /// Sessions that were told that their replay is over.
    pub caught_up: u64,
    /// Messages that waited, as the welcomes said.
    pub waiting: u64,
    /// Messages that were delivered.
    pub messages: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// From the first welcome to the last end of a replay; null if there was none.
    pub seconds: Option<f64>,
    /// Messages per second in that time.
    pub messages_per_second: Option<f64>,
    /// Bytes of payloads per second in that time.
    pub payload_bytes_per_second: Option<f64>,
    /// Messages whose number was not higher than all before it in their session.
    pub out_of_order: u64,
    /// The first welcome, in nanoseconds on the machine's monotonic clock.
    pub began_monotonic_ns: Option<u64>,
    /// The last end of a replay, likewise.
    pub ended_monotonic_ns: Option<u64>,
}

/// What the load generator itself cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// CPU time of the ramp.
    pub cpu_ramp_seconds: Option<f64>,
    /// CPU time while messages were published.
    pub cpu_publish_seconds: Option<f64>,
    /// CPU time of the whole process.
    pub cpu_seconds: f64,
    /// Resident memory at the end.
    pub rss_bytes: Option<u64>,
    /// Resident memory at its highest.
    pub rss_max_bytes: Option<u64>,
    /// How busy its threads were while messages were published; null if nothing was published, or the kernel does not
    /// say.
    pub saturation: Option<Saturation>,
}

impl Report {
    /// Reads what `--json` has written.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a report of this version.
    pub fn read(file: &Path) -> io::Result<Report> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Puts together what everybody has counted. Thresholds are yet to be checked.
    pub fn new(
        plan: &Plan,
        driver: DriverKind,
        stats: &[Arc<Stats>],
        known: Known<'_>,
        published: Publications,
        moments: Moments,
    ) -> Report {
        let Known { ledger, roster } = known;
        let (rss_bytes, rss_max_bytes) = process::resident_bytes();
        let deliveries = ledger
            .zip(published.pushes.as_ref())
            .map(|(ledger, published)| Deliveries::new(stats, ledger, roster, published, &moments));
        let channels = Channels::new(plan, stats, &moments);
        let Publications { pushes, messages } = published;
        let pushed = |to: String, publishing: &Option<Publishing>, published: Option<Published>| {
            Some(Pushes::new(to, publishing.as_ref()?, published?, &moments))
        };
        let pushes = pushed(plan.audience.to.to_string(), &plan.pushes, pushes);
        let messages = pushed("channels".into(), &plan.messages, messages);
        // Who publishes of one kind only finds it in one place.
        let (pushes, channel_pushes) = if pushes.is_some() { (pushes, messages) } else { (messages, None) };
        Report {
            driver: driver.to_string(),
            shards: stats.len(),
            interrupted: moments.interrupted,
            connections: Connections::new(plan, stats, roster, &moments),
            pushes,
            channel_pushes,
            deliveries,
            channels,
            thresholds: Vec::new(),
            replay: plan.options.until_caught_up.then(|| Replay::new(stats)),
            process: Process {
                cpu_ramp_seconds: (!moments.ramp.is_zero()).then_some(moments.ramp_cpu.as_secs_f64()),
                cpu_publish_seconds: (!moments.publish.is_zero())
                    .then_some(moments.publish_cpu.as_secs_f64()),
                cpu_seconds: process::cpu().as_secs_f64(),
                rss_bytes,
                rss_max_bytes,
                saturation: moments.saturation,
            },
        }
    }
}

/// A time in seconds; `None` if there was none.
fn seconds(time: Duration) -> Option<f64> {
    (!time.is_zero()).then_some(time.as_secs_f64())
}

fn per_second(count: u64, time: Duration) -> Option<f64> {
    seconds(time).map(|seconds| count as f64 / seconds)
}

fn sum(stats: &[Arc<Stats>], counter: impl Fn(&Stats) -> &Counter) -> u64 {
    stats.iter().map(|stats| counter(stats).value()).sum()
}

impl Report {
    /// Everything that was published.
    pub fn publications(&self) -> impl Iterator<Item = &Pushes> {
        self.pushes.iter().chain(&self.channel_pushes)
    }
}

impl Connections {
    fn new(plan: &Plan, stats: &[Arc<Stats>], roster: &Roster, moments: &Moments) -> Connections {
        let totals = Totals::of(stats);
        let (mut failed_by_reason, mut ended_early_by_reason) = (Reasons::new(), Reasons::new());
        let (mut connecting, mut opening) = (histogram(), histogram());
        for stats in stats {
            let details = stats.details();
            merge(&mut failed_by_reason, &details.failures);
            merge(&mut ended_early_by_reason, &details.endings);
            // All have the same bounds, so there is nothing that could fail.
            let _ = connecting.add(&details.connecting);
            let _ = opening.add(&details.opening);
        }
        Connections {
            target: if plan.options.offline { 0 } else { plan.options.connections },
            users: plan.audience.users,
            user_prefix: plan.user_prefix.clone(),
            counted_at: if plan.options.anonymous { "upgrade" } else { "welcome" }.into(),
            connected: roster.devices_connected(),
            opened: totals.opened,
            failed: totals.failed,
            failed_by_reason,
            ended_early: totals.ended,
            ended_early_by_reason,
            connected_at_end: moments.connected_at_end,
            ramp_seconds: seconds(moments.ramp),
            opened_per_second: per_second(moments.ramp_opened, moments.ramp),
            connect_latency_ms: Latency::of(&connecting),
            session_latency_ms: Latency::of(&opening),
            pings_answered: sum(stats, |stats| &stats.pings),
            welcomes_received: sum(stats, |stats| &stats.welcomes),
            left: sum(stats, |stats| &stats.left),
            stalled: sum(stats, |stats| &stats.stalled),
            acks_sent: sum(stats, |stats| &stats.acks),
            refused_frames: sum(stats, |stats| &stats.refused_frames),
        }
    }
}

impl Pushes {
    fn new(to: String, publishing: &Publishing, published: Published, moments: &Moments) -> Pushes {
        let failed = published.failures.values().sum();
        let accepted = published.latency.len();
        Pushes {
            to,
            model: if publishing.rate.is_some() { "open" } else { "closed" }.into(),
            rate_per_second: publishing.rate.as_ref().and_then(Rate::constant),
            durability: publishing.durability.map_or("default", Durability::name).into(),
            publishers: publishing.connections,
            batch: if publishing.single { 1 } else { publishing.batch },
            seconds: moments.publish.as_secs_f64(),
            payload_bytes: publishing.payload_bytes,
            offered: published.offered,
            sent: accepted + failed,
            accepted,
            failed,
            failed_by_reason: published.failures,
            failed_devices_by_reason: published.failed_devices,
            devices_by_state: published.states,
            requests: published.requests,
            accepted_per_second: per_second(accepted, moments.publish),
            answer_latency_ms: Latency::of(&published.latency),
        }
    }
}

impl Deliveries {
    fn new(
        stats: &[Arc<Stats>],
        ledger: &Ledger,
        roster: &Roster,
        published: &Published,
        moments: &Moments,
    ) -> Deliveries {
        let mut latency = histogram();
        for stats in stats {
            // As above.
            let _ = latency.add(&stats.details().latency);
        }
        let Balance { expected, lost, unreported } = ledger.balance(&published.delivered, roster);
        let received = sum(stats, |stats| &stats.received);
        Deliveries {
            reported: published.delivered.iter().copied().map(u64::from).sum(),
            expected,
            received,
            lost,
            unreported,
            duplicated: sum(stats, |stats| &stats.duplicated),
            redelivered: sum(stats, |stats| &stats.redelivered),
            astray: sum(stats, |stats| &stats.astray),
            foreign: sum(stats, |stats| &stats.foreign),
            undecodable: sum(stats, |stats| &stats.undecodable),
            out_of_order: sum(stats, |stats| &stats.out_of_order),
            received_per_second: per_second(received, moments.publish),
            latency_ms: Latency::of(&latency),
        }
    }
}

impl Replay {
    fn new(stats: &[Arc<Stats>]) -> Replay {
        let noted = |moment: fn(&Stats) -> &Counter| {
            stats.iter().map(move |stats| moment(stats).value()).filter(|&moment| moment > 0)
        };
        let began = noted(|stats| &stats.first_welcome).min();
        let ended = noted(|stats| &stats.last_caught_up).max();
        let nanos = ended.zip(began).map_or(0, |(ended, began)| ended.saturating_sub(began));
        let time = Duration::from_nanos(nanos);
        let messages = sum(stats, |stats| &stats.delivered);
        let payload_bytes = sum(stats, |stats| &stats.payload_bytes);
        Replay {
            caught_up: sum(stats, |stats| &stats.caught_up),
            waiting: sum(stats, |stats| &stats.waiting),
            messages,
            payload_bytes,
            seconds: seconds(time),
            messages_per_second: per_second(messages, time),
            payload_bytes_per_second: per_second(payload_bytes, time),
            out_of_order: sum(stats, |stats| &stats.out_of_order),
            began_monotonic_ns: began,
            ended_monotonic_ns: ended,
        }
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
}
