//! Requests of the control plane: pushes to users' devices, broadcasts, and the rest.
//!
//! A push is answered after the submission that carried it, since only then is it known which connections broke.
//! What goes to every session is a pass over the table, a slice per turn, so that nothing waits behind it for long.

use std::sync::Arc;

use bytes::Bytes;
use campanile_engine::{Command, Commands};
use campanile_protocol::frame::{close_code, close_frame};
use campanile_protocol::ids::{DeviceId, MessageId};
use campanile_protocol::messages::{Drain, EncodeError, Encoding, Event, ServerFrame};

use super::connection::Parcel;
use super::directory::NONE;
use super::outbox::TURN_BYTES_MAX;
use super::requests::{
    Answer, Bell, Envelopes, Outcome, Push, Pushed, Request, RequestBody, Ticket, Unavailable,
};
use super::{Draining, REQUESTS_PER_TURN_MAX, SENDS_PER_TURN, Shard};

/// Slots looked at in one slice, whether or not they have a session.
const SLOTS_PER_SLICE: u32 = 8_192;

/// Work for every session, done in slices.
pub(super) struct Pass {
    task: Task,
    next_slot: u32,
}

enum Task {
    Broadcast { asker: Asker, frames: Box<Frames>, sent: u32, skipped: u32 },
    Drain,
}

/// An answer on its way.
pub(super) struct Reply {
    asker: Asker,
    answer: Answer,
}

type Asker = (Ticket, Option<Arc<Bell>>);

/// A send of this turn, and the part of an answer that depends on it.
pub(super) struct Sent {
    slot: u32,
    answer: usize,
    push: usize,
    device: usize,
}

/// A frame in each encoding, made when the first session needs it.
struct Frames {
    frame: ServerFrame,
    encoded: [Option<Result<Bytes, ()>>; 2],
}

impl Frames {
    fn new(frame: ServerFrame) -> Frames {
        Frames { frame, encoded: [None, None] }
    }

    /// `None` if the payload cannot be put into this encoding.
    fn get(&mut self, encoding: Encoding) -> Option<Bytes> {
        let place = match encoding {
            Encoding::Protobuf => &mut self.encoded[0],
            Encoding::Json => &mut self.encoded[1],
        };
        let encode = || {
            let mut bytes = Vec::new();
            let result: Result<(), EncodeError> = self.frame.encode_frame(encoding, &mut bytes);
            result.map(|()| bytes.into()).map_err(drop)
        };
        place.get_or_insert_with(encode).clone().ok()
    }
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

    /// Executes pushes of the last answer until about so many sends; one that reaches nobody counts as one. How many there
    /// were.
    fn push_slice(&mut self, sends_max: usize) -> usize {
        let mut sends = 0;
        while sends < sends_max {
            let before = self.sent.len();
            let Some(push) = self.pushing.next() else { break };
            match self.push(push) {
                Ok(pushed) => {
                    sends += (self.sent.len() - before).max(1);
                    if let Some(Reply { answer: Answer::Pushed(done), .. }) = self.answers.last_mut() {
                        done.push(Ok(pushed));
                    }
                }
                Err(push) => {
                    let rest: Vec<Push> = std::iter::once(push).chain(self.pushing.by_ref()).collect();
                    self.pushing = rest.into_iter();
                    break;
                }
            }
        }
        sends
    }

    /// Sends the answers whose sends are over. One whose pushes are not all done stays.
    pub(super) fn send_answers(&mut self) {
        let stays = usize::from(!self.pushing.as_slice().is_empty());
        let done = self.answers.len() - stays;
        for Reply { asker: (ticket, bell), answer } in self.answers.drain(..done) {
            self.inbox.answer(ticket, answer);
            // Only now: whoever is woken finds the answer.
            drop(bell);
        }
    }

    /// Whether the shard is to stop at once.
    fn take_request(&mut self, request: Request, commands: &mut Commands<Parcel>) -> bool {
        let Request { ticket, bell, body } = request;
        let asker = (ticket, bell);
        let answer = match body {
            RequestBody::Push(pushes) => {
                self.pushing = pushes.into_iter();
                Answer::Pushed(Vec::with_capacity(self.pushing.len()))
            }
            RequestBody::Broadcast(event) => return self.begin_broadcast(asker, &event),
            RequestBody::Devices(user) => {
                let _ = user;
                Answer::Devices(Err(Unavailable::StoreFailed))
            }
            RequestBody::Disconnect(user, device) => {
                let slots: Vec<u32> = match self.directory.find(&user) {
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
                Answer::Disconnected(slots.len() as u32)
            }
            RequestBody::Register(..) => Answer::Registered(Err(Unavailable::StoreFailed)),
            RequestBody::List { .. } => Answer::Listed(Err(Unavailable::StoreFailed)),
            RequestBody::Fetch(..) => Answer::Fetched(Err(Unavailable::StoreFailed)),
            RequestBody::Confirm(..) => Answer::Confirmed(Err(Unavailable::StoreFailed)),
            RequestBody::Drain { reconnect_within_ms } => {
                if self.draining.is_none() {
                    self.draining = Some(Draining { reconnect_within_ms });
                    commands.push(Command::Accept { on: false });
                    self.passes.push_back(Pass { task: Task::Drain, next_slot: 0 });
                }
                Answer::Draining
            }
            RequestBody::Stop => {
                self.answers.push(Reply { asker, answer: Answer::Draining });
                return true;
            }
        };
        self.answers.push(Reply { asker, answer });
        false
    }

    /// The shard ends: whoever still waits is answered, with what has been done so far.
    pub(super) fn answer_the_rest(&mut self, commands: &mut Commands<Parcel>) {
        loop {
            // Nothing is sent any more that would not be cut off; what is left of the pushes finds nobody.
            self.push_slice(usize::MAX);
            self.pushing = Vec::new().into_iter();
            let Some(request) = self.inbox.take() else { break };
            self.take_request(request, commands);
        }
        for pass in std::mem::take(&mut self.passes) {
            if let Task::Broadcast { asker, sent, skipped, .. } = pass.task {
                self.reply_to_broadcast(asker, sent, skipped);
            }
        }
    }

    /// Executes one push, unless a device that keeps up is sent enough this turn: then the push is given back for the
    /// next one.
    #[allow(clippy::result_large_err)] // The push comes back so that it need not be copied, and that is rare.
    fn push(&mut self, push: Push) -> Result<Pushed, Push> {
        let mut meant = std::mem::take(&mut self.meant);
        meant.clear();
        if let Some(user) = self.directory.find(&push.user) {
            meant.extend(self.sessions_of(user).filter_map(|(slot, session)| {
                let device = DeviceId::try_from(session.device).ok()?;
                Some((slot, session.encoding, device))
            }));
        }
        let result = if meant.iter().any(|&(slot, ..)| self.has_enough(slot)) {
            Err(push)
        } else {
            Ok(self.push_to(push, &meant))
        };
        self.meant = meant;
        result
    }

    fn push_to(&mut self, push: Push, meant: &[(u32, Encoding, DeviceId)]) -> Pushed {
        self.last_seq += self.seq_step;
        let id = MessageId { epoch: self.settings.epoch, seq: self.last_seq };
        let mut message = push.message;
        message.payload = match &push.envelopes {
            Envelopes::All(payload) | Envelopes::Listed(_, payload) => Some(payload.clone()),
            Envelopes::PerDevice(_) => None,
        };
        message.id = id.to_string();
        message.seq = self.last_seq;
        let answer = self.answers.len() - 1;
        let place = match &self.answers[answer].answer {
            Answer::Pushed(done) => done.len(),
            _ => 0,
        };
        let mut frames = Frames::new(ServerFrame::Deliver(message));
        let mut devices = Vec::with_capacity(meant.len());
        for &(slot, encoding, device) in meant {
            let outcome = match frames.get(encoding) {
                Some(bytes) => self.deliver(slot, bytes),
                None => Outcome::NotEncodable,
            };
            if outcome == Outcome::Sent {
                self.sent.push(Sent { slot, answer, push: place, device: devices.len() });
            }
            devices.push((device, outcome));
        }
        if let Envelopes::Listed(listed, _) = &push.envelopes {
            for &device in listed {
                if !devices.iter().any(|&(known, _)| known == device) {
                    self.counters.messages_not_connected.add(1);
                    devices.push((device, Outcome::NotConnected));
                }
            }
        } else if devices.is_empty() {
            self.counters.messages_not_connected.add(1);
        }
        Pushed { id, devices, duplicate: false }
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

    /// Sends one message to one session, if it keeps up.
    fn deliver(&mut self, slot: u32, bytes: Bytes) -> Outcome {
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
            if let Some(Reply { answer: Answer::Pushed(pushed), .. }) = self.answers.get_mut(sent.answer) {
                if let Ok(pushed) = &mut pushed[sent.push] { pushed.devices[sent.device].1 = Outcome::Broken; }
                self.counters.messages_broken.add(1);
            }
        }
    }

    fn begin_broadcast(&mut self, asker: Asker, event: &Arc<Event>) -> bool {
        let frames = Box::new(Frames::new(ServerFrame::Event(Event::clone(event))));
        let task = Task::Broadcast { asker, frames, sent: 0, skipped: 0 };
        self.passes.push_back(Pass { task, next_slot: 0 });
        false
    }

    fn reply_to_broadcast(&mut self, asker: Asker, sent: u32, skipped: u32) {
        let reply = Reply { asker, answer: Answer::Broadcast { sent, skipped } };
        // Before an answer that is not complete, which stays the last.
        let at = self.answers.len() - usize::from(!self.pushing.as_slice().is_empty());
        self.answers.insert(at, reply);
        self.sent.iter_mut().filter(|sent| sent.answer >= at).for_each(|sent| sent.answer += 1);
    }

    /// Advances the oldest pass by one slice.
    pub(super) fn advance_pass(&mut self, sends_max: usize) {
        let Some(mut pass) = self.passes.pop_front() else { return };
        let end = self.connections.end();
        let slots_end = pass.next_slot.saturating_add(SLOTS_PER_SLICE).min(end);
        let mut sends = 0;
        while pass.next_slot < slots_end && sends < sends_max {
            let slot = pass.next_slot;
            pass.next_slot += 1;
            let Some(session) = self.connections.get(slot).and_then(|connection| connection.as_session())
            else {
                continue;
            };
            sends += 1;
            let (encoding, echo) = (session.encoding, session.is_echo());
            match &mut pass.task {
                Task::Broadcast { frames, sent, skipped, .. } => {
                    let outcome = frames.get(encoding).map(|bytes| self.deliver_event(slot, bytes));
                    match outcome {
                        Some(true) => *sent += 1,
                        Some(false) | None => *skipped += 1,
                    }
                }
                Task::Drain => self.drain_session(slot, encoding, echo),
            }
        }
        if pass.next_slot < end {
            return self.passes.push_front(pass);
        }
        if let Task::Broadcast { asker, sent, skipped, .. } = pass.task {
            self.reply_to_broadcast(asker, sent, skipped);
        }
    }

    fn deliver_event(&mut self, slot: u32, bytes: Bytes) -> bool {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let keeps_up = session.is_some_and(|session| session.unsent.is_none());
        if keeps_up {
            self.counters.broadcast_sent.add(1);
            self.post(slot, bytes);
        } else {
            self.counters.broadcast_skipped.add(1);
        }
        keeps_up
    }

    /// Tells a client when to come back, and closes.
    fn drain_session(&mut self, slot: u32, encoding: Encoding, echo: bool) {
        let within = self.draining.as_ref().map_or(0, |draining| draining.reconnect_within_ms);
        let reconnect_after_ms = self.random.u32(0..=within);
        let mut last = Vec::with_capacity(64);
        if !echo {
            let drain = ServerFrame::Drain(Drain { reconnect_after_ms });
            let encoded = drain.encode_frame(encoding, &mut last);
            debug_assert!(encoded.is_ok(), "a drain has no payload that could fail");
        }
        let reason = format!("draining: come back in {reconnect_after_ms} ms");
        last.extend_from_slice(&close_frame(close_code::DRAINING, &reason));
        self.finish(slot, last.into());
    }
}
