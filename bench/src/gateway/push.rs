//! Pushes to random users while very many are connected.

use std::time::{Duration, Instant};

use clap::Args;

use super::process::Gateway;
use super::{Setup, deliveries, measured, pushes, words};
use crate::report::{Asked, Findings};

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
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let most = self.connections.to_string();
        let gateway = Gateway::start(&self.setup, &["--max-connections", &most])?;
        let load = gateway.start_load(&words(&format!(
            "--connections {} --rate {} --duration {} --payload-bytes {} --durability ephemeral",
            self.connections, self.rate, self.seconds, self.bytes
        )))?;
        gateway.wait_for_sessions(self.connections.into(), Duration::from_secs(120))?;
        // All but the first and the last second of pushing, so that neither connecting nor closing counts.
        std::thread::sleep(Duration::from_secs(1));
        let (start, cpu_before) = (Instant::now(), gateway.cpu_seconds()?);
        std::thread::sleep(Duration::from_secs(self.seconds.saturating_sub(2)));
        let cpu = (gateway.cpu_seconds()? - cpu_before) / start.elapsed().as_secs_f64();
        let found = load.finish(Duration::from_secs(self.seconds + 120))?;
        gateway.stop()?;

        let (pushes, deliveries) = (pushes(&found)?, deliveries(&found)?);
        let latency = measured(deliveries.latency_ms)?;
        let mut report = Findings::new();
        report.add("connections", self.connections.into());
        report.add("rate_pushes_per_second", self.rate.into());
        report.add("payload_bytes", self.bytes.into());
        report.add("gateway_core_percent", cpu * 100.0);
        report.add("pushes_offered", pushes.offered as f64);
        report.add("pushes_accepted", pushes.accepted as f64);
        report.add("pushes_failed", pushes.failed as f64);
        report.add("messages_received", deliveries.received as f64);
        report.add_promise("lost", Asked::AtMost(0.0), deliveries.lost as f64);
        report.add("duplicated", deliveries.duplicated as f64);
        report.add("latency_p50_msec", latency.p50);
        report.add("latency_p90_msec", latency.p90);
        report.add("latency_p95_msec", latency.p95);
        report.add_target("latency_p99_msec", Asked::AtMost(5.0), latency.p99);
        report.add("latency_p999_msec", latency.p99_9);
        report.add("latency_max_msec", latency.max);
        let lost = deliveries.lost;
        report.must(lost == 0, || format!("{lost} messages that the gateway had sent were not received"));
        Ok(report)
    }
}
