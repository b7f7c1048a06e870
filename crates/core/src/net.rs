//! Connections and their sockets: the table, what is sent, what is held, and how a connection ends.
//!
//! What always holds:
//! - A connection gets at most one send per turn, and nothing before the unsent rest of the last one.
//! - A connection is closed only after its last bytes have left, or their time is over.
//! - A session ends by being marked ([`Net::end`]): from then on it is no session any more and nothing is delivered to
//!   it. Everybody else who knows it is told by the shard, which takes it with [`Net::take_ended`] after each event.

pub(crate) mod check;
pub(crate) mod ending;
pub(crate) mod fan;
mod held;
pub(crate) mod input;
mod liveness;
pub(crate) mod outbox;
pub(crate) mod rate;
mod sending;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use campanile_engine::{CloseMode, Conn, Time, Wheel};
use campanile_protocol::frame;

use self::ending::Ending;
use self::held::Held;
use self::outbox::Outbox;
use self::wire::{Closing, NONE};
use crate::entry::client::{Client, Handshake};
use crate::session::{Connection, Session, State};
use crate::table::Table;
use crate::turn::Turn;

/// The coarsest unit of a shard's time.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How long a close frame may wait for room in the socket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a driver that is to end goes on after the last close, so that the last close frame is read.
const LINGER: Duration = Duration::from_millis(1_100);

/// The connections of one shard.
pub(crate) struct Net {
    table: Table<Connection>,
    outbox: Outbox,
    wheel: Wheel,
    held: Held,
    /// Slots to be closed once this turn's sends have left.
    closing: Vec<u32>,
    /// Connections that ended and that nobody else has been told of.
    ended: VecDeque<Ended>,
    /// Sessions whose timer is to be looked at again.
    retimed: Vec<u32>,
    /// Slots whose send of this turn was joined from several.
    joined: Vec<u32>,
    /// Until when the driver may have connections that it lets go gracefully.
    lingering_until: Time,
    /// Connections that came when the shard was draining already.
    latecomers: u32,
}

/// A connection that has ended, and what it was.
pub(crate) enum Ended {
    Handshaking(Box<Handshake>),
    Session(Session),
}

impl Net {
    /// No connections. `index` of `count` shards tells the ticks apart. All sessions together may make the shard hold
    /// `held_bytes_max`.
    pub(crate) fn new(now: Time, index: usize, count: usize, held_bytes_max: usize) -> Net {
        Net {
            table: Table::new(),
            outbox: Outbox::default(),
            wheel: Wheel::new(tick_origin(now, index, count), TICK),
            held: Held::new(held_bytes_max),
            closing: Vec::new(),
            ended: VecDeque::new(),
            retimed: Vec::new(),
            joined: Vec::new(),
            lingering_until: now,
            latecomers: 0,
        }
    }

    /// What the slot's tenant is.
    pub(crate) fn state(&self, slot: u32) -> Option<&State> {
        self.table.get(slot).map(|connection| &connection.state)
    }

    /// What the connection is, if the slot still has this tenant.
    pub(crate) fn state_of(&self, conn: Conn) -> Option<&State> {
        self.table
            .get(conn.slot)
            .filter(|connection| connection.generation == conn.generation)
            .map(|connection| &connection.state)
    }

    /// The driver's name of the slot's tenant.
    pub(crate) fn conn(&self, slot: u32) -> Option<Conn> {
        self.table.get(slot).map(|connection| connection.conn(slot))
    }

    /// The session in a slot.
    pub(crate) fn session(&self, slot: u32) -> Option<&Session> {
        self.table.get(slot)?.session()
    }

    /// The session in a slot.
    pub(crate) fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.table.get_mut(slot)?.session_mut()
    }

    /// Whether the connection is still there, and a session.
    pub(crate) fn has_session(&self, conn: Conn) -> bool {
        matches!(self.state_of(conn), Some(State::Session(_)))
    }

    /// One more than the highest slot that may be in use.
    pub(crate) fn slots_end(&self) -> u32 {
        self.table.end()
    }

    /// The handshake in a slot.
    pub(crate) fn handshake_mut(&mut self, slot: u32) -> Option<&mut Handshake> {
        match &mut self.table.get_mut(slot)?.state {
            State::Handshaking(handshake) => Some(handshake),
            _ => None,
        }
    }

    /// A client has connected. One that comes when the shard is draining already is late: nobody waits for its end.
    pub(crate) fn accept(&mut self, turn: &Turn<'_>, conn: Conn, handshake: Handshake, is_late: bool) {
        if is_late {
            self.latecomers += 1;
        } else {
            turn.settings.connections.fetch_add(1, Ordering::Relaxed);
        }
        self.come(turn, conn, State::Handshaking(Box::new(handshake)));
        self.table.entry(conn.slot).is_late = is_late;
    }

    /// A connection comes from another shard.
    pub(crate) fn come(&mut self, turn: &Turn<'_>, conn: Conn, state: State) {
        turn.counters.connections.add(1);
        let connection = self.table.entry(conn.slot);
        *connection = Connection { generation: conn.generation, is_late: false, state };
    }

    /// The connection leaves for another shard, or comes back from where it was not taken.
    pub(crate) fn hand_off(&mut self, turn: &Turn<'_>, slot: u32) {
        turn.counters.connections.subtract(1);
        self.wheel.clear(slot);
    }

    /// The connection did not get to the other shard.
    pub(crate) fn come_back(&mut self, turn: &Turn<'_>) {
        turn.counters.connections.add(1);
    }

    /// The handshake is over without an end of the connection: it is on its way to its session.
    pub(crate) fn leave_handshake(&mut self, slot: u32) -> Option<Box<Handshake>> {
        let connection = self.table.get_mut(slot)?;
        match std::mem::replace(&mut connection.state, State::HandingOff) {
            State::Handshaking(handshake) => Some(handshake),
            other => {
                connection.state = other;
                None
            }
        }
    }

    /// The home shard is asked about the device until `deadline`.
    pub(crate) fn begin_opening(&mut self, slot: u32, client: Client) {
        self.wheel.set(slot, client.deadline);
        if let Some(connection) = self.table.get_mut(slot) {
            connection.state = State::Opening(Box::new(client));
        }
    }

    /// The home shard has answered, or did not in time.
    pub(crate) fn end_opening(&mut self, slot: u32) -> Option<Client> {
        let connection = self.table.get_mut(slot)?;
        match std::mem::replace(&mut connection.state, State::HandingOff) {
            State::Opening(client) => {
                self.wheel.clear(slot);
                Some(*client)
            }
            other => {
                connection.state = other;
                None
            }
        }
    }

    /// The session begins.
    pub(crate) fn begin_session(&mut self, turn: &Turn<'_>, slot: u32, session: Session) {
        turn.counters.sessions.add(1);
        turn.counters.sessions_opened.add(1);
        if let Some(connection) = self.table.get_mut(slot) {
            connection.state = State::Session(session);
        }
    }

    /// Sets the timer of a connection that is no session.
    pub(crate) fn set_deadline(&mut self, slot: u32, at: Time) {
        self.wheel.set(slot, at);
    }

    /// Timers that are due.
    pub(crate) fn take_due(&mut self, now: Time, due: &mut Vec<u32>) {
        self.wheel.expire(now, due);
    }

    /// When a timer may be due.
    pub(crate) fn next_tick(&self) -> Option<Time> {
        self.wheel.next_tick()
    }
}

/// How connections end.
impl Net {
    /// Ends a session with a close frame that says why. Nothing more is delivered to it.
    pub(crate) fn end(&mut self, turn: &mut Turn<'_>, slot: u32, why: &Ending) {
        if self.session(slot).is_none() {
            return;
        }
        let (code, words, counter) = why.told(turn.counters);
        counter.add(1);
        self.close(turn, slot, code, &words);
    }

    /// Ends a connection with this close code.
    pub(crate) fn close(&mut self, turn: &mut Turn<'_>, slot: u32, code: u16, reason: &str) {
        self.finish(turn, slot, frame::close_frame(code, reason).into());
    }

    /// Answers a close frame: the peer's code is given back (RFC 6455 §5.5.1).
    pub(crate) fn answer_close(&mut self, turn: &mut Turn<'_>, slot: u32, code: Option<u16>) {
        match code {
            Some(code) => self.close(turn, slot, code, ""),
            None => self.finish(turn, slot, Bytes::from_static(&[0x88, 0])),
        }
    }

    /// Ends a connection with these last bytes: a close frame, or an HTTP answer.
    pub(crate) fn finish(&mut self, turn: &mut Turn<'_>, slot: u32, last: Bytes) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        let mut closing = Closing { unsent: None, outbox: NONE };
        match std::mem::take(&mut connection.state) {
            State::Session(session) => {
                closing.outbox = session.wire.outbox;
                if let Some(unsent) = &session.wire.unsent {
                    let mut bytes = BytesMut::with_capacity(unsent.bytes.len() + last.len());
                    bytes.extend_from_slice(&unsent.bytes);
                    bytes.extend_from_slice(&last);
                    closing.unsent = Some(bytes.freeze());
                }
                self.mark_session(turn, slot, session);
            }
            State::Handshaking(handshake) => {
                closing.outbox = handshake.outbox;
                self.ended.push_back(Ended::Handshaking(handshake));
            }
            State::HandingOff | State::Opening(_) => {}
            other @ (State::Closing(_) | State::Free) => {
                connection.state = other;
                return;
            }
        }
        let blocked = closing.unsent.is_some();
        let Some(connection) = self.table.get_mut(slot) else { return };
        connection.state = State::Closing(Box::new(closing));
        self.wheel.set(slot, turn.now.time + CLOSE_TIMEOUT);
        if !blocked {
            self.post(turn, slot, last);
            self.closing.push(slot);
        }
    }

    /// Ends a connection at once, without a word.
    pub(crate) fn abort(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        let conn = connection.conn(slot);
        let outbox = match std::mem::take(&mut connection.state) {
            State::Free => return,
            State::Session(session) => {
                let outbox = session.wire.outbox;
                self.mark_session(turn, slot, session);
                outbox
            }
            State::Closing(closing) => closing.outbox,
            State::Handshaking(handshake) => {
                let outbox = handshake.outbox;
                self.ended.push_back(Ended::Handshaking(handshake));
                outbox
            }
            State::HandingOff | State::Opening(_) => NONE,
        };
        if outbox != NONE {
            self.outbox.cancel(outbox);
        }
        self.forget(turn, slot);
        turn.commands.close(conn, CloseMode::Abort);
    }

    fn mark_session(&mut self, turn: &Turn<'_>, slot: u32, session: Session) {
        turn.counters.sessions.subtract(1);
        self.held.remove(slot);
        turn.counters.bytes_held.set(self.held.bytes() as u64);
        self.ended.push_back(Ended::Session(session));
    }

    /// The slot has no tenant any more.
    fn forget(&mut self, turn: &Turn<'_>, slot: u32) {
        let mut is_late = false;
        if let Some(connection) = self.table.get_mut(slot) {
            connection.state = State::Free;
            is_late = connection.is_late;
        }
        self.wheel.clear(slot);
        turn.counters.connections.subtract(1);
        if is_late {
            self.latecomers -= 1;
        } else {
            turn.settings.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A connection that has ended and that others are to be told of.
    pub(crate) fn take_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// There will be no more input.
    pub(crate) fn hung_up(&mut self, turn: &mut Turn<'_>, conn: Conn) {
        match self.state_of(conn) {
            None => {}
            // Its last bytes leave this turn; then it is closed anyway.
            Some(State::Closing(closing)) if closing.unsent.is_none() => {}
            Some(State::Session(_)) => {
                turn.counters.sessions_ended_by_client.add(1);
                self.abort(turn, conn.slot);
            }
            Some(_) => self.abort(turn, conn.slot),
        }
    }

    /// The turn's sends are over: whoever has been sent its last bytes is closed.
    pub(crate) fn submitted(&mut self, turn: &mut Turn<'_>) {
        let mut closing = std::mem::take(&mut self.closing);
        for slot in closing.drain(..) {
            let Some(connection) = self.table.get(slot) else { continue };
            let (conn, is_late) = (connection.conn(slot), connection.is_late);
            // Those whose last bytes did not all leave wait for room.
            if matches!(&connection.state, State::Closing(closing) if closing.unsent.is_none()) {
                self.forget(turn, slot);
                if !is_late {
                    self.lingering_until = turn.now.time + LINGER;
                }
                turn.commands.close(conn, CloseMode::Graceful);
            }
        }
        self.closing = closing;
        self.joined.clear();
    }

    /// Whether a shard that drains has no connection left and no close frame may still be on its way to its reader.
    /// Connections that come only now would keep a node alive for ever; they end with it.
    pub(crate) fn is_drained(&self, turn: &Turn<'_>) -> bool {
        self.lingering_until <= turn.now.time
            && turn.counters.connections.get() == u64::from(self.latecomers)
            && turn.settings.connections.load(Ordering::Relaxed) == 0
    }
}

/// Shards tick one after the other, so that those which share a core do not all ping at the same moment.
fn tick_origin(now: Time, index: usize, count: usize) -> Time {
    let ahead = TICK.as_nanos() as u64 * index as u64 / count as u64;
    Time(now.as_nanos().saturating_sub(ahead))
}

#[cfg(test)]
mod tests;
