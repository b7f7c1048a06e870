//! States that users repeat: the same state of the same user in the same channel is told once in a while.

use std::hash::BuildHasher;
use std::time::Duration;

use campanile_engine::Time;
use rustc_hash::FxHashSet;

use crate::hashing::HashKey;

/// The same state of the same user in the same channel is told once in this time.
const REPEATED_AFTER: Duration = Duration::from_secs(1);
/// States of that time that are remembered; beyond it they are dropped.
const REMEMBERED_MAX: usize = 65_536;

/// States that were told lately, by the hash of channel, user and state; forgotten together.
pub(super) struct RepeatedStates {
    // Of hashes, which nobody can choose.
    told: FxHashSet<u64>,
    until: Time,
    /// Who chooses states must not know which ones are taken for each other.
    key: HashKey,
}

impl RepeatedStates {
    /// Nothing was told yet.
    pub(super) fn new(key: HashKey) -> RepeatedStates {
        RepeatedStates { told: FxHashSet::default(), until: Time::default(), key }
    }

    /// Whether the same was said a moment ago, or too much else: then it is not told. Otherwise it counts as told.
    pub(super) fn is_repeated(&mut self, now: Time, channel: &str, user: &str, state: &str) -> bool {
        if self.until <= now {
            self.told.clear();
            self.until = now + REPEATED_AFTER;
        }
        let hash = self.key.hash_one((channel, user, state));
        self.told.len() >= REMEMBERED_MAX || !self.told.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once_in_a_second() {
        let mut states = RepeatedStates::new(HashKey::new([7; 16]));
        let begin = Time(5_000_000_000);
        assert!(!states.is_repeated(begin, "chat:1", "ann", "typing"));
        assert!(states.is_repeated(begin, "chat:1", "ann", "typing"));
        for (channel, user, state) in
            [("chat:2", "ann", "typing"), ("chat:1", "bob", "typing"), ("chat:1", "ann", "idle")]
        {
            assert!(!states.is_repeated(begin, channel, user, state), "{channel} {user} {state}");
        }
        // The parts are told apart, not only their text as a whole.
        assert!(!states.is_repeated(begin, "chat:1a", "nn", "typing"));
        let almost = begin + REPEATED_AFTER.saturating_sub(Duration::from_millis(1));
        assert!(states.is_repeated(almost, "chat:1", "ann", "typing"));
        assert!(!states.is_repeated(begin + REPEATED_AFTER, "chat:1", "ann", "typing"));
    }

    #[test]
    fn a_flood_of_states_is_dropped_and_not_remembered() {
        let mut states = RepeatedStates::new(HashKey::new([7; 16]));
        let now = Time(5_000_000_000);
        for number in 0..REMEMBERED_MAX {
            assert!(!states.is_repeated(now, "chat:1", &number.to_string(), "typing"));
        }
        assert!(states.is_repeated(now, "chat:1", "one more", "typing"));
        assert!(!states.is_repeated(now + REPEATED_AFTER, "chat:1", "one more", "typing"));
    }
}
