//! The store of a simulated gateway: the real executor around a mailbox in memory that can lose power.

mod faults;
mod image;
mod mailbox;

use std::ops::Range;
use std::sync::Arc;

use campanile_engine::Waker;
use campanile_mailbox::MailboxError;
use campanile_mailbox::operations::Port;
use campanile_mailbox::store::{Store, StoreCounters};
use fastrand::Rng;

pub(crate) use self::faults::{Call, StoreFaults};
pub(crate) use self::mailbox::ModelMailbox;

/// A store, and the ports of the shards that it serves.
pub(crate) struct SimStore {
    pub(crate) counters: Arc<StoreCounters>,
    store: Store<ModelMailbox>,
    ports: Vec<Arc<Port>>,
    rng: Rng,
    /// Turns that are left out, as a chance in a thousand.
    slowness: u16,
}

impl SimStore {
    /// A store for so many shards. It leaves out turns at random, as a chance in a thousand.
    pub(crate) fn new(mailbox: ModelMailbox, shards: usize, slowness: u16, seed: u64) -> SimStore {
        // Nobody sleeps here: the harness looks for what is in the queues.
        let waker = Arc::new(Waker::new().expect("no descriptor"));
        let ports: Vec<_> = (0..shards).map(|_| Port::new(Arc::clone(&waker), Arc::clone(&waker))).collect();
        let counters = Arc::new(StoreCounters::default());
        let store = Store::new(mailbox, ports.clone(), Arc::clone(&counters));
        SimStore { counters, store, ports, rng: Rng::with_seed(seed), slowness }
    }

    /// Where a shard asks and is answered.
    pub(crate) fn port(&self, shard: usize) -> Arc<Port> {
        Arc::clone(&self.ports[shard])
    }

    /// Numbers for a shard that starts.
    pub(crate) fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        self.store.reserve(count)
    }

    /// Executes what the shards ask for and commits it, unless the store is slow. Whether there was anything.
    pub(crate) fn turn(&mut self, now_ms: u64) -> bool {
        if self.slowness > 0 && self.rng.u16(0..1000) < self.slowness {
            return false;
        }
        let executed = self.execute(now_ms);
        self.commit(now_ms) || executed
    }

    /// The first half of a turn.
    pub(crate) fn execute(&mut self, now_ms: u64) -> bool {
        self.store.execute(now_ms)
    }

    /// The second half of a turn. The power may be cut in between.
    pub(crate) fn commit(&mut self, now_ms: u64) -> bool {
        self.store.commit(now_ms)
    }

    /// Whether a shard asks for something.
    pub(crate) fn has_work(&self) -> bool {
        self.store.has_work()
    }

    /// When a turn is due though nobody asks for anything, in milliseconds since the Unix epoch.
    pub(crate) fn next_due_ms(&self) -> u64 {
        self.store.next_due_ms()
    }

    /// The mailbox, to make it fail and to look at it.
    pub(crate) fn mailbox(&mut self) -> &mut ModelMailbox {
        self.store.mailbox_mut()
    }

    /// The power is cut: what is left. Everything that was asked and not answered is gone with the ports.
    pub(crate) fn cut(self) -> ModelMailbox {
        self.store.into_mailbox().power_cut()
    }
}
