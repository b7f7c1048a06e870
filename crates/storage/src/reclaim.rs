//! Giving room back: what was removed leaves the disk when the database merges its files, which it does as new data
//! comes. A store that is full takes no new data, so it is made to merge, on a thread of its own.
//!
//! A merge writes what is still alive before it removes the rest. Where there is no room for that, it waits until more
//! was confirmed.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::tables::Tables;

/// It is not worth it for less, in bytes.
const REMOVED_BYTES_MIN: u64 = 256 << 10;
/// Nor more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was removed, and the merge that is under way.
pub(super) struct Reclaim {
    removed_bytes: u64,
    started_at: Option<Instant>,
    merge: Option<JoinHandle<bool>>,
}

impl Reclaim {
    pub(super) fn new() -> Reclaim {
        // What an earlier process has removed is not known.
        Reclaim { removed_bytes: u64::MAX, started_at: None, merge: None }
    }

    pub(super) fn removed(&mut self, bytes: u64) {
        self.removed_bytes = self.removed_bytes.saturating_add(bytes);
    }

    /// Whether a merge would give back much of what is in use.
    pub(super) fn is_due(&mut self, used_bytes: u64) -> bool {
        if self.merge.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join();
        }
        self.merge.is_none()
            && self.started_at.is_none_or(|at| at.elapsed() >= INTERVAL)
            && self.removed_bytes >= REMOVED_BYTES_MIN.max(used_bytes / 16)
    }

    /// Only when one [is due](Reclaim::is_due). `free_bytes` may be written meanwhile.
    pub(super) fn start(&mut self, tables: Arc<Tables>, free_bytes: u64) {
        self.removed_bytes = 0;
        self.started_at = Some(Instant::now());
        let merge = move || {
            tables.compact(free_bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the store could not give back room");
                false
            })
        };
        match thread::Builder::new().name("store-merge".into()).spawn(merge) {
            Ok(thread) => self.merge = Some(thread),
            Err(error) => tracing::warn!(%error, "the store cannot give back room"),
        }
    }

    /// Waits until no merge is under way, so that the database can be closed, but only so long. Whether none is.
    pub(super) fn wait(&mut self, patience: Duration) -> bool {
        let started = Instant::now();
        while self.merge.as_ref().is_some_and(|merge| !merge.is_finished()) {
            if started.elapsed() >= patience {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.join();
        true
    }

    fn join(&mut self) {
        if let Some(merge) = self.merge.take() {
            // One that has failed or did not fit is tried again; one that panicked has failed.
            if !merge.join().unwrap_or(false) {
                self.removed_bytes = u64::MAX;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_that_takes_long_is_not_waited_for() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let mut reclaim = Reclaim::new();
        reclaim.merge = Some(thread::spawn(move || wait.recv().is_ok()));
        reclaim.removed(1);
        let started = Instant::now();
        assert!(!reclaim.wait(Duration::from_millis(20)) && started.elapsed() < Duration::from_secs(5));
        assert!(!reclaim.is_due(0), "one is under way");
        done.send(()).unwrap();
        assert!(reclaim.wait(Duration::from_secs(60)) && reclaim.merge.is_none());
    }
}
