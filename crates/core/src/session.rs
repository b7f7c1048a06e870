//! Sessions: entering and leaving the directory, what clients send, pings and time-outs.

use std::time::Duration;

use bytes::Bytes;
use campanile_engine::Time;
use campanile_protocol::deflate::InflateError;
use campanile_protocol::frame::{self, Limits, Message, Opcode, ProtocolError, Role, close_code};
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{ClientFrame, Hello, Pong, ServerFrame};

use super::Shard;
use super::connection::{Ping, Session, State};
use super::directory::NONE;
use super::settings::Mode;
use campanile_mailbox::Address;
use campanile_mailbox::operations::Operation;

/// A ping without a payload.
const PING: Bytes = Bytes::from_static(&[0x89, 0]);
/// Frames may come this many times faster than on average, for one second's worth of them.
const BURST_SECONDS: u32 = 10;
const TENTHS_PER_SECOND: u32 = 10_000;
/// Bytes of compressed messages, before and after, that a client may send for the price of one frame.
const COMPRESSED_BYTES_PER_FRAME: usize = 4 * 1024;

impl Shard {
    pub(super) fn frame_limits(&self) -> Limits {
        Limits {
            role: Role::Server,
            message_bytes_max: self.settings.limits.message_bytes_max,
            fragments_max: self.settings.limits.fragments_max,
            deflate: false,
        }
    }

    /// The slots of a user's sessions.
    pub(super) fn sessions_of(&self, user: u32) -> impl Iterator<Item = (u32, &Session)> + '_ {
        let devices = self.directory.user(user).map(|user| &*user.devices).unwrap_or_default();
        let session = |slot: u32| Some((slot, self.connections.get(slot)?.as_session()?));
        devices.iter().filter(|known| known.slot != NONE).filter_map(move |known| session(known.slot))
    }

    pub(super) fn enter_directory(&mut self, slot: u32, number: u32, mut session: Session) {
        session.user = number;
        let device = session.device;
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.state = State::Session(session);
        }
        self.counters.sessions.add(1);
        self.counters.sessions_opened.add(1);
        let Some(user) = self.directory.user_mut(number) else { return };
        let came = !user.is_connected();
        self.counters.users.add(u64::from(came));
        user.add(device);
        if let Some(known) = user.known_mut(device) {
            known.slot = slot;
        }
        if came {
            self.user_came_or_went(number, true);
        }
    }

    /// Forgets a session that has been taken out of the table.
    pub(super) fn leave_directory(&mut self, slot: u32, session: &Session) {
        self.counters.sessions.subtract(1);
        self.held.remove(slot);
        self.counters.bytes_held.set(self.held.bytes() as u64);
        self.read_ahead_bytes -= session.mail.as_ref().map_or(0, |mail| mail.page_bytes());
        if session.is_echo() {
            return;
        }
        self.leave_channels(session);
        if self.storage.has_trim(session.user, session.device) {
            self.flush_trims();
        }
        let Some(user) = self.directory.user_mut(session.user) else { return };
        if let Some(known) = user.known_mut(session.device).filter(|known| known.slot == slot) {
            known.slot = NONE;
        }
        let went = !user.is_connected();
        self.counters.users.subtract(u64::from(went));
        if went {
            self.user_came_or_went(session.user, false);
        }
        if let (Some(id), Ok(device)) =
            (self.directory.id(session.user).cloned(), DeviceId::try_from(session.device))
        {
            let address = Address { user: id, device };
            self.storage.ask(Operation::Seen(address, self.now.unix_ms));
        }
        self.directory.rest(session.user);
    }

    /// Takes input of a session.
    pub(super) fn session_input(&mut self, slot: u32, data: &mut [u8]) {
        let now_ms = self.now_ms();
        let limits = self.frame_limits();
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return;
        };
        let limits = Limits { deflate: session.deflate, ..limits };
        session.heard(now_ms);
        let mut decoder = std::mem::take(&mut session.decoder);
        let was_idle = decoder.is_idle();
        let now = self.now.time;
        // When what stays unfinished began.
        let mut since = if was_idle { now } else { self.held.message_since(slot).unwrap_or(now) };
        let mut input = data;
        loop {
            match decoder.next(&mut input, &limits) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let is_control =
                        matches!(message, Message::Ping(_) | Message::Pong(_) | Message::Close(_));
                    if !self.take_message(slot, message) {
                        return;
                    }
                    // A control frame may stand between the fragments of a message (RFC 6455 §5.4), which is no younger
                    // for it.
                    if !(is_control && decoder.is_mid_message()) {
                        since = now;
                    }
                }
                Err(error) => return self.malformed(slot, error),
            }
        }
        let is_idle = decoder.is_idle();
        if was_idle && is_idle {
            return;
        }
        if let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) {
            session.decoder = decoder;
            self.hold(slot);
            self.held.set_message_since(slot, (!is_idle).then_some(since));
            if !is_idle && since == now {
                // No later than the message is to be finished.
                self.set_session_timer(slot, Time(u64::MAX));
            }
        }
    }

    fn malformed(&mut self, slot: u32, error: ProtocolError) {
        match error {
            ProtocolError::TooLarge | ProtocolError::TooManyFragments => {
                self.counters.sessions_too_large.add(1)
            }
            _ => self.counters.sessions_malformed.add(1),
        }
        self.close(slot, error.close_code(), error.reason());
    }

    /// Whether the session goes on.
    fn take_message(&mut self, slot: u32, message: Message<'_>) -> bool {
        self.counters.frames_received.add(1);
        // Hostile input costs up to 30 µs per kilobyte to decompress.
        let cost = match &message {
            Message::Compressed { payload, .. } => 1 + (payload.len() / COMPRESSED_BYTES_PER_FRAME) as u32,
            _ => 1,
        };
        if !self.pay_for_frames(slot, cost) {
            self.counters.sessions_too_many_frames.add(1);
            self.close(slot, close_code::TOO_MANY, "too many frames");
            return false;
        }
        match message {
            Message::Ping(payload) => self.answer(slot, frame::frame(Opcode::Pong, payload)),
            Message::Pong(_) => self.counters.pongs_received.add(1),
            Message::Close(code) => {
                self.counters.sessions_ended_by_client.add(1);
                self.answer_close(slot, code.map(|(code, _)| code));
                return false;
            }
            Message::Text(text) if self.settings.is_echo() => {
                self.post(slot, frame::frame(Opcode::Text, text.as_bytes()).into());
            }
            Message::Binary(bytes) if self.settings.is_echo() => {
                self.post(slot, frame::frame(Opcode::Binary, bytes).into());
            }
            // Without `deflate` in the limits nothing arrives compressed, and it would be no frame of the schema.
            Message::Compressed { text, payload } => return self.take_compressed(slot, text, payload),
            Message::Text(_) | Message::Binary(_) => {
                return self.take_frame(slot, message);
            }
        }
        true
    }

    /// Answers a close frame: the peer's code is given back (RFC 6455 §5.5.1).
    pub(super) fn answer_close(&mut self, slot: u32, code: Option<u16>) {
        match code {
            Some(code) => self.close(slot, code, ""),
            None => self.finish(slot, Bytes::from_static(&[0x88, 0])),
        }
    }

    /// Sends something that the client asked for, unless it does not read what it was sent before: what is asked
    /// for must not make us hold more than what is unsent already.
    pub(super) fn answer(&mut self, slot: u32, bytes: Vec<u8>) {
        let Some(session) = self.connections.get(slot).and_then(|connection| connection.as_session()) else {
            return;
        };
        let waiting = if session.outbox == NONE { 0 } else { self.outbox.len_of(session.outbox) };
        if session.is_echo() || (session.unsent.is_none() && waiting < super::outbox::TURN_BYTES_MAX) {
            self.post(slot, bytes.into());
        }
    }

    /// Whether the session goes on.
    fn take_compressed(&mut self, slot: u32, text: bool, payload: &[u8]) -> bool {
        let mut inflating = std::mem::take(&mut self.inflating);
        let goes_on = match inflating.message(text, payload, self.settings.limits.message_bytes_max) {
            Ok(message) => {
                let bytes = match &message {
                    Message::Text(text) => text.len(),
                    Message::Binary(bytes) => bytes.len(),
                    _ => 0,
                };
                let pays = self.pay_for_frames(slot, (bytes / COMPRESSED_BYTES_PER_FRAME) as u32);
                if !pays {
                    self.counters.sessions_too_many_frames.add(1);
                    self.close(slot, close_code::TOO_MANY, "too many frames");
                }
                pays && self.take_frame(slot, message)
            }
            Err(error) => {
                match error {
                    InflateError::TooLarge => self.counters.sessions_too_large.add(1),
                    _ => self.counters.sessions_malformed.add(1),
                }
                self.close(slot, error.close_code(), error.reason());
                false
            }
        };
        self.inflating = inflating;
        goes_on
    }

    /// A frame of the schema. Whether the session goes on.
    fn take_frame(&mut self, slot: u32, message: Message<'_>) -> bool {
        let Some(session) = self.connections.get(slot).and_then(|connection| connection.as_session()) else {
            return false;
        };
        let encoding = session.encoding;
        match ClientFrame::decode(encoding, &message) {
            Ok(ClientFrame::Ping(ping)) => {
                let mut pong = Vec::with_capacity(24);
                let encoded = ServerFrame::Pong(Pong { nonce: ping.nonce }).encode_frame(encoding, &mut pong);
                debug_assert!(encoded.is_ok(), "a pong has no payload that could fail");
                self.answer(slot, pong);
                true
            }
            Ok(ClientFrame::Ack(ack)) => {
                self.acknowledge(slot, ack.seq);
                self.has_session(slot)
            }
            Ok(ClientFrame::Sync(sync)) => {
                self.take_sync(slot, sync);
                self.has_session(slot)
            }
            Ok(ClientFrame::Hello(hello)) => self.take_hello(slot, &hello),
            Ok(ClientFrame::Subscribe(subscribe)) => {
                self.take_subscribe(slot, subscribe);
                self.has_session(slot)
            }
            Ok(ClientFrame::Unsubscribe(unsubscribe)) => {
                self.take_unsubscribe(slot, unsubscribe);
                self.has_session(slot)
            }
            Ok(ClientFrame::Publish(publish)) => {
                self.take_publish(slot, publish);
                self.has_session(slot)
            }
            Ok(ClientFrame::SetState(state)) => {
                self.take_set_state(slot, state);
                self.has_session(slot)
            }
            Ok(ClientFrame::ListMembers(list)) => {
                self.take_list_members(slot, list);
                self.has_session(slot)
            }
            Err(error) => {
                self.counters.sessions_malformed.add(1);
                // Nothing in the text of the error is ours to hide, but a close reason has little room.
                let reason = error.to_string();
                let end = reason.floor_char_boundary(frame::CLOSE_REASON_BYTES_MAX);
                self.close(slot, error.close_code(), &reason[..end]);
                false
            }
        }
    }

    /// A hello within a session: what was processed before, for a client whose token came with the upgrade, and perhaps
    /// a new token. Whether the session goes on.
    fn take_hello(&mut self, slot: u32, hello: &Hello) -> bool {
        if hello.last > 0 {
            match hello.epoch == self.settings.epoch {
                true => self.acknowledge(slot, hello.last),
                false => {
                    self.counters.acknowledgements_refused.add(1);
                    self.refuse_frame(
                        slot,
                        "other_epoch",
                        "`last` is of another epoch than the welcome's",
                        "",
                    );
                }
            }
        }
        self.has_session(slot) && (hello.token.is_empty() || self.renew(slot, &hello.token))
    }

    fn has_session(&self, slot: u32) -> bool {
        self.connections.get(slot).is_some_and(|connection| connection.as_session().is_some())
    }

    /// A later hello brings a new token for the same device, so that the session outlives the old one.
    fn renew(&mut self, slot: u32, token: &str) -> bool {
        let Mode::Gateway { verifier } = &self.settings.mode else { return true };
        let identity = verifier.verify(token, self.now.unix_ms);
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return false;
        };
        let same = identity.ok().filter(|identity| {
            identity.device.get() == session.device && self.directory.id(session.user) == Some(&identity.user)
        });
        match same {
            Some(identity) => {
                session.expires_at = u32::try_from(identity.expires_at).unwrap_or(u32::MAX);
                self.set_grants(slot, identity.grants);
                true
            }
            None => {
                self.counters.tokens_refused.add(1);
                self.close(slot, close_code::UNAUTHENTICATED, "the new token is not valid for this device");
                false
            }
        }
    }

    /// Charges frames to the session (generic cell rate algorithm, ITU-T I.371). False if it cannot pay.
    pub(super) fn pay_for_frames(&mut self, slot: u32, frames: u32) -> bool {
        let cost = self.frame_cost().saturating_mul(frames);
        let now = self.now_tenths();
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return false;
        };
        if session.is_echo() {
            return true;
        }
        let ahead = session.paid_until.wrapping_sub(now) as i32;
        let ahead = ahead.max(0) as u32 + cost;
        session.paid_until = now.wrapping_add(ahead);
        ahead <= BURST_SECONDS * TENTHS_PER_SECOND
    }

    /// Charges what goes to all subscribers of a channel. False if the session cannot pay; it is not charged then. Half of
    /// what it may do in a burst is left for frames that cost little.
    pub(super) fn pay_for_publish(&mut self, slot: u32, per_second: u32) -> bool {
        let now = self.now_tenths();
        // Its frame is paid for already.
        let cost = (TENTHS_PER_SECOND / per_second.max(1)).saturating_sub(self.frame_cost());
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return false;
        };
        let ahead = (session.paid_until.wrapping_sub(now) as i32).max(0) as u32 + cost;
        let pays = ahead <= BURST_SECONDS * TENTHS_PER_SECOND / 2;
        if pays {
            session.paid_until = now.wrapping_add(ahead);
        }
        pays
    }

    /// Gives back what a frame cost: an acknowledgement that was owed.
    pub(super) fn refund_frame(&mut self, slot: u32) {
        let cost = self.frame_cost();
        if let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) {
            session.paid_until = session.paid_until.wrapping_sub(cost);
        }
    }

    /// What a frame costs, in tenths of milliseconds.
    fn frame_cost(&self) -> u32 {
        (TENTHS_PER_SECOND / self.settings.limits.frames_per_second_max.max(1)).max(1)
    }

    /// The monotonic clock in tenths of milliseconds; it wraps after five days.
    pub(super) fn now_tenths(&self) -> u32 {
        (self.now.time.as_nanos() / 100_000) as u32
    }

    /// The first ping comes after a random part of the interval, so that those who connected together are not
    /// pinged together.
    pub(super) fn start_pings(&mut self, slot: u32) {
        let interval = self.settings.limits.ping_interval_ms.max(2);
        let first = self.random.u32(interval / 2..interval);
        self.set_session_timer(slot, self.now.time + Duration::from_millis(first.into()));
    }

    /// Sets the timer, but not beyond anything that the session's state waits for: whoever looks for one of these
    /// must not make the others late.
    pub(super) fn set_session_timer(&mut self, slot: u32, at: Time) {
        let Some(session) = self.connections.get(slot).and_then(|connection| connection.as_session()) else {
            return;
        };
        let limits = &self.settings.limits;
        let since = |ms: u32| self.now_ms().wrapping_sub(ms);
        let ping = if session.ping == Ping::Sent { limits.pong_timeout_ms } else { limits.ping_interval_ms };
        let ping = ping.saturating_sub(since(session.heard_ms));
        let unread = session.unsent.as_ref().filter(|_| !session.is_echo());
        let unread = unread.map(|unsent| limits.pong_timeout_ms.saturating_sub(since(unsent.stalled_ms)));
        let shut = session.mail.as_ref().and_then(|mail| mail.shut_since_ms);
        let shut = shut.map(|shut_ms| limits.acknowledge_timeout_ms.saturating_sub(since(shut_ms)));
        let token_ms = (u64::from(session.expires_at) * 1_000).saturating_sub(self.now.unix_ms);
        let ends_ms = token_ms.min(self.subscriptions_end_in_ms(session).unwrap_or(u64::MAX));
        let earliest = [Some(ping), unread, shut].into_iter().flatten().map(u64::from).min();
        let left_ms = earliest.map_or(ends_ms, |earliest| earliest.min(ends_ms));
        let unfinished = self.message_deadline(slot, session).unwrap_or(at);
        self.wheel.set(slot, at.min(unfinished).min(self.now.time + Duration::from_millis(left_ms)));
    }

    /// Until when the session's message is to be finished; `None` if it is between messages.
    fn message_deadline(&self, slot: u32, session: &Session) -> Option<Time> {
        let bytes = Some(session.decoder.owned_bytes()).filter(|&bytes| bytes > 0)?;
        self.held.message_deadline(slot, bytes)
    }

    /// A subscription ends because of its token: the timer looks in time.
    pub(super) fn expect_subscription_end(&mut self, slot: u32) {
        // The client was heard of just now.
        let interval = Duration::from_millis(self.settings.limits.ping_interval_ms.into());
        self.set_session_timer(slot, self.now.time + interval);
    }

    /// The window is shut from now on: the timer looks in time, if the next ping would be too late.
    pub(super) fn expect_acknowledgement(&mut self, slot: u32) {
        let limits = &self.settings.limits;
        let timeout = limits.acknowledge_timeout_ms;
        if timeout < limits.ping_interval_ms.max(limits.pong_timeout_ms) {
            self.set_session_timer(slot, self.now.time + Duration::from_millis(timeout.into()));
        }
    }

    pub(super) fn session_timer(&mut self, slot: u32) {
        self.end_expired_subscriptions(slot);
        let limits = &self.settings.limits;
        let (interval, patience) = (limits.ping_interval_ms, limits.pong_timeout_ms);
        let (now, now_ms) = (self.now, self.now_ms());
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return;
        };
        if u64::from(session.expires_at) * 1_000 <= now.unix_ms {
            self.counters.sessions_expired.add(1);
            return self.close(slot, close_code::UNAUTHENTICATED, "the token has expired");
        }
        let stalled = session.unsent.as_ref().map(|unsent| now_ms.wrapping_sub(unsent.stalled_ms));
        let unread = stalled.is_some_and(|stalled| stalled >= patience);
        if unread && !session.is_echo() {
            self.counters.sessions_not_reading.add(1);
            return self.close(slot, close_code::POLICY_VIOLATION, "what was sent is not read");
        }
        let shut = session.mail.as_ref().and_then(|mail| mail.shut_since_ms);
        let shut_ms = shut.map(|since| now_ms.wrapping_sub(since));
        if shut_ms.is_some_and(|shut_ms| shut_ms >= limits.acknowledge_timeout_ms) {
            self.counters.sessions_not_acknowledging.add(1);
            return self.close(slot, close_code::NOT_ACKNOWLEDGING, "what was delivered is not acknowledged");
        }
        let bytes = session.decoder.owned_bytes();
        if bytes > 0 && self.held.message_deadline(slot, bytes).is_some_and(|deadline| deadline <= now.time) {
            self.counters.sessions_message_unfinished.add(1);
            return self.close(slot, close_code::POLICY_VIOLATION, "a message was not finished in time");
        }
        let silent = now_ms.wrapping_sub(session.heard_ms);
        let mut next = interval.saturating_sub(silent);
        if session.ping == Ping::Sent {
            if silent >= patience {
                self.counters.sessions_timed_out.add(1);
                return self.close(slot, close_code::GOING_AWAY, "no answer to a ping");
            }
            next = patience - silent;
        } else if silent >= interval || (session.ping == Ping::Due && silent.saturating_mul(2) >= interval) {
            // The first ping comes early; any other only after a whole interval of silence.
            session.ping = Ping::Sent;
            session.heard_ms = now_ms;
            if session.unsent.is_none() {
                self.counters.pings_sent.add(1);
                self.post(slot, PING);
            }
            next = patience;
        } else if session.ping == Ping::Due {
            session.ping = Ping::Answered;
        }
        self.set_session_timer(slot, now.time + Duration::from_millis(next.into()));
    }
}
