//! The homes at work: what sessions say to them, and the watermarks that they pass on.

use campanile_engine::Conn;
use campanile_mailbox::Address;
use campanile_mailbox::operations::StoreFailed;
use campanile_protocol::ids::DeviceId;

use super::devices::At;
use super::ephemeral::EphemeralHandler;
use super::opening::OpeningHandler;
use super::parking::ParkingHandler;
use super::pushing::AppendHandler;
use super::registry::DeviceHandler;
use super::state::Users;
use super::who::Who;
use crate::control::jobs::Jobs;
use crate::seam::{Home, ReadOn, Sessions};
use crate::store::{Reader, Store};
use crate::turn::Turn;

/// Bytes that a shard asks the store for at a time, so that those who come back together do not hold up everything
/// else.
const READS_BYTES_WAITING_MAX: usize = 8 * 1024 * 1024;

/// The homes of the users of one shard, and what they may touch.
pub(crate) struct HomeHandler<'a> {
    pub(crate) users: &'a mut Users,
    pub(crate) store: &'a mut Store,
    pub(crate) jobs: &'a mut Jobs,
}

impl Home for HomeHandler<'_> {
    fn was_handed_out(&self, number: u64) -> bool {
        number <= self.store.last_number()
    }

    fn acknowledge(&mut self, turn: &mut Turn<'_>, who: &Who, up_to: u64, soon: bool) {
        let Some(user) = self.users.directory.user_mut(who.user()) else { return };
        let is_newest =
            user.known_mut(who.device()).is_some_and(|known| known.generation == who.generation());
        if is_newest {
            // While an append is under way, the news may spare its write.
            let soon = soon || user.appends > 0;
            self.store.trim(who.user(), who.device(), up_to, soon, turn.now.time);
        }
    }

    fn may_read(&self) -> bool {
        self.store.read_bytes_waiting() < READS_BYTES_WAITING_MAX
    }

    fn read(&mut self, _: &mut Turn<'_>, conn: Conn, who: &Who, read_on: ReadOn) {
        let Some(id) = self.users.directory.id(who.user()).cloned() else { return };
        let Some(user) = self.users.directory.user_mut(who.user()) else { return };
        let missed = user.missed;
        let (Some(known), Ok(device)) = (user.known_mut(who.device()), DeviceId::try_from(who.device()))
        else {
            return;
        };
        if known.generation != who.generation() {
            return;
        }
        known.at = At::session(conn.slot, false);
        let reader = Reader { conn, who: *who, missed };
        self.store.read(reader, Address { user: id, device }, read_on);
    }

    fn ended(&mut self, turn: &mut Turn<'_>, who: &Who) {
        if self.store.has_trim(who.user(), who.device()) {
            self.devices().flush_watermarks();
        }
        let Some(user) = self.users.directory.user_mut(who.user()) else { return };
        let known = user.known_mut(who.device());
        let Some(known) = known.filter(|known| known.generation == who.generation() && known.at != At::AWAY)
        else {
            return;
        };
        known.at = At::AWAY;
        let went = !user.is_connected();
        let Some(id) = self.users.directory.id(who.user()).cloned() else { return };
        if went {
            turn.counters.users.subtract(1);
            self.users.presence.went(turn, &id);
        }
        if let Ok(device) = DeviceId::try_from(who.device()) {
            self.store.seen(Address { user: id, device }, turn.now.unix_ms);
        }
        self.users.directory.rest(who.user());
    }
}

impl HomeHandler<'_> {
    /// The devices of the users.
    pub(crate) fn devices(&mut self) -> DeviceHandler<'_> {
        DeviceHandler { directory: &mut self.users.directory, store: self.store }
    }

    /// Sessions that open.
    pub(crate) fn openings(&mut self) -> OpeningHandler<'_> {
        let Users { directory, presence, .. } = &mut *self.users;
        OpeningHandler { directory, presence, store: self.store }
    }

    /// Durable pushes that come, and wait.
    pub(crate) fn parking(&mut self) -> ParkingHandler<'_> {
        ParkingHandler::new(self.users, self.store, self.jobs)
    }

    /// Durable pushes that are given to the store.
    pub(crate) fn appends(&mut self) -> AppendHandler<'_> {
        AppendHandler { directory: &mut self.users.directory, store: self.store, jobs: self.jobs }
    }

    /// Pushes that are never stored.
    pub(crate) fn ephemeral(&mut self) -> EphemeralHandler<'_> {
        EphemeralHandler::new(self.users, self.store, self.jobs)
    }

    /// The store has read a page for a session. It makes the session live if it reaches the end of what there is: what
    /// a session was not sent since it was asked for need not be in it.
    pub(crate) fn page_read(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        reader: Reader,
        result: Result<campanile_mailbox::Page, StoreFailed>,
    ) {
        let Reader { conn, who, missed } = reader;
        let Some(user) = self.users.directory.user_mut(who.user()) else { return };
        let unchanged = user.missed == missed;
        let Some(known) = user.known_mut(who.device()) else { return };
        if known.generation != who.generation() || known.at == At::AWAY {
            return;
        }
        let (page, live) = match result {
            Ok(page) => {
                let live = unchanged && !page.more;
                known.at = At::session(conn.slot, live);
                (Some(page.messages), live)
            }
            Err(StoreFailed) => (None, false),
        };
        sessions.page(turn, conn, &who, page, live);
    }
}
