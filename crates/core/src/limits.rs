//! Every limit that an operator can set, in one table. The limits that are part of the construction (queue lengths,
//! turns, buffers) are constants beside the code that keeps them.

use serde::{Deserialize, Serialize};

/// A shard stops accepting so many slots before its table is full: connections that close still hold theirs, and
/// the kernel loses a connection that it accepts into a full table.
pub const SLOTS_SPARE: u32 = 256;

/// Connections with which a shard stops accepting, when its table has so many slots: [`SLOTS_SPARE`] are kept, but no
/// more than half of a small table.
#[must_use]
pub const fn connections_per_shard_max(slots: u32) -> u32 {
    let (most, half) = (slots.saturating_sub(SLOTS_SPARE), slots / 2);
    if most > half { most } else { half }
}

/// The table `[limits]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of the node. It decides how many shards there are, since one descriptor table holds no more
    /// than `nofile`. Beyond it an upgrade is answered 503.
    pub max_connections: u32,
    /// Devices that one user may have registered.
    pub devices_per_user_max: u32,
    /// The largest message that a client may send, in bytes, over all its fragments.
    pub message_bytes_max: usize,
    /// The largest payload that may be pushed, in bytes.
    pub push_bytes_max: usize,
    /// Frames that one message may come in.
    pub fragments_max: u32,
    /// Frames, pings and pongs included, that a client may send per second on average: 1 to 10,000. Short bursts may
    /// be ten times as large.
    pub frames_per_second_max: u32,
    /// From the accepted connection to the authenticated session, in milliseconds, whatever arrives in between.
    pub handshake_timeout_ms: u32,
    /// Handshakes that may be under way from one address, on each shard.
    pub handshakes_per_address_max: u32,
    /// The server pings every connection so often, in milliseconds.
    pub ping_interval_ms: u32,
    /// A connection that has sent nothing for so long after a ping is closed, in milliseconds.
    pub pong_timeout_ms: u32,
    /// Messages that may be delivered to a device and not acknowledged before the rest waits in the mailbox.
    pub window_messages_max: u32,
    /// The same in bytes. A window in which nothing is unacknowledged always admits one message.
    pub window_bytes_max: u32,
    /// A device that acknowledges nothing for so long while its window is shut is disconnected (4414), in milliseconds.
    pub acknowledge_timeout_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 100_000,
            devices_per_user_max: 5,
            message_bytes_max: 64 * 1024,
            push_bytes_max: 64 * 1024,
            fragments_max: 64,
            frames_per_second_max: 50,
            handshake_timeout_ms: 5_000,
            handshakes_per_address_max: 4_096,
            ping_interval_ms: 25_000,
            pong_timeout_ms: 10_000,
            window_messages_max: 256,
            window_bytes_max: 48 * 1024,
            acknowledge_timeout_ms: 60_000,
        }
    }
}
