//! Ephemeral pushes of this turn: its submission has the last word on them.

use campanile_protocol::ids::DeviceId;

use crate::control::jobs::{Jobs, Place};
use crate::seam::SessionRef;

/// Ephemeral pushes of this turn.
#[derive(Default)]
pub(super) struct Submission {
    /// Which outcomes the sends of this turn decide.
    pub(super) sent: Vec<Sent>,
    /// Pushes that are over when this turn's sends are.
    pub(super) submitted: Vec<Place>,
    /// The sessions that a push is for; kept for its memory.
    pub(super) meant: Vec<(DeviceId, SessionRef)>,
}

/// A send of this turn that decides an outcome.
pub(super) struct Sent {
    pub(super) slot: u32,
    pub(super) place: Place,
    pub(super) device: usize,
}

impl Submission {
    /// The turn's sends are over.
    pub(super) fn end(&mut self, jobs: &mut Jobs) {
        self.sent.clear();
        for place in self.submitted.drain(..) {
            jobs.count_off(place);
        }
    }
}
