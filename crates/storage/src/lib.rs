//! The mailbox in a log-structured database of this node's disk.
//!
//! [`FjallMailbox`] keeps its layout in one directory, keys in the order in which they are read, and a
//! checksum with every value. What always holds:
//! - What belongs together is one batch: an append with its deduplication record and with the message that
//!   it replaces; a watermark with the removals that it stands for; a removal with the count that misses it.
//! - A watermark moves in memory and is written later, together with others. Reads honour the one in memory. A crash
//!   takes it back to an earlier one: messages are then delivered again, and none is lost.
//! - What is known of a mailbox in memory can be found out again by reading, at the cost of a few hundred
//!   entries.
//! - A record that is damaged is reported, counted and passed over. It never stands in the way of others.
//!
//! A known limit: the database does not pass over a damaged block when it merges the table that holds it. Its own
//! thread ends then, the mailbox fails and is reopened, and with the next merge the same happens: each time what was
//! not yet confirmed is answered as failed, and the counter of failures goes up. The error that is logged each time
//! says so. What waits can still be read and delivered: take the node out of service for publishers, let devices fetch
//! what waits, and start it with an empty directory. Other stores are not concerned.
//!
//! Nobody else may touch the directory; a lock sees to it. Callers must `reopen` after an error.

mod appending;
mod calls;
mod changes;
pub mod counters;
mod dedup;
mod expiry;
mod files;
mod journal;
mod keys;
mod known;
mod reclaim;
mod records;
mod removing;
mod room;
mod scan;
mod tables;
pub mod thread;
mod watchdog;

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use campanile_protocol::ids::{DeviceId, UserId};

pub use campanile_mailbox::executor::MailboxError;

pub use self::journal::KNOWN_VERSIONS;
pub use self::room::RoomOptions;

use self::changes::Changes;
use self::dedup::DedupCounts;
use self::expiry::{LOOKS_FOR_ROOM_MAX, Partway, Walk};
use self::files::Directory;
use self::keys::AddressKey;
use self::known::{KnownMailbox, KnownMailboxes, Recent};
use self::reclaim::Reclaim;
use self::records::Checkpoint;
use self::room::Room;
use self::tables::{Tables, bearable, get};
use campanile_mailbox::{DeviceRecord, MailboxLimits, PlacementKey, UserRecord};

/// Watermarks that only memory knows are written with one sync in so many, and with each that nothing was appended for.
const SYNCS_PER_WATERMARKS: u32 = 64;
/// Nor do more than so many mailboxes wait for that.
const WATERMARKS_AHEAD_MAX: usize = 2_048;
/// So far the numbers of a user's devices leap when the last one is not known.
const DEVICE_LEAP: u32 = 1 << 16;
/// So long a store that is closed waits for a merge.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);

/// What to do with a store that cannot be read any more.
const EMPTY_ADVICE: &str = "keep the directory, and start with an empty one";

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
    /// A file of the database is of a kind that this program does not know. Nothing was changed.
    #[error(
        "{path} {what}: another version wrote it, or it is damaged. Nothing was changed: start the version of this \
         program that wrote it last, or {EMPTY_ADVICE}"
    )]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// What is unknown in it.
        what: String,
    },
    /// The system has no random numbers.
    #[error("there are no random numbers: {0}")]
    Random(String),
}

/// How much memory the database takes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Blocks of files that are kept in memory, in bytes. Replays read each block once, so there is little to gain,
    /// and what is looked for and not there is mostly told by filters.
    pub cache_bytes: u64,
    /// Messages are sorted into a file when they take so much memory, in bytes; up to four more such heaps wait to be
    /// written. The larger, the more messages are confirmed before they would be written a second time.
    pub messages_memtable_bytes: u64,
}

impl Default for TableOptions {
    fn default() -> TableOptions {
        TableOptions { cache_bytes: 2 << 20, messages_memtable_bytes: 16 << 20 }
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
    /// Something has failed since it was opened: what memory counts may not be what is on disk.
    failed: bool,
    room: Room,
    reclaim: Reclaim,
    changes: Changes,
    known: KnownMailboxes,
    /// Mailboxes whose watermark on disk is behind.
    ahead: Vec<AddressKey>,
    dedup_counts: DedupCounts,
    mail_walk: Walk,
    partway: Option<Partway>,
    /// Looks that appends may still take to find room in full mailboxes, and what they have removed.
    looks_for_room: usize,
    expired_for_room: u64,
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
        let tables = Tables::open(directory.path(), directory.secret(), &options.tables)?;
        let mut room = Room::new(directory.path(), limits.bytes_total_max, options.room);
        room.look(tables.used_bytes(directory.path()));
        Ok(FjallMailbox {
            directory,
            limits,
            options,
            tables: Some(Arc::new(tables)),
            failed: false,
            room,
            reclaim: Reclaim::new(),
            changes: Changes::default(),
            known: KnownMailboxes::default(),
            ahead: Vec::new(),
            dedup_counts: DedupCounts::default(),
            mail_walk: Walk::new(),
            partway: None,
            looks_for_room: LOOKS_FOR_ROOM_MAX,
            expired_for_room: 0,
            dedup_walk: Walk::new(),
            appended: false,
            syncs: 0,
            damages: 0,
        })
    }

    /// The epoch of all numbers: chosen when the store was made, the same for its whole life.
    pub fn epoch(&self) -> u64 {
        self.directory.epoch()
    }

    /// The key that places users: chosen when the store was made, the same for its whole life.
    pub fn placement_key(&self) -> PlacementKey {
        self.directory.placement_key()
    }

    /// The next `count` numbers, for a shard that starts. Durable when it returns.
    ///
    /// # Errors
    /// [`MailboxError`]; the range is then used up or not, but not given to anybody.
    pub fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        self.directory.reserve(count).map_err(|error| MailboxError::Storage(Box::new(error)))
    }

    fn tables(&self) -> Result<Arc<Tables>, MailboxError> {
        self.tables.clone().ok_or_else(|| MailboxError::Storage("the store is closed".into()))
    }

    /// Does something, and takes note if it fails.
    fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut FjallMailbox, &Arc<Tables>) -> Result<T, MailboxError>,
    ) -> Result<T, MailboxError> {
        let tables = self.tables()?;
        let result = act(self, &tables);
        self.failed |= result.is_err();
        result
    }

    fn report_damage(&mut self, what: &str) {
        self.damages += 1;
        tracing::error!(what, damages = self.damages, "a record of the store is damaged; it is passed over");
    }

    fn count_damages(&mut self, damages: u64) {
        (0..damages).for_each(|_| self.report_damage("a message"));
    }

    /// What is known of a mailbox, found out first if necessary.
    fn load(&mut self, tables: &Tables, address: &AddressKey) -> Result<&mut KnownMailbox, MailboxError> {
        if self.known.get(address).is_none() {
            let known = self.read_known(tables, address)?;
            return Ok(self.known.insert(address, known));
        }
        self.known
            .get(address)
            .ok_or_else(|| MailboxError::Damaged("a mailbox that was there is gone".into()))
    }

    fn read_known(&mut self, tables: &Tables, address: &AddressKey) -> Result<KnownMailbox, MailboxError> {
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
        let mut known = KnownMailbox::new(written);
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

    fn commit(&mut self, tables: &Tables) -> Result<(), MailboxError> {
        let bytes = self.changes.commit(tables)?;
        self.room.wrote(bytes);
        Ok(())
    }

    fn look_at_room(&mut self, tables: &Arc<Tables>) -> Result<(), MailboxError> {
        if self.room.is_stale() {
            self.room.look(tables.used_bytes(self.directory.path()));
        }
        if self.room.full() && self.reclaim.is_due(self.room.used_bytes()) {
            self.write_watermarks(tables)?;
            self.reclaim.start(Arc::clone(tables), self.room.free_bytes());
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
                self.commit(tables)?;
            }
        }
        self.commit(tables)
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
        self.commit(tables)
    }

    /// The devices of a user whose record is damaged: those that have mailboxes. Others register again.
    fn rebuild_user(&mut self, tables: &Tables, user: &UserId) -> Result<UserRecord, MailboxError> {
        self.report_damage("a user");
        let mut record = UserRecord::default();
        for item in tables.mailboxes.prefix(keys::user(user)) {
            let key = match item.key() {
                Ok(key) => key,
                Err(error) => {
                    bearable(error)?;
                    break;
                }
            };
            if let Some(address) = AddressKey::parse(&key)
                && let Ok(device) = address.device().try_into()
            {
                record.devices.push(DeviceRecord { device, created_at_ms: 0, last_seen_at_ms: 0 });
                record.last_device = record.last_device.max(address.device());
            }
        }
        // Devices without a mailbox had numbers too, and none is given twice.
        record.last_device = record.last_device.saturating_add(DEVICE_LEAP).min(DeviceId::MAX);
        Ok(record)
    }

    /// Writes down what only memory knows.
    fn settle(&mut self) -> Result<(), MailboxError> {
        let tables = self.tables()?;
        let mut changes = std::mem::take(&mut self.changes);
        for (key, known) in self.known.iter_mut() {
            if (known.is_ahead() || known.appended > 0)
                && let Some(address) = AddressKey::parse(key)
            {
                changes.checkpoint(&tables, &address, known)?;
            }
        }
        changes.commit(&tables)?;
        tables.sync()?;
        // From now on nothing of it can be taken for torn.
        tables.seal()
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
        // What failed is answered as failed: nothing is written that counts it as done.
        if self.tables.is_some()
            && !self.failed
            && let Err(error) = self.settle()
        {
            tracing::error!(%error, "the store was closed without its last words");
        }
        self.reclaim.wait(CLOSE_WAIT_MAX);
        if let Some(tables) = self.tables.take().and_then(Arc::into_inner) {
            tables.close(self.directory.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::changes::Place;
    use super::*;
    use campanile_mailbox::executor::Mailbox;
    use campanile_mailbox::{Address, Append, Dedup, DedupKey, DedupScope, Envelope};

    const LIMITS: MailboxLimits = MailboxLimits {
        messages_per_device_max: 9,
        bytes_per_device_max: 1 << 20,
        bytes_total_max: u64::MAX,
    };

    fn open(directory: &Path) -> FjallMailbox {
        let room = RoomOptions { ballast_bytes: 0, free_low_bytes: 0, free_critical_bytes: 0 };
        FjallMailbox::open_with(directory, LIMITS, MailboxOptions { room, ..MailboxOptions::default() })
            .unwrap()
    }

    fn message(address: &Address, seq: u64) -> Append {
        Append {
            user: address.user.clone(),
            seq,
            expires_at_ms: u64::MAX,
            topic: "".into(),
            envelopes: vec![Envelope { device: address.device, body: "body".into(), confirmed: false }],
            dedup: None,
        }
    }

    /// Writes something over a record that is none.
    fn damage(mailbox: &mut FjallMailbox, place: Place, key: Vec<u8>) {
        let done = mailbox.attempt(|mailbox, tables| {
            mailbox.changes.insert(tables, place, key, b"damaged".to_vec());
            mailbox.commit(tables)
        });
        done.unwrap();
    }

    #[test]
    fn a_damaged_user_has_the_devices_with_mail_and_no_device_number_comes_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut mailbox = open(dir.path());
        let address = Address { user: "user".parse().unwrap(), device: 3.try_into().unwrap() };
        mailbox.append(&[message(&address, 1)], 0).unwrap();
        // Devices 4 to 9 were registered, and never had mail.
        mailbox.put_user(&address.user, &UserRecord { devices: Vec::new(), last_device: 9 }).unwrap();
        damage(&mut mailbox, Place::Users, keys::user(&address.user));
        let record = mailbox.user(&address.user).unwrap().unwrap();
        assert_eq!(record.devices.iter().map(|known| known.device).collect::<Vec<_>>(), [address.device]);
        assert!(record.last_device > 9, "{} was given out", record.last_device);
        assert_eq!(mailbox.status().damages, 1);
        let highest = Address { device: DeviceId::MAX.try_into().unwrap(), ..address.clone() };
        mailbox.append(&[message(&highest, 2)], 0).unwrap();
        assert_eq!(mailbox.user(&address.user).unwrap().unwrap().last_device, DeviceId::MAX);
    }

    #[test]
    fn a_damaged_order_of_deduplication_ids_is_reported_and_takes_its_id_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut mailbox = open(dir.path());
        let address = Address { user: "user".parse().unwrap(), device: 3.try_into().unwrap() };
        let key = |id: &str| DedupKey { scope: DedupScope::Publisher(1), id: id.into() };
        let with_id = |seq, id| Append {
            dedup: Some(Dedup { key: key(id), digest: [0; 16], until_ms: 1_000 }),
            ..message(&address, seq)
        };
        mailbox.append(&[with_id(1, "one"), with_id(2, "other")], 0).unwrap();
        let order = keys::dedup_order(&address.user, DedupScope::Publisher(1));
        damage(&mut mailbox, Place::DedupOrder, [&order[..], &1u64.to_be_bytes()].concat());
        mailbox.dedup_walk = Walk::new();
        mailbox.expire(1, 100).unwrap();
        assert_eq!(mailbox.status().damages, 1);
        assert!(mailbox.recall(&address.user, &key("one"), 1).unwrap().is_none());
        assert!(mailbox.recall(&address.user, &key("other"), 1).unwrap().is_some());
        mailbox.dedup_walk = Walk::new();
        mailbox.expire(1, 100).unwrap();
        assert_eq!(mailbox.status().damages, 1, "once is enough");
    }

    #[test]
    fn a_store_that_failed_is_closed_without_what_only_memory_counts() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address { user: "user".parse().unwrap(), device: 1.try_into().unwrap() };
        let mut mailbox = open(dir.path());
        mailbox.append(&[message(&address, 1)], 0).unwrap();
        mailbox.sync().unwrap();
        // An append that fails when it is counted, but not yet written.
        let failed = mailbox.attempt(|mailbox, tables| {
            let known = mailbox.load(tables, &AddressKey::of(&address))?;
            known.add(Recent { seq: 2, bytes: 4, has_topic: false }, u64::MAX);
            Err::<(), _>(MailboxError::Storage("the disk is gone".into()))
        });
        assert!(failed.is_err());
        drop(mailbox);
        assert_eq!(open(dir.path()).count(&address).unwrap().messages, 1);
    }
}
