//! Changes that are written together: all or none of them survive a crash.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use fjall::OwnedWriteBatch;

use super::keys::AddressKey;
use super::known::{KnownMailbox, Recent};
use super::records::{Checkpoint, Message, decode_topic};
use super::tables::{Tables, failed, get};
use campanile_mailbox::Append;
use campanile_mailbox::executor::MailboxError;

/// Memory that messages share, in bytes: whoever keeps one of them keeps it all, as with a block that was read.
const MEMORY_BYTES: usize = 16 << 10;

/// What is written with the next [`Changes::commit`]. Reads do not see it before.
///
/// No key may be written twice in it: of two values with one key it is not said which one stays. So whoever is about to
/// look at a topic or a deduplication id that is changed here already has to commit first.
#[derive(Default)]
pub(super) struct Changes {
    batch: Option<OwnedWriteBatch>,
    /// Whether topics of new messages are among them.
    pub(super) topics: bool,
    /// Keys of the deduplication ids among them.
    pub(super) dedups: HashSet<Vec<u8>>,
    /// Bytes of keys and values.
    pub(super) bytes: usize,
    /// For the next messages, and for their keys: those are compared for every message that comes, and lie close to
    /// each other for that.
    memory: BytesMut,
    key_memory: BytesMut,
}

impl Changes {
    pub(super) fn insert(&mut self, tables: &Tables, keyspace: Place, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        let batch = self.batch.get_or_insert_with(|| tables.batch());
        batch.insert(keyspace.of(tables), exact(key), exact(value));
    }

    /// Adds a message. Messages share their memory with the next ones, which spares them allocations of their own, and
    /// the database those of its references.
    pub(super) fn insert_message(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        append: &Append,
        body: &[u8],
    ) {
        let key_bytes = address.as_slice().len() + 8;
        let value_bytes = Message::encoded_bytes_max(&append.topic, body);
        make_room(&mut self.key_memory, key_bytes);
        make_room(&mut self.memory, value_bytes);
        address.push_message(append.seq, &mut self.key_memory);
        let key = self.key_memory.split().freeze();
        Message::encode(&key, append.expires_at_ms, &append.topic, body, &mut self.memory);
        let value = self.memory.split().freeze();
        self.bytes += key_bytes + value_bytes;
        let batch = self.batch.get_or_insert_with(|| tables.batch());
        batch.insert(&tables.messages, key, value);
    }

    pub(super) fn remove(&mut self, tables: &Tables, keyspace: Place, key: Vec<u8>) {
        self.bytes += key.len();
        let key = exact(key);
        let batch = self.batch.get_or_insert_with(|| tables.batch());
        match keyspace {
            // Its key is written once and removed once, as a number is never given out again and only what is there is
            // removed. So the mark of the removal may vanish together with the message as soon as they meet, which is
            // mostly before either is sorted into a table.
            Place::Messages => batch.remove_weak(keyspace.of(tables), key),
            _ => batch.remove(keyspace.of(tables), key),
        }
    }

    /// Removes a message, and its topic with it.
    pub(super) fn remove_message(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        message: Recent,
    ) -> Result<(), MailboxError> {
        if message.has_topic
            && let Some(Ok(stored)) = tables.message(address, message.seq)?
        {
            self.remove_topic(tables, address, &stored.topic, message.seq)?;
        }
        self.remove(tables, Place::Messages, address.message(message.seq));
        Ok(())
    }

    /// Removes a topic if this is the message that waits under it.
    pub(super) fn remove_topic(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        topic: &[u8],
        seq: u64,
    ) -> Result<(), MailboxError> {
        let key = address.topic(topic, tables.secret());
        let waiting = get(&tables.topics, &key)?;
        if waiting.is_some_and(|value| value.and_then(|value| decode_topic(&key, &value)).ok() == Some(seq)) {
            self.remove(tables, Place::Topics, key);
        }
        Ok(())
    }

    /// Writes down what is known of a mailbox, together with the removals that it has come from.
    pub(super) fn checkpoint(
        &mut self,
        tables: &Tables,
        address: &AddressKey,
        known: &mut KnownMailbox,
    ) -> Result<(), MailboxError> {
        for message in std::mem::take(&mut known.pending) {
            self.remove_message(tables, address, message)?;
        }
        let checkpoint: Checkpoint = known.checkpoint();
        let key = address.as_slice().to_vec();
        let value = checkpoint.encode(&key);
        self.insert(tables, Place::Mailboxes, key, value);
        known.written = Some(checkpoint);
        known.appended = 0;
        Ok(())
    }

    /// Writes all of it. How many bytes that were.
    pub(super) fn commit(&mut self, tables: &Tables) -> Result<usize, MailboxError> {
        let Some(batch) = self.batch.take() else { return Ok(0) };
        let Changes { bytes, memory, key_memory, .. } = std::mem::take(self);
        (self.memory, self.key_memory) = (memory, key_memory);
        tables.commit(batch).map_err(failed)?;
        Ok(bytes)
    }
}

fn make_room(memory: &mut BytesMut, bytes: usize) {
    if memory.capacity() < bytes {
        *memory = BytesMut::with_capacity(bytes.max(MEMORY_BYTES));
    }
}

/// Keys and values stay in memory for long: without what was allocated beyond them.
fn exact(bytes: Vec<u8>) -> Bytes {
    bytes.into_boxed_slice().into()
}

/// A keyspace that is changed.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Messages,
    Mailboxes,
    Topics,
    Dedup,
    DedupOrder,
    Users,
}

impl Place {
    fn of(self, tables: &Tables) -> &fjall::Keyspace {
        match self {
            Place::Messages => &tables.messages,
            Place::Mailboxes => &tables.mailboxes,
            Place::Topics => &tables.topics,
            Place::Dedup => &tables.dedup,
            Place::DedupOrder => &tables.dedup_order,
            Place::Users => &tables.users,
        }
    }
}
