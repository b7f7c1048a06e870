//! What the control plane asks of a shard, and what it hears.

use std::sync::Arc;

use bytes::Bytes;
use campanile_engine::Waker;
use campanile_mailbox::operations::{RegisterError, StoreFailed};
use campanile_mailbox::{Address, DeviceRecord, Page};
use campanile_protocol::ids::{ChannelName, DeviceId, MessageId, UserId};
use campanile_protocol::messages::{ChannelMessage, Device, Event, Position};

pub use crate::publish::Publish;
pub use crate::push::{Durability, Envelopes, Push};

/// Pushes that one request may carry.
pub const PUSHES_PER_REQUEST_MAX: usize = 1_024;

/// Members of a channel that are named at most.
pub const MEMBERS_MAX: usize = 1_000;

/// The place that waits for an answer, chosen by the asker.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// A question, and where the answer goes.
#[derive(Debug)]
pub struct Request {
    /// Where the answer goes.
    pub ticket: Ticket,
    /// Rings when this request and those that share the bell have been answered.
    pub bell: Option<Arc<Bell>>,
    /// The question.
    pub body: RequestBody,
}

/// Wakes the control plane when it is dropped: when the last of the requests that share it has been answered. A batch
/// that went to several shards wakes its asker once.
#[derive(Debug)]
pub struct Bell(Arc<Waker>);

impl Bell {
    /// A bell that wakes the thread which sleeps on `waker`.
    pub fn new(waker: Arc<Waker>) -> Arc<Bell> {
        Arc::new(Bell(waker))
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// A question to a shard.
#[derive(Debug)]
pub enum RequestBody {
    /// Deliver messages to users who live on this shard; at most [`PUSHES_PER_REQUEST_MAX`].
    Push(Vec<Push>),
    /// Send an event to every session of this shard.
    Broadcast(Arc<Event>),
    /// Publish messages to channels that this shard owns, in this order; at most [`PUSHES_PER_REQUEST_MAX`].
    Publish(Vec<Publish>),
    /// What this shard knows of a channel: it may own it, and have subscribers of it.
    Channel(ChannelName),
    /// The newest messages of a channel that this shard owns.
    History {
        /// The channel.
        channel: ChannelName,
        /// Only those after this position; `None` for the newest.
        since: Option<Position>,
        /// At most so many.
        messages_max: usize,
    },
    /// The devices of a user.
    Devices(UserId),
    /// Register a device of a user: this one, or the next free one.
    Register(UserId, Option<DeviceId>),
    /// Close the sessions of a user, or of one of the user's devices.
    Disconnect(UserId, Option<DeviceId>),
    /// What waits for a device, for one that polls.
    List {
        /// Whose mail.
        address: Address,
        /// Only messages with higher numbers.
        after: u64,
        /// At most so many.
        messages_max: usize,
    },
    /// One message that waits for a device.
    Fetch(Address, MessageId),
    /// The device has one message; it is removed.
    Confirm(Address, MessageId),
    /// Refuse whoever comes, tell every client to come back after a random part of so many milliseconds, and close.
    Drain {
        /// Clients come back after up to this long.
        reconnect_within_ms: u32,
    },
    /// End now, whoever is still connected.
    Stop,
}

/// A shard's answer, in the order of the question's parts.
#[derive(Debug)]
pub enum Answer {
    /// To [`RequestBody::Push`].
    Pushed(Vec<Result<Pushed, PushError>>),
    /// To [`RequestBody::Broadcast`]: to how many sessions the event was sent, and how many did not keep up.
    Broadcast {
        /// Sessions that were sent the event.
        sent: u32,
        /// Sessions that were passed over because earlier bytes still wait for them.
        skipped: u32,
    },
    /// To [`RequestBody::Publish`]: the position of each message.
    Published(Vec<Result<Position, PublishError>>),
    /// To [`RequestBody::Channel`].
    Channel(ChannelPart),
    /// To [`RequestBody::History`].
    History(ChannelHistory),
    /// To [`RequestBody::Devices`], in the order of their numbers.
    Devices(Result<Vec<UserDevice>, Unavailable>),
    /// To [`RequestBody::Register`].
    Registered(Result<Result<DeviceId, RegisterError>, Unavailable>),
    /// To [`RequestBody::Disconnect`]: how many sessions were closed.
    Disconnected(u32),
    /// To [`RequestBody::List`].
    Listed(Result<Page, Unavailable>),
    /// To [`RequestBody::Fetch`]: the encoded `Deliver`, if it waits.
    Fetched(Result<Option<Bytes>, Unavailable>),
    /// To [`RequestBody::Confirm`]: whether it was there.
    Confirmed(Result<bool, Unavailable>),
    /// To [`RequestBody::Drain`] and [`RequestBody::Stop`].
    Draining,
}

/// What became of one push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The message's id.
    pub id: MessageId,
    /// Each device that was meant.
    pub devices: Vec<(DeviceId, Outcome)>,
    /// The message was pushed before under the same deduplication id; this is what became of it then.
    pub duplicate: bool,
}

/// A shard takes no more work now; try again after a moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many requests wait, or the store does not keep up.
    #[error("the node is overloaded: too many requests wait")]
    Overloaded,
    /// The shard has ended.
    #[error("the node is stopping")]
    Stopping,
    /// The store does not work at the moment.
    #[error("the store does not work at the moment")]
    StoreFailed,
}

impl From<StoreFailed> for Unavailable {
    fn from(_: StoreFailed) -> Unavailable {
        Unavailable::StoreFailed
    }
}

/// Why nothing was done about a push.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The user has no registered device. Nothing is stored.
    #[error("the user has no device")]
    NoDevices,
    /// Another message was pushed under the same deduplication id.
    #[error("another message was pushed under this deduplication id")]
    DedupConflict,
    /// The shard or the store takes no more work; whether the message is stored is not known if the store failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a message is not published. Nobody gets it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The channel is a user's status: it has no messages.
    #[error("channels of the namespace `presence` are users' statuses and have no messages")]
    Reserved,
    /// The shard knows as many channels as it may.
    #[error("the node has as many channels as it takes")]
    TooManyChannels,
    /// The shard takes no more work.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What one shard knows of a channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelPart {
    /// Sessions of this shard that are subscribed.
    pub subscribers: u32,
    /// Who they are, at most [`MEMBERS_MAX`].
    pub members: Vec<Device>,
    /// Where the channel is, if this shard owns it and has heard of it.
    pub position: Option<Position>,
    /// Messages in its history, if this shard owns it.
    pub history_messages: u32,
}

impl ChannelPart {
    /// Adds what another shard knows.
    pub fn add(&mut self, other: ChannelPart) {
        self.subscribers += other.subscribers;
        self.members.extend(other.members);
        self.members.truncate(MEMBERS_MAX);
        self.position = self.position.take().or(other.position);
        self.history_messages += other.history_messages;
    }
}

/// Some of a channel's history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelHistory {
    /// Where the channel is; `None` if nobody has heard of it.
    pub position: Option<Position>,
    /// Whether everything since the position that was asked for is there, as far as `messages_max` allowed.
    pub complete: bool,
    /// Oldest first.
    pub messages: Vec<ChannelMessage>,
}

/// What became of a message for one device.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, and the device has confirmed it already.
    Confirmed,
    /// Given to the connection; stored, too, if it is durable.
    Sent,
    /// It waits for the device.
    Stored,
    /// The user has no such device.
    UnknownDevice,
    /// Not stored: the device's mailbox is full.
    MailboxFull,
    /// Not stored: the node's storage is full.
    StorageFull,
    /// Ephemeral: the device has no session.
    NotConnected,
    /// Ephemeral: earlier bytes still wait for the device, which reads more slowly than it is sent to.
    NotKeepingUp,
    /// Ephemeral: the connection broke during the send.
    Broken,
    /// Ephemeral: the payload cannot be put into the encoding that the device speaks.
    NotEncodable,
}

impl PushError {
    /// The stable name of the error.
    pub fn code(self) -> &'static str {
        match self {
            PushError::NoDevices => "no_devices",
            PushError::DedupConflict => "dedup_conflict",
            PushError::Unavailable(unavailable) => unavailable.code(),
        }
    }
}

impl PublishError {
    /// The stable name of the error.
    pub fn code(self) -> &'static str {
        match self {
            PublishError::Reserved => "channel_reserved",
            PublishError::TooManyChannels => "too_many_channels",
            PublishError::Unavailable(unavailable) => unavailable.code(),
        }
    }
}

impl Unavailable {
    /// The stable name of the error.
    pub fn code(self) -> &'static str {
        match self {
            Unavailable::Overloaded => "overloaded",
            Unavailable::Stopping => "stopping",
            Unavailable::StoreFailed => "store_failed",
        }
    }
}

impl Outcome {
    /// The stable name of the state: `confirmed`, `sent`, `stored` or `failed`.
    pub fn state(self) -> &'static str {
        match self {
            Outcome::Confirmed => "confirmed",
            Outcome::Sent => "sent",
            Outcome::Stored => "stored",
            _ => "failed",
        }
    }

    /// The stable name of why it failed.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Outcome::Confirmed | Outcome::Sent | Outcome::Stored => None,
            Outcome::UnknownDevice => Some("unknown_device"),
            Outcome::MailboxFull => Some("mailbox_full"),
            Outcome::StorageFull => Some("storage_full"),
            Outcome::NotConnected => Some("not_connected"),
            Outcome::NotKeepingUp => Some("not_keeping_up"),
            Outcome::Broken => Some("connection_broken"),
            Outcome::NotEncodable => Some("not_encodable"),
        }
    }

    /// Whether the device has the message or will get it.
    pub fn is_success(self) -> bool {
        matches!(self, Outcome::Confirmed | Outcome::Sent | Outcome::Stored)
    }
}

/// A registered device, and its session if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDevice {
    /// What is known of it.
    pub record: DeviceRecord,
    /// Its session.
    pub session: Option<ConnectedDevice>,
}

/// A device's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedDevice {
    /// The session's number; each session of a device has a higher one than the one before.
    pub generation: u64,
    /// The subprotocol that it speaks.
    pub subprotocol: &'static str,
    /// When the session began, in milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
}
