//! The measuring side's handle on the client process.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use super::Setup;
use super::client::{Role, STOP, Sample};

/// A running client process. Dropping it closes its input, which ends it.
pub(super) struct Peer {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the process with one ring per listener and waits until its rings are set up; no socket exists yet.
    pub(super) fn start(setup: &Setup, role: Role, targets: &[(SocketAddrV4, u32)]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let role = role.to_possible_value().expect("no role is hidden");
        let mut command = Command::new(program);
        command.args(["floor", "client", "--role", role.get_name()]);
        command.arg("--core").arg(setup.client_core.to_string());
        command.arg("--sources").arg(setup.sources.to_string());
        for (address, connections) in targets {
            command.arg("--target").arg(format!("{address}={connections}"));
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the client process")?;
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("the client's output is a pipe")?);
        let mut peer = Self { process, commands, answers };
        peer.sample()?;
        Ok(peer)
    }

    /// Sends a command and waits until it is done.
    pub(super) fn command(&mut self, command: &str) -> anyhow::Result<Sample> {
        self.tell(command)?;
        self.sample()
    }

    fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        let commands = self.commands.as_mut().context("the client has been stopped")?;
        writeln!(commands, "{command}").context("the client process has ended")
    }

    fn sample(&mut self) -> anyhow::Result<Sample> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("cannot read from the client process")?;
        ensure!(!line.is_empty(), "the client process has ended; its error is above");
        serde_json::from_str(&line).context("the client process answered something else")
    }

    /// Ends the process. Close the servers first: their resets spare the clients' ports TIME_WAIT.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.tell(STOP)?;
        self.commands = None;
        let status = self.process.wait()?;
        ensure!(status.success(), "the client process failed: {status}");
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.commands = None;
        // Reaps it; how it ended matters only to `stop`.
        let _ = self.process.wait();
    }
}
