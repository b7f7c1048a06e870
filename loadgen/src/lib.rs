//! The load generator: virtual devices that connect to a gateway on this machine, publishers that push to them at a
//! steady rate, and the evidence of what arrived, when, and whether only once.
//!
//! A run has one control thread ([`mod@run`]), shards of devices ([`fleet`], on the same engine as the gateway) and one
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
pub mod cli;
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
pub mod scenario;
pub mod schedule;
pub mod shards;
pub mod stages;
pub mod stats;
pub mod thresholds;
pub mod verdict;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, RunArgs, ScenarioArgs};
use crate::options::Options;
use crate::outputs::Outputs;
use crate::run::{Finished, run};
use crate::scenario::{RunReport, Scenario, Scenarios};
use crate::verdict::{Code, Reason, Verdict};

/// The command line; the first argument is the program's name. Prints the table to standard output, progress and
/// errors to standard error.
///
/// Exit codes: 0 all is well; otherwise one of [`Code`].
pub fn main_from(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => main_with(cli),
        Err(error) => not_understood(&error),
    }
}

/// Says why a command line was not understood, or shows the help that it asks for, and gives the exit code.
pub fn not_understood(error: &clap::Error) -> ExitCode {
    // Help goes to standard output and is no error. Where nothing can be printed, nothing can be said.
    let _ = error.print();
    if error.use_stderr() { Code::Arguments.into() } else { ExitCode::SUCCESS }
}

/// Does what the command line says, once it has been read. Prints and ends as [`main_from`].
pub fn main_with(cli: Cli) -> ExitCode {
    let verdict = match &cli.command {
        None => verdict_of(cli.options),
        Some(Command::Run(arguments)) => run_file(arguments),
        Some(Command::Check(arguments)) => check_file(arguments),
    };
    verdict.end()
}

/// Says what a scenario file would do.
pub fn check_file(arguments: &ScenarioArgs) -> Verdict {
    match scenario::load(&arguments.file, &arguments.overrides()) {
        Ok(scenarios) => match console::results(&scenarios.to_string()) {
            Ok(()) => Verdict::default(),
            Err(error) => Verdict::only(Reason::CannotWrite(format!("cannot write what it does: {error}"))),
        },
        Err(problem) => Verdict::only(Reason::Arguments(problem)),
    }
}

/// Runs a scenario file, prints and writes what was found, and judges it.
pub fn run_file(arguments: &RunArgs) -> Verdict {
    let mut scenarios = match scenario::load(&arguments.scenario.file, &arguments.scenario.overrides()) {
        Ok(scenarios) => scenarios,
        Err(problem) => return Verdict::only(Reason::Arguments(problem)),
    };
    scenarios.thresholds.extend(arguments.threshold.iter().cloned());
    if let Err(problem) = scenarios.check_thresholds() {
        return Verdict::only(Reason::Arguments(problem));
    }
    for scenario in &mut scenarios.scenarios {
        scenario.plan.options.quiet = arguments.quiet;
        scenario.plan.options.driver = arguments.driver;
    }
    let outputs = match Outputs::open(arguments.json.as_deref(), None) {
        Ok(outputs) => outputs,
        Err(problem) => return Verdict::only(Reason::CannotWrite(problem)),
    };
    let finished = match run_all(&scenarios) {
        Ok(finished) => finished,
        Err(problem) => return Verdict::only(Reason::CannotRun(problem)),
    };
    let report = RunReport::new(arguments.scenario.file.display().to_string(), &scenarios, &finished);
    let mut verdict = Verdict::of_scenarios(&report, &finished, arguments.fail_on_loss);
    let written = outputs.write_report(&report);
    let shown = if arguments.quiet { Ok(()) } else { show(&report, &outputs) };
    for problem in [written, shown].into_iter().filter_map(Result::err) {
        verdict.add(Reason::CannotWrite(problem));
    }
    verdict
}

/// Runs all scenarios at once, each on threads of its own.
fn run_all(scenarios: &Scenarios) -> Result<BTreeMap<String, Finished>, String> {
    std::thread::scope(|scope| {
        let start = |scenario: &'_ Scenario| {
            let (name, plan) = (scenario.name.clone(), scenario.plan.clone());
            (name, scope.spawn(move || run(&plan)))
        };
        let threads: Vec<_> = scenarios.scenarios.iter().map(start).collect();
        let ends = threads.into_iter().map(|(name, thread)| {
            let finished = thread.join().unwrap_or_else(|_| Err("its thread has panicked".into()));
            finished
                .map(|finished| (name.clone(), finished))
                .map_err(|problem| format!("scenario.{name}: {problem}"))
        });
        ends.collect()
    })
}

/// Does what the options say, prints and writes what was found, and judges it.
pub fn verdict_of(options: Options) -> Verdict {
    let plan = match options.plan() {
        Ok(plan) => plan,
        Err(problem) => return Verdict::only(Reason::Arguments(problem)),
    };
    let outputs = match Outputs::open(plan.options.json.as_deref(), plan.options.samples.as_deref()) {
        Ok(outputs) => outputs,
        Err(problem) => return Verdict::only(Reason::CannotWrite(problem)),
    };
    let finished = match run(&plan) {
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
fn show(report: &impl fmt::Display, outputs: &Outputs) -> Result<(), String> {
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
