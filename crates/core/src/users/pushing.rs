//! Durable pushes: numbered, given to the store, and to the sessions that are live. The publisher is answered when the
//! store has it.

use bytes::Bytes;
use campanile_mailbox::operations::{StoreFailed, Takes};
use campanile_mailbox::{Append, Envelope, Stored};
use campanile_protocol::ids::{DeviceId, MessageId};
use campanile_protocol::messages::Deliver;

use super::appending::Appending;
use super::devices::{At, KnownDevice};
use super::directory::Directory;
use super::directory::User;
use crate::control::jobs::{Jobs, Place};
use crate::delivery::frames::{Frames, encoded};
use crate::requests::{Envelopes, Outcome, Push, PushError, Pushed, Unavailable};
use crate::seam::{Delivered, Progress, SessionRef, Sessions};
use crate::store::Store;
use crate::turn::Turn;

/// The homes, as far as they number messages and have them stored.
pub(crate) struct AppendHandler<'a> {
    pub(super) directory: &'a mut Directory,
    pub(super) store: &'a mut Store,
    pub(super) jobs: &'a mut Jobs,
}

impl AppendHandler<'_> {
    /// Executes one durable push of a user whose devices are known: numbers it, gives it to the store, and to those who
    /// are live.
    pub(super) fn assign(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        user: u32,
        place: Place,
        push: Push,
    ) {
        let number = match self.number_for(turn, user) {
            Ok(number) => number,
            Err(error) => return self.jobs.finish(place, Err(error)),
        };
        let Push { user: id, envelopes, mut message, dedup, .. } = push;
        let message_id = MessageId { epoch: turn.settings.epoch, seq: number };
        message.id = message_id.to_string();
        message.seq = number;
        // One that was parked for long may have expired meanwhile, and a full store is going to refuse it: whether it
        // is delivered is left to the store.
        let expired = u64::try_from(message.expires_at_ms).is_ok_and(|at_ms| at_ms <= turn.now.unix_ms);
        let now = !expired && self.store.takes() == Takes::Messages;
        let Some(known) = self.directory.user_mut(user) else { return };
        let mut spread = Spread::new(sessions, &mut message, &envelopes, now);
        spread.give_all(turn, known);
        let Spread { devices, stored, confirmed, is_missed, .. } = spread;
        if stored.is_empty() {
            let pushed = Pushed { id: message_id, devices, duplicate: false };
            return self.jobs.finish(place, Ok(pushed));
        }
        known.awaited += 1;
        known.appends += 1;
        if is_missed {
            known.missed = number as u32;
        }
        for device in confirmed {
            self.store.trim(user, device, number, true, turn.now.time);
        }
        let bytes = stored.iter().map(|envelope| envelope.body.len()).sum();
        let expires_at_ms = u64::try_from(message.expires_at_ms).unwrap_or(0);
        let topic = message.topic.into_boxed_str();
        let append = Append { user: id, seq: number, expires_at_ms, topic, envelopes: stored, dedup };
        self.store.append(Appending { place, user, number, devices, bytes }, append);
    }

    /// A number for a message of the user, if it can be stored.
    fn number_for(&mut self, turn: &Turn<'_>, user: u32) -> Result<u64, PushError> {
        if self.directory.user(user).is_none_or(|user| user.devices.is_empty()) {
            return Err(PushError::NoDevices);
        }
        if self.store.takes() == Takes::Nothing {
            turn.counters.pushes_failed_store.add(1);
            return Err(Unavailable::StoreFailed.into());
        }
        if self.store.is_overloaded() {
            return Err(Unavailable::Overloaded.into());
        }
        self.store.number().ok_or(Unavailable::Overloaded.into())
    }

    /// The store has a message, or not: the publisher is told.
    pub(crate) fn appended(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &impl Sessions,
        appending: Appending,
        result: Result<Vec<Stored>, StoreFailed>,
    ) {
        let Appending { place, user, number, mut devices, .. } = appending;
        if let Some(user) = self.directory.user_mut(user) {
            user.awaited -= 1;
            user.appends -= 1;
        }
        let result = match result {
            Err(StoreFailed) => {
                turn.counters.pushes_failed_store.add(1);
                Err(Unavailable::StoreFailed.into())
            }
            Ok(stored) => {
                let appended = devices.iter_mut().filter(|(_, outcome)| *outcome != Outcome::UnknownDevice);
                for ((device, outcome), stored) in appended.zip(stored) {
                    *outcome = match stored {
                        Stored::Yes => self.progress_of(sessions, user, *device, number),
                        // A session that has nothing to confirm says nothing about what was refused.
                        Stored::MailboxFull => Outcome::MailboxFull,
                        Stored::StorageFull => Outcome::StorageFull,
                    };
                }
                let id = MessageId { epoch: turn.settings.epoch, seq: number };
                Ok(Pushed { id, devices, duplicate: false })
            }
        };
        self.directory.rest(user);
        self.jobs.finish(place, result);
    }

    /// How far a device is with a message that was assigned to it.
    fn progress_of(&self, sessions: &impl Sessions, user: u32, device: DeviceId, number: u64) -> Outcome {
        let known = self.directory.user(user).and_then(|user| user.session_of(device));
        let session = known.and_then(|known| Some(session(known, known.at.slot()?)));
        match session.and_then(|session| sessions.progress(session, number)) {
            Some(Progress::Confirmed) => Outcome::Confirmed,
            Some(Progress::Sent) => Outcome::Sent,
            Some(Progress::Waiting) | None => Outcome::Stored,
        }
    }
}

fn session(known: &KnownDevice, slot: u32) -> SessionRef {
    SessionRef { slot, generation: known.generation }
}

/// A message on its way to the devices that it is for.
struct Spread<'a, S> {
    sessions: &'a mut S,
    message: &'a mut Deliver,
    envelopes: &'a Envelopes,
    /// Whether it is sent at once; otherwise that is left to the store.
    now: bool,
    /// How far each device is.
    devices: Vec<(DeviceId, Outcome)>,
    /// What is to be stored.
    stored: Vec<Envelope>,
    /// Devices that confirm by being sent.
    confirmed: Vec<u32>,
    /// Whether a session was not sent it: a page that was asked for before need not have it.
    is_missed: bool,
    /// What is the same for all devices, made for the first of them.
    shared: Option<(Bytes, Frames)>,
}

impl<'a, S: Sessions> Spread<'a, S> {
    fn new(sessions: &'a mut S, message: &'a mut Deliver, envelopes: &'a Envelopes, now: bool) -> Self {
        let (devices, stored, confirmed) = (Vec::new(), Vec::new(), Vec::new());
        let (is_missed, shared) = (false, None);
        Spread { sessions, message, envelopes, now, devices, stored, confirmed, is_missed, shared }
    }

    fn give_all(&mut self, turn: &mut Turn<'_>, user: &mut User) {
        if let Envelopes::All(_) = self.envelopes {
            self.devices.reserve_exact(user.devices.len());
            self.stored.reserve_exact(user.devices.len());
            for known in user.devices.iter_mut() {
                self.give(turn, known.device, Some(known));
            }
        } else {
            let listed = self.envelopes.listed();
            self.devices.reserve_exact(listed.size_hint().0);
            self.stored.reserve_exact(listed.size_hint().0);
            for device in listed {
                self.give(turn, device, user.known_mut(device.get()));
            }
        }
    }

    fn give(&mut self, turn: &mut Turn<'_>, device: DeviceId, known: Option<&mut KnownDevice>) {
        let Some(known) = known else { return self.devices.push((device, Outcome::UnknownDevice)) };
        let mut own;
        let (body, frames) = if let Envelopes::PerDevice(_) = self.envelopes {
            own = encoded(self.message, self.envelopes.payload(device));
            &mut own
        } else {
            self.shared.get_or_insert_with(|| encoded(self.message, self.envelopes.payload(device)))
        };
        let mut outcome = Outcome::Stored;
        if let Some(slot) = known.at.slot().filter(|_| known.at.is_live()) {
            let frames = Some(frames).filter(|_| self.now);
            match self.sessions.deliver(turn, session(known, slot), self.message.seq, body.len(), frames) {
                Delivered::Sent => outcome = Outcome::Sent,
                Delivered::Confirmed => {
                    outcome = Outcome::Sent;
                    self.confirmed.push(known.device.get());
                }
                Delivered::Behind => known.at = At::session(slot, false),
            }
        }
        self.is_missed |= known.at.slot().is_some() && !known.at.is_live();
        self.devices.push((device, outcome));
        self.stored.push(Envelope { device, body: body.clone(), confirmed: false });
    }
}
