//! What a benchmark found, as a table for people and as JSON for comparison.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Serialize, Serializer};

use crate::compare::Series;

/// Says something on standard error. Where that cannot be written it is lost, and what is measured goes on.
pub(crate) fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The figures of one run, and what they were measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// How to repeat it. The program's path is left out.
    command_line: String,
    /// Release of the running kernel.
    kernel: String,
    /// Model name of the first processor.
    cpu_model: String,
    /// When it was measured (RFC 3339, UTC).
    date: String,
    /// Name, with the unit last, and value, in the order in which they were added.
    #[serde(serialize_with = "as_map")]
    figures: Vec<(String, f64)>,
    /// What was asked for, beside what was reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Target>,
    /// What a server did with more and more load.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Series>,
}

/// A figure that something was asked of.
#[derive(Debug, Serialize)]
struct Target {
    /// The figure's name.
    figure: String,
    /// As `>= 50000`.
    asked: String,
    /// The figure.
    reached: f64,
    /// Whether it is enough.
    met: bool,
}

/// What is asked of a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Report {
    /// An empty report about this machine and this process's command line.
    pub(crate) fn new() -> Self {
        let arguments = std::env::args().skip(1);
        Self {
            command_line: std::iter::once("bench".into()).chain(arguments).collect::<Vec<_>>().join(" "),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu_model: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            date: rfc3339(SystemTime::now()),
            figures: Vec::new(),
            targets: Vec::new(),
            series: None,
        }
    }

    /// Adds a figure of which something is asked. What is not a number is never enough.
    pub(crate) fn add_target(&mut self, name: impl Into<String>, asked: Asked, value: f64) {
        let name = name.into();
        let (asked, met) = match asked {
            Asked::AtLeast(least) => (format!(">= {least}"), value >= least),
            Asked::AtMost(most) => (format!("<= {most}"), value <= most),
        };
        self.add(name.clone(), value);
        self.targets.push(Target { figure: name, asked, reached: value, met });
    }

    /// Adds a figure; `name` ends with its unit.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.figures.push((name.into(), value));
    }

    /// Adds the steps of a load that grows.
    pub(crate) fn set_series(&mut self, series: Series) {
        self.series = Some(series);
    }

    /// Adds median, smallest and largest of `values` as `{name}_median_{unit}` and so on.
    pub(crate) fn add_spread(&mut self, name: &str, unit: &str, values: &[f64]) {
        let spread = Spread::of(values);
        self.add(format!("{name}_median_{unit}"), spread.median);
        self.add(format!("{name}_min_{unit}"), spread.min);
        self.add(format!("{name}_max_{unit}"), spread.max);
    }

    /// Prints the table, and writes the JSON if a place is given.
    pub(crate) fn publish(&self, json: Option<&Path>) -> anyhow::Result<()> {
        if let Err(error) = io::stdout().write_all(self.to_string().as_bytes())
            // Whoever closes the output early has read enough, and whoever has the JSON has everything.
            && error.kind() != io::ErrorKind::BrokenPipe
            && json.is_none()
        {
            return Err(error).context("cannot write the figures");
        }
        if let Some(path) = json {
            let mut text = serde_json::to_string_pretty(self)?;
            text.push('\n');
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.command_line)?;
        writeln!(out, "Linux {}, {}, {}", self.kernel, self.cpu_model, self.date)?;
        let width = self.figures.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.figures {
            let decimals = if value.fract() == 0.0 || value.abs() >= 1000.0 { 0 } else { 2 };
            write!(out, "  {name:width$}  {value:>14.decimals$}")?;
            if let Some(Target { asked, met, .. }) = self.targets.iter().find(|target| target.figure == *name)
            {
                write!(out, "  asked {asked}: {}", if *met { "reached" } else { "NOT REACHED" })?;
            }
            writeln!(out)?;
        }
        match &self.series {
            Some(series) => write!(out, "{series}"),
            None => Ok(()),
        }
    }
}

/// Median, smallest and largest of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value; of none, everything is NaN.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
        } else {
            at(middle)
        };
        Self { median, min: at(0), max: at(sorted.len().wrapping_sub(1)) }
    }
}

fn as_map<S: Serializer>(figures: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(figures.iter().map(|(name, value)| (name, value)))
}

fn cpu_model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map_or_else(|| "unknown processor".into(), |(_, model)| model.trim().into())
}

/// Date and time in UTC to the second. The days are turned into a date as in Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms": years start in March, so that the leap day is their last.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_right_around_leap_days() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_median_of_an_even_series_lies_between_the_middle_two() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of(&[3.0, 9.0, 1.0]).median, 3.0);
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn what_was_asked_stands_beside_what_was_reached() {
        let mut report = Report::new();
        report.add_target("fast_per_second", Asked::AtLeast(10.0), 10.0);
        report.add_target("late_msec", Asked::AtMost(5.0), 5.5);
        report.add_target("unknown_msec", Asked::AtMost(5.0), f64::NAN);
        assert_eq!(report.targets.iter().map(|target| target.met).collect::<Vec<_>>(), [true, false, false]);
        let table = report.to_string();
        assert!(
            table.contains("asked >= 10: reached") && table.contains("asked <= 5: NOT REACHED"),
            "{table}"
        );
        let json = serde_json::to_value(&report).expect("a report can be written");
        assert_eq!(json["targets"][1]["met"], false);
        assert_eq!(json["figures"]["late_msec"], 5.5);
    }

    #[test]
    fn figures_keep_their_order_in_json() {
        let mut report = Report::new();
        report.add("zebras", 1.0);
        report.add("ants", 2.5);
        let json = serde_json::to_string(&report).expect("a report can be written");
        assert!(json.contains(r#""figures":{"zebras":1.0,"ants":2.5}"#), "{json}");
    }
}
