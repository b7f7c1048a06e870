//! From the TCP handshake to the session.

use std::time::Duration;

use clap::Args;

use super::process::Gateway;
use super::{Setup, floor};
use crate::report::Report;

/// Connect, upgrade, token and hand-off, against bare accepts of as many connections. Two shards on one core, so that
/// every other connection is handed off.
#[derive(Args, Debug)]
pub(crate) struct Connect {
    /// Connections in all
    #[arg(long, default_value_t = 30_000)]
    connections: u32,
    /// Shards of the gateway, all on one core
    #[arg(long, default_value_t = 2)]
    shards: u32,
    /// Repetitions, gateway and floor in turn
    #[arg(long, default_value_t = 5)]
    repeat: u32,
    #[command(flatten)]
    setup: Setup,
}

impl Connect {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (mut gateway, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.repeat {
            let rate = self.gateway()?;
            let bare = self.floor()?;
            ratios.push(rate / bare);
            gateway.push(rate);
            floors.push(bare);
        }
        let mut report = Report::new();
        report.add("connections", self.connections.into());
        report.add("shards", self.shards.into());
        report.add_spread("gateway_sessions", "per_second", &gateway);
        report.add_spread("floor_accepts", "per_second", &floors);
        report.add_spread("ratio", "of_floor", &ratios);
        report.publish(self.setup.json.as_deref())
    }

    fn gateway(&self) -> anyhow::Result<f64> {
        let shards = self.shards.to_string();
        let gateway = Gateway::start(&self.setup, &["--shards", &shards])?;
        let load = gateway.start_load(&[
            "--connections".into(),
            self.connections.to_string(),
            "--shards".into(),
            self.shards.to_string(),
            "--connect-only".into(),
        ])?;
        load.finish(Duration::from_secs(120))?;
        let rate = super::load_figure(&gateway.load_report()?, "/connections/opened_per_second")?;
        gateway.stop()?;
        Ok(rate)
    }

    fn floor(&self) -> anyhow::Result<f64> {
        let (connections, rings) = (self.connections.to_string(), self.shards.to_string());
        let arguments = ["accepts", "--connections", &connections, "--rings", &rings].map(str::to_owned);
        floor::figure(&floor::run(&self.setup, &arguments)?, "accepts_per_second")
    }
}
