//! One entry of the shard's table: what each part keeps of one connection. A table for each part would cost a cache
//! miss for every send, and the promised sizes.
//!
//! The state of a part is an opaque type whose fields only that part sees.

use campanile_engine::Conn;

use crate::channels::membership::Membership;
use crate::delivery::window::SessionWindow;
use crate::entry::client::{Client, Handshake};
use crate::net::wire::{Closing, Wire};
use crate::users::who::Who;

/// A slot of the shard's table.
#[derive(Default)]
pub(crate) struct Connection {
    /// The driver's generation of the slot.
    pub(crate) generation: u32,
    /// It came when the shard was draining already: nobody waits for its end.
    pub(crate) is_late: bool,
    pub(crate) state: State,
}

// Promised: see `results/`. The rest of a session's memory is its timer, its user's entry, the driver's slot.
const _: () = assert!(size_of::<Connection>() <= 80);

/// The life of a connection, from its accept to its last byte.
#[derive(Default)]
pub(crate) enum State {
    /// The slot has no tenant.
    #[default]
    Free,
    /// Accepted, and not authenticated yet.
    Handshaking(Box<Handshake>),
    /// Authenticated, and on its way to its home shard or from its handshake to its opening.
    HandingOff,
    /// On its home shard, which is asked about the device.
    Opening(Box<Client>),
    /// Authenticated as one device.
    Session(Session),
    /// Our last bytes are under way.
    Closing(Box<Closing>),
}

/// A connection that has authenticated as one device.
pub(crate) struct Session {
    /// The socket: what it did not take, what it may send, whether it is alive.
    pub(crate) wire: Wire,
    /// What was delivered and is not confirmed, and where the replay stands.
    pub(crate) window: SessionWindow,
    /// Its subscriptions to channels.
    pub(crate) membership: Membership,
    /// Which device of which user, as its home has named it.
    pub(crate) who: Who,
}

impl Connection {
    /// The connection's name for the driver.
    pub(crate) fn conn(&self, slot: u32) -> Conn {
        Conn { slot, generation: self.generation }
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Session(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Session(session) => Some(session),
            _ => None,
        }
    }
}
