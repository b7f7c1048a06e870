//! Which deduplication ids this shard has seen lately, so that the store need not be asked about those that are new.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher};

use campanile_protocol::ids::UserId;
use rustc_hash::FxBuildHasher;

use crate::hashing::HashKey;
use campanile_mailbox::{DedupKey, DedupScope};

/// Ids that one generation may hold. With more, the store is asked about every id for a while.
const IDS_MAX: usize = 512 * 1024;

/// Fingerprints of ids, in two generations, each as long as ids are remembered.
pub(super) struct RecentIds {
    key: HashKey,
    window_ms: u64,
    // Of fingerprints, which nobody can choose.
    current: HashSet<u64, FxBuildHasher>,
    previous: HashSet<u64, FxBuildHasher>,
    /// When the current generation began.
    began_ms: u64,
    /// Every id since then is here.
    complete_since_ms: u64,
}

impl RecentIds {
    /// Nothing is known of the time before now.
    pub(super) fn new(key: HashKey, window_ms: u64, now_ms: u64) -> RecentIds {
        RecentIds {
            key,
            window_ms,
            current: HashSet::default(),
            previous: HashSet::default(),
            began_ms: now_ms,
            complete_since_ms: now_ms,
        }
    }

    /// The fingerprint of an id for a user.
    pub(super) fn fingerprint(&self, user: &UserId, dedup: &DedupKey) -> u64 {
        let mut hasher = self.key.build_hasher();
        hasher.write(user.as_str().as_bytes());
        hasher.write_u8(0xff);
        if let DedupScope::Publisher(key) = dedup.scope {
            hasher.write_u64(key);
        }
        hasher.write(dedup.id.as_bytes());
        hasher.finish()
    }

    /// Remembers an id. Whether it is certain that it was not seen within the window.
    pub(super) fn is_new(&mut self, fingerprint: u64, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.began_ms) >= self.window_ms {
            self.previous = std::mem::take(&mut self.current);
            self.began_ms = now_ms;
        }
        if self.current.len() >= IDS_MAX {
            self.current.clear();
            self.previous.clear();
            self.complete_since_ms = now_ms;
        }
        let seen = self.previous.contains(&fingerprint) || !self.current.insert(fingerprint);
        !seen && now_ms.saturating_sub(self.complete_since_ms) >= self.window_ms
    }
}

#[cfg(test)]
mod tests {
    use super::{HashKey, IDS_MAX, RecentIds};

    const WINDOW: u64 = 1_000;

    #[test]
    fn nothing_is_certain_before_a_whole_window_has_been_watched() {
        let mut ids = RecentIds::new(HashKey::new([0; 16]), WINDOW, 5_000);
        assert!(!ids.is_new(1, 5_000));
        assert!(!ids.is_new(2, 5_999));
        assert!(ids.is_new(3, 6_000));
    }

    #[test]
    fn an_id_is_known_for_at_least_a_window_and_at_most_two() {
        let mut ids = RecentIds::new(HashKey::new([0; 16]), WINDOW, 0);
        assert!(ids.is_new(7, 1_500));
        for now in [1_500, 2_499] {
            assert!(!ids.is_new(7, now), "{now}");
        }
        assert!(ids.is_new(8, 10_000));
        assert!(ids.is_new(9, 20_000));
        assert!(ids.is_new(7, 20_000), "two windows are over");
    }

    #[test]
    fn too_many_ids_make_everything_uncertain_for_a_window() {
        let mut ids = RecentIds::new(HashKey::new([0; 16]), WINDOW, 0);
        for id in 0..IDS_MAX as u64 {
            assert!(ids.is_new(id, 1_000));
        }
        assert!(!ids.is_new(u64::MAX, 1_001));
        assert!(!ids.is_new(0, 1_500), "forgotten, and therefore not certain");
        assert!(ids.is_new(u64::MAX - 1, 2_001));
    }
}
