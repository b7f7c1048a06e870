//! Sending and closing: one send for each connection and turn, the unsent rest first, and no close before the last
//! bytes have left.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use campanile_engine::{CloseMode, Command, Commands, Conn};
use campanile_protocol::frame::{self, close_code};
use campanile_protocol::messages::ServerFrame;

use super::Shard;
use super::connection::{Closing, Parcel, Session, State, Unsent};
use super::directory::NONE;
use super::outbox::TURN_BYTES_MAX;

/// How long a close frame may wait for room in the socket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What a session may have unsent before it is sent no more answers: more than what it is ever sent at once.
const OWED_BYTES_MAX: usize = 2 * TURN_BYTES_MAX;

impl Shard {
    /// Adds bytes to what the connection is sent this turn.
    pub(super) fn post(&mut self, slot: u32, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let outbox = match &mut connection.state {
            State::Session(Session { unsent: Some(unsent), .. }) => {
                // An echo was paused, but what had been read already is still reported.
                let rest = std::mem::take(&mut unsent.bytes);
                let mut joined = rest.try_into_mut().unwrap_or_else(|rest| rest[..].into());
                joined.extend_from_slice(&bytes);
                unsent.bytes = joined.freeze();
                return self.hold(slot);
            }
            State::Session(session) => &mut session.outbox,
            State::Closing(closing) => &mut closing.outbox,
            State::Handshake(handshake) => &mut handshake.outbox,
            State::Free | State::HandingOff | State::Opening(_) => return,
        };
        match *outbox {
            NONE => *outbox = self.outbox.begin(slot, bytes),
            index => self.outbox.append(index, &bytes),
        }
    }

    /// Sends a frame that the client has a right to, also if it does not read what it was sent before: for so long.
    pub(super) fn send_frame(&mut self, slot: u32, frame: &ServerFrame) {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return };
        if session.unsent.as_ref().is_some_and(|unsent| unsent.bytes.len() > OWED_BYTES_MAX) {
            self.counters.sessions_not_reading.add(1);
            return self.close(slot, close_code::TOO_MANY, "asks for more than it reads");
        }
        let mut bytes = Vec::new();
        match frame.encode_frame(session.encoding, &mut bytes) {
            Ok(()) => self.post(slot, bytes.into()),
            Err(_) => self.counters.messages_not_encodable.add(1),
        }
    }

    /// Ends a connection with a close frame. A session is forgotten at once: nothing more is delivered to it.
    pub(super) fn close(&mut self, slot: u32, code: u16, reason: &str) {
        self.finish(slot, frame::close_frame(code, reason).into());
    }

    /// Ends a connection with these last bytes: a close frame, or an HTTP refusal.
    pub(super) fn finish(&mut self, slot: u32, last: Bytes) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let mut closing = Closing { unsent: None, outbox: NONE };
        match std::mem::take(&mut connection.state) {
            State::Session(session) => {
                closing.outbox = session.outbox;
                if let Some(unsent) = &session.unsent {
                    let mut bytes = BytesMut::with_capacity(unsent.bytes.len() + last.len());
                    bytes.extend_from_slice(&unsent.bytes);
                    bytes.extend_from_slice(&last);
                    closing.unsent = Some(bytes.freeze());
                }
                self.leave_directory(slot, &session);
            }
            State::Handshake(handshake) => {
                closing.outbox = handshake.outbox;
                self.leave_handshake(&handshake);
            }
            State::HandingOff | State::Opening(_) => {}
            other @ (State::Closing(_) | State::Free) => {
                connection.state = other;
                return;
            }
        }
        let blocked = closing.unsent.is_some();
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.state = State::Closing(Box::new(closing));
        self.wheel.set(slot, self.now.time + CLOSE_TIMEOUT);
        if !blocked {
            self.post(slot, last);
            self.closing.push(slot);
        }
    }

    /// Ends a connection at once, without a word.
    pub(super) fn abort(&mut self, slot: u32, commands: &mut Commands<Parcel>) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let conn = connection.conn(slot);
        match std::mem::take(&mut connection.state) {
            State::Free => return,
            State::Session(session) => {
                if session.outbox != NONE {
                    self.outbox.cancel(session.outbox);
                }
                self.leave_directory(slot, &session);
            }
            State::Closing(closing) if closing.outbox != NONE => self.outbox.cancel(closing.outbox),
            State::Handshake(handshake) => {
                if handshake.outbox != NONE {
                    self.outbox.cancel(handshake.outbox);
                }
                self.leave_handshake(&handshake);
            }
            State::Closing(_) | State::HandingOff | State::Opening(_) => {}
        }
        self.forget(slot);
        commands.close(conn, CloseMode::Abort);
    }

    /// The slot has no tenant any more.
    pub(super) fn forget(&mut self, slot: u32) {
        let mut late = false;
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.state = State::Free;
            late = connection.late;
        }
        self.wheel.clear(slot);
        self.counters.connections.subtract(1);
        if late {
            self.latecomers -= 1;
        } else {
            self.settings.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn hung_up(&mut self, conn: Conn, commands: &mut Commands<Parcel>) {
        let Some(connection) = self.tenant(conn) else { return };
        match &connection.state {
            // Its last bytes leave this turn; then it is closed anyway.
            State::Closing(closing) if closing.unsent.is_none() => {}
            State::Session(_) => {
                self.counters.sessions_ended_by_client.add(1);
                self.abort(conn.slot, commands);
            }
            _ => self.abort(conn.slot, commands),
        }
    }

    /// The socket takes bytes again: the unsent rest goes first.
    pub(super) fn writable(&mut self, conn: Conn) {
        let now_ms = self.now_ms();
        let slot = conn.slot;
        if self.tenant(conn).is_none() {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match &mut connection.state {
            State::Session(session) => {
                // Reading is a sign of life.
                session.heard(now_ms);
                if let Some(unsent) = session.unsent.take() {
                    session.outbox = self.outbox.begin(conn.slot, unsent.bytes);
                    self.hold(slot);
                }
                self.deliver_waiting(slot);
                self.resume_subscriptions(slot);
            }
            State::Closing(closing) => {
                if let Some(unsent) = closing.unsent.take() {
                    closing.outbox = self.outbox.begin(conn.slot, unsent);
                    self.closing.push(conn.slot);
                }
            }
            _ => {}
        }
    }

    pub(super) fn send_incomplete(
        &mut self,
        conn: Conn,
        rest: Bytes,
        error: Option<std::io::ErrorKind>,
        commands: &mut Commands<Parcel>,
    ) {
        self.counters.sends_incomplete.add(1);
        let slot = conn.slot;
        let (now, now_ms) = (self.now.time, self.now_ms());
        let patience = Duration::from_millis(self.settings.limits.pong_timeout_ms.into());
        if self.tenant(conn).is_none() {
            return;
        }
        // Of what a channel's pass has sent only the rest of one frame is kept.
        let kept = if error.is_none() { self.keep_cursor(conn, rest.len()) } else { None };
        let rest = rest.slice(..kept.unwrap_or(rest.len()));
        let Some(connection) = self.tenant(conn) else { return };
        match &mut connection.state {
            State::Session(session) if error.is_none() => {
                let echo = session.is_echo();
                // A copy: the rest would keep the memory of all that was sent with it.
                let bytes = Bytes::copy_from_slice(&rest);
                session.unsent = Some(Box::new(Unsent { bytes, stalled_ms: now_ms }));
                commands.push(Command::WatchWritable { conn });
                if echo {
                    commands.push(Command::Pause { conn });
                } else {
                    // Looks whether the socket has taken anything by then.
                    self.set_session_timer(slot, now + patience);
                }
                self.hold(slot);
            }
            State::Closing(closing) if error.is_none() => {
                closing.unsent = Some(rest);
                commands.push(Command::WatchWritable { conn });
            }
            state => {
                if matches!(state, State::Session(_)) {
                    self.counters.sessions_broken.add(1);
                }
                self.deliveries_broke(slot);
                self.abort(slot, commands);
            }
        }
    }

    /// What the session makes the shard hold has changed.
    pub(super) fn hold(&mut self, slot: u32) {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        self.held.set(slot, session.map_or(0, Session::held_bytes), self.now.time);
        self.counters.bytes_held.set(self.held.bytes() as u64);
    }

    /// Closes those who hold the most, while all sessions together make the shard hold too much. Only between the events
    /// and the sends of a turn: nobody is in the middle of anything, and the close frames leave with this turn.
    pub(super) fn let_go_of_holders(&mut self) {
        while let Some(slot) = self.held.beyond() {
            self.counters.sessions_over_budget.add(1);
            self.close(slot, close_code::TOO_MANY, "the node holds too much for slow clients");
            debug_assert!(self.held.beyond() != Some(slot), "who is closed holds nothing");
        }
    }

    /// Moves the outbox into commands.
    pub(super) fn flush(&mut self, commands: &mut Commands<Parcel>) {
        if self.outbox.is_empty() {
            return;
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut bytes_sent = 0;
        for (slot, bytes, is_joined) in outbox.drain() {
            if is_joined {
                self.channels.set_mixed(slot);
            }
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            let conn = connection.conn(slot);
            match &mut connection.state {
                State::Session(session) => {
                    session.outbox = NONE;
                    if session.is_echo() && session.unsent.is_none() {
                        // In case it was paused; costs nothing otherwise.
                        commands.push(Command::Watch { conn });
                    }
                }
                State::Closing(closing) => closing.outbox = NONE,
                State::Handshake(handshake) => handshake.outbox = NONE,
                State::Free | State::HandingOff | State::Opening(_) => {}
            }
            if !bytes.is_empty() {
                bytes_sent += bytes.len() as u64;
                commands.send(conn, bytes);
            }
        }
        self.counters.bytes_sent.add(bytes_sent);
        self.outbox = outbox;
    }
}
