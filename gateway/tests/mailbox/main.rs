//! The mailbox: its contract, and what it survives.

mod model;
mod properties;
