//! Durable pushes: how many the gateway takes, and how long a publisher waits.

use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use super::process::Gateway;
use super::{Setup, load_figure, words};
use crate::report::{Asked, Report};

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
        let mut report = Report::new();
        report.add("devices", self.devices.into());
        report.add("payload_bytes", self.bytes.into());
        let all = [Part::Batches, Part::Half, Part::Eager, Part::Single, Part::Offline];
        let mut lost = 0.0;
        for part in all.into_iter().filter(|part| self.only.is_empty() || self.only.contains(part)) {
            lost += self.measure(part, &mut report)?;
        }
        report.publish(self.setup.json.as_deref())?;
        ensure!(lost == 0.0, "{lost} messages that the gateway had accepted were not received");
        Ok(())
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

    /// Adds the figures of one part. Gives how many messages were lost.
    fn measure(&self, part: Part, report: &mut Report) -> anyhow::Result<f64> {
        let gateway = Gateway::start(&self.setup, &[])?;
        let cpu_before = gateway.process.cpu_seconds()?;
        let found = gateway.load(&self.arguments(part), Duration::from_secs(self.seconds + 120))?;
        let cpu = gateway.process.cpu_seconds()? - cpu_before;
        let data_bytes = gateway.data_bytes();
        let spared = gateway.api.counter("campanile_store_envelopes_spared_total")?;
        let commits = gateway.api.counter("campanile_store_commits_total")?;
        gateway.stop()?;
        let figure = |path| load_figure(&found, path);
        let (accepted, rate) = (figure("/pushes/accepted")?, figure("/pushes/accepted_per_second")?);
        let p99 = figure("/pushes/answer_latency_ms/p99")?;
        let (name, asked_rate, asked_p99) = match part {
            Part::Batches => ("batches", Some(50_000.0), None),
            Part::Half => ("half", Some(f64::from(self.half_rate) * 0.99), Some(25.0)),
            Part::Eager => ("eager", None, None),
            Part::Single => ("single", Some(20_000.0), None),
            Part::Offline => ("offline", Some(40_000.0), None),
        };
        let mut add = |what: &str, asked: Option<Asked>, value: f64| {
            let name = format!("{name}_{what}");
            match asked {
                Some(asked) => report.add_target(name, asked, value),
                None => report.add(name, value),
            }
        };
        add("accepted_per_second", asked_rate.map(Asked::AtLeast), rate);
        add("accepted", None, accepted);
        add("failed", None, figure("/pushes/failed")?);
        add("answer_p50_msec", None, figure("/pushes/answer_latency_ms/p50")?);
        add("answer_p99_msec", asked_p99.map(Asked::AtMost), p99);
        add("answer_max_msec", None, figure("/pushes/answer_latency_ms/max")?);
        for state in ["confirmed", "sent", "stored", "failed"] {
            let path = format!("/pushes/devices_by_state/{state}");
            add(&format!("state_{state}"), None, load_figure(&found, &path).unwrap_or(0.0));
        }
        if part != Part::Offline {
            add("delivery_p50_msec", None, figure("/deliveries/latency_ms/p50")?);
            add("delivery_p99_msec", None, figure("/deliveries/latency_ms/p99")?);
            add("duplicated", None, figure("/deliveries/duplicated")?);
            add("out_of_order", Some(Asked::AtMost(0.0)), figure("/deliveries/out_of_order")?);
        }
        let lost = figure("/deliveries/lost")?;
        add("lost", Some(Asked::AtMost(0.0)), lost);
        add("gateway_cpu_usec_per_message", None, cpu * 1e6 / accepted);
        add("load_cpu_usec_per_message", None, figure("/process/cpu_publish_seconds")? * 1e6 / accepted);
        add("messages_per_commit", None, accepted / commits.max(1) as f64);
        add("writes_spared_percent", None, spared as f64 * 100.0 / accepted);
        add("disk_bytes_per_message", None, data_bytes as f64 / accepted);
        Ok(lost)
    }
}
