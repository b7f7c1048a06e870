//! The command line.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::early::Early;

/// Prints what a command was run for.
///
/// # Errors
/// [`Early::Unread`], or why it cannot be written.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Early::Unread.into()),
        result => result.context("cannot write to standard output"),
    }
}

/// An edge push gateway: holds every device's WebSocket and pushes messages to it.
#[derive(Debug, Parser)]
#[command(name = "campanile", version, about)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a gateway
    Serve(crate::serve::ServeArgs),
    /// Print tokens for devices
    Token(crate::token::TokenArgs),
    /// Print what this machine allows, how many connections that makes, and what to change
    Check(crate::check::CheckArgs),
    /// Start a gateway and virtual devices, push to them, and print how long it took
    Demo(crate::demo::DemoArgs),
    /// Send every WebSocket message back, without authentication (for conformance suites and comparisons)
    Echo(crate::echo::EchoArgs),
    /// Put a gateway on this machine under load, and say how long messages took and whether all arrived: campanile-load
    Load(Box<campanile_load::cli::Cli>),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_commands_are_understood() {
        for line in [
            "campanile serve --listen 127.0.0.1:8080 --api-listen 127.0.0.1:8081 --admin-listen 127.0.0.1:8082 \
             --devices-listen 127.0.0.1:8083 --shards 2 --driver epoll --jwt-hs256-file F --api-key-file F \
             --data-dir D --config F --max-connections 5 --log debug",
            "campanile serve",
            "campanile token --jwt-hs256-file F --user U --device 1 --count 3 --ttl-seconds 60",
            "campanile token --eddsa-key F --user U --device 1",
            "campanile check --json --max-connections 5",
            "campanile demo --devices 10 --seconds 1 --json F",
            "campanile echo --listen 127.0.0.1:0 --driver uring",
            "campanile load --connections 5 --rate 10",
        ] {
            Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn every_command_has_its_help_and_its_place_in_the_pages() {
        let page = include_str!("../../docs/operations.md");
        let commands = Cli::command();
        let names: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).collect();
        assert!(names.contains(&"load"), "{names:?}");
        assert!(commands.get_subcommands().all(|command| !command.is_hide_set()));
        for name in names {
            for line in [format!("campanile help {name}"), format!("campanile {name} --help")] {
                let shown = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
                assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayHelp, "{line}");
            }
            assert!(page.contains(&format!("| `campanile {name}` |")), "{name} is in no page");
        }
    }

    #[test]
    fn every_flag_has_its_place_in_the_pages() {
        let (load, others) = (
            include_str!("../../docs/load-testing.md"),
            [
                include_str!("../../docs/operations.md"),
                include_str!("../../docs/api.md"),
                include_str!("../../docs/channels.md"),
            ]
            .concat(),
        );
        for command in Cli::command().get_subcommands() {
            let page = if command.get_name() == "load" { load } else { &others };
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                let named =
                    |next: [char; 5]| next.iter().any(|next| page.contains(&format!("--{flag}{next}")));
                assert!(named([' ', '`', '=', '\n', ',']), "{}: --{flag} is in no page", command.get_name());
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "campanile",
            "campanile serv",
            "campanile load --anything",
            "campanile serve --driver kqueue",
            "campanile serve --listen nonsense",
            "campanile token --user U --device 1",
            "campanile token --jwt-hs256-file F --eddsa-key F --user U --device 1",
            "campanile token --jwt-hs256-file F --user U --device 0",
            "campanile token --jwt-hs256-file F --user U --device 1 --count 0",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
