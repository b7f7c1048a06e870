//! Ends a process whose store has stopped for good.
//!
//! The database waits for its own threads without end, even for one that has failed: then nothing is answered, and the
//! process does not even end when it is told to. A new process recovers, and all that was acknowledged is durable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::thread::AbortOnPanic;

/// It looks so many times before it loses patience, and does not ask the clock: a process that was stopped as a whole
/// goes on undisturbed.
const LOOKS: u32 = 30;

/// What the store thread tells.
#[derive(Debug, Default)]
pub(super) struct Progress {
    turns: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    /// Another turn begins. Has to be called more often than patience ends, with or without work.
    pub(super) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches until it is dropped, which the thread that it watches does last.
pub(super) struct Watchdog {
    progress: Arc<Progress>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Starts a thread that aborts the process when no turn has begun for so long.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub(super) fn start(progress: Arc<Progress>, patience: Duration) -> io::Result<Watchdog> {
        let watched = Arc::clone(&progress);
        let thread = thread::Builder::new().name("store-watch".into()).spawn(move || {
            let _abort = AbortOnPanic;
            watch(&watched, patience);
        })?;
        Ok(Watchdog { progress, thread })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.progress.ended.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

fn watch(progress: &Progress, patience: Duration) {
    let (mut turns, mut looks) = (0, 0);
    while !progress.ended.load(Ordering::Acquire) {
        thread::park_timeout(patience / LOOKS);
        let now = progress.turns.load(Ordering::Relaxed);
        looks = if now == turns { looks + 1 } else { 0 };
        turns = now;
        if looks > LOOKS && !progress.ended.load(Ordering::Acquire) {
            tracing::error!(
                seconds = patience.as_secs(),
                "the store has stopped and does not come back: the process ends itself and is to be started again"
            );
            campanile_telemetry::log::flush();
            std::process::abort();
        }
    }
}
