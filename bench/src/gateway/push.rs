//! Pushes to random users while very many are connected.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;

use super::Setup;
use super::process::Gateway;
use crate::report::Report;

/// Open loop: pushes are due at fixed times whatever the gateway does, and their latency counts from then.
#[derive(Args, Debug)]
pub(crate) struct PushBench {
    /// Connections in all
    #[arg(long, default_value_t = 100_000)]
    connections: u32,
    /// Pushes per second
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Seconds to push for
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..))]
    seconds: u64,
    /// Bytes of each payload
    #[arg(long, default_value_t = 128)]
    bytes: u32,
    #[command(flatten)]
    setup: Setup,
}

impl PushBench {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let most = self.connections.to_string();
        let gateway = Gateway::start(&self.setup, &["--max-connections", &most])?;
        let load = gateway.start_load(&[
            "--connections".into(),
            self.connections.to_string(),
            "--rate".into(),
            self.rate.to_string(),
            "--duration".into(),
            self.seconds.to_string(),
            "--payload-bytes".into(),
            self.bytes.to_string(),
            "--durability".into(),
            "ephemeral".into(),
        ])?;
        gateway.wait_for_sessions(self.connections.into(), Duration::from_secs(120))?;
        // All but the first and the last second of pushing, so that neither connecting nor closing counts.
        std::thread::sleep(Duration::from_secs(1));
        let (start, cpu_before) = (Instant::now(), gateway.process.cpu_seconds()?);
        std::thread::sleep(Duration::from_secs(self.seconds.saturating_sub(2)));
        let cpu = (gateway.process.cpu_seconds()? - cpu_before) / start.elapsed().as_secs_f64();
        load.finish(Duration::from_secs(self.seconds + 120))?;
        let found = gateway.load_report()?;
        gateway.stop()?;

        let mut report = Report::new();
        report.add("connections", self.connections.into());
        report.add("rate_pushes_per_second", self.rate.into());
        report.add("payload_bytes", self.bytes.into());
        report.add("gateway_core_percent", cpu * 100.0);
        for (name, path) in FIGURES {
            report.add(name, super::load_figure(&found, path)?);
        }
        report.publish(self.setup.json.as_deref())?;
        let lost = super::load_figure(&found, "/deliveries/lost")?;
        ensure!(lost == 0.0, "{lost} messages that the gateway had sent were not received");
        Ok(())
    }
}

/// What is passed on from the load generator's report, and where it stands there.
const FIGURES: [(&str, &str); 12] = [
    ("pushes_offered", "/pushes/offered"),
    ("pushes_accepted", "/pushes/accepted"),
    ("pushes_failed", "/pushes/failed"),
    ("messages_received", "/deliveries/received"),
    ("lost", "/deliveries/lost"),
    ("duplicated", "/deliveries/duplicated"),
    ("latency_p50_msec", "/deliveries/latency_ms/p50"),
    ("latency_p90_msec", "/deliveries/latency_ms/p90"),
    ("latency_p95_msec", "/deliveries/latency_ms/p95"),
    ("latency_p99_msec", "/deliveries/latency_ms/p99"),
    ("latency_p999_msec", "/deliveries/latency_ms/p99_9"),
    ("latency_max_msec", "/deliveries/latency_ms/max"),
];
