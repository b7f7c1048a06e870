//! The load generator: virtual devices that connect to a gateway on this machine, publishers that push to them at a
//! steady rate, and the evidence of what arrived, when, and whether only once.
//!
//! A run has one control thread ([`run`]), shards of devices ([`fleet`], on the same engine as the gateway) and one
//! thread of publishers ([`publish`]). What always holds:
//! - Only loopback addresses are put under load.
//! - When a message is due is decided before the run; nothing that the gateway does can move it. Latency is measured
//!   from then, so a stall of the gateway is seen by every message that fell into it.
//! - What is reported as lost, duplicated or astray is known message by message and device by device ([`ledger`]),
//!   not from totals.
#![forbid(unsafe_code)]

pub mod audience;
pub mod channels;
pub mod credentials;
pub mod fleet;
pub mod ledger;
pub mod options;
pub mod payload;
pub mod process;
pub mod progress;
pub mod publish;
pub mod report;
pub mod run;
pub mod schedule;
pub mod shards;
pub mod stats;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::options::Options;

/// Exit code of a run that could not begin or go on.
const CANNOT_RUN: u8 = 3;
/// Exit code of a command line that makes no sense.
const USAGE: u8 = 2;
/// Exit code of a run that is not as it was to be.
const LOSS: u8 = 1;

/// The command line; the first argument is the program's name. Prints the table to standard output, progress and
/// errors to standard error.
///
/// Exit codes: 0 the run took place; 1 a subscriber had a message twice, out of order, or not at all without being told,
/// or a threshold was exceeded, or, with `--fail-on-loss`, something was lost, failed or disconnected; 2 the arguments
/// make no sense; 3 the run could not take place.
pub fn main_from(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match Options::try_parse_from(arguments) {
        Ok(options) => main_with(options),
        Err(error) => {
            // Help goes to standard output and is no error. Where nothing can be printed, nothing can be said.
            let _ = error.print();
            if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS }
        }
    }
}

/// Does what the options say, once they have been read. Prints and ends as [`main_from`].
pub fn main_with(options: Options) -> ExitCode {
    let plan = match options.plan() {
        Ok(plan) => plan,
        Err(problem) => return complain(&problem, USAGE),
    };
    let report = match run::run(&plan) {
        Ok(report) => report,
        Err(problem) => return complain(&problem, CANNOT_RUN),
    };
    if !plan.options.quiet
        && let Err(error) = io::stdout().write_all(report.to_string().as_bytes())
        // Whoever closes the output early has read enough, and whoever has the JSON has everything.
        && error.kind() != io::ErrorKind::BrokenPipe
        && plan.options.json.is_none()
    {
        return complain(&format!("cannot write the results: {error}"), CANNOT_RUN);
    }
    if let Some(file) = &plan.options.json {
        let json = serde_json::to_string_pretty(&report).map(|json| json + "\n");
        let written = json.map_err(io::Error::from).and_then(|json| std::fs::write(file, json));
        if let Err(error) = written {
            return complain(&format!("cannot write {}: {error}", file.display()), CANNOT_RUN);
        }
    }
    let good = report.is_acceptable() && (!plan.options.fail_on_loss || report.is_flawless());
    if good { ExitCode::SUCCESS } else { LOSS.into() }
}

/// Says what is wrong, where anybody can hear it, and gives the exit code.
fn complain(problem: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {problem}");
    code.into()
}
