//! What a store holds at one moment, and the changes that lead from one moment to the next.
//!
//! A [`Change`] is atomic: a crash leaves all of it or nothing. Applied to the image that it was decided on, it always
//! has the same effect, so an image and a prefix of its changes make an earlier moment again.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    Address, Append, Count, DEDUP_IDS_PER_USER_MAX, Dedup, DedupKey, DedupScope, MailboxLimits, Page,
    READ_MESSAGES_MAX, Remembered, Stored, UserRecord, Waiting,
};
use bytes::Bytes;
use campanile_protocol::ids::{DeviceId, UserId};

use crate::rules::queue::{Decision, decide, is_confirmed, needs_room};

/// One atomic change.
pub(super) enum Change {
    /// The envelopes of one message that are not refused, together with its deduplication id.
    Store(Box<Accepted>),
    Trim(Address, u64),
    Remove(Address, u64),
    Forget(UserId, DedupKey),
    User(UserId, UserRecord),
}

/// What is stored of a message.
pub(super) struct Accepted {
    user: UserId,
    seq: u64,
    expires_at_ms: u64,
    topic: Box<str>,
    /// No body where the device has confirmed the message already.
    envelopes: Vec<(DeviceId, Option<Bytes>)>,
    dedup: Option<(Dedup, Vec<(DeviceId, Stored)>)>,
}

/// What has a time at which it is over, in the order in which expiry looks at it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mortal {
    Message(Address, u64),
    Id(UserId, DedupKey),
}

#[derive(Clone)]
struct Message {
    body: Bytes,
    topic: Box<str>,
    expires_at_ms: u64,
}

/// The queue of one device.
#[derive(Clone, Default)]
struct Queue {
    messages: BTreeMap<u64, Message>,
    bytes: u64,
    watermark: u64,
}

#[derive(Clone)]
struct Id {
    key: DedupKey,
    until_ms: u64,
    remembered: Remembered,
}

/// The deduplication ids of one user, the oldest first.
#[derive(Clone, Default)]
struct Ids {
    publishers: VecDeque<Id>,
    siblings: VecDeque<Id>,
}

/// Everything that the store holds.
#[derive(Clone, Default)]
pub(super) struct Image {
    queues: BTreeMap<Address, Queue>,
    ids: BTreeMap<UserId, Ids>,
    users: BTreeMap<UserId, UserRecord>,
    bytes: u64,
}

impl Image {
    /// What becomes of the envelopes of a message, and the change that it makes.
    pub(super) fn decide(
        &self,
        append: &Append,
        limits: &MailboxLimits,
        full: bool,
    ) -> (Vec<Stored>, Option<Change>) {
        let mut growth = 0i64;
        let (mut outcomes, mut envelopes) = (Vec::new(), Vec::new());
        for envelope in &append.envelopes {
            let address = Address { user: append.user.clone(), device: envelope.device };
            let count = self.count(&address);
            if is_confirmed(envelope.confirmed, append.seq, count.acknowledged) {
                outcomes.push(Stored::Yes);
                envelopes.push((envelope.device, None));
                continue;
            }
            let replaced = self.queues.get(&address).and_then(|queue| queue.of_topic(&append.topic));
            let replaced = replaced.map(|(_, message)| message.body.len() as u64);
            let bytes = envelope.body.len() as u64;
            let change = bytes as i64 - replaced.unwrap_or(0) as i64;
            let full = full || self.bytes.saturating_add_signed(growth + change) > limits.bytes_total_max;
            match decide(&count, replaced, bytes, limits, full) {
                Decision::Refused(why) => outcomes.push(why),
                Decision::Waits | Decision::Confirmed => {
                    growth += change;
                    outcomes.push(Stored::Yes);
                    envelopes.push((envelope.device, Some(envelope.body.clone())));
                }
            }
        }
        if envelopes.is_empty() {
            return (outcomes, None);
        }
        let devices = append.envelopes.iter().map(|envelope| envelope.device);
        let dedup =
            append.dedup.clone().map(|dedup| (dedup, devices.zip(outcomes.iter().copied()).collect()));
        let accepted = Accepted {
            user: append.user.clone(),
            seq: append.seq,
            expires_at_ms: append.expires_at_ms,
            topic: append.topic.clone(),
            envelopes,
            dedup,
        };
        (outcomes, Some(Change::Store(Box::new(accepted))))
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Store(accepted) => self.store(accepted),
            Change::Trim(address, up_to) => {
                let queue = self.queues.entry(address.clone()).or_default();
                queue.watermark = queue.watermark.max(*up_to);
                while let Some((&seq, _)) = queue.messages.first_key_value()
                    && seq <= queue.watermark
                {
                    self.bytes -= queue.remove(seq);
                }
            }
            Change::Remove(address, seq) => {
                if let Some(queue) = self.queues.get_mut(address) {
                    self.bytes -= queue.remove(*seq);
                }
            }
            Change::Forget(user, key) => {
                if let Some(ids) = self.ids.get_mut(user) {
                    ids.of_mut(key.scope).retain(|id| id.key != *key);
                }
            }
            Change::User(user, record) => {
                self.users.insert(user.clone(), record.clone());
            }
        }
    }

    fn store(&mut self, accepted: &Accepted) {
        for (device, body) in &accepted.envelopes {
            let address = Address { user: accepted.user.clone(), device: *device };
            let Some(body) = body.clone() else { continue };
            let queue = self.queues.entry(address).or_default();
            if let Some((seq, _)) = queue.of_topic(&accepted.topic) {
                self.bytes -= queue.remove(seq);
            }
            self.bytes += body.len() as u64;
            queue.bytes += body.len() as u64;
            let (topic, expires_at_ms) = (accepted.topic.clone(), accepted.expires_at_ms);
            queue.messages.insert(accepted.seq, Message { body, topic, expires_at_ms });
        }
        if let Some((dedup, outcomes)) = &accepted.dedup {
            let remembered =
                Remembered { digest: dedup.digest, seq: accepted.seq, outcomes: outcomes.clone() };
            let id = Id { key: dedup.key.clone(), until_ms: dedup.until_ms, remembered };
            let ids = self.ids.entry(accepted.user.clone()).or_default().of_mut(dedup.key.scope);
            ids.retain(|known| known.key != id.key);
            ids.push_back(id);
            if ids.len() > DEDUP_IDS_PER_USER_MAX {
                ids.pop_front();
            }
        }
    }

    pub(super) fn recall(&self, user: &UserId, key: &DedupKey, now_ms: u64) -> Option<Remembered> {
        let id = self.ids.get(user)?.of(key.scope).iter().find(|id| id.key == *key)?;
        (now_ms < id.until_ms).then(|| id.remembered.clone())
    }

    pub(super) fn fetch(&self, address: &Address, seq: u64, now_ms: u64) -> Option<Bytes> {
        let message = self.queues.get(address)?.messages.get(&seq)?;
        (now_ms < message.expires_at_ms).then(|| message.body.clone())
    }

    pub(super) fn read(
        &self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Page {
        let mut page = Page::default();
        let mut bytes = 0;
        let Some(queue) = self.queues.get(address) else { return page };
        let behind = queue.messages.range(after.saturating_add(1)..);
        for (&seq, message) in behind.filter(|(_, message)| now_ms < message.expires_at_ms) {
            let count = page.messages.len();
            bytes += message.body.len();
            if count >= messages_max.min(READ_MESSAGES_MAX) || count > 0 && bytes > bytes_max {
                page.more = true;
                return page;
            }
            page.messages.push(Waiting { seq, body: message.body.clone() });
        }
        page
    }

    pub(super) fn count(&self, address: &Address) -> Count {
        self.queues.get(address).map_or(Count::default(), |queue| Count {
            messages: queue.messages.len() as u64,
            bytes: queue.bytes,
            acknowledged: queue.watermark,
        })
    }

    /// What has to go before a message can be judged: the expired messages of queues that it would find full.
    pub(super) fn make_room(&self, append: &Append, limits: &MailboxLimits, now_ms: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for envelope in append.envelopes.iter().filter(|envelope| !envelope.confirmed) {
            let address = Address { user: append.user.clone(), device: envelope.device };
            let Some(queue) = self.queues.get(&address) else { continue };
            if needs_room(&self.count(&address), envelope.body.len() as u64, limits) {
                let expired = queue.messages.iter().filter(|(_, message)| message.expires_at_ms <= now_ms);
                changes.extend(expired.map(|(&seq, _)| Change::Remove(address.clone(), seq)));
            }
        }
        changes
    }

    /// The numbers of all that waits for a device, expired or not.
    pub(super) fn waiting(&self, address: &Address) -> Vec<u64> {
        self.queues.get(address).map_or(Vec::new(), |queue| queue.messages.keys().copied().collect())
    }

    pub(super) fn user(&self, user: &UserId) -> Option<UserRecord> {
        self.users.get(user).cloned()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// At most so many mortals behind this one, and when their time is over.
    pub(super) fn mortals(&self, behind: Option<&Mortal>, looks_max: usize) -> Vec<(Mortal, u64)> {
        let messages = self.queues.iter().flat_map(|(address, queue)| {
            let of = |(&seq, message): (&u64, &Message)| {
                (Mortal::Message(address.clone(), seq), message.expires_at_ms)
            };
            queue.messages.iter().map(of)
        });
        let ids = self.ids.iter().flat_map(|(user, ids)| {
            let mut ids: Vec<_> = ids.publishers.iter().chain(&ids.siblings).collect();
            ids.sort_by(|one, other| one.key.cmp(&other.key));
            ids.into_iter().map(|id| (Mortal::Id(user.clone(), id.key.clone()), id.until_ms))
        });
        let all = messages.chain(ids);
        all.skip_while(|(mortal, _)| behind.is_some_and(|behind| mortal <= behind)).take(looks_max).collect()
    }
}

impl Queue {
    fn of_topic(&self, topic: &str) -> Option<(u64, &Message)> {
        let found = self.messages.iter().find(|(_, message)| !topic.is_empty() && *message.topic == *topic);
        found.map(|(&seq, message)| (seq, message))
    }

    /// How many bytes that frees.
    fn remove(&mut self, seq: u64) -> u64 {
        let freed = self.messages.remove(&seq).map_or(0, |message| message.body.len() as u64);
        self.bytes -= freed;
        freed
    }
}

impl Ids {
    fn of(&self, scope: DedupScope) -> &VecDeque<Id> {
        match scope {
            DedupScope::Publisher(_) => &self.publishers,
            DedupScope::Sibling(_) => &self.siblings,
        }
    }

    fn of_mut(&mut self, scope: DedupScope) -> &mut VecDeque<Id> {
        match scope {
            DedupScope::Publisher(_) => &mut self.publishers,
            DedupScope::Sibling(_) => &mut self.siblings,
        }
    }
}
