//! This program once more, as the floor.

use std::time::Duration;

use anyhow::Context;
use campanile_harness::{Folder, Launch, programs};

use super::Setup;
use crate::report::{Figures, Record};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs `bench floor …` once and gives its figures.
pub(super) fn run(setup: &Setup, arguments: &[String]) -> anyhow::Result<Figures> {
    let folder = Folder::new("floor", None)?;
    let json = folder.join("floor.json");
    let (server, client) = (setup.server_core.to_string(), setup.client_core.to_string());
    let launch = Launch::new(programs::this()?).arg("floor").args(arguments);
    let launch = launch.args(["--server-core", &server, "--client-core", &client, "--repeat", "1"]);
    let mut floor = launch.arg("--json").arg(&json).asked_to_end().start()?;
    floor.finish(PATIENCE).context("the floor could not be measured")?;
    Ok(Record::read(&json)?.median)
}

/// One of its figures.
pub(super) fn figure(figures: &Figures, name: &str) -> anyhow::Result<f64> {
    figures.get(name).with_context(|| format!("the floor has no figure {name}"))
}
