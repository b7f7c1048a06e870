//! Durable queues: what waits for each device, who a user's devices are, and which numbers have been given out.
//!
//! [`Mailbox`] is the contract, and every implementation passes one suite of property tests. A mailbox belongs to one
//! store thread, which runs a [`Store`](store::Store): it executes what the shards ask for, in the order in which each
//! of them asked, and makes it durable with one sync for all that came meanwhile. Shards never call a mailbox.
//!
//! What always holds:
//! - What was appended is read at once, and survives any crash after the next successful [`Mailbox::sync`].
//! - A number that [`Mailbox::reserve`] gave out is never given out again, whatever crashes.
//! - After an error nothing is known of what was not synced: the store [reopens](Mailbox::reopen) the mailbox and serves
//!   only what it reads back.

pub mod counters;
pub mod operations;
mod placement;
pub mod store;

use std::ops::Range;

use bytes::Bytes;
use campanile_protocol::ids::{DeviceId, UserId};

pub use self::placement::PlacementKey;

/// Messages that one read may return.
pub const READ_MESSAGES_MAX: usize = 4_096;
/// Deduplication ids of one user that are remembered, of publishers and of siblings each. The oldest is forgotten first.
pub const DEDUP_IDS_PER_USER_MAX: usize = 4_096;
/// Numbers that one call may reserve.
pub const NUMBERS_RESERVED_MAX: u64 = 1 << 20;

/// Whose queue: one device of one user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

/// A message of one user, with an envelope for each device that it is stored for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Whose devices.
    pub user: UserId,
    /// The message's number; higher than that of every earlier message of the user.
    pub seq: u64,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// It replaces a waiting message of the same topic (RFC 8030 §5.4), device by device. Empty for none.
    pub topic: Box<str>,
    /// One for each device, no device twice.
    pub envelopes: Vec<Envelope>,
    /// Remembered together with the envelopes, unless none of them could be stored.
    pub dedup: Option<Dedup>,
}

/// What one device is to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The device.
    pub device: DeviceId,
    /// The message as the device receives it: an encoded `Deliver`.
    pub body: Bytes,
    /// The device has confirmed it already: it need not be stored, and counts as stored.
    pub confirmed: bool,
}

/// Who gave a deduplication id: ids of different scopes are different.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DedupScope {
    /// A publisher, by a fingerprint of its API key.
    Publisher(u64),
    /// A device of the user, by its number.
    Sibling(u32),
}

/// A deduplication id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey {
    /// Who gave it.
    pub scope: DedupScope,
    /// Up to 128 bytes.
    pub id: Box<str>,
}

/// A deduplication id, and what is to be remembered with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// The id.
    pub key: DedupKey,
    /// A digest of the request: another request under the same id is a conflict.
    pub digest: [u8; 16],
    /// Until when it is remembered, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// What is remembered of an earlier request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The digest of that request.
    pub digest: [u8; 16],
    /// The message's number.
    pub seq: u64,
    /// What became of the envelopes then.
    pub outcomes: Vec<(DeviceId, Stored)>,
}

/// What became of one envelope.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// It waits for the device, or the device has confirmed it.
    Yes,
    /// The device's mailbox is full.
    MailboxFull,
    /// The node's storage is full.
    StorageFull,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub seq: u64,
    /// The message as the device receives it: an encoded `Deliver`.
    pub body: Bytes,
}

/// Messages in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Waiting>,
    /// Whether there may be more behind the last of them.
    pub more: bool,
}

/// What waits for a device.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages. Expired ones count until they are removed, at the latest when the mailbox would be full.
    pub messages: u64,
    /// Their bodies, in bytes.
    pub bytes: u64,
    /// The number up to which the device has confirmed, 0 if it never has.
    pub acknowledged: u64,
}

/// Everything up to a number is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trim {
    /// Whose mail.
    pub address: Address,
    /// The highest number confirmed.
    pub up_to: u64,
}

/// A registered device.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its number.
    pub device: DeviceId,
    /// When it was registered, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was last known to be connected, in milliseconds since the Unix epoch.
    pub last_seen_at_ms: u64,
}

/// A user's devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRecord {
    /// In the order of their numbers.
    pub devices: Vec<DeviceRecord>,
    /// The highest device number ever given to the user, so that none is given twice.
    pub last_device: u32,
}

/// How much one mailbox and the whole store may hold.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages that may wait for one device.
    pub messages_per_device_max: u64,
    /// Bytes that may wait for one device.
    pub bytes_per_device_max: u64,
    /// Bytes of the whole store on disk.
    pub bytes_total_max: u64,
}

/// How the storage is doing.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageStatus {
    /// Bytes in use on disk.
    pub bytes: u64,
    /// Whether appends are refused for want of room.
    pub full: bool,
    /// Damaged places that were passed over since the mailbox was opened first.
    pub damages: u64,
}

/// What one look for expired entries has come to.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Messages removed, since the last call.
    pub messages: u64,
    /// Much of what was looked at had expired, and there is more: it is worth to go on at once.
    pub behind: bool,
}

/// A mailbox failed. Nothing is known of what was not synced before.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// The storage refuses: broken, full beyond what was foreseen, or taken away.
    #[error("the store does not work: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Durable queues of one node. Called by one thread. Times are in milliseconds since the Unix epoch.
///
/// Every method that returns an error leaves the mailbox in need of [`Mailbox::reopen`].
pub trait Mailbox {
    /// The epoch of all numbers: chosen when the store was made, the same for its whole life.
    fn epoch(&self) -> u64;

    /// The key that places users: chosen when the store was made, the same for its whole life.
    fn placement_key(&self) -> PlacementKey;

    /// The next `count` numbers, at most [`NUMBERS_RESERVED_MAX`]. Durable when it returns.
    ///
    /// # Errors
    /// [`MailboxError`]; the range is then used up or not, but not given to anybody.
    fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError>;

    /// Appends messages, in order. They are read at once and durable after the next sync. For each append what became
    /// of its envelopes, in their order; a message that is refused is not read and replaces nothing.
    ///
    /// # Errors
    /// [`MailboxError`]; some may have been appended.
    fn append(&mut self, appends: &[Append], now_ms: u64) -> Result<Vec<Vec<Stored>>, MailboxError>;

    /// What is remembered of a deduplication id of the user.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn recall(
        &mut self,
        user: &UserId,
        key: &DedupKey,
        now_ms: u64,
    ) -> Result<Option<Remembered>, MailboxError>;

    /// Moves watermarks and removes what is confirmed. A watermark never moves back. It may be durable only later, but
    /// never before the appends that came before it.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn trim(&mut self, trims: &[Trim]) -> Result<(), MailboxError>;

    /// Removes one message. Whether it was there.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn remove(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<bool, MailboxError>;

    /// What waits after `after` and after the watermark, oldest first: at most so many messages (up to
    /// [`READ_MESSAGES_MAX`]), and no more once their bodies exceed so many bytes, but always one. Expired messages are
    /// passed over.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn read(
        &mut self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Page, MailboxError>;

    /// One waiting message that has not expired.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn fetch(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<Option<Bytes>, MailboxError>;

    /// How much waits for the device.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn count(&mut self, address: &Address) -> Result<Count, MailboxError>;

    /// A user's devices; `None` if the user was never heard of.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn user(&mut self, user: &UserId) -> Result<Option<UserRecord>, MailboxError>;

    /// Replaces what is known of a user's devices.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn put_user(&mut self, user: &UserId, record: &UserRecord) -> Result<(), MailboxError>;

    /// Removes messages and deduplication ids whose time is over. It looks at about `looks_max` entries and goes on
    /// there with the next call.
    ///
    /// # Errors
    /// [`MailboxError`].
    fn expire(&mut self, now_ms: u64, looks_max: usize) -> Result<Expired, MailboxError>;

    /// Makes everything durable that was done so far.
    ///
    /// # Errors
    /// [`MailboxError`]; what was done since the last sync is then durable or lost.
    fn sync(&mut self) -> Result<(), MailboxError>;

    /// Drops everything that is held in memory and begins again with what can be read back.
    ///
    /// # Errors
    /// [`MailboxError`]; it may be called again later.
    fn reopen(&mut self) -> Result<(), MailboxError>;

    /// Looks at the storage: how much is used, and whether appends are refused.
    fn status(&mut self) -> StorageStatus;
}
