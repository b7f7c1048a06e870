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
    /// The number of the shard's thread.
    pub thread: Counter,
    /// Devices that have a session now.
    pub connected: Counter,
    /// Connections that became sessions.
    pub opened: Counter,
    /// Attempts to connect that failed.
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
    /// Messages that arrived at a device that had them from the same session, or that are never sent again.
    pub duplicated: Counter,
    /// Messages that arrived at a device that had them from an earlier session, as at-least-once delivery allows.
    pub redelivered: Counter,
    /// Messages of this run that arrived at a device that they were not for.
    pub astray: Counter,
    /// Messages that are not of this run.
    pub foreign: Counter,
    /// Frames that are not of the schema.
    pub undecodable: Counter,
    /// What concerns channels.
    pub channels: ChannelStats,
    /// The rest, which is written rarely or in one go.
    pub details: Mutex<Details>,
}

/// What one shard counts of channels. *Checked* devices look at each message; the others count frames.
#[derive(Debug, Default)]
pub struct ChannelStats {
    /// Subscriptions that hold now.
    pub subscriptions: Counter,
    /// Devices that have all of theirs now.
    pub subscribed: Counter,
    /// Subscriptions that were refused, or ended by the gateway.
    pub refused: Counter,
    /// Subscriptions of devices that came back and were promised all that they had missed.
    pub recovered: Counter,
    /// Those that were not.
    pub not_recovered: Counter,
    /// Messages at devices that read.
    pub frames: Counter,
    /// Bytes of these messages as they came, without the headers of their frames.
    pub bytes: Counter,
    /// Messages at devices that stood still for a while.
    pub frames_late: Counter,
    /// When the latest message came, in nanoseconds on the machine's monotonic clock; 0 before.
    pub last_frame: Counter,
    /// Messages that checked devices have looked at.
    pub checked: Counter,
    /// Of these, those that were missed and recovered.
    pub replayed: Counter,
    /// `gap` frames at devices that read.
    pub gaps_told: Counter,
    /// `gap` frames at devices that stood still for a while.
    pub gaps_told_late: Counter,
    /// Messages that checked devices were told would not come.
    pub missed_told: Counter,
    /// Holes that nobody told checked devices of.
    pub gaps_not_told: Counter,
    /// Messages in these holes.
    pub missed_not_told: Counter,
    /// Messages that a checked device had.
    pub duplicated: Counter,
    /// Messages that came after later ones.
    pub out_of_order: Counter,
    /// Messages of channels that a checked device was not subscribed to, or that were published to another channel.
    pub astray: Counter,
    /// Messages that are not of this run.
    pub foreign: Counter,
    /// Messages that checked devices lacked at the end, though the gateway had taken them.
    pub behind: Counter,
    /// Messages that devices were to publish.
    pub offered: Counter,
    /// Those that they sent.
    pub sent: Counter,
    /// Those that the gateway accepted.
    pub accepted: Counter,
    /// Those that it did not, or that could not be sent.
    pub failed: Counter,
}

/// What has been published to one channel.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Messages that the gateway accepted.
    pub accepted: u64,
    /// The epoch of the latest answer.
    pub epoch: u64,
    /// The highest number in it.
    pub newest: u64,
}

impl Position {
    /// The gateway has accepted a message and given it this number.
    pub fn accepted(&mut self, epoch: u64, offset: u64) {
        self.accepted += 1;
        self.merge_newest(epoch, offset);
    }

    /// Adds what another has seen of the channel.
    pub fn merge(&mut self, other: Position) {
        self.accepted += other.accepted;
        self.merge_newest(other.epoch, other.newest);
    }

    fn merge_newest(&mut self, epoch: u64, offset: u64) {
        if self.epoch != epoch {
            (self.epoch, self.newest) = (epoch, 0);
        }
        self.newest = self.newest.max(offset);
    }
}

/// What a shard writes rarely.
#[derive(Debug)]
pub struct Details {
    /// Why attempts to connect failed.
    pub failures: Reasons,
    /// How connections ended before we wanted it: close codes, or what broke.
    pub endings: Reasons,
    /// From connect to the 101 answer.
    pub connecting: Histogram<u64>,
    /// From connect to the session.
    pub opening: Histogram<u64>,
    /// From when a message to a device was due to its arrival.
    pub latency: Histogram<u64>,
    /// From when a message of a channel was due to its arrival.
    pub channel_latency: Histogram<u64>,
    /// When each was due and how long it took, in nanoseconds, if that is kept.
    pub samples: Vec<(u64, u64)>,
    /// Why subscriptions were refused or ended.
    pub refusals: Reasons,
    /// The first of them, in words.
    pub first_refusal: Option<Refusal>,
    /// What devices have published, by the index of the channel.
    pub positions: BTreeMap<u32, Position>,
    /// Why messages of devices were not accepted.
    pub publish_failures: Reasons,
    /// From when a message of a device was due to the gateway's answer.
    pub publish_latency: Histogram<u64>,
}

/// A subscription that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The channel's name.
    pub channel: String,
    /// The gateway's name of the reason.
    pub reason: String,
    /// What it says about it.
    pub message: String,
}

impl Default for Details {
    fn default() -> Self {
        Details {
            failures: Reasons::new(),
            endings: Reasons::new(),
            connecting: histogram(),
            opening: histogram(),
            latency: histogram(),
            channel_latency: histogram(),
            samples: Vec::new(),
            refusals: Reasons::new(),
            first_refusal: None,
            positions: BTreeMap::new(),
            publish_failures: Reasons::new(),
            publish_latency: histogram(),
        }
    }
}

impl Stats {
    /// Changes the details. A thread that panicked meanwhile has left numbers, not broken invariants.
    pub fn details(&self) -> std::sync::MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
