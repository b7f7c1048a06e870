//! Processes that do what they are told, line by line.

use std::io::Write as _;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::process::{Launch, Lines, Process};

/// A process that reads one command per line and answers each with a line. Dropping it ends it.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    commands: ChildStdin,
    answers: Lines,
    name: &'static str,
}

impl Worker {
    /// Starts it; `name` stands in errors, as in `the client process`.
    ///
    /// # Errors
    /// As [`Launch::start`].
    pub fn start(name: &'static str, launch: Launch) -> anyhow::Result<Worker> {
        let (mut process, commands) = launch.stdout(Stdio::piped()).start_with_input()?;
        let output = process.take_stdout().context("its output is a pipe")?;
        Ok(Worker { process, commands, answers: Lines::read(output), name })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        writeln!(self.commands, "{command}").with_context(|| format!("{} has ended", self.name))
    }

    /// The next answer.
    ///
    /// # Errors
    /// When the process has ended, or says nothing for so long.
    pub fn answer(&mut self, patience: Duration) -> anyhow::Result<String> {
        let answer = self.answers.next(patience).with_context(|| format!("{} does not answer", self.name))?;
        answer.with_context(|| format!("{} has ended; its error is above", self.name))
    }

    /// Closes its input and waits for its end, which must be a good one.
    ///
    /// # Errors
    /// When it does not end in time, or badly.
    pub fn finish(self, patience: Duration) -> anyhow::Result<()> {
        let Worker { mut process, commands, name, .. } = self;
        drop(commands);
        let status = process.wait(patience)?;
        ensure!(status.success(), "{name} failed: {status}");
        Ok(())
    }
}
