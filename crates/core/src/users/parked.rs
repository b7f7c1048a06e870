//! How much is parked, of one user and of all.

use std::collections::VecDeque;

use crate::control::jobs::Place;
use crate::requests::Push;

/// Pushes of one user that wait for the store.
#[derive(Default)]
pub(super) struct Parked {
    pub(super) pushes: VecDeque<(Place, Push)>,
    /// The first of them is known to be new.
    pub(super) first_is_new: bool,
}

/// What is parked, of all users of a shard.
#[derive(Default)]
pub(super) struct Parking {
    /// Durable pushes that wait for what the store knows of their user.
    pub(super) pushes: usize,
    /// The bytes of their payloads.
    pub(super) bytes: usize,
    /// Users whose parked pushes are executed further in the next turn.
    pub(super) unparking: Vec<u32>,
}

impl Parking {
    pub(super) fn add(&mut self, bytes: usize) {
        self.pushes += 1;
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.pushes -= 1;
        self.bytes -= bytes;
    }
}
