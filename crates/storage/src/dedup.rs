//! Deduplication ids: found by their id, forgotten oldest first.

use std::collections::HashMap;
use std::mem;

use campanile_protocol::ids::{DeviceId, UserId};

use super::FjallMailbox;
use super::changes::Place;
use super::expiry::Progress;
use super::keys;
use super::records::{DedupRecord, decode_order, encode_order};
use super::tables::{Tables, bearable, get};
use campanile_mailbox::executor::MailboxError;
use campanile_mailbox::{Append, DEDUP_IDS_PER_USER_MAX, Dedup, DedupKey, Remembered, Stored};

/// Half of the users whose ids are counted in memory at most.
const GENERATION_MAX: usize = 8_192;
/// When a user is at the limit, or has reached a multiple of this, what has expired of the user's ids is removed.
const SWEEP_EVERY: u64 = 64;
/// As many are removed at a time.
const SWEEP_MAX: usize = 128;
/// Changes that wait for the same commit: what is in them is not seen when the oldest is looked for.
const PENDING_MAX: usize = 1_024;

/// How many ids of one user and kind there are.
#[derive(Clone, Copy)]
struct Counted {
    ids: u64,
    /// All of them have higher numbers.
    after: u64,
}

/// Counts of users whose ids came lately, by the beginning of their keys; in two generations.
#[derive(Default)]
pub(super) struct DedupCounts {
    young: HashMap<Vec<u8>, Counted>,
    old: HashMap<Vec<u8>, Counted>,
}

impl DedupCounts {
    fn get(&mut self, order: &[u8]) -> Option<&mut Counted> {
        if !self.young.contains_key(order) {
            let (order, counted) = self.old.remove_entry(order)?;
            self.insert(order, counted);
        }
        self.young.get_mut(order)
    }

    fn insert(&mut self, order: Vec<u8>, counted: Counted) {
        if self.young.len() >= GENERATION_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(order, counted);
    }
}

impl FjallMailbox {
    pub(super) fn recall_one(
        &mut self,
        tables: &Tables,
        user: &UserId,
        key: &DedupKey,
        now_ms: u64,
    ) -> Result<Option<Remembered>, MailboxError> {
        let record = self.dedup_record(tables, &keys::dedup(user, key, tables.secret()))?;
        Ok(record.filter(|record| record.until_ms > now_ms).map(|record| record.remembered))
    }

    fn dedup_record(&mut self, tables: &Tables, key: &[u8]) -> Result<Option<DedupRecord>, MailboxError> {
        Ok(match get(&tables.dedup, key)? {
            None => None,
            Some(value) => match value.and_then(|value| DedupRecord::decode(key, &value)) {
                Ok(record) => Some(record),
                Err(_) => {
                    self.report_damage("a deduplication id");
                    None
                }
            },
        })
    }

    /// Makes sure that [`Self::remember`] sees all that matters to it: what waits to be written is not seen, and an
    /// append is not to be torn apart.
    pub(super) fn prepare_dedup(
        &mut self,
        tables: &Tables,
        user: &UserId,
        dedup: &Dedup,
    ) -> Result<(), MailboxError> {
        let order = keys::dedup_order(user, dedup.key.scope);
        let pending = &self.changes.dedups;
        if pending.len() >= PENDING_MAX
            || (!pending.is_empty()
                && (pending.contains(&keys::dedup(user, &dedup.key, tables.secret()))
                    || self.dedup_counts.get(&order).is_none()))
        {
            self.commit(tables)?;
        }
        self.counted(tables, &order).map(drop)
    }

    /// Remembers an id with what became of its envelopes.
    pub(super) fn remember(
        &mut self,
        tables: &Tables,
        append: &Append,
        dedup: &Dedup,
        outcomes: &[Stored],
        now_ms: u64,
    ) -> Result<(), MailboxError> {
        let key = keys::dedup(&append.user, &dedup.key, tables.secret());
        let order = keys::dedup_order(&append.user, dedup.key.scope);
        let order_key = [&order[..], &append.seq.to_be_bytes()].concat();
        let mut ids = self.counted(tables, &order)?.ids;
        if let Some(earlier) = self.dedup_record(tables, &key)? {
            let earlier_key = [&order[..], &earlier.remembered.seq.to_be_bytes()].concat();
            self.changes.remove(tables, Place::DedupOrder, earlier_key);
            ids = ids.saturating_sub(1);
        }
        if ids >= DEDUP_IDS_PER_USER_MAX as u64 || (ids > 0 && ids.is_multiple_of(SWEEP_EVERY)) {
            ids = self.forget_oldest(tables, &order, &key, ids, now_ms)?;
        }
        if let Some(counted) = self.dedup_counts.get(&order) {
            counted.ids = ids + 1;
        }
        let devices = append.envelopes.iter().map(|envelope| envelope.device);
        let outcomes: Vec<(DeviceId, Stored)> = devices.zip(outcomes.iter().copied()).collect();
        let remembered = Remembered { digest: dedup.digest, seq: append.seq, outcomes };
        let value = DedupRecord::encode(&key, dedup.until_ms, &remembered);
        let order_value = encode_order(&order_key, dedup.until_ms, &key);
        self.changes.insert(tables, Place::DedupOrder, order_key, order_value);
        self.changes.dedups.insert(key.clone());
        self.changes.insert(tables, Place::Dedup, key, value);
        self.dedup_walk.expect(dedup.until_ms);
        Ok(())
    }

    /// Removes the oldest ids of a user beyond the limit, less one for the next, and the expired ones among the oldest.
    /// How many are left.
    fn forget_oldest(
        &mut self,
        tables: &Tables,
        order: &[u8],
        replaced: &[u8],
        mut ids: u64,
        now_ms: u64,
    ) -> Result<u64, MailboxError> {
        let after = self.counted(tables, order)?.after;
        let start = [order, &after.saturating_add(1).to_be_bytes()].concat();
        let end = [order, &[0xff; 8]].concat();
        for item in tables.dedup_order.range(start..=end).take(SWEEP_MAX) {
            let (order_key, value) = match item.into_inner() {
                Ok(item) => item,
                Err(error) => {
                    bearable(error)?;
                    break;
                }
            };
            let Ok((until_ms, key)) = decode_order(&order_key, &value) else {
                self.forget_damaged_order(tables, &order_key)?;
                ids = ids.saturating_sub(1);
                continue;
            };
            if key == replaced {
                continue;
            }
            if ids < DEDUP_IDS_PER_USER_MAX as u64 && until_ms > now_ms {
                break;
            }
            self.changes.dedups.insert(key.to_vec());
            self.changes.remove(tables, Place::Dedup, key.to_vec());
            let seq = keys::seq(&order_key);
            self.changes.remove(tables, Place::DedupOrder, order_key.to_vec());
            ids = ids.saturating_sub(1);
            if let Some(counted) = self.dedup_counts.get(order) {
                counted.after = seq;
            }
        }
        Ok(ids)
    }

    /// Removes an entry of the order that is damaged, and the id that it stood for: nothing else would ever find it.
    fn forget_damaged_order(&mut self, tables: &Tables, order_key: &[u8]) -> Result<(), MailboxError> {
        self.report_damage("the order of a deduplication id");
        let order = &order_key[..order_key.len() - 8];
        for item in tables.dedup.prefix(order) {
            let (key, value) = match item.into_inner() {
                Ok(item) => item,
                Err(error) => {
                    bearable(error)?;
                    break;
                }
            };
            let record = DedupRecord::decode(&key, &value);
            if record.is_ok_and(|record| record.remembered.seq == keys::seq(order_key)) {
                self.changes.dedups.insert(key.to_vec());
                self.changes.remove(tables, Place::Dedup, key.to_vec());
            }
        }
        self.changes.remove(tables, Place::DedupOrder, order_key.to_vec());
        Ok(())
    }

    /// How many ids there are; nothing of the user may be pending when they are counted.
    fn counted(&mut self, tables: &Tables, order: &[u8]) -> Result<Counted, MailboxError> {
        if let Some(counted) = self.dedup_counts.get(order) {
            return Ok(*counted);
        }
        let mut counted = Counted { ids: 0, after: 0 };
        for item in tables.dedup_order.prefix(order) {
            match item.key() {
                Ok(_) => counted.ids += 1,
                Err(error) => {
                    bearable(error)?;
                    break;
                }
            }
        }
        self.dedup_counts.insert(order.to_vec(), counted);
        Ok(counted)
    }

    fn uncount_dedup(&mut self, order_key: &[u8]) {
        if let Some(counted) = self.dedup_counts.get(&order_key[..order_key.len() - 8]) {
            counted.ids = counted.ids.saturating_sub(1);
        }
    }

    /// Removes ids whose time is over.
    pub(super) fn expire_dedups(
        &mut self,
        tables: &Tables,
        now_ms: u64,
        looks_max: usize,
    ) -> Result<Progress, MailboxError> {
        let Some(start) = self.dedup_walk.start(now_ms) else { return Ok(Progress::default()) };
        let (mut looks, mut removed) = (0, 0);
        let mut last = None;
        for item in tables.dedup_order.range(start..).take(looks_max) {
            looks += 1;
            let (order_key, value) = match item.into_inner() {
                Ok(item) => item,
                Err(error) => {
                    bearable(error)?;
                    // Where it goes on is not known; the next round begins anew.
                    last = None;
                    looks = 0;
                    break;
                }
            };
            match decode_order(&order_key, &value) {
                Ok((until_ms, _)) if until_ms > now_ms => self.dedup_walk.expect_later(until_ms),
                Ok((_, key)) => {
                    removed += 1;
                    self.changes.remove(tables, Place::Dedup, key.to_vec());
                    self.changes.remove(tables, Place::DedupOrder, order_key.to_vec());
                    self.uncount_dedup(&order_key);
                }
                Err(_) => {
                    self.forget_damaged_order(tables, &order_key)?;
                    self.uncount_dedup(&order_key);
                }
            }
            last = Some(order_key);
        }
        self.commit(tables)?;
        let last = last.filter(|_| looks == looks_max);
        match &last {
            Some(last) => self.dedup_walk.go_on_after(last),
            None => self.dedup_walk.finish(),
        }
        Ok(Progress { looks, removed, more: last.is_some() })
    }
}
