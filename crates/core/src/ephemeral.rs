//! Pushes that are never stored: to those who are connected and keep up.
//!
//! They are answered after the submission that carried them, since only then is it known which connections broke.

use bytes::Bytes;
use campanile_protocol::ids::{DeviceId, MessageId};
use campanile_protocol::messages::Encoding;

use super::Shard;
use super::delivery::encoded;
use super::directory::NONE;
use super::jobs::Place;
use super::outbox::TURN_BYTES_MAX;
use super::requests::{Envelopes, Outcome, Push, Pushed, Unavailable};

/// A send of this turn that decides an outcome.
pub(super) struct Sent {
    slot: u32,
    place: Place,
    device: usize,
}

impl Shard {
    /// Executes one ephemeral push, unless a device that keeps up is sent enough this turn: then the push is given back
    /// for the next one.
    #[allow(clippy::result_large_err)] // The push comes back so that it need not be copied, and that is rare.
    pub(super) fn push_ephemeral(&mut self, place: Place, push: Push) -> Result<(), Push> {
        let mut meant = std::mem::take(&mut self.meant);
        meant.clear();
        if let Some(user) = self.directory.find(&push.user) {
            meant.extend(self.sessions_of(user).filter_map(|(slot, session)| {
                let device = DeviceId::try_from(session.device).ok()?;
                push.envelopes.payload(device).is_some().then_some((slot, session.encoding, device))
            }));
        }
        let result = if meant.iter().any(|&(slot, ..)| self.has_enough(slot)) {
            Err(push)
        } else {
            self.send_ephemeral(place, push, &meant);
            Ok(())
        };
        self.meant = meant;
        result
    }

    fn send_ephemeral(&mut self, place: Place, push: Push, meant: &[(u32, Encoding, DeviceId)]) {
        let Some(seq) = self.storage.number() else {
            return self.finish_push(place, Err(Unavailable::Overloaded.into()));
        };
        let id = MessageId { epoch: self.settings.epoch, seq };
        let mut message = push.message;
        message.id = id.to_string();
        // There is nothing to acknowledge.
        message.seq = 0;
        let mut shared = None;
        let mut devices = Vec::with_capacity(meant.len());
        for &(slot, encoding, device) in meant {
            let mut own;
            let frames = match &push.envelopes {
                Envelopes::PerDevice(_) => {
                    own = encoded(&mut message, push.envelopes.payload(device));
                    &mut own.1
                }
                _ => {
                    let encode = || encoded(&mut message, push.envelopes.payload(device));
                    &mut shared.get_or_insert_with(encode).1
                }
            };
            let outcome = match frames.get(encoding) {
                Some(bytes) => self.send_if_keeping_up(slot, bytes),
                None => Outcome::NotEncodable,
            };
            if outcome == Outcome::Sent {
                self.sends_of_pushes += 1;
                self.sent.push(Sent { slot, place, device: devices.len() });
            }
            devices.push((device, outcome));
        }
        for device in push.envelopes.listed() {
            if !devices.iter().any(|&(known, _)| known == device) {
                self.counters.messages_not_connected.add(1);
                devices.push((device, Outcome::NotConnected));
            }
        }
        if devices.is_empty() {
            self.counters.messages_not_connected.add(1);
        }
        // Counted off after the submission, which may still change the outcomes.
        if let Some(job) = self.jobs.get_mut(place.job) {
            job.results[place.index] = Some(Ok(Pushed { id, devices, duplicate: false }));
        }
        self.submitted.push(place);
    }

    /// Whether the session is sent as much as one turn allows already, while its socket has taken all so far.
    fn has_enough(&self, slot: u32) -> bool {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        session.is_some_and(|session| {
            session.unsent.is_none()
                && session.outbox != NONE
                && self.outbox.len_of(session.outbox) >= TURN_BYTES_MAX
        })
    }

    /// Sends one ephemeral message to one session, if it keeps up.
    fn send_if_keeping_up(&mut self, slot: u32, bytes: Bytes) -> Outcome {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        if session.is_none_or(|session| session.unsent.is_some()) {
            self.counters.messages_not_keeping_up.add(1);
            return Outcome::NotKeepingUp;
        }
        self.counters.messages_sent.add(1);
        self.post(slot, bytes);
        Outcome::Sent
    }

    /// A connection broke in this turn's submission: what it was sent has not arrived.
    pub(super) fn deliveries_broke(&mut self, broken: u32) {
        for sent in self.sent.iter().filter(|sent| sent.slot == broken) {
            let job = self.jobs.get_mut(sent.place.job);
            if let Some(Some(Ok(pushed))) = job.map(|job| &mut job.results[sent.place.index]) {
                pushed.devices[sent.device].1 = Outcome::Broken;
                self.counters.messages_broken.add(1);
            }
        }
    }
}
