//! The client process: reads one command per line from its input and answers each with a line of JSON.
//!
//! It ends at `stop`, or when its input is closed because the measuring process has gone.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use campanile_floor::{Answer, Client, ClientPlan, Progress};
use campanile_harness::process::pin;
use campanile_harness::usage::own_cpu;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::CONNECT_PATIENCE;
use super::workers::{Started, Workers};

/// Connects on their way at once from one ring: far below the listener's backlog.
const IN_FLIGHT_MAX: u32 = 256;

/// Makes the sockets and binds them.
pub(super) const OPEN: &str = "open";
/// Connects them and starts to serve.
pub(super) const CONNECT: &str = "connect";
/// Only answers.
pub(super) const SAMPLE: &str = "sample";
/// Closes everything and ends.
pub(super) const STOP: &str = "stop";

/// Command line of the client process.
#[derive(Args, Debug)]
pub(crate) struct ClientProcess {
    /// Core to run on
    #[arg(long)]
    core: usize,
    /// Number of source addresses
    #[arg(long)]
    sources: u8,
    /// What to do with what the server sends
    #[arg(long)]
    role: Role,
    /// Listener and number of connections to it; one ring each
    #[arg(long = "target", value_parser = parse_target, required = true)]
    targets: Vec<(SocketAddrV4, u32)>,
}

/// What clients do once connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Nothing: no poll is armed.
    Hold,
    /// Read and discard.
    Drain,
    /// Answer pings.
    Pong,
}

/// The answer to each command.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sample {
    /// CPU time of the client process so far, in seconds.
    pub(super) cpu_seconds: f64,
    /// Bytes received.
    pub(super) bytes: u64,
    /// Pings answered.
    pub(super) pings: u64,
    /// Bytes received that were no ping, where only pings were expected.
    pub(super) unexpected_bytes: u64,
    /// Connections that have ended.
    pub(super) closed: u64,
}

impl ClientProcess {
    pub(super) fn run(self) -> anyhow::Result<()> {
        pin(self.core)?;
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(Progress::default());
        let workers = Workers::new(self.plans().into_iter().map(|plan| move || Client::new(plan)).collect())?;
        let mut serving: Option<Started<()>> = None;
        answer(&progress)?;
        for command in stdin().lock().lines() {
            match command.context("cannot read commands")?.as_str() {
                OPEN => drop(workers.run(|client, _| client.open())?),
                CONNECT => {
                    workers.run(|client, _| client.connect(CONNECT_PATIENCE))?;
                    if self.role != Role::Hold {
                        workers.run(|client, _| client.poll_all())?;
                        let (stop, progress) = (stop.clone(), progress.clone());
                        serving = Some(workers.start(move |client, _| client.serve(&stop, &progress)));
                    }
                }
                SAMPLE => {}
                STOP => break,
                other => bail!("unknown command {other:?}"),
            }
            answer(&progress)?;
        }
        stop.store(true, Ordering::Relaxed);
        if let Some(serving) = serving {
            serving.wait()?;
        }
        Ok(())
    }

    fn plans(&self) -> Vec<ClientPlan> {
        let plan = |&(target, connections)| ClientPlan {
            target,
            sources: (1..=self.sources).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect(),
            connections,
            in_flight_max: IN_FLIGHT_MAX,
            answer: match self.role {
                Role::Hold | Role::Drain => Answer::Nothing,
                Role::Pong => Answer::Pong,
            },
        };
        self.targets.iter().map(plan).collect()
    }
}

fn answer(progress: &Progress) -> anyhow::Result<()> {
    let sample = Sample {
        cpu_seconds: own_cpu().as_secs_f64(),
        bytes: progress.bytes.load(Ordering::Relaxed),
        pings: progress.pings.load(Ordering::Relaxed),
        unexpected_bytes: progress.unexpected_bytes.load(Ordering::Relaxed),
        closed: progress.closed.load(Ordering::Relaxed),
    };
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&sample)?)?;
    out.flush().context("the measuring process is gone")
}

/// `127.0.0.1:4321=1000`.
fn parse_target(text: &str) -> anyhow::Result<(SocketAddrV4, u32)> {
    let (address, connections) = text.split_once('=').context("expected <address>:<port>=<connections>")?;
    let address: SocketAddrV4 = address.parse()?;
    if !address.ip().is_loopback() {
        bail!("{address} is not a loopback address: this load is for the own machine only");
    }
    Ok((address, connections.parse()?))
}

#[cfg(test)]
mod tests {
    use super::parse_target;

    #[test]
    fn only_loopback_targets_are_taken() {
        let (address, connections) = parse_target("127.0.0.3:80=5").expect("a loopback target");
        assert_eq!((address.to_string().as_str(), connections), ("127.0.0.3:80", 5));
        for refused in ["192.0.2.1:80=5", "0.0.0.0:80=5", "127.0.0.1:80", "127.0.0.1=5"] {
            assert!(parse_target(refused).is_err(), "{refused}");
        }
    }
}
