//! Pushes that are never stored: to those who are connected and keep up.
//!
//! They are answered after the submission that carried them, since only then is it known which connections broke.

use campanile_protocol::ids::{DeviceId, MessageId};

use super::directory::Directory;
use super::state::Users;
use super::submission::{Sent, Submission};
use crate::control::jobs::{Jobs, Place};
use crate::delivery::frames::encoded;
use crate::requests::{Envelopes, Outcome, Push, Pushed, Unavailable};
use crate::seam::{SessionRef, Sessions};
use crate::store::Store;
use crate::turn::Turn;

/// The homes, as far as ephemeral pushes pass through them: of the store they take numbers only.
pub(crate) struct EphemeralHandler<'a> {
    directory: &'a Directory,
    submission: &'a mut Submission,
    store: &'a mut Store,
    jobs: &'a mut Jobs,
}

impl<'a> EphemeralHandler<'a> {
    pub(super) fn new(users: &'a mut Users, store: &'a mut Store, jobs: &'a mut Jobs) -> Self {
        let Users { directory, submission, .. } = users;
        EphemeralHandler { directory, submission, store, jobs }
    }

    /// Executes one ephemeral push, unless a device that keeps up is sent enough this turn: then the push is given back
    /// for the next one.
    #[allow(clippy::result_large_err)] // The push comes back so that it need not be copied, and that is rare.
    pub(crate) fn push_ephemeral(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        place: Place,
        push: Push,
    ) -> Result<(), Push> {
        let mut meant = std::mem::take(&mut self.submission.meant);
        meant.clear();
        let number = self.directory.find(&push.user);
        if let Some(user) = number.and_then(|number| self.directory.user(number)) {
            meant.extend(user.sessions().filter_map(|(known, slot)| {
                push.envelopes.payload(known.device)?;
                Some((known.device, SessionRef { slot, generation: known.generation }))
            }));
        }
        let result = if meant.iter().any(|&(_, session)| sessions.is_busy(session)) {
            Err(push)
        } else {
            self.send_ephemeral(turn, sessions, place, push, &meant);
            Ok(())
        };
        self.submission.meant = meant;
        result
    }

    fn send_ephemeral(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        place: Place,
        push: Push,
        meant: &[(DeviceId, SessionRef)],
    ) {
        let Some(number) = self.store.number() else {
            return self.jobs.finish(place, Err(Unavailable::Overloaded.into()));
        };
        let id = MessageId { epoch: turn.settings.epoch, seq: number };
        let mut message = push.message;
        message.id = id.to_string();
        // There is nothing to acknowledge.
        message.seq = 0;
        let mut shared = None;
        let mut devices = Vec::with_capacity(meant.len());
        for &(device, session) in meant {
            let mut own;
            let frames = if let Envelopes::PerDevice(_) = &push.envelopes {
                own = encoded(&mut message, push.envelopes.payload(device));
                &mut own.1
            } else {
                let encode = || encoded(&mut message, push.envelopes.payload(device));
                &mut shared.get_or_insert_with(encode).1
            };
            let outcome = sessions.event(turn, session, frames);
            if outcome == Outcome::Sent {
                self.submission.sent.push(Sent { slot: session.slot, place, device: devices.len() });
            }
            devices.push((device, outcome));
        }
        for device in push.envelopes.listed() {
            if !devices.iter().any(|&(known, _)| known == device) {
                turn.counters.messages_not_connected.add(1);
                devices.push((device, Outcome::NotConnected));
            }
        }
        if devices.is_empty() {
            turn.counters.messages_not_connected.add(1);
        }
        turn.counters.messages_ephemeral.add(devices.len().max(1) as u64);
        // Counted off after the submission, which may still change the outcomes.
        self.jobs.set(place, Ok(Pushed { id, devices, duplicate: false }));
        self.submission.submitted.push(place);
    }

    /// A connection broke in this turn's submission: what it was sent has not arrived.
    pub(crate) fn events_broke(&mut self, turn: &Turn<'_>, broken: u32) {
        for sent in self.submission.sent.iter().filter(|sent| sent.slot == broken) {
            if self.jobs.amend(sent.place, sent.device, Outcome::Broken) {
                turn.counters.messages_broken.add(1);
            }
        }
    }
}
