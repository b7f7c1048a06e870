//! `campanile load`: the load generator, so that the demo needs one binary only.

use std::ffi::OsString;

use clap::Args;

/// The arguments of `campanile load`, which the load generator reads itself.
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct LoadArgs {
    /// The load generator's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// Runs the load generator.
pub(crate) fn run(args: &LoadArgs) -> std::process::ExitCode {
    let name = OsString::from("campanile load");
    campanile_load::main_from(std::iter::once(name).chain(args.args.iter().cloned()))
}
