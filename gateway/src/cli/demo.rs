//! `campanile demo`

use std::path::PathBuf;

use clap::Args;

/// The arguments of `campanile demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Virtual devices to connect
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub devices: u32,
    /// How long to push
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
