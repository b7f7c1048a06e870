//! The measuring side's handle on the client process.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::Context;
use campanile_harness::{Launch, Worker, programs};
use clap::ValueEnum;

use super::Setup;
use super::client::{Role, STOP, Sample};

/// How long a command may take: connecting a hundred thousand sockets is one.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running client process. Dropping it ends it.
pub(super) struct Peer {
    worker: Worker,
}

impl Peer {
    /// Starts the process with one ring per listener and waits until its rings are set up; no socket exists yet.
    pub(super) fn start(setup: &Setup, role: Role, targets: &[(SocketAddrV4, u32)]) -> anyhow::Result<Self> {
        let role = role.to_possible_value().expect("no role is hidden");
        let mut launch = Launch::new(programs::this()?).args(["floor", "client", "--role", role.get_name()]);
        launch = launch.arg("--core").arg(setup.client_core.to_string());
        launch = launch.arg("--sources").arg(setup.sources.to_string());
        for (address, connections) in targets {
            launch = launch.arg("--target").arg(format!("{address}={connections}"));
        }
        let mut peer = Self { worker: Worker::start("the client process", launch)? };
        peer.sample()?;
        Ok(peer)
    }

    /// Sends a command and waits until it is done.
    pub(super) fn command(&mut self, command: &str) -> anyhow::Result<Sample> {
        self.worker.tell(command)?;
        self.sample()
    }

    fn sample(&mut self) -> anyhow::Result<Sample> {
        let line = self.worker.answer(PATIENCE)?;
        serde_json::from_str(&line).context("the client process answered something else")
    }

    /// Ends the process. Close the servers first: their resets spare the clients' ports TIME_WAIT.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.worker.tell(STOP)?;
        self.worker.finish(PATIENCE)
    }
}
