//! What benchmarks found: a [`Findings`] of each repetition, and the [`Record`] of all that is printed and kept as
//! JSON.

mod figures;
mod targets;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

pub(crate) use self::figures::{Figures, Spread};
pub(crate) use self::targets::Asked;
use self::targets::{Target, Wanted};
use crate::compare::Series;

/// What of a file's name in `results/` is not part of how to repeat a run.
const NOT_REPEATED: [&str; 3] = ["--json", "--gateway", "--other"];

/// Says something on standard error. Where that cannot be written it is lost, and what is measured goes on.
pub(crate) fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// How often something is measured, and where the figures go.
#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// Times that everything is measured; the median is what counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What one repetition found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    figures: Figures,
    wanted: Vec<Wanted>,
    leaves_out: Vec<String>,
    series: Option<Series>,
    /// What must not have happened.
    failures: Vec<String>,
}

impl Findings {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a figure; `name` ends with its unit.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.figures.add(name, value);
    }

    /// Adds a figure whose median something is asked of. What is not a number is never enough.
    pub(crate) fn add_target(&mut self, name: impl Into<String>, asked: Asked, value: f64) {
        let name = name.into();
        self.add(name.clone(), value);
        self.wanted.push(Wanted { name, asked, always: false, limits: Vec::new() });
    }

    /// Adds a figure that something is asked of in every repetition: what is promised, not what is fast.
    pub(crate) fn add_promise(&mut self, name: impl Into<String>, asked: Asked, value: f64) {
        let name = name.into();
        self.add(name.clone(), value);
        self.wanted.push(Wanted { name, asked, always: true, limits: Vec::new() });
    }

    /// Of the figure that was asked for last: it only counts where this one keeps its own limit.
    pub(crate) fn limit(&mut self, name: &str, asked: Asked) {
        if let Some(wanted) = self.wanted.last_mut() {
            wanted.limits.push((name.into(), asked));
        }
    }

    /// Adds median, smallest and largest of `values` as `{name}_median_{unit}` and so on.
    pub(crate) fn add_spread(&mut self, name: &str, unit: &str, values: &[f64]) {
        let spread = Spread::of(values);
        self.add(format!("{name}_median_{unit}"), spread.median);
        self.add(format!("{name}_min_{unit}"), spread.min);
        self.add(format!("{name}_max_{unit}"), spread.max);
    }

    /// Adds the steps of a load that grows.
    pub(crate) fn set_series(&mut self, series: Series) {
        self.series = Some(series);
    }

    /// Says what the figures do not show.
    pub(crate) fn leaves_out(&mut self, what: impl Into<String>) {
        self.leaves_out.push(what.into());
    }

    /// The whole run fails, once its figures are published, unless this holds.
    pub(crate) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(otherwise());
        }
    }
}

impl Output {
    /// Where nothing is repeated.
    #[cfg(test)]
    pub(crate) fn once() -> Self {
        Self { repeat: 1, json: None }
    }

    /// Measures as often as asked, prints the figures, and writes them if a place is given.
    ///
    /// # Errors
    /// When one of the repetitions fails, or found what must not be.
    pub(crate) fn measure(&self, mut once: impl FnMut() -> anyhow::Result<Findings>) -> anyhow::Result<()> {
        let (mut record, mut failures) = (Record::new(std::env::args().skip(1)), Vec::new());
        let mut wanted = Vec::new();
        for repetition in 1..=self.repeat {
            let mut findings =
                once().with_context(|| format!("repetition {repetition} of {}", self.repeat))?;
            failures.append(&mut findings.failures);
            wanted = std::mem::take(&mut findings.wanted);
            record.add(findings);
        }
        record.conclude(&wanted);
        record.publish(self.json.as_deref())?;
        if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
    }
}

/// What all repetitions of one command found, and what they were measured on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// How to repeat it. The program's path is left out, and where the figures go.
    pub(crate) command: String,
    /// The commit that was measured, with a `+` if there were changes beyond it.
    pub(crate) commit: String,
    /// Release of the running kernel.
    pub(crate) kernel: String,
    /// Cores that the benchmark could use.
    pub(crate) cores: usize,
    /// Model name of the first processor.
    pub(crate) cpu: String,
    /// When it was measured (RFC 3339, UTC).
    pub(crate) date: String,
    /// The figures of each repetition; their names end with their units.
    pub(crate) repetitions: Vec<Figures>,
    /// Of each figure the median over the repetitions.
    pub(crate) median: Figures,
    /// What was asked for, beside what was reached.
    pub(crate) targets: Vec<Target>,
    /// What the figures do not show.
    pub(crate) leaves_out: Vec<String>,
    /// What a server did with more and more load, in the first repetition that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) series: Option<Series>,
}

impl Record {
    /// An empty record about this machine, for these arguments of `bench`.
    pub(crate) fn new(arguments: impl Iterator<Item = String>) -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            command: command(arguments),
            commit: commit(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cores: cores(&processors),
            cpu: cpu_model(&processors),
            date: rfc3339(SystemTime::now()),
            repetitions: Vec::new(),
            median: Figures::default(),
            targets: Vec::new(),
            leaves_out: Vec::new(),
            series: None,
        }
    }

    fn add(&mut self, findings: Findings) {
        self.repetitions.push(findings.figures);
        for what in findings.leaves_out {
            if !self.leaves_out.contains(&what) {
                self.leaves_out.push(what);
            }
        }
        self.series = self.series.take().or(findings.series);
    }

    fn conclude(&mut self, wanted: &[Wanted]) {
        self.median = figures::median(&self.repetitions);
        self.targets = wanted.iter().map(|wanted| wanted.judge(&self.repetitions)).collect();
    }

    /// Reads what a benchmark has written.
    ///
    /// # Errors
    /// When it cannot be read, or is of an older form.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no record", path.display()))
    }

    /// Prints the table, and writes the JSON if a place is given.
    fn publish(&self, json: Option<&Path>) -> anyhow::Result<()> {
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

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, commit, kernel, cores, cpu, date, .. } = self;
        writeln!(out, "{command}")?;
        writeln!(out, "commit {commit}, Linux {kernel}, {cores} cores of {cpu}, {date}")?;
        let width = self.median.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in self.median.iter() {
            write!(out, "  {name:width$}  {:>14}", figures::shown(value))?;
            let all: Vec<f64> = self.repetitions.iter().filter_map(|figures| figures.get(name)).collect();
            if all.iter().any(|&one| one != value) {
                let all: Vec<String> = all.into_iter().map(figures::shown).collect();
                write!(out, "  of {}", all.join(", "))?;
            }
            if let Some(target) = self.targets.iter().find(|target| target.name == name) {
                let met = if target.met { "reached" } else { "NOT REACHED" };
                write!(out, "  asked {}: {met}", target.wanted)?;
            }
            writeln!(out)?;
        }
        for what in &self.leaves_out {
            writeln!(out, "  not shown: {what}")?;
        }
        match &self.series {
            Some(series) => write!(out, "{series}"),
            None => Ok(()),
        }
    }
}

/// The command line without what differs from place to place.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["bench".to_owned()];
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if NOT_REPEATED.contains(&argument.as_str()) {
            arguments.next();
        } else if !NOT_REPEATED.iter().any(|name| argument.starts_with(&format!("{name}="))) {
            words.push(argument);
        }
    }
    words.join(" ")
}

/// The commit of the source that this program was built from. What benchmarks themselves write does not count as a
/// change.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let output = git.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changes =
        git(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/results", ":!/*.md"]);
    if changes.is_none_or(|changes| changes.is_empty()) { commit } else { commit + "+" }
}

/// The machine's cores, also when this process keeps to one of them.
fn cores(cpuinfo: &str) -> usize {
    cpuinfo.lines().filter(|line| line.starts_with("processor")).count()
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
    fn a_command_says_how_to_repeat_it_and_not_where() {
        let line = "gateway push --json results/push.json --rate 7 --gateway=/somewhere/campanile --unpinned";
        let words = line.split(' ').map(str::to_owned);
        assert_eq!(command(words), "bench gateway push --rate 7 --unpinned");
    }

    fn repetitions(each: &[(f64, f64)]) -> Record {
        let mut record = Record::new(std::iter::empty());
        let mut wanted = Vec::new();
        for &(rate, lost) in each {
            let mut findings = Findings::new();
            findings.add_target("fast_per_second", Asked::AtLeast(10.0), rate);
            findings.add_promise("lost", Asked::AtMost(0.0), lost);
            findings.leaves_out("the weather");
            wanted = std::mem::take(&mut findings.wanted);
            record.add(findings);
        }
        record.conclude(&wanted);
        record
    }

    #[test]
    fn the_median_counts_for_speed_and_every_repetition_for_a_promise() {
        let met = |each| repetitions(each).targets.iter().map(|target| target.met).collect::<Vec<_>>();
        assert_eq!(met(&[(9.0, 0.0), (10.0, 0.0), (30.0, 0.0)]), [true, true]);
        assert_eq!(met(&[(9.0, 0.0), (9.5, 1.0), (30.0, 0.0)]), [false, false]);
        assert_eq!(met(&[(f64::NAN, f64::NAN)]), [false, false]);
        let record = repetitions(&[(9.0, 0.0), (12.0, 3.0), (30.0, 0.0)]);
        assert_eq!((record.targets[1].reached, record.median.get("lost")), (3.0, Some(0.0)));
        assert_eq!(record.leaves_out, ["the weather"]);
        let table = record.to_string();
        assert!(table.contains("of 9, 12, 30") && table.contains("asked >= 10: reached"), "{table}");
        assert!(table.contains("asked <= 0 in every repetition: NOT REACHED"), "{table}");
    }

    #[test]
    fn a_figure_that_broke_its_own_limit_is_not_reached() {
        let judge = |p95: f64| {
            let mut findings = Findings::new();
            findings.add("p95_msec", p95);
            findings.add_target("frames_per_second", Asked::AtLeast(8.0), 11.0);
            findings.limit("p95_msec", Asked::AtMost(250.0));
            let wanted = std::mem::take(&mut findings.wanted);
            let mut record = Record::new(std::iter::empty());
            record.add(findings);
            record.conclude(&wanted);
            record.targets.remove(0)
        };
        assert!(judge(250.0).met && !judge(618.0).met && !judge(f64::NAN).met);
        assert_eq!(judge(1.0).wanted, ">= 8 with p95_msec <= 250");
    }

    #[test]
    fn the_cores_are_those_of_the_machine() {
        let of = |number| format!("processor\t: {number}\nmodel name\t: AMD EPYC\n\n");
        let processors = of(0) + &of(1);
        assert_eq!((cores(&processors), cpu_model(&processors).as_str()), (2, "AMD EPYC"));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = repetitions(&[(9.0, 0.0), (f64::NAN, 3.0)]);
        let text = serde_json::to_string(&record).expect("a record can be written");
        let again: Record = serde_json::from_str(&text).expect("and read");
        assert_eq!(serde_json::to_string(&again).expect("and written"), text);
        assert!(again.repetitions[1].get("fast_per_second").is_some_and(f64::is_nan), "{text}");
    }

    #[test]
    fn a_run_that_found_what_must_not_be_fails_after_its_figures() {
        let lossy = || {
            let mut findings = Findings::new();
            findings.add("lost", 2.0);
            findings.must(false, || "2 were lost".into());
            Ok(findings)
        };
        let error = Output::once().measure(lossy).expect_err("something was lost").to_string();
        assert_eq!(error, "2 were lost");
    }
}
