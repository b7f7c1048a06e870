//! Sends of a channel's pass: one look-up in the table for each subscriber, whatever is to be known of it.

use bytes::Bytes;

use super::Net;
use super::outbox::{Outbox, TURN_BYTES_MAX};
use super::wire::{Agreed, NONE, Wire};

/// The socket of a session that may be sent what its channel has.
pub(crate) struct FanSocket<'a> {
    slot: u32,
    wire: &'a mut Wire,
    outbox: &'a mut Outbox,
}

impl Net {
    /// The socket of the session in a slot.
    #[inline]
    pub(crate) fn fan_socket(&mut self, slot: u32) -> Option<FanSocket<'_>> {
        let session = self.table.get_mut(slot)?.session_mut()?;
        Some(FanSocket { slot, wire: &mut session.wire, outbox: &mut self.outbox })
    }
}

impl FanSocket<'_> {
    /// What the upgrade agreed on.
    #[inline]
    pub(crate) fn agreed(&self) -> Agreed {
        self.wire.agreed
    }

    /// Whether the socket has taken all that it was sent.
    #[inline]
    pub(crate) fn keeps_up(&self) -> bool {
        self.wire.keeps_up()
    }

    /// Whether the session is sent as much as one turn allows already.
    #[inline]
    pub(crate) fn has_enough(&self) -> bool {
        self.wire.outbox != NONE && self.outbox.len_of(self.wire.outbox) >= TURN_BYTES_MAX
    }

    /// Adds bytes to what the session is sent this turn; its socket must keep up. Whether they are the first.
    #[inline]
    pub(crate) fn post(self, bytes: Bytes) -> bool {
        debug_assert!(self.keeps_up(), "nothing goes before what is unsent");
        match self.wire.outbox {
            NONE => {
                self.wire.outbox = self.outbox.begin(self.slot, bytes);
                true
            }
            index => {
                self.outbox.append(index, &bytes);
                false
            }
        }
    }
}
