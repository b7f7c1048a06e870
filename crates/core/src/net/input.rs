//! What clients send, until it is a message.

use campanile_engine::Time;
use campanile_protocol::frame::{Decoder, Limits, Message, ProtocolError, Role};

use super::Net;
use super::wire::Agreed;
use crate::turn::Turn;

/// What a client may send.
pub(crate) fn frame_limits(turn: &Turn<'_>, agreed: Agreed) -> Limits {
    Limits {
        role: Role::Server,
        message_bytes_max: turn.settings.limits.message_bytes_max,
        fragments_max: turn.settings.limits.fragments_max,
        deflate: agreed.deflate,
    }
}

/// Input of a session that is being read.
pub(crate) struct Reading {
    decoder: Decoder,
    limits: Limits,
    was_idle: bool,
    /// When what stays unfinished began.
    since: Time,
}

impl Reading {
    /// The next message of the input.
    pub(crate) fn next<'m, 'i: 'm>(
        &'m mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Message<'m>>, ProtocolError> {
        self.decoder.next(input, &self.limits)
    }

    /// A message was taken. A control frame may stand between the fragments of a message (RFC 6455 §5.4), which is no
    /// younger for it.
    pub(crate) fn taken(&mut self, is_control: bool, now: Time) {
        if !(is_control && self.decoder.is_mid_message()) {
            self.since = now;
        }
    }
}

impl Net {
    /// Input has come for a session. It is given back with [`Net::end_input`].
    pub(crate) fn begin_input(&mut self, turn: &Turn<'_>, slot: u32) -> Option<Reading> {
        let now = turn.now.time;
        let message_since = self.held.message_since(slot);
        let session = self.session_mut(slot)?;
        session.wire.heard(turn.now_ms());
        let limits = frame_limits(turn, session.wire.agreed);
        let decoder = std::mem::take(&mut session.wire.decoder);
        let was_idle = decoder.is_idle();
        let since = if was_idle { now } else { message_since.unwrap_or(now) };
        Some(Reading { decoder, limits, was_idle, since })
    }

    /// The input is used up, but for what the decoder keeps.
    pub(crate) fn end_input(&mut self, turn: &Turn<'_>, slot: u32, reading: Reading) {
        let Reading { decoder, was_idle, since, .. } = reading;
        let is_idle = decoder.is_idle();
        if was_idle && is_idle {
            return;
        }
        let Some(session) = self.session_mut(slot) else { return };
        session.wire.decoder = decoder;
        self.hold(turn, slot);
        self.held.set_message_since(slot, (!is_idle).then_some(since));
        if !is_idle && since == turn.now.time {
            // No later than the message is to be finished.
            self.retime(slot);
        }
    }
}
