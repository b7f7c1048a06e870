//! What a shard counts: single writer, read by the metrics page at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that a shard writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the shard that owns the counter may call it.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes `count` away, for a gauge. Only the shard that owns it may call it.
    pub fn subtract(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:ident)*) => {
        /// The counters of one shard, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardCounters {
            $($(#[doc = $doc])+ pub $name: Counter,)*
        }

        impl ShardCounters {
            /// Every counter: its name, what it counts, whether it is a gauge, and its value.
            pub fn all(&self) -> Vec<(&'static str, &'static str, Kind, u64)> {
                vec![$((stringify!($name), concat!($($doc),+).trim_ascii(), Kind::$kind, self.$name.get()),)*]
            }
        }
    };
}

/// How a counter behaves.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

counters! {
    /// Connections, those that shake hands or close included.
    Gauge connections
    /// Sessions: connections that have authenticated.
    Gauge sessions
    /// Users with at least one session.
    Gauge users
    /// Handshakes that are not finished.
    Gauge handshakes
    /// Connections accepted.
    Counter connections_accepted
    /// Sessions opened.
    Counter sessions_opened
    /// Connections handed to another shard.
    Counter hand_offs
    /// Hand-offs that the other shard could not take.
    Counter hand_offs_failed
    /// Upgrade requests refused because they were malformed or not an upgrade.
    Counter upgrades_malformed
    /// Upgrade requests refused because of the path.
    Counter upgrades_not_found
    /// Upgrade requests refused because of their origin.
    Counter upgrades_forbidden_origin
    /// Upgrade requests refused because the shard or the node is full.
    Counter upgrades_refused_full
    /// Upgrade requests refused because their address has too many handshakes under way.
    Counter upgrades_refused_address
    /// Upgrade requests refused because the node is draining.
    Counter upgrades_refused_draining
    /// Upgrade requests refused because the store does not work.
    Counter upgrades_refused_store
    /// PROXY headers that were malformed, missing or not allowed.
    Counter proxy_headers_malformed
    /// Tokens refused: malformed, a wrong signature or a missing claim.
    Counter tokens_refused
    /// Tokens refused because they have expired.
    Counter tokens_expired
    /// Devices refused because the user has too many, or because they are not registered.
    Counter devices_refused
    /// Handshakes that were too slow.
    Counter handshakes_timed_out
    /// Sessions closed because the device opened a newer one.
    Counter sessions_replaced
    /// Sessions closed because their token expired.
    Counter sessions_expired
    /// Sessions closed because no pong came.
    Counter sessions_timed_out
    /// Sessions closed by an operator.
    Counter sessions_disconnected
    /// Sessions closed because they broke RFC 6455 or the frame schema.
    Counter sessions_malformed
    /// Sessions closed because a message was too large or in too many fragments.
    Counter sessions_too_large
    /// Sessions closed because they sent too many frames.
    Counter sessions_too_many_frames
    /// Sessions closed because they did not read what was sent.
    Counter sessions_not_reading
    /// Sessions closed because they did not acknowledge what was delivered.
    Counter sessions_not_acknowledging
    /// Sessions closed because their mail could not be read.
    Counter sessions_unreadable
    /// Sessions closed because their shard would have had to hold too many bytes.
    Counter sessions_over_budget
    /// Sessions whose connection broke during a send.
    Counter sessions_broken
    /// Sessions ended by the client.
    Counter sessions_ended_by_client
    /// Bytes received.
    Counter bytes_received
    /// Bytes sent.
    Counter bytes_sent
    /// Messages received from clients.
    Counter frames_received
    /// Pings sent.
    Counter pings_sent
    /// Pongs received.
    Counter pongs_received
    /// Messages sent to a device when they were pushed.
    Counter messages_sent
    /// Messages sent to a device from its mailbox.
    Counter messages_replayed
    /// Acknowledgements.
    Counter acknowledgements
    /// Acknowledgements of another epoch, or of numbers that were never handed out.
    Counter acknowledgements_refused
    /// Sync frames received.
    Counter syncs_received
    /// Pushes that the store could not take because it did not work.
    Counter pushes_failed_store
    /// Pushes that were known by their deduplication id.
    Counter pushes_duplicate
    /// Messages that could not be put into the encoding of a session.
    Counter messages_not_encodable
    /// Ephemeral messages not sent because the device has no session.
    Counter messages_not_connected
    /// Ephemeral messages not sent because the device does not keep up.
    Counter messages_not_keeping_up
    /// Ephemeral messages lost because the connection broke while they were sent; they are counted as sent, too.
    Counter messages_broken
    /// Events sent to sessions by a broadcast.
    Counter broadcast_sent
    /// Sessions that a broadcast passed over because they do not keep up.
    Counter broadcast_skipped
    /// Sends that went out in part or not at all.
    Counter sends_incomplete
    /// Bytes held for sessions: unfinished messages and what sockets did not take.
    Gauge bytes_held
    /// Turns of the shard's loop.
    Counter turns
}
