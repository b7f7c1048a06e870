//! The core of the gateway: one shard, its connections, and everything about the users who live there.
//!
//! A shard is a state machine ([`campanile_engine::Core`]): it takes events, requests and the time, and gives
//! commands. It does no I/O, takes no lock and never blocks. What always holds:
//! - A user's sessions are all on the user's home shard ([`HomeShard`]).
//! - A connection that only waits owns no memory beyond its entry in the table.
//! - A connection gets at most one send per turn, and nothing before the unsent rest of the last one.
//! - A connection is closed only after its close frame has left, or its time is over.

mod channels;
mod compression;
mod connection;
mod control;
pub mod counters;
mod delivery;
mod directory;
mod ephemeral;
mod frames;
mod handoff;
mod handshake;
pub mod hashing;
mod held;
pub mod inbox;
mod jobs;
pub mod lanes;
pub mod limits;
mod mail;
pub mod names;
pub mod namespaces;
mod opening;
mod outbox;
mod passes;
pub mod placement;
mod probe;
pub mod publish;
pub mod push;
mod recent;
mod replay;
pub mod requests;
mod sending;
mod session;
pub mod settings;
mod storage;
mod sync;
mod table;
pub mod tokens;
mod users;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::limits::connections_per_shard_max;
use campanile_engine::{CloseMode, Command, Commands, Conn, Core, Event, Next, Now, Time, Wheel};
use campanile_mailbox::UserRecord;
use campanile_mailbox::operations::{Completion, Port};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::Encoding;
use slab::Slab;

use self::channels::Channels;
use self::compression::Inflating;
pub use self::connection::Parcel;
use self::connection::{Connection, State};
use self::counters::ShardCounters;
use self::directory::Directory;
use self::ephemeral::Sent;
use self::hashing::HashKey;
use self::held::Held;
use self::inbox::Inbox;
use self::jobs::{Job, Place, Reply};
use self::lanes::{Lanes, Outgoing};
use self::outbox::Outbox;
use self::passes::Pass;
use self::placement::{HomeShard, PlacementKey};
use self::recent::RecentIds;
use self::requests::{Answer, ConnectedDevice, Push, Unavailable, UserDevice};
use self::settings::ShardSettings;
pub use self::storage::NUMBERS_PER_RANGE;
use self::storage::{Awaiting, Storage};
use self::table::Table;

/// The coarsest unit of a shard's time.
const TICK: Duration = Duration::from_millis(100);
/// Requests taken in one turn, beside what their pushes cost.
const REQUESTS_PER_TURN_MAX: usize = 64;
/// Sends that requests and passes may cause in one turn: about 2 ms, so that nothing waits behind them for long.
const SENDS_PER_TURN: usize = 384;
/// Answers of the store that cost about as much as one send.
const COMPLETIONS_PER_SEND: usize = 8;
/// The part of them that a pass gets even while pushes wait.
const SENDS_PER_PASS_MIN: usize = SENDS_PER_TURN / 4;
/// When a shard looks again whether another shard's queue has room.
const RETRY: Duration = Duration::from_millis(1);
/// Sends to subscribers of channels in one turn: about 1 ms, since shards may share a core, and each lets the next one run
/// after its turn.
const SENDS_PER_FAN_OUT: usize = SENDS_PER_TURN / 2;
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
    lanes: Outgoing,
    channels: Channels,
    inflating: Inflating,
    counters: Arc<ShardCounters>,
    now: Now,
    random: fastrand::Rng,
    connections: Table<Connection>,
    directory: Directory,
    wheel: Wheel,
    expired: Vec<u32>,
    outbox: Outbox,
    held: Held,
    /// Slots to be closed once this turn's sends have left.
    closing: Vec<u32>,
    /// Unfinished handshakes by address.
    handshakes: HashMap<IpAddr, u32>,
    /// Answers that wait for this turn's sends.
    replies: Vec<Reply>,
    /// Pushes that are answered together.
    jobs: Slab<Job>,
    /// Ephemeral pushes that are over when this turn's sends are.
    submitted: Vec<Place>,
    /// Pushes of the last request that have not had their turn, and the place of the next of them.
    pushing: std::vec::IntoIter<Push>,
    pushing_at: Place,
    /// Sends that pushes and replays have caused so far.
    sends_of_pushes: usize,
    /// Durable pushes that wait for what the store knows of their user.
    parked: usize,
    /// The bytes of their payloads.
    parked_bytes: usize,
    /// Users whose parked pushes are executed further in the next turn.
    unparking: Vec<u32>,
    recent: RecentIds,
    storage: Storage,
    /// Answers of the store that have not had their turn.
    completions: VecDeque<Completion>,
    /// How often the store was opened, as far as this shard has seen.
    store_life: u32,
    /// Bytes that were read for sessions and not sent.
    read_ahead_bytes: usize,
    /// Sessions that are sent more of their mail in the next turn.
    continuing: VecDeque<Conn>,
    /// Sessions that wait until the shard may read for them; each at most once.
    readers: VecDeque<Conn>,
    /// The sessions that a push is for; kept for its memory.
    meant: Vec<(u32, Encoding, DeviceId)>,
    /// Which answers the sends of this turn decide.
    sent: Vec<Sent>,
    /// Long work that is done in slices.
    passes: VecDeque<Pass>,
    accepting: bool,
    draining: Option<Draining>,
    /// Connections that came after the drain had begun.
    latecomers: u32,
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
    /// Between the shards.
    pub lanes: Arc<Lanes>,
    /// What it counts.
    pub counters: Arc<ShardCounters>,
    /// Between it and the store.
    pub port: Arc<Port>,
    /// The first numbers that it gives out.
    pub numbers: Range<u64>,
    /// By which users are placed: the same for all shards, and for who asks them.
    pub placement_key: PlacementKey,
    /// Of its tables. Another one: placement must tell nothing of them.
    pub table_key: HashKey,
    /// Decides what is left to chance: when a ping is sent, when a drained client is to come back.
    pub seed: u64,
}

impl Shard {
    /// A shard without connections.
    pub fn new(parts: ShardParts, now: Now) -> Shard {
        let recent = RecentIds::new(parts.table_key, parts.settings.dedup_window_ms, now.unix_ms);
        let held = Held::new(parts.settings.held_bytes_max);
        Shard {
            index: parts.index,
            connections_max: connections_per_shard_max(parts.slots),
            settings: parts.settings,
            home: HomeShard::new(parts.count, parts.placement_key),
            inbox: parts.inbox,
            lanes: Outgoing::new(parts.lanes),
            channels: Channels::new(parts.table_key),
            inflating: Inflating::default(),
            counters: parts.counters,
            now,
            random: fastrand::Rng::with_seed(parts.seed),
            connections: Table::new(),
            directory: Directory::new(parts.table_key),
            wheel: Wheel::new(tick_origin(now.time, parts.index, parts.count), TICK),
            expired: Vec::new(),
            outbox: Outbox::default(),
            closing: Vec::new(),
            handshakes: HashMap::new(),
            replies: Vec::new(),
            jobs: Slab::new(),
            submitted: Vec::new(),
            pushing: Vec::new().into_iter(),
            pushing_at: Place { job: 0, index: 0 },
            sends_of_pushes: 0,
            parked: 0,
            parked_bytes: 0,
            unparking: Vec::new(),
            recent,
            storage: Storage::new(parts.port, parts.numbers),
            completions: VecDeque::new(),
            store_life: 1,
            read_ahead_bytes: 0,
            continuing: VecDeque::new(),
            readers: VecDeque::new(),
            meant: Vec::new(),
            held,
            sent: Vec::new(),
            passes: VecDeque::new(),
            accepting: false,
            draining: None,
            latecomers: 0,
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
            Some(State::Opening(_)) => self.opening_timed_out(slot),
            Some(State::Free | State::HandingOff) | None => {}
        }
    }

    /// Whether a draining shard has nothing left to do. It waits for the whole node: a connection that another shard
    /// hands over is counted by neither of the two while it is under way. Connections that come only now would keep a
    /// node alive for ever; they end with it.
    fn is_drained(&self) -> bool {
        self.draining.is_some()
            && self.passes.is_empty()
            && !self.has_requests()
            && self.jobs.is_empty()
            && self.storage.is_quiet()
            && self.lingering_until <= self.now.time
            && self.counters.connections.get() == u64::from(self.latecomers)
            && self.settings.connections.load(Ordering::Relaxed) == 0
    }

    /// Whether there are more connections than allowed, the one that asks included.
    fn is_full(&self) -> bool {
        self.counters.connections.get() > u64::from(self.connections_max)
            || self.settings.connections.load(Ordering::Relaxed) > self.settings.limits.max_connections
    }
}

impl Shard {
    /// Takes what the store has answered, until about as much as one turn may cost. How many sends there were.
    fn take_completions(&mut self, commands: &mut Commands<Parcel>) -> usize {
        let before = self.sends_of_pushes;
        self.unpark_on();
        for _ in 0..self.continuing.len() {
            if self.sends_of_pushes - before >= SENDS_PER_TURN {
                break;
            }
            let Some(conn) = self.continuing.pop_front() else { break };
            if self.tenant(conn).is_some() {
                self.deliver_waiting(conn.slot);
            }
        }
        let mut taken = 0;
        while self.sends_of_pushes - before + taken / COMPLETIONS_PER_SEND < SENDS_PER_TURN {
            if self.completions.is_empty() {
                match self.storage.take_completions() {
                    Some(completions) => self.completions.extend(completions),
                    None => break,
                }
            }
            if let Some(completion) = self.completions.pop_front() {
                taken += 1;
                self.complete(completion, commands);
            }
        }
        self.read_for_those_who_wait();
        self.sends_of_pushes - before
    }

    fn complete(&mut self, completion: Completion, commands: &mut Commands<Parcel>) {
        let tag = match &completion {
            Completion::Reserved(_) | Completion::Reopened => None,
            Completion::Appended(tag, _)
            | Completion::Recalled(tag, _)
            | Completion::Opened(tag, _)
            | Completion::User(tag, _)
            | Completion::Registered(tag, _)
            | Completion::Read(tag, _)
            | Completion::Fetched(tag, _)
            | Completion::Removed(tag, _) => Some(*tag),
        };
        let awaiting = tag.and_then(|tag| self.storage.answered(tag));
        match (completion, awaiting) {
            (Completion::Reserved(numbers), _) => self.storage.reserved(numbers.ok()),
            (Completion::Reopened, _) => self.store_life += 1,
            (Completion::Appended(_, result), Some(Awaiting::Append(appending))) => {
                self.appended(appending, result)
            }
            (Completion::Recalled(_, result), Some(Awaiting::Recall { user })) => self.recalled(user, result),
            (Completion::Opened(_, result), Some(Awaiting::Open { conn, user })) => {
                self.opened(conn, user, result, commands);
            }
            (Completion::User(_, result), Some(Awaiting::User { user })) => self.user_read(user, result),
            (Completion::User(_, result), Some(Awaiting::Devices { asker, user })) => {
                let devices = result.map(|record| self.user_devices(&user, &record));
                self.reply(asker, Answer::Devices(devices.map_err(Unavailable::from)));
            }
            (Completion::Registered(_, result), Some(Awaiting::Register { asker, user })) => {
                if let (Ok(Ok(device)), Some(number)) = (&result, self.directory.find(&user))
                    && let Some(user) = self.directory.user_mut(number)
                {
                    user.add(device.get());
                }
                self.reply(asker, Answer::Registered(result.map_err(Unavailable::from)));
            }
            (Completion::Registered(..), Some(Awaiting::Reregister { user })) => self.ended_for(user),
            (Completion::Read(_, result), Some(Awaiting::Read { conn, head, .. })) => {
                self.page_read(conn, head, result)
            }
            (Completion::Read(_, result), Some(Awaiting::Mail { asker })) => {
                self.reply(asker, Answer::Listed(result.map_err(Unavailable::from)));
            }
            (Completion::Fetched(_, result), Some(Awaiting::Mail { asker })) => {
                self.reply(asker, Answer::Fetched(result.map_err(Unavailable::from)));
            }
            (Completion::Removed(_, result), Some(Awaiting::Mail { asker })) => {
                self.reply(asker, Answer::Confirmed(result.map_err(Unavailable::from)));
            }
            (completion, _) => debug_assert!(false, "not what was asked: {completion:?}"),
        }
    }

    fn user_devices(&self, id: &UserId, record: &UserRecord) -> Vec<UserDevice> {
        let user = self.directory.find(id).and_then(|number| self.directory.user(number));
        let session = |device: DeviceId| {
            let session = self.connections.get(user?.slot_of(device)?)?.as_session()?;
            Some(ConnectedDevice {
                generation: session.number,
                subprotocol: session.encoding.subprotocol(),
                connected_at_ms: u64::from(session.connected_at) * 1_000,
            })
        };
        let devices = record.devices.iter();
        devices.map(|&record| UserDevice { record, session: session(record.device) }).collect()
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
            Event::HandedIn { conn, parcel } => self.handed_in(conn, *parcel),
            Event::HandOffFailed { conn, parcel } => self.hand_off_failed(conn, &parcel),
            // A shard opens no connections.
            Event::Connected { .. } | Event::ConnectFailed { .. } => {}
        }
    }

    fn on_turn(&mut self, now: Now, commands: &mut Commands<Parcel>) -> Next {
        self.now = now;
        self.counters.turns.add(1);
        if !self.accepting {
            self.accepting = true;
            commands.push(Command::Accept { on: true });
        }
        let answered = self.take_completions(commands);
        self.take_mail();
        let (stop, sends) = self.take_requests();
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(now.time, &mut expired);
        for slot in expired.drain(..) {
            self.timer(slot, commands);
        }
        self.expired = expired;
        if stop {
            self.answer_the_rest();
        }
        self.sweep_channels();
        self.tell_statuses();
        self.feed_replicas();
        let sends_left = SENDS_PER_TURN.saturating_sub(sends + answered).max(SENDS_PER_PASS_MIN);
        self.advance_pass(sends_left);
        self.fan_out(sends_left.min(SENDS_PER_FAN_OUT));
        if stop || self.storage.trims_due().is_some_and(|due| due <= now.time) {
            self.flush_trims();
        }
        self.storage.flush();
        self.let_go_of_holders();
        // Before the sends, so that other shards need not wait for them.
        for to in self.lanes.take_wakes() {
            commands.push(Command::Wake { to });
        }
        self.flush(commands);
        if stop || self.is_drained() {
            return Next::Stop;
        }
        let continues =
            !self.continuing.is_empty() || !self.completions.is_empty() || !self.unparking.is_empty();
        let passes = !self.passes.is_empty() || self.channels.is_ready();
        let asked = self.has_requests() || self.storage.has_completions() || self.lanes.has_mail(self.index);
        if continues || passes || asked {
            return Next::Now;
        }
        // A queue of another shard was full.
        let retry = (self.lanes.is_behind() || self.channels.is_feeding()).then(|| now.time + RETRY);
        let due = [retry, self.channels.sweep_due(), self.channels.statuses_due()];
        let tick = self.wheel.next_tick();
        let tick = tick.into_iter().chain(self.storage.trims_due()).chain(due.into_iter().flatten()).min();
        // The last connection of the node may end on another shard, which wakes nobody.
        let tick = tick.into_iter().chain(self.draining.is_some().then(|| now.time + TICK)).min();
        tick.map_or(Next::Event, Next::At)
    }

    fn on_submitted(&mut self, now: Now, commands: &mut Commands<Parcel>) {
        self.now = now;
        let mut closing = std::mem::take(&mut self.closing);
        for slot in closing.drain(..) {
            let Some(connection) = self.connections.get(slot) else { continue };
            let (conn, late) = (connection.conn(slot), connection.late);
            // Those whose last bytes did not all leave wait for room.
            if matches!(&connection.state, State::Closing(closing) if closing.unsent.is_none()) {
                self.forget(slot);
                if !late {
                    self.lingering_until = now.time + LINGER;
                }
                commands.close(conn, CloseMode::Graceful);
            }
        }
        self.closing = closing;
        self.forget_fanned();
        self.sent.clear();
        self.send_answers();
    }

    fn has_mail(&self) -> bool {
        // The receipt of an ephemeral sync is written only after the submission that it tells of.
        self.inbox.has_mail()
            || self.lanes.has_mail(self.index)
            || self.storage.has_completions()
            || !self.outbox.is_empty()
            || self.held.is_beyond()
    }
}
