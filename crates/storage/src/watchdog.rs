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
            // So that the log has room for it.
            campanile_telemetry::log::flush();
            tracing::error!(
                seconds = patience.as_secs(),
                "the store has stopped and does not come back: the process ends itself and is to be started again"
            );
            campanile_telemetry::log::flush();
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use campanile_telemetry::log;

    use super::*;

    /// Set in the process that the test starts.
    const PART: &str = "CAMPANILE_TEST_WATCHDOG";

    #[test]
    #[ignore = "played by the other, in a process of its own"]
    fn a_store_that_has_stopped() {
        if std::env::var_os(PART).is_none() {
            return;
        }
        let log = log::begin(File::from(io::stderr().as_fd().try_clone_to_owned().unwrap())).unwrap();
        // Nothing of it is read yet.
        for _ in 0..=log::QUEUED_LINES_MAX + 1 {
            log.line(b"said before\n");
        }
        tracing_subscriber::fmt().with_writer(move || log).init();
        let _watchdog = Watchdog::start(Arc::default(), Duration::from_millis(30)).unwrap();
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_process_whose_store_has_stopped_ends_and_says_why() {
        const SIGABRT: i32 = 6;
        // Who reads the log is late: it is full until the process is about to end.
        let (log, mut stderr) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&stderr, true).unwrap();
        while stderr.write(&[b'.'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&stderr, false).unwrap();
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "watchdog::tests::a_store_that_has_stopped", "--include-ignored"]);
        let mut child = program.env(PART, "1").stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        // It has the other end, too.
        drop(program);
        thread::sleep(Duration::from_millis(200));
        let log = io::read_to_string(log).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(SIGABRT));
        assert!(log.contains("the store has stopped"), "{}", log.trim_start_matches('.'));
    }
}
