//! The thread that the store runs on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campanile_engine::Waker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::watchdog::{Progress, Watchdog};
use campanile_mailbox::Mailbox;
use campanile_mailbox::operations::Port;
use campanile_mailbox::store::{Store, StoreCounters};

/// It looks at the clock at least so often, in milliseconds: the clock may be set while it sleeps.
const SLEEP_MS_MAX: u64 = 1_000;
/// A store that makes no progress for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// The store, running.
pub struct StoreThread {
    stopping: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: JoinHandle<io::Result<()>>,
}

impl StoreThread {
    /// Starts a thread for the mailbox, which serves these ports. `waker` is the one that the ports wake the store with.
    /// The process is aborted when the mailbox does not return for a minute: it never would, and a process that is
    /// started anew recovers.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub fn start<M: Mailbox + Send + 'static>(
        mailbox: M,
        ports: Vec<Arc<Port>>,
        waker: Arc<Waker>,
        counters: Arc<StoreCounters>,
    ) -> io::Result<StoreThread> {
        StoreThread::start_with_patience(mailbox, ports, waker, counters, PATIENCE)
    }

    /// Like [`StoreThread::start`], for mailboxes that are to return sooner; at the least a few seconds.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub fn start_with_patience<M: Mailbox + Send + 'static>(
        mailbox: M,
        ports: Vec<Arc<Port>>,
        waker: Arc<Waker>,
        counters: Arc<StoreCounters>,
        patience: Duration,
    ) -> io::Result<StoreThread> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, sleeper) = (Arc::clone(&stopping), Arc::clone(&waker));
        let progress = Arc::new(Progress::default());
        let watchdog = Watchdog::start(Arc::clone(&progress), patience)?;
        let thread = thread::Builder::new().name("store".into()).spawn(move || {
            let _abort = AbortOnPanic;
            // Closing the mailbox is watched as well.
            let _watchdog = watchdog;
            run(Store::new(mailbox, ports, counters), &sleeper, &stop, &progress)
        })?;
        Ok(StoreThread { stopping, waker, thread })
    }

    /// Whether the thread has ended: nothing is stored any more.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Finishes what the shards have asked for so far, makes it durable, closes the mailbox and ends the thread. The
    /// shards must not ask for more.
    ///
    /// # Errors
    /// What the thread ended with before, if it did.
    pub fn stop(self) -> io::Result<()> {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the store panicked")))
    }
}

fn run<M: Mailbox>(
    mut store: Store<M>,
    waker: &Waker,
    stopping: &AtomicBool,
    progress: &Progress,
) -> io::Result<()> {
    loop {
        progress.turn();
        // Read first: what was asked for before the order to stop is carried out.
        let last = stopping.load(Ordering::Acquire);
        let busy = store.execute(now_ms()) | store.commit(now_ms());
        if busy {
            continue;
        }
        if last {
            break;
        }
        sleep(&store, waker, stopping)?;
    }
    store.close();
    Ok(())
}

/// Sleeps until a shard asks for something, or something is due.
fn sleep<M: Mailbox>(store: &Store<M>, waker: &Waker, stopping: &AtomicBool) -> io::Result<()> {
    waker.fall_asleep();
    if store.has_work() || stopping.load(Ordering::Acquire) {
        waker.awake();
        return Ok(());
    }
    let sleep = Duration::from_millis(store.next_due_ms().saturating_sub(now_ms()).min(SLEEP_MS_MAX));
    let timeout = Timespec::try_from(sleep).map_err(io::Error::other)?;
    let event = waker.event();
    let mut events = [PollFd::new(&event, PollFlags::IN)];
    let slept = poll(&mut events, Some(&timeout));
    waker.awake();
    waker.clear();
    match slept {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A store that panics takes the process with it: the shards would wait for its answers for ever.
pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}
