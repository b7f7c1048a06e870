//! This program once more, as the floor.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Setup;

/// Runs `bench floor …` and gives its figures.
pub(super) fn run(setup: &Setup, arguments: &[String]) -> anyhow::Result<serde_json::Value> {
    let file = std::env::temp_dir().join(format!("campanile-floor-{}.json", std::process::id()));
    let status = Command::new(std::env::current_exe()?)
        .arg("floor")
        .args(arguments)
        .args(["--server-core", &setup.server_core.to_string()])
        .args(["--client-core", &setup.client_core.to_string()])
        .arg("--json")
        .arg(&file)
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the floor could not be measured: {status}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let _ = std::fs::remove_file(&file);
    Ok(report["figures"].clone())
}

/// One of its figures.
pub(super) fn figure(figures: &serde_json::Value, name: &str) -> anyhow::Result<f64> {
    figures[name].as_f64().with_context(|| format!("the floor has no figure {name}: {figures}"))
}
