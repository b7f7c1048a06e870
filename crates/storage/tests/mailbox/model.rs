//! What a mailbox promises, as plain maps.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use campanile_mailbox::{
    Address, Append, Count, DEDUP_IDS_PER_USER_MAX, DedupKey, DedupScope, MailboxLimits, Remembered, Stored,
    UserRecord,
};
use campanile_protocol::ids::UserId;

/// A message that waits.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) expires_at_ms: u64,
    pub(crate) topic: Box<str>,
    pub(crate) body: Bytes,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) acknowledged: u64,
    pub(crate) messages: BTreeMap<u64, Message>,
}

impl Queue {
    fn bytes(&self) -> u64 {
        self.messages.values().map(|message| message.body.len() as u64).sum()
    }

    fn trim(&mut self, up_to: u64) {
        if up_to > self.acknowledged {
            self.acknowledged = up_to;
            self.messages = self.messages.split_off(&(up_to + 1));
        }
    }
}

/// A mailbox that has all the time and memory of the world.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) limits: MailboxLimits,
    pub(crate) queues: BTreeMap<Address, Queue>,
    pub(crate) dedups: BTreeMap<(UserId, DedupKey), (u64, Remembered)>,
    pub(crate) users: BTreeMap<UserId, UserRecord>,
    /// All numbers below have been given out.
    pub(crate) reserved: u64,
    /// Messages that made room, since the last expiry by the same process.
    pub(crate) made_room: u64,
}

impl Model {
    pub(crate) fn new(limits: MailboxLimits) -> Model {
        let (queues, dedups, users) = Default::default();
        Model { limits, queues, dedups, users, reserved: 0, made_room: 0 }
    }

    pub(crate) fn append(&mut self, append: &Append, now_ms: u64) -> Vec<Stored> {
        self.make_room(append, now_ms);
        let mut outcomes = Vec::new();
        for envelope in &append.envelopes {
            if envelope.confirmed {
                outcomes.push(Stored::Yes);
                continue;
            }
            let address = Address { user: append.user.clone(), device: envelope.device };
            let queue = self.queues.entry(address).or_default();
            let mut after = queue.clone();
            after.messages.retain(|_, waiting| append.topic.is_empty() || waiting.topic != append.topic);
            let message = Message {
                expires_at_ms: append.expires_at_ms,
                topic: append.topic.clone(),
                body: envelope.body.clone(),
            };
            after.messages.insert(append.seq, message);
            let fits = after.messages.len() as u64 <= self.limits.messages_per_device_max
                && after.bytes() <= self.limits.bytes_per_device_max;
            if fits {
                *queue = after;
            }
            outcomes.push(if fits { Stored::Yes } else { Stored::MailboxFull });
        }
        if let Some(dedup) = &append.dedup
            && outcomes.contains(&Stored::Yes)
        {
            let devices = append.envelopes.iter().map(|envelope| envelope.device);
            let remembered = Remembered {
                digest: dedup.digest,
                seq: append.seq,
                outcomes: devices.zip(outcomes.iter().copied()).collect(),
            };
            self.dedups.insert((append.user.clone(), dedup.key.clone()), (dedup.until_ms, remembered));
        }
        outcomes
    }

    fn make_room(&mut self, append: &Append, now_ms: u64) {
        for envelope in append.envelopes.iter().filter(|envelope| !envelope.confirmed) {
            let address = Address { user: append.user.clone(), device: envelope.device };
            let queue = self.queues.entry(address).or_default();
            let before = queue.messages.len();
            if before as u64 + 1 > self.limits.messages_per_device_max
                || queue.bytes() + envelope.body.len() as u64 > self.limits.bytes_per_device_max
            {
                queue.messages.retain(|_, message| message.expires_at_ms > now_ms);
                self.made_room += (before - queue.messages.len()) as u64;
            }
        }
    }

    /// Whether an id must still be recalled at this time: it may be forgotten when so many younger ones of the same
    /// kind have come that have not expired.
    pub(crate) fn must_recall(&self, user: &UserId, key: &DedupKey) -> bool {
        let publisher = |key: &DedupKey| matches!(key.scope, DedupScope::Publisher(_));
        let Some((_, remembered)) = self.dedups.get(&(user.clone(), key.clone())) else { return false };
        let younger = self.dedups.iter().filter(|((other, id), (_, younger))| {
            other == user && publisher(id) == publisher(key) && younger.seq > remembered.seq
        });
        younger.count() < DEDUP_IDS_PER_USER_MAX
    }

    pub(crate) fn trim(&mut self, address: &Address, up_to: u64) {
        self.queues.entry(address.clone()).or_default().trim(up_to);
    }

    pub(crate) fn remove(&mut self, address: &Address, seq: u64, now_ms: u64) -> bool {
        let Some(queue) = self.queues.get_mut(address) else { return false };
        if queue.messages.get(&seq).is_none_or(|message| message.expires_at_ms <= now_ms) {
            return false;
        }
        queue.messages.remove(&seq).is_some()
    }

    pub(crate) fn waiting(&self, address: &Address, after: u64, now_ms: u64) -> Vec<(u64, Bytes)> {
        let Some(queue) = self.queues.get(address) else { return Vec::new() };
        let after = queue.messages.range((Bound::Excluded(after), Bound::Unbounded));
        let alive = after.filter(|(_, message)| message.expires_at_ms > now_ms);
        alive.map(|(seq, message)| (*seq, message.body.clone())).collect()
    }

    pub(crate) fn count(&self, address: &Address) -> Count {
        self.queues.get(address).map_or_else(Count::default, |queue| Count {
            messages: queue.messages.len() as u64,
            bytes: queue.bytes(),
            acknowledged: queue.acknowledged,
        })
    }

    /// Removes all that has expired. How many messages.
    pub(crate) fn expire(&mut self, now_ms: u64) -> u64 {
        let mut removed = std::mem::take(&mut self.made_room);
        for queue in self.queues.values_mut() {
            let before = queue.messages.len();
            queue.messages.retain(|_, message| message.expires_at_ms > now_ms);
            removed += (before - queue.messages.len()) as u64;
        }
        self.dedups.retain(|_, (until_ms, _)| *until_ms > now_ms);
        removed
    }
}
