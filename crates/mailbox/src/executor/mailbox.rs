//! What the executor drives: a mailbox whose calls return when they are done.

use std::ops::Range;

use bytes::Bytes;
use campanile_protocol::ids::UserId;

use crate::{Address, Append, Count, DedupKey, Page, PlacementKey, Remembered, Stored, Trim, UserRecord};

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
/// What always holds:
/// - What was appended is read at once, and survives any crash after the next successful [`Mailbox::sync`].
/// - A number that [`Mailbox::reserve`] gave out is never given out again, whatever crashes.
/// - After an error nothing is known of what was not synced: the store [reopens](Mailbox::reopen) the mailbox and
///   serves only what it reads back.
///
/// Every method that returns an error leaves the mailbox in need of [`Mailbox::reopen`].
pub trait Mailbox {
    /// The epoch of all numbers: chosen when the store was made, the same for its whole life.
    fn epoch(&self) -> u64;

    /// The key that places users: chosen when the store was made, the same for its whole life.
    fn placement_key(&self) -> PlacementKey;

    /// The next `count` numbers, at most [`NUMBERS_RESERVED_MAX`](crate::NUMBERS_RESERVED_MAX). Durable when it
    /// returns.
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
    /// [`READ_MESSAGES_MAX`](crate::READ_MESSAGES_MAX)), and no more once their bodies exceed so many bytes, but always
    /// one. Expired messages are passed over.
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
