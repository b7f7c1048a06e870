//! What sessions send: to whom it goes.

use campanile_protocol::frame::{self, Message, Opcode};
use campanile_protocol::messages::{
    ClientFrame, DecodeError, DeviceState, Encoding, Hello, Ping, Pong, Receipt as ReceiptFrame, ServerFrame,
    Sync,
};

use super::Rooms;
use crate::control::jobs::Receipt;
use crate::net::ending::Ending;
use crate::net::wire::PongTo;
use crate::refused::FrameRefused;
use crate::settings::Mode;
use crate::turn::Turn;

/// Bytes of compressed messages, before and after, that a client may send for the price of one frame.
const COMPRESSED_BYTES_PER_FRAME: usize = 4 * 1024;

impl Rooms {
    /// Takes input of a session.
    pub(super) fn input(&mut self, turn: &mut Turn<'_>, slot: u32, data: &mut [u8]) {
        let Some(mut reading) = self.net.begin_input(turn, slot) else { return };
        let mut input = data;
        loop {
            let is_control = match reading.next(&mut input) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let is_control =
                        matches!(message, Message::Ping(_) | Message::Pong(_) | Message::Close(_));
                    self.message(turn, slot, message);
                    is_control
                }
                Err(error) => {
                    self.net.end(turn, slot, &Ending::Protocol(error));
                    false
                }
            };
            // What comes behind the end of a session is not read.
            if self.net.session(slot).is_none() {
                return;
            }
            reading.taken(is_control, turn.now.time);
        }
        self.net.end_input(turn, slot, reading);
    }

    fn message(&mut self, turn: &mut Turn<'_>, slot: u32, message: Message<'_>) {
        turn.counters.frames_received.add(1);
        // Hostile input costs up to 30 µs per kilobyte to decompress.
        let cost = match &message {
            Message::Compressed { payload, .. } => 1 + (payload.len() / COMPRESSED_BYTES_PER_FRAME) as u32,
            _ => 1,
        };
        if !self.net.pay_for_frames(turn, slot, cost) {
            return self.net.end(turn, slot, &Ending::TooManyFrames);
        }
        match message {
            Message::Ping(payload) => {
                let pong = frame::frame(Opcode::Pong, payload);
                self.net.answer_ping(turn, slot, PongTo::Control, pong);
            }
            Message::Pong(_) => turn.counters.pongs_received.add(1),
            Message::Close(code) => {
                turn.counters.sessions_ended_by_client.add(1);
                self.net.answer_close(turn, slot, code.map(|(code, _)| code));
            }
            Message::Text(text) if turn.settings.is_echo() => {
                self.net.post(turn, slot, frame::frame(Opcode::Text, text.as_bytes()).into());
            }
            Message::Binary(bytes) if turn.settings.is_echo() => {
                self.net.post(turn, slot, frame::frame(Opcode::Binary, bytes).into());
            }
            // Without `deflate` in the limits nothing arrives compressed, and it would be no frame of the schema.
            Message::Compressed { text, payload } => self.compressed(turn, slot, text, payload),
            Message::Text(_) | Message::Binary(_) => {
                if let Some(encoding) = self.encoding(slot) {
                    self.frame(turn, slot, ClientFrame::decode(encoding, &message));
                }
            }
        }
    }

    fn compressed(&mut self, turn: &mut Turn<'_>, slot: u32, text: bool, payload: &[u8]) {
        let Some(encoding) = self.encoding(slot) else { return };
        let bytes_max = turn.settings.limits.message_bytes_max;
        let decoded = match self.inflating.message(text, payload, bytes_max) {
            Ok(message) => {
                let bytes = match &message {
                    Message::Text(text) => text.len(),
                    Message::Binary(bytes) => bytes.len(),
                    _ => 0,
                };
                if !self.net.pay_for_frames(turn, slot, (bytes / COMPRESSED_BYTES_PER_FRAME) as u32) {
                    return self.net.end(turn, slot, &Ending::TooManyFrames);
                }
                ClientFrame::decode(encoding, &message)
            }
            Err(error) => return self.net.end(turn, slot, &Ending::Compression(error)),
        };
        self.frame(turn, slot, decoded);
    }

    fn encoding(&self, slot: u32) -> Option<Encoding> {
        self.net.session(slot).map(|session| session.wire.encoding())
    }

    /// A frame of the schema, or not.
    fn frame(&mut self, turn: &mut Turn<'_>, slot: u32, decoded: Result<ClientFrame, DecodeError>) {
        match decoded {
            Ok(ClientFrame::Ping(ping)) => self.pong(turn, slot, ping),
            Ok(ClientFrame::Ack(ack)) => self.acknowledge(turn, slot, ack.seq),
            Ok(ClientFrame::Sync(sync)) => self.sync(turn, slot, sync),
            Ok(ClientFrame::Hello(hello)) => self.hello(turn, slot, &hello),
            Ok(ClientFrame::Subscribe(subscribe)) => self.channels().take_subscribe(turn, slot, subscribe),
            Ok(ClientFrame::Unsubscribe(frame)) => self.channels().take_unsubscribe(turn, slot, frame),
            Ok(ClientFrame::Publish(publish)) => self.channels().take_publish(turn, slot, publish),
            Ok(ClientFrame::SetState(state)) => self.channels().take_set_state(turn, slot, state),
            Ok(ClientFrame::ListMembers(list)) => self.channels().take_list_members(turn, slot, list),
            Err(error) => {
                let ending = Ending::Frame(error.close_code(), error.to_string());
                self.net.end(turn, slot, &ending);
            }
        }
    }

    fn pong(&mut self, turn: &mut Turn<'_>, slot: u32, ping: Ping) {
        if let Some(pong) = self.encoded(slot, &ServerFrame::Pong(Pong { nonce: ping.nonce })) {
            self.net.answer_ping(turn, slot, PongTo::Schema, pong);
        }
    }

    /// Tells where a sync went, unless the client does not read what it was sent before.
    fn receipt(&mut self, turn: &mut Turn<'_>, slot: u32, receipt: ReceiptFrame) {
        if let Some(receipt) = self.encoded(slot, &ServerFrame::Receipt(receipt)) {
            self.net.answer(turn, slot, receipt);
        }
    }

    /// A frame without a payload that could fail, as the session reads it.
    fn encoded(&self, slot: u32, frame: &ServerFrame) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(24);
        let encoded = frame.encode_frame(self.encoding(slot)?, &mut bytes);
        debug_assert!(encoded.is_ok(), "no payload that could fail");
        Some(bytes)
    }

    fn acknowledge(&mut self, turn: &mut Turn<'_>, slot: u32, number: u64) {
        let (mut home, mut sessions) = self.seam();
        if let Err(refused) = sessions.acknowledge(turn, &mut home, slot, number) {
            self.net.refuse_frame(turn, slot, &refused, "");
        }
    }

    /// A device writes to its siblings.
    fn sync(&mut self, turn: &mut Turn<'_>, slot: u32, sync: Sync) {
        turn.counters.syncs_received.add(1);
        let (Some(conn), Some(session)) = (self.net.conn(slot), self.net.session(slot)) else { return };
        let (who, reference) = (session.who, sync.r#ref.clone());
        let (mut home, mut sessions) = self.seam();
        match home.sync(turn, &mut sessions, conn, &who, sync) {
            Ok(true) => {}
            Ok(false) => {
                let receipt = ReceiptFrame { r#ref: reference, ..ReceiptFrame::default() };
                self.receipt(turn, slot, receipt);
            }
            Err(refused) => self.net.refuse_frame(turn, slot, &refused.into(), &reference),
        }
    }

    /// Tells the sender what became of its sync, if it is still there.
    pub(super) fn tell(&mut self, turn: &mut Turn<'_>, receipt: Receipt) {
        let Receipt { conn, reference, result } = receipt;
        if !self.net.has_session(conn) {
            return;
        }
        match result {
            Ok(pushed) => {
                let devices = pushed.devices.iter().map(|&(device, outcome)| DeviceState {
                    device: device.get(),
                    state: outcome.state().to_owned(),
                    reason: outcome.reason().unwrap_or_default().to_owned(),
                });
                let devices = devices.collect();
                let receipt = ReceiptFrame { r#ref: reference, id: pushed.id.to_string(), devices };
                self.receipt(turn, conn.slot, receipt);
            }
            Err(error) => self.net.refuse_frame(turn, conn.slot, &FrameRefused::Push(error), &reference),
        }
    }

    /// A hello within a session: what was processed before, for a client whose token came with the upgrade, and perhaps
    /// a new token.
    fn hello(&mut self, turn: &mut Turn<'_>, slot: u32, hello: &Hello) {
        if hello.last > 0 && hello.epoch == turn.settings.epoch {
            self.acknowledge(turn, slot, hello.last);
        } else if hello.last > 0 {
            turn.counters.acknowledgements_refused.add(1);
            self.net.refuse_frame(turn, slot, &FrameRefused::OtherEpoch, "");
        }
        if !hello.token.is_empty() {
            self.renew(turn, slot, &hello.token);
        }
    }

    /// A later hello brings a new token for the same device, so that the session outlives the old one.
    fn renew(&mut self, turn: &mut Turn<'_>, slot: u32, token: &str) {
        let Mode::Gateway { verifier } = &turn.settings.mode else { return };
        let identity = verifier.verify(token, turn.now.unix_ms);
        let Some(session) = self.net.session_mut(slot) else { return };
        let same = identity.ok().filter(|identity| {
            identity.device.get() == session.who.device()
                && self.users.id(session.who.user()) == Some(&identity.user)
        });
        match same {
            Some(identity) => {
                session.who.renew(identity.expires_at);
                self.net.retime(slot);
                self.channels().set_grants(turn, slot, identity.grants);
            }
            None => self.net.end(turn, slot, &Ending::TokenRefused),
        }
    }
}
