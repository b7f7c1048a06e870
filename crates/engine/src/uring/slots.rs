//! The slot table: which requests the kernel still holds for each direct descriptor, and when a slot may be
//! closed and reused. Pure: it decides, the ring executes.
//!
//! ```text
//!          open                 close(Graceful)
//!  Free ─────────► Open ─────────────────────────► Lingering
//!   ▲               │ │ ▲                              │ finish
//!   │               │ │ └── hand-off refused           ▼
//!   │               │ └── close(Abort) ───────────► Draining   waits for the last completion of every poll
//!   │     hand_off  ▼                                  │
//!   │           HandingOff ──────────────────────► Closing
//!   └──────────────────────────────────────────────────┘ closed
//! ```
//! A completion counts only if its generation is the slot's. The slot's number changes hands when it is freed,
//! so that whatever is late for the previous tenant is stale.

use super::token::GENERATION_MASK;
use crate::close::LINGER_BYTES_MAX;
use crate::driver::{CloseMode, Conn};

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    Free,
    Open,
    HandingOff,
    Lingering,
    Draining,
    Closing,
}

/// The polls that the kernel may hold for a slot.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Poll {
    In = 1,
    Out = 2,
}

mod flag {
    /// `Poll::In` is multishot, or is to be.
    pub(super) const WATCHED: u8 = 4;
    /// The core wants no input for now.
    pub(super) const PAUSED: u8 = 8;
    /// In the list of sockets to read.
    pub(super) const QUEUED: u8 = 16;
    /// Input arrived while paused.
    pub(super) const MISSED: u8 = 32;
    /// The core knows that no more input comes.
    pub(super) const HUNG_UP: u8 = 64;
    /// The kernel holds a shutdown. It runs on another thread and finds the socket by its slot when it does.
    pub(super) const SHUTTING: u8 = 128;
}
/// Requests that must be over before the slot may be closed.
const ARMED: u8 = Poll::In as u8 | Poll::Out as u8 | flag::SHUTTING;

#[derive(Copy, Clone)]
struct Slot {
    generation: u32,
    phase: Phase,
    flags: u8,
    /// Bytes of input discarded while lingering.
    discarded: u16,
}

const _: () = assert!(size_of::<Slot>() == 8);
const _: () = assert!(LINGER_BYTES_MAX == u16::MAX as u32 + 1, "one more than a slot can count");

/// What the ring must do for a slot that is on its way out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: completions are still to come.
    Wait,
    /// Shut the write side, then read and discard.
    Linger,
    /// Cancel the polls; the last completion of what the kernel holds leads to `Close`.
    Cancel,
    /// Close the descriptor: nothing refers to it any more.
    Close,
}

/// What a poll's completion means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Fired {
    /// For a tenant that is gone, or of no interest any more.
    Stale,
    /// Read the socket; and arm the poll again first, if so.
    Read { rearm: bool },
    /// The socket takes bytes.
    Writable,
    /// The slot was waiting for this.
    Step(Step),
}

pub(super) struct Slots {
    slots: Box<[Slot]>,
    in_use: u32,
    /// Those among them that are lingering, draining or closing.
    closing: u32,
}

impl Slots {
    pub(super) fn new(capacity: u32) -> Slots {
        let slot = Slot { generation: 1, phase: Phase::Free, flags: 0, discarded: 0 };
        Slots { slots: vec![slot; capacity as usize].into(), in_use: 0, closing: 0 }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(super) fn closing(&self) -> u32 {
        self.closing
    }

    fn slot(&mut self, conn: Conn) -> Option<&mut Slot> {
        self.slots.get_mut(conn.slot as usize).filter(|slot| slot.generation == conn.generation)
    }

    fn open_slot(&mut self, conn: Conn) -> Option<&mut Slot> {
        self.slot(conn).filter(|slot| slot.phase == Phase::Open)
    }

    /// The kernel has put a new socket into `slot`.
    pub(super) fn open(&mut self, slot: u32) -> Conn {
        // The close of the previous tenant can be told after the arrival of the next, though it came before.
        let entry = self.slots[slot as usize];
        if entry.phase == Phase::Closing {
            self.closed(Conn { slot, generation: entry.generation });
        }
        let entry = &mut self.slots[slot as usize];
        assert!(entry.phase == Phase::Free, "the kernel filled slot {slot}, which is {:?}", entry.phase);
        entry.phase = Phase::Open;
        entry.flags = 0;
        entry.discarded = 0;
        self.in_use += 1;
        Conn { slot, generation: entry.generation }
    }

    pub(super) fn is_open(&self, conn: Conn) -> bool {
        self.slots
            .get(conn.slot as usize)
            .is_some_and(|slot| slot.generation == conn.generation && slot.phase == Phase::Open)
    }

    /// The core wants input once. Whether the socket is to be read at once to see if there is any.
    pub(super) fn watch_once(&mut self, conn: Conn) -> bool {
        let Some(slot) = self.open_slot(conn).filter(|slot| slot.flags & flag::WATCHED == 0) else {
            return false;
        };
        slot.flags &= !(flag::PAUSED | flag::MISSED);
        slot.flags & Poll::In as u8 == 0
    }

    /// The core wants input from now on. Whether to arm the poll, and whether to read at once.
    pub(super) fn watch(&mut self, conn: Conn) -> (bool, bool) {
        let Some(slot) = self.open_slot(conn) else { return (false, false) };
        let arm = slot.flags & Poll::In as u8 == 0;
        let read = slot.flags & flag::MISSED != 0;
        slot.flags &= !(flag::PAUSED | flag::MISSED);
        slot.flags |= flag::WATCHED | if arm { Poll::In as u8 } else { 0 };
        (arm, read)
    }

    pub(super) fn pause(&mut self, conn: Conn) {
        if let Some(slot) = self.open_slot(conn) {
            slot.flags |= flag::PAUSED;
        }
    }

    /// The socket was dry when it was read for [`Slots::watch_once`]. Whether to arm a one-shot poll.
    pub(super) fn dry(&mut self, conn: Conn) -> bool {
        let Some(slot) = self.open_slot(conn) else { return false };
        let arm = slot.flags & (Poll::In as u8 | flag::WATCHED) == 0;
        slot.flags |= Poll::In as u8;
        arm
    }

    /// Whether to arm the one-shot poll for room to write.
    pub(super) fn watch_writable(&mut self, conn: Conn) -> bool {
        let Some(slot) = self.open_slot(conn) else { return false };
        let arm = slot.flags & Poll::Out as u8 == 0;
        slot.flags |= Poll::Out as u8;
        arm
    }

    /// Puts the connection into the list of sockets to read; false if it stands there, or is not to be read.
    pub(super) fn queue_read(&mut self, conn: Conn) -> bool {
        let Some(slot) = self.slot(conn) else { return false };
        match slot.phase {
            Phase::Open if slot.flags & flag::PAUSED != 0 => {
                slot.flags |= flag::MISSED;
                false
            }
            Phase::Open if slot.flags & flag::HUNG_UP != 0 => false,
            Phase::Open | Phase::Lingering if slot.flags & flag::QUEUED == 0 => {
                slot.flags |= flag::QUEUED;
                true
            }
            _ => false,
        }
    }

    /// Takes the connection from the list of sockets to read. Whether it is still to be read.
    pub(super) fn unqueue_read(&mut self, conn: Conn) -> bool {
        let Some(slot) = self.slot(conn) else { return false };
        slot.flags &= !flag::QUEUED;
        if slot.phase == Phase::Open && slot.flags & flag::PAUSED != 0 {
            slot.flags |= flag::MISSED;
            return false;
        }
        matches!(slot.phase, Phase::Open | Phase::Lingering)
    }

    /// The core has been told that no more input comes.
    pub(super) fn hang_up(&mut self, conn: Conn) {
        if let Some(slot) = self.open_slot(conn) {
            slot.flags |= flag::HUNG_UP;
        }
    }

    /// Whether what is left in the socket is to be read: a connection that is watched once has had its input.
    pub(super) fn wants_more(&self, conn: Conn) -> bool {
        self.slots.get(conn.slot as usize).is_some_and(|slot| {
            slot.generation == conn.generation
                && match slot.phase {
                    Phase::Open => slot.flags & flag::WATCHED != 0,
                    phase => phase == Phase::Lingering,
                }
        })
    }

    /// `bytes` of input were read from a lingering connection (0: the peer closed, or it broke). `None` if the
    /// connection is not lingering: the input belongs to the core.
    pub(super) fn discard(&mut self, conn: Conn, bytes: u32) -> Option<Step> {
        let slot = self.slot(conn).filter(|slot| slot.phase == Phase::Lingering)?;
        match u16::try_from(u32::from(slot.discarded) + bytes) {
            Ok(discarded) if bytes > 0 => {
                slot.discarded = discarded;
                Some(Step::Wait)
            }
            _ => Some(self.finish(conn)),
        }
    }

    /// The core ends the connection.
    pub(super) fn close(&mut self, conn: Conn, mode: CloseMode) -> Step {
        let Some(slot) = self.open_slot(conn) else { return Step::Wait };
        slot.phase = Phase::Lingering;
        slot.flags &= !(flag::PAUSED | flag::MISSED);
        if mode == CloseMode::Graceful {
            slot.flags |= flag::SHUTTING;
        }
        self.closing += 1;
        match mode {
            CloseMode::Graceful => Step::Linger,
            CloseMode::Abort => self.finish(conn),
        }
    }

    /// A lingering connection needs the poll that tells of the peer's FIN. Whether to arm it.
    pub(super) fn watch_lingering(&mut self, conn: Conn) -> bool {
        let Some(slot) = self.slot(conn).filter(|slot| slot.phase == Phase::Lingering) else { return false };
        let arm = slot.flags & Poll::In as u8 == 0;
        slot.flags |= flag::WATCHED | Poll::In as u8;
        arm
    }

    /// A lingering connection has lingered enough.
    pub(super) fn finish(&mut self, conn: Conn) -> Step {
        let Some(slot) = self.slot(conn).filter(|slot| slot.phase == Phase::Lingering) else {
            return Step::Wait;
        };
        if slot.flags & ARMED == 0 {
            slot.phase = Phase::Closing;
            Step::Close
        } else {
            slot.phase = Phase::Draining;
            Step::Cancel
        }
    }

    /// Which polls are to be cancelled.
    pub(super) fn is_armed(&self, conn: Conn, poll: Poll) -> bool {
        self.slots
            .get(conn.slot as usize)
            .is_some_and(|slot| slot.generation == conn.generation && slot.flags & poll as u8 != 0)
    }

    /// A poll completed; `more` says that it stays armed.
    pub(super) fn fired(&mut self, conn: Conn, poll: Poll, more: bool) -> Fired {
        let Some(slot) = self.slot(conn).filter(|slot| slot.flags & poll as u8 != 0) else {
            return Fired::Stale;
        };
        if !more {
            slot.flags &= !(poll as u8);
        }
        match (slot.phase, poll) {
            (Phase::Open | Phase::Lingering, Poll::In) => {
                let rearm = !more && slot.flags & flag::WATCHED != 0;
                if rearm {
                    slot.flags |= Poll::In as u8;
                }
                Fired::Read { rearm }
            }
            (Phase::Open, Poll::Out) => Fired::Writable,
            (Phase::Draining, _) if slot.flags & ARMED == 0 => {
                slot.phase = Phase::Closing;
                Fired::Step(Step::Close)
            }
            _ => Fired::Stale,
        }
    }

    /// The shutdown that [`Step::Linger`] asked for completed.
    pub(super) fn shut(&mut self, conn: Conn) -> Step {
        let Some(slot) = self.slot(conn) else { return Step::Wait };
        slot.flags &= !flag::SHUTTING;
        if slot.phase != Phase::Draining || slot.flags & ARMED != 0 {
            return Step::Wait;
        }
        slot.phase = Phase::Closing;
        Step::Close
    }

    /// Begins a hand-off; false unless the connection is open and nothing is armed.
    pub(super) fn hand_off(&mut self, conn: Conn) -> bool {
        let Some(slot) = self.open_slot(conn).filter(|slot| slot.flags & ARMED == 0) else { return false };
        slot.phase = Phase::HandingOff;
        true
    }

    /// A hand-off ended. When it succeeded the slot is to be closed, otherwise it is open again.
    pub(super) fn handed_off(&mut self, conn: Conn, succeeded: bool) -> Step {
        let Some(slot) = self.slot(conn).filter(|slot| slot.phase == Phase::HandingOff) else {
            return Step::Wait;
        };
        slot.phase = if succeeded { Phase::Closing } else { Phase::Open };
        self.closing += u32::from(succeeded);
        if succeeded { Step::Close } else { Step::Wait }
    }

    /// The descriptor was closed: the slot is free, and its next tenant has another generation.
    pub(super) fn closed(&mut self, conn: Conn) {
        let Some(slot) = self.slot(conn).filter(|slot| slot.phase == Phase::Closing) else { return };
        slot.phase = Phase::Free;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.in_use -= 1;
        self.closing -= 1;
    }
}

#[cfg(test)]
mod tests;
