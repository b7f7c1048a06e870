//! `bench gateway`: what the gateway reaches, beside the floor, in one run.
//!
//! The gateway and the load generator run as processes of their own, each kept on one core; the floor is measured by
//! this program started once more, right after. Absolute figures of a shared machine mean little, ratios of one run do.

mod api;
mod connect;
mod fanout;
mod floor;
mod hold;
mod process;
mod push;

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
}

impl Gateway {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Hold(hold) => hold.run(),
            Self::Connect(connect) => connect.run(),
            Self::Fanout(fanout) => fanout.run(),
            Self::Push(push) => push.run(),
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
    /// Driver of the gateway: auto, uring or epoll
    #[arg(long, default_value = "auto")]
    driver: String,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One figure of the load generator's report, by its path in the JSON (RFC 6901).
fn load_figure(report: &serde_json::Value, path: &str) -> anyhow::Result<f64> {
    use anyhow::Context as _;
    let figure = report.pointer(path).and_then(serde_json::Value::as_f64);
    figure.with_context(|| format!("the load generator has no figure {path}: {report}"))
}
