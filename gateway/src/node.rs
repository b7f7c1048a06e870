//! A node's life: start, serve, drain, stop.

mod process;
mod status;

pub use self::process::ProcessUsage;
pub use self::status::{NodeStatus, Phase};
