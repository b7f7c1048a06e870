//! What a store promises, as plain maps.

use std::collections::BTreeMap;

use bytes::Bytes;
use campanile_protocol::ids::UserId;

use crate::{
    Address, Append, DEDUP_IDS_PER_USER_MAX, DedupKey, DedupScope, MailboxLimits, Remembered, Stored,
    UserRecord,
};

/// A message that waits, unless its time is over.
#[derive(Clone, Debug)]
struct Message {
    expires_at_ms: u64,
    topic: Box<str>,
    body: Bytes,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    acknowledged: u64,
    /// Expired ones included: a store may or may not have removed them.
    messages: BTreeMap<u64, Message>,
}

/// A store that has all the time and memory of the world.
#[derive(Debug)]
pub(super) struct Oracle {
    limits: MailboxLimits,
    queues: BTreeMap<Address, Queue>,
    dedups: BTreeMap<(UserId, DedupKey), (u64, Remembered)>,
    pub(super) users: BTreeMap<UserId, UserRecord>,
}

impl Oracle {
    pub(super) fn new(limits: MailboxLimits) -> Oracle {
        Oracle { limits, queues: BTreeMap::new(), dedups: BTreeMap::new(), users: BTreeMap::new() }
    }

    pub(super) fn append(&mut self, append: &Append, now_ms: u64) -> Vec<Stored> {
        let mut outcomes = Vec::new();
        for envelope in &append.envelopes {
            let address = Address { user: append.user.clone(), device: envelope.device };
            let queue = self.queues.entry(address).or_default();
            if envelope.confirmed || append.seq <= queue.acknowledged {
                outcomes.push(Stored::Yes);
                continue;
            }
            let mut after = queue.clone();
            after.messages.retain(|_, waiting| append.topic.is_empty() || waiting.topic != append.topic);
            let message = Message {
                expires_at_ms: append.expires_at_ms,
                topic: append.topic.clone(),
                body: envelope.body.clone(),
            };
            after.messages.insert(append.seq, message);
            // What has expired takes no room from what has not.
            let alive = after
                .messages
                .iter()
                .filter(|(number, message)| **number == append.seq || message.expires_at_ms > now_ms);
            let (messages, bytes) = alive.fold((0, 0), |(messages, bytes), (_, message)| {
                (messages + 1, bytes + message.body.len() as u64)
            });
            let fits =
                messages <= self.limits.messages_per_device_max && bytes <= self.limits.bytes_per_device_max;
            if fits {
                *queue = after;
            }
            outcomes.push(if fits { Stored::Yes } else { Stored::MailboxFull });
        }
        if let Some(dedup) = &append.dedup
            && outcomes.contains(&Stored::Yes)
        {
            let devices = append.envelopes.iter().map(|envelope| envelope.device);
            let outcomes = devices.zip(outcomes.iter().copied()).collect();
            let remembered = Remembered { digest: dedup.digest, seq: append.seq, outcomes };
            self.dedups.insert((append.user.clone(), dedup.key.clone()), (dedup.until_ms, remembered));
        }
        outcomes
    }

    pub(super) fn recall(&self, user: &UserId, key: &DedupKey, now_ms: u64) -> Option<Remembered> {
        let (until_ms, remembered) = self.dedups.get(&(user.clone(), key.clone()))?;
        (*until_ms > now_ms).then(|| remembered.clone())
    }

    /// Whether an id must still be recalled: it may be forgotten when so many younger ones of the same kind have come.
    pub(super) fn must_recall(&self, user: &UserId, key: &DedupKey) -> bool {
        let publisher = |key: &DedupKey| matches!(key.scope, DedupScope::Publisher(_));
        let Some((_, remembered)) = self.dedups.get(&(user.clone(), key.clone())) else { return false };
        let younger = self.dedups.iter().filter(|((other, id), (_, younger))| {
            other == user && publisher(id) == publisher(key) && younger.seq > remembered.seq
        });
        younger.count() < DEDUP_IDS_PER_USER_MAX
    }

    pub(super) fn ids(&self) -> Vec<(UserId, DedupKey)> {
        self.dedups.keys().cloned().collect()
    }

    pub(super) fn trim(&mut self, address: &Address, up_to: u64) {
        let queue = self.queues.entry(address.clone()).or_default();
        if up_to > queue.acknowledged {
            queue.acknowledged = up_to;
            queue.messages = queue.messages.split_off(&(up_to + 1));
        }
    }

    /// A crash may take a watermark back, and what it removed with it: this is what is there instead.
    pub(super) fn take_back(&mut self, address: &Address, acknowledged: u64, back: Vec<(u64, Append)>) {
        let queue = self.queues.entry(address.clone()).or_default();
        queue.acknowledged = acknowledged;
        for (number, append) in back {
            let body = append.envelopes.into_iter().find(|envelope| envelope.device == address.device);
            let Some(body) = body.map(|envelope| envelope.body) else { continue };
            let (expires_at_ms, topic) = (append.expires_at_ms, append.topic);
            queue.messages.insert(number, Message { expires_at_ms, topic, body });
        }
    }

    pub(super) fn remove(&mut self, address: &Address, number: u64, now_ms: u64) -> bool {
        let Some(queue) = self.queues.get_mut(address) else { return false };
        if queue.messages.get(&number).is_none_or(|message| message.expires_at_ms <= now_ms) {
            return false;
        }
        queue.messages.remove(&number).is_some()
    }

    /// What is delivered after a number.
    pub(super) fn waiting(&self, address: &Address, after: u64, now_ms: u64) -> Vec<(u64, Bytes)> {
        let Some(queue) = self.queues.get(address) else { return Vec::new() };
        let alive = queue
            .messages
            .iter()
            .filter(|(number, message)| **number > after && message.expires_at_ms > now_ms);
        alive.map(|(number, message)| (*number, message.body.clone())).collect()
    }

    pub(super) fn acknowledged(&self, address: &Address) -> u64 {
        self.queues.get(address).map_or(0, |queue| queue.acknowledged)
    }

    /// All that may be counted: what has expired and may not have been removed included.
    pub(super) fn count_max(&self, address: &Address) -> u64 {
        self.queues.get(address).map_or(0, |queue| queue.messages.len() as u64)
    }

    /// What has expired is removed by now.
    pub(super) fn forget_expired(&mut self, now_ms: u64) {
        for queue in self.queues.values_mut() {
            queue.messages.retain(|_, message| message.expires_at_ms > now_ms);
        }
    }
}
