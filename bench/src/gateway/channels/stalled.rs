//! Subscribers that never read.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use tungstenite::ClientRequestBuilder;

use super::publisher::{Publisher, Schedule};
use super::subscribers::{Subscribers, Wanted, token};
use super::{ChannelSetup, Counted, ensure_room};
use crate::gateway::process::Gateway;
use crate::report::{Asked, Findings};

/// The same load for the same subscribers, with and without others that never read, in turn. The difference is what
/// those cost.
#[derive(Args, Debug)]
pub(crate) struct Stalled {
    /// Subscribers in all, in the runs with those that do not read
    #[arg(long, default_value_t = 10_000)]
    subscribers: u32,
    /// So many in a hundred never read
    #[arg(long, default_value_t = 10)]
    percent: u32,
    /// Of so many of the others every message is looked at
    #[arg(long, default_value_t = 256)]
    sampled: u32,
    /// Messages per second
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// Seconds of load that are measured
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    #[command(flatten)]
    channel: ChannelSetup,
}

/// Those that do not read answer no ping, and are to stay.
const PATIENT: &[&str] = &["limits.ping_interval_ms = 600000", "limits.pong_timeout_ms = 600000"];
/// Messages with which the sockets of those that do not read are filled before anything is measured, and their bytes.
const FILLING: (u32, usize) = (40, 8_192);
/// Between two of them.
const FILLING_STEP: Duration = Duration::from_millis(150);
/// How often it is looked whether everything has come.
const STEP: Duration = Duration::from_millis(20);

/// What one run found.
struct Run {
    p50_msec: f64,
    p99_msec: f64,
    core_percent: f64,
    private_growth: f64,
    sockets_growth: f64,
    gaps: u64,
}

impl Stalled {
    pub(in crate::gateway) fn run(self) -> anyhow::Result<()> {
        ensure!((1..100).contains(&self.percent), "--percent: {} is not between 1 and 99", self.percent);
        self.channel.pin()?;
        let stalled = (u64::from(self.subscribers) * u64::from(self.percent) / 100) as u32;
        ensure_room(stalled)?;
        self.channel.output().measure(|| self.once(stalled))
    }

    fn once(&self, stalled: u32) -> anyhow::Result<Findings> {
        let (without, with) = (self.load(stalled, false)?, self.load(stalled, true)?);
        let mut report = Findings::new();
        report.add("subscribers", self.subscribers.into());
        report.add("stalled", stalled.into());
        report.add("rate_per_second", self.rate.into());
        for (name, run) in [("without", &without), ("with", &with)] {
            report.add(format!("{name}_p50_msec"), run.p50_msec);
            report.add(format!("{name}_p99_msec"), run.p99_msec);
            report.add(format!("{name}_gateway_core_percent"), run.core_percent);
            report.add(format!("{name}_gaps"), run.gaps as f64);
        }
        let more = |what: fn(&Run) -> f64| (what(&with) - what(&without)) / f64::from(stalled);
        let (private, sockets) = (more(|run| run.private_growth), more(|run| run.sockets_growth));
        report.add("private_bytes_per_stalled", private);
        report.add("sockets_bytes_per_stalled", sockets);
        report.add("bytes_per_stalled", private + sockets);
        report.add_target("others_p99_ratio", Asked::AtMost(1.1), with.p99_msec / without.p99_msec);
        Ok(report)
    }

    fn load(&self, stalled: u32, is_with: bool) -> anyhow::Result<Run> {
        let gateway = self.channel.start(self.subscribers, PATIENT)?;
        let others = self.subscribers - stalled;
        let wanted = Wanted {
            sessions: others,
            sampled: self.sampled.min(others),
            channels: &|_| vec!["news".into()],
            gives_way: false,
        };
        let mut subscribers = Subscribers::connect(&gateway, &self.channel.setup, &wanted)?;
        let silent = if is_with { connect_silent(&gateway, stalled)? } else { Vec::new() };
        let sessions = others + silent.len() as u32;
        gateway.wait_for_sessions(sessions.into(), Duration::from_secs(30))?;
        let mut publisher = Publisher::connect(&gateway, 0, self.channel.bytes)?;
        subscribers.probe(&mut publisher, "news")?;
        let (private, sockets) = (gateway.private_bytes()?, gateway.socket_bytes()?);
        let mut filling = Publisher::connect(&gateway, 1, FILLING.1)?;
        for _ in 0..FILLING.0 {
            filling.publish("news")?;
            std::thread::sleep(FILLING_STEP);
        }
        subscribers.settle()?;
        let before = Counted::read(&gateway)?;
        let messages = self.publish(&mut publisher)?;
        let sample = subscribers.wait_for(messages * u64::from(subscribers.sampled()), STEP)?;
        let used = Counted::read(&gateway)?.since(&before);
        let grown = |after: u64, before: u64| after as f64 - before as f64;
        let latency = sample.latency_msec(&[0.5, 0.99]);
        let run = Run {
            p50_msec: latency[0],
            p99_msec: latency[1],
            core_percent: used.cpu_seconds / f64::from(self.seconds) * 100.0,
            private_growth: grown(gateway.private_bytes()?, private),
            sockets_growth: grown(gateway.socket_bytes()?, sockets),
            gaps: used.gaps,
        };
        let open = gateway.metric("campanile_sessions")?;
        ensure!(open == u64::from(sessions), "only {open} of {sessions} sessions were left at the end");
        drop(silent);
        subscribers.stop()?;
        gateway.stop()?;
        Ok(run)
    }

    fn publish(&self, publisher: &mut Publisher) -> anyhow::Result<u64> {
        let period = Duration::from_secs_f64(1.0 / f64::from(self.rate));
        let mut schedule = Schedule::start(Duration::ZERO, period);
        let mut messages = 0;
        while let Some(due) = schedule.wait(Duration::from_secs(self.seconds.into())) {
            publisher.publish_due("news", due)?;
            messages += 1;
        }
        Ok(messages)
    }
}

/// Subscribers of which nobody reads more than the answer to the upgrade.
fn connect_silent(gateway: &Gateway, count: u32) -> anyhow::Result<Vec<TcpStream>> {
    let connect = |number| {
        let stream = TcpStream::connect(gateway.listen()).context("the gateway does not listen")?;
        let url = format!("ws://{}/v2/connect", gateway.listen()).parse()?;
        let token = token("N", number, &["news".into()], &[])?;
        let request = ClientRequestBuilder::new(url)
            .with_header("Authorization", format!("Bearer {token}"))
            .with_sub_protocol("campanile.v2");
        let (socket, _) = tungstenite::client::client(request, stream)
            .map_err(|error| anyhow::anyhow!("the gateway refuses a subscriber: {error}"))?;
        Ok(socket.into_inner())
    };
    (0..count).map(connect).collect()
}
