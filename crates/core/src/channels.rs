//! Channels: who is subscribed, the log of what was published, and each subscriber's cursor into it.
//!
//! A channel is owned by one shard ([`HomeShard::of_channel`](super::placement::HomeShard::of_channel)), which numbers its
//! messages and keeps its log. Other shards with subscribers keep a replica: to the owner a shard is a subscriber like
//! any other, with a cursor of its own. What always holds:
//! - Every entry of a log is stored once, however many shards and subscribers it is for, and never changes.
//! - A position in a log means the same entry on every shard.
//! - A subscription holds a cursor and no bytes. What it lacks is sent in one send, up to [`fanout::SEND_BYTES_MAX`].
//! - Who falls behind the log is told so before anything newer, or is disconnected: nothing is skipped silently.
//! - Everything here is bounded: subscriptions by session, channels by shard, logs by channel and by shard.

mod entry;
pub(super) mod fanout;
mod log;
pub(super) mod mail;
mod members;
mod owner;
mod states;
mod subscribing;
mod subscriptions;
mod sweep;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use campanile_engine::Time;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::Position;
use hashbrown::HashTable;
use rustc_hash::FxHashSet;
use slab::Slab;

use self::fanout::{Fanned, Memo};
use self::log::Log;
use self::mail::ReplicaRef;
use self::members::Query;
use self::states::Statuses;
use self::subscriptions::Subscriptions;
use super::compression::Deflating;
use super::hashing::HashKey;
use super::publish::user_of_status;
use crate::tokens::Grants;

/// A channel as one shard knows it.
pub(super) struct Channel {
    name: ChannelName,
    log: Log,
    role: Role,
    /// Numbers of subscriptions, each at its `place`.
    subscribers: Vec<u32>,
    /// Those who wait for the owner's log.
    joining: Vec<Joining>,
    /// The place that the pass comes to next.
    next: u32,
    /// Whether the channel stands in the queue of those with a pass to do.
    ready: bool,
    /// Whether another pass follows the one that is under way.
    again: bool,
    /// Whether the channel stands in the queue of those whose replicas lack something.
    feeding: bool,
    /// Whether it is a user's status: of which only the newest state counts.
    is_status: bool,
    /// When it was last needed.
    used: Time,
    /// Which tenant of its number this is.
    serial: u32,
}

enum Role {
    /// The log is this shard's own.
    Owner {
        /// Shards with a replica.
        readers: Vec<Reader>,
    },
    /// The log is fed by the owner.
    Replica {
        /// Whether the owner's log has come.
        attached: bool,
    },
}

/// A shard with a replica, as the owner sees it.
struct Reader {
    shard: usize,
    replica: ReplicaRef,
    /// Up to which position it was fed; `None` before the first feed, which is the whole log.
    fed: Option<u64>,
}

/// A subscription that waits for the owner's log.
struct Joining {
    subscription: u32,
    reference: String,
    since: Option<Position>,
    newest: u32,
}

/// The channels of one shard.
pub(super) struct Channels {
    numbers: HashTable<u32>,
    slab: Slab<Channel>,
    subscriptions: Subscriptions,
    /// Channels with a pass to do, in turn; each at most once.
    ready: VecDeque<u32>,
    /// Channels whose replicas lack something; each at most once.
    feeding: VecDeque<u32>,
    /// Bytes of all logs, those that are another shard's included.
    log_bytes: usize,
    next_serial: u32,
    /// When channels are next looked through, and from which number on.
    sweep_at: Time,
    sweep_from: u32,
    grants: GrantTable,
    queries: Slab<Query>,
    statuses: Statuses,
    /// States that were announced lately, by the hash of channel, user and state; forgotten together.
    announced: FxHashSet<u64>,
    announced_until: Time,
    /// What was made for the subscribers of one slice; kept for its memory.
    memo: Memo,
    deflating: Deflating,
    /// The channel sends of this turn.
    fanned: Vec<Fanned>,
    /// Slots that were sent something else with it.
    mixed: Vec<u32>,
    /// Subscriptions that lack something and are not brought forward by a pass; each at most once.
    behind: VecDeque<u32>,
    key: HashKey,
}

impl Channels {
    pub(super) fn new(key: HashKey) -> Channels {
        Channels {
            numbers: HashTable::new(),
            slab: Slab::new(),
            subscriptions: Subscriptions::new(),
            ready: VecDeque::new(),
            feeding: VecDeque::new(),
            log_bytes: 0,
            next_serial: 0,
            sweep_at: Time::default(),
            sweep_from: 0,
            grants: GrantTable::new(key),
            queries: Slab::new(),
            statuses: Statuses::new(key),
            announced: FxHashSet::default(),
            announced_until: Time::default(),
            memo: Memo::default(),
            deflating: Deflating::default(),
            fanned: Vec::new(),
            mixed: Vec::new(),
            behind: VecDeque::new(),
            key,
        }
    }

    /// The number of a channel that this shard knows.
    fn find(&self, name: &ChannelName) -> Option<u32> {
        let is_name =
            |&number: &u32| self.slab.get(number as usize).is_some_and(|channel| channel.name == *name);
        self.numbers.find(self.key.of(name.as_str()), is_name).copied()
    }

    fn get(&self, number: u32) -> Option<&Channel> {
        self.slab.get(number as usize)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Channel> {
        self.slab.get_mut(number as usize)
    }

    fn add(&mut self, name: ChannelName, log: Log, role: Role, now: Time) -> u32 {
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
            used: now,
            serial: self.next_serial,
        };
        let (key, hashed) = (self.key, self.key.of(channel.name.as_str()));
        let number = self.slab.insert(channel) as u32;
        let slab = &self.slab;
        let rehash =
            |&number: &u32| slab.get(number as usize).map_or(0, |channel| key.of(channel.name.as_str()));
        self.numbers.insert_unique(hashed, number, rehash);
        number
    }

    /// Forgets a channel that nobody is subscribed to.
    fn remove(&mut self, number: u32) -> Option<Channel> {
        let channel = self.slab.try_remove(number as usize)?;
        let found = self.numbers.find_entry(self.key.of(channel.name.as_str()), |&other| other == number);
        if let Ok(entry) = found {
            entry.remove();
        }
        self.log_bytes -= channel.log.bytes();
        Some(channel)
    }

    /// The channel has entries that its subscribers lack.
    fn set_ready(&mut self, number: u32) {
        let Some(channel) = self.slab.get_mut(number as usize) else { return };
        if channel.subscribers.is_empty() {
            return;
        }
        match channel.ready {
            true => channel.again |= channel.next > 0,
            false => {
                channel.ready = true;
                self.ready.push_back(number);
            }
        }
    }

    /// The channel has entries that its replicas lack.
    fn set_feeding(&mut self, number: u32) {
        let Some(channel) = self.slab.get_mut(number as usize) else { return };
        if !channel.feeding {
            channel.feeding = true;
            self.feeding.push_back(number);
        }
    }

    /// Somebody lacks something that a pass will not give.
    fn set_behind(&mut self, number: u32) {
        if let Some(subscription) = self.subscriptions.get_mut(number)
            && !std::mem::replace(&mut subscription.is_behind, true)
        {
            self.behind.push_back(number);
        }
    }

    /// Whether subscribers are to be sent something.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.behind.is_empty()
    }

    /// Whether a replica waits for room in its shard's queue.
    pub(super) fn is_feeding(&self) -> bool {
        !self.feeding.is_empty()
    }

    /// The send to a slot was joined from several.
    pub(super) fn set_mixed(&mut self, slot: u32) {
        if !self.fanned.is_empty() {
            self.mixed.push(slot);
        }
    }

    /// How many channels the shard knows.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }
}

impl Channel {
    fn is_attached(&self) -> bool {
        !matches!(self.role, Role::Replica { attached: false })
    }

    fn replica(&self, number: u32) -> ReplicaRef {
        ReplicaRef { number, serial: self.serial }
    }

    fn position(&self) -> Position {
        Position { epoch: self.log.epoch(), offset: self.log.offset() }
    }
}

/// What sessions may do with channels: sessions with the same grants share them.
struct GrantTable {
    numbers: HashMap<Arc<Grants>, u32, HashKey>,
    shared: Slab<(Arc<Grants>, u32)>,
}

impl GrantTable {
    fn new(key: HashKey) -> GrantTable {
        GrantTable { numbers: HashMap::with_hasher(key), shared: Slab::new() }
    }

    fn add(&mut self, grants: Arc<Grants>) -> u32 {
        if let Some(&number) = self.numbers.get(&grants) {
            self.shared[number as usize].1 += 1;
            return number;
        }
        let number = self.shared.insert((Arc::clone(&grants), 1)) as u32;
        self.numbers.insert(grants, number);
        number
    }

    fn get(&self, number: u32) -> Option<&Arc<Grants>> {
        self.shared.get(number as usize).map(|(grants, _)| grants)
    }

    fn remove(&mut self, number: u32) {
        let Some((grants, sessions)) = self.shared.get_mut(number as usize) else { return };
        *sessions -= 1;
        if *sessions == 0 {
            self.numbers.remove(grants);
            self.shared.remove(number as usize);
        }
    }
}
