//! Checkers of `net`.

use campanile_engine::Conn;

use super::Net;
use super::wire::NONE;
use crate::counters::ShardCounters;
use crate::entry::client::Handshake;
use crate::invariants::{Broken, holds};
use crate::session::{Connection, Session, State};

/// Who is in the table, each with its slot: looked up once for all checkers of a step.
pub(crate) struct Tenants<'a> {
    connections: Vec<(u32, &'a Connection)>,
    /// Those of the connections that are sessions.
    pub(crate) sessions: Vec<(u32, &'a Session)>,
    /// Those of the connections that are handshakes.
    pub(crate) handshakes: Vec<&'a Handshake>,
}

impl Net {
    /// Everybody who is in the table.
    pub(crate) fn tenants(&self) -> Tenants<'_> {
        let (mut connections, mut sessions, mut handshakes) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, connection) in self.table.iter() {
            match &connection.state {
                State::Free => continue,
                State::Session(session) => sessions.push((slot, session)),
                State::Handshaking(handshake) => handshakes.push(&**handshake),
                State::HandingOff | State::Opening(_) | State::Closing(_) => {}
            }
            connections.push((slot, connection));
        }
        Tenants { connections, sessions, handshakes }
    }

    /// What the connection's socket did not take and is still to be sent; `None` if it has taken all.
    pub(crate) fn unsent_of(&self, conn: Conn) -> Option<&[u8]> {
        match self.state_of(conn)? {
            State::Session(session) => session.wire.unsent.as_ref().map(|unsent| &*unsent.bytes),
            State::Closing(closing) => closing.unsent.as_deref(),
            _ => None,
        }
    }

    /// What the connection is to be sent with this turn, so far.
    pub(crate) fn outgoing_of(&self, conn: Conn) -> &[u8] {
        let place = match self.state_of(conn) {
            Some(State::Session(session)) => session.wire.outbox,
            Some(State::Closing(closing)) => closing.outbox,
            Some(State::Handshaking(handshake)) => handshake.outbox,
            _ => NONE,
        };
        if place == NONE { &[] } else { self.outbox.bytes_of(place) }
    }

    /// Held bytes add up: what the shard counts as held is what its sessions hold.
    pub(crate) fn check_held_bytes(
        &self,
        tenants: &Tenants<'_>,
        counters: &ShardCounters,
    ) -> Result<(), Broken> {
        const CHECKER: &str = "held bytes add up";
        let held: usize = tenants.sessions.iter().map(|(_, session)| session.wire.held_bytes()).sum();
        holds(CHECKER, held == self.held.bytes(), || {
            format!("sessions hold {held} bytes, the shard counts {}", self.held.bytes())
        })?;
        let told = counters.bytes_held.get();
        holds(CHECKER, told == held as u64, || format!("sessions hold {held} bytes, the gauge says {told}"))
    }

    /// No slot is in two states: what stands in a list of slots is what the list is for, what is to be sent is the
    /// connection's own, the gauges count what there is, and nothing is left to settle.
    pub(crate) fn check_slots(&self, tenants: &Tenants<'_>, counters: &ShardCounters) -> Result<(), Broken> {
        const CHECKER: &str = "no slot in two states";
        holds(CHECKER, self.ended.is_empty() && self.retimed.is_empty(), || {
            "an ended connection was not settled".to_owned()
        })?;
        for (at, &slot) in self.closing.iter().enumerate() {
            holds(CHECKER, !self.closing[..at].contains(&slot), || format!("slot {slot} is closed twice"))?;
            // One that has ended at once since then is free, or has a new tenant.
            let is_open = matches!(self.state(slot), Some(State::Session(_) | State::Opening(_)));
            holds(CHECKER, !is_open, || format!("slot {slot} is open and about to be closed"))?;
        }
        let (mut connections, mut latecomers) = (0, 0);
        for &(slot, connection) in &tenants.connections {
            let place = match &connection.state {
                State::Session(session) => session.wire.outbox,
                State::Handshaking(handshake) => handshake.outbox,
                State::Closing(closing) => closing.outbox,
                State::Free | State::HandingOff | State::Opening(_) => NONE,
            };
            connections += u64::from(!matches!(connection.state, State::HandingOff));
            latecomers += u32::from(connection.is_late);
            holds(CHECKER, place == NONE || self.outbox.slot_of(place) == Some(slot), || {
                format!("what slot {slot} is to be sent is another's")
            })?;
        }
        let counted = (counters.connections.get(), counters.sessions.get(), counters.handshakes.get());
        let there = (connections, tenants.sessions.len() as u64, tenants.handshakes.len() as u64);
        holds(CHECKER, counted == there, || {
            format!("connections, sessions, handshakes are {there:?}, the gauges say {counted:?}")
        })?;
        holds(CHECKER, self.latecomers == latecomers, || {
            format!("{latecomers} connections came late, counted are {}", self.latecomers)
        })
    }
}
