//! The mailbox: its contract, and what it survives.
#![allow(clippy::print_stdout, reason = "what a failed test has printed says how to repeat it")]

mod damage;
mod executor;
mod expiry;
mod kill;
mod model;
mod old;
mod properties;
mod room;
mod support;
