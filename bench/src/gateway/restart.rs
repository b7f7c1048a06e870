//! From the start until ready, with very many messages stored.

use std::time::Duration;

use campanile_harness::gateway::End;
use clap::Args;

use super::process::Gateway;
use super::{Setup, measured, pushes, replay, words};
use crate::report::{Asked, Findings};

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
        self.setup.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let Self { messages, devices, bytes, .. } = self;
        let mut gateway = Gateway::start(&self.setup, &[])?;
        let empty = gateway.restart(End::Asked)?;
        let store = format!(
            "--offline --connections {devices} --payload-bytes {bytes} --durability durable --max --batch 200 \
             --publishers 8 --messages {messages} --duration 1000"
        );
        let found = gateway.load(&words(&store), PATIENCE)?;
        let stored = pushes(&found)?;
        let accepted = stored.accepted as f64;
        let data_bytes = gateway.data_bytes();
        let asked = gateway.restart(End::Asked)?.as_secs_f64();
        let killed = gateway.restart(End::Killed)?.as_secs_f64();
        let replayed = if self.no_replay {
            None
        } else {
            Some(gateway.load(&words(&format!("--connections {devices} --until-caught-up")), PATIENCE)?)
        };
        gateway.stop()?;

        let mut report = Findings::new();
        report.add("devices", (*devices).into());
        report.add("payload_bytes", (*bytes).into());
        report.add_promise("stored", Asked::AtLeast(*messages as f64), accepted);
        report.add("stored_per_second", measured(stored.accepted_per_second)?);
        report.add("data_bytes", data_bytes as f64);
        report.add("ready_when_empty_seconds", empty.as_secs_f64());
        report.add_promise("ready_after_sigterm_seconds", Asked::AtMost(1.0), asked);
        report.add_promise("ready_after_sigkill_seconds", Asked::AtMost(1.0), killed);
        if let Some(replayed) = &replayed {
            let replay = replay(replayed)?;
            let delivered = replay.messages as f64;
            report.add_promise("delivered_afterwards", Asked::AtLeast(accepted), delivered);
            report.add_promise("delivered_out_of_order", Asked::AtMost(0.0), replay.out_of_order as f64);
            report.add("delivered_per_second", measured(replay.messages_per_second)?);
            report.must(delivered >= accepted, || {
                format!("of {accepted} messages that were stored {delivered} were delivered")
            });
        }
        report.leaves_out(
            "a kill spares the page cache: what is read at the start comes from memory, as after a power cut it would not",
        );
        Ok(report)
    }
}
