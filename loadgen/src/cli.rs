//! The command line: a run that is all options, or a scenario file.

use std::path::PathBuf;
use std::time::Duration;

use campanile_engine::DriverChoice;
use clap::{Args, Parser, Subcommand};

use crate::options::Options;
use crate::quantity;
use crate::scenario::Overrides;
use crate::scenario::expand::variable;
use crate::thresholds::Threshold;

/// Puts a server on this machine under load, and says how long messages took and whether all arrived: by options, or as
/// a scenario file has it.
#[derive(Clone, Debug, Parser)]
#[command(name = "campanile-load", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// A run that is all options
    #[command(flatten)]
    pub options: Options,
    /// What to do with a scenario file
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do with a scenario file.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a scenario file
    Run(RunArgs),
    /// Say what a scenario file would do: devices, ports, memory, length, messages, thresholds
    Check(ScenarioArgs),
}

/// A scenario file, and what is changed about it.
#[derive(Clone, Debug, Args)]
pub struct ScenarioArgs {
    /// The scenario file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What a variable of the scenario stands for. Repeatable
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// How many devices there are at most; every number of devices and users is scaled to it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub vus: Option<u32>,
    /// How long the stages take; every time in the scenario is scaled to it
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub duration: Option<Duration>,
}

impl ScenarioArgs {
    /// What the command line changes about the file.
    pub fn overrides(&self) -> Overrides {
        Overrides { variables: self.variables.clone(), devices: self.vus, duration: self.duration }
    }
}

/// How a scenario file is run.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The scenario
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    /// Fails (exit code 99) if a figure is not as is asked, beside the thresholds of the file. Repeatable
    #[arg(long, value_name = "METRIC=EXPRESSION")]
    pub threshold: Vec<Threshold>,
    /// Fails (exit code 99) if a device could not connect or was disconnected, or a message was lost
    #[arg(long)]
    pub fail_on_loss: bool,
    /// Also writes the results to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// auto, uring or epoll
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    pub driver: DriverChoice,
    /// No progress lines and no table
    #[arg(long)]
    pub quiet: bool,
}
