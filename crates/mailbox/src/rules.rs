//! Rules that need no storage: what is decided from what is known, for the store to write down.

pub mod devices;
pub mod queue;
