//! What users are doing, as those are told who watch: online, away, or whatever a user says. Nothing of it is stored,
//! and a herd of changes is coalesced: what counts is the state at the time when subscribers are told.
//!
//! The presence of a user is decided here and nowhere else. Who watches is known by the number of a channel, to which
//! what is told goes; the channels ask for it when it is due. What always holds:
//! - Of what was told last nothing is told again.
//! - A user who comes back in time was never away: nobody is told.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use campanile_engine::Time;
use campanile_protocol::ids::UserId;

use crate::hashing::HashKey;
use crate::turn::Turn;

/// How long after a user has come, or has said something else, it is told.
const ONLINE_AFTER: Duration = Duration::from_millis(300);
/// Users who are looked at in one turn because something of them is due.
const DUE_PER_TURN_MAX: usize = 32;
/// What users do who say nothing else.
const ONLINE: &str = "online";
/// What users do who have no session.
const OFFLINE: &str = "offline";

/// What the users of one shard are doing.
pub(crate) struct Presence {
    /// What connected users have said that they are doing.
    said: HashMap<UserId, Box<str>, HashKey>,
    /// Those whom somebody watches.
    watched: HashMap<UserId, Watched, HashKey>,
    /// Who has come or said something, by when it is to be told.
    coming: VecDeque<Due>,
    /// Who has gone.
    going: VecDeque<Due>,
    next_serial: u64,
}

/// What is told of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The number of the channel that the user is watched through.
    pub(crate) channel: u32,
    /// The user.
    pub(crate) user: UserId,
    /// What the user is doing.
    pub(crate) state: Box<str>,
}

/// Something is to be told of a user.
struct Due {
    at: Time,
    user: UserId,
    /// The watching that it belongs to.
    serial: u64,
}

/// A user whom somebody watches.
struct Watched {
    channel: u32,
    /// No other watching of this user has the same.
    serial: u64,
    told: Box<str>,
    is_connected: bool,
    /// When the user went, if the user has not come back.
    gone_at: Option<Time>,
    /// Whether the user stands in the queue of those who have come.
    is_coming: bool,
    /// Whether the user stands in the queue of those who have gone.
    is_going: bool,
}

impl Presence {
    /// Nobody has said anything, and nobody watches. Users are hashed with `key`.
    pub(crate) fn new(key: HashKey) -> Presence {
        Presence {
            said: HashMap::with_hasher(key),
            watched: HashMap::with_hasher(key),
            coming: VecDeque::new(),
            going: VecDeque::new(),
            next_serial: 0,
        }
    }

    /// A user who has a session says what it is doing.
    pub(crate) fn say(&mut self, turn: &Turn<'_>, user: &UserId, state: String) {
        if state == ONLINE {
            self.said.remove(user);
        } else {
            self.said.insert(user.clone(), state.into_boxed_str());
        }
        self.changed(turn, user, true);
    }

    /// A user has its first session, or another instead of its only one.
    pub(crate) fn came(&mut self, turn: &Turn<'_>, user: &UserId) {
        self.forget_what_was_said(user);
        self.changed(turn, user, true);
    }

    /// A user has lost its last session.
    pub(crate) fn went(&mut self, turn: &Turn<'_>, user: &UserId) {
        self.forget_what_was_said(user);
        self.changed(turn, user, false);
    }

    fn forget_what_was_said(&mut self, user: &UserId) {
        if !self.said.is_empty() {
            self.said.remove(user);
        }
    }

    /// Whoever watches the user is told, soon.
    fn changed(&mut self, turn: &Turn<'_>, user: &UserId, is_connected: bool) {
        if self.watched.is_empty() {
            return;
        }
        let Some(watched) = self.watched.get_mut(user) else { return };
        watched.is_connected = is_connected;
        watched.gone_at = (!is_connected).then_some(turn.now.time);
        let (queue, queued, after) = if is_connected {
            (&mut self.coming, &mut watched.is_coming, ONLINE_AFTER)
        } else {
            (&mut self.going, &mut watched.is_going, turn.settings.namespaces.offline_after)
        };
        if std::mem::replace(queued, true) {
            turn.counters.states_coalesced.add(1);
        } else {
            queue.push_back(Due { at: turn.now.time + after, user: user.clone(), serial: watched.serial });
        }
    }

    /// Somebody watches the user from now on, through the channel with this number. What is told first.
    pub(crate) fn watch(&mut self, user: &UserId, channel: u32, is_connected: bool) -> Box<str> {
        let told = state(&self.said, user, is_connected);
        self.next_serial += 1;
        let watched = Watched {
            channel,
            serial: self.next_serial,
            told: told.clone(),
            is_connected,
            gone_at: None,
            is_coming: false,
            is_going: false,
        };
        self.watched.insert(user.clone(), watched);
        told
    }

    /// Nobody watches the user any more.
    pub(crate) fn unwatch(&mut self, user: &str) {
        if let Ok(user) = UserId::try_from(user) {
            self.watched.remove(&user);
        }
    }

    /// When something is next to be told.
    pub(crate) fn due(&self) -> Option<Time> {
        let next = |queue: &VecDeque<Due>| queue.front().map(|due| due.at);
        next(&self.coming).into_iter().chain(next(&self.going)).min()
    }

    /// What is to be told now, of a few users at a time.
    pub(crate) fn take_due(&mut self, turn: &Turn<'_>) -> Vec<Told> {
        let mut told = Vec::new();
        for _ in 0..DUE_PER_TURN_MAX {
            let Some((due, is_coming)) = self.next_due(turn.now.time) else { break };
            told.extend(self.look_at(turn, due, is_coming));
        }
        told
    }

    fn next_due(&mut self, now: Time) -> Option<(Due, bool)> {
        for (queue, is_coming) in [(&mut self.coming, true), (&mut self.going, false)] {
            if queue.front().is_some_and(|due| due.at <= now) {
                return queue.pop_front().map(|due| (due, is_coming));
            }
        }
        None
    }

    /// What is to be told of a user whose time has come, if anything.
    fn look_at(&mut self, turn: &Turn<'_>, due: Due, is_coming: bool) -> Option<Told> {
        let Due { user, serial, .. } = due;
        let watched = self.watched.get_mut(&user).filter(|watched| watched.serial == serial)?;
        *(if is_coming { &mut watched.is_coming } else { &mut watched.is_going }) = false;
        // Who went a moment ago may have gone again since this was queued.
        let offline_at = watched.gone_at.map(|gone| gone + turn.settings.namespaces.offline_after);
        match offline_at {
            Some(_) if is_coming => return None,
            Some(at) if at > turn.now.time => {
                watched.is_going = true;
                self.going.push_back(Due { at, user, serial });
                return None;
            }
            _ => {}
        }
        let now = state(&self.said, &user, watched.is_connected);
        if watched.told == now {
            turn.counters.states_coalesced.add(1);
            return None;
        }
        watched.told.clone_from(&now);
        Some(Told { channel: watched.channel, user, state: now })
    }
}

/// What a user is doing.
fn state(said: &HashMap<UserId, Box<str>, HashKey>, user: &UserId, is_connected: bool) -> Box<str> {
    if is_connected { said.get(user).cloned().unwrap_or_else(|| ONLINE.into()) } else { OFFLINE.into() }
}

#[cfg(test)]
mod tests;
