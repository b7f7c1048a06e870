//! The core of the gateway: shards, which hold connections, know who is behind each, and get messages to them.
//!
//! A [`Shard`] is a state machine without I/O. Its parts are rooms with a state of their own, each in a folder of its
//! name: `net` (connections and their sockets), `entry` (from the accept to the session), `users` (what is decided in
//! one place for a user), `delivery` (what one session is owed), `channels`, `control` (the control plane's requests),
//! `store` (the port's client). [`Shard`] says in which order they have their turn, and tells them of each other's
//! endings.

mod channels;
mod compression;
mod control;
pub mod counters;
mod delivery;
mod entry;
pub mod hashing;
pub mod inbox;
pub mod invariants;
pub mod lanes;
pub mod limits;
pub mod names;
pub mod namespaces;
mod net;
pub mod placement;
pub mod publish;
pub mod push;
mod refused;
pub mod requests;
mod seam;
mod session;
pub mod settings;
mod shard;
mod store;
mod table;
#[cfg(test)]
mod testing;
pub mod tokens;
mod turn;
mod users;

#[doc(hidden)]
pub use self::channels::check::Following;
pub use self::entry::client::Client;
pub use self::shard::{Shard, ShardParts};
pub use self::store::NUMBERS_PER_RANGE;
