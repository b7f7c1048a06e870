//! Which devices a user has, as the store knows them.

use campanile_mailbox::UserRecord;
use campanile_mailbox::operations::{RegisterError, Registration, StoreFailed};
use campanile_protocol::ids::{DeviceId, UserId};

use super::devices::KnownDevice;
use super::directory::Directory;
use crate::seam::{EndedBy, SessionRef, Sessions};
use crate::store::Store;
use crate::turn::Turn;

/// The devices of the users of one shard, and the store that knows them.
pub(crate) struct DeviceHandler<'a> {
    pub(super) directory: &'a mut Directory,
    pub(super) store: &'a mut Store,
}

impl DeviceHandler<'_> {
    /// Passes all acknowledgements on to the store, before something that must see them.
    pub(crate) fn flush_watermarks(&mut self) {
        let directory = &*self.directory;
        self.store.flush_trims(|user| directory.id(user));
    }

    /// Takes over what the store knows of the user's devices. One that is connected and not known to the store, which
    /// lost it with what it could not sync, is registered again.
    pub(super) fn set_devices(&mut self, turn: &mut Turn<'_>, number: u32, record: &UserRecord) {
        let life = self.store.life();
        let Some(user) = self.directory.user_mut(number) else { return };
        if user.read_in == life {
            // Later than this answer the shard has added devices itself.
            return record.devices.iter().for_each(|known| user.add(known.device));
        }
        user.read_in = life;
        let before = std::mem::take(&mut user.devices);
        let mut devices: Vec<KnownDevice> = Vec::with_capacity(record.devices.len());
        for known in &record.devices {
            let device = known.device;
            let known = before.iter().find(|known| known.device == device).copied();
            devices.push(known.unwrap_or(KnownDevice::away(device)));
        }
        let is_lost = |known: &&KnownDevice| {
            known.at.slot().is_some() && !devices.iter().any(|other| other.device == known.device)
        };
        let lost: Vec<KnownDevice> = before.iter().filter(is_lost).copied().collect();
        devices.extend(&lost);
        user.devices = devices.into();
        for known in lost {
            self.register_again(turn, number, known.device);
        }
    }

    fn register_again(&mut self, turn: &mut Turn<'_>, number: u32, device: DeviceId) {
        let Some(id) = self.directory.id(number).cloned() else { return };
        let Some(user) = self.directory.user_mut(number) else { return };
        user.awaited += 1;
        let registration =
            Registration { user: id, device: Some(device), devices_max: u32::MAX, now_ms: turn.now.unix_ms };
        self.store.register_again(number, registration);
    }

    /// Something that needed no further handling has ended for the user.
    pub(crate) fn ended_for(&mut self, number: u32) {
        if let Some(user) = self.directory.user_mut(number) {
            user.awaited -= 1;
        }
        self.directory.rest(number);
    }

    /// The control plane has registered a device, or not.
    pub(crate) fn registered(
        &mut self,
        user: &UserId,
        result: &Result<Result<DeviceId, RegisterError>, StoreFailed>,
    ) {
        if let (Ok(Ok(device)), Some(number)) = (result, self.directory.find(user))
            && let Some(user) = self.directory.user_mut(number)
        {
            user.add(*device);
        }
    }

    /// The session of a device, if it has one.
    pub(crate) fn session_of(&self, user: &UserId, device: DeviceId) -> Option<SessionRef> {
        let user = self.directory.user(self.directory.find(user)?)?;
        let known = user.session_of(device)?;
        Some(SessionRef { slot: known.at.slot()?, generation: known.generation })
    }

    /// Closes the sessions of a user, or of one device. How many.
    pub(crate) fn disconnect(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        user: &UserId,
        device: Option<DeviceId>,
    ) -> u32 {
        let number = self.directory.find(user);
        let Some(user) = number.and_then(|number| self.directory.user(number)) else { return 0 };
        let mut count = 0;
        for (known, slot) in user.sessions() {
            if device.is_none_or(|device| device == known.device) {
                sessions.end(turn, SessionRef { slot, generation: known.generation }, EndedBy::Operator);
                count += 1;
            }
        }
        count
    }
}
