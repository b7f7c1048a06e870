//! What one shard tells another about channels.

use std::sync::Arc;

use campanile_engine::Conn;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{Device, Position};

use super::entry::Entry;
use crate::requests::{Publish, PublishError};

/// A channel of a shard, and which tenant of its number is meant.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaRef {
    pub(super) number: u32,
    pub(super) serial: u32,
}

/// One thing that a shard tells another.
pub(crate) enum LaneMessage {
    /// To the owner: feed this replica, from the beginning of the log.
    Attach { channel: ChannelName, from: usize, replica: ReplicaRef },
    /// To the owner: feed it no more.
    Detach { channel: ChannelName, from: usize, replica: ReplicaRef },
    /// To a replica: what it lacks.
    Feed(Box<Feed>),
    /// To a replica: the owner cannot have the channel.
    Refused { replica: ReplicaRef, error: PublishError },
    /// To the owner: publish this, and tell the sender.
    Publish(Box<ClientPublish>),
    /// To the shard of a client: its message is published, or why not.
    Published(Box<ClientPublished>),
    /// To the owner: tell the subscribers what a user is doing.
    State(Box<UserState>),
    /// To every shard: who is subscribed?
    AskMembers { channel: ChannelName, from: usize, query: u32 },
    /// The answer.
    Members { query: u32, count: u32, members: Vec<Device> },
}

/// Entries for a replica. A replica that was not attached is now.
pub(crate) struct Feed {
    pub(super) replica: ReplicaRef,
    pub(super) epoch: u64,
    /// The position of the first entry.
    pub(super) start: u64,
    pub(super) entries: Vec<Arc<Entry>>,
    /// Number of the newest message.
    pub(super) offset: u64,
}

/// What a client publishes.
pub(crate) struct ClientPublish {
    pub(super) from: usize,
    pub(super) conn: Conn,
    pub(super) reference: String,
    pub(super) publish: Publish,
}

/// What became of it.
pub(crate) struct ClientPublished {
    pub(super) conn: Conn,
    pub(super) reference: String,
    pub(super) channel: ChannelName,
    pub(super) result: Result<Position, PublishError>,
}

/// What a user is doing in a channel.
pub(crate) struct UserState {
    pub(super) channel: ChannelName,
    pub(super) from: Device,
    pub(super) state: String,
}
