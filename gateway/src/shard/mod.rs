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
mod handoff;
mod handshake;
pub mod link;
mod outbox;
pub mod requests;
mod sending;
mod session;
pub mod settings;
mod table;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::capacity::connections_per_shard_max;
use campanile_engine::{CloseMode, Command, Commands, Conn, Core, Event, Next, Now, Time, Wheel};

pub use self::connection::Parcel;
use self::connection::{Connection, State};
use self::counters::ShardCounters;
use self::delivery::{Pass, Reply, Sent};
use self::directory::Directory;
use self::link::{HomeShard, Inbox};
use self::outbox::Outbox;
use self::requests::Push;
use self::settings::ShardSettings;
use self::table::Table;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::Encoding;

/// The coarsest unit of a shard's time.
const TICK: Duration = Duration::from_millis(100);
/// Requests taken in one turn, beside what their pushes cost.
const REQUESTS_PER_TURN_MAX: usize = 64;
/// Sends that requests and passes may cause in one turn: about 2 ms, so that nothing waits behind them for long.
const SENDS_PER_TURN: usize = 384;
/// The part of them that a pass gets even while pushes wait.
const SENDS_PER_PASS_MIN: usize = SENDS_PER_TURN / 4;
/// How long a driver that is to end goes on after the last close, so that the last close frame is read.
const LINGER: Duration = Duration::from_millis(1_100);

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
    /// Bytes of unfinished messages and of what sockets did not take, of all sessions.
    held_bytes: usize,
    /// Slots to be closed once this turn's sends have left.
    closing: Vec<u32>,
    /// Unfinished handshakes by address.
    handshakes: HashMap<IpAddr, u32>,
    /// Answers that wait for this turn's sends. An answer that needs more turns is the last, and the first of the next.
    answers: Vec<Reply>,
    /// Pushes of the last answer that have not had their turn.
    pushing: std::vec::IntoIter<Push>,
    /// The sessions that a push is for; kept for its memory.
    meant: Vec<(u32, Encoding, DeviceId)>,
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
        // Each shard gives out the numbers of its own residue.
        let count = parts.count as u64;
        let first_seq = parts.settings.first_seq / count * count + parts.index as u64;
        Shard {
            index: parts.index,
            connections_max: connections_per_shard_max(parts.slots),
            settings: parts.settings,
            home: HomeShard::new(parts.count),
            inbox: parts.inbox,
            counters: parts.counters,
            now,
            random: fastrand::Rng::with_seed(parts.seed),
            connections: Table::new(),
            directory: Directory::new(),
            wheel: Wheel::new(tick_origin(now.time, parts.index, parts.count), TICK),
            expired: Vec::new(),
            outbox: Outbox::default(),
            closing: Vec::new(),
            handshakes: HashMap::new(),
            answers: Vec::new(),
            pushing: Vec::new().into_iter(),
            meant: Vec::new(),
            held_bytes: 0,
            sent: Vec::new(),
            passes: VecDeque::new(),
            last_seq: first_seq,
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
            && !self.has_requests()
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

/// Shards tick one after the other, so that those which share a core do not all ping at the same moment.
fn tick_origin(now: Time, index: usize, count: usize) -> Time {
    let ahead = TICK.as_nanos() as u64 * index as u64 / count as u64;
    Time(now.as_nanos().saturating_sub(ahead))
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
        let (stop, sends) = self.take_requests(commands);
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(now.time, &mut expired);
        for slot in expired.drain(..) {
            self.timer(slot, commands);
        }
        self.expired = expired;
        if stop {
            self.answer_the_rest(commands);
        }
        self.advance_pass(SENDS_PER_TURN.saturating_sub(sends).max(SENDS_PER_PASS_MIN));
        self.flush(commands);
        if stop || self.is_drained() {
            return Next::Stop;
        }
        if !self.passes.is_empty() || self.has_requests() {
            return Next::Now;
        }
        let tick = self.wheel.next_tick();
        // The last connection of the node may end on another shard, which wakes nobody.
        let tick = tick.or_else(|| self.draining.is_some().then(|| now.time + TICK));
        tick.map_or(Next::Event, Next::At)
    }

    fn on_submitted(&mut self, now: Now, commands: &mut Commands<Parcel>) {
        self.now = now;
        let mut closing = std::mem::take(&mut self.closing);
        for slot in closing.drain(..) {
            let Some(connection) = self.connections.get(slot) else { continue };
            let conn = connection.conn(slot);
            // Those whose last bytes did not all leave wait for room.
            if matches!(&connection.state, State::Closing(closing) if closing.unsent.is_none()) {
                self.forget(slot);
                self.lingering_until = now.time + LINGER;
                commands.close(conn, CloseMode::Graceful);
            }
        }
        self.closing = closing;
        self.sent.clear();
        self.send_answers();
    }

    fn has_mail(&self) -> bool {
        self.inbox.has_mail()
    }
}
