//! One frame to every connection.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;

use super::process::Gateway;
use super::{Setup, floor};
use crate::report::{Asked, Findings, Spread};

/// Broadcasts against the floor's sends of as many bytes. One shard, since the floor has one thread.
#[derive(Args, Debug)]
pub(crate) struct Fanout {
    /// Connections in all
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Bytes of the text in each frame
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Broadcasts, and rounds of the floor
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    #[command(flatten)]
    setup: Setup,
}

/// Between two broadcasts, so that the receivers have read the one before.
const PAUSE: Duration = Duration::from_millis(100);

impl Fanout {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let (rate, bytes) = self.gateway()?;
        let floor = self.floor(bytes)?;
        let mut report = Findings::new();
        report.add("connections", self.connections.into());
        report.add("frame_bytes", bytes);
        report.add("gateway_sends_per_second", rate);
        report.add("floor_sends_per_second", floor);
        report.add_target("ratio_of_floor", Asked::AtLeast(0.9), rate / floor);
        Ok(report)
    }

    /// Sends per second, the median over the rounds, and the size of a frame.
    fn gateway(&self) -> anyhow::Result<(f64, f64)> {
        let gateway = Gateway::start(&self.setup, &["--shards", "1"])?;
        let load = gateway.start_load(&[
            "--connections".into(),
            self.connections.to_string(),
            "--hold".into(),
            "600".into(),
        ])?;
        gateway.wait_for_sessions(self.connections.into(), Duration::from_secs(60))?;
        std::thread::sleep(Duration::from_secs(1));
        let text = "x".repeat(self.bytes);
        let mut seconds = Vec::new();
        let sent_before = gateway.metric("campanile_bytes_sent_total")?;
        for _ in 0..self.rounds {
            let start = Instant::now();
            let (sent, skipped) = gateway.broadcast(&text)?;
            seconds.push(start.elapsed().as_secs_f64());
            ensure!(
                sent == u64::from(self.connections),
                "{sent} were sent the event and {skipped} passed over"
            );
            std::thread::sleep(PAUSE);
        }
        let bytes = gateway.metric("campanile_bytes_sent_total")? - sent_before;
        drop(load);
        gateway.stop()?;
        let sends = f64::from(self.connections) * f64::from(self.rounds);
        Ok((f64::from(self.connections) / Spread::of(&seconds).median, (bytes as f64 / sends).round()))
    }

    fn floor(&self, bytes: f64) -> anyhow::Result<f64> {
        let arguments =
            ["sends", "--connections", &self.connections.to_string(), "--bytes", &bytes.to_string()]
                .map(str::to_owned);
        let rounds = ["--rounds".to_owned(), self.rounds.to_string()];
        let figures = floor::run(&self.setup, &[&arguments[..], &rounds[..]].concat())?;
        floor::figure(&figures, "sends_median_per_second")
    }
}
