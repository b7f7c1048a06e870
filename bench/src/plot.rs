//! `bench plot`: latency against load, of as many servers as have been compared, as an SVG.

mod axis;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::compare::Series;

/// Draws what `bench compare --json` has written: latency against load, both axes logarithmic.
#[derive(Args, Debug)]
pub(crate) struct Plot {
    /// Reports of `bench compare`; one line each
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where the SVG is written
    #[arg(long)]
    out: PathBuf,
    /// Which load
    #[arg(long, default_value = "offered")]
    against: Against,
    /// Written above
    #[arg(long)]
    title: Option<String>,
    /// Latency at which a line is drawn across, in milliseconds
    #[arg(long, default_value_t = 250.0)]
    limit_ms: f64,
}

/// What the horizontal axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// What was published, times the subscribers.
    Offered,
    /// What came.
    Delivered,
}

/// As much of a report as is drawn.
#[derive(Deserialize)]
struct Report {
    series: Series,
}

impl Plot {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        ensure!(self.limit_ms > 0.0 && self.limit_ms.is_finite(), "--limit-ms must be more than 0");
        let series = self.files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
        let title = self.title.clone().unwrap_or_else(|| title(&series));
        let drawing =
            svg::Drawing { title: &title, series: &series, against: self.against, limit_msec: self.limit_ms };
        fs::write(&self.out, drawing.svg()).with_context(|| format!("cannot write {}", self.out.display()))
    }
}

fn read(file: &Path) -> anyhow::Result<Series> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report: Report = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a report of `bench compare --json`", file.display()))?;
    Ok(report.series)
}

/// What all have in common; what differs is named as different.
fn title(series: &[Series]) -> String {
    let common = |of: fn(&Series) -> u64| {
        let first = series.first().map(of);
        if series.iter().all(|one| Some(of(one)) == first) { first } else { None }
    };
    let count =
        |number: Option<u64>| number.map_or("different numbers of".into(), |number| number.to_string());
    let subscribers = count(common(|one| one.subscribers.into()));
    let bytes = count(common(|one| one.payload_bytes as u64));
    format!("One message to {subscribers} subscribers, {bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_something_else_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), r#"{"figures": {}}"#).expect("written");
        let error = format!("{:#}", read(file.path()).expect_err("no series"));
        assert!(error.contains("is not a report of `bench compare"), "{error}");
        assert!(read(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn the_title_says_what_all_have_in_common() {
        let one =
            |subscribers| Series { name: "x".into(), subscribers, payload_bytes: 128, steps: Vec::new() };
        assert_eq!(title(&[one(10), one(10)]), "One message to 10 subscribers, 128 bytes");
        assert_eq!(title(&[one(10), one(20)]), "One message to different numbers of subscribers, 128 bytes");
    }
}
