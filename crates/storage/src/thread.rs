//! The thread that the store runs on.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::Wake;
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campanile_mailbox::executor::{Executor, Mailbox};
use campanile_mailbox::operations::Port;

use super::counters::StoreCounters;
use super::watchdog::{Progress, Watchdog};

/// It looks at the clock at least so often, in milliseconds: the clock may be set while it sleeps.
const SLEEP_MS_MAX: u64 = 1_000;
/// A store that makes no progress for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// Wakes the store's thread, which may be started later; costs a system call only while it sleeps.
#[derive(Debug, Default)]
pub struct StoreWaker {
    thread: OnceLock<Thread>,
}

impl StoreWaker {
    /// Declares that this thread is the one to wake. It must look for work before it parks.
    fn take_thread(&self) {
        let _ = self.thread.set(thread::current());
        // Pairs with the fence in `wake_by_ref`: either that one sees the thread, or the thread sees the work.
        fence(Ordering::SeqCst);
    }
}

impl Wake for StoreWaker {
    fn wake(self: Arc<StoreWaker>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<StoreWaker>) {
        fence(Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// The store, running.
pub struct StoreThread {
    stopping: Arc<AtomicBool>,
    waker: Arc<StoreWaker>,
    thread: JoinHandle<()>,
}

impl StoreThread {
    /// Starts a thread for the mailbox, which serves these ports. `waker` is the one that the ports wake the store
    /// with. The process is aborted when the mailbox does not return for a minute: it never would, and a process that
    /// is started anew recovers.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub fn start<M: Mailbox + Send + 'static>(
        mailbox: M,
        ports: Vec<Arc<Port>>,
        waker: Arc<StoreWaker>,
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
        waker: Arc<StoreWaker>,
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
            sleeper.take_thread();
            run(Executor::new(mailbox, ports), &counters, &stop, &progress);
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
    /// When the thread has panicked.
    pub fn stop(self) -> io::Result<()> {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake_by_ref();
        self.thread.join().map_err(|_| io::Error::other("the store panicked"))
    }
}

fn run<M: Mailbox>(
    mut store: Executor<M>,
    counters: &StoreCounters,
    stopping: &AtomicBool,
    progress: &Progress,
) {
    loop {
        progress.turn();
        // Read first: what was asked for before the order to stop is carried out.
        let last = stopping.load(Ordering::Acquire);
        let busy = store.execute(now_ms()) | store.commit(now_ms());
        counters.publish(&store.counts());
        if busy {
            continue;
        }
        if last {
            break;
        }
        sleep(&store, stopping);
    }
    store.close();
}

/// Sleeps until a shard asks for something, or something is due. Whoever wakes it before it sleeps keeps it awake.
fn sleep<M: Mailbox>(store: &Executor<M>, stopping: &AtomicBool) {
    if !store.has_work() && !stopping.load(Ordering::Acquire) {
        let due_ms = store.next_due_ms().saturating_sub(now_ms());
        thread::park_timeout(Duration::from_millis(due_ms.min(SLEEP_MS_MAX)));
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
