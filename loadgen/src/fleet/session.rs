//! An open connection: pings are answered, messages are recorded, the end is counted.

use campanile_engine::{Conn, Time};
use campanile_protocol::frame::{Limits, Message, Opcode, encode_masked_frame};
use campanile_protocol::messages::{Content, DecodeError, Payload, ServerFrame};

use super::{Fleet, State};
use crate::ledger::Arrival;
use crate::payload::Stamp;

impl Fleet {
    /// Takes what arrived on an open connection, or on one that is closing.
    pub(super) fn input(&mut self, now: Time, conn: Conn, mut data: &mut [u8]) {
        let Some(device) = self.tenant(conn) else { return };
        // It is lent messages from, while the rest of the fleet changes.
        let mut decoder = std::mem::take(&mut device.decoder);
        let number = device.number;
        // Of several pings the last one is answered (RFC 6455 §5.5.3).
        let mut pong: Option<Vec<u8>> = None;
        loop {
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
                    self.closed_by_peer(conn, code.map(|(code, _)| code));
                    return;
                }
                Ok(Some(message)) => self.message(now, number, &message),
                Err(error) => {
                    if self.tenant(conn).is_some_and(|device| device.state == State::Open) {
                        self.ended("protocol_error".into());
                        self.close(conn, error.close_code(), error.reason());
                    }
                    self.close_after_sends(conn);
                    return;
                }
            }
        }
        let open = self.tenant(conn).map(|device| {
            device.decoder = decoder;
            device.state == State::Open
        });
        // A pong that the gateway does not read is not worth queueing another behind it.
        if let (Some(true), Some(pong), false) = (open, pong, self.unsent.contains_key(&conn.slot)) {
            self.post(conn, pong);
        }
    }

    /// The gateway's close frame: the answer to ours, or its own, which is answered in kind.
    fn closed_by_peer(&mut self, conn: Conn, code: Option<u16>) {
        if self.tenant(conn).is_some_and(|device| device.state == State::Open) {
            // 1005 is how RFC 6455 §7.1.5 calls a close frame without a code.
            self.ended(code.unwrap_or(1005).to_string());
            self.close(conn, code.unwrap_or(1000), "");
        }
        self.close_after_sends(conn);
    }

    fn close_after_sends(&mut self, conn: Conn) {
        if !self.unsent.contains_key(&conn.slot) {
            self.closing.push(conn);
        }
    }

    fn message(&mut self, now: Time, number: u32, message: &Message<'_>) {
        let payload = match ServerFrame::decode(self.settings.encoding, message) {
            Ok(ServerFrame::Deliver(deliver)) => deliver.payload,
            Ok(ServerFrame::Event(event)) => event.payload,
            Ok(ServerFrame::Welcome(_)) => return self.stats.welcomes.add(1),
            // A newer server may send more than this version knows.
            Ok(_) | Err(DecodeError::Unknown) => return,
            Err(_) => return self.stats.undecodable.add(1),
        };
        let stamp = match payload {
            Some(Payload { content: Some(Content::Data(data)) }) => Stamp::read(&data),
            _ => None,
        };
        let ours = stamp.filter(|stamp| stamp.run == self.settings.run).zip(self.settings.ledger.as_ref());
        let Some((stamp, ledger)) = ours else { return self.stats.foreign.add(1) };
        match ledger.arrived(stamp.number, number) {
            Arrival::First => {
                self.stats.received.add(1);
                self.recorder.arrived(now, now.since(stamp.due));
            }
            Arrival::Duplicate => self.stats.duplicated.add(1),
            Arrival::Astray => self.stats.astray.add(1),
        }
    }
}
