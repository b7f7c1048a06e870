//! What a world of channels is like.

use std::time::Duration;

use campanile_core::lanes::MESSAGES_WAITING_MAX;
use campanile_core::namespaces::{Namespace, Namespaces, SlowPolicy};
use campanile_engine::sim::Faults;

use crate::support::Setup;
use crate::support::channels::channel;

/// Every channel of a world.
pub(super) const CHANNELS: [&str; 9] =
    ["news", "skip:a", "tiny:b", "last:c", "shut:d", "skip:e", "last:f", "presence:ada", "presence:bob"];
/// How many of them have messages; the others are statuses.
pub(super) const WITH_MESSAGES: usize = 7;
/// Beyond every history's time.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Whether a channel is a user's status.
pub(super) fn is_status(channel: usize) -> bool {
    channel >= WITH_MESSAGES
}

pub(super) struct Rules {
    pub(super) shards: usize,
    pub(super) lane_waiting_max: usize,
    pub(super) faults: Faults,
    pub(super) namespaces: Namespaces,
    /// Logs are so large that nothing of a world falls out of them.
    pub(super) ample: bool,
    /// All logs of a shard have few bytes together.
    pub(super) crowded: bool,
    /// Sessions may publish twice a second only.
    pub(super) patient: bool,
}

impl Rules {
    pub(super) fn of_seed(seed: u64) -> Rules {
        // Another sequence than the world's own.
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed_c4a7_7e15);
        let shards = rng.usize(1..=5);
        let lane_waiting_max = [1, 3, 16, MESSAGES_WAITING_MAX][rng.usize(0..4)];
        let clock_jump = if rng.u8(0..6) == 0 { 4 } else { 0 };
        let window_bytes_max = [100, 700, 3_000, usize::MAX][rng.usize(0..4)];
        let reset = [0, 5][rng.usize(0..2)];
        let faults = match rng.u8(0..4) {
            0 => Faults { clock_jump, ..Faults::NONE },
            _ => Faults { window_bytes_max, clock_jump, reset, ..Faults::HOSTILE },
        };
        let (ample, crowded, patient) = (rng.u8(0..3) == 0, rng.u8(0..6) == 0, rng.u8(0..5) == 0);
        let mut namespaces = Namespaces {
            subscriptions_per_session_max: [3, 128][rng.usize(0..2)],
            channels_per_shard_max: if rng.u8(0..8) == 0 { 2 } else { 100_000 },
            log_bytes_per_shard_max: if crowded { 2_000 } else { 256 << 20 },
            offline_after: Duration::from_millis([300, 2_000][rng.usize(0..2)]),
            ..Namespaces::default()
        };
        let log_bytes_max = |small: usize| if ample { 1 << 20 } else { small };
        let usual = Namespace {
            publishes_per_second_max: if patient { 2 } else { 10_000 },
            log_bytes_max: log_bytes_max([400, 2_000, 8_000][rng.usize(0..3)]),
            states: true,
            ..Namespace::default()
        };
        namespaces.default = usual.clone();
        let mut put = |name: &str, namespace| namespaces.named.insert(name.to_owned(), namespace);
        put(
            "skip",
            Namespace {
                history_messages_max: 50,
                history_ttl: Duration::from_secs(20),
                members: true,
                log_bytes_max: log_bytes_max([3_000, 40_000][rng.usize(0..2)]),
                ..usual.clone()
            },
        );
        put(
            "tiny",
            Namespace {
                history_messages_max: 3,
                history_ttl: Duration::from_millis(700),
                log_bytes_max: log_bytes_max(4_000),
                ..usual.clone()
            },
        );
        let (history_messages_max, open) = (rng.u32(0..5), rng.bool());
        put("last", Namespace { slow: SlowPolicy::Conflate, history_messages_max, open, ..usual.clone() });
        put("shut", Namespace { slow: SlowPolicy::Close, history_messages_max: 5, ..usual });
        for namespace in namespaces.named.values_mut() {
            namespace.history_ttl = namespace.history_ttl.min(FORGOTTEN_AFTER / 2);
        }
        Rules { shards, lane_waiting_max, faults, namespaces, ample, crowded, patient }
    }

    pub(super) fn setup(&self, seed: u64) -> Setup {
        let mut setup = Setup::shards(self.shards).faults(self.faults).limits(|limits| {
            limits.frames_per_second_max = 10_000;
            limits.ping_interval_ms = 20_000;
            limits.pong_timeout_ms = 10_000;
        });
        (setup.seed, setup.slots, setup.lane_waiting_max) = (seed, 100, self.lane_waiting_max);
        setup.namespaces = self.namespaces.clone();
        setup
    }

    pub(super) fn of(&self, number: usize) -> &Namespace {
        self.namespaces.of(&channel(CHANNELS[number]))
    }

    /// Why messages of a channel may be left out; `None` if they may not.
    pub(super) fn gap_reason(&self, channel: usize) -> Option<&'static str> {
        match self.of(channel).slow {
            SlowPolicy::Skip => Some("too_slow"),
            SlowPolicy::Conflate => Some("conflated"),
            SlowPolicy::Close => None,
        }
    }

    /// Sockets take everything, and nothing falls out of a log: there is no reason for a gap.
    pub(super) fn everybody_keeps_up(&self) -> bool {
        self.faults.refused_send == 0 && self.ample && !self.crowded && !self.jumps()
    }

    pub(super) fn has_little_room(&self) -> bool {
        self.namespaces.log_bytes_per_shard_max < 1 << 20
    }

    pub(super) fn few_channels(&self) -> bool {
        self.namespaces.channels_per_shard_max < 10
    }

    /// Whether the clock does.
    pub(super) fn jumps(&self) -> bool {
        self.faults.clock_jump > 0
    }
}
