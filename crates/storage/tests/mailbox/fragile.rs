//! The embedded mailbox, failing on demand.

use std::ops::Range;

use bytes::Bytes;
use campanile_mailbox::contract::Call;
use campanile_mailbox::executor::{Expired, Mailbox, MailboxError, StorageStatus};
use campanile_mailbox::{
    Address, Append, Count, DedupKey, Page, PlacementKey, Remembered, Stored, Trim, UserRecord,
};
use campanile_protocol::ids::UserId;
use campanile_storage::FjallMailbox;

/// Fails when it is told to, before it does anything, and forgets nothing by itself.
pub(crate) struct Fragile {
    mailbox: FjallMailbox,
    /// Calls that are going to fail.
    pub(crate) failing: Vec<Call>,
    /// Whether appends never return.
    pub(crate) hangs: bool,
}

impl Fragile {
    pub(crate) fn new(mailbox: FjallMailbox) -> Fragile {
        Fragile { mailbox, failing: Vec::new(), hangs: false }
    }

    fn attempt(&mut self, call: Call) -> Result<&mut FjallMailbox, MailboxError> {
        match self.failing.iter().position(|failing| *failing == call) {
            Some(at) => {
                self.failing.remove(at);
                Err(MailboxError::Storage("it was told to fail".into()))
            }
            None => Ok(&mut self.mailbox),
        }
    }
}

impl Mailbox for Fragile {
    fn epoch(&self) -> u64 {
        self.mailbox.epoch()
    }

    fn placement_key(&self) -> PlacementKey {
        self.mailbox.placement_key()
    }

    fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        self.attempt(Call::Other)?.reserve(count)
    }

    fn append(&mut self, appends: &[Append], now_ms: u64) -> Result<Vec<Vec<Stored>>, MailboxError> {
        if self.hangs {
            loop {
                std::thread::park();
            }
        }
        self.attempt(Call::Append)?.append(appends, now_ms)
    }

    fn recall(
        &mut self,
        user: &UserId,
        key: &DedupKey,
        now_ms: u64,
    ) -> Result<Option<Remembered>, MailboxError> {
        self.attempt(Call::Other)?.recall(user, key, now_ms)
    }

    fn trim(&mut self, trims: &[Trim]) -> Result<(), MailboxError> {
        self.attempt(Call::Other)?.trim(trims)
    }

    fn remove(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<bool, MailboxError> {
        self.attempt(Call::Other)?.remove(address, seq, now_ms)
    }

    fn read(
        &mut self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Page, MailboxError> {
        self.attempt(Call::Other)?.read(address, after, messages_max, bytes_max, now_ms)
    }

    fn fetch(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<Option<Bytes>, MailboxError> {
        self.attempt(Call::Other)?.fetch(address, seq, now_ms)
    }

    fn count(&mut self, address: &Address) -> Result<Count, MailboxError> {
        self.attempt(Call::Other)?.count(address)
    }

    fn user(&mut self, user: &UserId) -> Result<Option<UserRecord>, MailboxError> {
        self.attempt(Call::Other)?.user(user)
    }

    fn put_user(&mut self, user: &UserId, record: &UserRecord) -> Result<(), MailboxError> {
        self.attempt(Call::Other)?.put_user(user, record)
    }

    fn expire(&mut self, now_ms: u64, looks_max: usize) -> Result<Expired, MailboxError> {
        self.attempt(Call::Other)?.expire(now_ms, looks_max)
    }

    fn sync(&mut self) -> Result<(), MailboxError> {
        self.attempt(Call::Sync)?.sync()
    }

    fn reopen(&mut self) -> Result<(), MailboxError> {
        self.attempt(Call::Reopen)?.reopen()
    }

    fn status(&mut self) -> StorageStatus {
        self.mailbox.status()
    }
}
