//! The mailbox in a log-structured database of this node's disk.
//!
//! [`FjallMailbox`] keeps its [layout](files) in one directory, [keys](keys) in the order in which they are read, and a
//! checksum with [every value](records). What always holds:
//! - What belongs together is one [batch](changes): an append with its deduplication record and with the message that
//!   it replaces; a watermark with the removals that it stands for; a removal with the count that misses it.
//! - A watermark moves in memory and is written later, together with others. Reads honour the one in memory. A crash
//!   takes it back to an earlier one: messages are then delivered again, and none is lost.
//! - What [is known](known) of a mailbox in memory can be found out again by reading, at the cost of a few hundred
//!   entries.
//! - A record that is damaged is reported, counted and passed over. It never stands in the way of others.
//!
//! Nobody else may touch the directory; a lock sees to it. Callers must [`reopen`](Mailbox::reopen) after an error.

mod changes;
mod dedup;
mod expiry;
mod files;
mod keys;
mod known;
mod reclaim;
mod records;
mod room;
mod tables;

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use campanile_protocol::ids::UserId;

pub use self::room::RoomOptions;

use self::changes::{Changes, Place};
use self::dedup::DedupCounts;
use self::expiry::{Partway, Walk};
use self::files::Directory;
use self::keys::AddressKey;
use self::known::{Known, KnownMailboxes, REMOVALS_PENDING_MAX, Recent};
use self::reclaim::Reclaim;
use self::records::{Checkpoint, Message};
use self::room::Room;
use self::tables::{Tables, get};
use super::{
    Address, Append, Count, DedupKey, DeviceRecord, Envelope, Mailbox, MailboxError, MailboxLimits, Page,
    READ_MESSAGES_MAX, Remembered, StorageStatus, Stored, Trim, UserRecord, Waiting,
};

/// Messages that are removed by one batch.
const REMOVALS_PER_BATCH_MAX: usize = 4_096;
/// Watermarks that only memory knows are written with one sync in so many, and with each that nothing was appended for.
const SYNCS_PER_WATERMARKS: u32 = 64;
/// Nor do more than so many mailboxes wait for that.
const WATERMARKS_AHEAD_MAX: usize = 2_048;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage refuses.
    #[error("{path} cannot be opened: {error}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// It was written by another version of this program.
    #[error("the store has format version {found}; this program knows version {known}")]
    Version {
        /// The store's version.
        found: u32,
        /// This program's version.
        known: u32,
    },
    /// It is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The system has no random numbers.
    #[error("there are no random numbers: {0}")]
    Random(String),
}

/// How much memory the database takes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Blocks of files that are kept in memory, in bytes. Replays read each block once, so there is little to gain.
    pub cache_bytes: u64,
    /// Messages are sorted into a file when they take so much memory, in bytes; up to four more such heaps wait to be
    /// written. The larger, the more messages are confirmed before they would be written a second time.
    pub messages_memtable_bytes: u64,
}

impl Default for TableOptions {
    fn default() -> TableOptions {
        TableOptions { cache_bytes: 16 << 20, messages_memtable_bytes: 16 << 20 }
    }
}

/// How the mailbox uses the machine.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct MailboxOptions {
    /// The disk.
    pub room: RoomOptions,
    /// The memory.
    pub tables: TableOptions,
}

/// The embedded mailbox.
pub struct FjallMailbox {
    directory: Directory,
    limits: MailboxLimits,
    options: MailboxOptions,
    /// `None` after a failed reopening.
    tables: Option<Arc<Tables>>,
    room: Room,
    reclaim: Reclaim,
    changes: Changes,
    known: KnownMailboxes,
    /// Mailboxes whose watermark on disk is behind.
    ahead: Vec<AddressKey>,
    dedup_counts: DedupCounts,
    mail_walk: Walk,
    partway: Option<Partway>,
    dedup_walk: Walk,
    /// Whether something was appended since the last sync, and how many syncs there were.
    appended: bool,
    syncs: u32,
    damages: u64,
}

impl FjallMailbox {
    /// Opens the store in a directory, and makes it if it is not there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path, limits: MailboxLimits) -> Result<FjallMailbox, OpenError> {
        FjallMailbox::open_with(directory, limits, MailboxOptions::default())
    }

    /// Like [`FjallMailbox::open`], for machines that are not like others.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(
        directory: &Path,
        limits: MailboxLimits,
        options: MailboxOptions,
    ) -> Result<FjallMailbox, OpenError> {
        let directory = Directory::open(directory)?;
        let tables = Tables::open(directory.path(), &options.tables)?;
        let mut room = Room::new(directory.path(), limits.bytes_total_max, options.room);
        room.look(tables.used_bytes(directory.path()));
        Ok(FjallMailbox {
            directory,
            limits,
            options,
            tables: Some(Arc::new(tables)),
            room,
            reclaim: Reclaim::new(),
            changes: Changes::default(),
            known: KnownMailboxes::default(),
            ahead: Vec::new(),
            dedup_counts: DedupCounts::default(),
            mail_walk: Walk::new(),
            partway: None,
            dedup_walk: Walk::new(),
            appended: false,
            syncs: 0,
            damages: 0,
        })
    }

    /// Damaged places that were passed over so far.
    pub fn damages(&self) -> u64 {
        self.damages
    }

    fn tables(&self) -> Result<Arc<Tables>, MailboxError> {
        self.tables.clone().ok_or_else(|| MailboxError::Storage("the store is closed".into()))
    }

    fn report_damage(&mut self, what: &str) {
        self.damages += 1;
        tracing::error!(what, damages = self.damages, "a record of the store is damaged; it is passed over");
    }

    fn count_damages(&mut self, damages: u64) {
        (0..damages).for_each(|_| self.report_damage("a message"));
    }

    /// What is known of a mailbox, found out first if necessary.
    fn load(&mut self, tables: &Tables, address: &AddressKey) -> Result<&mut Known, MailboxError> {
        if self.known.get(address).is_none() {
            let known = self.read_known(tables, address)?;
            return Ok(self.known.insert(address, known));
        }
        self.known
            .get(address)
            .ok_or_else(|| MailboxError::Damaged("a mailbox that was there is gone".into()))
    }

    fn read_known(&mut self, tables: &Tables, address: &AddressKey) -> Result<Known, MailboxError> {
        let key = address.as_slice();
        let written = match get(&tables.mailboxes, key)? {
            None => None,
            Some(value) => match value.and_then(|value| Checkpoint::decode(key, &value)) {
                Ok(checkpoint) => Some(checkpoint),
                Err(_) => {
                    // All that waits is counted anew. What was confirmed is removed already.
                    self.report_damage("a mailbox");
                    None
                }
            },
        };
        let mut known = Known::new(written);
        let damages = tables.scan(address, known.head, u64::MAX, |found| {
            let (has_topic, expires_at_ms) = match &found.message {
                Ok(message) => (!message.topic.is_empty(), message.expires_at_ms),
                Err(_) => (false, u64::MAX),
            };
            known.add(Recent { seq: found.seq, bytes: found.bytes, has_topic }, expires_at_ms);
            ControlFlow::Continue(())
        })?;
        self.count_damages(damages);
        Ok(known)
    }

    fn commit(&mut self) -> Result<(), MailboxError> {
        let bytes = self.changes.commit()?;
        self.room.wrote(bytes);
        Ok(())
    }

    fn look_at_room(&mut self, tables: &Arc<Tables>) -> Result<(), MailboxError> {
        if !self.room.is_stale() {
            return Ok(());
        }
        let used_bytes = tables.used_bytes(self.directory.path());
        self.room.look(used_bytes);
        if self.room.full() && self.reclaim.is_due(used_bytes) {
            self.write_watermarks(tables)?;
            self.reclaim.start(Arc::clone(tables));
        }
        Ok(())
    }

    fn write_checkpoint(&mut self, tables: &Tables, address: &AddressKey) -> Result<(), MailboxError> {
        match self.known.get(address) {
            Some(known) => self.changes.checkpoint(tables, address, known),
            None => Ok(()),
        }
    }

    /// Writes the watermarks that only memory knows.
    fn write_watermarks(&mut self, tables: &Tables) -> Result<(), MailboxError> {
        for address in std::mem::take(&mut self.ahead) {
            if let Some(known) = self.known.get(&address) {
                known.listed = false;
                if known.is_ahead() {
                    self.changes.checkpoint(tables, &address, known)?;
                }
            }
            if self.changes.bytes > 1 << 20 {
                self.commit()?;
            }
        }
        self.commit()
    }

    /// Forgets mailboxes that were not used lately.
    fn forget_old(&mut self, tables: &Tables) -> Result<(), MailboxError> {
        let Some(old) = self.known.take_old() else { return Ok(()) };
        for (key, mut known) in old {
            if (known.is_ahead() || !known.pending.is_empty() || known.appended >= 32)
                && let Some(address) = AddressKey::parse(&key)
            {
                self.changes.checkpoint(tables, &address, &mut known)?;
            }
        }
        self.commit()
    }

    /// Makes sure that the topics of an append are seen as they are.
    fn prepare_topics(&mut self, tables: &Tables, append: &Append) -> Result<(), MailboxError> {
        for envelope in &append.envelopes {
            let address = AddressKey::new(&append.user, envelope.device);
            let known = self.load(tables, &address)?;
            if known.pending.iter().any(|message| message.has_topic) {
                self.write_checkpoint(tables, &address)?;
                self.changes.topics = true;
            }
        }
        if self.changes.topics { self.commit() } else { Ok(()) }
    }

    fn append_one(
        &mut self,
        tables: &Tables,
        append: &Append,
        envelope: &Envelope,
    ) -> Result<Stored, MailboxError> {
        if envelope.confirmed {
            return Ok(Stored::Yes);
        }
        let address = AddressKey::new(&append.user, envelope.device);
        if append.seq <= self.load(tables, &address)?.acknowledged {
            return Ok(Stored::Yes);
        }
        if self.room.full() {
            return Ok(Stored::StorageFull);
        }
        let replaced = match append.topic.is_empty() {
            true => None,
            false => self.waiting_of_topic(tables, &address, &append.topic)?,
        };
        let limits = self.limits;
        let known = self.load(tables, &address)?;
        let (fewer, less) = replaced.map_or((0, 0), |replaced| (1, u64::from(replaced.bytes)));
        let bytes = envelope.body.len() as u64;
        if known.messages.saturating_sub(fewer) + 1 > limits.messages_per_device_max
            || known.bytes.saturating_sub(less) + bytes > limits.bytes_per_device_max
        {
            return Ok(Stored::MailboxFull);
        }
        let mut checkpoint = false;
        if let Some(replaced) = replaced {
            checkpoint = known.is_counted_on_disk(replaced.seq);
            known.forget(replaced.seq, replaced.bytes);
        }
        let has_topic = !append.topic.is_empty();
        known.add(Recent { seq: append.seq, bytes: bytes as u32, has_topic }, append.expires_at_ms);
        checkpoint |= known.needs_checkpoint();
        if let Some(replaced) = replaced {
            self.changes.remove(tables, Place::Messages, address.message(replaced.seq));
            self.reclaim.removed(replaced.bytes.into());
        }
        let key = address.message(append.seq);
        let value = Message::encode(&key, append.expires_at_ms, &append.topic, &envelope.body);
        self.changes.insert(tables, Place::Messages, key, value);
        if has_topic {
            let key = address.topic(append.topic.as_bytes());
            let value = records::encode_topic(&key, append.seq);
            self.changes.insert(tables, Place::Topics, key, value);
            self.changes.topics = true;
        }
        if checkpoint {
            self.write_checkpoint(tables, &address)?;
        }
        self.mail_walk.expect(append.expires_at_ms);
        Ok(Stored::Yes)
    }

    /// The message that waits under a topic.
    fn waiting_of_topic(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        topic: &str,
    ) -> Result<Option<Recent>, MailboxError> {
        let key = address.topic(topic.as_bytes());
        let Some(value) = get(&tables.topics, &key)? else { return Ok(None) };
        let Ok(seq) = value.and_then(|value| records::decode_topic(&key, &value)) else {
            self.report_damage("a topic");
            return Ok(None);
        };
        if seq <= self.load(tables, address)?.acknowledged {
            return Ok(None);
        }
        Ok(match tables.message(address, seq)? {
            None => None,
            Some(Ok(message)) => Some(Recent { seq, bytes: message.body.len() as u32, has_topic: true }),
            Some(Err(_)) => {
                self.report_damage("a message");
                Some(Recent { seq, bytes: 0, has_topic: true })
            }
        })
    }

    fn trim_one(&mut self, tables: &Tables, address: &AddressKey, up_to: u64) -> Result<(), MailboxError> {
        let known = self.load(tables, address)?;
        if up_to <= known.acknowledged {
            return Ok(());
        }
        if known.messages > known.recent.len() as u64 {
            self.trim_unknown(tables, address, up_to)?;
        }
        let known = self.load(tables, address)?;
        let before = known.bytes;
        while let Some(oldest) = known.recent.front().copied().filter(|oldest| oldest.seq <= up_to) {
            known.recent.pop_front();
            known.confirm(oldest);
        }
        known.acknowledged = up_to;
        known.head = known.head.max(up_to);
        known.recent_after = known.recent_after.max(up_to);
        let freed = before - known.bytes;
        let write = known.pending.len() >= REMOVALS_PENDING_MAX;
        if !write && !known.listed {
            known.listed = true;
            self.ahead.push(*address);
        }
        if write {
            self.write_checkpoint(tables, address)?;
        }
        self.reclaim.removed(freed);
        Ok(())
    }

    /// Confirms messages that have to be read first, in batches.
    fn trim_unknown(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        up_to: u64,
    ) -> Result<(), MailboxError> {
        loop {
            let known = self.load(tables, address)?;
            let (after, last) = (known.acknowledged, up_to.min(known.recent_after));
            let mut found = Vec::new();
            let damages = tables.scan(address, after, last, |message| {
                let has_topic = message.message.is_ok_and(|message| !message.topic.is_empty());
                found.push(Recent { seq: message.seq, bytes: message.bytes, has_topic });
                if found.len() < REMOVALS_PER_BATCH_MAX {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            self.count_damages(damages);
            let known = self.load(tables, address)?;
            let done = found.len() < REMOVALS_PER_BATCH_MAX;
            let before = known.bytes;
            known.acknowledged = if done { last } else { found.last().map_or(last, |last| last.seq) };
            found.into_iter().for_each(|message| known.confirm(message));
            let freed = before - known.bytes;
            if done && last == known.recent_after {
                // What was counted and not found was damaged.
                known.messages = known.recent.len() as u64;
                known.bytes = known.recent.iter().map(|message| u64::from(message.bytes)).sum();
            }
            self.reclaim.removed(freed);
            if done {
                return Ok(());
            }
            self.write_checkpoint(tables, address)?;
            self.commit()?;
        }
    }

    fn remove_one(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        seq: u64,
        now_ms: u64,
    ) -> Result<bool, MailboxError> {
        if seq <= self.load(tables, address)?.acknowledged {
            return Ok(false);
        }
        let Some(message) = tables.message(address, seq)? else { return Ok(false) };
        let (bytes, there) = match &message {
            Ok(message) if message.expires_at_ms <= now_ms => return Ok(false),
            Ok(message) => (message.body.len() as u32, true),
            Err(_) => (0, false),
        };
        let known = self.load(tables, address)?;
        let checkpoint = known.is_counted_on_disk(seq);
        known.forget(seq, bytes);
        match message {
            Ok(message) if !message.topic.is_empty() => {
                self.changes.remove_topic(tables, address, &message.topic, seq)?;
            }
            Ok(_) => {}
            Err(_) => self.report_damage("a message"),
        }
        self.changes.remove(tables, Place::Messages, address.message(seq));
        if checkpoint {
            self.write_checkpoint(tables, address)?;
        }
        self.reclaim.removed(bytes.into());
        self.commit()?;
        Ok(there)
    }

    /// The devices of a user whose record is damaged: those that have mailboxes.
    fn rebuild_user(&mut self, tables: &Tables, user: &UserId) -> Result<UserRecord, MailboxError> {
        self.report_damage("a user");
        let mut record = UserRecord::default();
        for item in tables.mailboxes.prefix(keys::user(user)) {
            let Ok(key) = item.key() else { break };
            if let Some(address) = AddressKey::parse(&key)
                && let Ok(device) = address.device().try_into()
            {
                record.devices.push(DeviceRecord { device, created_at_ms: 0, last_seen_at_ms: 0 });
                record.last_device = record.last_device.max(address.device());
            }
        }
        Ok(record)
    }

    /// Writes down what only memory knows.
    fn settle(&mut self) -> Result<(), MailboxError> {
        let tables = self.tables()?;
        self.reclaim.wait();
        let mut changes = std::mem::take(&mut self.changes);
        for (key, known) in self.known.iter_mut() {
            if (known.is_ahead() || known.appended > 0)
                && let Some(address) = AddressKey::parse(key)
            {
                changes.checkpoint(&tables, &address, known)?;
            }
        }
        changes.commit()?;
        tables.sync()
    }

    fn forget_everything(&mut self) {
        self.changes = Changes::default();
        self.known = KnownMailboxes::default();
        self.ahead = Vec::new();
        self.dedup_counts = DedupCounts::default();
        (self.mail_walk, self.dedup_walk) = (Walk::new(), Walk::new());
        self.partway = None;
        self.appended = false;
    }
}

impl Drop for FjallMailbox {
    fn drop(&mut self) {
        if self.tables.is_some()
            && let Err(error) = self.settle()
        {
            tracing::error!(%error, "the store was closed without its last words");
        }
        if let Some(tables) = self.tables.take().and_then(Arc::into_inner) {
            tables.close(self.directory.path());
        }
    }
}

impl Mailbox for FjallMailbox {
    fn epoch(&self) -> u64 {
        self.directory.epoch()
    }

    fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        self.directory.reserve(count).map_err(|error| MailboxError::Storage(Box::new(error)))
    }

    fn append(&mut self, appends: &[Append], now_ms: u64) -> Result<Vec<Vec<Stored>>, MailboxError> {
        let tables = self.tables()?;
        let mut outcomes = Vec::with_capacity(appends.len());
        for append in appends {
            self.look_at_room(&tables)?;
            if !append.topic.is_empty() {
                self.prepare_topics(&tables, append)?;
            }
            if let Some(dedup) = &append.dedup {
                self.prepare_dedup(&tables, &append.user, dedup)?;
            }
            let mut stored = Vec::with_capacity(append.envelopes.len());
            for envelope in &append.envelopes {
                stored.push(self.append_one(&tables, append, envelope)?);
            }
            if let Some(dedup) = &append.dedup
                && stored.contains(&Stored::Yes)
            {
                self.remember(&tables, append, dedup, &stored, now_ms)?;
            }
            outcomes.push(stored);
            if self.changes.bytes > 1 << 20 {
                self.commit()?;
            }
        }
        self.commit()?;
        self.appended = true;
        self.forget_old(&tables)?;
        Ok(outcomes)
    }

    fn recall(
        &mut self,
        user: &UserId,
        key: &DedupKey,
        now_ms: u64,
    ) -> Result<Option<Remembered>, MailboxError> {
        let tables = self.tables()?;
        self.recall_one(&tables, user, key, now_ms)
    }

    fn trim(&mut self, trims: &[Trim]) -> Result<(), MailboxError> {
        let tables = self.tables()?;
        for trim in trims {
            self.trim_one(&tables, &AddressKey::of(&trim.address), trim.up_to)?;
        }
        self.commit()?;
        self.forget_old(&tables)
    }

    fn remove(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<bool, MailboxError> {
        let tables = self.tables()?;
        self.remove_one(&tables, &AddressKey::of(address), seq, now_ms)
    }

    fn read(
        &mut self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Page, MailboxError> {
        let tables = self.tables()?;
        let address = AddressKey::of(address);
        let messages_max = messages_max.clamp(1, READ_MESSAGES_MAX);
        let after = after.max(self.load(&tables, &address)?.acknowledged);
        let mut page = Page::default();
        let mut bytes = 0;
        let damages = tables.scan(&address, after, u64::MAX, |found| {
            let Ok(message) = found.message else { return ControlFlow::Continue(()) };
            if message.expires_at_ms <= now_ms {
                return ControlFlow::Continue(());
            }
            bytes += message.body.len();
            let full =
                page.messages.len() == messages_max || (bytes > bytes_max && !page.messages.is_empty());
            if full {
                page.more = true;
                return ControlFlow::Break(());
            }
            page.messages.push(Waiting { seq: found.seq, body: message.body });
            ControlFlow::Continue(())
        })?;
        self.count_damages(damages);
        self.forget_old(&tables)?;
        Ok(page)
    }

    fn fetch(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<Option<Bytes>, MailboxError> {
        let tables = self.tables()?;
        let address = AddressKey::of(address);
        if seq <= self.load(&tables, &address)?.acknowledged {
            return Ok(None);
        }
        Ok(match tables.message(&address, seq)? {
            Some(Ok(message)) => {
                Some(message).filter(|message| message.expires_at_ms > now_ms).map(|message| message.body)
            }
            Some(Err(_)) => {
                self.report_damage("a message");
                None
            }
            None => None,
        })
    }

    fn count(&mut self, address: &Address) -> Result<Count, MailboxError> {
        let tables = self.tables()?;
        let known = self.load(&tables, &AddressKey::of(address))?;
        let count = Count { messages: known.messages, bytes: known.bytes, acknowledged: known.acknowledged };
        self.forget_old(&tables)?;
        Ok(count)
    }

    fn user(&mut self, user: &UserId) -> Result<Option<UserRecord>, MailboxError> {
        let tables = self.tables()?;
        let key = keys::user(user);
        match get(&tables.users, &key)? {
            None => Ok(None),
            Some(value) => match value.and_then(|value| records::decode_user(&key, &value)) {
                Ok(record) => Ok(Some(record)),
                Err(_) => self.rebuild_user(&tables, user).map(Some),
            },
        }
    }

    fn put_user(&mut self, user: &UserId, record: &UserRecord) -> Result<(), MailboxError> {
        let tables = self.tables()?;
        let key = keys::user(user);
        let value = records::encode_user(&key, record);
        self.changes.insert(&tables, Place::Users, key, value);
        self.commit()
    }

    fn expire(&mut self, now_ms: u64, looks_max: usize) -> Result<u64, MailboxError> {
        let tables = self.tables()?;
        self.look_at_room(&tables)?;
        let looks = self.expire_dedups(&tables, now_ms, looks_max.div_ceil(2))?;
        let removed = self.expire_messages(&tables, now_ms, (looks_max - looks).max(1))?;
        self.forget_old(&tables)?;
        Ok(removed)
    }

    fn sync(&mut self) -> Result<(), MailboxError> {
        let tables = self.tables()?;
        self.look_at_room(&tables)?;
        self.syncs = self.syncs.wrapping_add(1);
        if !self.appended
            || self.ahead.len() >= WATERMARKS_AHEAD_MAX
            || self.syncs.is_multiple_of(SYNCS_PER_WATERMARKS)
        {
            self.write_watermarks(&tables)?;
        }
        self.appended = false;
        tables.sync()
    }

    fn reopen(&mut self) -> Result<(), MailboxError> {
        self.reclaim.wait();
        self.forget_everything();
        if let Some(tables) = self.tables.take().and_then(Arc::into_inner) {
            tables.close(self.directory.path());
        }
        tables::forget_cached(self.directory.path());
        let failed = |error: OpenError| MailboxError::Storage(Box::new(error));
        self.directory.reload().map_err(failed)?;
        let tables = Tables::open(self.directory.path(), &self.options.tables).map_err(failed)?;
        self.room.look(tables.used_bytes(self.directory.path()));
        self.tables = Some(Arc::new(tables));
        Ok(())
    }

    fn status(&mut self) -> StorageStatus {
        if let Some(tables) = self.tables.clone()
            && self.room.is_stale()
        {
            self.room.look(tables.used_bytes(self.directory.path()));
        }
        StorageStatus { bytes: self.room.used_bytes(), full: self.room.full() }
    }
}
