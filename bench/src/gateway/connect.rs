//! From the TCP handshake to the session.

use std::time::Duration;

use clap::Args;

use super::process::Gateway;
use super::{Setup, floor, measured};
use crate::report::{Asked, Findings};

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
    #[command(flatten)]
    setup: Setup,
}

impl Connect {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let (connections, shards) = (self.connections.to_string(), self.shards.to_string());
        let gateway = Gateway::start(&self.setup, &["--shards", &shards])?;
        let cpu_before = gateway.cpu_seconds()?;
        let load = gateway.start_load(
            &["--connections", &connections, "--shards", &shards, "--hold", "2"].map(str::to_owned),
        )?;
        gateway.wait_for_sessions(self.connections.into(), Duration::from_secs(60))?;
        let cpu = gateway.cpu_seconds()? - cpu_before;
        let found = load.finish(Duration::from_secs(60))?;
        gateway.stop()?;
        let arguments = ["accepts", "--connections", &connections, "--rings", &shards].map(str::to_owned);
        let bare = floor::run(&self.setup, &arguments)?;

        let sessions = f64::from(self.connections);
        let rate = measured(found.connections.opened_per_second)?;
        let accepts = floor::figure(&bare, "accepts_per_second")?;
        let gateway_usec = cpu * 1e6 / sessions;
        let client_usec = measured(found.process.cpu_ramp_seconds)? * 1e6 / sessions;
        let mut report = Findings::new();
        report.add("connections", sessions);
        report.add("shards", self.shards.into());
        report.add("gateway_sessions_per_second", rate);
        report.add("floor_accepts_per_second", accepts);
        report.add_target("ratio_of_floor", Asked::AtLeast(0.6), rate / accepts);
        // Which side was the bound: each has one core, and connects cost the client as well.
        report.add("gateway_session_cpu_usec", gateway_usec);
        report.add("client_session_cpu_usec", client_usec);
        report.add("floor_client_connect_cpu_usec", floor::figure(&bare, "connect_client_cpu_usec")?);
        report.add("gateway_core_percent", gateway_usec * rate / 1e4);
        report.add("client_core_percent", client_usec * rate / 1e4);
        report.leaves_out(
            "both ends are on one machine: the client's core does nearly the whole TCP handshake, so its own cost \
             bounds the rate too",
        );
        Ok(report)
    }
}
