//! What keeping idle connections alive costs.

use std::time::Duration;

use anyhow::ensure;
use campanile_floor::{PING, PingPlan, PingTotals};
use campanile_harness::process::pin;
use campanile_harness::usage::OtherLoad;
use clap::Args;

use super::Setup;
use super::accepts::{close, connect, listen, targets};
use super::client::{OPEN, Role, SAMPLE};
use super::machine::connections_per_ring;
use super::peer::Peer;
use super::workers::{Measured, total_cpu};
use crate::report::Findings;

/// Lets what connecting has left behind, in both processes and the kernel, settle.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the last pongs are waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Pings every connection once per interval, spread evenly; clients answer with masked pongs, which are read.
#[derive(Args, Debug)]
pub(crate) struct Ping {
    /// Connections in all
    #[arg(long, default_value_t = 100_000)]
    connections: u32,
    /// Seconds between two pings of a connection
    #[arg(long, default_value = "25", value_parser = seconds)]
    interval: Duration,
    /// Seconds to measure for
    #[arg(long, default_value = "30", value_parser = seconds)]
    seconds: Duration,
    /// Milliseconds between two looks at which pings are due
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    tick_ms: u64,
    #[command(flatten)]
    setup: Setup,
}

impl Ping {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let quotas = connections_per_ring(self.connections, &self.setup)?;
        pin(self.setup.server_core)?;
        let servers = listen(&quotas, &PING)?;
        let mut peer = Peer::start(&self.setup, Role::Pong, &targets(&servers, &quotas)?)?;
        peer.command(OPEN)?;
        connect(&servers, &mut peer, quotas.clone())?;
        servers.run(|server, _| server.poll_all())?;
        std::thread::sleep(SETTLE);

        let plan = PingPlan {
            interval: self.interval,
            tick: Duration::from_millis(self.tick_ms),
            duration: self.seconds,
            grace: GRACE,
        };
        let before = peer.command(SAMPLE)?;
        let others = OtherLoad::watch()?;
        let pinged = servers.run(move |server, _| server.ping(plan))?;
        let after = peer.command(SAMPLE)?;
        let client_seconds = after.cpu_seconds - before.cpu_seconds;
        let others = others.core_percent(client_seconds)?;
        close(servers)?;
        peer.stop()?;

        let totals = sum(&pinged);
        let seconds = self.seconds.as_secs_f64();
        let mut report = Findings::new();
        report.add("connections", self.connections.into());
        report.add("rings", quotas.len() as f64);
        report.add("pings", totals.pings as f64);
        report.add("pongs", totals.pongs as f64);
        report.add("closed", totals.closed as f64);
        report.add("server_cpu_msec_per_second", total_cpu(&pinged).as_secs_f64() * 1e3 / seconds);
        report.add("client_cpu_msec_per_second", client_seconds * 1e3 / seconds);
        report.add(
            "ping_pong_server_cpu_usec",
            total_cpu(&pinged).as_secs_f64() * 1e6 / totals.pings.max(1) as f64,
        );
        report.add("other_load_core_percent", others);
        let unexpected = totals.unexpected_bytes + after.unexpected_bytes;
        report.must(unexpected == 0, || format!("{unexpected} bytes were neither ping nor pong"));
        report.must(totals.pings == totals.pongs, || {
            format!("{} pongs for {} pings", totals.pongs, totals.pings)
        });
        Ok(report)
    }
}

fn sum(pinged: &[Measured<PingTotals>]) -> PingTotals {
    pinged.iter().fold(PingTotals::default(), |sum, one| PingTotals {
        pings: sum.pings + one.value.pings,
        pongs: sum.pongs + one.value.pongs,
        unexpected_bytes: sum.unexpected_bytes + one.value.unexpected_bytes,
        closed: sum.closed + one.value.closed,
    })
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let duration = Duration::try_from_secs_f64(text.parse()?)?;
    ensure!(!duration.is_zero(), "must be more than 0 seconds");
    Ok(duration)
}
