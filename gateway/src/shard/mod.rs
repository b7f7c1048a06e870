//! The core of the gateway.

pub mod counters;
pub mod link;
pub mod requests;
