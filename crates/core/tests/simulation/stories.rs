//! What the shards promise, one story each.

mod backpressure;
mod channels;
mod delivery;
mod drain;
mod edge;
mod handshake;
mod mailbox;
mod names;
mod sessions;
mod turns;
