//! The gateway and the load generator as processes, each on its core, and what the kernel says of them.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use campanile_harness::gateway::End;
use campanile_harness::{GatewayOptions, Launch, Process, programs, usage};
use campanile_load::report::Report;
use campanile_load::verdict::Code;

use super::Setup;

/// What devices' tokens are signed with (HS256).
pub(super) const SECRET: &str = "benchmark-secret-of-more-than-32-bytes";

/// The publishers' key.
pub(super) const KEY: &str = "benchmark-api-key-0123456789abcdef";

/// A gateway with secrets of its own, that is measured.
pub(super) struct Gateway {
    harness: campanile_harness::Gateway,
    setup: Setup,
}

impl Deref for Gateway {
    type Target = campanile_harness::Gateway;

    fn deref(&self) -> &campanile_harness::Gateway {
        &self.harness
    }
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(super) fn start(setup: &Setup, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(setup, &[], arguments)
    }

    /// The same with lines of a configuration file, like `limits.devices_per_user_max = 3`.
    pub(super) fn start_with(setup: &Setup, config: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        let program = match &setup.gateway {
            Some(program) => program.clone(),
            None => programs::beside("campanile")?,
        };
        let options = GatewayOptions {
            parent: setup.folder.clone(),
            secret: SECRET.into(),
            api_key: KEY.into(),
            core: setup.server_core(),
            ..GatewayOptions::new(program, "bench")
        };
        let options = options.config(config.iter().copied()).config(setup.set.iter().cloned());
        let options =
            options.args(["--driver", &setup.driver, "--log", "warn"]).args(arguments.iter().copied());
        Ok(Self { harness: campanile_harness::Gateway::start(options)?, setup: setup.clone() })
    }

    /// Ends it and starts it again with the same data. Gives the time from its start until it was ready.
    pub(super) fn restart(&mut self, end: End) -> anyhow::Result<Duration> {
        self.harness.restart(end)
    }

    /// Resident memory, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.process().usage()?.resident_bytes)
    }

    /// Memory that it shares with nobody, in bytes: what it has written to, without its program's own pages.
    pub(super) fn private_bytes(&self) -> anyhow::Result<u64> {
        usage::private_bytes(self.process().pid())
    }

    /// CPU time so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        Ok(self.process().usage()?.cpu_seconds)
    }

    /// Runs a load generator to its end and gives what it found.
    pub(super) fn load(&self, arguments: &[String], patience: Duration) -> anyhow::Result<Report> {
        self.start_load(arguments)?.finish(patience)
    }

    /// Starts a load generator against it.
    pub(super) fn start_load(&self, arguments: &[String]) -> anyhow::Result<Load> {
        self.start_named_load("load", false, arguments)
    }

    /// The same for one of several at once.
    pub(super) fn start_named_load(
        &self,
        name: &str,
        gives_way: bool,
        arguments: &[String],
    ) -> anyhow::Result<Load> {
        let json = self.path(&format!("{name}.json"));
        let core = self.setup.client_core();
        let mut launch = Launch::new(programs::beside("campanile-load")?).args(self.load_arguments());
        launch = launch.arg("--json").arg(&json).arg("--quiet");
        // Names of the same length in every run: they are part of what is measured, and a second run finds them again.
        if !arguments.iter().any(|argument| argument == "--user-prefix") {
            launch = launch.args(["--user-prefix", "U"]);
        }
        if let Some(core) = core {
            launch = launch.arg("--core").arg(core.to_string());
        }
        let process = launch.args(arguments).on_core(core).giving_way(gives_way).start()?;
        Ok(Load { process, json, is_ending: false })
    }

    /// A file that is removed at the end.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Sends an event to every session; gives how many were sent it and how many passed over.
    pub(super) fn broadcast(&self, text: &str) -> anyhow::Result<(u64, u64)> {
        let body = serde_json::json!({"name": "benchmark", "payload": {"text": text}});
        let answer = self.api().post("/v2/broadcast", &body.to_string())?.good()?;
        let answer: serde_json::Value = serde_json::from_str(&answer)?;
        let count = |name: &str| answer[name].as_u64().with_context(|| format!("no `{name}` in {answer}"));
        Ok((count("sent")?, count("skipped")?))
    }

    /// What the kernel keeps for data in the sockets of devices, on the gateway's side only, in bytes. Asks `ss`, of
    /// iproute2.
    pub(super) fn socket_bytes(&self) -> anyhow::Result<u64> {
        let port = format!("sport = :{}", self.listen().port());
        let output = Command::new("ss").args(["-tmnH", &port]).output().context("ss (iproute2) is needed")?;
        ensure!(output.status.success(), "ss ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        // skmem:(r<received>,rb<limit>,t<sent>,tb<limit>,f<kept>,w<to be sent>,o<options>,bl<backlog>,d<drops>)
        let memory = text.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
        let of = |field: &str| -> Option<u64> {
            let digits = field.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
            let counts = matches!(&field[..field.len() - digits.len()], "r" | "f" | "w" | "o" | "bl");
            digits.parse().ok().filter(|_| counts)
        };
        Ok(memory.flat_map(|fields| fields.split(',')).filter_map(of).sum())
    }

    /// Ends it as an operator does.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.harness.stop()
    }
}

/// A load generator at work.
pub(super) struct Load {
    process: Process,
    json: PathBuf,
    /// It is to end before it would by itself.
    is_ending: bool,
}

impl Load {
    /// Asks it to end; it says what it has found until now.
    pub(super) fn terminate(&mut self) -> anyhow::Result<()> {
        self.is_ending = true;
        self.process.terminate()
    }

    /// Waits for its end, and gives what it found.
    pub(super) fn finish(mut self, patience: Duration) -> anyhow::Result<Report> {
        let status = self.process.wait(patience)?;
        let is_interrupted = self.is_ending && status.code() == Some(Code::Interrupted.number().into());
        // As many as possible is what the load generator itself can do where the gateway takes more.
        let is_limit = status.code() == Some(Code::Bottleneck.number().into());
        ensure!(status.success() || is_interrupted || is_limit, "the load generator ended with {status}");
        Report::read(&self.json).context("the load generator's report")
    }
}
