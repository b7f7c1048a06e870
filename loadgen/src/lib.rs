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
//! - A run in which nothing worked does not end as if all were well ([`verdict`]).
#![forbid(unsafe_code)]

pub mod audience;
pub mod channels;
pub mod console;
pub mod credentials;
pub mod fleet;
pub mod ledger;
pub mod measured;
pub mod near;
pub mod options;
pub mod outputs;
pub mod payload;
pub mod process;
pub mod progress;
pub mod publish;
pub mod quantity;
pub mod refusal;
pub mod report;
pub mod roster;
pub mod run;
pub mod saturation;
pub mod schedule;
pub mod shards;
pub mod stats;
pub mod thresholds;
pub mod verdict;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::options::Options;
use crate::outputs::Outputs;
use crate::report::Report;
use crate::verdict::{Code, Reason, Verdict};

/// The command line; the first argument is the program's name. Prints the table to standard output, progress and
/// errors to standard error.
///
/// Exit codes: 0 all is well; otherwise one of [`Code`].
pub fn main_from(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match Options::try_parse_from(arguments) {
        Ok(options) => main_with(options),
        Err(error) => not_understood(&error),
    }
}

/// Says why a command line was not understood, or shows the help that it asks for, and gives the exit code.
pub fn not_understood(error: &clap::Error) -> ExitCode {
    // Help goes to standard output and is no error. Where nothing can be printed, nothing can be said.
    let _ = error.print();
    if error.use_stderr() { Code::Arguments.into() } else { ExitCode::SUCCESS }
}

/// Does what the options say, once they have been read. Prints and ends as [`main_from`].
pub fn main_with(options: Options) -> ExitCode {
    verdict_of(options).end()
}

/// Does what the options say, prints and writes what was found, and judges it.
pub fn verdict_of(options: Options) -> Verdict {
    let plan = match options.plan() {
        Ok(plan) => plan,
        Err(problem) => return Verdict::only(Reason::Arguments(problem)),
    };
    let outputs = match Outputs::open(&plan.options) {
        Ok(outputs) => outputs,
        Err(problem) => return Verdict::only(Reason::CannotWrite(problem)),
    };
    let finished = match run::run(&plan) {
        Ok(finished) => finished,
        Err(problem) => return Verdict::only(Reason::CannotRun(problem)),
    };
    let mut verdict = Verdict::of(&finished, plan.options.fail_on_loss);
    // What is kept is written first: whoever reads the table may take their time.
    for written in [outputs.write_report(&finished.report), outputs.write_samples(&finished.samples)] {
        if let Err(problem) = written {
            verdict.add(Reason::CannotWrite(problem));
        }
    }
    if !plan.options.quiet
        && let Err(problem) = show(&finished.report, &outputs)
    {
        verdict.add(Reason::CannotWrite(problem));
    }
    verdict
}

/// Prints the table. That it cannot be printed matters only to those who have nothing else.
fn show(report: &Report, outputs: &Outputs) -> Result<(), String> {
    let table = report.to_string();
    if outputs.take_stdout() {
        console::last_words(table.trim_end());
        return Ok(());
    }
    match console::results(&table) {
        Err(error) if !outputs.has_report() => Err(format!("cannot write the results: {error}")),
        _ => Ok(()),
    }
}
