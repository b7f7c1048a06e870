//! What the shards ask of the store, what they hear, and the queues in between.
//!
//! The store executes the operations of one shard in the order in which the shard asked. Answers that promise
//! durability come after the sync; all others come as soon as they are known. Neither side ever waits: the shard bounds
//! what it has asked for and refuses publishes beyond that.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use campanile_engine::Waker;
use campanile_protocol::ids::{DeviceId, UserId};
use crossbeam_queue::SegQueue;

use super::{Address, Append, Count, DedupKey, Page, Remembered, Stored, Trim, UserRecord};

/// The shard's name for an operation, given back in the answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u32);

/// What a shard asks for.
#[derive(Debug)]
pub enum Operation {
    /// Store a message. Answered by [`Completion::Appended`] when it is durable.
    Append(Tag, Append),
    /// What is remembered of a deduplication id. Answered by [`Completion::Recalled`], which says nothing that is not
    /// durable.
    Recall(Tag, UserId, DedupKey),
    /// Confirmed watermarks. Not answered.
    Trim(Vec<Trim>),
    /// A session opens: what is known of the device and its user. Answered by [`Completion::Opened`] at once.
    Open(Tag, Box<Open>),
    /// A user's devices. Answered by [`Completion::User`] at once.
    User(Tag, UserId),
    /// Register a device. Answered by [`Completion::Registered`] when it is durable.
    Register(Tag, Registration),
    /// A session has ended: the device was seen. Not answered.
    Seen(Address, u64),
    /// Messages after a number. Answered by [`Completion::Read`] at once.
    Read {
        /// Given back.
        tag: Tag,
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
    Fetch(Tag, Address, u64),
    /// Remove one message. Answered by [`Completion::Removed`] when it is durable.
    Remove(Tag, Address, u64),
    /// More numbers. Answered by [`Completion::Reserved`], durable.
    Reserve(u64),
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
    Appended(Tag, Result<Vec<Stored>, StoreFailed>),
    /// To [`Operation::Recall`].
    Recalled(Tag, Result<Option<Remembered>, StoreFailed>),
    /// To [`Operation::Open`].
    Opened(Tag, Result<Opened, StoreFailed>),
    /// To [`Operation::User`].
    User(Tag, Result<UserRecord, StoreFailed>),
    /// To [`Operation::Register`]: the device's number. Durable.
    Registered(Tag, Result<Result<DeviceId, RegisterError>, StoreFailed>),
    /// To [`Operation::Read`].
    Read(Tag, Result<Page, StoreFailed>),
    /// To [`Operation::Fetch`].
    Fetched(Tag, Result<Option<Bytes>, StoreFailed>),
    /// To [`Operation::Remove`]: whether it was there. Durable.
    Removed(Tag, Result<bool, StoreFailed>),
    /// To [`Operation::Reserve`].
    Reserved(Result<Range<u64>, StoreFailed>),
    /// The store was reopened: registrations and messages that were not confirmed may be gone.
    Reopened,
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

/// Whether the store takes messages at the moment. A hint: what is asked meanwhile is answered all the same.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Takes {
    /// It does.
    Messages,
    /// The storage is full: messages are refused.
    NoMessages,
    /// It does not work: everything is refused.
    Nothing,
}

/// Between one shard and the store: what is asked, and what is answered.
pub struct Port {
    operations: SegQueue<Vec<Operation>>,
    completions: SegQueue<Vec<Completion>>,
    /// Whether the store takes messages at the moment, as a [`Takes`].
    takes: AtomicU8,
    shard: Arc<Waker>,
    store: Arc<Waker>,
}

impl Port {
    /// Empty queues between the two threads that sleep on these wakers.
    pub fn new(shard: Arc<Waker>, store: Arc<Waker>) -> Arc<Port> {
        let takes = AtomicU8::new(Takes::Messages as u8);
        Arc::new(Port { operations: SegQueue::new(), completions: SegQueue::new(), takes, shard, store })
    }

    /// Asks, in order. Only the shard calls it.
    pub fn ask(&self, operations: Vec<Operation>) {
        self.operations.push(operations);
        self.store.wake();
    }

    /// The oldest completions that wait. Only the shard calls it.
    pub fn take_completions(&self) -> Option<Vec<Completion>> {
        self.completions.pop()
    }

    /// Whether completions wait.
    pub fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// The oldest operations that wait. Only the store calls it.
    pub fn take_operations(&self) -> Option<Vec<Operation>> {
        self.operations.pop()
    }

    /// Whether the store takes messages.
    pub fn takes(&self) -> Takes {
        match self.takes.load(Ordering::Relaxed) {
            takes if takes == Takes::Messages as u8 => Takes::Messages,
            takes if takes == Takes::NoMessages as u8 => Takes::NoMessages,
            _ => Takes::Nothing,
        }
    }

    /// Says whether messages are taken. Only the store calls it.
    pub fn set_takes(&self, takes: Takes) {
        self.takes.store(takes as u8, Ordering::Relaxed);
    }

    /// Whether operations wait.
    pub fn has_operations(&self) -> bool {
        !self.operations.is_empty()
    }

    /// Answers. Only the store calls it.
    pub fn complete(&self, completions: Vec<Completion>) {
        self.completions.push(completions);
        self.shard.wake();
    }
}
