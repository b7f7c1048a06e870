//! The gateway: what the `campanile` binary is made of.

pub mod api;
pub mod capacity;
pub mod config;
pub mod host_limits;
pub mod node;
pub mod panics;
pub mod shards;
pub mod status;
pub mod threads;
