//! The work for each message, of two programs: whether a change has made it more.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use super::process::Gateway;
use super::{Setup, deliveries, floor, pushes, words};
use crate::report::{Asked, Findings};

/// Two gateways' CPU for each message, in turn, and the floor's for as many bytes: events to all, pushes to random
/// users, and durable pushes. Which of the two goes first changes with each repetition.
#[derive(Args, Debug)]
pub(crate) struct HotPath {
    /// The program that --gateway is compared with, such as that of an earlier commit
    #[arg(long, value_name = "PROGRAM")]
    other: PathBuf,
    /// What is measured [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Connections of `fanout` and `push`
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Events of `fanout`, and rounds of the floor
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Bytes of each event or payload; durable ones have four times as many
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Pushes per second of `push` and `durable`
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Seconds of pushing
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// How much more CPU a message may take, as a ratio
    #[arg(long, default_value_t = 1.03)]
    ratio_max: f64,
    #[command(flatten)]
    setup: Setup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// An event to every session
    Fanout,
    /// Ephemeral pushes to random users
    Push,
    /// Durable pushes in batches, which devices acknowledge
    Durable,
}

/// Devices of [`Part::Durable`].
const DURABLE_DEVICES: u32 = 1_000;
/// Between two events, so that the receivers have read the one before.
const PAUSE: Duration = Duration::from_millis(60);
/// How long connecting, and what else is asked of a load generator, may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one gateway took.
struct Work {
    usec_per_message: f64,
    /// What a message is on the wire.
    wire_bytes: f64,
}

impl HotPath {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        ensure!(self.other.exists(), "--other {}: there is no such program", self.other.display());
        let mut repetition = 0;
        self.setup.output.measure(|| {
            repetition += 1;
            self.once(repetition % 2 == 0)
        })
    }

    fn once(&self, other_first: bool) -> anyhow::Result<Findings> {
        let mut report = Findings::new();
        report.add("connections", self.connections.into());
        report.add("rate_pushes_per_second", self.rate.into());
        for part in [Part::Fanout, Part::Push, Part::Durable] {
            if self.only.is_empty() || self.only.contains(&part) {
                self.pair(part, other_first, &mut report)?;
            }
        }
        Ok(report)
    }

    /// Adds what both gateways and the floor take.
    fn pair(&self, part: Part, other_first: bool, report: &mut Findings) -> anyhow::Result<()> {
        let other = Setup { gateway: Some(self.other.clone()), ..self.setup.clone() };
        let (gateway, other) = if other_first {
            let other = self.work(part, &other)?;
            (self.work(part, &self.setup)?, other)
        } else {
            (self.work(part, &self.setup)?, self.work(part, &other)?)
        };
        let floor = self.floor(gateway.wire_bytes)?;
        let name = match part {
            Part::Fanout => "fanout",
            Part::Push => "push",
            Part::Durable => "durable",
        };
        report.add(format!("{name}_wire_bytes"), gateway.wire_bytes);
        report.add(format!("{name}_gateway_cpu_usec"), gateway.usec_per_message);
        report.add(format!("{name}_other_cpu_usec"), other.usec_per_message);
        report.add(format!("{name}_floor_send_cpu_usec"), floor);
        report.add(format!("{name}_gateway_of_floor_ratio"), gateway.usec_per_message / floor);
        report.add(format!("{name}_other_of_floor_ratio"), other.usec_per_message / floor);
        let ratio = gateway.usec_per_message / other.usec_per_message;
        report.add_target(format!("{name}_gateway_to_other_ratio"), Asked::AtMost(self.ratio_max), ratio);
        Ok(())
    }

    fn work(&self, part: Part, setup: &Setup) -> anyhow::Result<Work> {
        let most = self.connections.max(DURABLE_DEVICES).to_string();
        let gateway = Gateway::start(setup, &["--shards", "1", "--max-connections", &most])?;
        let work = match part {
            Part::Fanout => self.fanout(&gateway)?,
            Part::Push => {
                let Self { connections, rate, seconds, bytes, .. } = self;
                self.pushes(
                    &gateway,
                    *connections,
                    &format!(
                        "--rate {rate} --duration {seconds} --payload-bytes {bytes} --durability ephemeral"
                    ),
                )?
            }
            Part::Durable => {
                let (rate, seconds, bytes) = (self.rate, self.seconds, self.bytes * 4);
                self.pushes(
                    &gateway,
                    DURABLE_DEVICES,
                    &format!(
                        "--rate {rate} --duration {seconds} --payload-bytes {bytes} --durability durable \
                         --ack-every 32 --ack-within-ms 50 --batch 100 --batch-ms 5 --publishers 8"
                    ),
                )?
            }
        };
        gateway.stop()?;
        Ok(work)
    }

    /// An event to every session, again and again.
    fn fanout(&self, gateway: &Gateway) -> anyhow::Result<Work> {
        let sessions = u64::from(self.connections);
        let load = gateway.start_load(&words(&format!("--connections {sessions} --hold 600")))?;
        gateway.wait_for_sessions(sessions, PATIENCE)?;
        std::thread::sleep(Duration::from_secs(1));
        let text = "x".repeat(self.bytes);
        // Once for nothing: first sends cost more.
        gateway.broadcast(&text)?;
        let (cpu, bytes) = (gateway.cpu_seconds()?, gateway.metric("campanile_bytes_sent_total")?);
        for _ in 0..self.rounds {
            std::thread::sleep(PAUSE);
            let (sent, skipped) = gateway.broadcast(&text)?;
            ensure!(sent == sessions, "{sent} were sent the event and {skipped} passed over");
        }
        std::thread::sleep(PAUSE);
        let cpu = gateway.cpu_seconds()? - cpu;
        let bytes = gateway.metric("campanile_bytes_sent_total")? - bytes;
        drop(load);
        let messages = f64::from(self.connections) * f64::from(self.rounds);
        Ok(Work { usec_per_message: cpu * 1e6 / messages, wire_bytes: bytes as f64 / messages })
    }

    /// Pushes at a rate; none may be lost.
    fn pushes(&self, gateway: &Gateway, devices: u32, how: &str) -> anyhow::Result<Work> {
        let load = gateway.start_load(&words(&format!("--connections {devices} --pause 2 {how}")))?;
        gateway.wait_for_sessions(devices.into(), PATIENCE)?;
        std::thread::sleep(Duration::from_millis(500));
        let (cpu, bytes) = (gateway.cpu_seconds()?, gateway.metric("campanile_bytes_sent_total")?);
        // Until all have been sent, and before anybody says goodbye.
        std::thread::sleep(Duration::from_secs(self.seconds + 2));
        let cpu = gateway.cpu_seconds()? - cpu;
        let bytes = gateway.metric("campanile_bytes_sent_total")? - bytes;
        let found = load.finish(PATIENCE)?;
        let (accepted, lost) = (pushes(&found)?.accepted as f64, deliveries(&found)?.lost);
        ensure!(lost == 0, "{lost} messages were lost");
        ensure!(accepted > 0.0, "nothing was accepted");
        Ok(Work { usec_per_message: cpu * 1e6 / accepted, wire_bytes: bytes as f64 / accepted })
    }

    /// The floor's CPU for one send of so many bytes, in microseconds.
    fn floor(&self, bytes: f64) -> anyhow::Result<f64> {
        let (connections, rounds) = (self.connections, self.rounds);
        let line =
            format!("sends --connections {connections} --rounds {rounds} --bytes {}", bytes.round().max(1.0));
        floor::figure(&floor::run(&self.setup, &words(&line))?, "send_server_cpu_usec")
    }
}
