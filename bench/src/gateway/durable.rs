//! Durable pushes: how many the gateway takes, and how long a publisher waits.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::process::Gateway;
use super::{Setup, deliveries, measured, pushes, words};
use crate::report::{Asked, Findings};

/// Each measurement has a gateway of its own, with an empty store.
#[derive(Args, Debug)]
pub(crate) struct Durable {
    /// Devices, each of a user of its own; they acknowledge every 32 messages or 50 ms
    #[arg(long, default_value_t = 1_000)]
    devices: u32,
    /// Bytes of each payload
    #[arg(long, default_value_t = 512)]
    bytes: u32,
    /// Seconds of publishing, for each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Pushes in each batch
    #[arg(long, default_value_t = 100)]
    batch: u32,
    /// Connections that publish batches
    #[arg(long, default_value_t = 8)]
    publishers: u32,
    /// Messages per second of `half`
    #[arg(long, default_value_t = 25_000)]
    half_rate: u32,
    /// What is measured [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    #[command(flatten)]
    setup: Setup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// As many as possible, in batches
    Batches,
    /// Batches at a fixed rate, half of what is asked for
    Half,
    /// The rate of `half`, to devices that acknowledge every message at once: some writes are spared
    Eager,
    /// As many as possible, one in each request, on 64 connections
    Single,
    /// As many as possible, in batches, to devices that are registered and not connected
    Offline,
}

/// Connections of [`Part::Single`].
const SINGLE_CONNECTIONS: u32 = 64;

impl Durable {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let mut report = Findings::new();
        report.add("devices", self.devices.into());
        report.add("payload_bytes", self.bytes.into());
        let all = [Part::Batches, Part::Half, Part::Eager, Part::Single, Part::Offline];
        for part in all.into_iter().filter(|part| self.only.is_empty() || self.only.contains(part)) {
            self.measure(part, &mut report)?;
        }
        report.leaves_out("the publisher and the devices take their part of the same two cores");
        Ok(report)
    }

    fn arguments(&self, part: Part) -> Vec<String> {
        let Self { devices, bytes, seconds, batch, publishers, half_rate, .. } = self;
        let batches = format!("--batch {batch} --publishers {publishers}");
        // A batch is full when it is due.
        let batch_ms = f64::from(*batch) * 1e3 / f64::from(*half_rate);
        let how = match part {
            Part::Batches => format!("--max {batches}"),
            Part::Half | Part::Eager => format!("--rate {half_rate} {batches} --batch-ms {batch_ms}"),
            Part::Single => format!("--max --single --publishers {SINGLE_CONNECTIONS}"),
            Part::Offline => format!("--max --offline {batches}"),
        };
        let ack_every = if part == Part::Eager { 1 } else { 32 };
        words(&format!(
            "--connections {devices} --payload-bytes {bytes} --durability durable --ack-every {ack_every} \
             --ack-within-ms 50 --pause 1 --duration {seconds} {how}"
        ))
    }

    /// Adds the figures of one part.
    fn measure(&self, part: Part, report: &mut Findings) -> anyhow::Result<()> {
        let gateway = Gateway::start(&self.setup, &[])?;
        let cpu_before = gateway.cpu_seconds()?;
        let found = gateway.load(&self.arguments(part), Duration::from_secs(self.seconds + 120))?;
        let cpu = gateway.cpu_seconds()? - cpu_before;
        let data_bytes = gateway.data_bytes();
        let spared = gateway.metric("campanile_store_envelopes_spared_total")?;
        let commits = gateway.metric("campanile_store_commits_total")?;
        gateway.stop()?;
        let (pushes, deliveries) = (pushes(&found)?, deliveries(&found)?);
        let accepted = pushes.accepted as f64;
        let accepted_per_second = measured(pushes.accepted_per_second)?;
        let answer = measured(pushes.answer_latency_ms)?;
        let (name, asked_rate, asked_p99) = match part {
            Part::Batches => ("batches", Some(50_000.0), None),
            Part::Half => ("half", Some(f64::from(self.half_rate) * 0.99), Some(25.0)),
            Part::Eager => ("eager", None, None),
            Part::Single => ("single", Some(20_000.0), None),
            Part::Offline => ("offline", Some(40_000.0), None),
        };
        let named = |what: &str| format!("{name}_{what}");
        match asked_rate {
            Some(asked) => {
                report.add_target(named("accepted_per_second"), Asked::AtLeast(asked), accepted_per_second);
            }
            None => report.add(named("accepted_per_second"), accepted_per_second),
        }
        report.add(named("accepted"), accepted);
        report.add(named("failed"), pushes.failed as f64);
        report.add(named("answer_p50_msec"), answer.p50);
        match asked_p99 {
            Some(asked) => report.add_target(named("answer_p99_msec"), Asked::AtMost(asked), answer.p99),
            None => report.add(named("answer_p99_msec"), answer.p99),
        }
        report.add(named("answer_max_msec"), answer.max);
        for state in ["confirmed", "sent", "stored", "failed"] {
            let count = pushes.devices_by_state.get(state).copied().unwrap_or(0);
            report.add(named(&format!("state_{state}")), count as f64);
        }
        let none = Asked::AtMost(0.0);
        if part != Part::Offline {
            let delivery = measured(deliveries.latency_ms)?;
            report.add(named("delivery_p50_msec"), delivery.p50);
            report.add(named("delivery_p99_msec"), delivery.p99);
            report.add(named("duplicated"), deliveries.duplicated as f64);
            report.add_promise(named("out_of_order"), none, deliveries.out_of_order as f64);
        }
        let lost = deliveries.lost;
        report.add_promise(named("lost"), none, lost as f64);
        report.must(lost == 0, || format!("{lost} messages that the gateway had accepted were not received"));
        report.add(named("gateway_cpu_usec_per_message"), cpu * 1e6 / accepted);
        report.add(
            named("load_cpu_usec_per_message"),
            measured(found.process.cpu_publish_seconds)? * 1e6 / accepted,
        );
        report.add(named("messages_per_commit"), accepted / commits.max(1) as f64);
        report.add(named("writes_spared_percent"), spared as f64 * 100.0 / accepted);
        report.add(named("disk_bytes_per_message"), data_bytes as f64 / accepted);
        Ok(())
    }
}
