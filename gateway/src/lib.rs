//! The gateway: what the `campanile` binary is made of.

pub mod limits;
pub mod shard;
pub mod threads;
pub mod tokens;
