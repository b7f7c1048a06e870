//! Users whose devices are looked up, and the pushes that wait for it.
//!
//! A push is executed when the user's devices are known and it is certain that its deduplication id is new. Until then
//! it is parked, and every later push of the user behind it, so that they keep their order.

use std::collections::VecDeque;

use campanile_protocol::ids::{DeviceId, MessageId};

use super::Shard;
use super::directory::{Known, NONE};
use super::jobs::Place;
use super::requests::{Outcome, Push, PushError, Pushed, Unavailable};
use super::storage::Awaiting;
use campanile_mailbox::operations::{Operation, Registration, StoreFailed};
use campanile_mailbox::{DedupScope, Remembered, Stored, UserRecord};

/// Pushes that may be parked, of all users of a shard.
const PARKED_MAX: usize = 16_384;
/// The bytes of their payloads.
const PARKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parked pushes of one user that are executed in one go.
const UNPARKED_PER_GO: usize = 256;

/// Pushes of one user that wait for the store.
#[derive(Default)]
pub(super) struct Parked {
    pushes: VecDeque<(Place, Push)>,
    /// The first of them is known to be new.
    first_is_new: bool,
}

impl Shard {
    /// Executes a durable push, or parks it.
    pub(super) fn push_durable(&mut self, place: Place, push: Push) {
        let bytes = push.envelopes.bytes();
        if self.parked >= PARKED_MAX || self.parked_bytes + bytes > PARKED_BYTES_MAX {
            return self.finish_push(place, Err(Unavailable::Overloaded.into()));
        }
        let number = self.directory.find_or_add(&push.user);
        let Some(user) = self.directory.user_mut(number) else { return };
        let waits = user.parked.is_some();
        self.parked += 1;
        self.parked_bytes += bytes;
        user.parked.get_or_insert_default().pushes.push_back((place, push));
        if !waits {
            self.unpark(number);
        }
    }

    /// Executes the parked pushes of users for whom there were too many in one go.
    pub(super) fn unpark_on(&mut self) {
        for number in std::mem::take(&mut self.unparking) {
            self.unpark(number);
        }
    }

    /// Executes the user's parked pushes until one has to wait, or they are many.
    fn unpark(&mut self, number: u32) {
        let is_read = self.is_read(number);
        for _ in 0..UNPARKED_PER_GO {
            let Some(user) = self.directory.user_mut(number) else { return };
            let Some(parked) = &mut user.parked else { return };
            let Some((_, push)) = parked.pushes.front() else {
                user.parked = None;
                return self.directory.rest(number);
            };
            if !is_read {
                user.awaited += 1;
                let id = push.user.clone();
                let tag = self.storage.await_answer(Awaiting::User { user: number });
                return self.storage.ask(Operation::User(tag, id));
            }
            let is_new = std::mem::take(&mut parked.first_is_new)
                || push.dedup.as_ref().is_none_or(|dedup| {
                    let fingerprint = self.recent.fingerprint(&push.user, &dedup.key);
                    let lasts = matches!(dedup.key.scope, DedupScope::Publisher(_));
                    lasts && self.recent.is_new(fingerprint, self.now.unix_ms)
                });
            if !is_new && let Some(dedup) = &push.dedup {
                let (id, key) = (push.user.clone(), dedup.key.clone());
                user.awaited += 1;
                let tag = self.storage.await_answer(Awaiting::Recall { user: number });
                return self.storage.ask(Operation::Recall(tag, id, key));
            }
            if let Some((place, push)) = parked.pushes.pop_front() {
                self.parked -= 1;
                self.parked_bytes -= push.envelopes.bytes();
                self.deliver(number, place, push);
            }
        }
        self.unparking.push(number);
    }

    fn is_read(&self, number: u32) -> bool {
        self.directory.user(number).is_some_and(|user| user.read_in == self.store_life)
    }

    /// The user's devices have come.
    pub(super) fn user_read(&mut self, number: u32, result: Result<UserRecord, StoreFailed>) {
        if let Some(user) = self.directory.user_mut(number) {
            user.awaited -= 1;
        }
        match result {
            Ok(record) => {
                self.set_devices(number, &record);
                self.unpark(number);
            }
            Err(StoreFailed) => self.refuse_parked(number, Unavailable::StoreFailed),
        }
    }

    fn refuse_parked(&mut self, number: u32, why: Unavailable) {
        let Some(user) = self.directory.user_mut(number) else { return };
        let pushes = user.parked.take().map(|parked| parked.pushes).unwrap_or_default();
        self.parked -= pushes.len();
        for (place, push) in pushes {
            self.parked_bytes -= push.envelopes.bytes();
            self.counters.pushes_failed_store.add(1);
            self.finish_push(place, Err(why.into()));
        }
        self.directory.rest(number);
    }

    /// Takes over what the store knows of the user's devices. One that is connected and not known to the store, which
    /// lost it with what it could not sync, is registered again.
    pub(super) fn set_devices(&mut self, number: u32, record: &UserRecord) {
        let life = self.store_life;
        let Some(user) = self.directory.user_mut(number) else { return };
        if user.read_in == life {
            // Later than this answer the shard has added devices itself.
            return record.devices.iter().for_each(|known| user.add(known.device.get()));
        }
        user.read_in = life;
        let before = std::mem::take(&mut user.devices);
        let slot = |device: u32| before.iter().find(|known| known.device == device).map(|known| known.slot);
        let mut devices: Vec<Known> = Vec::with_capacity(record.devices.len());
        for known in &record.devices {
            let device = known.device.get();
            devices.push(Known { device, slot: slot(device).unwrap_or(NONE) });
        }
        let lost: Vec<Known> = before
            .iter()
            .filter(|known| known.slot != NONE && !devices.iter().any(|other| other.device == known.device))
            .copied()
            .collect();
        devices.extend(&lost);
        user.devices = devices.into_boxed_slice();
        for known in lost {
            self.register_again(number, known.device);
        }
    }

    fn register_again(&mut self, number: u32, device: u32) {
        let Some(id) = self.directory.id(number).cloned() else { return };
        let Some(user) = self.directory.user_mut(number) else { return };
        user.awaited += 1;
        let tag = self.storage.await_answer(Awaiting::Reregister { user: number });
        let registration = Registration {
            user: id,
            device: DeviceId::try_from(device).ok(),
            devices_max: u32::MAX,
            now_ms: self.now.unix_ms,
        };
        self.storage.ask(Operation::Register(tag, registration));
    }

    /// Something that needed no further handling has ended for the user.
    pub(super) fn ended_for(&mut self, number: u32) {
        if let Some(user) = self.directory.user_mut(number) {
            user.awaited -= 1;
        }
        self.directory.rest(number);
    }

    /// The store has said whether the first parked push came before.
    pub(super) fn recalled(&mut self, number: u32, result: Result<Option<Remembered>, StoreFailed>) {
        let Some(user) = self.directory.user_mut(number) else { return };
        user.awaited -= 1;
        let Some(parked) = &mut user.parked else { return };
        let remembered = match result {
            Err(StoreFailed) => return self.refuse_parked(number, Unavailable::StoreFailed),
            Ok(None) => {
                parked.first_is_new = true;
                return self.unpark(number);
            }
            Ok(Some(remembered)) => remembered,
        };
        if let Some((place, push)) = parked.pushes.pop_front() {
            self.parked -= 1;
            self.parked_bytes -= push.envelopes.bytes();
            let same = push.dedup.as_ref().is_some_and(|dedup| dedup.digest == remembered.digest);
            let result = match same {
                true => Ok(self.as_before(&remembered, &push)),
                false => Err(PushError::DedupConflict),
            };
            self.counters.pushes_duplicate.add(u64::from(same));
            self.finish_push(place, result);
        }
        self.unpark(number);
    }

    /// What became of a push when it came first.
    fn as_before(&self, remembered: &Remembered, push: &Push) -> Pushed {
        let outcome = |&(device, stored): &(DeviceId, Stored)| {
            let outcome = match stored {
                Stored::Yes => Outcome::Stored,
                Stored::MailboxFull => Outcome::MailboxFull,
                Stored::StorageFull => Outcome::StorageFull,
            };
            (device, outcome)
        };
        let mut devices: Vec<(DeviceId, Outcome)> = remembered.outcomes.iter().map(outcome).collect();
        for device in push.envelopes.listed() {
            if !devices.iter().any(|&(known, _)| known == device) {
                devices.push((device, Outcome::UnknownDevice));
            }
        }
        Pushed { id: MessageId { epoch: self.settings.epoch, seq: remembered.seq }, devices, duplicate: true }
    }
}
