//! `campanile echo`: the engine, the decoder and the shard's loop, with nothing else in the way.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;

use anyhow::Context as _;
use campanile_engine::{DriverChoice, ListenOptions, Listeners, probe};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use campanile_core::limits::Limits;
use campanile_core::namespaces::Namespaces;
use campanile_core::placement::PlacementKey;
use campanile_core::settings::{HELD_BYTES_MAX, Mode, ShardSettings};
use campanile_gateway::capacity::{self, Wanted};
use campanile_gateway::host_limits::{Machine, raise_nofile};
use campanile_gateway::node::BACKLOG;
use campanile_gateway::threads::{ShardThreads, ThreadOptions};

/// `SO_SNDBUF` of each connection, as a gateway has it by default.
const SEND_BUFFER_BYTES: usize = 16 * 1024;
/// The largest message that is sent back: that of the Autobahn test suite.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// As many fragments as that suite cuts it into.
const FRAGMENTS_MAX: u32 = 1 << 20;

/// The arguments of `campanile echo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct EchoArgs {
    /// Where to listen; port 0 lets the kernel choose one
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// auto, uring or epoll
    #[arg(long, default_value_t, value_name = "DRIVER")]
    pub(crate) driver: DriverChoice,
    /// How many shards
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: u16,
}

/// Sends every data message back until SIGTERM or SIGINT. Once it is ready it prints one line to standard output:
/// `ready listen=ADDRESS driver=NAME shards=N`.
///
/// # Errors
/// When the address or the driver cannot be used, or a shard breaks.
pub(crate) fn run(args: &EchoArgs) -> anyhow::Result<()> {
    crate::log::begin(Some("warn"), "warn")?;
    let driver = probe::choose(args.driver).map_err(anyhow::Error::msg)?;
    let shards = usize::from(args.shards);
    let machine = Machine::read();
    let plan = capacity::plan(Wanted {
        driver,
        cores: machine.cores(),
        nofile: raise_nofile(),
        max_connections: u32::MAX,
        shards: NonZero::new(shards),
    })?;
    let limits = Limits {
        max_connections: plan.connections_max,
        message_bytes_max: MESSAGE_BYTES_MAX,
        fragments_max: FRAGMENTS_MAX,
        ..Limits::default()
    };
    let listeners = Listeners::bind(ListenOptions {
        address: args.listen,
        count: shards,
        backlog: BACKLOG,
        send_buffer_bytes: SEND_BUFFER_BYTES,
    })?;
    let threads = ShardThreads::start(ThreadOptions {
        driver,
        listeners: listeners.sockets,
        slots: plan.slots_per_shard,
        cores: campanile_engine::thread::allowed_cores(),
        cores_usable: machine.cores(),
        settings: Arc::new(ShardSettings {
            mode: Mode::Echo,
            limits,
            namespaces: Namespaces::default(),
            allowed_origins: Vec::new(),
            proxy_protocol_from: Vec::new(),
            node: String::new(),
            epoch: 0,
            connections: Arc::default(),
            auto_register: false,
            message_ttl_ms: 0,
            dedup_window_ms: 0,
            held_bytes_max: HELD_BYTES_MAX,
        }),
        // Nobody stores anything.
        numbers: Vec::new(),
        placement_key: PlacementKey::new([0; 16]),
        store_waker: std::task::Waker::noop().clone(),
    })?;
    // Whoever does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "ready listen={} driver={driver} shards={shards}", listeners.address);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        std::io::Result::Ok(())
    })?;
    threads.shards.stop();
    threads.join().context("a shard broke")
}
