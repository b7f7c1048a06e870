//! What is to be sent this turn: at most one send for each connection, however many frames it has.

use bytes::Bytes;

/// Bytes that one connection may be sent in one turn, beyond its first frame.
pub(crate) const TURN_BYTES_MAX: usize = 64 * 1024;

struct Outgoing {
    slot: u32,
    bytes: Bytes,
    /// Takes over from `bytes` when a second frame comes.
    joined: Vec<u8>,
}

/// The sends of one turn, in the order in which connections first had something to send.
#[derive(Default)]
pub(super) struct Outbox {
    entries: Vec<Outgoing>,
}

impl Outbox {
    /// A connection's first bytes of the turn. Gives the index for [`Outbox::append`].
    pub(super) fn begin(&mut self, slot: u32, bytes: Bytes) -> u32 {
        self.entries.push(Outgoing { slot, bytes, joined: Vec::new() });
        self.entries.len() as u32 - 1
    }

    /// More bytes for the same connection.
    pub(super) fn append(&mut self, index: u32, bytes: &[u8]) {
        let entry = &mut self.entries[index as usize];
        if entry.joined.is_empty() {
            entry.joined.reserve(entry.bytes.len() + bytes.len());
            entry.joined.extend_from_slice(&entry.bytes);
        }
        entry.joined.extend_from_slice(bytes);
    }

    /// What the connection is sent so far.
    pub(super) fn bytes_of(&self, index: u32) -> &[u8] {
        let entry = &self.entries[index as usize];
        if entry.joined.is_empty() { &entry.bytes } else { &entry.joined }
    }

    /// How many bytes the connection is sent so far.
    pub(super) fn len_of(&self, index: u32) -> usize {
        let entry = &self.entries[index as usize];
        entry.joined.len().max(entry.bytes.len())
    }

    /// Whose an entry is.
    pub(super) fn slot_of(&self, index: u32) -> Option<u32> {
        self.entries.get(index as usize).map(|entry| entry.slot)
    }

    /// Forgets what a connection was to be sent.
    pub(super) fn cancel(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.bytes = Bytes::new();
        entry.joined = Vec::new();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes every send: its slot, its bytes, and whether they were joined from several.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (u32, Bytes, bool)> + '_ {
        self.entries.drain(..).map(|entry| {
            let is_joined = !entry.joined.is_empty();
            let bytes = if is_joined { entry.joined.into() } else { entry.bytes };
            (entry.slot, bytes, is_joined)
        })
    }
}
