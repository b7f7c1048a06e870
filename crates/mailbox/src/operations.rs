//! The port of a store: what the shards ask of it, what they hear, and the queues in between.
//!
//! The operations of one user take effect in the order in which they were asked; a user is asked about through one port
//! only. Answers that promise durability come when it is so; all others come as soon as they are known. Neither side
//! ever waits: the shard bounds what it has asked for and refuses publishes beyond that.
//!
//! Every question has a [`Ticket`] that knows the type of its answer, so that an answer cannot be taken for another
//! one's; [`Tickets`] keeps what the answers of one kind are for.

mod port;
mod ticket;

use std::ops::Range;

use bytes::Bytes;
use campanile_protocol::ids::{DeviceId, UserId};

pub use self::port::{Port, Takes};
pub use self::ticket::{Ticket, Tickets};
use super::{Address, Append, Count, DedupKey, Page, Partition, Remembered, Stored, Trim, UserRecord};

/// What the store answers: what was asked for, or that it does not work.
pub type Answer<T> = Result<T, StoreFailed>;

/// What comes of a registration: the device's number, or why there is none.
pub type Registered = Result<DeviceId, RegisterError>;

/// What a shard asks for.
///
/// Each operation concerns one user, but for [`Operation::Trim`], which is as many operations as it has watermarks, and
/// [`Operation::Reserve`].
#[derive(Debug)]
pub enum Operation {
    /// Store a message. Answered by [`Completion::Appended`] when it is durable.
    Append(Ticket<Vec<Stored>>, Append),
    /// What is remembered of a deduplication id. Answered by [`Completion::Recalled`], which says nothing that is not
    /// durable.
    Recall(Ticket<Option<Remembered>>, UserId, DedupKey),
    /// Confirmed watermarks. Not answered.
    Trim(Vec<Trim>),
    /// A session opens: what is known of the device and its user. Answered by [`Completion::Opened`] at once.
    Open(Ticket<Opened>, Box<Open>),
    /// A user's devices. Answered by [`Completion::User`] at once.
    User(Ticket<UserRecord>, UserId),
    /// Register a device. Answered by [`Completion::Registered`] when it is durable.
    Register(Ticket<Registered>, Registration),
    /// A session has ended: the device was seen. Not answered.
    Seen(Address, u64),
    /// Messages after a number. Answered by [`Completion::Read`] at once.
    Read {
        /// Given back in the answer.
        ticket: Ticket<Page>,
        /// Whose.
        address: Address,
        /// Only higher numbers.
        after: u64,
        /// At most so many.
        messages_max: usize,
        /// No more once their bodies exceed this.
        bytes_max: usize,
    },
    /// One message. Answered by [`Completion::Fetched`] at once.
    Fetch(Ticket<Option<Bytes>>, Address, u64),
    /// Remove one message. Answered by [`Completion::Removed`] when it is durable.
    Remove(Ticket<bool>, Address, u64),
    /// More numbers. Answered by [`Completion::Reserved`], durable.
    Reserve(Ticket<Range<u64>>, u64),
}

/// A session that opens.
#[derive(Clone, Debug)]
pub struct Open {
    /// Which device.
    pub address: Address,
    /// What the device has confirmed before, 0 for nothing: trimmed first.
    pub acknowledged: u64,
    /// Whether an unknown device is registered.
    pub register: bool,
    /// Devices that the user may have.
    pub devices_max: u32,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// A device that a back end registers.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Whose.
    pub user: UserId,
    /// Its number, or `None` for the next free one.
    pub device: Option<DeviceId>,
    /// Devices that the user may have.
    pub devices_max: u32,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Why a device is not registered.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The user has as many devices as allowed.
    #[error("the user has as many devices as allowed")]
    TooMany,
    /// The device is not registered, and was not to be.
    #[error("the device is not registered")]
    Unknown,
    /// The user has this device already.
    #[error("the device is registered already")]
    Exists,
}

/// The store could not do it; it has forgotten what was not durable.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store does not work at the moment")]
pub struct StoreFailed;

/// What a shard hears.
#[derive(Debug)]
pub enum Completion {
    /// To [`Operation::Append`]: what became of each envelope, in order. Durable.
    Appended(Ticket<Vec<Stored>>, Answer<Vec<Stored>>),
    /// To [`Operation::Recall`].
    Recalled(Ticket<Option<Remembered>>, Answer<Option<Remembered>>),
    /// To [`Operation::Open`].
    Opened(Ticket<Opened>, Answer<Opened>),
    /// To [`Operation::User`].
    User(Ticket<UserRecord>, Answer<UserRecord>),
    /// To [`Operation::Register`]: the device's number. Durable.
    Registered(Ticket<Registered>, Answer<Registered>),
    /// To [`Operation::Read`].
    Read(Ticket<Page>, Answer<Page>),
    /// To [`Operation::Fetch`].
    Fetched(Ticket<Option<Bytes>>, Answer<Option<Bytes>>),
    /// To [`Operation::Remove`]: whether it was there. Durable.
    Removed(Ticket<bool>, Answer<bool>),
    /// To [`Operation::Reserve`].
    Reserved(Ticket<Range<u64>>, Answer<Range<u64>>),
    /// A partition was begun anew: its registrations and messages that were not confirmed may be gone. Whatever is
    /// heard afterwards of its users was done afterwards.
    Reopened(Partition),
}

/// To [`Operation::Open`].
#[derive(Clone, Debug)]
pub struct Opened {
    /// Whether the device may open a session.
    pub admitted: Result<(), RegisterError>,
    /// The user's devices, this one included if it is admitted.
    pub user: UserRecord,
    /// What waits for the device.
    pub count: Count,
}
