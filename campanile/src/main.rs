//! The `campanile` binary.

mod check;
mod cli;
mod demo;
mod early;
mod echo;
mod log;
mod serve;
mod token;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::early::Early;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // The load generator has exit codes of its own, for its arguments too.
        Err(error) if std::env::args_os().nth(1).is_some_and(|command| command == "load") => {
            return campanile_load::not_understood(&error);
        }
        Err(error) => error.exit(),
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Echo(args) => echo::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Load(cli) => return campanile_load::main_with(*cli),
    };
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Early>() {
            Some(early) => early.exit_code(),
            None => {
                log::say_error(&error);
                ExitCode::FAILURE
            }
        },
    };
    campanile_telemetry::log::flush();
    code
}
