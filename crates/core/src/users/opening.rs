//! Sessions open at the home of their user: what the store knows of the device decides.

use campanile_engine::Conn;
use campanile_mailbox::Address;
use campanile_mailbox::operations::{Open, Opened as StoreOpened, RegisterError, StoreFailed};
use campanile_protocol::ids::{DeviceId, UserId};

use super::devices::At;
use super::directory::Directory;
use super::presence::Presence;
use super::registry::DeviceHandler;
use crate::seam::{EndedBy, OpenRefused, Opened, SessionRef, Sessions};
use crate::store::{Opening, Store};
use crate::turn::Turn;

/// The homes, as far as sessions open at them.
pub(crate) struct OpeningHandler<'a> {
    pub(super) directory: &'a mut Directory,
    pub(super) presence: &'a mut Presence,
    pub(super) store: &'a mut Store,
}

impl OpeningHandler<'_> {
    fn devices(&mut self) -> DeviceHandler<'_> {
        DeviceHandler { directory: self.directory, store: self.store }
    }

    /// Asks the store about the device, which has confirmed everything up to `acknowledged` before.
    pub(crate) fn open(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        user: &UserId,
        device: DeviceId,
        acknowledged: u64,
    ) {
        let number = self.directory.find_or_add(user);
        if let Some(user) = self.directory.user_mut(number) {
            user.awaited += 1;
        }
        // What the device's last session has confirmed is not delivered again.
        self.devices().flush_watermarks();
        let open = Open {
            address: Address { user: user.clone(), device },
            acknowledged,
            register: turn.settings.auto_register,
            devices_max: turn.settings.limits.devices_per_user_max,
            now_ms: turn.now.unix_ms,
        };
        self.store.open(Opening { conn, user: number, device }, open);
    }

    /// The store has answered: the session opens, or is refused.
    pub(crate) fn opened(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        opening: Opening,
        result: Result<StoreOpened, StoreFailed>,
        is_draining: bool,
    ) {
        if let Ok(known) = &result {
            self.devices().set_devices(turn, opening.user, &known.user);
        }
        // Meanwhile the client may have gone, or its time may be over.
        if sessions.is_opening(opening.conn) {
            let opened = if is_draining {
                Err(OpenRefused::Draining)
            } else {
                self.admit(turn, sessions, opening, result)
            };
            sessions.opened(turn, opening.conn, opened);
        }
        // Only now: until here the user must not be forgotten, whoever else rests meanwhile.
        self.devices().ended_for(opening.user);
    }

    /// Gives the device its newest session, if it may have one. From here on the home sends the older one nothing.
    fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        opening: Opening,
        result: Result<StoreOpened, StoreFailed>,
    ) -> Result<Opened, OpenRefused> {
        let Opening { conn, user: number, device } = opening;
        let known = result.map_err(|StoreFailed| OpenRefused::StoreFailed)?;
        known.admitted.map_err(|error| match error {
            RegisterError::Unknown => OpenRefused::DeviceUnknown,
            RegisterError::TooMany | RegisterError::Exists => OpenRefused::DeviceLimit,
        })?;
        // Before the older session ends, so that there is a newer one when it does.
        let generation = self.store.number().ok_or(OpenRefused::Overloaded)?;
        let user = self.directory.user_mut(number).ok_or(OpenRefused::Overloaded)?;
        // What is being appended may have come after the count.
        let may_wait = known.count.messages > 0 || user.appends > 0;
        let came = !user.is_connected();
        let is_alone = user.sessions().all(|(known, _)| known.device == device);
        user.add(device);
        let older = user.known_mut(device.get()).and_then(|known| {
            let older = known.at.slot().map(|slot| SessionRef { slot, generation: known.generation });
            known.at = At::session(conn.slot, !may_wait);
            known.generation = generation;
            older
        });
        turn.counters.users.add(u64::from(came));
        // Also for a user whose only session is replaced: what it said is over with that session.
        if is_alone && let Some(id) = self.directory.id(number).cloned() {
            self.presence.came(turn, &id);
        }
        if let Some(older) = older {
            sessions.end(turn, older, EndedBy::Newer);
        }
        Ok(Opened {
            user: number,
            generation,
            waiting: known.count.messages,
            acknowledged: known.count.acknowledged,
            last_number: self.store.last_number(),
            may_wait,
        })
    }
}
