//! One shard: its rooms, and in which order they have their turn.
//!
//! A shard is a state machine ([`campanile_engine::Core`]): it takes events, requests and the time, and gives
//! commands. It does no I/O, takes no lock and never blocks. What always holds:
//! - A user's sessions are all on the user's home shard ([`HomeShard`]).
//! - A connection that only waits owns no memory beyond its entry in the table.
//! - What ends is marked, and everybody who knows it is told when the event that ended it is over: after each event,
//!   request, answer, lane message and timer, the shard *settles*.

mod frames;
mod ground;
mod requests;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use campanile_engine::{Command, Commands, Conn, Core, Event, Next, Now};
use campanile_mailbox::operations::Port;

use self::ground::Ground;
use crate::channels::check::Following;
use crate::channels::{ChannelHandler, Channels};
use crate::compression::Inflating;
use crate::control::Control;
use crate::counters::ShardCounters;
use crate::delivery::sessions::SessionHandler;
use crate::delivery::state::Delivery;
use crate::entry::client::Client;
use crate::entry::{Entered, Entry, EntryHandler};
use crate::hashing::HashKey;
use crate::inbox::Inbox;
use crate::invariants::Broken;
use crate::lanes::{Lanes, Outgoing};
use crate::limits::connections_per_shard_max;
use crate::net::{Ended, Net, TICK};
use crate::placement::{HomeShard, PlacementKey};
use crate::seam::{Home, OpenRefused, Opened};
use crate::session::State;
use crate::settings::ShardSettings;
use crate::store::Store;
use crate::turn::Turn;
use crate::users::home::HomeHandler;
use crate::users::state::Users;

/// Sends that requests and passes may cause in one turn: about 2 ms, so that nothing waits behind them for long.
const SENDS_PER_TURN: usize = 384;
/// Answers of the store that cost about as much as one send.
const ANSWERS_PER_SEND: usize = 8;
/// The part of a turn's sends that a pass gets even while pushes wait.
const SENDS_PER_PASS_MIN: usize = SENDS_PER_TURN / 4;
/// Sends to subscribers of channels in one turn: about 1 ms, since shards may share a core, and each lets the next one
/// run after its turn.
const SENDS_PER_FAN_OUT: usize = SENDS_PER_TURN / 2;
/// What is taken from other shards in one turn: about a turn's worth of sends.
const LANE_MESSAGES_PER_TURN_MAX: usize = 4_096;
/// When a shard looks again whether another shard's queue has room.
const RETRY: Duration = Duration::from_millis(1);

const _: () = assert!(SENDS_PER_PASS_MIN <= SENDS_PER_FAN_OUT && SENDS_PER_FAN_OUT <= SENDS_PER_TURN);

/// One shard. It is run by a [`campanile_engine::Driver`].
pub struct Shard {
    ground: Ground,
    rooms: Rooms,
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

/// The parts of a shard, each with a state of its own.
struct Rooms {
    net: Net,
    entry: Entry,
    users: Users,
    delivery: Delivery,
    channels: Channels,
    control: Control,
    store: Store,
    /// Decompresses what sessions send.
    inflating: Inflating,
    /// Timers that are due; kept for its memory.
    due: Vec<u32>,
}

impl Shard {
    /// A shard without connections.
    pub fn new(parts: ShardParts, now: Now) -> Shard {
        let ShardParts { index, count, seed, table_key: key, .. } = parts;
        let rooms = Rooms {
            net: Net::new(now.time, index, count, parts.settings.held_bytes_max),
            entry: Entry::new(key, connections_per_shard_max(parts.slots)),
            users: Users::new(key, parts.settings.dedup_window_ms, now.unix_ms),
            delivery: Delivery::default(),
            channels: Channels::new(key, Outgoing::new(parts.lanes)),
            control: Control::new(parts.inbox),
            store: Store::new(parts.port, parts.numbers),
            inflating: Inflating::default(),
            due: Vec::new(),
        };
        let ground = Ground {
            index,
            home: HomeShard::new(count, parts.placement_key),
            settings: parts.settings,
            counters: parts.counters,
            random: fastrand::Rng::with_seed(seed),
            accepting: false,
        };
        Shard { ground, rooms }
    }
}

impl Shard {
    /// Checks what must hold between two calls of the driver, for the simulator. It looks at every connection.
    ///
    /// # Errors
    /// The checker that found something else, and what.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), Broken> {
        let Rooms { net, entry, users, delivery, channels, store, .. } = &self.rooms;
        let counters = &self.ground.counters;
        let tenants = net.tenants();
        net.check_slots(&tenants, counters)?;
        net.check_held_bytes(&tenants, counters)?;
        entry.check_addresses(&tenants)?;
        users.check_directory(net, &tenants, counters)?;
        users.check_parking()?;
        users.check_watermarks(store)?;
        store.check_waiting()?;
        users.check_windows(&tenants)?;
        delivery.check_windows(net, &tenants)?;
        channels.check_subscriptions(&tenants, counters)?;
        channels.check_logs()?;
        channels.check_queues(net)
    }

    /// Checks what must hold after a turn, beside what always must, for the simulator.
    ///
    /// # Errors
    /// The checker that found something else, and what.
    #[doc(hidden)]
    pub fn check_turn(&self) -> Result<(), Broken> {
        self.rooms.store.check_passed_on()
    }
}

/// What checkers in the simulator compare with what the shard sends.
#[doc(hidden)]
impl Shard {
    /// What the connection's socket did not take and is still to be sent; `None` if it has taken all.
    pub fn unsent_of(&self, conn: Conn) -> Option<&[u8]> {
        self.rooms.net.unsent_of(conn)
    }

    /// What the connection is to be sent with this turn, so far.
    pub fn outgoing_of(&self, conn: Conn) -> &[u8] {
        self.rooms.net.outgoing_of(conn)
    }

    /// Where every subscriber of a channel is.
    pub fn following(&self) -> impl Iterator<Item = (Conn, Following<'_>)> {
        let following = self.rooms.channels.following();
        following.filter_map(|following| Some((self.rooms.net.conn(following.slot)?, following)))
    }
}

/// The rooms, as those see them who may touch several.
impl Rooms {
    fn home(&mut self) -> HomeHandler<'_> {
        HomeHandler { users: &mut self.users, store: &mut self.store, jobs: &mut self.control.jobs }
    }

    /// Both sides of the seam.
    fn seam(&mut self) -> (HomeHandler<'_>, SessionHandler<'_>) {
        let home =
            HomeHandler { users: &mut self.users, store: &mut self.store, jobs: &mut self.control.jobs };
        (home, SessionHandler { delivery: &mut self.delivery, net: &mut self.net })
    }

    fn channels(&mut self) -> ChannelHandler<'_> {
        ChannelHandler {
            channels: &mut self.channels,
            net: &mut self.net,
            users: &mut self.users,
            store: &mut self.store,
        }
    }

    fn entry(&mut self) -> EntryHandler<'_> {
        EntryHandler { entry: &mut self.entry, net: &mut self.net }
    }
}

/// Connections, from the driver's events on.
impl Rooms {
    fn event(&mut self, turn: &mut Turn<'_>, event: Event<'_, Client>) {
        match event {
            Event::Accepted { conn, peer } => self.entry().accepted(turn, conn, peer.ip()),
            Event::Received { conn, data } => {
                turn.counters.bytes_received.add(data.len() as u64);
                match self.net.state_of(conn) {
                    Some(State::Session(_)) => self.input(turn, conn.slot, data),
                    Some(State::Handshaking(_)) => self.handshake_input(turn, conn, data),
                    _ => {}
                }
            }
            Event::HungUp { conn, .. } => {
                if self.net.has_session(conn) {
                    // What it was to be sent this turn goes nowhere.
                    self.home().ephemeral().events_broke(turn, conn.slot);
                }
                self.net.hung_up(turn, conn);
            }
            Event::Writable { conn } => {
                if self.net.writable(turn, conn) {
                    let (mut home, mut sessions) = self.seam();
                    sessions.catch_up(turn, &mut home, conn.slot);
                    self.channels().resume_subscriptions(conn.slot);
                }
            }
            Event::SendIncomplete { conn, rest, error } => {
                turn.counters.sends_incomplete.add(1);
                if self.net.state_of(conn).is_some() {
                    self.send_incomplete(turn, conn, rest, error.is_some());
                }
            }
            Event::HandedIn { conn, parcel } => {
                if let Some(client) = self.entry().handed_in(turn, conn, *parcel) {
                    self.open(turn, conn, client);
                }
            }
            Event::HandOffFailed { conn, parcel } => self.entry().hand_off_failed(turn, conn, &parcel),
            // A shard opens no connections.
            Event::Connected { .. } | Event::ConnectFailed { .. } => {}
        }
        self.settle(turn);
    }

    fn send_incomplete(&mut self, turn: &mut Turn<'_>, conn: Conn, mut rest: Bytes, is_broken: bool) {
        if is_broken {
            self.home().ephemeral().events_broke(turn, conn.slot);
        } else if let Some(kept) = self.channels().keep_cursor(turn, conn, rest.len()) {
            // Of what a channel's pass has sent only the rest of one frame is kept.
            rest.truncate(kept);
        }
        self.net.send_incomplete(turn, conn, rest, is_broken);
    }

    fn handshake_input(&mut self, turn: &mut Turn<'_>, conn: Conn, data: &mut [u8]) {
        match self.entry().input(turn, conn, data) {
            Entered::Nothing => {}
            Entered::Client(client) => {
                let to = turn.home.of(&client.user);
                if to == turn.shard {
                    self.open(turn, conn, *client);
                } else {
                    self.entry().hand_off(turn, conn, client, to);
                }
            }
            Entered::Echo(rest) => self.input(turn, conn.slot, rest),
        }
    }

    /// Asks the user's home for a session of the device. It begins when the answer has come.
    fn open(&mut self, turn: &mut Turn<'_>, conn: Conn, client: Client) {
        let acknowledged = client.acknowledged_before(turn, self.store.last_number());
        self.home().openings().open(turn, conn, &client.user, client.device, acknowledged);
        self.net.begin_opening(conn.slot, client);
    }

    /// The user's home has answered.
    fn begin(&mut self, turn: &mut Turn<'_>, conn: Conn, opened: Result<Opened, OpenRefused>) {
        let Some(mut client) = self.net.end_opening(conn.slot) else {
            debug_assert!(false, "a home has answered a connection that does not wait");
            return;
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(refused) => return self.entry().refuse_client(turn, conn.slot, &client, refused.into()),
        };
        self.entry().begin(turn, conn, &client, &opened);
        let (mut home, mut sessions) = self.seam();
        sessions.catch_up(turn, &mut home, conn.slot);
        self.channels().begin_subscriptions(turn, conn.slot, client.grants.take());
        if !client.unread.is_empty() {
            self.input(turn, conn.slot, &mut client.unread);
        }
    }

    fn timer(&mut self, turn: &mut Turn<'_>, slot: u32) {
        match self.net.state(slot) {
            Some(State::Handshaking(_)) => self.entry().timed_out(turn, slot),
            Some(State::Session(_)) => {
                self.channels().end_expired_subscriptions(turn, slot);
                self.net.session_due(turn, slot);
            }
            Some(State::Closing(_)) => self.net.abort(turn, slot),
            Some(State::Opening(_)) => self.entry().opening_timed_out(turn, slot),
            Some(State::Free | State::HandingOff) | None => {}
        }
        self.settle(turn);
    }

    /// Tells everybody of what the event has begun or ended: of a session that is over its channels before its home,
    /// since they ask the home who it was; and everything else only of those that go on.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        loop {
            if let Some(ended) = self.net.take_ended() {
                match ended {
                    Ended::Handshaking(handshake) => self.entry.left(turn, &handshake),
                    Ended::Session(session) => {
                        self.delivery.left(&session);
                        if !session.who.is_echo() {
                            self.channels().leave(turn, &session);
                            self.home().ended(turn, &session.who);
                        }
                    }
                }
            } else if let Some((conn, opened)) = self.delivery.take_opened() {
                self.begin(turn, conn, opened);
            } else if let Some(slot) = self.delivery.take_behind() {
                let (mut home, mut sessions) = self.seam();
                sessions.catch_up(turn, &mut home, slot);
            } else if let Some(receipt) = self.control.jobs.take_receipt() {
                self.tell(turn, receipt);
            } else if let Some(slot) = self.net.take_retimed() {
                let session = self.net.session(slot);
                let ends = session.and_then(|session| self.channels.subscriptions_end_in_ms(turn, session));
                self.net.set_timer(turn, slot, ends);
            } else {
                return;
            }
        }
    }
}

/// The order of a turn.
impl Rooms {
    /// What waits goes first, since it has waited longest: answers of the store (they free what publishers wait for),
    /// what other shards say, requests, timers. Then what can be cut at any point, in the rest of the turn's sends:
    /// broadcasts, and passes over channels. The store is asked before the sends, so that it works meanwhile; other
    /// shards are woken before them, so that they need not wait. Whether the shard is to stop.
    fn turn(&mut self, turn: &mut Turn<'_>) -> bool {
        let answered = self.take_answers(turn);
        self.take_lane_messages(turn);
        let (stop, sends) = self.take_requests(turn);
        let mut due = std::mem::take(&mut self.due);
        self.net.take_due(turn.now.time, &mut due);
        for slot in due.drain(..) {
            self.timer(turn, slot);
        }
        self.due = due;
        if stop {
            self.answer_the_rest(turn);
        }
        self.channels().sweep(turn);
        self.channels().tell_statuses(turn);
        self.channels.feed_replicas(turn);
        let sends_left = SENDS_PER_TURN.saturating_sub(sends + answered).max(SENDS_PER_PASS_MIN);
        let Control { broadcasts, jobs, .. } = &mut self.control;
        broadcasts.advance(turn, &mut self.net, jobs, sends_left);
        self.channels().fan_out(turn, sends_left.min(SENDS_PER_FAN_OUT));
        self.settle(turn);
        self.net.let_go_of_holders(turn);
        self.settle(turn);
        if stop || self.store.trims_due().is_some_and(|due| due <= turn.now.time) {
            self.home().devices().flush_watermarks();
        }
        self.store.flush();
        for to in self.channels.take_wakes() {
            turn.commands.push(Command::Wake { to });
        }
        self.net.flush(turn);
        stop
    }

    /// Takes what the store has answered, until about as much as one turn may cost. How many sends there were.
    fn take_answers(&mut self, turn: &mut Turn<'_>) -> usize {
        let before = turn.sends;
        let (mut home, mut sessions) = self.seam();
        home.parking().unpark_on(turn, &mut sessions);
        self.settle(turn);
        for _ in 0..self.delivery.continuing() {
            if turn.sends - before >= SENDS_PER_TURN {
                break;
            }
            let (mut home, mut sessions) = self.seam();
            if sessions.go_on(turn, &mut home).is_none() {
                break;
            }
            self.settle(turn);
        }
        let mut taken = 0;
        while turn.sends - before + taken / ANSWERS_PER_SEND < SENDS_PER_TURN
            && let Some(answered) = self.store.next_answer()
        {
            taken += 1;
            self.answered(turn, answered);
            self.settle(turn);
        }
        let (mut home, mut sessions) = self.seam();
        sessions.read_for_those_who_wait(turn, &mut home);
        self.settle(turn);
        turn.sends - before
    }

    /// Takes what other shards say, as much as one turn may.
    fn take_lane_messages(&mut self, turn: &mut Turn<'_>) {
        self.channels.retry_lanes();
        let mut taken = 0;
        while taken < LANE_MESSAGES_PER_TURN_MAX
            && let Some(cost) = self.channels().take_lane_message(turn)
        {
            taken += cost;
            self.settle(turn);
        }
    }

    /// When the next turn is wanted, if no event comes before.
    fn next(&self, turn: &Turn<'_>) -> Next {
        let continues = self.delivery.continues() || self.users.has_unparked() || self.store.has_answers();
        let passes = !self.control.broadcasts.is_empty() || self.channels.is_ready();
        let asked = self.control.has_requests() || self.channels.has_lane_messages(turn.shard);
        if continues || passes || asked {
            return Next::Now;
        }
        let now = turn.now.time;
        // A queue of another shard was full.
        let retry = self.channels.waits_for_room().then(|| now + RETRY);
        // The last connection of the node may end on another shard, which wakes nobody.
        let draining = self.entry.is_draining().then(|| now + TICK);
        let due = [
            self.net.next_tick(),
            self.store.trims_due(),
            retry,
            self.channels.sweep_due(),
            self.users.presence.due(),
            draining,
        ];
        due.into_iter().flatten().min().map_or(Next::Event, Next::At)
    }

    /// Whether a draining shard has nothing left to do. It waits for the whole node: a connection that another shard
    /// hands over is counted by neither of the two while it is under way.
    fn is_drained(&self, turn: &Turn<'_>) -> bool {
        self.entry.is_draining()
            && self.control.is_quiet()
            && self.store.is_quiet()
            && self.net.is_drained(turn)
    }
}

impl Core for Shard {
    type Parcel = Client;

    fn on_event(&mut self, now: Now, event: Event<'_, Client>, commands: &mut Commands<Client>) {
        self.rooms.event(&mut self.ground.turn(now, commands), event);
    }

    fn on_turn(&mut self, now: Now, commands: &mut Commands<Client>) -> Next {
        self.ground.counters.turns.add(1);
        // Also while it drains: whoever still comes is told to go elsewhere, instead of waiting in the listener's
        // backlog.
        if !self.ground.accepting {
            self.ground.accepting = true;
            commands.push(Command::Accept { on: true });
        }
        let mut turn = self.ground.turn(now, commands);
        let stop = self.rooms.turn(&mut turn);
        if stop || self.rooms.is_drained(&turn) { Next::Stop } else { self.rooms.next(&turn) }
    }

    fn on_submitted(&mut self, now: Now, commands: &mut Commands<Client>) {
        let mut turn = self.ground.turn(now, commands);
        let rooms = &mut self.rooms;
        rooms.net.submitted(&mut turn);
        rooms.channels.forget_fanned();
        rooms.users.submitted(&mut rooms.control.jobs);
        rooms.control.send_replies();
        rooms.settle(&mut turn);
    }

    fn has_mail(&self) -> bool {
        let Rooms { control, channels, store, net, .. } = &self.rooms;
        // The receipt of an ephemeral sync is written only after the submission that it tells of.
        control.has_requests()
            || channels.has_lane_messages(self.ground.index)
            || store.has_answers()
            || !net.is_flushed()
            || net.holds_too_much()
    }
}
