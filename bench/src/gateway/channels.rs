//! `bench gateway channel-…`: messages to the subscribers of channels.
//!
//! Subscribers are [`crate::receiver`]'s: of most only bytes are counted, of some every message is looked at, whose
//! stamp says since when it was due. Publishers use the HTTP API.

mod direct;
mod many;
mod memory;
mod once;
mod publisher;
mod stalled;
mod subscribers;
mod sustained;

use anyhow::ensure;
use clap::Args;

pub(super) use direct::Direct;
pub(super) use many::Many;
pub(super) use memory::Memory;
pub(super) use once::Once;
pub(super) use stalled::Stalled;
pub(super) use sustained::Sustained;

use super::Setup;
use super::process::Gateway;
use crate::report::Output;

/// Nobody is asked for a sign of life.
const QUIET: &[&str] = &["limits.ping_interval_ms = 600000"];

/// What every measurement of channels needs to know.
#[derive(Args, Clone, Debug)]
struct ChannelSetup {
    /// Shards of the gateway [default: as many as the connections need]
    #[arg(long)]
    shards: Option<u32>,
    /// Bytes of each message
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    #[command(flatten)]
    setup: Setup,
}

impl ChannelSetup {
    /// Keeps this process, and what it starts and does not put elsewhere, off the gateway's core.
    fn pin(&self) -> anyhow::Result<()> {
        self.setup.client_core().map_or(Ok(()), campanile_harness::process::pin)
    }

    fn output(&self) -> &Output {
        &self.setup.output
    }

    /// A gateway for so many connections.
    fn start(&self, connections: u32, config: &[&str]) -> anyhow::Result<Gateway> {
        let (most, shards) = (connections.to_string(), self.shards.unwrap_or(0).to_string());
        Gateway::start_with(&self.setup, config, &["--max-connections", &most, "--shards", &shards])
    }
}

/// What the gateway has done for the subscribers of channels so far, and the CPU it took for everything.
#[derive(Clone, Copy, Debug)]
struct Counted {
    sends: u64,
    bytes: u64,
    gaps: u64,
    cpu_seconds: f64,
}

impl Counted {
    fn read(gateway: &Gateway) -> anyhow::Result<Self> {
        let gaps = ["campanile_channel_gaps_too_slow_total", "campanile_channel_gaps_conflated_total"];
        Ok(Self {
            sends: gateway.metric("campanile_channel_sends_total")?,
            bytes: gateway.metric("campanile_channel_bytes_sent_total")?,
            gaps: gateway.metric(gaps[0])? + gateway.metric(gaps[1])?,
            cpu_seconds: gateway.cpu_seconds()?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            sends: self.sends - before.sends,
            bytes: self.bytes - before.bytes,
            gaps: self.gaps - before.gaps,
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
        }
    }

    fn send_bytes(&self) -> f64 {
        self.bytes as f64 / self.sends.max(1) as f64
    }
}

/// Refuses more sockets in this process than its table has room for.
fn ensure_room(sockets: u32) -> anyhow::Result<()> {
    let most = campanile_floor::sockets_per_ring_max();
    ensure!(
        sockets <= most,
        "{sockets} connections that never read are too many: nofile leaves room for {most}"
    );
    Ok(())
}
