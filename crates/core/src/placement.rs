//! Where users live and who owns a channel.

pub use campanile_mailbox::PlacementKey;
use campanile_protocol::ids::{ChannelName, UserId};

use crate::namespaces::PRESENCE_NAMESPACE;

/// Where users live: the same for every part of one process.
#[derive(Copy, Clone)]
pub struct HomeShard {
    key: PlacementKey,
    count: usize,
}

impl HomeShard {
    /// Users spread over `count` shards by this key.
    pub fn new(count: usize, key: PlacementKey) -> HomeShard {
        HomeShard { key, count }
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
        // The lower half is for what else is decided by the same hash.
        ((self.key.hash_text(text) >> 32) % self.count as u64) as usize
    }
}
