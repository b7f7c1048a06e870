//! To be written.

/// The least work with which this machine can do the gateway's socket job: what `bench floor` measures.
pub mod floor;
