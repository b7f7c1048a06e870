//! Requests of the control plane and what becomes of them: pushes to users' devices, and the rest.
//!
//! A durable push is numbered, given to the store, and sent at once to the devices that are live; its publisher is
//! answered when the store has it. An ephemeral push is answered after the submission that carried it, since only then is
//! it known which connections broke.

use std::sync::Arc;

use bytes::Bytes;
use campanile_engine::{Command, Commands, Conn};
use campanile_protocol::frame::close_code;
use campanile_protocol::ids::{DeviceId, MessageId, UserId};
use campanile_protocol::messages::{Deliver, Encoding, Payload};
use prost::Message as _;

use super::connection::Parcel;
use super::directory::NONE;
use super::frames::Frames;
use super::mail::Mail;
use super::outbox::TURN_BYTES_MAX;
use super::requests::{
    Answer, Bell, Durability, Envelopes, Outcome, Push, PushError, Pushed, Request, RequestBody, Ticket,
    Unavailable,
};
use super::storage::Awaiting;
use super::{Draining, REQUESTS_PER_TURN_MAX, SENDS_PER_TURN, Shard};
use crate::mailbox::operations::{Operation, Registration, StoreFailed};
use crate::mailbox::{Append, Envelope, Stored};

/// Who waits for an answer.
pub(super) enum Asker {
    /// The control plane.
    Control(Ticket, Option<Arc<Bell>>),
    /// A session that has sent a sync frame, by its name for it.
    Session { conn: Conn, reference: String },
}

/// Pushes that are answered together.
pub(super) struct Job {
    asker: Asker,
    results: Vec<Option<Result<Pushed, PushError>>>,
    left: usize,
}

/// One push of a job.
#[derive(Copy, Clone, Debug)]
pub(super) struct Place {
    pub(super) job: usize,
    pub(super) index: usize,
}

/// An answer that leaves after this turn's sends.
pub(super) struct Reply {
    asker: Asker,
    answer: Answer,
}

/// A send of this turn that decides an outcome.
pub(super) struct Sent {
    slot: u32,
    place: Place,
    device: usize,
}

/// A durable push whose append is under way.
pub(super) struct Appending {
    place: Place,
    user: u32,
    seq: u64,
    devices: Vec<(DeviceId, Outcome)>,
    pub(super) bytes: usize,
}

impl Shard {
    /// Whether requests wait, or the rest of one.
    pub(super) fn has_requests(&self) -> bool {
        self.inbox.has_mail() || !self.pushing.as_slice().is_empty()
    }

    /// Takes requests, as many as one turn may. Whether the shard is to stop at once, and how many sends there were.
    pub(super) fn take_requests(&mut self, commands: &mut Commands<Parcel>) -> (bool, usize) {
        let (mut stop, mut sends) = (false, 0);
        for _ in 0..REQUESTS_PER_TURN_MAX {
            sends += self.push_slice(SENDS_PER_TURN.saturating_sub(sends));
            if !self.pushing.as_slice().is_empty() || sends >= SENDS_PER_TURN {
                break;
            }
            let Some(request) = self.inbox.take() else { break };
            stop |= self.take_request(request, commands);
        }
        (stop, sends)
    }

    /// Executes pushes of the last request until about so many sends; one that reaches nobody counts as one. How many
    /// there were.
    fn push_slice(&mut self, sends_max: usize) -> usize {
        let mut sends = 0;
        while sends < sends_max {
            let before = self.sends_of_pushes;
            let Some(push) = self.pushing.next() else { break };
            let place = self.pushing_at;
            let given_back = match push.durability {
                Durability::Ephemeral => self.push_ephemeral(place, push).err(),
                Durability::Durable => {
                    self.push_durable(place, push);
                    None
                }
            };
            if let Some(push) = given_back {
                let rest: Vec<Push> = std::iter::once(push).chain(self.pushing.by_ref()).collect();
                self.pushing = rest.into_iter();
                break;
            }
            self.pushing_at.index += 1;
            sends += (self.sends_of_pushes - before).max(1);
        }
        sends
    }

    /// Sends the answers whose sends are over.
    pub(super) fn send_answers(&mut self) {
        for place in std::mem::take(&mut self.submitted) {
            self.count_off(place);
        }
        for Reply { asker, answer } in std::mem::take(&mut self.replies) {
            if let Asker::Control(ticket, bell) = asker {
                self.inbox.answer(ticket, answer);
                // Only now: whoever is woken finds the answer.
                drop(bell);
            }
        }
    }

    /// Answers after this turn's sends.
    pub(super) fn reply(&mut self, asker: Asker, answer: Answer) {
        self.replies.push(Reply { asker, answer });
    }

    /// Whether the shard is to stop at once.
    fn take_request(&mut self, request: Request, commands: &mut Commands<Parcel>) -> bool {
        let Request { ticket, bell, body } = request;
        let asker = Asker::Control(ticket, bell);
        match body {
            RequestBody::Push(pushes) => {
                let job = self.begin_job(asker, pushes.len());
                self.pushing_at = Place { job, index: 0 };
                self.pushing = pushes.into_iter();
            }
            RequestBody::Broadcast(event) => self.begin_broadcast(asker, &event),
            RequestBody::Devices(user) => {
                let tag = self.storage.await_answer(Awaiting::Devices { asker, user: user.clone() });
                self.storage.ask(Operation::User(tag, user));
            }
            RequestBody::Register(user, device) => {
                let tag = self.storage.await_answer(Awaiting::Register { asker, user: user.clone() });
                let devices_max = self.settings.limits.devices_per_user_max;
                let registration = Registration { user, device, devices_max, now_ms: self.now.unix_ms };
                self.storage.ask(Operation::Register(tag, registration));
            }
            RequestBody::List { address, after, messages_max } => {
                self.flush_trims();
                let tag = self.storage.await_answer(Awaiting::Mail { asker });
                let bytes_max = LIST_BYTES_MAX;
                self.storage.ask(Operation::Read { tag, address, after, messages_max, bytes_max });
            }
            RequestBody::Fetch(address, id) if id.epoch == self.settings.epoch => {
                self.flush_trims();
                let tag = self.storage.await_answer(Awaiting::Mail { asker });
                self.storage.ask(Operation::Fetch(tag, address, id.seq));
            }
            RequestBody::Fetch(..) => self.reply(asker, Answer::Fetched(Ok(None))),
            RequestBody::Confirm(address, id) if id.epoch == self.settings.epoch => {
                let tag = self.storage.await_answer(Awaiting::Mail { asker });
                self.storage.ask(Operation::Remove(tag, address, id.seq));
            }
            RequestBody::Confirm(..) => self.reply(asker, Answer::Confirmed(Ok(false))),
            RequestBody::Disconnect(user, device) => {
                let disconnected = self.disconnect(&user, device);
                self.reply(asker, Answer::Disconnected(disconnected));
            }
            RequestBody::Drain { reconnect_within_ms } => {
                if self.draining.is_none() {
                    self.draining = Some(Draining { reconnect_within_ms });
                    commands.push(Command::Accept { on: false });
                    self.begin_drain();
                }
                self.reply(asker, Answer::Draining);
            }
            RequestBody::Stop => {
                self.reply(asker, Answer::Draining);
                return true;
            }
        }
        false
    }

    /// The shard ends: what waits in its queue is still taken, so that it is stored; whoever has no answer by then is
    /// told that the node is stopping.
    pub(super) fn answer_the_rest(&mut self, commands: &mut Commands<Parcel>) {
        loop {
            // What is sent now is cut off; what is given back finds nobody.
            self.push_slice(usize::MAX);
            self.pushing = Vec::new().into_iter();
            let Some(request) = self.inbox.take() else { break };
            self.take_request(request, commands);
        }
        self.end_passes();
    }

    /// Closes the sessions of a user, or of one device. How many.
    fn disconnect(&mut self, user: &UserId, device: Option<DeviceId>) -> u32 {
        let slots: Vec<u32> = match self.directory.find(user) {
            Some(user) => self
                .sessions_of(user)
                .filter(|(_, session)| device.is_none_or(|device| device.get() == session.device))
                .map(|(slot, _)| slot)
                .collect(),
            None => Vec::new(),
        };
        for &slot in &slots {
            self.counters.sessions_disconnected.add(1);
            self.close(slot, close_code::FORBIDDEN, "disconnected by the operator");
        }
        slots.len() as u32
    }

    pub(super) fn begin_job(&mut self, asker: Asker, pushes: usize) -> usize {
        self.jobs.insert(Job { asker, results: vec![None; pushes], left: pushes })
    }

    /// The push has its result.
    pub(super) fn finish_push(&mut self, place: Place, result: Result<Pushed, PushError>) {
        if let Some(job) = self.jobs.get_mut(place.job) {
            job.results[place.index] = Some(result);
        }
        self.count_off(place);
    }

    fn count_off(&mut self, place: Place) {
        let Some(job) = self.jobs.get_mut(place.job) else { return };
        job.left -= 1;
        if job.left > 0 {
            return;
        }
        let Job { asker, results, .. } = self.jobs.remove(place.job);
        // Every push has its result when all are counted off.
        let mut results = results.into_iter().flatten();
        match asker {
            Asker::Control(..) => self.reply(asker, Answer::Pushed(results.collect())),
            Asker::Session { conn, reference } => {
                if let Some(result) = results.next() {
                    self.answer_sync(conn, reference, result);
                }
            }
        }
    }

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

    /// Executes one durable push of a user whose devices are known: numbers it, gives it to the store, and sends it to
    /// those who are live.
    pub(super) fn deliver(&mut self, user: u32, place: Place, push: Push) {
        let Some(known) = self.directory.user(user) else { return };
        if known.devices.is_empty() {
            return self.finish_push(place, Err(PushError::NoDevices));
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
        // One that was parked for long may have expired meanwhile: the store keeps it from being delivered.
        let expired = u64::try_from(message.expires_at_ms).is_ok_and(|at_ms| at_ms <= self.now.unix_ms);
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
            let live = slot != NONE && !expired;
            let sent = live && self.send_live(slot, seq, body.len(), frames);
            if live && !sent {
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

    /// Sends a durable message to a session, if it is live, its window has room and its socket keeps up. Otherwise the
    /// session finds it in its mailbox.
    fn send_live(&mut self, slot: u32, seq: u64, bytes: usize, frames: &mut Frames) -> bool {
        let (window, now) = (self.window(), self.now.time);
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return false;
        };
        let room = match &session.mail {
            None => true,
            Some(mail) => mail.is_live() && mail.has_room(bytes, window),
        };
        let keeps_up = session.unsent.is_none();
        let frame = if room && keeps_up { frames.get(session.encoding) } else { None };
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

/// Bytes of messages that one page for a device that polls may have, beyond its first message.
const LIST_BYTES_MAX: usize = 1024 * 1024;

impl Envelopes {
    /// What a device is to receive; `None` if it is not meant.
    fn payload(&self, device: DeviceId) -> Option<&Payload> {
        match self {
            Envelopes::All(payload) => Some(payload),
            Envelopes::Listed(devices, payload) => devices.contains(&device).then_some(payload),
            Envelopes::PerDevice(each) => {
                each.iter().find(|(meant, _)| *meant == device).map(|(_, payload)| payload)
            }
        }
    }

    /// The devices that are named.
    fn listed(&self) -> impl Iterator<Item = DeviceId> + '_ {
        let (listed, each): (&[DeviceId], &[(DeviceId, Payload)]) = match self {
            Envelopes::All(_) => (&[], &[]),
            Envelopes::Listed(devices, _) => (devices, &[]),
            Envelopes::PerDevice(each) => (&[], each),
        };
        listed.iter().copied().chain(each.iter().map(|&(device, _)| device))
    }
}

/// A message as it is stored, and as frames.
fn encoded(message: &mut Deliver, payload: Option<&Payload>) -> (Bytes, Frames) {
    message.payload = payload.cloned();
    let body = Bytes::from(message.encode_to_vec());
    (body.clone(), Frames::of_deliver(body))
}
