//! From the start until ready, with very many messages stored.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use super::process::{End, Gateway};
use super::{Setup, load_figure, words};
use crate::report::{Asked, Report};

/// The gateway is ended and started again with what it has stored: once asked to end, once killed. Then every device
/// connects and is delivered what waited for it.
#[derive(Args, Debug)]
pub(crate) struct Restart {
    /// Messages that are stored
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Devices that they are for
    #[arg(long, default_value_t = 4_000)]
    devices: u32,
    /// Bytes of each payload
    #[arg(long, default_value_t = 512)]
    bytes: u32,
    /// Times that the gateway is ended and started in each way
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Leave out the delivery at the end
    #[arg(long)]
    no_replay: bool,
    #[command(flatten)]
    setup: Setup,
}

/// How long storing, and delivering, may take.
const PATIENCE: Duration = Duration::from_secs(1_200);

impl Restart {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self { messages, devices, bytes, .. } = &self;
        let mut gateway = Gateway::start(&self.setup, &[])?;
        let empty = gateway.restart(End::Asked)?;
        let store = format!(
            "--offline --connections {devices} --payload-bytes {bytes} --durability durable --max --batch 200 \
             --publishers 8 --messages {messages} --duration 1000"
        );
        let found = gateway.load(&words(&store), PATIENCE)?;
        let accepted = load_figure(&found, "/pushes/accepted")?;
        let stored_per_second = load_figure(&found, "/pushes/accepted_per_second")?;
        let data_bytes = gateway.data_bytes();
        let (mut asked, mut killed) = (Vec::new(), Vec::new());
        for _ in 0..self.repeat {
            asked.push(gateway.restart(End::Asked)?.as_secs_f64());
            killed.push(gateway.restart(End::Killed)?.as_secs_f64());
        }
        let replay = match self.no_replay {
            true => None,
            false => {
                Some(gateway.load(&words(&format!("--connections {devices} --until-caught-up")), PATIENCE)?)
            }
        };
        gateway.stop()?;

        let most = |seconds: &[f64]| seconds.iter().copied().fold(f64::NAN, f64::max);
        let mut report = Report::new();
        report.add("devices", (*devices).into());
        report.add("payload_bytes", (*bytes).into());
        report.add_target("stored", Asked::AtLeast(*messages as f64), accepted);
        report.add("stored_per_second", stored_per_second);
        report.add("data_bytes", data_bytes as f64);
        report.add("ready_when_empty_seconds", empty.as_secs_f64());
        report.add_spread("ready_after_sigterm", "seconds", &asked);
        report.add_spread("ready_after_sigkill", "seconds", &killed);
        report.add_target("ready_slowest_after_sigterm_seconds", Asked::AtMost(1.0), most(&asked));
        report.add_target("ready_slowest_after_sigkill_seconds", Asked::AtMost(1.0), most(&killed));
        let mut delivered = accepted;
        if let Some(replay) = replay {
            delivered = load_figure(&replay, "/replay/messages")?;
            report.add_target("delivered_afterwards", Asked::AtLeast(accepted), delivered);
            report.add("delivered_out_of_order", load_figure(&replay, "/replay/out_of_order")?);
            report.add("delivered_per_second", load_figure(&replay, "/replay/messages_per_second")?);
        }
        report.publish(self.setup.json.as_deref())?;
        ensure!(delivered >= accepted, "of {accepted} messages that were stored {delivered} were delivered");
        Ok(())
    }
}
