//! A channel as one shard knows it: its log, its subscribers here, and whether the log is this shard's own.

use campanile_engine::Time;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::Position;

use super::lane_message::ReplicaRef;
use super::log::Log;

/// A channel as one shard knows it.
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) log: Log,
    pub(super) role: Role,
    /// Numbers of subscriptions, each at its `place`.
    pub(super) subscribers: Vec<u32>,
    /// Those who wait for the owner's log.
    pub(super) joining: Vec<Joining>,
    /// The place that the pass comes to next.
    pub(super) next: u32,
    /// Whether the channel stands in the queue of those with a pass to do.
    pub(super) ready: bool,
    /// Whether another pass follows the one that is under way.
    pub(super) again: bool,
    /// Whether the channel stands in the queue of those whose replicas lack something.
    pub(super) feeding: bool,
    /// Whether it is a user's status: of which only the newest state counts.
    pub(super) is_status: bool,
    /// When it was last needed.
    pub(super) used: Time,
    /// Which tenant of its number this is.
    pub(super) serial: u32,
}

/// Whose log a shard has of a channel.
pub(super) enum Role {
    /// The log is this shard's own.
    Owner {
        /// Shards with a replica.
        readers: Vec<Reader>,
    },
    /// The log is fed by the owner.
    Replica {
        /// Whether the owner's log has come.
        attached: bool,
    },
}

/// A shard with a replica, as the owner sees it.
pub(super) struct Reader {
    pub(super) shard: usize,
    pub(super) replica: ReplicaRef,
    /// Up to which position it was fed; `None` before the first feed, which is the whole log.
    pub(super) fed: Option<u64>,
}

/// A subscription that waits for the owner's log.
pub(super) struct Joining {
    pub(super) subscription: u32,
    /// The client's name for its frame; empty if its token asked.
    pub(super) reference: String,
    /// Where the client was before, if it was.
    pub(super) since: Option<Position>,
    /// How many of the newest messages it wants otherwise.
    pub(super) newest: u32,
}

impl Channel {
    /// Whether the log is this shard's own.
    pub(super) fn is_owned(&self) -> bool {
        matches!(self.role, Role::Owner { .. })
    }

    /// Whether another shard has a replica of the log, which is this shard's own.
    pub(super) fn is_replicated(&self) -> bool {
        matches!(&self.role, Role::Owner { readers } if !readers.is_empty())
    }

    /// Whether the log is there, so that subscriptions can begin.
    pub(super) fn is_attached(&self) -> bool {
        !matches!(self.role, Role::Replica { attached: false })
    }

    /// Whether no session of this shard is subscribed or about to be.
    pub(super) fn is_deserted(&self) -> bool {
        self.subscribers.is_empty() && self.joining.is_empty()
    }

    /// A slice of the channel's pass is over. Whether another follows, of this pass or the next.
    pub(super) fn end_slice(&mut self) -> bool {
        self.ready = true;
        if self.next as usize >= self.subscribers.len() {
            self.next = 0;
            self.ready = std::mem::take(&mut self.again);
        }
        self.ready
    }

    /// The channel's name in the language of the lanes, `number` being its number on this shard.
    pub(super) fn replica(&self, number: u32) -> ReplicaRef {
        ReplicaRef { number, serial: self.serial }
    }

    /// Where the channel is: the position of its newest message.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.log.epoch(), offset: self.log.offset() }
    }
}
