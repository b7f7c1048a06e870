//! To be written.

pub mod floor;
