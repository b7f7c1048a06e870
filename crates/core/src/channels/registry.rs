//! The channels of one shard, by name and number, and the queues of those to whom something is owed.

use std::collections::VecDeque;

use campanile_engine::Time;
use campanile_protocol::ids::ChannelName;
use hashbrown::HashTable;
use slab::Slab;

use super::channel::{Channel, Role};
use super::grant_table::GrantTable;
use super::log::Log;
use super::query::Query;
use super::repeated::RepeatedStates;
use super::sends::{Fanned, Memo};
use super::subscriptions::Subscriptions;
use crate::compression::Deflating;
use crate::hashing::HashKey;
use crate::lanes::Outgoing;
use crate::publish::user_of_status;
use crate::session::Session;
use crate::tokens::Grants;
use crate::turn::Turn;

/// The channels of one shard.
pub(crate) struct Channels {
    numbers: HashTable<u32>,
    pub(super) slab: Slab<Channel>,
    pub(super) subscriptions: Subscriptions,
    /// Channels with a pass to do, in turn; each at most once.
    pub(super) ready: VecDeque<u32>,
    /// Channels whose replicas lack something; each at most once.
    pub(super) feeding: VecDeque<u32>,
    /// Subscriptions that lack something and are not brought forward by a pass; each at most once.
    pub(super) behind: VecDeque<u32>,
    /// Bytes of all logs, those that are another shard's included.
    pub(super) log_bytes: usize,
    next_serial: u32,
    /// When channels are next looked through, and from which number on.
    pub(super) sweep_at: Time,
    pub(super) sweep_from: u32,
    pub(super) grants: GrantTable,
    pub(super) queries: Slab<Query>,
    pub(super) repeated: RepeatedStates,
    /// What was made for the subscribers of one slice; kept for its memory.
    pub(super) memo: Memo,
    pub(super) deflating: Deflating,
    /// The channel sends of this turn.
    pub(super) fanned: Vec<Fanned>,
    /// To the other shards.
    pub(super) lanes: Outgoing,
    key: HashKey,
}

impl Channels {
    /// No channels. Names are hashed with `key`; `lanes` lead to the other shards.
    pub(crate) fn new(key: HashKey, lanes: Outgoing) -> Channels {
        Channels {
            numbers: HashTable::new(),
            slab: Slab::new(),
            subscriptions: Subscriptions::new(),
            ready: VecDeque::new(),
            feeding: VecDeque::new(),
            behind: VecDeque::new(),
            log_bytes: 0,
            next_serial: 0,
            sweep_at: Time::default(),
            sweep_from: 0,
            grants: GrantTable::new(key),
            queries: Slab::new(),
            repeated: RepeatedStates::new(key),
            memo: Memo::default(),
            deflating: Deflating::default(),
            fanned: Vec::new(),
            lanes,
            key,
        }
    }

    /// Whether subscribers are to be sent something.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.behind.is_empty()
    }

    /// Whether something waits for room in another shard's queue: a replica, or what is told in order.
    pub(crate) fn waits_for_room(&self) -> bool {
        !self.feeding.is_empty() || self.lanes.is_behind()
    }

    /// When channels are to be looked through; `None` if there are none.
    pub(crate) fn sweep_due(&self) -> Option<Time> {
        (!self.slab.is_empty()).then_some(self.sweep_at)
    }

    /// When the first of a session's subscriptions ends because of its token, in milliseconds from now.
    pub(crate) fn subscriptions_end_in_ms(&self, turn: &Turn<'_>, session: &Session) -> Option<u64> {
        let all = self.subscriptions.of_session(session.membership.subscriptions);
        let until = all.filter_map(|(_, subscription)| subscription.ends_at()).min()?;
        Some((u64::from(until) * 1_000).saturating_sub(turn.now.unix_ms))
    }

    /// Whether another shard has told this one something that has not had its turn.
    pub(crate) fn has_lane_messages(&self, shard: usize) -> bool {
        self.lanes.has_messages(shard)
    }

    /// Tells other shards what their queues had no room for, as far as they have now.
    pub(crate) fn retry_lanes(&mut self) {
        self.lanes.retry();
    }

    /// The shards that are to be woken because they were told something; each once.
    pub(crate) fn take_wakes(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.lanes.take_wakes()
    }

    /// The turn's sends are over: no cursor goes back any more.
    pub(crate) fn forget_fanned(&mut self) {
        self.fanned.clear();
    }
}

/// Channels by name and number.
impl Channels {
    /// The number of a channel that this shard knows.
    pub(super) fn find(&self, name: &ChannelName) -> Option<u32> {
        let is_name =
            |&number: &u32| self.slab.get(number as usize).is_some_and(|channel| channel.name == *name);
        self.numbers.find(self.key.of(name.as_str()), is_name).copied()
    }

    /// A channel that this shard knows.
    pub(super) fn named(&self, name: &ChannelName) -> Option<&Channel> {
        self.get(self.find(name)?)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Channel> {
        self.slab.get(number as usize)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Channel> {
        self.slab.get_mut(number as usize)
    }

    /// Adds a channel that is not known yet. Its number.
    pub(super) fn add(&mut self, turn: &Turn<'_>, name: ChannelName, log: Log, role: Role) -> u32 {
        self.next_serial = self.next_serial.wrapping_add(1);
        let channel = Channel {
            is_status: user_of_status(&name).is_some(),
            name,
            log,
            role,
            subscribers: Vec::new(),
            joining: Vec::new(),
            next: 0,
            ready: false,
            again: false,
            feeding: false,
            used: turn.now.time,
            serial: self.next_serial,
        };
        let (key, hashed) = (self.key, self.key.of(channel.name.as_str()));
        let number = self.slab.insert(channel) as u32;
        let slab = &self.slab;
        let rehash =
            |&number: &u32| slab.get(number as usize).map_or(0, |channel| key.of(channel.name.as_str()));
        self.numbers.insert_unique(hashed, number, rehash);
        turn.counters.channels.set(self.slab.len() as u64);
        number
    }

    /// Forgets a channel that nobody is subscribed to.
    pub(super) fn remove(&mut self, turn: &Turn<'_>, number: u32) -> Option<Channel> {
        let channel = self.slab.try_remove(number as usize)?;
        let found = self.numbers.find_entry(self.key.of(channel.name.as_str()), |&other| other == number);
        if let Ok(entry) = found {
            entry.remove();
        }
        self.log_bytes -= channel.log.bytes();
        turn.counters.channels.set(self.slab.len() as u64);
        Some(channel)
    }
}

/// Who is owed something.
impl Channels {
    /// The channel has entries that its subscribers lack.
    pub(super) fn set_ready(&mut self, number: u32) {
        let Some(channel) = self.slab.get_mut(number as usize) else { return };
        if channel.subscribers.is_empty() {
            return;
        }
        if channel.ready {
            channel.again |= channel.next > 0;
        } else {
            channel.ready = true;
            self.ready.push_back(number);
        }
    }

    /// The channel has entries that its replicas lack.
    pub(super) fn set_feeding(&mut self, number: u32) {
        let Some(channel) = self.slab.get_mut(number as usize) else { return };
        if !channel.feeding {
            channel.feeding = true;
            self.feeding.push_back(number);
        }
    }

    /// Somebody lacks something that a pass will not give.
    pub(super) fn set_behind(&mut self, subscription: u32) {
        if let Some(found) = self.subscriptions.get_mut(subscription)
            && !std::mem::replace(&mut found.is_behind, true)
        {
            self.behind.push_back(subscription);
        }
    }
}

/// What a session has and may.
impl Channels {
    /// The session's subscription to a channel.
    pub(super) fn subscription(&self, session: &Session, name: &ChannelName) -> Option<u32> {
        let number = self.find(name)?;
        let mut all = self.subscriptions.of_session(session.membership.subscriptions);
        all.find(|(_, subscription)| subscription.channel == number).map(|(subscription, _)| subscription)
    }

    /// Whether the session may subscribe to the channel without a token for it.
    pub(super) fn may_subscribe(&self, turn: &Turn<'_>, session: &Session, name: &ChannelName) -> bool {
        self.grants_of(session).is_some_and(|grants| grants.may_subscribe(name))
            || turn.settings.namespaces.of(name).open
    }

    /// Whether the session may publish to the channel.
    pub(super) fn may_publish(&self, session: &Session, name: &ChannelName) -> bool {
        self.grants_of(session).is_some_and(|grants| grants.may_publish(name))
    }

    fn grants_of(&self, session: &Session) -> Option<&Grants> {
        self.grants.get(session.membership.grants)
    }
}
