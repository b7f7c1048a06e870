//! The core of the gateway: one shard, its connections, and everything about the users who live there.
//!
//! A shard is a state machine ([`campanile_engine::Core`]): it takes events, requests and the time, and gives
//! commands. It does no I/O, takes no lock and never blocks. What always holds:
//! - A user's sessions are all on the user's home shard ([`HomeShard`]).
//! - A connection that only waits owns no memory beyond its entry in the table.
//! - A connection gets at most one send per turn, and nothing before the unsent rest of the last one.
//! - A connection is closed only after its close frame has left, or its time is over.

mod connection;
pub mod counters;
mod delivery;
mod directory;
mod handshake;
pub mod link;
mod outbox;
pub mod requests;
mod session;
pub mod settings;
mod table;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use campanile_engine::{CloseMode, Command, Commands, Conn, Core, Event, Next, Now, Time, Wheel};
use campanile_protocol::frame;

pub use self::connection::Parcel;
use self::connection::{Closing, Connection, Session, State};
use self::counters::ShardCounters;
use self::delivery::{Pass, Sent};
use self::directory::{Directory, NONE};
use self::link::{HomeShard, Inbox};
use self::outbox::Outbox;
use self::requests::{Answer, Bell, Ticket};
use self::settings::ShardSettings;
use self::table::Table;

/// The coarsest unit of a shard's time.
const TICK: Duration = Duration::from_millis(100);
/// Slots that are kept for answering 503, and for hand-offs.
pub const SLOTS_RESERVED: u32 = 256;
/// Requests taken in one turn.
const REQUESTS_PER_TURN_MAX: usize = 64;
/// How long a driver that is to end goes on after the last close, so that the last close frame is read.
const LINGER: Duration = Duration::from_millis(1_100);
/// How long a close frame may wait for room in the socket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// One shard. It is run by a [`campanile_engine::Driver`].
pub struct Shard {
    index: usize,
    /// Connections beyond which new ones are answered 503.
    connections_max: u32,
    settings: Arc<ShardSettings>,
    home: HomeShard,
    inbox: Arc<Inbox>,
    counters: Arc<ShardCounters>,
    now: Now,
    random: fastrand::Rng,
    connections: Table<Connection>,
    directory: Directory,
    wheel: Wheel,
    expired: Vec<u32>,
    outbox: Outbox,
    /// Slots to be closed once this turn's sends have left.
    closing: Vec<u32>,
    /// Unfinished handshakes by address.
    handshakes: HashMap<IpAddr, u32>,
    /// Answers that wait for this turn's sends.
    answers: Vec<(Ticket, Answer, Option<Arc<Bell>>)>,
    /// Which answers the sends of this turn decide.
    sent: Vec<Sent>,
    /// Long work that is done in slices.
    passes: VecDeque<Pass>,
    /// The last message number given out. Every shard gives out its own residue of the number of shards, so that a
    /// message's id is its own on the whole node.
    last_seq: u64,
    /// The distance between two message numbers.
    seq_step: u64,
    /// The last session number given out.
    last_session: u64,
    accepting: bool,
    draining: Option<Draining>,
    /// Until when the driver may have connections that it lets go gracefully.
    lingering_until: Time,
}

struct Draining {
    reconnect_within_ms: u32,
}

/// What a shard is made of.
pub struct ShardParts {
    /// Its index among `count`.
    pub index: usize,
    /// How many shards there are.
    pub count: usize,
    /// Slots of its driver's table.
    pub slots: u32,
    /// What all shards are told.
    pub settings: Arc<ShardSettings>,
    /// Questions and answers.
    pub inbox: Arc<Inbox>,
    /// What it counts.
    pub counters: Arc<ShardCounters>,
    /// Decides what is left to chance: when a ping is sent, when a drained client is to come back.
    pub seed: u64,
}

impl Shard {
    /// A shard without connections.
    pub fn new(parts: ShardParts, now: Now) -> Shard {
        let first_session = parts.settings.first_session;
        Shard {
            index: parts.index,
            connections_max: parts.slots.saturating_sub(SLOTS_RESERVED).max(parts.slots / 2),
            settings: parts.settings,
            home: HomeShard::new(parts.count),
            inbox: parts.inbox,
            counters: parts.counters,
            now,
            random: fastrand::Rng::with_seed(parts.seed),
            connections: Table::new(),
            directory: Directory::new(),
            wheel: Wheel::new(now.time, TICK),
            expired: Vec::new(),
            outbox: Outbox::default(),
            closing: Vec::new(),
            handshakes: HashMap::new(),
            answers: Vec::new(),
            sent: Vec::new(),
            passes: VecDeque::new(),
            last_seq: parts.index as u64,
            seq_step: parts.count as u64,
            last_session: first_session,
            accepting: false,
            draining: None,
            lingering_until: now.time,
        }
    }

    /// The connection, if the slot still has this tenant.
    fn tenant(&mut self, conn: Conn) -> Option<&mut Connection> {
        self.connections.get_mut(conn.slot).filter(|connection| connection.generation == conn.generation)
    }

    fn now_ms(&self) -> u32 {
        self.now.time.as_millis() as u32
    }

    /// Adds bytes to what the connection is sent this turn.
    fn post(&mut self, slot: u32, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let outbox = match &mut connection.state {
            State::Session(Session { unsent: Some(unsent), .. }) => {
                // An echo was paused, but what had been read already is still reported.
                **unsent = [&unsent[..], &bytes[..]].concat().into();
                return;
            }
            State::Session(session) => &mut session.outbox,
            State::Closing(closing) => &mut closing.outbox,
            State::Handshake(handshake) => &mut handshake.outbox,
            State::Free | State::HandingOff => return,
        };
        match *outbox {
            NONE => *outbox = self.outbox.begin(slot, bytes),
            index => self.outbox.append(index, &bytes),
        }
    }

    /// Ends a connection with a close frame. A session is forgotten at once: nothing more is delivered to it.
    fn close(&mut self, slot: u32, code: u16, reason: &str) {
        self.finish(slot, frame::close_frame(code, reason).into());
    }

    /// Ends a connection with these last bytes: a close frame, or an HTTP refusal.
    fn finish(&mut self, slot: u32, last: Bytes) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let mut closing = Closing { unsent: None, outbox: NONE };
        match std::mem::take(&mut connection.state) {
            State::Session(session) => {
                closing.outbox = session.outbox;
                if let Some(unsent) = &session.unsent {
                    let mut bytes = BytesMut::with_capacity(unsent.len() + last.len());
                    bytes.extend_from_slice(unsent);
                    bytes.extend_from_slice(&last);
                    closing.unsent = Some(bytes.freeze());
                }
                self.leave_directory(slot, &session);
            }
            State::Handshake(handshake) => {
                closing.outbox = handshake.outbox;
                self.leave_handshake(&handshake);
            }
            State::HandingOff => {}
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
    fn abort(&mut self, slot: u32, commands: &mut Commands<Parcel>) {
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
            State::Closing(_) | State::HandingOff => {}
        }
        self.forget(slot);
        commands.close(conn, CloseMode::Abort);
    }

    /// The slot has no tenant any more.
    fn forget(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.state = State::Free;
        }
        self.wheel.clear(slot);
        self.counters.connections.subtract(1);
        self.settings.connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn hung_up(&mut self, conn: Conn, commands: &mut Commands<Parcel>) {
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
    fn writable(&mut self, conn: Conn) {
        let now_ms = self.now_ms();
        let slot = conn.slot;
        if self.tenant(conn).is_none() {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        match &mut connection.state {
            State::Session(session) => {
                // Reading is a sign of life.
                session.heard_ms = now_ms;
                session.pinged = false;
                if let Some(unsent) = session.unsent.take() {
                    session.outbox = self.outbox.begin(conn.slot, *unsent);
                }
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

    fn send_incomplete(
        &mut self,
        conn: Conn,
        rest: Bytes,
        error: Option<std::io::ErrorKind>,
        commands: &mut Commands<Parcel>,
    ) {
        self.counters.sends_incomplete.add(1);
        let Some(connection) = self.tenant(conn) else { return };
        match &mut connection.state {
            State::Session(session) if error.is_none() => {
                let echo = session.is_echo();
                session.unsent = Some(Box::new(rest));
                commands.push(Command::WatchWritable { conn });
                if echo {
                    commands.push(Command::Pause { conn });
                }
            }
            State::Closing(closing) if error.is_none() => {
                closing.unsent = Some(rest);
                commands.push(Command::WatchWritable { conn });
            }
            _ => {
                self.deliveries_broke(conn.slot);
                self.abort(conn.slot, commands);
            }
        }
    }

    /// Moves the outbox into commands.
    fn flush(&mut self, commands: &mut Commands<Parcel>) {
        if self.outbox.is_empty() {
            return;
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut bytes_sent = 0;
        for (slot, bytes) in outbox.drain() {
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
                State::Free | State::HandingOff => {}
            }
            if !bytes.is_empty() {
                bytes_sent += bytes.len() as u64;
                commands.send(conn, bytes);
            }
        }
        self.counters.bytes_sent.add(bytes_sent);
        self.outbox = outbox;
    }

    fn timer(&mut self, slot: u32, commands: &mut Commands<Parcel>) {
        match self.connections.get(slot).map(|connection| &connection.state) {
            Some(State::Handshake(_)) => self.handshake_timed_out(slot),
            Some(State::Session(_)) => self.session_timer(slot),
            Some(State::Closing(_)) => self.abort(slot, commands),
            Some(State::Free | State::HandingOff) | None => {}
        }
    }

    /// Whether a draining shard has nothing left to do. It waits for the whole node: a connection that another shard
    /// hands over is counted by neither of the two while it is under way.
    fn is_drained(&self) -> bool {
        self.draining.is_some()
            && self.passes.is_empty()
            && !self.inbox.has_mail()
            && self.lingering_until <= self.now.time
            && self.counters.connections.get() == 0
            && self.settings.connections.load(Ordering::Relaxed) == 0
    }

    /// Whether there are more connections than allowed, the one that asks included.
    fn is_full(&self) -> bool {
        self.counters.connections.get() > u64::from(self.connections_max)
            || self.settings.connections.load(Ordering::Relaxed) > self.settings.limits.max_connections
    }
}

impl Core for Shard {
    type Parcel = Parcel;

    fn on_event(&mut self, now: Now, event: Event<'_, Parcel>, commands: &mut Commands<Parcel>) {
        self.now = now;
        match event {
            Event::Accepted { conn, peer } => self.accepted(conn, peer.ip(), commands),
            Event::Received { conn, data } => {
                self.counters.bytes_received.add(data.len() as u64);
                match self.tenant(conn).map(|connection| &connection.state) {
                    Some(State::Session(_)) => self.session_input(conn.slot, data),
                    Some(State::Handshake(_)) => self.handshake_input(conn, data, commands),
                    _ => {}
                }
            }
            Event::HungUp { conn, .. } => self.hung_up(conn, commands),
            Event::Writable { conn } => self.writable(conn),
            Event::SendIncomplete { conn, rest, error } => self.send_incomplete(conn, rest, error, commands),
            Event::HandedIn { conn, parcel } => self.handed_in(conn, *parcel, commands),
            Event::HandOffFailed { conn, parcel } => self.hand_off_failed(conn, &parcel),
            // A shard opens no connections.
            Event::Connected { .. } | Event::ConnectFailed { .. } => {}
        }
    }

    fn on_turn(&mut self, now: Now, commands: &mut Commands<Parcel>) -> Next {
        self.now = now;
        self.counters.turns.add(1);
        if !self.accepting && self.draining.is_none() {
            self.accepting = true;
            commands.push(Command::Accept { on: true });
        }
        let mut stop = false;
        for _ in 0..REQUESTS_PER_TURN_MAX {
            let Some(request) = self.inbox.take() else { break };
            stop |= self.take_request(request, commands);
        }
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(now.time, &mut expired);
        for slot in expired.drain(..) {
            self.timer(slot, commands);
        }
        self.expired = expired;
        if stop {
            self.answer_the_rest(commands);
        }
        self.advance_pass();
        self.flush(commands);
        if stop || self.is_drained() {
            return Next::Stop;
        }
        if !self.passes.is_empty() || self.inbox.has_mail() {
            return Next::Now;
        }
        let tick = self.wheel.next_tick();
        // The last connection of the node may end on another shard, which wakes nobody.
        let tick = tick.or_else(|| self.draining.is_some().then(|| now.time + TICK));
        tick.map_or(Next::Event, Next::At)
    }

    fn on_submitted(&mut self, now: Now, commands: &mut Commands<Parcel>) {
        self.now = now;
        for slot in std::mem::take(&mut self.closing) {
            let Some(connection) = self.connections.get(slot) else { continue };
            let conn = connection.conn(slot);
            // Those whose last bytes did not all leave wait for room.
            if matches!(&connection.state, State::Closing(closing) if closing.unsent.is_none()) {
                self.forget(slot);
                self.lingering_until = now.time + LINGER;
                commands.close(conn, CloseMode::Graceful);
            }
        }
        self.sent.clear();
        for (ticket, answer, bell) in self.answers.drain(..) {
            self.inbox.answer(ticket, answer);
            // Only now: whoever is woken finds the answer.
            drop(bell);
        }
    }

    fn has_mail(&self) -> bool {
        self.inbox.has_mail()
    }
}
