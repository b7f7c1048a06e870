//! Pushes that wait for the store. A push is executed when the user's devices are known and it is certain that its
//! deduplication id is new. Until then it is parked, and every later push of the user behind it, so that they keep
//! their order.

use campanile_mailbox::operations::StoreFailed;
use campanile_mailbox::{DedupScope, Remembered, Stored, UserRecord};
use campanile_protocol::ids::{DeviceId, MessageId};

use super::directory::Directory;
use super::parked::Parking;
use super::pushing::AppendHandler;
use super::recent::RecentIds;
use super::registry::DeviceHandler;
use super::state::Users;
use crate::control::jobs::{Jobs, Place};
use crate::requests::{Outcome, Push, PushError, Pushed, Unavailable};
use crate::seam::Sessions;
use crate::store::Store;
use crate::turn::Turn;

/// Pushes that may be parked, of all users of a shard.
const PARKED_MAX: usize = 16_384;
/// The bytes of their payloads.
const PARKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Parked pushes of one user that are executed in one go.
const UNPARKED_PER_GO: usize = 256;

/// The homes, as far as durable pushes come to them and wait there.
pub(crate) struct ParkingHandler<'a> {
    directory: &'a mut Directory,
    parking: &'a mut Parking,
    recent: &'a mut RecentIds,
    store: &'a mut Store,
    jobs: &'a mut Jobs,
}

impl<'a> ParkingHandler<'a> {
    pub(super) fn new(users: &'a mut Users, store: &'a mut Store, jobs: &'a mut Jobs) -> Self {
        let Users { directory, parking, recent, .. } = users;
        ParkingHandler { directory, parking, recent, store, jobs }
    }

    fn devices(&mut self) -> DeviceHandler<'_> {
        DeviceHandler { directory: self.directory, store: self.store }
    }

    fn appends(&mut self) -> AppendHandler<'_> {
        AppendHandler { directory: self.directory, store: self.store, jobs: self.jobs }
    }

    /// Executes a durable push, or parks it.
    pub(crate) fn push_durable(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        place: Place,
        push: Push,
    ) {
        let bytes = push.envelopes.bytes();
        let parking = &mut self.parking;
        if parking.pushes >= PARKED_MAX || parking.bytes + bytes > PARKED_BYTES_MAX {
            return self.jobs.finish(place, Err(Unavailable::Overloaded.into()));
        }
        let number = self.directory.find_or_add(&push.user);
        let Some(user) = self.directory.user_mut(number) else { return };
        let waits = user.parked.is_some();
        self.parking.add(bytes);
        user.parked.get_or_insert_default().pushes.push_back((place, push));
        if !waits {
            self.unpark(turn, sessions, number);
        }
    }

    /// Executes the parked pushes of users for whom there were too many in one go.
    pub(crate) fn unpark_on(&mut self, turn: &mut Turn<'_>, sessions: &mut impl Sessions) {
        for number in std::mem::take(&mut self.parking.unparking) {
            self.unpark(turn, sessions, number);
        }
    }

    /// Executes the user's parked pushes until one has to wait, or they are many.
    fn unpark(&mut self, turn: &mut Turn<'_>, sessions: &mut impl Sessions, number: u32) {
        let life = self.store.life();
        for _ in 0..UNPARKED_PER_GO {
            let Some(user) = self.directory.user_mut(number) else { return };
            let is_read = user.read_in == life;
            let Some(parked) = &mut user.parked else { return };
            let Some((_, push)) = parked.pushes.front() else {
                user.parked = None;
                return self.directory.rest(number);
            };
            if !is_read {
                user.awaited += 1;
                return self.store.read_user(number, push.user.clone());
            }
            let is_new = std::mem::take(&mut parked.first_is_new)
                || push.dedup.as_ref().is_none_or(|dedup| {
                    let fingerprint = self.recent.fingerprint(&push.user, &dedup.key);
                    let lasts = matches!(dedup.key.scope, DedupScope::Publisher(_));
                    lasts && self.recent.is_new(fingerprint, turn.now.unix_ms)
                });
            if !is_new && let Some(dedup) = &push.dedup {
                user.awaited += 1;
                return self.store.recall(number, push.user.clone(), dedup.key.clone());
            }
            if let Some((place, push)) = parked.pushes.pop_front() {
                self.parking.remove(push.envelopes.bytes());
                self.appends().assign(turn, sessions, number, place, push);
            }
        }
        self.parking.unparking.push(number);
    }

    /// The user's devices have come.
    pub(crate) fn user_read(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        number: u32,
        result: Result<UserRecord, StoreFailed>,
    ) {
        if let Some(user) = self.directory.user_mut(number) {
            user.awaited -= 1;
        }
        match result {
            Ok(record) => {
                self.devices().set_devices(turn, number, &record);
                self.unpark(turn, sessions, number);
            }
            Err(StoreFailed) => self.refuse_parked(turn, number, Unavailable::StoreFailed),
        }
    }

    fn refuse_parked(&mut self, turn: &mut Turn<'_>, number: u32, why: Unavailable) {
        let Some(user) = self.directory.user_mut(number) else { return };
        let pushes = user.parked.take().map(|parked| parked.pushes).unwrap_or_default();
        for (place, push) in pushes {
            self.parking.remove(push.envelopes.bytes());
            turn.counters.pushes_failed_store.add(1);
            self.jobs.finish(place, Err(why.into()));
        }
        self.directory.rest(number);
    }

    /// The store has said whether the first parked push came before.
    pub(crate) fn recalled(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        number: u32,
        result: Result<Option<Remembered>, StoreFailed>,
    ) {
        let Some(user) = self.directory.user_mut(number) else { return };
        user.awaited -= 1;
        let Some(parked) = &mut user.parked else { return };
        let remembered = match result {
            Err(StoreFailed) => return self.refuse_parked(turn, number, Unavailable::StoreFailed),
            Ok(None) => {
                parked.first_is_new = true;
                return self.unpark(turn, sessions, number);
            }
            Ok(Some(remembered)) => remembered,
        };
        if let Some((place, push)) = parked.pushes.pop_front() {
            self.parking.remove(push.envelopes.bytes());
            let is_same = push.dedup.as_ref().is_some_and(|dedup| dedup.digest == remembered.digest);
            let result = if is_same {
                Ok(as_before(turn.settings.epoch, &remembered, &push))
            } else {
                Err(PushError::DedupConflict)
            };
            turn.counters.pushes_duplicate.add(u64::from(is_same));
            self.jobs.finish(place, result);
        }
        self.unpark(turn, sessions, number);
    }
}

/// What became of a push when it came first.
fn as_before(epoch: u64, remembered: &Remembered, push: &Push) -> Pushed {
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
    Pushed { id: MessageId { epoch, seq: remembered.seq }, devices, duplicate: true }
}
