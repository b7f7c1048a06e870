//! What every part is given while it works: the time, what this turn may still cost, and where its effects go.

use campanile_engine::{Commands, Now};

use crate::counters::ShardCounters;
use crate::entry::client::Client;
use crate::placement::HomeShard;
use crate::settings::ShardSettings;

/// One call of a driver, passed down through all parts.
pub(crate) struct Turn<'a> {
    /// The time.
    pub(crate) now: Now,
    /// Direct sends of this turn: pushes and replays. The shard's budget is counted in them.
    pub(crate) sends: usize,
    /// What the driver is to do.
    pub(crate) commands: &'a mut Commands<Client>,
    /// What the shard counts.
    pub(crate) counters: &'a ShardCounters,
    /// What the shard was told at its start.
    pub(crate) settings: &'a ShardSettings,
    /// What is left to chance.
    pub(crate) random: &'a mut fastrand::Rng,
    /// Where users live and who owns a channel.
    pub(crate) home: &'a HomeShard,
    /// This shard's index.
    pub(crate) shard: usize,
}

impl Turn<'_> {
    /// The monotonic clock in milliseconds; it wraps after seven weeks.
    pub(crate) fn now_ms(&self) -> u32 {
        self.now.time.as_millis() as u32
    }

    /// The monotonic clock in tenths of milliseconds; it wraps after five days.
    pub(crate) fn now_tenths(&self) -> u32 {
        (self.now.time.as_nanos() / 100_000) as u32
    }
}
