//! The connections of an `epoll` driver by slot.

use std::os::fd::OwnedFd;

use crate::driver::Conn;

/// What is known of a socket and what the core wants to hear of it.
#[derive(Default)]
pub(super) struct State {
    /// The tag of a connect that is not over.
    pub(super) connecting: Option<u64>,
    /// There may be input: an edge was seen and the socket has not been read dry since.
    pub(super) readable: bool,
    /// There may be room.
    pub(super) writable: bool,
    pub(super) wants_writable: bool,
    pub(super) watched: bool,
    pub(super) once: bool,
    /// In the list of sockets to read.
    pub(super) queued: bool,
    pub(super) lingering: bool,
    /// Bytes of input discarded while lingering.
    pub(super) discarded: u32,
}

impl State {
    /// Whether the socket is to be read when there is input.
    pub(super) fn listens(&self) -> bool {
        self.watched || self.once || self.lingering
    }
}

pub(super) struct Slot {
    pub(super) socket: OwnedFd,
    pub(super) state: State,
}

struct Entry {
    generation: u32,
    slot: Option<Slot>,
}

pub(super) struct Slots {
    entries: Vec<Entry>,
    free: Vec<u32>,
    capacity: u32,
    lingering: u32,
}

impl Slots {
    pub(super) fn new(capacity: u32) -> Slots {
        Slots { entries: Vec::new(), free: Vec::new(), capacity, lingering: 0 }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn in_use(&self) -> u32 {
        (self.entries.len() - self.free.len()) as u32
    }

    pub(super) fn lingering(&self) -> u32 {
        self.lingering
    }

    /// Puts the socket into a free slot, which the caller has made sure of.
    pub(super) fn insert(&mut self, socket: OwnedFd, state: State) -> Conn {
        debug_assert!(self.in_use() < self.capacity, "a slot that nobody has taken room for");
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 1, slot: None });
            self.entries.len() as u32 - 1
        });
        let entry = &mut self.entries[slot as usize];
        entry.slot = Some(Slot { socket, state });
        Conn { slot, generation: entry.generation }
    }

    /// The core lets go of a connection that is to linger.
    pub(super) fn linger(&mut self, conn: Conn) {
        if let Some(slot) = self.open(conn) {
            slot.state.lingering = true;
            self.lingering += 1;
        }
    }

    /// A connection that the core still owns.
    pub(super) fn open(&mut self, conn: Conn) -> Option<&mut Slot> {
        self.get(conn).filter(|slot| !slot.state.lingering)
    }

    pub(super) fn get(&mut self, conn: Conn) -> Option<&mut Slot> {
        let entry = self.entries.get_mut(conn.slot as usize)?;
        entry.slot.as_mut().filter(|_| entry.generation == conn.generation)
    }

    /// Frees the slot of the connection; `None` if that has been done already.
    pub(super) fn remove(&mut self, conn: Conn) -> Option<Slot> {
        let entry = self.entries.get_mut(conn.slot as usize)?;
        let slot = entry.slot.take_if(|_| entry.generation == conn.generation)?;
        entry.generation = (entry.generation + 1) & 0x00ff_ffff;
        self.free.push(conn.slot);
        self.lingering -= u32::from(slot.state.lingering);
        Some(slot)
    }
}
