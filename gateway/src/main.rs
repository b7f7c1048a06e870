//! The `campanile` binary.

use std::process::ExitCode;

use campanile::cli::{Cli, Command, check, demo, echo, load, serve, token};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Echo(args) => echo::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Load(args) => return load::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
