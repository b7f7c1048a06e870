//! Sending: one send for each connection and turn, the unsent rest first.

use bytes::Bytes;
use campanile_engine::{Command, Conn};
use campanile_protocol::messages::{Error, ServerFrame};

use super::Net;
use super::ending::Ending;
use super::outbox::TURN_BYTES_MAX;
use super::wire::{NONE, PongTo, Unsent};
use crate::refused::FrameRefused;
use crate::session::{Session, State};
use crate::turn::Turn;

/// What a session may have unsent before it is sent no more answers: more than what it is ever sent at once.
const OWED_BYTES_MAX: usize = 2 * TURN_BYTES_MAX;

impl Net {
    /// Adds bytes to what the connection is sent this turn.
    pub(crate) fn post(&mut self, turn: &mut Turn<'_>, slot: u32, bytes: Bytes) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        let place = match &mut connection.state {
            State::Session(Session { wire, .. }) => {
                if let Some(unsent) = &mut wire.unsent {
                    // An echo was paused, but what had been read already is still reported.
                    let rest = std::mem::take(&mut unsent.bytes);
                    let mut joined = rest.try_into_mut().unwrap_or_else(|rest| rest[..].into());
                    joined.extend_from_slice(&bytes);
                    unsent.bytes = joined.freeze();
                    return self.hold(turn, slot);
                }
                &mut wire.outbox
            }
            State::Closing(closing) => &mut closing.outbox,
            State::Handshaking(handshake) => &mut handshake.outbox,
            State::Free | State::HandingOff | State::Opening(_) => return,
        };
        match *place {
            NONE => *place = self.outbox.begin(slot, bytes),
            index => self.outbox.append(index, &bytes),
        }
    }

    /// The bytes that a connection is sent this turn so far.
    pub(crate) fn posted_bytes(&self, session: &Session) -> usize {
        match session.wire.outbox {
            NONE => 0,
            index => self.outbox.len_of(index),
        }
    }

    /// Whether the session is sent as much as one turn allows already.
    pub(crate) fn has_enough(&self, session: &Session) -> bool {
        self.posted_bytes(session) >= TURN_BYTES_MAX
    }

    /// Sends a frame that the client has a right to, also if it does not read what it was sent before: for so long.
    pub(crate) fn send_frame(&mut self, turn: &mut Turn<'_>, slot: u32, frame: &ServerFrame) {
        let Some(session) = self.session(slot) else { return };
        if session.wire.unsent.as_ref().is_some_and(|unsent| unsent.bytes.len() > OWED_BYTES_MAX) {
            return self.end(turn, slot, &Ending::AsksMoreThanItReads);
        }
        let mut bytes = Vec::new();
        match frame.encode_frame(session.wire.encoding(), &mut bytes) {
            Ok(()) => self.post(turn, slot, bytes.into()),
            Err(_) => turn.counters.messages_not_encodable.add(1),
        }
    }

    /// Tells a client that a frame was refused; the connection goes on. `reference` is the client's own name for it.
    pub(crate) fn refuse_frame(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u32,
        refused: &FrameRefused,
        reference: &str,
    ) {
        let error = ServerFrame::Error(Error {
            code: u32::from(refused.code()),
            message: refused.to_string(),
            reason: refused.reason().to_owned(),
            r#ref: reference.to_owned(),
        });
        self.send_frame(turn, slot, &error);
    }

    /// Answers a ping of a client: at once, or when the socket has taken what was sent before.
    pub(crate) fn answer_ping(&mut self, turn: &mut Turn<'_>, slot: u32, to: PongTo, pong: Vec<u8>) {
        let Some(session) = self.session_mut(slot) else { return };
        match &mut session.wire.unsent {
            Some(unsent) if !session.who.is_echo() => {
                unsent.pongs[to as usize] = pong;
                self.hold(turn, slot);
            }
            _ => self.post(turn, slot, pong.into()),
        }
    }

    /// Sends something that the client asked for, unless it does not read what it was sent before: what is asked
    /// for must not make us hold more than what is unsent already.
    pub(crate) fn answer(&mut self, turn: &mut Turn<'_>, slot: u32, bytes: Vec<u8>) {
        let Some(session) = self.session(slot) else { return };
        let echo = session.who.is_echo();
        if echo || (session.wire.keeps_up() && !self.has_enough(session)) {
            self.post(turn, slot, bytes.into());
        }
    }

    /// The socket takes bytes again: the unsent rest goes first. Whether it is a session's.
    pub(crate) fn writable(&mut self, turn: &mut Turn<'_>, conn: Conn) -> bool {
        if self.state_of(conn).is_none() {
            return false;
        }
        let Some(connection) = self.table.get_mut(conn.slot) else { return false };
        match &mut connection.state {
            State::Session(session) => {
                // Reading is a sign of life.
                session.wire.heard(turn.now_ms());
                if let Some(unsent) = session.wire.unsent.take() {
                    session.wire.outbox = self.outbox.begin(conn.slot, unsent.bytes);
                    for pong in unsent.pongs.iter().filter(|pong| !pong.is_empty()) {
                        self.outbox.append(session.wire.outbox, pong);
                    }
                    self.hold(turn, conn.slot);
                }
                true
            }
            State::Closing(closing) => {
                if let Some(unsent) = closing.unsent.take() {
                    closing.outbox = self.outbox.begin(conn.slot, unsent);
                    self.closing.push(conn.slot);
                }
                false
            }
            _ => false,
        }
    }

    /// A send did not go out whole: the rest waits until the socket takes bytes again, or the connection is broken.
    pub(crate) fn send_incomplete(&mut self, turn: &mut Turn<'_>, conn: Conn, rest: Bytes, is_broken: bool) {
        if self.state_of(conn).is_none() {
            return;
        }
        let Some(connection) = self.table.get_mut(conn.slot) else { return };
        match &mut connection.state {
            State::Session(session) if !is_broken => {
                let echo = session.who.is_echo();
                // A copy: the rest would keep the memory of all that was sent with it.
                let bytes = Bytes::copy_from_slice(&rest);
                let unsent = Unsent { bytes, stalled_ms: turn.now_ms(), pongs: Default::default() };
                session.wire.unsent = Some(Box::new(unsent));
                turn.commands.push(Command::WatchWritable { conn });
                if echo {
                    turn.commands.push(Command::Pause { conn });
                } else {
                    // Looks whether the socket has taken anything by then.
                    self.retime(conn.slot);
                }
                self.hold(turn, conn.slot);
            }
            State::Closing(closing) if !is_broken => {
                closing.unsent = Some(rest);
                turn.commands.push(Command::WatchWritable { conn });
            }
            state => {
                if matches!(state, State::Session(_)) {
                    turn.counters.sessions_broken.add(1);
                }
                self.abort(turn, conn.slot);
            }
        }
    }

    /// What the session makes the shard hold has changed.
    pub(super) fn hold(&mut self, turn: &Turn<'_>, slot: u32) {
        let held = self.session(slot).map_or(0, |session| session.wire.held_bytes());
        self.held.set(slot, held, turn.now.time);
        turn.counters.bytes_held.set(self.held.bytes() as u64);
    }

    /// Whether all sessions together make the shard hold too much.
    pub(crate) fn holds_too_much(&self) -> bool {
        self.held.is_beyond()
    }

    /// Closes those who hold the most, while all sessions together make the shard hold too much. Only between the
    /// events and the sends of a turn: nobody is in the middle of anything, and the close frames leave with this turn.
    pub(crate) fn let_go_of_holders(&mut self, turn: &mut Turn<'_>) {
        while let Some(slot) = self.held.beyond() {
            self.end(turn, slot, &Ending::OverBudget);
            debug_assert!(self.held.beyond() != Some(slot), "who is closed holds nothing");
        }
    }

    /// Whether nothing is to be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Whether what the slot was sent this turn was joined from several.
    pub(crate) fn was_joined(&self, slot: u32) -> bool {
        self.joined.contains(&slot)
    }

    /// Moves the outbox into commands.
    pub(crate) fn flush(&mut self, turn: &mut Turn<'_>) {
        if self.outbox.is_empty() {
            return;
        }
        let Net { outbox, table, joined, .. } = self;
        let mut bytes_sent = 0;
        for (slot, bytes, is_joined) in outbox.drain() {
            if is_joined {
                joined.push(slot);
            }
            let Some(connection) = table.get_mut(slot) else { continue };
            let conn = connection.conn(slot);
            match &mut connection.state {
                State::Session(session) => {
                    session.wire.outbox = NONE;
                    if session.who.is_echo() && session.wire.keeps_up() {
                        // In case it was paused; costs nothing otherwise.
                        turn.commands.push(Command::Watch { conn });
                    }
                }
                State::Closing(closing) => closing.outbox = NONE,
                State::Handshaking(handshake) => handshake.outbox = NONE,
                State::Free | State::HandingOff | State::Opening(_) => {}
            }
            if !bytes.is_empty() {
                bytes_sent += bytes.len() as u64;
                turn.commands.send(conn, bytes);
            }
        }
        turn.counters.bytes_sent.add(bytes_sent);
    }
}
