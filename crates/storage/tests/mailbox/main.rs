//! The embedded store: its contract, and what it survives.
#![allow(clippy::print_stdout, reason = "failures say with which seed, and processes talk to each other")]

mod contract;
mod damage;
mod expiry;
mod fragile;
mod kill;
mod old;
mod room;
mod support;
mod thread;
