//! `bench all`: the runs that the documents' figures are from, at sizes that take together about twenty minutes.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use campanile_harness::{Launch, programs};
use clap::Args;

/// Runs one after another and writes each one's figures to the file of its name. Which sizes they have is in their
/// command lines.
#[derive(Args, Debug)]
pub(crate) struct All {
    /// Only these, like fanout,push; some take long and are only done when they are named [default: all others]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// All but these
    #[arg(long, value_delimiter = ',', value_name = "NAMES", conflicts_with = "only")]
    but: Vec<String>,
    /// Times that each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// The folder of the results
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// Only say what there is
    #[arg(long)]
    list: bool,
}

/// The runs: the name of the file, and the arguments of `bench`.
const RUNS: [(&str, &str); 17] = [
    ("demo", "demo"),
    ("fanout", "gateway fanout --rounds 30"),
    ("push", "gateway push --seconds 10"),
    ("connect", "gateway connect"),
    ("hold", "gateway hold --seconds 25"),
    ("hold-one-shard", "gateway hold --connections 15000 --set shards=1 --seconds 25 --no-floor"),
    ("durable", "gateway durable --unpinned --set shards=1 --seconds 4"),
    ("replay", "gateway replay --unpinned --replays 2 --quiet-seconds 5"),
    ("restart", "gateway restart --unpinned"),
    ("ledger", "ledger --cycles 20"),
    ("mailbox-append", "mailbox append --rounds 2 --round-ms 500"),
    ("channel-once", "gateway channel-once --rounds 30"),
    ("channel-sustained", "gateway channel-sustained --seconds 2 --refine 2"),
    ("channel-direct", "gateway channel-direct --seconds 5"),
    ("channel-memory", "gateway channel-memory"),
    ("channel-many", "gateway channel-many --unpinned --seconds 5"),
    ("channel-stalled", "gateway channel-stalled --seconds 5"),
];

/// Runs that take long, and are only done when they are named.
const LONG_RUNS: [(&str, &str); 5] = [
    ("stalled", "gateway stalled --unpinned"),
    ("mailbox-restart", "mailbox restart"),
    ("channel-once-100k", "gateway channel-once --subscribers 100000 --rounds 20"),
    ("channel-direct-100k", "gateway channel-direct --subscribers 99000"),
    (
        "channel-sustained-100k",
        "gateway channel-sustained --subscribers 100000 --unpinned --first-rate 4 --p95-max-ms 1000",
    ),
];

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(3_600);

impl All {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        for name in self.only.iter().chain(&self.but) {
            let is_known = RUNS.iter().chain(&LONG_RUNS).any(|(known, _)| known == name);
            ensure!(is_known, "there is no run {name}: see bench all --list");
        }
        let names = |list: &[String], name: &str| list.iter().any(|one| one == name);
        let is_wanted = |name: &str, is_long: bool| {
            if self.only.is_empty() {
                (self.list || !is_long) && !names(&self.but, name)
            } else {
                names(&self.only, name)
            }
        };
        let short = RUNS.into_iter().filter(|(name, _)| is_wanted(name, false));
        let long = LONG_RUNS.into_iter().filter(|(name, _)| is_wanted(name, true));
        let mut failed = Vec::new();
        for (name, arguments) in short.chain(long) {
            let repeat = self.repeat;
            say(format_args!("==> {name}: bench {arguments} --repeat {repeat}"));
            if self.list {
                continue;
            }
            let start = Instant::now();
            if let Err(error) = self.one(name, arguments) {
                say(format_args!("{name}: {error:#}"));
                failed.push(name);
            }
            say(format_args!("{name} took {:.0} s\n", start.elapsed().as_secs_f64()));
        }
        if failed.is_empty() { Ok(()) } else { bail!("these failed: {}", failed.join(", ")) }
    }

    fn one(&self, name: &str, arguments: &str) -> anyhow::Result<()> {
        let json = self.results.join(format!("{name}.json"));
        let launch = Launch::new(programs::this()?).args(arguments.split_whitespace());
        let launch = launch.arg("--repeat").arg(self.repeat.to_string()).arg("--json").arg(json);
        // What it prints is what people want to read.
        let output = io::stdout();
        let output = rustix::io::dup(&output).context("our output")?;
        launch.stdout(output).asked_to_end().start()?.finish(PATIENCE)
    }
}

/// Whoever does not read it does without, and what is measured goes on.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn every_run_is_a_command_that_is_understood() {
        for (name, arguments) in RUNS.into_iter().chain(LONG_RUNS) {
            let line = format!("bench {arguments} --repeat 3 --json {name}.json");
            let parsed = crate::CommandLine::try_parse_from(line.split_whitespace());
            assert!(
                parsed.is_ok(),
                "{line}: {}",
                parsed.err().map(|error| error.to_string()).unwrap_or_default()
            );
        }
    }

    #[test]
    fn no_run_is_there_twice() {
        let mut names: Vec<&str> = RUNS.iter().chain(&LONG_RUNS).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RUNS.len() + LONG_RUNS.len());
    }
}
