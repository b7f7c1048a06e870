//! From the authenticated client to its home shard, to which the connection is handed if need be.

use campanile_engine::{Command, Commands, Conn};
use campanile_protocol::frame::close_code;

use super::Shard;
use super::connection::{Parcel, State};
use super::directory::NONE;
use super::handshake::Client;

impl Shard {
    /// The client is known: its session opens on its home shard.
    pub(super) fn authenticated(
        &mut self,
        conn: Conn,
        client: Client,
        unread: &[u8],
        commands: &mut Commands<Parcel>,
    ) {
        let Some(connection) = self.connections.get_mut(conn.slot) else { return };
        let State::Handshake(handshake) = std::mem::replace(&mut connection.state, State::HandingOff) else {
            return;
        };
        self.leave_handshake(&handshake);
        // A send that waits would leave from a connection that is gone.
        debug_assert!(handshake.outbox == NONE, "authenticated in a turn that sends already");
        let home = self.home.of(&client.identity.user);
        let parcel = Parcel {
            user: client.identity.user,
            device: client.identity.device,
            expires_at: client.identity.expires_at,
            grants: client.identity.grants,
            encoding: client.encoding,
            acknowledges: client.acknowledges,
            deflate: client.deflate,
            last: client.last,
            last_epoch: client.last_epoch,
            upgrade: client.upgrade,
            unread: unread.to_vec(),
            owed: client.owed,
            deadline: handshake.deadline,
        };
        if self.draining.is_some() {
            // The upgrade was answered before: the pass that closes sessions may be over.
            self.counters.upgrades_refused_draining.add(1);
            return self.refuse_parcel(conn.slot, &parcel, 503, "draining", "the node is stopping");
        }
        if home == self.index {
            return self.open_session(conn, parcel);
        }
        self.counters.hand_offs.add(1);
        self.counters.connections.subtract(1);
        self.wheel.clear(conn.slot);
        commands.push(Command::HandOff { conn, to: home, parcel: Box::new(parcel) });
    }

    /// Another shard hands a connection over.
    pub(super) fn handed_in(&mut self, conn: Conn, parcel: Parcel) {
        self.counters.connections.add(1);
        let connection = self.connections.entry(conn.slot);
        connection.generation = conn.generation;
        connection.late = false;
        connection.state = State::HandingOff;
        if self.draining.is_some() {
            self.counters.upgrades_refused_draining.add(1);
            return self.refuse_parcel(conn.slot, &parcel, 503, "draining", "the node is stopping");
        }
        if parcel.deadline < self.now.time {
            self.counters.handshakes_timed_out.add(1);
            return self.refuse_parcel(
                conn.slot,
                &parcel,
                408,
                "handshake_timeout",
                "too slow to authenticate",
            );
        }
        self.open_session(conn, parcel);
    }

    /// The home shard could not take the connection.
    pub(super) fn hand_off_failed(&mut self, conn: Conn, parcel: &Parcel) {
        self.counters.connections.add(1);
        self.counters.hand_offs_failed.add(1);
        self.counters.upgrades_refused_full.add(1);
        self.refuse_parcel(conn.slot, parcel, 503, "full", "the node has as many connections as it takes");
    }

    /// Refuses a client that has authenticated: over HTTP if its upgrade was not answered yet.
    pub(super) fn refuse_parcel(
        &mut self,
        slot: u32,
        parcel: &Parcel,
        status: u16,
        code: &str,
        message: &str,
    ) {
        if parcel.upgrade.is_some() {
            return self.refuse(slot, status, code, message);
        }
        let close = match status {
            403 => close_code::FORBIDDEN,
            408 => close_code::HELLO_TIMEOUT,
            _ => close_code::DRAINING,
        };
        self.close(slot, close, message);
    }
}
