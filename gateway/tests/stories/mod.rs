//! What the shards promise, one story each.

mod backpressure;
mod delivery;
mod drain;
mod edge;
mod handshake;
mod mailbox;
mod sessions;
mod turns;
