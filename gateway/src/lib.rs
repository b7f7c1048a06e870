//! The gateway: what the `campanile` binary is made of.

pub mod api;
pub mod capacity;
pub mod cli;
pub mod config;
pub mod counters;
pub mod limits;
pub mod machine;
pub mod mailbox;
pub mod namespaces;
pub mod node;
pub mod shard;
pub mod threads;
pub mod tokens;
