//! Pushes to random users while very many are connected.

use std::time::Duration;

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
    #[arg(long, default_value_t = 30)]
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
        ])?;
        gateway.wait_for_sessions(self.connections.into(), Duration::from_secs(120))?;
        let cpu_before = gateway.process.cpu_seconds()?;
        load.finish(Duration::from_secs(self.seconds + 120))?;
        let cpu = gateway.process.cpu_seconds()? - cpu_before;
        let found = gateway.load_report()?;
        gateway.stop()?;

        let figure = |name: &str| super::load_figure(&found, name);
        let mut report = Report::new();
        report.add("connections", self.connections.into());
        report.add("rate_pushes_per_second", self.rate.into());
        report.add("gateway_cpu_sec", cpu);
        for name in FIGURES {
            report.add(name, figure(name)?);
        }
        report.publish(self.setup.json.as_deref())?;
        let lost = figure("lost")?;
        ensure!(lost == 0.0, "{lost} messages that the gateway had sent were not received");
        Ok(())
    }
}

/// What the load generator's report says, passed on.
const FIGURES: [&str; 1] = ["lost"];
