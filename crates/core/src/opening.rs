//! From the connection on its home shard to the session: what the store knows of the device decides.
//!
//! The home shard answers the upgrade, so that a refusal can still be HTTP; the 101 and the welcome are one send.

use campanile_engine::{Command, Commands, Conn};
use campanile_protocol::frame::{Decoder, close_code};
use campanile_protocol::messages::{Device, Encoding, ServerFrame, Welcome};

use super::Shard;
use super::connection::{Parcel, Ping, Session, State, Upgrade};
use super::directory::NONE;
use super::handshake::switching_protocols;
use super::mail::Mail;
use super::storage::Awaiting;
use campanile_mailbox::operations::{Open, Opened, Operation, RegisterError, StoreFailed};
use campanile_mailbox::{Address, Count};

impl Shard {
    /// Asks the store about the device. Its session opens when the answer has come.
    pub(super) fn open_session(&mut self, conn: Conn, parcel: Parcel) {
        let user = self.directory.find_or_add(&parcel.user);
        if let Some(user) = self.directory.user_mut(user) {
            user.awaited += 1;
        }
        // What the device's last session has confirmed is not delivered again.
        self.flush_trims();
        let open = Open {
            address: Address { user: parcel.user.clone(), device: parcel.device },
            acknowledged: self.acknowledged_before(parcel.last, parcel.last_epoch),
            register: self.settings.auto_register,
            devices_max: self.settings.limits.devices_per_user_max,
            now_ms: self.now.unix_ms,
        };
        let tag = self.storage.await_answer(Awaiting::Open { conn, user });
        self.storage.ask(Operation::Open(tag, Box::new(open)));
        self.wheel.set(conn.slot, parcel.deadline);
        if let Some(connection) = self.connections.get_mut(conn.slot) {
            connection.state = State::Opening(Box::new(parcel));
        }
    }

    /// What a hello confirms: nothing if it is of another epoch, or was never handed out.
    fn acknowledged_before(&self, last: u64, epoch: u64) -> u64 {
        let refused = last > 0 && (epoch != self.settings.epoch || last > self.storage.last_number());
        self.counters.acknowledgements_refused.add(u64::from(refused));
        if refused { 0 } else { last }
    }

    /// The store did not answer in time.
    pub(super) fn opening_timed_out(&mut self, slot: u32) {
        self.counters.handshakes_timed_out.add(1);
        if let Some(parcel) = self.take_parcel(slot) {
            self.refuse_parcel(slot, &parcel, 503, "store_slow", "the store did not answer in time");
        }
    }

    fn take_parcel(&mut self, slot: u32) -> Option<Parcel> {
        let connection = self.connections.get_mut(slot)?;
        match std::mem::replace(&mut connection.state, State::HandingOff) {
            State::Opening(parcel) => Some(*parcel),
            other => {
                connection.state = other;
                None
            }
        }
    }

    /// The store has answered.
    pub(super) fn opened(
        &mut self,
        conn: Conn,
        user: u32,
        result: Result<Opened, StoreFailed>,
        commands: &mut Commands<Parcel>,
    ) {
        if let Ok(opened) = &result {
            self.set_devices(user, &opened.user);
        }
        // Meanwhile the client may have gone, or its time may be over.
        let parcel = match self.tenant(conn) {
            Some(_) => self.take_parcel(conn.slot),
            None => None,
        };
        if let Some(parcel) = parcel {
            self.wheel.clear(conn.slot);
            match self.admit(user, &parcel, result) {
                Ok(count) => self.begin_session(conn, user, parcel, count, commands),
                Err((status, code, message)) => self.refuse_parcel(conn.slot, &parcel, status, code, message),
            }
        }
        // Only now: until here the user must not be forgotten, whoever else rests meanwhile.
        self.ended_for(user);
    }

    /// Whether the device may open a session, and what waits for it. An older session of the device is replaced.
    fn admit(
        &mut self,
        user: u32,
        parcel: &Parcel,
        result: Result<Opened, StoreFailed>,
    ) -> Result<Count, (u16, &'static str, &'static str)> {
        if self.draining.is_some() {
            self.counters.upgrades_refused_draining.add(1);
            return Err((503, "draining", "the node is stopping"));
        }
        let Ok(opened) = result else {
            self.counters.upgrades_refused_store.add(1);
            return Err((503, "store_failed", "the store does not work at the moment"));
        };
        if let Err(error) = opened.admitted {
            self.counters.devices_refused.add(1);
            return Err(match error {
                RegisterError::Unknown => (403, "device_unknown", "the device is not registered"),
                _ => (403, "device_limit", "the user has too many devices"),
            });
        }
        let older = self.directory.user(user).and_then(|user| user.slot_of(parcel.device));
        if let Some(slot) = older {
            self.counters.sessions_replaced.add(1);
            self.close(slot, close_code::REPLACED, "replaced by a newer session of this device");
        }
        Ok(opened.count)
    }

    fn begin_session(
        &mut self,
        conn: Conn,
        user: u32,
        mut parcel: Parcel,
        count: Count,
        commands: &mut Commands<Parcel>,
    ) {
        let slot = conn.slot;
        let Some(number) = self.storage.number() else {
            return self.refuse_parcel(slot, &parcel, 503, "overloaded", "the store does not keep up");
        };
        let mut session = self.new_session(parcel.encoding);
        session.number = number;
        session.device = parcel.device.get();
        session.expires_at = u32::try_from(parcel.expires_at).unwrap_or(u32::MAX);
        session.acknowledges = parcel.acknowledges;
        session.deflate = parcel.deflate;
        let mut greeting = match &parcel.upgrade {
            Some(upgrade) => switching_protocols(upgrade, parcel.encoding),
            None => Vec::new(),
        };
        greeting.extend_from_slice(&parcel.owed);
        self.write_welcome(&parcel, number, count, &mut greeting);
        // What is being appended may have come after the count.
        let may_wait = count.messages > 0 || self.directory.user(user).is_some_and(|user| user.appends > 0);
        let mut mail =
            if may_wait { Mail::behind(count.acknowledged) } else { Mail::live(count.acknowledged) };
        // What waits was numbered before now.
        mail.replay_until = Some(self.storage.last_number());
        session.mail = Some(Box::new(mail));
        self.enter_directory(slot, user, session);
        self.post(slot, greeting.into());
        if parcel.last > 0 && parcel.last_epoch != self.settings.epoch {
            self.refuse_frame(slot, "other_epoch", "`last` is of another epoch than the welcome's", "");
        } else if parcel.last > self.storage.last_number() {
            self.refuse_frame(slot, "not_handed_out", "`last` was never handed out", "");
        }
        self.start_pings(slot);
        commands.push(Command::Watch { conn });
        self.deliver_waiting(slot);
        self.begin_subscriptions(slot, parcel.grants.take());
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
            mail: None,
            number: 0,
            user: NONE,
            subscriptions: NONE,
            grants: NONE,
            device: 0,
            outbox: NONE,
            heard_ms: self.now_ms(),
            paid_until: self.now_tenths(),
            connected_at: (self.now.unix_ms / 1_000) as u32,
            expires_at: u32::MAX,
            encoding,
            acknowledges: true,
            deflate: false,
            ping: Ping::Due,
        }
    }

    fn write_welcome(&self, parcel: &Parcel, number: u64, count: Count, out: &mut Vec<u8>) {
        let limits = &self.settings.limits;
        let welcome = Welcome {
            device: Some(Device { user: parcel.user.as_str().to_owned(), device: parcel.device.get() }),
            generation: number,
            node: self.settings.node.clone(),
            epoch: self.settings.epoch,
            ping_interval_ms: limits.ping_interval_ms,
            limits: Some(campanile_protocol::messages::Limits {
                message_bytes_max: u32::try_from(limits.message_bytes_max).unwrap_or(u32::MAX),
                window_messages_max: limits.window_messages_max,
                window_bytes_max: limits.window_bytes_max,
            }),
            server_time_ms: i64::try_from(self.now.unix_ms).unwrap_or(i64::MAX),
            capabilities: Vec::new(),
            waiting: count.messages,
            acknowledged: count.acknowledged,
        };
        let encoded = ServerFrame::Welcome(welcome).encode_frame(parcel.encoding, out);
        debug_assert!(encoded.is_ok(), "a welcome has no payload that could fail");
    }
}
