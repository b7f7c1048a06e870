//! What the control plane asks of a shard, and what it hears.

use std::sync::Arc;

use campanile_engine::Waker;
use campanile_protocol::ids::{DeviceId, MessageId, UserId};
use campanile_protocol::messages::{Deliver, Event};

/// Pushes that one request may carry.
pub const PUSHES_PER_REQUEST_MAX: usize = 1_024;

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
    /// Send messages to users who live on this shard; at most [`PUSHES_PER_REQUEST_MAX`].
    Push(Vec<Push>),
    /// Send an event to every session of this shard.
    Broadcast(Arc<Event>),
    /// Which devices of a user are connected.
    Devices(UserId),
    /// Close the sessions of a user, or of one of the user's devices.
    Disconnect(UserId, Option<DeviceId>),
    /// Stop accepting, tell every client to come back after a random part of so many milliseconds, and close.
    Drain {
        /// Clients come back after up to this long.
        reconnect_within_ms: u32,
    },
    /// End now, whoever is still connected.
    Stop,
}

/// A message for a user.
#[derive(Debug)]
pub struct Push {
    /// Whose devices.
    pub user: UserId,
    /// Which of them.
    pub devices: Targets,
    /// The message. The shard fills in `id` and `seq`.
    pub message: Deliver,
}

/// Which devices of a user a push is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// All that are connected.
    All,
    /// These.
    Listed(Vec<DeviceId>),
}

/// A shard's answer, in the order of the question's parts.
#[derive(Debug)]
pub enum Answer {
    /// To [`RequestBody::Push`].
    Pushed(Vec<Pushed>),
    /// To [`RequestBody::Broadcast`]: to how many sessions the event was sent, and how many did not keep up.
    Broadcast {
        /// Sessions that were sent the event.
        sent: u32,
        /// Sessions that were passed over because earlier bytes still wait for them.
        skipped: u32,
    },
    /// To [`RequestBody::Devices`].
    Devices(Vec<ConnectedDevice>),
    /// To [`RequestBody::Disconnect`]: how many sessions were closed.
    Disconnected(u32),
    /// To [`RequestBody::Drain`] and [`RequestBody::Stop`].
    Draining,
}

/// What became of one push.
#[derive(Debug)]
pub struct Pushed {
    /// The message's id.
    pub id: MessageId,
    /// Each device that was meant.
    pub devices: Vec<(DeviceId, Outcome)>,
}

/// What became of a message for one device.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Given to the connection.
    Sent,
    /// The device has no session.
    NotConnected,
    /// Earlier bytes still wait for the device: it reads more slowly than it is sent to.
    NotKeepingUp,
    /// The connection broke during the send.
    Broken,
    /// The payload cannot be put into the encoding that the device speaks.
    NotEncodable,
}

/// A device with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedDevice {
    /// The device.
    pub device: DeviceId,
    /// The session's number; each session of a device has a higher one than the one before.
    pub generation: u64,
    /// The subprotocol that it speaks.
    pub subprotocol: &'static str,
    /// When the session began, in milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
}
