//! The database: its keyspaces, how they are set up, and reading them although parts are damaged.
//!
//! | Keyspace | Key → value | |
//! |---|---|---|
//! | `messages` | message → expiry, topic, body | written once, removed once |
//! | `mailboxes` | mailbox → watermark and checkpoint of the counts | |
//! | `topics` | mailbox, topic → number of the waiting message | |
//! | `dedup` | deduplication id → what is remembered | |
//! | `dedup_order` | user, kind, number → deduplication id | oldest first |
//! | `users` | user → devices | |

use std::fs::{self, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::files::{Secret, sync_directory};
use super::journal::OPENER;
use super::keys::AddressKey;
use super::records::{Checkpoint, Damaged, Message};
use super::scan::Scan;
use super::{OpenError, TableOptions};
use campanile_mailbox::executor::MailboxError;

/// After the database was dropped its threads hold its files for a moment.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Merged files are about this large, in bytes: what one merge takes in room and time is a few times that.
const TABLE_BYTES: u64 = 16 << 20;

/// What a message takes beside its body, about.
const RECORD_BYTES: u64 = 64;
/// What a merge needs beside what is alive: what is in memory is written first.
const MERGE_MARGIN_BYTES: u64 = 24 << 20;

/// The keyspaces of an open database.
#[derive(Clone)]
pub(super) struct Tables {
    pub(super) database: Database,
    pub(super) messages: Keyspace,
    pub(super) mailboxes: Keyspace,
    pub(super) topics: Keyspace,
    pub(super) dedup: Keyspace,
    pub(super) dedup_order: Keyspace,
    pub(super) users: Keyspace,
    secret: Secret,
    /// Whether the next batch is the first since a sync. Held while a batch or a sync is under way: the merge thread
    /// writes too.
    opens: Arc<Mutex<bool>>,
}

/// A message that a scan has come to.
pub(super) struct Found {
    pub(super) seq: u64,
    /// Bytes of its body, or about so many if it is damaged.
    pub(super) bytes: u32,
    pub(super) message: Result<Message, Damaged>,
}

impl Tables {
    /// Opens the database, and makes it if it is not there.
    pub(super) fn open(
        directory: &Path,
        secret: &Secret,
        options: &TableOptions,
    ) -> Result<Tables, OpenError> {
        let path = directory.join("store");
        let refused = |error| OpenError::Io { path: path.clone(), error };
        if !path.try_exists().map_err(refused)? {
            // Only whole ones are found under the name: what a crash left half made held nothing.
            let new = directory.join("store.new");
            match fs::remove_dir_all(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
                _ => {}
            }
            drop(Tables::open_at(&new, secret, options)?);
            wait_until_closed(&new);
            fs::rename(&new, &path).and_then(|()| sync_directory(directory)).map_err(refused)?;
        }
        super::journal::mend(directory, secret)?;
        Tables::open_at(&path, secret, options)
    }

    fn open_at(path: &Path, secret: &Secret, options: &TableOptions) -> Result<Tables, OpenError> {
        let refused = |error| match error {
            fjall::Error::Locked => OpenError::Locked(path.into()),
            fjall::Error::Io(error) => OpenError::Io { path: path.into(), error },
            error => OpenError::Damaged(error.to_string()),
        };
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            // More than one, and one of them spins while the other merges.
            .worker_threads(1)
            .max_cached_files(Some(64))
            // The least that is allowed: journals are what a start has to read.
            .max_journaling_size(64 << 20)
            // One write for all that a commit wrote, and not one for each batch.
            .manual_journal_persist(true)
            // Bodies are ciphertext.
            .journal_compression(CompressionType::None)
            .open()
            .map_err(refused)?;
        let keyspace = |name: &str, memtable_bytes: u64, block_bytes: u32| {
            let create = || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable_bytes)
                    .data_block_size_policy(BlockSizePolicy::all(block_bytes))
                    .data_block_compression_policy(CompressionPolicy::disabled())
                    .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
                    .manual_journal_persist(true)
            };
            database.keyspace(name, create).map_err(refused)
        };
        Ok(Tables {
            messages: keyspace("messages", options.messages_memtable_bytes, 16 << 10)?,
            // A heap takes about twice as much memory as is counted here, and one that is sorted away costs two syncs.
            mailboxes: keyspace("mailboxes", 2 << 20, 4 << 10)?,
            topics: keyspace("topics", 1 << 20, 4 << 10)?,
            dedup: keyspace("dedup", 2 << 20, 4 << 10)?,
            dedup_order: keyspace("dedup_order", 1 << 20, 4 << 10)?,
            // Each connection may register its device: what is left of that in memory is paid for by all of them.
            users: keyspace("users", 512 << 10, 4 << 10)?,
            database,
            secret: *secret,
            opens: Arc::new(Mutex::new(true)),
        })
    }

    /// Closes the database, and waits until its threads have let go of its files.
    pub(super) fn close(self, directory: &Path) {
        drop(self);
        wait_until_closed(&directory.join("store"));
    }

    pub(super) fn batch(&self) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.database.clone(), 64)
    }

    /// Writes a batch, as the opener of a group if it is the first since a sync.
    pub(super) fn commit(&self, mut batch: OwnedWriteBatch) -> fjall::Result<()> {
        let mut opens = self.opens.lock().unwrap_or_else(PoisonError::into_inner);
        if *opens {
            // The last of its batch.
            batch.insert(&self.mailboxes, OPENER, self.secret);
        }
        batch.commit()?;
        *opens = false;
        Ok(())
    }

    /// Makes everything durable that was written. `fdatasync` is enough: the journal is a file that grows, and a new
    /// size is among what it writes, since the data could not be read without it; a new journal's name is made durable
    /// when it is made.
    pub(super) fn sync(&self) -> Result<(), MailboxError> {
        let mut opens = self.opens.lock().unwrap_or_else(PoisonError::into_inner);
        self.database.persist(PersistMode::SyncData).map_err(failed)?;
        *opens = true;
        Ok(())
    }

    /// Opens a group that has nothing in it: what comes before it cannot be taken for torn.
    pub(super) fn seal(&self) -> Result<(), MailboxError> {
        self.commit(self.batch()).map_err(failed)?;
        self.sync()
    }

    /// The secret that keys of this store are hashed with.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Bytes on disk. Journals are sparse: only what they have written counts.
    pub(super) fn used_bytes(&self, directory: &Path) -> u64 {
        let journals = journals(&directory.join("store")).iter().map(|(_, bytes)| bytes).sum::<u64>();
        let [one, two, three] =
            [&self.messages, &self.mailboxes, &self.topics].map(|keyspace| keyspace.disk_space());
        let [four, five, six] =
            [&self.dedup, &self.dedup_order, &self.users].map(|keyspace| keyspace.disk_space());
        journals + one + two + three + four + five + six
    }

    /// Each message of a mailbox after a number up to another, oldest first, until `visit` breaks off. What cannot be
    /// read is passed over; the number of such places is returned.
    pub(super) fn scan(
        &self,
        address: &AddressKey,
        after: u64,
        up_to: u64,
        visit: impl FnMut(Found) -> ControlFlow<()>,
    ) -> Result<u64, MailboxError> {
        let Some(start) = after.checked_add(1) else { return Ok(0) };
        let mut scan = Scan { tables: self, address, start, up_to, damages: 0, visit };
        scan.run()?;
        Ok(scan.damages)
    }

    /// One message, if it is there.
    pub(super) fn message(
        &self,
        address: &AddressKey,
        seq: u64,
    ) -> Result<Option<Result<Message, Damaged>>, MailboxError> {
        let key = address.message(seq);
        Ok(match get(&self.messages, &key)? {
            Some(Ok(value)) => Some(Message::decode(&key, value)),
            Some(Err(damaged)) => Some(Err(damaged)),
            None => None,
        })
    }

    /// Makes the database give back the room of what was removed, if the rest fits into `free_bytes` meanwhile. Whether
    /// it did. It takes a while; not for the store's thread.
    pub(super) fn compact(&self, free_bytes: u64) -> fjall::Result<bool> {
        let alive = self.alive_bytes()?;
        if alive + alive / 8 + MERGE_MARGIN_BYTES > free_bytes {
            tracing::info!(alive, free_bytes, "too much is alive to be merged in the room that there is");
            return Ok(false);
        }
        self.rotate()?;
        self.messages.major_compact()?;
        // Files that were merged are removed with the next rotation only.
        self.rotate().map(|()| true)
    }

    /// Sorts all that is in memory into tables, and waits until that is done.
    fn rotate(&self) -> fjall::Result<()> {
        let all =
            [&self.messages, &self.mailboxes, &self.topics, &self.dedup, &self.dedup_order, &self.users];
        let mut batch = self.batch();
        for keyspace in all {
            // A journal goes when everything up to its last entry has been sorted into tables. Entries that cancelled
            // each other are in no table: this one is.
            batch.insert(keyspace, [0u8], [0u8; 8]);
        }
        self.commit(batch)?;
        for keyspace in all {
            keyspace.rotate_memtable()?;
        }
        let patience = Instant::now() + Duration::from_secs(30);
        while all.iter().any(|keyspace| keyspace.sealed_memtable_count() > 0) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Tables {
    /// About how much waits in all mailboxes.
    fn alive_bytes(&self) -> fjall::Result<u64> {
        let mut alive = 0;
        for item in self.mailboxes.iter() {
            let (key, value) = item.into_inner()?;
            if let Ok(checkpoint) = Checkpoint::decode(&key, &value) {
                alive += checkpoint.bytes + checkpoint.messages * RECORD_BYTES;
            }
        }
        Ok(alive)
    }
}

/// Reads a value; `Err` inside if it is damaged.
pub(super) fn get(keyspace: &Keyspace, key: &[u8]) -> Result<Option<Result<Bytes, Damaged>>, MailboxError> {
    match keyspace.get(key) {
        Ok(value) => Ok(value.map(|value| Ok(value.into()))),
        Err(error) => bearable(error).map(|()| Some(Err(Damaged))),
    }
}

/// Whether only what was to be read is damaged, and not the storage.
pub(super) fn bearable(error: fjall::Error) -> Result<(), MailboxError> {
    match error {
        fjall::Error::Storage(fjall::LsmError::Io(_)) | fjall::Error::Io(_) | fjall::Error::Poisoned => {
            Err(failed(error))
        }
        error => {
            tracing::error!(%error, "a part of the store is damaged; it is passed over");
            Ok(())
        }
    }
}

pub(super) fn failed(error: fjall::Error) -> MailboxError {
    if matches!(error, fjall::Error::Poisoned) {
        tracing::error!(
            "the database's own thread has ended with an error: the disk refuses or is full, or a table is damaged. \
             If this comes again although the disk has room and works, a damaged table cannot be merged: let devices \
             fetch what waits, and start the node with an empty data directory"
        );
    }
    MailboxError::Storage(Box::new(error))
}

/// Journal files with the bytes that they occupy.
pub(super) fn journals(store: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(store) else { return Vec::new() };
    let journal = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let bytes = fs::metadata(&path).ok()?.blocks() * 512;
        is_journal.then_some((path, bytes))
    };
    entries.filter_map(journal).collect()
}

/// Makes the next reads of the journals come from the disk: after a failed sync the kernel takes pages for clean that
/// were never written.
pub(super) fn forget_cached(directory: &Path) {
    for (path, _) in journals(&directory.join("store")) {
        if let Ok(file) = OpenOptions::new().read(true).open(path) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

/// The database's threads end on their own after it was dropped, and write what they still hold. Until then another one
/// must not be opened on the same files.
fn wait_until_closed(store: &Path) {
    let Ok(store) = store.canonicalize() else { return };
    let holds = || {
        let Ok(entries) = fs::read_dir("/proc/self/fd") else { return false };
        entries
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|target| target.starts_with(&store))
    };
    let patience = Instant::now() + CLOSE_WAIT_MAX;
    while holds() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_writes_first_after_a_sync_opens_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let secret = b"known to nobody ";
        let tables = Tables::open(dir.path(), secret, &TableOptions::default()).unwrap();
        let write = || {
            let mut batch = tables.batch();
            batch.insert(&tables.users, [1u8], [0u8; 100]);
            tables.commit(batch).unwrap();
        };
        let openers = || {
            tables.sync().unwrap();
            let all = journals(&dir.path().join("store"));
            let written = |path: &std::path::PathBuf| super::super::journal::read(path).unwrap();
            let bytes: Vec<u8> = all.iter().flat_map(|(path, _)| written(path)).collect();
            bytes.windows(secret.len()).filter(|found| found == secret).count()
        };
        (0..3).for_each(|_| write());
        assert_eq!(openers(), 1);
        (0..3).for_each(|_| write());
        assert_eq!(openers(), 2);
        // The merge thread is like the others.
        tables.rotate().unwrap();
        write();
        assert_eq!(openers(), 3, "the merge's batch, and not the one after it");
    }
}
