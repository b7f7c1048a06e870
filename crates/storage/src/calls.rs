//! What the executor asks of the mailbox.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use campanile_protocol::ids::UserId;

use super::changes::Place;
use super::expiry::LOOKS_FOR_ROOM_MAX;
use super::keys::{self, AddressKey};
use super::tables::{self, Tables, get};
use super::{FjallMailbox, OpenError, SYNCS_PER_WATERMARKS, WATERMARKS_AHEAD_MAX, records};
use campanile_mailbox::executor::{Expired, Mailbox, MailboxError, StorageStatus};
use campanile_mailbox::{
    Address, Append, Count, DedupKey, Page, PlacementKey, READ_MESSAGES_MAX, Remembered, Stored, Trim,
    UserRecord, Waiting,
};

/// So long a reopening waits for a merge.
const REOPEN_WAIT_MAX: Duration = Duration::from_secs(1);

impl Mailbox for FjallMailbox {
    fn epoch(&self) -> u64 {
        FjallMailbox::epoch(self)
    }

    fn placement_key(&self) -> PlacementKey {
        FjallMailbox::placement_key(self)
    }

    fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        FjallMailbox::reserve(self, count)
    }

    fn append(&mut self, appends: &[Append], now_ms: u64) -> Result<Vec<Vec<Stored>>, MailboxError> {
        self.attempt(|mailbox, tables| {
            let mut outcomes = Vec::with_capacity(appends.len());
            for append in appends {
                mailbox.look_at_room(tables)?;
                mailbox.make_room(tables, append, now_ms)?;
                if !append.topic.is_empty() {
                    mailbox.prepare_topics(tables, append)?;
                }
                if let Some(dedup) = &append.dedup {
                    mailbox.prepare_dedup(tables, &append.user, dedup)?;
                }
                let mut stored = Vec::with_capacity(append.envelopes.len());
                for envelope in &append.envelopes {
                    stored.push(mailbox.append_one(tables, append, envelope)?);
                }
                if let Some(dedup) = &append.dedup
                    && stored.contains(&Stored::Yes)
                {
                    mailbox.remember(tables, append, dedup, &stored, now_ms)?;
                }
                outcomes.push(stored);
                if mailbox.changes.bytes > 1 << 20 {
                    mailbox.commit(tables)?;
                }
            }
            mailbox.commit(tables)?;
            mailbox.appended = true;
            mailbox.forget_old(tables)?;
            Ok(outcomes)
        })
    }

    fn recall(
        &mut self,
        user: &UserId,
        key: &DedupKey,
        now_ms: u64,
    ) -> Result<Option<Remembered>, MailboxError> {
        self.attempt(|mailbox, tables| mailbox.recall_one(tables, user, key, now_ms))
    }

    fn trim(&mut self, trims: &[Trim]) -> Result<(), MailboxError> {
        self.attempt(|mailbox, tables| {
            for trim in trims {
                mailbox.trim_one(tables, &AddressKey::of(&trim.address), trim.up_to)?;
            }
            mailbox.commit(tables)?;
            mailbox.forget_old(tables)
        })
    }

    fn remove(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<bool, MailboxError> {
        self.attempt(|mailbox, tables| mailbox.remove_one(tables, &AddressKey::of(address), seq, now_ms))
    }

    fn read(
        &mut self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Page, MailboxError> {
        self.attempt(|mailbox, tables| {
            let address = AddressKey::of(address);
            let messages_max = messages_max.clamp(1, READ_MESSAGES_MAX);
            let after = after.max(mailbox.load(tables, &address)?.acknowledged);
            let mut page = Page::default();
            let mut bytes = 0;
            let damages = tables.scan(&address, after, u64::MAX, |found| {
                let Ok(message) = found.message else { return ControlFlow::Continue(()) };
                if message.expires_at_ms <= now_ms {
                    return ControlFlow::Continue(());
                }
                bytes += message.body.len();
                let full =
                    page.messages.len() == messages_max || (bytes > bytes_max && !page.messages.is_empty());
                if full {
                    page.more = true;
                    return ControlFlow::Break(());
                }
                page.messages.push(Waiting { seq: found.seq, body: message.body });
                ControlFlow::Continue(())
            })?;
            mailbox.count_damages(damages);
            mailbox.forget_old(tables)?;
            Ok(page)
        })
    }

    fn fetch(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<Option<Bytes>, MailboxError> {
        self.attempt(|mailbox, tables| {
            let address = AddressKey::of(address);
            if seq <= mailbox.load(tables, &address)?.acknowledged {
                return Ok(None);
            }
            Ok(match tables.message(&address, seq)? {
                Some(Ok(message)) => {
                    Some(message).filter(|message| message.expires_at_ms > now_ms).map(|message| message.body)
                }
                Some(Err(_)) => {
                    mailbox.report_damage("a message");
                    None
                }
                None => None,
            })
        })
    }

    fn count(&mut self, address: &Address) -> Result<Count, MailboxError> {
        self.attempt(|mailbox, tables| {
            let address = AddressKey::of(address);
            if let Some(known) = mailbox.known.get(&address) {
                return Ok(known.count());
            }
            let known = mailbox.read_known(tables, &address)?;
            let count = known.count();
            // Of most devices that connect nothing waits, and for most of them nothing comes for long.
            if count.messages > 0 {
                mailbox.known.insert(&address, known);
            }
            mailbox.forget_old(tables)?;
            Ok(count)
        })
    }

    fn user(&mut self, user: &UserId) -> Result<Option<UserRecord>, MailboxError> {
        self.attempt(|mailbox, tables| {
            let key = keys::user(user);
            match get(&tables.users, &key)? {
                None => Ok(None),
                Some(value) => match value.and_then(|value| records::decode_user(&key, &value)) {
                    Ok(record) => Ok(Some(record)),
                    Err(_) => mailbox.rebuild_user(tables, user).map(Some),
                },
            }
        })
    }

    fn put_user(&mut self, user: &UserId, record: &UserRecord) -> Result<(), MailboxError> {
        self.attempt(|mailbox, tables| {
            let key = keys::user(user);
            let value = records::encode_user(&key, record);
            mailbox.changes.insert(tables, Place::Users, key, value);
            mailbox.commit(tables)
        })
    }

    fn expire(&mut self, now_ms: u64, looks_max: usize) -> Result<Expired, MailboxError> {
        self.attempt(|mailbox, tables| {
            mailbox.look_at_room(tables)?;
            mailbox.looks_for_room = LOOKS_FOR_ROOM_MAX;
            let ids = mailbox.expire_dedups(tables, now_ms, looks_max.div_ceil(2))?;
            let mail = mailbox.expire_messages(tables, now_ms, (looks_max - ids.looks).max(1))?;
            mailbox.forget_old(tables)?;
            let for_room = std::mem::take(&mut mailbox.expired_for_room);
            Ok(Expired { messages: mail.removed + for_room, behind: ids.is_behind() || mail.is_behind() })
        })
    }

    fn sync(&mut self) -> Result<(), MailboxError> {
        self.attempt(|mailbox, tables| {
            mailbox.look_at_room(tables)?;
            mailbox.syncs = mailbox.syncs.wrapping_add(1);
            if !mailbox.appended
                || mailbox.ahead.len() >= WATERMARKS_AHEAD_MAX
                || mailbox.syncs.is_multiple_of(SYNCS_PER_WATERMARKS)
            {
                mailbox.write_watermarks(tables)?;
            }
            mailbox.appended = false;
            tables.sync()
        })
    }

    fn reopen(&mut self) -> Result<(), MailboxError> {
        // Only one may have the files open. It is asked for again soon, and reads could not be served meanwhile anyway.
        if !self.reclaim.wait(REOPEN_WAIT_MAX) {
            return Err(MailboxError::Storage("a merge is still under way".into()));
        }
        self.forget_everything();
        if let Some(tables) = self.tables.take().and_then(Arc::into_inner) {
            tables.close(self.directory.path());
        }
        tables::forget_cached(self.directory.path());
        // Opening it takes room: the ballast, if there is no other.
        self.room.look(self.room.used_bytes());
        let failed = |error: OpenError| MailboxError::Storage(Box::new(error));
        self.directory.reload().map_err(failed)?;
        let tables = Tables::open(self.directory.path(), self.directory.secret(), &self.options.tables)
            .map_err(failed)?;
        self.room.look(tables.used_bytes(self.directory.path()));
        self.tables = Some(Arc::new(tables));
        self.failed = false;
        Ok(())
    }

    fn status(&mut self) -> StorageStatus {
        if let Some(tables) = self.tables.clone()
            && self.room.is_stale()
        {
            self.room.look(tables.used_bytes(self.directory.path()));
        }
        StorageStatus { bytes: self.room.used_bytes(), full: self.room.full(), damages: self.damages }
    }
}
