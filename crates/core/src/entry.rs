//! From the accept to the session: PROXY header, upgrade, hello, hand-off to the home shard, greeting.
//!
//! What always holds:
//! - Nothing stays armed on a socket until its session begins: input is asked for once at a time, so that the
//!   connection can be handed off.
//! - The whole has one deadline, whatever arrives in between.
//! - The home shard answers an upgrade whose request has a token, so that a refusal can still be HTTP; the answer and
//!   the welcome are one send.
//!
//! The states of a connection follow each other: [`Handshake`] (its [`Phase`](client::Phase) says what it waits for),
//! [`Client`] on its way to the home shard and while the home is asked, then the session, which is not this room's.

mod addresses;
mod admission;
mod check;
pub(crate) mod client;
mod handoff;
mod handshake;
mod hello;
mod opening;
mod probe;
pub(crate) mod refusal;

use std::sync::atomic::Ordering;

use self::addresses::Addresses;
use self::client::{Client, Handshake};
use crate::compression::Inflating;
use crate::hashing::HashKey;
use crate::net::Net;
use crate::turn::Turn;

/// Who may come in, and who is about to.
pub(crate) struct Entry {
    /// Connections of the shard beyond which new ones are answered 503.
    connections_max: u32,
    is_draining: bool,
    addresses: Addresses,
    /// Decompresses hellos.
    inflating: Inflating,
}

/// What works on connections that have no session yet.
pub(crate) struct EntryHandler<'a> {
    pub(crate) entry: &'a mut Entry,
    pub(crate) net: &'a mut Net,
}

/// What a handshake's input has led to.
pub(crate) enum Entered<'d> {
    /// Nothing that the shard has to see to.
    Nothing,
    /// The client has authenticated: its session is to be opened at its home, to which it is handed if need be.
    Client(Box<Client>),
    /// A session of an echo has begun, and this input is for it; it may be empty.
    Echo(&'d mut [u8]),
}

impl Entry {
    /// Nobody has come yet. Addresses are hashed by `key`. With more than `connections_max` connections the shard is
    /// full.
    pub(crate) fn new(key: HashKey, connections_max: u32) -> Entry {
        Entry {
            connections_max,
            is_draining: false,
            addresses: Addresses::new(key),
            inflating: Inflating::default(),
        }
    }

    /// From now on nobody gets a session any more. False if it was so already. The shard goes on accepting: whoever
    /// still comes is told to go elsewhere, instead of waiting in the listener's backlog until the process ends.
    pub(crate) fn drain(&mut self) -> bool {
        !std::mem::replace(&mut self.is_draining, true)
    }

    /// Whether nobody gets a session any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Takes a handshake that is over out of the counts.
    pub(crate) fn left(&mut self, turn: &Turn<'_>, handshake: &Handshake) {
        turn.counters.handshakes.subtract(1);
        if handshake.counted {
            self.addresses.leave(handshake.address);
        }
    }

    /// Whether there are more connections than allowed, the one that asks included.
    fn is_full(&self, turn: &Turn<'_>) -> bool {
        turn.counters.connections.get() > u64::from(self.connections_max)
            || turn.settings.connections.load(Ordering::Relaxed) > turn.settings.limits.max_connections
    }
}
