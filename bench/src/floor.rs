//! `bench floor`: accepts, sends and pings with nothing else in the way.
//!
//! The servers run in this process, pinned to one core; the clients in a second process of the same program, pinned
//! to another. Both use the loops of [`campanile_floor`], one thread and one ring for as many sockets as a
//! descriptor table holds. CPU figures are the threads' own clocks. On loopback most of the network stack's work for
//! both ends is done by whoever sends, so they are the right yardstick for another server on the same machine, and
//! no promise about one behind a network card.

mod accepts;
mod client;
mod machine;
mod peer;
mod ping;
mod sends;
mod workers;

use clap::{Args, Subcommand};

use crate::report::Output;

/// The measurements.
#[derive(Subcommand)]
pub(crate) enum Floor {
    /// Accepts per second; with --hold also the kernel memory of an accepted socket.
    Accepts(accepts::Accepts),
    /// Sends per second of one thread that writes the same bytes to every socket.
    Sends(sends::Sends),
    /// CPU that pinging idle connections takes.
    Ping(ping::Ping),
    /// The connecting side, which the others start.
    #[command(hide = true)]
    Client(client::ClientProcess),
}

impl Floor {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Accepts(accepts) => accepts.run(),
            Self::Sends(sends) => sends.run(),
            Self::Ping(ping) => ping.run(),
            Self::Client(client) => client.run(),
        }
    }
}

/// What every measurement needs to know.
#[derive(Args, Clone, Debug)]
struct Setup {
    /// Rings, each with its own listener; by default as few as the descriptor tables allow
    #[arg(long)]
    rings: Option<u32>,
    /// Core that the server's threads are pinned to
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core that the client process is pinned to
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Source addresses that clients are bound to: 127.0.0.1 to 127.0.0.n
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=254))]
    sources: u8,
    #[command(flatten)]
    output: Output,
}

/// How long connecting or accepting may take in all.
const CONNECT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
