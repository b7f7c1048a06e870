//! The mailbox: its contract, and what it survives.

mod damage;
mod executor;
mod expiry;
mod kill;
mod model;
mod old;
mod properties;
mod room;
mod support;
