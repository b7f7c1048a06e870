//! A durable push whose append is under way.

use campanile_protocol::ids::DeviceId;

use crate::control::jobs::Place;
use crate::requests::Outcome;

/// A durable push that the store has not confirmed.
pub(crate) struct Appending {
    pub(super) place: Place,
    /// The user's number at its home.
    pub(super) user: u32,
    /// The message's number.
    pub(super) number: u64,
    /// Each device that was meant, and how far it is.
    pub(super) devices: Vec<(DeviceId, Outcome)>,
    /// The bytes of its envelopes.
    pub(crate) bytes: usize,
}
