//! What a scenario file has come to.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Scenarios;
use crate::measured::Measured;
use crate::report::Report;
use crate::run::Finished;
use crate::thresholds::Checked;

/// The results of a scenario file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// The file.
    pub scenario_file: String,
    /// The run was ended by a signal.
    pub interrupted: bool,
    /// What was asked of the figures, and what was measured.
    pub thresholds: Vec<Checked>,
    /// What each scenario has found, by name. `process` is of all of them together.
    pub scenarios: BTreeMap<String, Report>,
}

impl RunReport {
    /// Puts together what the scenarios have found, and checks the thresholds.
    pub fn new(
        scenario_file: String,
        scenarios: &Scenarios,
        finished: &BTreeMap<String, Finished>,
    ) -> RunReport {
        let mut all = Measured::default();
        finished.values().for_each(|finished| all.merge(&finished.measured));
        let measured = |scenario: Option<&str>| match scenario {
            Some(name) => finished.get(name).map_or(&all, |finished| &finished.measured),
            None => &all,
        };
        let check =
            |threshold: &crate::thresholds::Threshold| threshold.check(measured(threshold.key.scenario()));
        RunReport {
            scenario_file,
            interrupted: finished.values().any(|finished| finished.report.interrupted),
            thresholds: scenarios.thresholds.iter().map(check).collect(),
            scenarios: finished
                .iter()
                .map(|(name, finished)| (name.clone(), finished.report.clone()))
                .collect(),
        }
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, report) in &self.scenarios {
            writeln!(f, "{:<18} {name}\n{report}", "SCENARIO")?;
        }
        for checked in &self.thresholds {
            writeln!(f, "{:<18} {} {checked}", "threshold", checked.sign())?;
        }
        Ok(())
    }
}
