//! The model of a store: in memory, on a disk that fails and loses power as a seed says, for simulations.
//!
//! [`ModelStore`] is the executor around [`ModelMailbox`], driven by hand.

mod faults;
mod image;
mod mailbox;

use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use fastrand::Rng;

pub use self::faults::{Call, StoreFaults};
pub use self::mailbox::ModelMailbox;
use crate::executor::{Counts, Executor, Mailbox, MailboxError};
use crate::operations::Port;

/// A store, and the ports of the shards that it serves.
pub struct ModelStore {
    store: Executor<ModelMailbox>,
    ports: Vec<Arc<Port>>,
    rng: Rng,
    /// Turns that are left out, as a chance in a thousand.
    slowness: u16,
}

impl ModelStore {
    /// A store for so many shards. It leaves out turns at random, as a chance in a thousand.
    pub fn new(mailbox: ModelMailbox, shards: usize, slowness: u16, seed: u64) -> ModelStore {
        // Nobody sleeps here: the harness looks for what is in the queues.
        let awake = || Waker::noop().clone();
        let ports: Vec<_> = (0..shards).map(|_| Port::new(awake(), awake())).collect();
        let store = Executor::new(mailbox, ports.clone());
        ModelStore { store, ports, rng: Rng::with_seed(seed), slowness }
    }

    /// Where a shard asks and is answered.
    pub fn port(&self, shard: usize) -> Arc<Port> {
        Arc::clone(&self.ports[shard])
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.store.counts()
    }

    /// Numbers for a shard that starts.
    ///
    /// # Errors
    /// [`MailboxError`], when the store fails.
    pub fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        self.store.reserve(count)
    }

    /// Executes what the shards ask for and commits it, unless the store is slow. Whether there was anything.
    pub fn turn(&mut self, now_ms: u64) -> bool {
        if self.slowness > 0 && self.rng.u16(0..1000) < self.slowness {
            return false;
        }
        let executed = self.execute(now_ms);
        self.commit(now_ms) || executed
    }

    /// The first half of a turn.
    pub fn execute(&mut self, now_ms: u64) -> bool {
        self.store.execute(now_ms)
    }

    /// The second half of a turn. The power may be cut in between.
    pub fn commit(&mut self, now_ms: u64) -> bool {
        self.store.commit(now_ms)
    }

    /// Whether a shard asks for something.
    pub fn has_work(&self) -> bool {
        self.store.has_work()
    }

    /// When a turn is due though nobody asks for anything, in milliseconds since the Unix epoch.
    pub fn next_due_ms(&self) -> u64 {
        self.store.next_due_ms()
    }

    /// The mailbox, to make it fail and to look at it.
    pub fn mailbox(&mut self) -> &mut ModelMailbox {
        self.store.mailbox_mut()
    }

    /// The store is closed in order: what it holds.
    ///
    /// # Errors
    /// [`MailboxError`], when the last changes are lost.
    pub fn close(self) -> Result<ModelMailbox, MailboxError> {
        let mut mailbox = self.store.into_mailbox();
        mailbox.sync()?;
        Ok(mailbox)
    }

    /// The power is cut: what is left. Everything that was asked and not answered is gone with the ports.
    pub fn cut(self) -> ModelMailbox {
        self.store.into_mailbox().power_cut()
    }
}
