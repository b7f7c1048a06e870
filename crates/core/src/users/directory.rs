//! Who lives here: user → device → connection.
//!
//! A user stands here while it has a session or something is under way for it, and for a while after that, so that
//! messages for those who are away need not look up their devices each time. Its devices are those that the store has
//! registered, each with the slot of its session if it has one.

use std::collections::VecDeque;

use campanile_protocol::ids::{DeviceId, UserId};
use hashbrown::HashTable;

use super::devices::{Devices, KnownDevice};
use super::parked::Parked;
use crate::hashing::HashKey;
use crate::table::Table;

/// Users without a session that are remembered.
const AWAY_USERS_MAX: usize = 16_384;

/// A user, by a number that stays the same while it stands in the directory.
#[derive(Default)]
pub(crate) struct User {
    id: Option<UserId>,
    pub(super) devices: Devices,
    /// What waits for the store to say who the user's devices are, or whether a message came before.
    pub(super) parked: Option<Box<Parked>>,
    /// In which life of the store `devices` was read; 0 for never.
    pub(super) read_in: u32,
    /// Answers of the store that are still to come.
    pub(super) awaited: u32,
    /// The lowest bits of the number of the last message that a session of the user was not sent when it was assigned.
    pub(super) missed: u32,
    /// Those of the awaited answers that are to appends.
    pub(super) appends: u16,
    /// Whether the number stands in the queue of users who are away.
    queued: bool,
    /// Whether the user was needed since it was last looked at there.
    used: bool,
}

// Promised: a user with one device costs this, its id and one place in the table of numbers.
const _: () = assert!(size_of::<User>() <= 56);

impl User {
    /// Whether a device is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.devices.iter().any(|known| known.at.slot().is_some())
    }

    /// The session of a device.
    pub(super) fn session_of(&self, device: DeviceId) -> Option<&KnownDevice> {
        let known = self.devices.iter().find(|known| known.device == device)?;
        known.at.slot().is_some().then_some(known)
    }

    /// The devices that have a session, each with its slot.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&KnownDevice, u32)> {
        self.devices.iter().filter_map(|known| Some((known, known.at.slot()?)))
    }

    pub(super) fn known_mut(&mut self, device: u32) -> Option<&mut KnownDevice> {
        self.devices.iter_mut().find(|known| known.device.get() == device)
    }

    /// Adds a device that may be there already.
    pub(super) fn add(&mut self, device: DeviceId) {
        if self.known_mut(device.get()).is_none() {
            let mut devices = Vec::with_capacity(self.devices.len() + 1);
            devices.extend_from_slice(&self.devices);
            devices.push(KnownDevice::away(device));
            self.devices = devices.into();
        }
    }

    fn is_idle(&self) -> bool {
        self.parked.is_none() && self.awaited == 0 && !self.is_connected()
    }
}

/// The users of one shard.
pub(crate) struct Directory {
    key: HashKey,
    numbers: HashTable<u32>,
    users: Table<User>,
    free: Vec<u32>,
    next: u32,
    /// Users who may be forgotten, the one that was away for longest first; each at most once.
    away: VecDeque<u32>,
}

impl Directory {
    pub(super) fn new(key: HashKey) -> Directory {
        Directory {
            key,
            numbers: HashTable::new(),
            users: Table::new(),
            free: Vec::new(),
            next: 0,
            away: VecDeque::new(),
        }
    }

    /// The number of a user who stands here.
    pub(crate) fn find(&self, id: &UserId) -> Option<u32> {
        let users = &self.users;
        let is_id = |&number: &u32| users.get(number).is_some_and(|user| user.id.as_ref() == Some(id));
        self.numbers.find(self.key.of(id.as_str()), is_id).copied()
    }

    /// The number of a user, who is added without devices if need be.
    pub(super) fn find_or_add(&mut self, id: &UserId) -> u32 {
        if let Some(number) = self.find(id) {
            if let Some(user) = self.users.get_mut(number) {
                user.used = true;
            }
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let key = self.key;
        *self.users.entry(number) = User { id: Some(id.clone()), ..User::default() };
        let users = &self.users;
        self.numbers.insert_unique(key.of(id.as_str()), number, |&other| {
            let id = users.get(other).and_then(|user| user.id.as_ref());
            key.of(id.map_or("", UserId::as_str))
        });
        number
    }

    pub(crate) fn user(&self, number: u32) -> Option<&User> {
        self.users.get(number)
    }

    /// All users who stand here, each with its number.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &User)> {
        self.users.iter().filter(|(_, user)| user.id.is_some())
    }

    pub(super) fn user_mut(&mut self, number: u32) -> Option<&mut User> {
        self.users.get_mut(number)
    }

    /// The user's id.
    pub(crate) fn id(&self, number: u32) -> Option<&UserId> {
        self.users.get(number)?.id.as_ref()
    }

    /// The user may be forgotten later if nothing is under way for it: call it when something has ended.
    pub(super) fn rest(&mut self, number: u32) {
        let Some(user) = self.users.get_mut(number) else { return };
        if user.id.is_none() || user.queued || !user.is_idle() {
            return;
        }
        user.queued = true;
        user.used = false;
        self.away.push_back(number);
        // Whoever came last stays, also when all others are given another chance.
        while self.away.len() > AWAY_USERS_MAX && self.away.front() != Some(&number) {
            self.forget_one();
        }
    }

    /// Forgets the user who was away for longest, or gives another chance to one who was needed meanwhile.
    fn forget_one(&mut self) {
        let Some(number) = self.away.pop_front() else { return };
        let Some(user) = self.users.get_mut(number) else { return };
        user.queued = false;
        if !user.is_idle() {
            return;
        }
        if std::mem::take(&mut user.used) {
            user.queued = true;
            self.away.push_back(number);
            return;
        }
        let Some(id) = std::mem::take(user).id else { return };
        if let Ok(entry) = self.numbers.find_entry(self.key.of(id.as_str()), |&other| other == number) {
            entry.remove();
            self.free.push(number);
        }
    }
}
