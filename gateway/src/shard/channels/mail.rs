//! What one shard tells another about channels.

/// One thing that a shard tells another.
#[derive(Debug)]
pub(in crate::shard) enum Mail {}
