//! What a shard is told at its start.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ipnet::IpNet;

use crate::limits::Limits;
use crate::namespaces::Namespaces;
use crate::push::PushRules;
use crate::tokens::Verifier;

/// Bytes that all connections of a shard together may make it hold: unfinished messages and what sockets did not take.
/// Beyond it whoever holds the most is closed.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a shard does with those who connect.
pub enum Mode {
    /// Sessions of devices.
    Gateway {
        /// Checks their tokens.
        verifier: Box<Verifier>,
    },
    /// No authentication; every data message is sent back.
    Echo,
}

/// Settings that all shards of a node share.
pub struct ShardSettings {
    /// What is served.
    pub mode: Mode,
    /// The limits.
    pub limits: Limits,
    /// What holds for channels.
    pub namespaces: Namespaces,
    /// Origins that browsers may connect from; empty for any.
    pub allowed_origins: Vec<String>,
    /// Peers that must begin with a PROXY protocol header, version 2.
    pub proxy_protocol_from: Vec<IpNet>,
    /// The node's name, as `welcome` gives it.
    pub node: String,
    /// The epoch of all numbers: the store's.
    pub epoch: u64,
    /// Connections of all shards together, but for those that came to a shard that was draining.
    pub connections: Arc<AtomicU32>,
    /// Whether a valid token registers its device.
    pub auto_register: bool,
    /// How long a message waits unless it says otherwise, in milliseconds.
    pub message_ttl_ms: u64,
    /// How long deduplication ids of publishers are remembered, in milliseconds.
    pub dedup_window_ms: u64,
    /// What all connections of a shard together may make it hold, in bytes: [`HELD_BYTES_MAX`].
    pub held_bytes_max: usize,
}

impl ShardSettings {
    /// What pushes and publishes of devices are held to.
    pub(crate) fn push_rules(&self) -> PushRules {
        PushRules {
            payload_bytes_max: self.limits.push_bytes_max,
            ttl: Duration::from_millis(self.message_ttl_ms),
            dedup_window: Duration::from_millis(self.dedup_window_ms),
        }
    }

    /// Whether connections are served without authentication, each message sent back.
    pub(crate) fn is_echo(&self) -> bool {
        matches!(self.mode, Mode::Echo)
    }
}
