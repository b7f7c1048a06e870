//! A mailbox in memory that can lose power.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use campanile_protocol::ids::UserId;

use super::faults::{Call, Fate, StoreFaults};
use super::image::{Change, Image, Mortal};
use crate::executor::{Expired, Mailbox, MailboxError, StorageStatus};
use crate::{
    Address, Append, Count, DedupKey, MailboxLimits, Page, PlacementKey, Remembered, Stored, Trim, UserRecord,
};

/// A mailbox with a live image, which is read, and a durable one.
///
/// Whatever is done is done to the live image and written in a journal. A sync carries the journal over to the durable
/// image. A power cut, and opening it anew, keeps the durable image and a prefix of the journal, by the seed.
///
/// It panics when its user breaks the contract: on a number that does not grow, a device twice in an append, a
/// deduplication id that is too long, and any use between an error and being opened anew.
pub struct ModelMailbox {
    epoch: u64,
    limits: MailboxLimits,
    durable: Image,
    live: Image,
    /// What leads from the durable image to the live one.
    journal: Vec<Change>,
    fate: Fate,
    /// It has failed and was not opened anew since.
    broken: bool,
    /// The next number to be given out. Always durable.
    next_number: u64,
    /// The highest number of each user's messages, whether or not they were lost since.
    highest: HashMap<UserId, u64>,
    /// Where expiry goes on.
    looked_at: Option<Mortal>,
    /// Expired messages that made room, since the last expiry.
    made_room: u64,
}

impl ModelMailbox {
    /// An empty mailbox on a disk that does what one hopes for.
    pub fn new(epoch: u64, limits: MailboxLimits, seed: u64) -> ModelMailbox {
        ModelMailbox {
            epoch,
            limits,
            durable: Image::default(),
            live: Image::default(),
            journal: Vec::new(),
            fate: Fate::new(seed),
            broken: false,
            next_number: 1,
            highest: HashMap::new(),
            looked_at: None,
            made_room: 0,
        }
    }

    /// How the disk behaves from now on.
    pub fn set_faults(&mut self, faults: StoreFaults) {
        self.fate.faults = faults;
    }

    /// The next call of this kind fails, beside those that were to fail already.
    pub fn fail_next(&mut self, call: Call) {
        self.fate.demand(call);
    }

    /// The next so many calls fail, whatever they are.
    pub fn fail_for(&mut self, calls: u32) {
        self.fate.begin_spell(calls);
    }

    /// The next so many messages find the storage full.
    pub fn fill(&mut self, messages: u32) {
        self.fate.fill(messages);
    }

    /// What is left when the power comes back: what was synced, and a prefix of what was done since.
    pub fn power_cut(mut self) -> ModelMailbox {
        self.survive();
        self
    }

    /// How many changes are not synced.
    pub fn unsynced(&self) -> usize {
        self.journal.len()
    }

    /// The numbers of all that waits for a device, expired or not, durable or not.
    pub fn waiting(&self, address: &Address) -> Vec<u64> {
        self.live.waiting(address)
    }

    /// The numbers of all that waits for a device and is durable.
    pub fn waiting_durably(&self, address: &Address) -> Vec<u64> {
        self.durable.waiting(address)
    }

    /// The lowest number that was never given out.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    fn survive(&mut self) {
        let kept = self.fate.rng.usize(0..=self.journal.len());
        self.journal.iter().take(kept).for_each(|change| self.durable.apply(change));
        self.journal.clear();
        self.live = self.durable.clone();
        self.looked_at = None;
        self.made_room = 0;
        self.broken = false;
    }

    fn change(&mut self, change: Change) {
        self.live.apply(&change);
        self.journal.push(change);
    }

    /// Begins a call that does so much. How much of it is done, and how it ends.
    fn attempt(&mut self, call: Call, steps: usize) -> (usize, Result<(), MailboxError>) {
        assert!(!self.broken || call == Call::Reopen, "{call:?} on a mailbox that has failed");
        if !self.fate.fails(call) {
            return (steps, Ok(()));
        }
        self.broken = true;
        let error = MailboxError::Storage(format!("{call:?} is made to fail").into());
        (self.fate.rng.usize(0..=steps), Err(error))
    }

    fn check(&mut self, append: &Append) {
        let highest = self.highest.entry(append.user.clone()).or_default();
        assert!(append.seq > *highest, "{:?}: {} after {highest}", append.user, append.seq);
        *highest = append.seq;
        let mut devices: Vec<_> = append.envelopes.iter().map(|envelope| envelope.device).collect();
        devices.sort_unstable();
        assert!(devices.is_sorted_by(|one, next| one < next), "a device twice: {devices:?}");
        let id_bytes = append.dedup.as_ref().map_or(0, |dedup| dedup.key.id.len());
        assert!(id_bytes <= 128, "a deduplication id of {id_bytes} bytes");
    }
}

impl Mailbox for ModelMailbox {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn placement_key(&self) -> PlacementKey {
        PlacementKey::new([self.epoch as u8; 16])
    }

    fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        let (done, end) = self.attempt(Call::Other, 1);
        let first = self.next_number;
        if done > 0 {
            self.next_number += count;
        }
        end.map(|()| first..first + count)
    }

    fn append(&mut self, appends: &[Append], now_ms: u64) -> Result<Vec<Vec<Stored>>, MailboxError> {
        appends.iter().for_each(|append| self.check(append));
        let (done, end) = self.attempt(Call::Append, appends.len());
        let mut outcomes = Vec::with_capacity(done);
        for append in &appends[..done] {
            for room in self.live.make_room(append, &self.limits, now_ms) {
                self.made_room += 1;
                self.change(room);
            }
            let full = self.fate.finds_full();
            let (stored, change) = self.live.decide(append, &self.limits, full);
            if let Some(change) = change {
                self.change(change);
            }
            outcomes.push(stored);
        }
        end.map(|()| outcomes)
    }

    fn recall(
        &mut self,
        user: &UserId,
        key: &DedupKey,
        now_ms: u64,
    ) -> Result<Option<Remembered>, MailboxError> {
        self.attempt(Call::Other, 0).1?;
        Ok(self.live.recall(user, key, now_ms))
    }

    fn trim(&mut self, trims: &[Trim]) -> Result<(), MailboxError> {
        let (done, end) = self.attempt(Call::Other, trims.len());
        for Trim { address, up_to } in &trims[..done] {
            self.change(Change::Trim(address.clone(), *up_to));
        }
        end
    }

    fn remove(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<bool, MailboxError> {
        let there = self.live.fetch(address, seq, now_ms).is_some();
        let (done, end) = self.attempt(Call::Other, 1);
        if there && done > 0 {
            self.change(Change::Remove(address.clone(), seq));
        }
        end.map(|()| there)
    }

    fn read(
        &mut self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Page, MailboxError> {
        self.attempt(Call::Other, 0).1?;
        Ok(self.live.read(address, after, messages_max, bytes_max, now_ms))
    }

    fn fetch(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<Option<Bytes>, MailboxError> {
        self.attempt(Call::Other, 0).1?;
        Ok(self.live.fetch(address, seq, now_ms))
    }

    fn count(&mut self, address: &Address) -> Result<Count, MailboxError> {
        self.attempt(Call::Other, 0).1?;
        Ok(self.live.count(address))
    }

    fn user(&mut self, user: &UserId) -> Result<Option<UserRecord>, MailboxError> {
        self.attempt(Call::Other, 0).1?;
        Ok(self.live.user(user))
    }

    fn put_user(&mut self, user: &UserId, record: &UserRecord) -> Result<(), MailboxError> {
        let (done, end) = self.attempt(Call::Other, 1);
        if done > 0 {
            self.change(Change::User(user.clone(), record.clone()));
        }
        end
    }

    fn expire(&mut self, now_ms: u64, looks_max: usize) -> Result<Expired, MailboxError> {
        let mortals = self.live.mortals(self.looked_at.as_ref(), looks_max);
        let (done, end) = self.attempt(Call::Other, mortals.len());
        self.looked_at = mortals.last().filter(|_| mortals.len() == looks_max).map(|(last, _)| last.clone());
        let mut removed = std::mem::take(&mut self.made_room);
        for (mortal, _) in mortals.into_iter().take(done).filter(|&(_, over_at_ms)| over_at_ms <= now_ms) {
            match mortal {
                Mortal::Message(address, seq) => {
                    removed += 1;
                    self.change(Change::Remove(address, seq));
                }
                Mortal::Id(user, key) => self.change(Change::Forget(user, key)),
            }
        }
        // A simulation looks again when its clock has moved on.
        end.map(|()| Expired { messages: removed, behind: false })
    }

    fn sync(&mut self) -> Result<(), MailboxError> {
        self.attempt(Call::Sync, 0).1?;
        self.journal.drain(..).for_each(|change| self.durable.apply(&change));
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), MailboxError> {
        self.attempt(Call::Reopen, 0).1?;
        self.survive();
        Ok(())
    }

    fn status(&mut self) -> StorageStatus {
        let bytes = self.live.bytes();
        StorageStatus { bytes, full: self.fate.is_full() || bytes >= self.limits.bytes_total_max, damages: 0 }
    }
}
