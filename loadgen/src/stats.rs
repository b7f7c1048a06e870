//! What is counted. Every shard writes its own [`Stats`]; the control thread reads all of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

/// The shortest and longest time that is told apart, in nanoseconds: 1 µs and 2 minutes.
const NANOS: (u64, u64) = (1_000, 120_000_000_000);

/// A histogram of times in nanoseconds, exact to 0.1 %.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(NANOS.0, NANOS.1, 3).expect("constant bounds that the crate allows")
}

/// Counts by reason.
pub type Reasons = BTreeMap<String, u64>;

/// Adds what `more` counted.
pub fn merge(into: &mut Reasons, more: &Reasons) {
    for (reason, count) in more {
        *into.entry(reason.clone()).or_default() += count;
    }
}

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Subtracts.
    pub fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Makes it `value` if it is less.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Makes it `value` if it is more, or nothing yet.
    pub fn lower(&self, value: u64) {
        if self.value() == 0 || value < self.value() {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
pub struct Stats {
    /// Devices that are connected now.
    pub connected: Counter,
    /// Upgrades that succeeded.
    pub opened: Counter,
    /// Devices that could not connect.
    pub failed: Counter,
    /// Connections that ended before we wanted it.
    pub ended: Counter,
    /// Connections that devices ended by themselves.
    pub left: Counter,
    /// Devices that do not read.
    pub stalled: Counter,
    /// WebSocket pings answered.
    pub pings: Counter,
    /// Bytes received.
    pub bytes: Counter,
    /// Welcome frames.
    pub welcomes: Counter,
    /// Messages that waited, as the welcomes say.
    pub waiting: Counter,
    /// `deliver` frames, of whichever run.
    pub delivered: Counter,
    /// Bytes of their payloads.
    pub payload_bytes: Counter,
    /// `deliver` frames whose number was not higher than that of all before them in their session.
    pub out_of_order: Counter,
    /// Acknowledgements sent.
    pub acks: Counter,
    /// Error frames: something that a device sent was refused.
    pub refused_frames: Counter,
    /// Sessions whose replay is over.
    pub caught_up: Counter,
    /// When the first session was welcomed, in nanoseconds on the machine's monotonic clock; 0 before.
    pub first_welcome: Counter,
    /// When the last replay was over, likewise.
    pub last_caught_up: Counter,
    /// Messages of this run that arrived where they should, once each.
    pub received: Counter,
    /// Messages that arrived at a device that had them.
    pub duplicated: Counter,
    /// Messages of this run that arrived at a device that they were not for.
    pub astray: Counter,
    /// Messages that are not of this run.
    pub foreign: Counter,
    /// Frames that are not of the schema.
    pub undecodable: Counter,
    /// The rest, which is written rarely or in one go.
    pub details: Mutex<Details>,
}

/// What a shard writes rarely.
#[derive(Debug)]
pub struct Details {
    /// Why devices could not connect.
    pub failures: Reasons,
    /// How connections ended before we wanted it: close codes, or what broke.
    pub endings: Reasons,
    /// From connect to the 101 answer.
    pub connecting: Histogram<u64>,
    /// From when a message was due to its arrival.
    pub latency: Histogram<u64>,
    /// When each was due and how long it took, in nanoseconds, if that is kept.
    pub samples: Vec<(u64, u64)>,
}

impl Default for Details {
    fn default() -> Self {
        Details {
            failures: Reasons::new(),
            endings: Reasons::new(),
            connecting: histogram(),
            latency: histogram(),
            samples: Vec::new(),
        }
    }
}

impl Stats {
    /// Changes the details. A thread that panicked meanwhile has left numbers, not broken invariants.
    pub fn details(&self) -> std::sync::MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
