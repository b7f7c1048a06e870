//! `campanile echo`

use std::net::SocketAddr;

use campanile_engine::DriverChoice;
use clap::Args;

/// The arguments of `campanile echo`.
#[derive(Clone, Debug, Args)]
pub struct EchoArgs {
    /// Where to listen; port 0 lets the kernel choose one
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// auto, uring or epoll
    #[arg(long, default_value_t, value_name = "DRIVER")]
    pub driver: DriverChoice,
    /// How many shards
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: u16,
}
