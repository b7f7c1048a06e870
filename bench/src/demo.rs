//! `bench demo`: what `campanile demo` says of itself, repeated.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use campanile_harness::{Folder, Launch, programs};
use clap::Args;

use crate::report::{Asked, Figures, Findings, Output};

/// The demo as it is, each time from nothing.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Devices
    #[arg(long, default_value_t = 10_000)]
    devices: u32,
    /// Seconds of pushing
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// The program [default: campanile, beside this one]
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// How long it may take beyond its pushes.
const PATIENCE: Duration = Duration::from_secs(120);

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        self.output.measure(|| self.once())
    }

    fn once(&self) -> anyhow::Result<Findings> {
        let program = match &self.gateway {
            Some(program) => program.clone(),
            None => programs::beside("campanile")?,
        };
        let folder = Folder::new("bench-demo", None)?;
        let json = folder.join("demo.json");
        let (devices, seconds) = (self.devices.to_string(), self.seconds.to_string());
        let launch =
            Launch::new(program).args(["demo", "--devices", &devices, "--seconds", &seconds, "--json"]);
        let mut demo = launch.arg(&json).asked_to_end().start()?;
        demo.finish(PATIENCE + Duration::from_secs(self.seconds.into()))?;
        let found: Figures =
            serde_json::from_slice(&std::fs::read(&json)?).context("the demo says other than figures")?;
        let mut report = Findings::new();
        for (name, value) in found.iter() {
            if name == "lost" {
                report.add_promise(name, Asked::AtMost(0.0), value);
            } else {
                report.add(name, value);
            }
        }
        report.leaves_out(
            "nothing is kept on a core of its own: devices, publishers and the gateway share all",
        );
        Ok(report)
    }
}
