//! What a shard lends to its rooms.

use std::sync::Arc;

use campanile_engine::{Commands, Now};

use crate::counters::ShardCounters;
use crate::entry::client::Client;
use crate::placement::HomeShard;
use crate::settings::ShardSettings;
use crate::turn::Turn;

/// What every room stands on: lent to them as a [`Turn`].
pub(super) struct Ground {
    pub(super) index: usize,
    pub(super) home: HomeShard,
    pub(super) settings: Arc<ShardSettings>,
    pub(super) counters: Arc<ShardCounters>,
    pub(super) random: fastrand::Rng,
    /// The driver accepts.
    pub(super) accepting: bool,
}

impl Ground {
    /// One call of the driver.
    pub(super) fn turn<'a>(&'a mut self, now: Now, commands: &'a mut Commands<Client>) -> Turn<'a> {
        Turn {
            now,
            sends: 0,
            commands,
            counters: &self.counters,
            settings: &self.settings,
            random: &mut self.random,
            home: &self.home,
            shard: self.index,
        }
    }
}
