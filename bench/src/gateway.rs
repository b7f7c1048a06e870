//! `bench gateway`: what the gateway reaches, beside the floor, in one run.
//!
//! The gateway and the load generator run as processes of their own, each kept on one core; the floor is measured by
//! this program started once more, right after. Absolute figures of a shared machine mean little, ratios of one run do.

mod channels;
mod connect;
mod durable;
mod fanout;
mod floor;
mod hold;
mod hot_path;
mod process;
mod push;
mod replay;
mod restart;
mod stalled;

use std::path::PathBuf;

use anyhow::Context as _;
use campanile_load::report as load;
use clap::{Args, Subcommand};

pub(crate) use hot_path::HotPath;

use crate::report::Output;

/// The measurements.
#[derive(Subcommand)]
pub(crate) enum Gateway {
    /// Memory, kernel memory and idle CPU of many connections that do nothing but answer pings.
    Hold(hold::Hold),
    /// Connections per second, from the TCP handshake to the session, against bare accepts.
    Connect(connect::Connect),
    /// One frame to every connection, against bare sends.
    Fanout(fanout::Fanout),
    /// Pushes to random users at a fixed rate: latency and loss.
    Push(push::PushBench),
    /// Durable pushes: batches, single requests, and to devices that are offline.
    Durable(durable::Durable),
    /// Everything that waited for a device, delivered when it connects, and what others notice of it.
    Replay(replay::ReplayBench),
    /// Memory that devices take which have stopped reading, and what the others notice of it.
    Stalled(stalled::Stalled),
    /// From the start until ready, with very many messages stored.
    Restart(restart::Restart),
    /// One message at a time to all subscribers of a channel, against bare sends.
    ChannelOnce(channels::Once),
    /// As many messages a second to all subscribers of a channel as they get in time, against bare sends.
    ChannelSustained(channels::Sustained),
    /// What messages to single devices notice of one that goes to very many subscribers.
    ChannelDirect(channels::Direct),
    /// Memory of a subscription.
    ChannelMemory(channels::Memory),
    /// Messages to many channels with few subscribers each.
    ChannelMany(channels::Many),
    /// Subscribers that never read: their memory, and what the others notice of them.
    ChannelStalled(channels::Stalled),
}

impl Gateway {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Hold(hold) => hold.run(),
            Self::Connect(connect) => connect.run(),
            Self::Fanout(fanout) => fanout.run(),
            Self::Push(push) => push.run(),
            Self::Durable(durable) => durable.run(),
            Self::Replay(replay) => replay.run(),
            Self::Stalled(stalled) => stalled.run(),
            Self::Restart(restart) => restart.run(),
            Self::ChannelOnce(once) => once.run(),
            Self::ChannelSustained(sustained) => sustained.run(),
            Self::ChannelDirect(direct) => direct.run(),
            Self::ChannelMemory(memory) => memory.run(),
            Self::ChannelMany(many) => many.run(),
            Self::ChannelStalled(stalled) => stalled.run(),
        }
    }
}

/// What every measurement needs to know.
#[derive(Args, Clone, Debug)]
struct Setup {
    /// Core that the gateway is kept on
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core that the load generator is kept on
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Keep neither on a core of its own
    #[arg(long)]
    unpinned: bool,
    /// Where the gateway's data is put while it runs, in a folder of its own [default: the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// A line of the gateway's configuration, like limits.devices_per_user_max=3; repeat for more
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Driver of the gateway: auto, uring or epoll
    #[arg(long, default_value = "auto")]
    driver: String,
    /// The gateway's program [default: campanile, beside this one]
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Setup {
    fn server_core(&self) -> Option<usize> {
        (!self.unpinned).then_some(self.server_core)
    }

    fn client_core(&self) -> Option<usize> {
        (!self.unpinned).then_some(self.client_core)
    }
}

/// Words of a command line.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// What the load generator published, which it must have been told to.
fn pushes(found: &load::Report) -> anyhow::Result<&load::Pushes> {
    found.pushes.as_ref().context("the load generator has published nothing")
}

/// What the load generator's devices were delivered, which they must have been.
fn deliveries(found: &load::Report) -> anyhow::Result<&load::Deliveries> {
    found.deliveries.as_ref().context("the load generator has expected nothing")
}

/// What had waited for the load generator's devices, which must have asked for it.
fn replay(found: &load::Report) -> anyhow::Result<&load::Replay> {
    found.replay.as_ref().context("the load generator has replayed nothing")
}

/// A figure of the load generator, which it must have measured.
fn measured<T>(figure: Option<T>) -> anyhow::Result<T> {
    figure.context("the load generator has measured nothing")
}
