//! An open connection: pings are answered, messages are recorded and acknowledged, the end is counted.

use campanile_engine::{Conn, Time};
use campanile_protocol::frame::{Limits, Message, Opcode, encode_masked_frame};
use campanile_protocol::messages::{
    Ack, ClientFrame, Content, DecodeError, Encoding, Hello, Payload, ServerFrame, Welcome,
};

use super::acks::Order;
use super::channel_message::{self, Read};
use super::skim::skim;
use super::{Fleet, State, deliver};
use crate::ledger::Arrival;
use crate::payload::Stamp;

impl Fleet {
    /// Takes what arrived on an open connection, or on one that is closing.
    pub(super) fn input(&mut self, now: Time, conn: Conn, mut data: &mut [u8]) {
        let Some(device) = self.tenant(conn) else { return };
        // It is lent messages from, while the rest of the fleet changes.
        let mut decoder = std::mem::take(&mut device.decoder);
        let (number, mut skimming, leaving) =
            (device.number, device.skimming, device.state == State::Closing);
        self.tally.leaving = leaving;
        let skims = self.subscribes(number) && !self.is_checked(number);
        // Of several pings the last one is answered (RFC 6455 §5.5.3).
        let mut pong: Option<Vec<u8>> = None;
        loop {
            if skims {
                // Frees what it has lent, so that it tells whether it stands between messages.
                let _ = decoder.next(&mut Default::default(), &Limits::CLIENT);
                if decoder.is_idle() {
                    let skimmed = skim(self.settings.encoding, &mut skimming, &mut data);
                    self.tally.frames += skimmed.frames;
                    self.tally.bytes += skimmed.bytes;
                }
            }
            match decoder.next(&mut data, &Limits::CLIENT) {
                Ok(None) => break,
                Ok(Some(Message::Ping(content))) => {
                    let mut bytes = Vec::with_capacity(6 + content.len());
                    encode_masked_frame(Opcode::Pong, content, self.mask(), &mut bytes);
                    pong = Some(bytes);
                    self.stats.pings.add(1);
                }
                Ok(Some(Message::Pong(_))) => {}
                Ok(Some(Message::Close(code))) => {
                    self.count_channel_frames(now, number);
                    self.closed_by_peer(now, conn, code.map(|(code, _)| code));
                    return;
                }
                Ok(Some(message)) => self.message(now, conn, number, &message),
                Err(error) => {
                    self.count_channel_frames(now, number);
                    match self.tenant(conn).map(|device| device.state) {
                        Some(State::Open) => {
                            self.ended(now, number, "protocol_error".into());
                            self.close(conn, error.close_code(), error.reason());
                        }
                        Some(State::Opening) => {
                            self.failed(now, number, "protocol_error".into());
                            self.close(conn, error.close_code(), error.reason());
                        }
                        _ => {}
                    }
                    self.close_after_sends(conn);
                    return;
                }
            }
        }
        self.count_channel_frames(now, number);
        let state = self.tenant(conn).map(|device| {
            (device.decoder, device.skimming) = (decoder, skimming);
            device.state
        });
        let answers = matches!(state, Some(State::Open | State::Opening));
        // A pong that the gateway does not read is not worth queueing another behind it.
        if let (true, Some(pong), false) = (answers, pong, self.unsent.contains_key(&conn.slot)) {
            self.post(conn, pong);
        }
        if state == Some(State::Open) && self.acks.is_due(self.place(number), conn.slot, now) {
            self.acknowledge(conn);
        }
    }

    /// Where a device's window is.
    pub(super) fn place(&self, number: u32) -> usize {
        (number / self.count) as usize
    }

    /// Confirms everything that has arrived, if there is anything.
    pub(super) fn acknowledge(&mut self, conn: Conn) {
        let Some(number) = self.tenant(conn).filter(|d| d.state == State::Open).map(|d| d.number) else {
            return;
        };
        if let Some(seq) = self.acks.take(self.place(number), conn.slot) {
            self.stats.acks.add(1);
            self.say(conn, &ClientFrame::Ack(Ack { seq }));
        }
    }

    /// Lets those acknowledge whose time it is.
    pub(super) fn acknowledge_in_time(&mut self, now: Time) {
        let due = self.acks.expire(now);
        for &slot in &due {
            if let Some(device) = self.devices.get(slot as usize) {
                self.acknowledge(Conn { slot, generation: device.generation });
            }
        }
        self.acks.recycle(due);
    }

    fn say(&mut self, conn: Conn, frame: &ClientFrame) {
        let mut bytes = Vec::with_capacity(32);
        let key = self.mask();
        // Neither hello nor ack has a payload, and only those cannot be encoded.
        if frame.encode_frame(self.settings.encoding, key, &mut bytes).is_ok() {
            self.post(conn, bytes);
        }
    }

    /// The gateway's close frame: the answer to ours, or its own, which is answered in kind.
    fn closed_by_peer(&mut self, now: Time, conn: Conn, code: Option<u16>) {
        // 1005 is how RFC 6455 §7.1.5 calls a close frame without a code.
        let how = code.unwrap_or(1005);
        match self.tenant(conn).map(|device| (device.state, device.number)) {
            Some((State::Open, number)) => {
                self.ended(now, number, how.to_string());
                self.close(conn, code.unwrap_or(1000), "");
            }
            Some((State::Opening, number)) => {
                self.failed(now, number, format!("closed_{how}"));
                self.close(conn, code.unwrap_or(1000), "");
            }
            _ => {}
        }
        self.close_after_sends(conn);
    }

    fn close_after_sends(&mut self, conn: Conn) {
        if !self.unsent.contains_key(&conn.slot) {
            self.closing.push(conn);
        }
    }

    fn message(&mut self, now: Time, conn: Conn, number: u32, message: &Message<'_>) {
        if let (Encoding::Protobuf, Message::Binary(bytes)) = (self.settings.encoding, message) {
            if let Some(message) = channel_message::read(bytes) {
                return self.channel_message(now, number, bytes.len(), message);
            }
            if let Some(delivery) = deliver::read(bytes) {
                return self.delivered(now, number, delivery.seq, Some(delivery.data));
            }
        }
        match ServerFrame::decode(self.settings.encoding, message) {
            Ok(ServerFrame::Deliver(deliver)) => {
                self.delivered(now, number, deliver.seq, data_of(deliver.payload.as_ref()));
            }
            Ok(ServerFrame::Event(event)) => {
                self.arrived(now, number, data_of(event.payload.as_ref()), false);
            }
            Ok(ServerFrame::Welcome(welcome)) => self.welcomed(now, conn, number, &welcome),
            Ok(ServerFrame::CaughtUp(_)) => {
                self.stats.caught_up.add(1);
                self.stats.last_caught_up.raise(now.as_nanos());
            }
            Ok(ServerFrame::ChannelMessage(frame)) => {
                let data = data_of(frame.payload.as_ref()).unwrap_or_default();
                let read = Read { channel: frame.channel.as_bytes(), offset: frame.offset, data };
                self.channel_message(now, number, length_of(message), read);
            }
            Ok(ServerFrame::Subscribed(frame)) => self.subscribed(conn, number, &frame),
            Ok(ServerFrame::Unsubscribed(frame)) => self.unsubscribed(number, &frame),
            Ok(ServerFrame::Gap(frame)) => self.gap(number, &frame),
            Ok(ServerFrame::Published(frame)) => self.published(now, &frame),
            Ok(ServerFrame::Error(error)) => {
                if !self.subscription_refused(number, &error) && !self.publish_refused(&error) {
                    self.stats.refused_frames.add(1);
                }
            }
            // A newer server may send more than this version knows.
            Ok(_) | Err(DecodeError::Unknown) => {}
            Err(_) => self.stats.undecodable.add(1),
        }
    }

    fn welcomed(&mut self, now: Time, conn: Conn, number: u32, welcome: &Welcome) {
        if self.tenant(conn).is_some_and(|device| device.state == State::Opening) {
            self.opened(now, conn, number);
        }
        self.stats.welcomes.add(1);
        self.stats.waiting.add(welcome.waiting);
        self.stats.first_welcome.lower(now.as_nanos());
        let (place, epoch) = (self.place(number), welcome.epoch);
        if let Some(last) = self.acks.welcomed(place, epoch) {
            self.say(conn, &ClientFrame::Hello(Hello { last, epoch, ..Hello::default() }));
        }
        self.may_publish(conn, number);
        self.subscribe(conn, number);
    }

    fn delivered(&mut self, now: Time, number: u32, seq: u64, data: Option<&[u8]>) {
        let order = self.acks.delivered(self.place(number), seq);
        if order == Order::OutOfOrder {
            self.stats.out_of_order.add(1);
        }
        self.stats.delivered.add(1);
        self.stats.payload_bytes.add(data.map_or(0, <[u8]>::len) as u64);
        // What is new in this session and was in an earlier one has not been acknowledged in time.
        self.arrived(now, number, data, seq > 0 && order == Order::InOrder);
    }

    /// A message has arrived; it `may_repeat` what an earlier session was sent.
    fn arrived(&mut self, now: Time, number: u32, data: Option<&[u8]>, may_repeat: bool) {
        let stamp = data.and_then(Stamp::read).filter(|stamp| stamp.run == self.settings.run);
        let ours = stamp.zip(self.settings.ledger.as_ref());
        let Some((stamp, ledger)) = ours else { return self.stats.foreign.add(1) };
        match ledger.arrived(stamp.number, number) {
            Arrival::First => {
                self.stats.received.add(1);
                self.recorder.arrived(now, stamp.due);
            }
            Arrival::Duplicate if may_repeat => self.stats.redelivered.add(1),
            Arrival::Duplicate => self.stats.duplicated.add(1),
            Arrival::Astray => self.stats.astray.add(1),
        }
    }
}

fn data_of(payload: Option<&Payload>) -> Option<&[u8]> {
    match &payload?.content {
        Some(Content::Data(data)) => Some(data),
        _ => None,
    }
}

fn length_of(message: &Message<'_>) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
        _ => 0,
    }
}
