//! One thread for each shard: its core, its ring, its loop.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use campanile_core::counters::ShardCounters;
use campanile_core::hashing::HashKey;
use campanile_core::inbox::Inbox;
use campanile_core::lanes::{Lanes, MESSAGES_WAITING_MAX};
use campanile_core::placement::PlacementKey;
use campanile_core::settings::ShardSettings;
use campanile_core::{Client, Shard, ShardParts};
use campanile_engine::epoll::Epoll;
use campanile_engine::uring::Uring;
use campanile_engine::{DriverKind, Now, Peers, RunOptions, Waker, run_with};
use campanile_mailbox::operations::Port;

use crate::panics::AbortOnPanic;
use crate::shards::Shards;

/// Shards take turns this often with whoever wants their core, instead of every few milliseconds.
const SHARD_SLICE: Duration = Duration::from_micros(500);

/// How the shards of a node run.
pub struct ThreadOptions {
    /// What moves their bytes.
    pub driver: DriverKind,
    /// A listening socket for each; their number is the number of shards.
    pub listeners: Vec<OwnedFd>,
    /// Slots of each driver's table.
    pub slots: u32,
    /// Cores to run on; shards are spread over them.
    pub cores: Vec<usize>,
    /// How many cores' time there is, a cgroup's quota included: more shards than that take turns.
    pub cores_usable: usize,
    /// What the shards are told.
    pub settings: Arc<ShardSettings>,
    /// The first numbers of each shard.
    pub numbers: Vec<Range<u64>>,
    /// By which users are placed.
    pub placement_key: PlacementKey,
    /// Wakes the thread of the store.
    pub store_waker: std::task::Waker,
}

/// Why the shards of a node do not start.
#[derive(Debug, thiserror::Error)]
pub enum ThreadsError {
    /// A shard's driver cannot be made; another driver may do.
    #[error("shard {index} cannot have its driver {driver}: {error}{}", hint(*driver, error))]
    Driver {
        /// Which shard.
        index: usize,
        /// Which driver.
        driver: DriverKind,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refuses threads or event descriptors.
    #[error("the shards cannot be started")]
    Refused(#[from] io::Error),
}

fn hint(driver: DriverKind, error: &io::Error) -> &'static str {
    match (driver, error.kind()) {
        (DriverKind::Uring, io::ErrorKind::OutOfMemory) => {
            ": rings need memory that may be locked; raise memlock (`ulimit -l`, LimitMEMLOCK)"
        }
        _ => "",
    }
}

/// The shards of a node, running.
pub struct ShardThreads {
    /// How to ask them.
    pub shards: Arc<Shards>,
    /// What they ask of the store, in their order.
    pub ports: Vec<Arc<Port>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    answers: JoinHandle<io::Result<()>>,
}

impl ShardThreads {
    /// Starts a thread for each listener, and waits until each has its driver.
    ///
    /// # Errors
    /// [`ThreadsError`]. Nothing is left running then.
    pub fn start(options: ThreadOptions) -> Result<ShardThreads, ThreadsError> {
        let count = options.listeners.len();
        let peers = Peers::new(count)?;
        let answers_waker = Arc::new(Waker::new()?);
        let lanes = Lanes::new(count, MESSAGES_WAITING_MAX);
        let parts: Vec<_> = (0..count)
            .map(|index| {
                let inbox = Inbox::new();
                (inbox, Arc::clone(peers.waker(index)), Arc::new(ShardCounters::default()))
            })
            .collect();
        let port =
            |index: usize| Port::new(Arc::clone(peers.waker(index)).into(), options.store_waker.clone());
        let ports: Vec<Arc<Port>> = (0..count).map(port).collect();
        let shared_core = count > options.cores_usable.min(options.cores.len());
        let table_key = random_key()?;
        let (started, starts) = mpsc::channel();
        let mut go = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for (index, listener) in options.listeners.into_iter().enumerate() {
            let (go_ahead, wait) = mpsc::channel();
            go.push(go_ahead);
            let thread = ShardThread {
                index,
                count,
                driver: options.driver,
                slots: options.slots,
                core: options.cores.get(index % options.cores.len().max(1)).copied(),
                shared_core,
                settings: Arc::clone(&options.settings),
                inbox: Arc::clone(&parts[index].0),
                lanes: Arc::clone(&lanes),
                counters: Arc::clone(&parts[index].2),
                port: Arc::clone(&ports[index]),
                numbers: options.numbers.get(index).cloned().unwrap_or_default(),
                placement_key: options.placement_key,
                table_key,
                peers: Arc::clone(&peers),
                answers_waker: Arc::clone(&answers_waker),
                started: started.clone(),
                go: wait,
            };
            let name = format!("shard-{index}");
            threads.push(thread::Builder::new().name(name).spawn(move || thread.run(listener))?);
        }
        drop(started);
        if let Some((index, error)) = starts.iter().find_map(|(index, result)| Some((index, result.err()?))) {
            drop(go);
            // So that what they held is free for another attempt. Each fails: it was not told to go.
            threads.into_iter().for_each(|thread| drop(thread.join()));
            return Err(ThreadsError::Driver { index, driver: options.driver, error });
        }
        // Nobody accepts before all drivers are there: a connection may belong to any of them.
        for go_ahead in go {
            let _ = go_ahead.send(());
        }
        let shards = Shards::new(answers_waker, parts, options.placement_key);
        let answering = Arc::clone(&shards);
        let answers = thread::Builder::new().name("answers".into()).spawn(move || {
            // Nobody would be answered any more, by a process that lives on.
            let _abort = AbortOnPanic;
            answering.hand_out_answers()
        })?;
        Ok(ShardThreads { shards, ports, threads, answers })
    }

    /// Whether a shard has ended, whose users are not served any more, or the thread that hands out answers.
    pub fn any_has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished) || self.answers.is_finished()
    }

    /// Whether every shard has ended.
    pub fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until every shard has ended.
    ///
    /// # Errors
    /// The first error that a driver ended with.
    pub fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads {
            result = result.and(thread.join().unwrap_or_else(|_| Err(io::Error::other("a shard panicked"))));
        }
        self.shards.stop_answering();
        let answered = self.answers.join().unwrap_or_else(|_| Err(io::Error::other("the answers panicked")));
        result.and(answered)
    }
}

struct ShardThread {
    index: usize,
    count: usize,
    driver: DriverKind,
    slots: u32,
    core: Option<usize>,
    shared_core: bool,
    settings: Arc<ShardSettings>,
    inbox: Arc<Inbox>,
    lanes: Arc<Lanes>,
    counters: Arc<ShardCounters>,
    port: Arc<Port>,
    numbers: Range<u64>,
    placement_key: PlacementKey,
    table_key: HashKey,
    peers: Arc<Peers<Client>>,
    answers_waker: Arc<Waker>,
    started: mpsc::Sender<(usize, io::Result<()>)>,
    go: mpsc::Receiver<()>,
}

impl ShardThread {
    fn run(self, listener: OwnedFd) -> io::Result<()> {
        // What a shard knew of its users is gone when it panics, and a node that serves only some would be worse than
        // none.
        let _abort = AbortOnPanic;
        if let Some(core) = self.core
            && let Err(error) = campanile_engine::thread::pin(core)
        {
            tracing::warn!(%error, core, "a shard is not pinned to its core");
        }
        // The store and the control plane want the same cores, also where no other shard does: a shard that wakes up
        // goes before them.
        if let Err(error) = campanile_engine::thread::set_slice(SHARD_SLICE) {
            tracing::debug!(%error, "shards keep the scheduler's own slice");
        }
        let (index, slots, peers) = (self.index, self.slots, Arc::clone(&self.peers));
        match self.driver {
            DriverKind::Uring => self.run_on(Uring::new(index, peers, slots, Some(listener))),
            DriverKind::Epoll => self.run_on(Epoll::new(index, peers, slots, Some(listener))),
        }
    }

    fn run_on<D: campanile_engine::Driver<Parcel = Client>>(self, driver: io::Result<D>) -> io::Result<()> {
        let result =
            driver.as_ref().map(drop).map_err(|error| io::Error::new(error.kind(), error.to_string()));
        let _ = self.started.send((self.index, result));
        drop(self.started);
        let mut driver = driver?;
        if self.go.recv().is_err() {
            return Err(io::Error::other("another shard could not start"));
        }
        let (index, ending) = (self.index, Ending(Arc::clone(&self.inbox), self.answers_waker));
        let parts = ShardParts {
            index: self.index,
            count: self.count,
            slots: self.slots,
            settings: self.settings,
            inbox: self.inbox,
            lanes: self.lanes,
            counters: self.counters,
            port: self.port,
            numbers: self.numbers,
            placement_key: self.placement_key,
            table_key: self.table_key,
            seed: fastrand::u64(..),
        };
        let options = RunOptions { shared_core: self.shared_core };
        let mut shard = Shard::new(parts, Now::read());
        // Before anything that it held is taken apart, or those who wait are told that it has ended well.
        let abort = AbortOnPanic;
        let result = run_with(&mut driver, &mut shard, options);
        drop(abort);
        drop(ending);
        result.map_err(|error| {
            tracing::error!(shard = index, %error, "a shard's driver no longer works");
            io::Error::new(error.kind(), format!("shard {index}: {error}"))
        })
    }
}

/// A key that nobody knows.
fn random_key() -> io::Result<HashKey> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(HashKey::new(key))
}

/// Tells those who wait for the shard's answers that there will be no more.
struct Ending(Arc<Inbox>, Arc<Waker>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
        self.1.wake();
    }
}
