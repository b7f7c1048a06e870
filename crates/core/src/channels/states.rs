//! What users are doing: typing in a channel, or online at all. Nothing of it is stored, and a herd of changes is
//! coalesced: what counts is the state at the time when subscribers are told.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use campanile_engine::Time;
use campanile_protocol::ids::{ChannelName, UserId};
use campanile_protocol::messages::{Device, Event, SetState};
use rustc_hash::FxBuildHasher;

use super::Channels;
use super::mail::{Mail, State};
use super::subscribing::{INVALID, Refused, channel_name};
use crate::Shard;
use crate::hashing::HashKey;
use crate::namespaces::PRESENCE_NAMESPACE;
use crate::publish::user_of_status;

/// The longest state, in bytes.
const STATE_BYTES_MAX: usize = 32;
/// The same state of the same user in the same channel is told once in this time.
const REPEATED_AFTER: Duration = Duration::from_secs(1);
/// States of that time that are remembered; beyond it they are dropped.
const REMEMBERED_MAX: usize = 65_536;
/// How long after a user has come, or has said something else, it is told.
const ONLINE_AFTER: Duration = Duration::from_millis(300);
/// Statuses that are told in one turn.
const STATUSES_PER_TURN_MAX: usize = 32;
/// What users do who say nothing else.
const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

/// The name of the channel that is a user's status; `None` if no channel can have it.
fn status_of(user: &UserId) -> Option<ChannelName> {
    ChannelName::try_from(format!("{PRESENCE_NAMESPACE}:{user}").as_str()).ok()
}

/// The statuses of the users who live on this shard.
pub(super) struct Statuses {
    /// What connected users have said that they are doing, by their number in the directory.
    said: HashMap<u32, Box<str>, FxBuildHasher>,
    /// Those that somebody watches.
    watched: HashMap<UserId, Watched, HashKey>,
    /// Who has come or said something, by when it is to be told.
    coming: VecDeque<Due>,
    /// Who has gone.
    going: VecDeque<Due>,
    next_serial: u64,
}

/// Something is to be told of a user.
struct Due {
    at: Time,
    user: UserId,
    /// The watching that it belongs to.
    serial: u64,
}

/// A status that somebody watches.
struct Watched {
    channel: u32,
    /// No other watching of this user has the same.
    serial: u64,
    told: Box<str>,
    /// When the user went, if the user has not come back.
    gone_at: Option<Time>,
    is_coming: bool,
    is_going: bool,
}

impl Shard {
    /// A client says what its user is doing.
    pub(crate) fn take_set_state(&mut self, slot: u32, set: SetState) {
        let SetState { r#ref: reference, channel, state } = set;
        let taken = match channel.is_empty() {
            true => self.set_status(slot, &reference, state),
            false => self.set_state(slot, &reference, &channel, state),
        };
        if let Err((reason, message)) = taken {
            self.refuse_frame(slot, reason, message, &reference);
        }
    }

    /// For the subscribers of a channel.
    fn set_state(&mut self, slot: u32, reference: &str, channel: &str, state: String) -> Result<(), Refused> {
        let name = channel_name(reference, channel)?;
        check_state(&state)?;
        if user_of_status(&name).is_some() {
            return Err(("channel_reserved", "leave the channel empty to set the user's own status"));
        }
        if self.subscription(slot, &name).is_none() {
            return Err(("not_subscribed", "the session is not subscribed to this channel"));
        }
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return Ok(()) };
        if !self.settings.namespaces.of(&name).states && !self.may_publish(session, &name) {
            return Err(("channel_forbidden", "only who may publish may tell states here"));
        }
        let Some(from) = self.device_of(session) else { return Ok(()) };
        self.check_publishing(slot, &name)?;
        if self.is_repeated(channel, &from.user, &state) {
            self.counters.states_coalesced.add(1);
            return Ok(());
        }
        let owner = self.home.of_channel(&name);
        let state = State { channel: name, from, state };
        match owner == self.index {
            true => self.announce(state),
            false => self.lanes.send(owner, Mail::State(Box::new(state))),
        }
        Ok(())
    }

    /// Whether the same was said a moment ago.
    fn is_repeated(&mut self, channel: &str, user: &str, state: &str) -> bool {
        let channels = &mut self.channels;
        if channels.announced_until <= self.now.time {
            channels.announced.clear();
            channels.announced_until = self.now.time + REPEATED_AFTER;
        }
        let hash = channels.key.hash_one((channel, user, state));
        channels.announced.len() >= REMEMBERED_MAX || !channels.announced.insert(hash)
    }

    /// Tells the subscribers of a channel of this shard what a user is doing.
    pub(super) fn announce(&mut self, state: State) {
        let State { channel, from, state } = state;
        // Whoever is subscribed has attached its shard before.
        let Some(number) = self.channels.find(&channel).filter(|&number| self.owns(number)) else { return };
        self.append_event(number, from, state);
    }

    fn append_event(&mut self, number: u32, from: Device, state: String) {
        let now_ms = self.now.unix_ms;
        let settings = std::sync::Arc::clone(&self.settings);
        let Some(channel) = self.channels.get_mut(number) else { return };
        let event = Event {
            name: "presence:update".to_owned(),
            from: Some(from),
            at_ms: i64::try_from(now_ms).unwrap_or(i64::MAX),
            channel: channel.name.as_str().to_owned(),
            state,
            ..Event::default()
        };
        let before = channel.log.bytes();
        channel.log.announce(event, now_ms);
        match channel.is_status {
            true => channel.log.keep_newest(),
            false => channel.log.trim(settings.namespaces.of(&channel.name), now_ms),
        }
        self.counters.states_announced.add(1);
        self.appended_to(number, before);
    }
}

/// Statuses of users.
impl Shard {
    fn set_status(&mut self, slot: u32, reference: &str, state: String) -> Result<(), Refused> {
        check_state(&state)?;
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(number) = session.map(|session| session.user) else { return Ok(()) };
        let Some(user) = self.directory.id(number).cloned() else { return Ok(()) };
        let name = status_of(&user).ok_or((INVALID, "no channel can have the name of this user's status"))?;
        channel_name(reference, name.as_str())?;
        self.check_publishing(slot, &name)?;
        let said = &mut self.channels.statuses.said;
        match state == ONLINE {
            true => drop(said.remove(&number)),
            false => drop(said.insert(number, state.into_boxed_str())),
        }
        self.status_changed(&user, true);
        Ok(())
    }

    /// A user has its first session, or has lost its last.
    pub(crate) fn user_came_or_went(&mut self, number: u32, is_connected: bool) {
        if !is_connected {
            self.channels.statuses.said.remove(&number);
        }
        if !self.channels.statuses.watched.is_empty()
            && let Some(user) = self.directory.id(number).cloned()
        {
            self.status_changed(&user, is_connected);
        }
    }

    /// Whoever watches the user is told, soon.
    fn status_changed(&mut self, user: &UserId, is_connected: bool) {
        let statuses = &mut self.channels.statuses;
        let Some(watched) = statuses.watched.get_mut(user) else { return };
        watched.gone_at = (!is_connected).then_some(self.now.time);
        let (queue, queued, after) = match is_connected {
            true => (&mut statuses.coming, &mut watched.is_coming, ONLINE_AFTER),
            false => (&mut statuses.going, &mut watched.is_going, self.settings.namespaces.offline_after),
        };
        if std::mem::replace(queued, true) {
            self.counters.states_coalesced.add(1);
        } else {
            queue.push_back(Due { at: self.now.time + after, user: user.clone(), serial: watched.serial });
        }
    }

    /// What the user is doing now.
    fn status_now(&self, user: &UserId) -> Box<str> {
        let number = self.directory.find(user);
        let known = number.and_then(|number| self.directory.user(number));
        match known.is_some_and(|user| user.is_connected()) {
            true => number
                .and_then(|number| self.channels.statuses.said.get(&number).cloned())
                .unwrap_or_else(|| ONLINE.into()),
            false => OFFLINE.into(),
        }
    }

    /// Somebody watches a user of this shard: the log begins with what the user is doing.
    pub(super) fn begin_status(&mut self, number: u32) {
        let user = self.channels.get(number).and_then(|channel| user_of_status(&channel.name));
        let Some(user) = user.and_then(|user| UserId::try_from(user).ok()) else { return };
        let told = self.status_now(&user);
        let from = Device { user: user.as_str().to_owned(), device: 0 };
        self.append_event(number, from, told.clone().into_string());
        let statuses = &mut self.channels.statuses;
        statuses.next_serial += 1;
        let serial = statuses.next_serial;
        let (channel, gone_at) = (number, None);
        let watched = Watched { channel, serial, told, gone_at, is_coming: false, is_going: false };
        statuses.watched.insert(user, watched);
    }

    /// Tells what has become due, a few at a time: messages go first.
    pub(crate) fn tell_statuses(&mut self) {
        for _ in 0..STATUSES_PER_TURN_MAX {
            let Some((due, is_coming)) = self.channels.statuses.next_due(self.now.time) else { break };
            let Due { user, serial, .. } = due;
            let now = self.status_now(&user);
            let Statuses { watched, going, .. } = &mut self.channels.statuses;
            let Some(watched) = watched.get_mut(&user).filter(|watched| watched.serial == serial) else {
                continue;
            };
            *(if is_coming { &mut watched.is_coming } else { &mut watched.is_going }) = false;
            // Who went a moment ago may have gone again since this was queued.
            let offline_at = watched.gone_at.map(|gone| gone + self.settings.namespaces.offline_after);
            match offline_at {
                Some(_) if is_coming => continue,
                Some(at) if at > self.now.time => {
                    watched.is_going = true;
                    going.push_back(Due { at, user, serial });
                    continue;
                }
                _ => {}
            }
            if watched.told == now {
                self.counters.states_coalesced.add(1);
                continue;
            }
            watched.told.clone_from(&now);
            let number = watched.channel;
            let from = Device { user: user.as_str().to_owned(), device: 0 };
            self.append_event(number, from, now.into_string());
        }
    }
}

impl Statuses {
    pub(super) fn new(key: HashKey) -> Statuses {
        Statuses {
            said: HashMap::default(),
            watched: HashMap::with_hasher(key),
            coming: VecDeque::new(),
            going: VecDeque::new(),
            next_serial: 0,
        }
    }

    /// Nobody watches the user any more.
    pub(super) fn forget(&mut self, channel: &ChannelName) {
        if let Some(user) = user_of_status(channel).and_then(|user| UserId::try_from(user).ok()) {
            self.watched.remove(&user);
        }
    }

    fn next_due(&mut self, now: Time) -> Option<(Due, bool)> {
        for (queue, is_coming) in [(&mut self.coming, true), (&mut self.going, false)] {
            if queue.front().is_some_and(|due| due.at <= now) {
                return queue.pop_front().map(|due| (due, is_coming));
            }
        }
        None
    }
}

impl Channels {
    /// When the next status is to be told.
    pub(crate) fn statuses_due(&self) -> Option<Time> {
        let next = |queue: &VecDeque<Due>| queue.front().map(|due| due.at);
        next(&self.statuses.coming).into_iter().chain(next(&self.statuses.going)).min()
    }
}

fn check_state(state: &str) -> Result<(), Refused> {
    let good = (1..=STATE_BYTES_MAX).contains(&state.len()) && !state.chars().any(char::is_control);
    if good { Ok(()) } else { Err((INVALID, "a state has 1 to 32 bytes without control characters")) }
}
