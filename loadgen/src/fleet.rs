//! The core of the load generator: one shard of virtual devices.
//!
//! A fleet is a state machine ([`campanile_engine::Core`]): it opens its devices' connections at the rate of the
//! ramp, answers pings, records what arrives and says goodbye at the end. What always holds:
//! - A device that is connected and waits owns no memory beyond its 24 bytes in the table, and three bits of the roster.
//! - A connection gets at most one send per turn, and nothing before the unsent rest of the last one.
//! - Tokens are signed before the ramp begins, so they are no part of any time that is measured.

mod acks;
mod channel_message;
pub mod control;
mod cursor;
mod deliver;
mod handshake;
mod publishing;
mod recorder;
mod returns;
mod session;
mod skim;
mod stages;
mod subscriptions;

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use campanile_engine::{CloseMode, Command, Commands, Conn, Core, Event, Next, Now, Time};
use campanile_protocol::frame::{self, Decoder, close_code};
use campanile_protocol::messages::Encoding;

pub use self::acks::AckSettings;
use self::acks::Acks;
use self::control::{Control, Phase};
use self::handshake::Attempt;
use self::publishing::DevicePublisher;
use self::recorder::Recorder;
use self::returns::Returns;
use self::stages::Places;
use self::subscriptions::{Subscribers, Tally};
use crate::audience::Audience;
use crate::channels::{Subscriptions, Targets};
use crate::credentials::Credentials;
use crate::ledger::Ledger;
use crate::roster::Roster;
use crate::schedule::Rate;
use crate::stages::Stages;
use crate::stats::{Position, Stats};

/// Attempts begun and goodbyes said in one turn, so that input does not wait behind them.
const PER_TURN_MAX: usize = 256;

/// What all fleets of a run are told.
pub struct FleetSettings {
    /// Who connects.
    pub audience: Audience,
    /// How many of them connect, counted from the first.
    pub connecting: u32,
    /// When they acknowledge, if they do.
    pub acks: Option<AckSettings>,
    /// Whether they connect again when a connection has ended.
    pub reconnect: bool,
    /// How long they stay on average, if they go by themselves.
    pub session: Option<Duration>,
    /// Whether the time of each arrival is kept.
    pub samples: bool,
    /// Their tokens.
    pub credentials: Credentials,
    /// The gateway.
    pub target: SocketAddr,
    /// `Host` of the upgrade request.
    pub host: String,
    /// Path and query of the upgrade request.
    pub path: String,
    /// Addresses to connect from, used in turn; none for the kernel's choice.
    pub sources: Vec<Ipv4Addr>,
    /// How messages are encoded.
    pub encoding: Encoding,
    /// Connections a second, over all fleets; 0 for as fast as possible.
    pub ramp_per_second: f64,
    /// How many devices there are at which time, if some come later and go again; the ramp's rate does not count then.
    pub stages: Option<Stages>,
    /// How long the gateway's side of the goodbyes is waited for.
    pub goodbye: Duration,
    /// Attempts under way in one fleet.
    pub attempts_max: usize,
    /// From connect to the session.
    pub connect_timeout: Duration,
    /// Whether a session begins with the server's `welcome`; otherwise with the 101 answer.
    pub is_welcomed: bool,
    /// Who has connected.
    pub roster: Roster,
    /// Which run the payloads are of.
    pub run: u64,
    /// What has arrived, if anything is pushed.
    pub ledger: Option<Ledger>,
    /// What they have to do with channels, if anything.
    pub channels: Option<ChannelSettings>,
}

/// What devices have to do with channels.
pub struct ChannelSettings {
    /// What they are subscribed to.
    pub subscriptions: Option<Subscriptions>,
    /// One in so many devices looks at each message; the others count frames. Not 0.
    pub check_every: u32,
    /// Those that stop reading read again when publishing has ended.
    pub resume: bool,
    /// What is published to channels.
    pub publishing: Option<ChannelPublishing>,
    /// What was published to each channel, when it is over.
    pub newest: OnceLock<Vec<Position>>,
}

/// What is published to channels.
pub struct ChannelPublishing {
    /// Where to.
    pub targets: Targets,
    /// How many messages there are.
    pub messages: u64,
    /// Size of each payload.
    pub payload_bytes: usize,
    /// When devices publish, if it is they.
    pub from_devices: Option<DevicePublishing>,
}

/// When devices publish.
#[derive(Clone, Debug)]
pub struct DevicePublishing {
    /// Messages a second, all devices together.
    pub rate: Rate,
    /// For how long.
    pub duration: Duration,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    /// The upgrade request is sent; `attempts` knows more.
    Upgrading,
    /// The upgrade is answered; the session has yet to begin.
    Opening,
    Open,
    /// We have sent a close frame.
    Closing,
}

/// A device's connection. Its place in the table is the connection's slot.
#[derive(Default)]
struct Device {
    decoder: Decoder,
    generation: u32,
    number: u32,
    /// Bytes still to come of a frame that is counted and not read.
    skimming: u32,
    state: State,
    /// Something is in the outbox for it.
    queued: bool,
}

const _: () = assert!(size_of::<Device>() <= 24);

/// One shard of virtual devices. It is run by a [`campanile_engine::Driver`].
pub struct Fleet {
    index: u32,
    count: u32,
    settings: Arc<FleetSettings>,
    control: Arc<Control>,
    stats: Arc<Stats>,
    seen: Phase,
    random: fastrand::Rng,
    devices: Vec<Device>,
    /// The next device to connect: every `count`th is ours.
    next_device: u32,
    /// The tokens of the devices that have yet to connect.
    tokens: std::vec::IntoIter<Option<String>>,
    /// Attempts under way, by device.
    attempts: HashMap<u32, Attempt>,
    /// Their deadlines, oldest first. All have the same patience, so they are in order.
    deadlines: VecDeque<(Time, u32)>,
    /// What is to be sent this turn.
    outbox: Vec<(Conn, Vec<u8>)>,
    /// What did not go out whole, by slot.
    unsent: HashMap<u32, Bytes>,
    /// To be closed once this turn's sends have left.
    closing: Vec<Conn>,
    recorder: Recorder,
    acks: Acks,
    returns: Returns,
    places: Places,
    subscribers: Subscribers,
    /// What the present read has brought.
    tally: Tally,
    /// Those that stood still read again.
    resumed: bool,
    publisher: DevicePublisher,
    /// The next slot to say goodbye to, and until when answers are waited for.
    goodbye: Option<(u32, Time)>,
}

impl Fleet {
    /// Fleet `index` of `count`; `seed` decides the keys that frames are masked with.
    ///
    /// # Errors
    /// In words for the operator: a token cannot be signed.
    pub fn new(
        index: u32,
        count: u32,
        settings: Arc<FleetSettings>,
        control: Arc<Control>,
        stats: Arc<Stats>,
        seed: u64,
    ) -> Result<Fleet, String> {
        let tokens = (index..settings.connecting)
            .step_by(count as usize)
            .map(|device| settings.credentials.token(&settings.audience, device))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let recorder = Recorder::new(settings.samples);
        let acks = Acks::new(settings.acks);
        Ok(Fleet {
            index,
            count,
            settings,
            control,
            stats,
            seen: Phase::Waiting,
            random: fastrand::Rng::with_seed(seed),
            devices: Vec::new(),
            next_device: index,
            tokens,
            attempts: HashMap::new(),
            deadlines: VecDeque::new(),
            outbox: Vec::new(),
            unsent: HashMap::new(),
            closing: Vec::new(),
            recorder,
            acks,
            returns: Returns::default(),
            places: Places::default(),
            subscribers: Subscribers::default(),
            tally: Tally::default(),
            resumed: false,
            publisher: DevicePublisher::default(),
            goodbye: None,
        })
    }

    /// How many devices of the fleet connect.
    pub fn devices_of_its_own(&self) -> u32 {
        let devices = self.settings.connecting;
        devices / self.count + u32::from(self.index < devices % self.count)
    }

    fn tenant(&mut self, conn: Conn) -> Option<&mut Device> {
        let device = self.devices.get_mut(conn.slot as usize)?;
        (device.generation == conn.generation && device.state != State::Free).then_some(device)
    }

    /// Adds to what the connection is sent this turn, or after what it has not taken yet.
    fn post(&mut self, conn: Conn, bytes: Vec<u8>) {
        if let Some(unsent) = self.unsent.get_mut(&conn.slot) {
            *unsent = [unsent, &bytes[..]].concat().into();
            return;
        }
        let Some(device) = self.tenant(conn) else { return };
        if std::mem::replace(&mut device.queued, true) {
            // Rare: several frames in one turn.
            if let Some((_, queued)) = self.outbox.iter_mut().rev().find(|(other, _)| *other == conn) {
                queued.extend_from_slice(&bytes);
                return;
            }
        }
        self.outbox.push((conn, bytes));
    }

    /// The slot has no tenant any more.
    fn forget(&mut self, slot: u32) {
        if let Some(device) = self.devices.get_mut(slot as usize) {
            *device = Device { generation: device.generation, ..Device::default() };
        }
        self.unsent.remove(&slot);
        self.acks.clear(slot);
    }

    /// Ends an open connection that we did not want to end; `how` is counted.
    fn ended(&mut self, now: Time, number: u32, how: String) {
        self.will_return(now, number);
        self.leave_channels(number);
        self.may_not_publish(number);
        self.stats.connected.subtract(1);
        self.stats.ended.add(1);
        *self.stats.details().endings.entry(how).or_default() += 1;
    }

    /// Sends a close frame; the connection is closed once it has left.
    fn close(&mut self, conn: Conn, code: u16, reason: &str) {
        let mut bytes = Vec::with_capacity(8 + reason.len());
        frame::encode_masked_close(code, reason, self.mask(), &mut bytes);
        self.post(conn, bytes);
        if let Some(device) = self.tenant(conn) {
            device.state = State::Closing;
        }
    }

    fn mask(&mut self) -> [u8; 4] {
        self.random.u32(..).to_ne_bytes()
    }

    fn hung_up(
        &mut self,
        now: Time,
        conn: Conn,
        error: Option<std::io::ErrorKind>,
        commands: &mut Commands<()>,
    ) {
        let Some(device) = self.tenant(conn) else { return };
        let (state, number) = (device.state, device.number);
        match state {
            State::Upgrading => {
                let refusal = self.attempts.get(&number).and_then(Attempt::refusal);
                let reason =
                    refusal.unwrap_or_else(|| error.map_or("closed_before_answer".into(), reason_of));
                self.failed(now, number, reason);
            }
            State::Opening => {
                self.failed(now, number, error.map_or("closed_before_welcome".into(), reason_of))
            }
            State::Open => {
                // 1006 is how RFC 6455 §7.1.5 calls an end without a close frame.
                self.ended(now, number, error.map_or("1006".into(), reason_of));
            }
            State::Closing | State::Free => {}
        }
        self.forget(conn.slot);
        commands.close(conn, CloseMode::Abort);
    }

    fn send_incomplete(
        &mut self,
        now: Time,
        conn: Conn,
        rest: Bytes,
        error: Option<std::io::ErrorKind>,
        commands: &mut Commands<()>,
    ) {
        if self.tenant(conn).is_none() {
            return;
        }
        match error {
            None => {
                self.unsent.insert(conn.slot, rest);
                self.closing.retain(|closing| *closing != conn);
                commands.push(Command::WatchWritable { conn });
            }
            Some(error) => self.hung_up(now, conn, Some(error), commands),
        }
    }

    fn writable(&mut self, conn: Conn) {
        let Some(device) = self.tenant(conn) else { return };
        let closing = device.state == State::Closing && self.goodbye.is_none();
        if let Some(rest) = self.unsent.remove(&conn.slot) {
            self.post(conn, rest.into());
            if closing {
                self.closing.push(conn);
            }
        }
    }

    /// Says goodbye to the next connections. True while there are more.
    fn say_goodbye(&mut self, now: Time) -> bool {
        let (mut slot, until) = self.goodbye.unwrap_or((0, now + self.settings.goodbye));
        let mut said = 0;
        while (slot as usize) < self.devices.len() && said < PER_TURN_MAX {
            let device = &self.devices[slot as usize];
            let conn = Conn { slot, generation: device.generation };
            if device.state == State::Open {
                self.stats.connected.subtract(1);
                self.acknowledge(conn);
                self.close(conn, close_code::NORMAL, "");
                said += 1;
            }
            slot += 1;
        }
        self.goodbye = Some((slot, until));
        (slot as usize) < self.devices.len()
    }

    /// Whether everything is over: all connections have ended, or have had their time.
    fn is_done(&self, now: Time) -> bool {
        let Some((_, until)) = self.goodbye else { return false };
        now >= until || self.devices.iter().all(|device| device.state != State::Closing)
    }

    fn flush(&mut self, commands: &mut Commands<()>) {
        for (conn, bytes) in self.outbox.drain(..) {
            let device = self.devices.get_mut(conn.slot as usize);
            let Some(device) = device.filter(|device| device.generation == conn.generation) else { continue };
            // Whoever hung up meanwhile is free.
            if std::mem::take(&mut device.queued) {
                commands.send(conn, bytes.into());
            }
        }
    }
}

impl Core for Fleet {
    type Parcel = ();

    fn on_event(&mut self, now: Now, event: Event<'_, ()>, commands: &mut Commands<()>) {
        match event {
            Event::Connected { conn, tag } => self.connected(conn, tag as u32, commands),
            Event::ConnectFailed { tag, error } => self.failed(now.time, tag as u32, reason_of(error)),
            Event::Received { conn, data } => {
                self.stats.bytes.add(data.len() as u64);
                match self.tenant(conn).map(|device| device.state) {
                    Some(State::Upgrading) => self.upgrade_input(now.time, conn, data, commands),
                    Some(State::Opening | State::Open | State::Closing) => self.input(now.time, conn, data),
                    Some(State::Free) | None => {}
                }
            }
            Event::HungUp { conn, error } => self.hung_up(now.time, conn, error, commands),
            Event::Writable { conn } => self.writable(conn),
            Event::SendIncomplete { conn, rest, error } => {
                self.send_incomplete(now.time, conn, rest, error, commands);
            }
            // A fleet neither listens nor hands connections over.
            Event::Accepted { conn, .. }
            | Event::HandedIn { conn, .. }
            | Event::HandOffFailed { conn, .. } => {
                commands.close(conn, CloseMode::Abort);
            }
        }
    }

    fn on_turn(&mut self, now: Now, commands: &mut Commands<()>) -> Next {
        let now = now.time;
        self.seen = self.control.phase();
        let mut next: Option<Time> = None;
        let mut at_once = false;
        match self.seen {
            Phase::Waiting => {}
            phase @ (Phase::Connected | Phase::Publishing | Phase::Draining) => {
                next = if self.settings.stages.is_some() {
                    self.follow_stages(now, commands)
                } else {
                    self.ramp(now, commands)
                };
                self.come_and_go(now, commands);
                self.expire_attempts(now, commands);
                self.acknowledge_in_time(now);
                self.pause_silent(commands);
                match phase {
                    Phase::Publishing => next = [next, self.publish_due(now)].into_iter().flatten().min(),
                    Phase::Draining => self.resume_silent(commands),
                    _ => {}
                }
            }
            Phase::Closing => {
                if self.goodbye.is_none() {
                    self.count_behind();
                }
                self.abandon_attempts();
                at_once = self.say_goodbye(now);
                next = self.goodbye.map(|(_, until)| until);
            }
        }
        self.flush(commands);
        let done = !at_once && commands.is_empty() && self.is_done(now);
        let hand_over = self.recorder.hand_over(now, &self.stats, done);
        if done {
            return Next::Stop;
        }
        if at_once {
            return Next::Now;
        }
        let deadline = self.deadlines.front().map(|&(deadline, _)| deadline);
        let room = self.attempts.len() < self.settings.attempts_max;
        let returns = self.returns.next(room);
        match [next, hand_over, deadline, returns, self.acks.next()].into_iter().flatten().min() {
            Some(time) => Next::At(time),
            None => Next::Event,
        }
    }

    fn on_submitted(&mut self, _: Now, commands: &mut Commands<()>) {
        for conn in std::mem::take(&mut self.closing) {
            if self.tenant(conn).is_some() {
                self.forget(conn.slot);
                commands.close(conn, CloseMode::Graceful);
            }
        }
    }

    fn has_mail(&self) -> bool {
        self.control.phase() != self.seen
    }
}

/// An error as a word for reports: `connection_refused`.
fn reason_of(error: std::io::ErrorKind) -> String {
    let mut reason = String::new();
    for letter in format!("{error:?}").chars() {
        if letter.is_ascii_uppercase() && !reason.is_empty() {
            reason.push('_');
        }
        reason.push(letter.to_ascii_lowercase());
    }
    reason
}

#[cfg(test)]
mod tests;
