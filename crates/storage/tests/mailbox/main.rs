//! The embedded store: its contract, and what it survives.

mod contract;
mod damage;
mod expiry;
mod fragile;
mod kill;
mod old;
mod room;
mod support;
mod thread;
