//! Durable queues, as the rest of the gateway sees them: what waits for each device, who a user's devices are, and
//! which numbers have been given out.
//!
//! A store is asked through a [`Port`](operations::Port): [operations](operations::Operation) go in,
//! [completions](operations::Completion) come out, and nobody waits. This crate has the port, what goes through it
//! ([records](Append)), the [rules] that need no storage, and one [suite](contract) that every store passes: the
//! [model] of a store, in memory, and the one in `crates/storage`. Nothing here does any I/O.
//!
//! What a store promises:
//! - **Order.** The operations of one user take effect in the order in which they were asked. A read sees every append
//!   of its user that was asked before it, durable or not. Nothing is said about the order of two users.
//! - **Durability.** What is answered as stored, removed, registered or reserved survives any crash. A number is never
//!   given out twice, whatever crashes.
//! - **Every question is answered once**, if only with [`StoreFailed`](operations::StoreFailed).
//! - **Lives.** A store that has failed forgets what was not durable and begins anew. It says so for each
//!   [`Partition`] concerned, and whatever is heard afterwards of that partition's users was done afterwards.
//!
//! `executor` is how both stores keep that: a synchronous mailbox below, and group commit above it. It is their own
//! affair, and goes when the store is rebuilt; nothing else may use it, and a test sees to it.

pub mod contract;
pub mod executor;
pub mod model;
pub mod operations;
mod partition;
mod placement;
mod records;
pub mod rules;

pub use self::partition::{Lives, Partition};
pub use self::placement::PlacementKey;
pub use self::records::*;

/// Messages that one read may return.
pub const READ_MESSAGES_MAX: usize = 4_096;
/// Deduplication ids of one user that are remembered, of publishers and of siblings each. The oldest is forgotten
/// first.
pub const DEDUP_IDS_PER_USER_MAX: usize = 4_096;
/// Numbers that one call may reserve.
pub const NUMBERS_RESERVED_MAX: u64 = 1 << 20;
