//! A file of results, in the form that benchmarks write or in an older one.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use crate::report::{Asked, Figures, Record};

/// What a table needs of one file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) command: String,
    pub(super) figures: Figures,
    pub(super) repetitions: Vec<Figures>,
    pub(super) leaves_out: Vec<String>,
    /// Not a [`Record`]: of an older commit, and not repeated.
    pub(super) is_older: bool,
    /// Whether what was asked of a figure was reached.
    met: Vec<(String, bool)>,
    commit: String,
    date: String,
    machine: String,
}

/// What was written before there were records.
#[derive(Deserialize)]
struct Older {
    command_line: String,
    figures: Figures,
    #[serde(default)]
    targets: Vec<OlderTarget>,
}

#[derive(Deserialize)]
struct OlderTarget {
    figure: String,
    met: bool,
}

impl Source {
    pub(super) fn read(path: &Path) -> anyhow::Result<Source> {
        match Record::read(path) {
            Ok(record) => Ok(Source::current(record)),
            Err(error) => {
                let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                // If it is neither, how it fails to be a record is what is of interest.
                Source::older(&text).ok_or(error)
            }
        }
    }

    fn current(record: Record) -> Source {
        let Record {
            command,
            commit,
            kernel,
            cores,
            cpu,
            date,
            repetitions,
            median,
            targets,
            leaves_out,
            ..
        } = record;
        Source {
            command,
            figures: median,
            repetitions,
            leaves_out,
            is_older: false,
            met: targets.into_iter().map(|target| (target.name, target.met)).collect(),
            commit,
            date: date.split('T').next().unwrap_or_default().to_owned(),
            machine: format!("{cores} cores of {cpu}, Linux {kernel}"),
        }
    }

    /// Names of figures, and of the demo's, which had no frame around them, as they are now.
    fn older(text: &[u8]) -> Option<Source> {
        let older = serde_json::from_slice(text).or_else(|_| {
            let figures = serde_json::from_slice(text)?;
            serde_json::Result::Ok(Older {
                command_line: "campanile demo".into(),
                figures,
                targets: Vec::new(),
            })
        });
        let older = older.ok()?;
        let mut figures = Figures::default();
        for (name, value) in older.figures.iter() {
            figures.add(today(name), value);
        }
        let words = older.command_line.split(' ').collect::<Vec<_>>();
        let words = words.split(|word| *word == "--json").next().unwrap_or_default();
        Some(Source {
            command: words.join(" "),
            figures,
            repetitions: Vec::new(),
            leaves_out: Vec::new(),
            is_older: true,
            met: older.targets.into_iter().map(|target| (today(&target.figure), target.met)).collect(),
            commit: String::new(),
            date: String::new(),
            machine: String::new(),
        })
    }

    /// Whether `wanted` of a figure was reached, as the run itself has found; what an older one was not asked is seen
    /// from its figure.
    pub(super) fn is_met(&self, name: &str, wanted: Asked) -> anyhow::Result<bool> {
        if let Some((_, met)) = self.met.iter().find(|(figure, _)| figure == name) {
            return Ok(*met);
        }
        let value = self.figures.get(name).filter(|_| self.is_older);
        Ok(wanted.is_met(value.with_context(|| format!("nothing was asked of {name}"))?))
    }

    pub(super) fn measured_on(&self) -> String {
        let (count, commit, date, machine) =
            (self.repetitions.len(), &self.commit, &self.date, &self.machine);
        format!("{count} repetitions with commit {commit} on {date} ({machine})")
    }
}

/// A figure's name when each repetition had its own median.
fn today(name: &str) -> String {
    name.replace("_kill_max_", "_kill_slowest_").replace("_median_", "_")
}
