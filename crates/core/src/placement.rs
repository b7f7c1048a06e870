//! Where users live and who owns a channel.

use std::hash::BuildHasher;

use campanile_protocol::ids::{ChannelName, UserId};

use crate::namespaces::PRESENCE_NAMESPACE;

/// Where users live: the same for every part of one process.
#[derive(Copy, Clone)]
pub struct HomeShard {
    hasher: rustc_hash::FxBuildHasher,
    count: usize,
}

impl HomeShard {
    /// Users spread over `count` shards.
    pub fn new(count: usize) -> HomeShard {
        HomeShard { hasher: rustc_hash::FxBuildHasher, count }
    }

    /// How many shards there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The home shard of a user.
    pub fn of(&self, user: &UserId) -> usize {
        self.of_text(user.as_str())
    }

    /// The shard that owns a channel. A user's status lives where the user lives.
    pub fn of_channel(&self, channel: &ChannelName) -> usize {
        match channel.as_str().split_once(':') {
            Some((PRESENCE_NAMESPACE, user)) => self.of_text(user),
            _ => self.of_text(channel.as_str()),
        }
    }

    fn of_text(&self, text: &str) -> usize {
        // Mixed once more, since the directory of each shard uses the same hash.
        let hash = self.hasher.hash_one(text).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((hash * self.count as u64) >> 32) as usize
    }
}
