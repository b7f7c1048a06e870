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

/// One repetition.
struct Round {
    sessions_per_second: f64,
    gateway_cpu_usec: f64,
    client_cpu_usec: f64,
    floor_per_second: f64,
    floor_client_cpu_usec: f64,
}

impl Connect {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut rounds = Vec::new();
        for _ in 0..self.repeat {
            rounds.push(self.round()?);
        }
        let each = |what: &dyn Fn(&Round) -> f64| rounds.iter().map(what).collect::<Vec<_>>();
        let mut report = Report::new();
        report.add("connections", self.connections.into());
        report.add("shards", self.shards.into());
        report.add_spread("gateway_sessions", "per_second", &each(&|round| round.sessions_per_second));
        report.add_spread("floor_accepts", "per_second", &each(&|round| round.floor_per_second));
        let ratio = |round: &Round| round.sessions_per_second / round.floor_per_second;
        report.add_spread("ratio", "of_floor", &each(&ratio));
        // Which side was the bound: each has one core, and connects cost the client as well.
        report.add_spread("gateway_session_cpu", "usec", &each(&|round| round.gateway_cpu_usec));
        report.add_spread("client_session_cpu", "usec", &each(&|round| round.client_cpu_usec));
        report.add_spread("floor_client_connect_cpu", "usec", &each(&|round| round.floor_client_cpu_usec));
        let share = |cpu_usec: f64, rate: f64| cpu_usec * rate / 1e4;
        let gateway = |round: &Round| share(round.gateway_cpu_usec, round.sessions_per_second);
        let client = |round: &Round| share(round.client_cpu_usec, round.sessions_per_second);
        report.add_spread("gateway_core", "percent", &each(&gateway));
        report.add_spread("client_core", "percent", &each(&client));
        report.publish(self.setup.json.as_deref())
    }

    fn round(&self) -> anyhow::Result<Round> {
        let (connections, shards) = (self.connections.to_string(), self.shards.to_string());
        let gateway = Gateway::start(&self.setup, &["--shards", &shards])?;
        let cpu_before = gateway.process.cpu_seconds()?;
        let load = gateway.start_load(
            &["--connections", &connections, "--shards", &shards, "--hold", "2"].map(str::to_owned),
        )?;
        gateway.wait_for_sessions(self.connections.into(), Duration::from_secs(60))?;
        let cpu = gateway.process.cpu_seconds()? - cpu_before;
        load.finish(Duration::from_secs(60))?;
        let found = gateway.load_report()?;
        gateway.stop()?;

        let arguments = ["accepts", "--connections", &connections, "--rings", &shards].map(str::to_owned);
        let bare = floor::run(&self.setup, &arguments)?;
        let sessions = f64::from(self.connections);
        Ok(Round {
            sessions_per_second: super::load_figure(&found, "/connections/opened_per_second")?,
            gateway_cpu_usec: cpu * 1e6 / sessions,
            client_cpu_usec: super::load_figure(&found, "/process/cpu_ramp_seconds")? * 1e6 / sessions,
            floor_per_second: floor::figure(&bare, "accepts_per_second")?,
            floor_client_cpu_usec: floor::figure(&bare, "connect_client_cpu_usec")?,
        })
    }
}
