//! What a process tells of itself: counters, histograms, the registry, the text format of all of them, what it
//! uses, and the log.
//!
//! What a shard or the store counts is a [`Counter`], which one thread writes: adding to it costs no more than adding
//! to a number. What anyone may write (the API's requests) is in a [`Registry`]. A [`Page`] is what Prometheus reads of
//! both.

pub mod counters;
pub mod log;
pub mod page;
pub mod registry;
pub mod usage;

pub use counters::{Counter, Kind};
pub use page::Page;
pub use registry::Registry;
pub use usage::Usage;
