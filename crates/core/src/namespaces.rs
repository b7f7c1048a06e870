//! What holds for channels, by namespace: what stands before the first `:` of a channel's name.

use std::collections::HashMap;
use std::time::Duration;

use campanile_protocol::ids::ChannelName;

/// The namespace of users' statuses: the channel `presence:USER` has no messages, only what the user is doing.
pub const PRESENCE_NAMESPACE: &str = "presence";

/// What holds for the channels of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Messages that a channel keeps for those who come later or return; 0 for no history.
    pub history_messages_max: u32,
    /// How long it keeps them.
    pub history_ttl: Duration,
    /// Bytes of recent messages that a channel keeps for its history and for subscribers that do not keep up. The
    /// newest message is always kept.
    pub log_bytes_max: usize,
    /// What becomes of a subscriber that does not keep up.
    pub slow: SlowPolicy,
    /// Whether subscribers may ask who else is subscribed.
    pub members: bool,
    /// Whether every subscriber may tell the others what its user is doing; otherwise only who may publish.
    pub states: bool,
    /// Whether messages are compressed for clients that have negotiated it (RFC 7692).
    pub deflate: bool,
    /// Whether any session may subscribe; otherwise its token has to allow it.
    pub open: bool,
    /// Messages and states that one session may publish per second on average.
    pub publishes_per_second_max: u32,
}

/// What becomes of a subscriber that does not keep up.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// When the log no longer has what it misses, it is told of the gap and goes on with the newest.
    #[default]
    Skip,
    /// When its socket has room again it is told of the gap and gets the newest message only.
    Conflate,
    /// When the log no longer has what it misses, it is disconnected (1008).
    Close,
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace {
            history_messages_max: 0,
            history_ttl: Duration::from_secs(300),
            log_bytes_max: 1 << 20,
            slow: SlowPolicy::Skip,
            members: false,
            states: false,
            deflate: false,
            open: false,
            publishes_per_second_max: 10,
        }
    }
}

/// What holds for all channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// For channels of no namespace that is configured.
    pub default: Namespace,
    /// For those of a namespace, by its name.
    pub named: HashMap<String, Namespace>,
    /// Channels that one session may be subscribed to.
    pub subscriptions_per_session_max: u32,
    /// Channels that one shard may know of.
    pub channels_per_shard_max: u32,
    /// Bytes that the logs of one shard may have together. Beyond it a channel keeps little more than its newest
    /// message.
    pub log_bytes_per_shard_max: usize,
    /// How long after a user's last session has ended the user is said to be offline.
    pub offline_after: Duration,
}

impl Default for Namespaces {
    fn default() -> Self {
        Namespaces {
            default: Namespace::default(),
            named: HashMap::new(),
            subscriptions_per_session_max: 128,
            channels_per_shard_max: 100_000,
            log_bytes_per_shard_max: 256 << 20,
            offline_after: Duration::from_secs(5),
        }
    }
}

impl Namespaces {
    /// Whether messages of any namespace are compressed, so that it is worth negotiating.
    pub fn any_deflates(&self) -> bool {
        self.default.deflate || self.named.values().any(|namespace| namespace.deflate)
    }

    /// What holds for a channel.
    pub fn of(&self, channel: &ChannelName) -> &Namespace {
        channel.namespace().and_then(|name| self.named.get(name)).unwrap_or(&self.default)
    }
}
