//! Durable pushes: numbered, given to the store, and sent at once to the devices that are live. The publisher is answered
//! when the store has it.

use bytes::Bytes;
use campanile_protocol::ids::{DeviceId, MessageId};
use campanile_protocol::messages::{Deliver, Payload};
use prost::Message as _;

use super::Shard;
use super::directory::NONE;
use super::frames::Frames;
use super::jobs::Place;
use super::mail::Mail;
use super::requests::{Envelopes, Outcome, Push, PushError, Pushed, Unavailable};
use super::storage::Awaiting;
use campanile_mailbox::operations::{Operation, StoreFailed, Takes};
use campanile_mailbox::{Append, Envelope, Stored};

/// A durable push whose append is under way.
pub(super) struct Appending {
    place: Place,
    user: u32,
    seq: u64,
    devices: Vec<(DeviceId, Outcome)>,
    pub(super) bytes: usize,
}

impl Shard {
    /// Executes one durable push of a user whose devices are known: numbers it, gives it to the store, and sends it to
    /// those who are live.
    pub(super) fn deliver(&mut self, user: u32, place: Place, push: Push) {
        let Some(known) = self.directory.user(user) else { return };
        if known.devices.is_empty() {
            return self.finish_push(place, Err(PushError::NoDevices));
        }
        if self.storage.takes() == Takes::Nothing {
            self.counters.pushes_failed_store.add(1);
            return self.finish_push(place, Err(Unavailable::StoreFailed.into()));
        }
        if self.storage.is_overloaded() {
            return self.finish_push(place, Err(Unavailable::Overloaded.into()));
        }
        let Some(seq) = self.storage.number() else {
            return self.finish_push(place, Err(Unavailable::Overloaded.into()));
        };
        let Push { user: id, envelopes, mut message, dedup, .. } = push;
        message.id = MessageId { epoch: self.settings.epoch, seq }.to_string();
        message.seq = seq;
        let meant = self.meant_by(user, &envelopes);
        // One that was parked for long may have expired meanwhile, and a full store is going to refuse it: whether it is
        // delivered is left to the store.
        let expired = u64::try_from(message.expires_at_ms).is_ok_and(|at_ms| at_ms <= self.now.unix_ms);
        let now = !expired && self.storage.takes() == Takes::Messages;
        let mut devices = Vec::with_capacity(meant.len());
        let mut stored = Vec::with_capacity(meant.len());
        let mut behind = Vec::new();
        let mut shared: Option<(Bytes, Frames)> = None;
        for (device, slot) in meant {
            let Some(slot) = slot else {
                devices.push((device, Outcome::UnknownDevice));
                continue;
            };
            let mut own;
            let (body, frames) = match &envelopes {
                Envelopes::PerDevice(_) => {
                    own = encoded(&mut message, envelopes.payload(device));
                    &mut own
                }
                _ => shared.get_or_insert_with(|| encoded(&mut message, envelopes.payload(device))),
            };
            let body = body.clone();
            let frames = Some(frames).filter(|_| now);
            let sent = slot != NONE && self.send_live(slot, seq, body.len(), frames);
            if slot != NONE && !sent {
                behind.push(slot);
            }
            devices.push((device, if sent { Outcome::Sent } else { Outcome::Stored }));
            stored.push(Envelope { device, body, confirmed: false });
        }
        if stored.is_empty() {
            let id = MessageId { epoch: self.settings.epoch, seq };
            return self.finish_push(place, Ok(Pushed { id, devices, duplicate: false }));
        }
        let bytes = stored.iter().map(|envelope| envelope.body.len()).sum();
        let expires_at_ms = u64::try_from(message.expires_at_ms).unwrap_or(0);
        let topic = message.topic.into_boxed_str();
        let append = Append { user: id, seq, expires_at_ms, topic, envelopes: stored, dedup };
        if let Some(known) = self.directory.user_mut(user) {
            known.awaited += 1;
            known.appends += 1;
        }
        let appending = Appending { place, user, seq, devices, bytes };
        let tag = self.storage.await_answer(Awaiting::Append(appending));
        self.storage.ask(Operation::Append(tag, append));
        // Only now: what they read from here on has the message.
        for slot in behind {
            self.deliver_waiting(slot);
        }
    }

    /// Which devices a push is for: each with the slot of its session or [`NONE`]; `None` for one that is not
    /// registered.
    fn meant_by(&self, user: u32, envelopes: &Envelopes) -> Vec<(DeviceId, Option<u32>)> {
        let Some(user) = self.directory.user(user) else { return Vec::new() };
        if let Envelopes::All(_) = envelopes {
            let known = user.devices.iter();
            return known
                .filter_map(|known| Some((DeviceId::try_from(known.device).ok()?, Some(known.slot))))
                .collect();
        }
        let slot = |device: DeviceId| {
            user.devices.iter().find(|known| known.device == device.get()).map(|known| known.slot)
        };
        envelopes.listed().map(|device| (device, slot(device))).collect()
    }

    /// Sends a durable message to a session, if there are frames of it, the session is live, its window has room and its
    /// socket keeps up. Otherwise the session finds it in its mailbox.
    fn send_live(&mut self, slot: u32, seq: u64, bytes: usize, frames: Option<&mut Frames>) -> bool {
        let (window, now) = (self.window(), self.now.time);
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return false;
        };
        let room = match &session.mail {
            None => true,
            Some(mail) => mail.is_live() && mail.has_room(bytes, window),
        };
        let keeps_up = session.unsent.is_none();
        let frame = frames.filter(|_| room && keeps_up).and_then(|frames| frames.get(session.encoding));
        let mail = session.mail.get_or_insert_with(|| Box::new(Mail::live(seq - 1)));
        let Some(frame) = frame else {
            mail.fall_behind(seq);
            return false;
        };
        if session.acknowledges {
            mail.sent(seq, bytes);
        } else {
            session.mail = None;
            let (user, device) = (session.user, session.device);
            self.storage.trim(user, device, seq, true, now);
        }
        self.counters.messages_sent.add(1);
        self.sends_of_pushes += 1;
        self.post(slot, frame);
        true
    }

    /// The store has a message, or not: the publisher is told.
    pub(super) fn appended(&mut self, appending: Appending, result: Result<Vec<Stored>, StoreFailed>) {
        let Appending { place, user: number, seq, mut devices, .. } = appending;
        if let Some(user) = self.directory.user_mut(number) {
            user.awaited -= 1;
            user.appends -= 1;
        }
        let result = match result {
            Err(StoreFailed) => {
                self.counters.pushes_failed_store.add(1);
                Err(Unavailable::StoreFailed.into())
            }
            Ok(stored) => {
                let appended = devices.iter_mut().filter(|(_, outcome)| *outcome != Outcome::UnknownDevice);
                for ((device, outcome), stored) in appended.zip(stored) {
                    *outcome = match stored {
                        Stored::Yes => self.state_of(number, *device, seq),
                        // A session that has nothing to confirm says nothing about what was refused.
                        Stored::MailboxFull => Outcome::MailboxFull,
                        Stored::StorageFull => Outcome::StorageFull,
                    };
                }
                let id = MessageId { epoch: self.settings.epoch, seq };
                Ok(Pushed { id, devices, duplicate: false })
            }
        };
        self.directory.rest(number);
        self.finish_push(place, result);
    }

    /// How far a device is with a message that was assigned to it.
    fn state_of(&self, user: u32, device: DeviceId, seq: u64) -> Outcome {
        let slot = self.directory.user(user).and_then(|user| user.slot_of(device));
        let session = slot.and_then(|slot| self.connections.get(slot)?.as_session());
        match session.map(|session| (session.acknowledges, &session.mail)) {
            None => Outcome::Stored,
            Some((false, None)) => Outcome::Sent,
            Some((true, None)) => Outcome::Confirmed,
            Some((_, Some(mail))) if mail.has_confirmed(seq) => Outcome::Confirmed,
            Some((_, Some(mail))) if mail.has_sent(seq) => Outcome::Sent,
            Some(_) => Outcome::Stored,
        }
    }
}

impl Envelopes {
    /// What a device is to receive; `None` if it is not meant.
    pub(super) fn payload(&self, device: DeviceId) -> Option<&Payload> {
        match self {
            Envelopes::All(payload) => Some(payload),
            Envelopes::Listed(devices, payload) => devices.contains(&device).then_some(payload),
            Envelopes::PerDevice(each) => {
                each.iter().find(|(meant, _)| *meant == device).map(|(_, payload)| payload)
            }
        }
    }

    /// The bytes of all payloads.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Envelopes::All(payload) | Envelopes::Listed(_, payload) => payload.content_bytes(),
            Envelopes::PerDevice(each) => each.iter().map(|(_, payload)| payload.content_bytes()).sum(),
        }
    }

    /// The devices that are named.
    pub(super) fn listed(&self) -> impl Iterator<Item = DeviceId> + '_ {
        let (listed, each): (&[DeviceId], &[(DeviceId, Payload)]) = match self {
            Envelopes::All(_) => (&[], &[]),
            Envelopes::Listed(devices, _) => (devices, &[]),
            Envelopes::PerDevice(each) => (&[], each),
        };
        listed.iter().copied().chain(each.iter().map(|&(device, _)| device))
    }
}

/// A message as it is stored, and as frames.
pub(super) fn encoded(message: &mut Deliver, payload: Option<&Payload>) -> (Bytes, Frames) {
    message.payload = payload.cloned();
    let body = Bytes::from(message.encode_to_vec());
    (body.clone(), Frames::of_deliver(body))
}
