//! What `channels` keeps of one session.

use crate::net::wire::NONE;

/// A session's subscriptions, and what it may do with channels.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Membership {
    /// The first of its subscriptions, or [`NONE`].
    pub(super) subscriptions: u32,
    /// What it may do with channels, by its number among all grants, or [`NONE`].
    pub(super) grants: u32,
}

impl Membership {
    /// No subscription, and no right to one.
    pub(crate) const fn none() -> Membership {
        Membership { subscriptions: NONE, grants: NONE }
    }
}
