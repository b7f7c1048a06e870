//! What the control thread tells the shards.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use campanile_engine::Time;

/// What a shard is to do.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing yet.
    Waiting,
    /// Connect, and stay connected.
    Connected,
    /// Publish, if devices are to.
    Publishing,
    /// Nothing more is published: those that stood still read again, if they are to.
    Draining,
    /// Say goodbye, and end.
    Closing,
}

/// The phase that all shards are told. Whoever changes it wakes them.
#[derive(Debug, Default)]
pub struct Control {
    phase: AtomicU8,
    start: AtomicU64,
    publish_start: AtomicU64,
}

impl Control {
    /// Lets the shards connect; the ramp begins at `at`.
    pub fn connect(&self, at: Time) {
        self.start.store(at.as_nanos(), Ordering::Relaxed);
        self.phase.store(1, Ordering::Release);
    }

    /// Lets devices publish; the first message is due at `at`.
    pub fn publish(&self, at: Time) {
        self.publish_start.store(at.as_nanos(), Ordering::Relaxed);
        self.phase.store(2, Ordering::Release);
    }

    /// Publishing is over.
    pub fn drain(&self) {
        self.phase.store(3, Ordering::Release);
    }

    /// Lets the shards close everything and end.
    pub fn close(&self) {
        self.phase.store(4, Ordering::Release);
    }

    /// What is to be done.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Waiting,
            1 => Phase::Connected,
            2 => Phase::Publishing,
            3 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    /// When the first message is due.
    pub fn publish_start(&self) -> Time {
        Time(self.publish_start.load(Ordering::Relaxed))
    }

    /// When the ramp began.
    pub fn start(&self) -> Time {
        Time(self.start.load(Ordering::Relaxed))
    }
}
