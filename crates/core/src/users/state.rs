//! What the homes of one shard keep.

use campanile_protocol::ids::UserId;
use campanile_protocol::messages::Device;

use super::directory::Directory;
use super::parked::Parking;
use super::presence::Presence;
use super::recent::RecentIds;
use super::submission::Submission;
use super::who::Who;
use crate::control::jobs::Jobs;
use crate::hashing::HashKey;

/// The users of one shard.
pub(crate) struct Users {
    pub(super) directory: Directory,
    pub(super) parking: Parking,
    pub(super) recent: RecentIds,
    pub(super) submission: Submission,
    /// What users are doing, for those who watch them.
    pub(crate) presence: Presence,
}

impl Users {
    /// Nobody. Names are hashed with `key`. Deduplication ids are remembered for `dedup_window_ms` from now on.
    pub(crate) fn new(key: HashKey, dedup_window_ms: u64, now_ms: u64) -> Users {
        Users {
            directory: Directory::new(key),
            parking: Parking::default(),
            recent: RecentIds::new(key, dedup_window_ms, now_ms),
            submission: Submission::default(),
            presence: Presence::new(key),
        }
    }

    /// The user's id.
    pub(crate) fn id(&self, user: u32) -> Option<&UserId> {
        self.directory.id(user)
    }

    /// A session as it is named to others.
    pub(crate) fn device_of(&self, who: &Who) -> Option<Device> {
        Some(Device { user: self.id(who.user())?.as_str().to_owned(), device: who.device() })
    }

    /// Whether the user has a session.
    pub(crate) fn is_connected(&self, user: &UserId) -> bool {
        let known = self.directory.find(user).and_then(|number| self.directory.user(number));
        known.is_some_and(|user| user.is_connected())
    }

    /// The turn's sends are over: ephemeral pushes have their last result.
    pub(crate) fn submitted(&mut self, jobs: &mut Jobs) {
        self.submission.end(jobs);
    }

    /// Whether parked pushes go on in the next turn.
    pub(crate) fn has_unparked(&self) -> bool {
        !self.parking.unparking.is_empty()
    }
}
