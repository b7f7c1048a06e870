//! Removing messages whose time is over, a few at a time.
//!
//! A [`Walk`] goes through the mailboxes and not through the messages: each mailbox says since when something of it may
//! have expired, and only then is it read. A round that has found when the next one expires is not followed by another
//! before that time.

use std::ops::ControlFlow;

use super::FjallMailbox;
use super::keys::AddressKey;
use super::known::Recent;
use super::records::Checkpoint;
use super::tables::{Tables, bearable};
use campanile_mailbox::Append;
use campanile_mailbox::executor::MailboxError;
use campanile_mailbox::rules::queue::needs_room;

/// Looks between two calls of `expire` that appends to full mailboxes may take: whoever fills a mailbox is not to keep
/// the store from its work.
pub(super) const LOOKS_FOR_ROOM_MAX: usize = 4_096;

/// Where a walk through a keyspace is, and when the next one is due.
pub(super) struct Walk {
    /// The next key, while a round is under way.
    next: Option<Vec<u8>>,
    /// Nothing expires before this time, as far as earlier rounds and what came since can tell.
    due_ms: u64,
    /// The earliest expiry that this round has met.
    earliest_ms: u64,
}

impl Walk {
    pub(super) fn new() -> Walk {
        Walk { next: None, due_ms: 0, earliest_ms: u64::MAX }
    }

    /// Something was added that expires then.
    pub(super) fn expect(&mut self, at_ms: u64) {
        self.due_ms = self.due_ms.min(at_ms);
        self.earliest_ms = self.earliest_ms.min(at_ms);
    }

    /// The round has met something that expires then.
    pub(super) fn expect_later(&mut self, at_ms: u64) {
        self.earliest_ms = self.earliest_ms.min(at_ms);
    }

    /// From which key the walk goes on, if it is due.
    pub(super) fn start(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        match &self.next {
            Some(next) => Some(next.clone()),
            None if now_ms < self.due_ms => None,
            None => {
                self.earliest_ms = u64::MAX;
                // Keys begin with the length of a user id.
                Some(vec![1])
            }
        }
    }

    pub(super) fn go_on_after(&mut self, key: &[u8]) {
        self.next = Some([key, &[0]].concat());
    }

    fn go_on_at(&mut self, key: &[u8]) {
        self.next = Some(key.to_vec());
    }

    pub(super) fn finish(&mut self) {
        self.next = None;
        self.due_ms = self.earliest_ms;
    }
}

/// A mailbox that was not looked through at once.
#[derive(Clone, Copy)]
pub(super) struct Partway {
    /// Which one: where the walk goes on, another mailbox may come first by then.
    address: AddressKey,
    after: u64,
    earliest_ms: u64,
}

impl Partway {
    fn new(address: AddressKey) -> Partway {
        Partway { address, after: 0, earliest_ms: u64::MAX }
    }
}

/// What a part of a walk has come to.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) looks: usize,
    pub(super) removed: u64,
    /// The round is not over.
    pub(super) more: bool,
}

impl Progress {
    /// Whether it is worth to go on at once: much of what was looked at was removed. So what has expired never is more
    /// than a fraction of what has not, however fast it comes.
    pub(super) fn is_behind(&self) -> bool {
        self.more && self.removed * 4 >= self.looks as u64
    }
}

impl FjallMailbox {
    /// Removes expired messages.
    pub(super) fn expire_messages(
        &mut self,
        tables: &Tables,
        now_ms: u64,
        looks_max: usize,
    ) -> Result<Progress, MailboxError> {
        let Some(start) = self.mail_walk.start(now_ms) else { return Ok(Progress::default()) };
        let mut mailboxes = Vec::new();
        for item in tables.mailboxes.range(start..).take(looks_max) {
            match item.into_inner() {
                Ok(item) => mailboxes.push(item),
                Err(error) => {
                    bearable(error)?;
                    break;
                }
            }
        }
        let more = mailboxes.len() == looks_max;
        let (mut removed, mut looks) = (0, 0);
        for (key, value) in &mailboxes {
            looks += 1;
            let Some(address) = AddressKey::parse(key) else { continue };
            let earliest_ms = match self.known.get(&address) {
                Some(known) => known.earliest,
                // A damaged one is made anew when it is looked through.
                None => Checkpoint::decode(key, value).map_or(0, |checkpoint| checkpoint.earliest),
            };
            if earliest_ms > now_ms {
                self.mail_walk.expect_later(earliest_ms);
                continue;
            }
            let looks_left = looks_max.saturating_sub(looks).max(1);
            let from = self.partway.take().filter(|partway| partway.address == address);
            let from = from.unwrap_or_else(|| Partway::new(address));
            let (looked, gone, partway) = self.expire_mailbox(tables, from, now_ms, looks_left)?;
            (looks, removed) = (looks + looked, removed + gone);
            self.partway = partway;
            if self.partway.is_some() {
                self.mail_walk.go_on_at(key);
                return Ok(Progress { looks, removed, more: true });
            }
            if looks >= looks_max {
                self.mail_walk.go_on_after(key);
                return Ok(Progress { looks, removed, more: true });
            }
        }
        match mailboxes.last() {
            Some((key, _)) if more => self.mail_walk.go_on_after(key),
            _ => self.mail_walk.finish(),
        }
        Ok(Progress { looks, removed, more })
    }

    /// Looks through one mailbox. Looks and removals, and where to go on if that would have taken too many looks.
    fn expire_mailbox(
        &mut self,
        tables: &Tables,
        from: Partway,
        now_ms: u64,
        looks_max: usize,
    ) -> Result<(usize, u64, Option<Partway>), MailboxError> {
        let Partway { address, after, mut earliest_ms } = from;
        let address = &address;
        let acknowledged = self.load(tables, address)?.acknowledged;
        let (mut looks, mut last) = (0, after);
        let mut expired = Vec::new();
        tables.scan(address, after.max(acknowledged), u64::MAX, |found| {
            looks += 1;
            last = found.seq;
            if let Ok(message) = found.message {
                if message.expires_at_ms <= now_ms {
                    let has_topic = !message.topic.is_empty();
                    expired.push(Recent { seq: found.seq, bytes: found.bytes, has_topic });
                } else {
                    earliest_ms = earliest_ms.min(message.expires_at_ms);
                }
            }
            if looks < looks_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let known = self.load(tables, address)?;
        expired.iter().for_each(|message| known.forget(message.seq, message.bytes));
        let freed: u64 = expired.iter().map(|message| u64::from(message.bytes)).sum();
        let done = looks < looks_max;
        if done {
            known.earliest = earliest_ms;
        }
        for message in &expired {
            self.changes.remove_message(tables, address, *message)?;
        }
        self.reclaim.removed(freed);
        if done {
            self.mail_walk.expect_later(earliest_ms);
        }
        self.write_checkpoint(tables, address)?;
        self.commit(tables)?;
        let partway = (!done).then_some(Partway { address: *address, after: last, earliest_ms });
        Ok((looks, expired.len() as u64, partway))
    }

    /// Removes what has expired where an append would find a mailbox full. What waits to be written is not seen, and an
    /// append is not to be torn apart: so before it begins.
    pub(super) fn make_room(
        &mut self,
        tables: &Tables,
        append: &Append,
        now_ms: u64,
    ) -> Result<(), MailboxError> {
        let limits = self.limits;
        for envelope in append.envelopes.iter().filter(|envelope| !envelope.confirmed) {
            let address = AddressKey::new(&append.user, envelope.device);
            let known = self.load(tables, &address)?;
            let full = needs_room(&known.count(), envelope.body.len() as u64, &limits);
            if !full || known.earliest > now_ms || self.looks_for_room == 0 {
                continue;
            }
            self.commit(tables)?;
            let looks_max = self.looks_for_room;
            let (looks, removed, _) =
                self.expire_mailbox(tables, Partway::new(address), now_ms, looks_max)?;
            self.looks_for_room -= looks.clamp(1, looks_max);
            self.expired_for_room += removed;
        }
        Ok(())
    }
}
