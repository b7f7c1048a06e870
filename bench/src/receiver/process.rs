//! The receiver process: reads its orders and then one command per line from its input, and answers each with a line of
//! JSON.
//!
//! It ends at [`STOP`], or when its input is closed because the measuring process has gone.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use campanile_harness::usage::own_cpu;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::connect::connect;
use super::plan::Plan;
use super::reader::Reader;
use super::tally::Sample;

/// Connects everything.
pub(super) const CONNECT: &str = "connect";
/// Reads everything and forgets what was counted.
pub(super) const RESET: &str = "reset";
/// Reads everything and says what has been counted.
pub(super) const SAMPLE: &str = "sample";
/// Closes everything and ends.
pub(super) const STOP: &str = "stop";

/// Command line of a receiver process: everything comes with its orders.
#[derive(Args, Debug)]
pub(crate) struct ReceiverProcess {}

/// What a process is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) plan: Plan,
    /// In how much time each counted socket is read once.
    pub(super) scan: Duration,
}

/// The answer to the orders and to each command but the last.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done(Sample),
    Failed(String),
}

impl ReceiverProcess {
    /// Serves until it is told to stop. What fails is answered; only what cannot be answered is returned.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match serve() {
            Ok(()) => Ok(()),
            Err(error) => answer(&Answer::Failed(format!("{error:#}"))),
        }
    }
}

fn serve() -> anyhow::Result<()> {
    let mut line = String::new();
    stdin().read_line(&mut line).context("no orders")?;
    let Orders { plan, scan } = serde_json::from_str(&line).context("no orders that are understood")?;
    ensure!(plan.target.ip().is_loopback(), "{} is not a loopback address", plan.target);
    if let Some(core) = plan.core {
        campanile_harness::process::pin(core)?;
    }
    let commands = read_commands();
    let pong_every = (plan.pong_seconds > 0).then(|| Duration::from_secs(plan.pong_seconds.into()));
    let mut reader = Reader::new(scan, pong_every)?;
    answer(&Answer::Done(Sample::default()))?;
    let mut connected = false;
    loop {
        // Until there are sockets only a command can bring something to do.
        let command = if connected {
            commands.try_recv()
        } else {
            commands.recv().map_err(|_| TryRecvError::Disconnected)
        };
        match command.as_deref() {
            Ok(CONNECT) => {
                connect_all(&plan, &mut reader)?;
                connected = true;
            }
            Ok(RESET) => reader.reset()?,
            Ok(SAMPLE) => {}
            Ok(STOP) | Err(TryRecvError::Disconnected) => return Ok(()),
            Ok(other) => bail!("unknown command {other:?}"),
            Err(TryRecvError::Empty) => {
                reader.turn()?;
                continue;
            }
        }
        answer(&Answer::Done(reader.sample(own_cpu().as_secs_f64())?))?;
    }
}

fn connect_all(plan: &Plan, reader: &mut Reader) -> anyhow::Result<()> {
    let mut added = Ok(());
    connect(plan, |index, socket, read| {
        if !plan.is_sampled(index) {
            reader.add_counted(socket, read);
        } else if added.is_ok() {
            added = reader.add_sampled(socket, read);
        }
    })?;
    Ok(added?)
}

/// A thread waits for commands, so that the receiving one never does.
fn read_commands() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn answer(answer: &Answer) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    out.flush().context("the measuring process is gone")
}
