//! From the authenticated client to its session: on its home shard, to which the connection is handed if need be.
//!
//! The home shard answers the upgrade, so that a refusal can still be HTTP; the 101 and the welcome are one send.

use campanile_engine::{Command, Commands, Conn};
use campanile_protocol::frame::{Decoder, close_code};
use campanile_protocol::messages::{Device, Encoding, ServerFrame, Welcome};

use super::Shard;
use super::connection::{Parcel, Session, State, Upgrade};
use super::directory::NONE;
use super::handshake::{Client, switching_protocols};

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
            encoding: client.encoding,
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
            return self.open_session(conn, parcel, commands);
        }
        self.counters.hand_offs.add(1);
        self.counters.connections.subtract(1);
        self.wheel.clear(conn.slot);
        commands.push(Command::HandOff { conn, to: home, parcel: Box::new(parcel) });
    }

    /// Another shard hands a connection over.
    pub(super) fn handed_in(&mut self, conn: Conn, parcel: Parcel, commands: &mut Commands<Parcel>) {
        self.counters.connections.add(1);
        let connection = self.connections.entry(conn.slot);
        connection.generation = conn.generation;
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
        self.open_session(conn, parcel, commands);
    }

    /// The home shard could not take the connection.
    pub(super) fn hand_off_failed(&mut self, conn: Conn, parcel: &Parcel) {
        self.counters.connections.add(1);
        self.counters.hand_offs_failed.add(1);
        self.counters.upgrades_refused_full.add(1);
        self.refuse_parcel(conn.slot, parcel, 503, "full", "the node has as many connections as it takes");
    }

    /// Refuses a client that has authenticated: over HTTP if its upgrade was not answered yet.
    fn refuse_parcel(&mut self, slot: u32, parcel: &Parcel, status: u16, code: &str, message: &str) {
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

    fn open_session(&mut self, conn: Conn, mut parcel: Parcel, commands: &mut Commands<Parcel>) {
        let slot = conn.slot;
        let Some(user) = self.admit(&parcel.user, parcel.device) else {
            self.counters.devices_refused.add(1);
            return self.refuse_parcel(
                slot,
                &parcel,
                403,
                "device_limit",
                "the user has too many devices connected",
            );
        };
        self.last_session += 1;
        let mut session = self.new_session(parcel.encoding);
        session.number = self.last_session;
        session.device = parcel.device.get();
        session.expires_at = u32::try_from(parcel.expires_at).unwrap_or(u32::MAX);
        let mut greeting = match &parcel.upgrade {
            Some(upgrade) => switching_protocols(upgrade, parcel.encoding),
            None => Vec::new(),
        };
        greeting.extend_from_slice(&parcel.owed);
        self.write_welcome(&parcel, session.number, &mut greeting);
        self.enter_directory(slot, user, session);
        self.post(slot, greeting.into());
        self.start_pings(slot);
        commands.push(Command::Watch { conn });
        if !parcel.unread.is_empty() {
            self.session_input(slot, &mut parcel.unread);
        }
    }

    pub(super) fn open_echo(
        &mut self,
        conn: Conn,
        encoding: Encoding,
        upgrade: &Upgrade,
        rest: &mut [u8],
        commands: &mut Commands<Parcel>,
    ) {
        let session = self.new_session(encoding);
        let Some(connection) = self.connections.get_mut(conn.slot) else { return };
        if let State::Handshake(handshake) = std::mem::replace(&mut connection.state, State::Session(session))
        {
            self.leave_handshake(&handshake);
        }
        self.counters.sessions.add(1);
        self.counters.sessions_opened.add(1);
        self.post(conn.slot, switching_protocols(upgrade, encoding).into());
        self.start_pings(conn.slot);
        commands.push(Command::Watch { conn });
        if !rest.is_empty() {
            self.session_input(conn.slot, rest);
        }
    }

    fn new_session(&self, encoding: Encoding) -> Session {
        Session {
            decoder: Decoder::new(),
            unsent: None,
            number: 0,
            user: NONE,
            next_of_user: NONE,
            device: 0,
            outbox: NONE,
            heard_ms: self.now_ms(),
            stalled_ms: 0,
            paid_until: self.now_tenths(),
            connected_at: (self.now.unix_ms / 1_000) as u32,
            expires_at: u32::MAX,
            encoding,
            pinged: false,
            fresh: true,
        }
    }

    fn write_welcome(&self, parcel: &Parcel, number: u64, out: &mut Vec<u8>) {
        let limits = &self.settings.limits;
        let welcome = Welcome {
            device: Some(Device { user: parcel.user.as_str().to_owned(), device: parcel.device.get() }),
            generation: number,
            node: self.settings.node.clone(),
            epoch: self.settings.epoch,
            ping_interval_ms: limits.ping_interval_ms,
            limits: Some(campanile_protocol::messages::Limits {
                message_bytes_max: u32::try_from(limits.message_bytes_max).unwrap_or(u32::MAX),
                ..Default::default()
            }),
            server_time_ms: i64::try_from(self.now.unix_ms).unwrap_or(i64::MAX),
            capabilities: Vec::new(),
            ..Welcome::default()
        };
        let encoded = ServerFrame::Welcome(welcome).encode_frame(parcel.encoding, out);
        debug_assert!(encoded.is_ok(), "a welcome has no payload that could fail");
    }
}
