//! What the control plane asks of this shard, and who waits for which answer.

pub(crate) mod broadcast;
pub(crate) mod jobs;

use std::sync::Arc;

use self::broadcast::Broadcasts;
use self::jobs::{Jobs, Place};
use crate::inbox::Inbox;
use crate::requests::{Push, Request};

/// The control plane's requests.
pub(crate) struct Control {
    inbox: Arc<Inbox>,
    pub(crate) jobs: Jobs,
    pub(crate) broadcasts: Broadcasts,
    /// Pushes of the last request that have not had their turn, and the place of the next of them.
    pushing: std::vec::IntoIter<Push>,
    pushing_at: Place,
}

impl Control {
    /// Nothing has been asked yet.
    pub(crate) fn new(inbox: Arc<Inbox>) -> Control {
        Control {
            inbox,
            jobs: Jobs::default(),
            broadcasts: Broadcasts::default(),
            pushing: Vec::new().into_iter(),
            pushing_at: Place { job: 0, index: 0 },
        }
    }

    /// Whether requests wait, or the rest of one.
    pub(crate) fn has_requests(&self) -> bool {
        self.inbox.has_mail() || self.has_pushes()
    }

    /// Whether pushes of the last request wait.
    pub(crate) fn has_pushes(&self) -> bool {
        !self.pushing.as_slice().is_empty()
    }

    /// The oldest request that waits.
    pub(crate) fn next_request(&self) -> Option<Request> {
        self.inbox.take()
    }

    /// A request brings pushes, which are answered together.
    pub(crate) fn begin_pushing(&mut self, job: usize, pushes: Vec<Push>) {
        self.pushing_at = Place { job, index: 0 };
        self.pushing = pushes.into_iter();
    }

    /// The next push of the last request, and its place.
    pub(crate) fn next_push(&mut self) -> Option<(Place, Push)> {
        let push = self.pushing.next()?;
        let place = self.pushing_at;
        self.pushing_at.index += 1;
        Some((place, push))
    }

    /// A push is to have another turn: it is the next one again.
    pub(crate) fn give_back(&mut self, place: Place, push: Push) {
        let rest: Vec<Push> = std::iter::once(push).chain(self.pushing.by_ref()).collect();
        self.pushing = rest.into_iter();
        self.pushing_at = place;
    }

    /// The rest of the last request's pushes is not executed.
    pub(crate) fn drop_pushes(&mut self) {
        self.pushing = Vec::new().into_iter();
    }

    /// Sends the answers whose sends are over.
    pub(crate) fn send_replies(&mut self) {
        self.jobs.send_replies(&self.inbox);
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.broadcasts.is_empty() && !self.has_requests() && self.jobs.is_empty()
    }
}
