//! The ground on which rooms are tested alone: a turn, and the names of connections.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use campanile_engine::{Command, Commands, Conn, Now, Time};
use campanile_protocol::messages::Encoding;

use crate::counters::ShardCounters;
use crate::entry::client::Client;
use crate::limits::Limits;
use crate::namespaces::Namespaces;
use crate::net::wire::Agreed;
use crate::placement::{HomeShard, PlacementKey};
use crate::settings::{HELD_BYTES_MAX, Mode, ShardSettings};
use crate::turn::Turn;

/// Milliseconds since the Unix epoch.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;
/// The store's epoch.
pub(crate) const EPOCH: u64 = 7;

pub(crate) const ACKNOWLEDGES: Agreed =
    Agreed { encoding: Encoding::Protobuf, acknowledges: true, deflate: false };

/// What turns are made of.
pub(crate) struct Ground {
    pub(crate) now: Now,
    pub(crate) counters: ShardCounters,
    pub(crate) settings: ShardSettings,
    commands: Commands<Client>,
    random: fastrand::Rng,
    home: HomeShard,
}

impl Ground {
    pub(crate) fn new() -> Ground {
        let settings = ShardSettings {
            mode: Mode::Echo,
            limits: Limits { window_messages_max: 4, ..Limits::default() },
            namespaces: Namespaces::default(),
            allowed_origins: Vec::new(),
            proxy_protocol_from: Vec::new(),
            node: "node".to_owned(),
            epoch: EPOCH,
            connections: Arc::new(AtomicU32::new(0)),
            auto_register: true,
            message_ttl_ms: 60_000,
            dedup_window_ms: 60_000,
            held_bytes_max: HELD_BYTES_MAX,
        };
        Ground {
            now: now(),
            counters: ShardCounters::default(),
            settings,
            commands: Commands::default(),
            random: fastrand::Rng::with_seed(1),
            home: HomeShard::new(1, PlacementKey::new([2; 16])),
        }
    }

    pub(crate) fn turn(&mut self) -> Turn<'_> {
        Turn {
            now: self.now,
            sends: 0,
            commands: &mut self.commands,
            counters: &self.counters,
            settings: &self.settings,
            random: &mut self.random,
            home: &self.home,
            shard: 0,
        }
    }

    /// What was commanded so far, forgotten by asking.
    pub(crate) fn commands(&mut self) -> Vec<Command<Client>> {
        self.commands.drain().collect()
    }
}

pub(crate) fn now() -> Now {
    Now { time: Time::default() + Duration::from_secs(100), unix_ms: NOW_MS }
}

pub(crate) fn conn(slot: u32) -> Conn {
    Conn { slot, generation: slot + 1 }
}
