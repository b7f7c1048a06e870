//! A node's life: start, serve, drain, stop.
//!
//! [`Node::start`] leaves nothing half done: it returns when every shard accepts connections and the API answers, or
//! with an error and nothing left running that matters. [`Node::serve`] ends after a drain.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

use campanile_core::NUMBERS_PER_RANGE;
use campanile_core::push::PushRules;
use campanile_core::settings::{HELD_BYTES_MAX, Mode, ShardSettings};
use campanile_engine::{DriverChoice, DriverKind, ListenError, ListenOptions, Listeners};
use campanile_storage::counters::StoreCounters;
use campanile_storage::thread::{StoreThread, StoreWaker};
use campanile_storage::{FjallMailbox, MailboxError, OpenError};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::api::server::{self, Patience};
use crate::api::{AllowedOrigins, Api, ApiParts, Listener};
use crate::capacity::{self, Plan, TooFewDescriptors, Wanted};
use crate::config::{DrainSettings, Settings};
use crate::host_limits::{Machine, raise_nofile};
use crate::panics;
pub use crate::status::{NodeStatus, Phase};
use crate::threads::{ShardThreads, ThreadOptions, ThreadsError};

/// Threads of the control plane, beside the shards'; no more than there are cores.
pub const CONTROL_THREADS_MAX: usize = 2;
/// Connections that may wait to be accepted by each shard; `net.core.somaxconn` bounds it further.
pub const BACKLOG: i32 = 65_535;
/// Where messages wait, in the data directory.
const MAILBOX_DIRECTORY: &str = "mailbox";
/// How long a start waits for an address that is in use, and how often it looks.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(2);
const ADDRESS_TICK: Duration = Duration::from_millis(10);
/// How often a draining node looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// How long shards that were told to end at once may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The driver that is asked for cannot be used here; the text says why.
    #[error("the driver cannot be used: {0}")]
    Driver(String),
    /// The process may have hardly any descriptors.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The devices' address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// An address of the API cannot be listened on.
    #[error("cannot listen for {listener} on {address}: {error}")]
    ApiListen {
        /// What would have been answered there.
        listener: Listener,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// What is stored cannot be opened.
    #[error(transparent)]
    Mailbox(#[from] OpenError),
    /// The store gives out no numbers.
    #[error(transparent)]
    Numbers(#[from] MailboxError),
    /// The shards cannot be started.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// The kernel refused threads, sockets or random numbers.
    #[error("the node cannot be started")]
    Refused(#[from] io::Error),
}

/// A running node.
pub struct Node {
    listen: SocketAddr,
    api_listen: SocketAddr,
    admin_listen: SocketAddr,
    devices_listen: SocketAddr,
    plan: Plan,
    status: Arc<NodeStatus>,
    threads: ShardThreads,
    store: StoreThread,
    drain: DrainSettings,
    /// What answers on each listener of the API.
    api: Vec<JoinHandle<()>>,
    /// Ends them when it is dropped.
    end_api: watch::Sender<()>,
    runtime: Runtime,
}

impl Node {
    /// Binds all addresses, makes the shards and opens the API.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: &Settings) -> Result<Node, StartError> {
        let api_socket = Bound::to(Listener::Api, settings.api_listen)?;
        let admin_socket = Bound::to(Listener::Admin, settings.admin_listen)?;
        let devices_socket = Bound::to(Listener::Devices, settings.devices_listen)?;
        let (api_listen, admin_listen, devices_listen) =
            (api_socket.address, admin_socket.address, devices_socket.address);
        let mut mailbox =
            FjallMailbox::open(&settings.data_dir.join(MAILBOX_DIRECTORY), settings.mailbox.limits)?;
        let store_waker = Arc::new(StoreWaker::default());
        let Shards { listen, plan, status, threads } = with_driver(settings.driver, |driver| {
            Shards::start(settings, driver, &mut mailbox, &store_waker)
        })?;
        let driver = status.driver;
        let store_counters = Arc::new(StoreCounters::default());
        let store =
            StoreThread::start(mailbox, threads.ports.clone(), store_waker, Arc::clone(&store_counters))?;
        let api = Arc::new(Api::new(ApiParts {
            shards: Arc::clone(&threads.shards),
            store: store_counters,
            keys: settings.api_keys.clone(),
            verifier: settings.verifier.clone(),
            auto_register: settings.auto_register,
            namespaces: settings.namespaces.clone(),
            rules: PushRules {
                payload_bytes_max: settings.limits.push_bytes_max,
                ttl: settings.mailbox.ttl,
                dedup_window: settings.mailbox.dedup_window,
            },
            origins: AllowedOrigins::new(settings.edge.allowed_origins.clone()),
            node: Arc::clone(&status),
        }));
        let runtime = Builder::new_multi_thread()
            .worker_threads(campanile_engine::thread::allowed_cores().len().min(CONTROL_THREADS_MAX))
            .thread_name("api")
            .on_thread_start(panics::are_caught_here)
            .enable_all()
            .build()?;
        let (end_api, ended) = watch::channel(());
        let serving = [api_socket, admin_socket, devices_socket]
            .into_iter()
            .map(|socket| socket.serve(&runtime, &api, ended.clone()))
            .collect::<io::Result<_>>()?;
        status.enter(Phase::Ready);
        tracing::info!(
            %listen, api = %api_listen, admin = %admin_listen, devices = %devices_listen, %driver, shards = plan.shards,
            max_connections = plan.connections_max, node = %status.id, "ready"
        );
        Ok(Node {
            listen,
            api_listen,
            admin_listen,
            devices_listen,
            plan,
            status,
            threads,
            store,
            drain: settings.drain,
            api: serving,
            end_api,
            runtime,
        })
    }

    /// Where devices connect, with the port that was chosen.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where publishers connect, with the port that was chosen.
    pub fn api_listen(&self) -> SocketAddr {
        self.api_listen
    }

    /// Where operators connect, with the port that was chosen.
    pub fn admin_listen(&self) -> SocketAddr {
        self.admin_listen
    }

    /// Where devices that poll connect, with the port that was chosen.
    pub fn devices_listen(&self) -> SocketAddr {
        self.devices_listen
    }

    /// How the node is divided.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What it is, and which part of its life it is in.
    pub fn status(&self) -> &Arc<NodeStatus> {
        &self.status
    }

    /// From now on SIGTERM and SIGINT do not end the process any more: they are for [`Node::serve_until_signal`].
    ///
    /// # Errors
    /// When they cannot be caught.
    pub fn catch_signals(&self) -> io::Result<CaughtSignals> {
        let _inside = self.runtime.enter();
        Ok(CaughtSignals { first: Signals::new()?, more: Signals::new()? })
    }

    /// Serves until SIGTERM or SIGINT, then drains. A second signal ends it at once.
    ///
    /// # Errors
    /// When a shard's driver no longer worked.
    pub fn serve_until_signal(self, signals: CaughtSignals) -> io::Result<()> {
        let CaughtSignals { mut first, mut more } = signals;
        self.serve(async move { first.next().await }, async move {
            // The signal that began the drain arrives here too.
            more.next().await;
            more.next().await;
        })
    }

    /// Serves until `stop` is over, then drains until every device has gone, the deadline has passed or `hurry` is
    /// over. A shard that ends by itself stops the node in the same way: its users have no home any more.
    ///
    /// # Errors
    /// When a shard ended by itself, and why.
    pub fn serve(self, stop: impl Future<Output = ()>, hurry: impl Future<Output = ()>) -> io::Result<()> {
        let Node { status, threads, store, drain, api, end_api, runtime, .. } = self;
        let broke = runtime.block_on(async {
            let broke = tokio::select! {
                () = stop => false,
                () = broken(&threads, &store) => true,
            };
            if broke {
                tracing::error!("a thread of the node has ended by itself: the node stops");
            }
            status.enter(Phase::Draining);
            tracing::info!(deadline_ms = drain.deadline_ms, "draining");
            threads.shards.drain(drain.reconnect_within_ms);
            tokio::select! {
                () = ended(&threads) => {}
                () = sleep(Duration::from_millis(drain.deadline_ms.into())) => {
                    let left: u64 = threads.shards.counters().map(|shard| shard.connections.get()).sum();
                    tracing::warn!(left, "the deadline has passed with connections open");
                }
                () = hurry => tracing::warn!("asked again: stopping at once"),
            }
            stop_shards(&threads).await;
            drop(end_api);
            for listener in api {
                let _ = listener.await;
            }
            broke
        });
        if !threads.have_ended() {
            return Err(io::Error::other("a shard does not end"));
        }
        threads.join()?;
        // What the shards asked for last is carried out first.
        store.stop()?;
        if broke {
            return Err(io::Error::other("a shard has ended by itself"));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The shards of a node that starts.
struct Shards {
    listen: SocketAddr,
    plan: Plan,
    status: Arc<NodeStatus>,
    threads: ShardThreads,
}

impl Shards {
    fn start(
        settings: &Settings,
        driver: DriverKind,
        mailbox: &mut FjallMailbox,
        store_waker: &Arc<StoreWaker>,
    ) -> Result<Shards, StartError> {
        let cores_usable = Machine::read().cores();
        let plan = divide(settings, driver, cores_usable)?;
        let listeners = bind_devices(ListenOptions {
            address: settings.listen,
            count: plan.shards,
            backlog: BACKLOG,
            send_buffer_bytes: settings.edge.send_buffer_bytes,
        })?;
        let status = NodeStatus::new(driver, plan.connections_max).map_err(io::Error::other)?;
        let status = Arc::new(status);
        let threads = ShardThreads::start(ThreadOptions {
            driver,
            listeners: listeners.sockets,
            slots: plan.slots_per_shard,
            cores: campanile_engine::thread::allowed_cores(),
            cores_usable,
            settings: Arc::new(shard_settings(settings, &plan, &status, mailbox.epoch())),
            numbers: (0..plan.shards)
                .map(|_| mailbox.reserve(NUMBERS_PER_RANGE))
                .collect::<Result<_, _>>()?,
            placement_key: mailbox.placement_key(),
            store_waker: Arc::clone(store_waker).into(),
        })?;
        Ok(Shards { listen: listeners.address, plan, status, threads })
    }
}

/// Starts with the driver that is asked for. The probe of `auto` makes one small ring; when the shards' own cannot be
/// made, for lack of lockable memory for instance, epoll takes over.
fn with_driver<T>(
    choice: DriverChoice,
    mut start: impl FnMut(DriverKind) -> Result<T, StartError>,
) -> Result<T, StartError> {
    let driver = campanile_engine::probe::choose(choice).map_err(StartError::Driver)?;
    match (choice, start(driver)) {
        (
            DriverChoice::Auto,
            Err(StartError::Threads(error @ ThreadsError::Driver { driver: DriverKind::Uring, .. })),
        ) => {
            tracing::warn!(%error, "driver epoll: io_uring was found, but the shards' rings cannot be made");
            start(DriverKind::Epoll)
        }
        (_, result) => result,
    }
}

/// How many shards, as the operator, the machine and the driver want it.
fn divide(settings: &Settings, driver: DriverKind, cores: usize) -> Result<Plan, TooFewDescriptors> {
    let plan = capacity::plan(Wanted {
        driver,
        cores,
        nofile: raise_nofile(),
        max_connections: settings.limits.max_connections,
        shards: settings.shards,
    })?;
    if let Some(warning) = &plan.warning {
        tracing::warn!("{warning}");
    }
    Ok(plan)
}

/// Binds the devices' address. The kernel takes apart the rings of a process that was killed after the process has
/// ended, and until then its sockets hold the address: a node that is started again at once waits for it.
fn bind_devices(options: ListenOptions) -> Result<Listeners, ListenError> {
    let begun = Instant::now();
    loop {
        match Listeners::bind(options) {
            Err(ListenError::InUse(_)) if begun.elapsed() < ADDRESS_TIMEOUT => thread::sleep(ADDRESS_TICK),
            result => return result,
        }
    }
}

/// A socket of the API that nobody is answered on yet.
struct Bound {
    listener: Listener,
    socket: TcpListener,
    address: SocketAddr,
}

impl Bound {
    fn to(listener: Listener, address: SocketAddr) -> Result<Bound, StartError> {
        let bound = |socket: TcpListener| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Bound { listener, socket, address })
        };
        // The standard library sets SO_REUSEADDR, so that a restart does not wait for old connections.
        let bound = TcpListener::bind(address).and_then(bound);
        bound.map_err(|error| StartError::ApiListen { listener, address, error })
    }

    /// Answers there until the sender of `ended` is gone.
    fn serve(
        self,
        runtime: &Runtime,
        api: &Arc<Api>,
        mut ended: watch::Receiver<()>,
    ) -> io::Result<JoinHandle<()>> {
        let nofile = raise_nofile();
        let patience = Patience::new(match self.listener {
            Listener::Api => capacity::api_connections_max(nofile),
            Listener::Admin => capacity::ADMIN_CONNECTIONS_MAX,
            Listener::Devices => capacity::devices_connections_max(nofile),
        });
        let socket = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.socket)?
        };
        let ended = async move { while ended.changed().await.is_ok() {} };
        Ok(runtime.spawn(server::serve(socket, Arc::clone(api), self.listener, patience, ended)))
    }
}

fn shard_settings(settings: &Settings, plan: &Plan, status: &NodeStatus, epoch: u64) -> ShardSettings {
    let mut limits = settings.limits.clone();
    limits.max_connections = plan.connections_max;
    ShardSettings {
        mode: Mode::Gateway { verifier: Box::new(settings.verifier.clone()) },
        limits,
        namespaces: settings.namespaces.clone(),
        allowed_origins: settings.edge.allowed_origins.clone(),
        proxy_protocol_from: settings.edge.proxy_protocol_from.clone(),
        node: status.id.to_string(),
        epoch,
        connections: Arc::new(AtomicU32::new(0)),
        auto_register: settings.auto_register,
        message_ttl_ms: milliseconds(settings.mailbox.ttl),
        dedup_window_ms: milliseconds(settings.mailbox.dedup_window),
        held_bytes_max: HELD_BYTES_MAX,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Until a shard, the thread of the answers or the store ends, which they do by themselves only when what they wait
/// with no longer works.
async fn broken(threads: &ShardThreads, store: &StoreThread) {
    while !threads.any_has_ended() && !store.has_ended() {
        sleep(DRAIN_TICK).await;
    }
}

async fn ended(threads: &ShardThreads) {
    while !threads.have_ended() {
        sleep(DRAIN_TICK).await;
    }
}

/// Tells the shards to end, and gives them a moment.
async fn stop_shards(threads: &ShardThreads) {
    threads.shards.stop();
    let _ = tokio::time::timeout(STOP_TIMEOUT, ended(threads)).await;
}

/// The signals that end a node, from when they were caught.
pub struct CaughtSignals {
    first: Signals,
    more: Signals,
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
