//! Scenario files: what a run does, as data. `campanile-load run FILE` does it, `campanile-load check FILE` says what
//! it would do.
//!
//! A file is read in three steps: variables are put in ([`mod@expand`]), the text is read ([`mod@file`]), and what it
//! means is worked out ([`Scenarios`]). Whatever makes no sense is told before anybody connects, with the file and the key or
//! the line.

mod check;
mod compile;
pub mod expand;
pub mod file;
mod report;

use std::path::Path;
use std::time::Duration;

pub use self::compile::{Scenario, Scenarios};
use self::expand::{Variables, expand};
use self::file::File;
pub use self::report::RunReport;
use crate::near::did_you_mean;

/// What the command line changes about a scenario file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// What variables stand for.
    pub variables: Variables,
    /// How many devices there are at most; everything that counts devices is scaled to it.
    pub devices: Option<u32>,
    /// How long the stages take; everything that has a time in it is scaled to it.
    pub duration: Option<Duration>,
}

/// Reads a scenario file and works out what it means.
///
/// # Errors
/// In words for the operator: the file, the line or the key, and what is wrong with it.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Scenarios, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let file = parse(&text, &overrides.variables).map_err(|problem| format!("{name}: {problem}"))?;
    compile::compile(&file, overrides).map_err(|problem| format!("{name}: {problem}"))
}

/// Reads the text of a scenario file.
fn parse(text: &str, variables: &Variables) -> Result<File, String> {
    let text = expand(text, variables)?;
    toml::from_str(&text).map_err(|error| {
        let unknown = error.message().strip_prefix("unknown field `");
        let mut names = unknown.into_iter().flat_map(|rest| rest.split('`').step_by(2));
        let near = names.next().map(|unknown| did_you_mean(unknown, names)).unwrap_or_default();
        format!("{}{near}", error.to_string().trim_end())
    })
}

#[cfg(test)]
mod tests;
