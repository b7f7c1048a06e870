//! One stage for every driver: probe cores that a test scripts, and clients that it plays.
//!
//! A test is a function over [`Rig`]. [`real::Real`] runs the cores in threads and connects `TcpStream`s;
//! [`simulated::Simulated`] steps a world. Nothing asserts on time: [`DEADLINE`] and [`STEPS_MAX`] only turn a
//! hang into a failure.

// Each test file uses its part of the stage.
#![allow(dead_code)]

pub(crate) mod echo;
pub(crate) mod probe;
pub(crate) mod real;
pub(crate) mod simulated;

use std::net::SocketAddr;
use std::time::Duration;

use campanile_engine::{Command, Conn, sim};

pub(crate) use probe::{Board, Parcel, Script, Seen, Silent};

/// How long anything may take on a machine with better things to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How many steps anything may take in the simulator.
pub(crate) const STEPS_MAX: usize = 200_000;

/// How a client's connection ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side closed, after everything that it had sent.
    Closed,
    /// It broke.
    Reset,
}

/// What a stage consists of.
pub(crate) struct Setup {
    /// How many drivers.
    pub(crate) nodes: usize,
    /// Slots of each node's table.
    pub(crate) slots: fn(usize) -> u32,
    /// Makes what each core does by itself.
    pub(crate) script: Box<dyn Fn(usize) -> Box<dyn Script>>,
    /// What the kernel holds for a connection, per direction and about.
    pub(crate) buffer_bytes: usize,
    /// Whether the cores accept from the start.
    pub(crate) accept: bool,
    /// Seed and faults, for the simulator.
    pub(crate) seed: u64,
    pub(crate) faults: sim::Faults,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            nodes: 1,
            slots: |_| 64,
            script: Box::new(|_| Box::new(Silent)),
            buffer_bytes: 16 * 1024,
            accept: true,
            seed: 1,
            faults: sim::Faults::NONE,
        }
    }
}

/// Drivers with probe cores, and clients.
pub(crate) trait Rig: Sized {
    /// A client's side of a connection.
    type Client;

    fn start(setup: Setup) -> Self;

    /// What the core of `node` has seen.
    fn board(&self, node: usize) -> &Board;

    /// Where `node` listens.
    fn address(&self, node: usize) -> SocketAddr;

    /// An address where nobody listens.
    fn nobody(&self) -> SocketAddr;

    /// Connects to `node`. The core may accept later, or never.
    fn connect(&mut self, node: usize) -> Self::Client;

    /// The client's own address.
    fn local(&self, client: &Self::Client) -> Option<SocketAddr>;

    /// Writes all of `bytes`.
    fn write(&mut self, client: &mut Self::Client, bytes: &[u8]);

    /// Writes until `bytes` are out or the connection breaks. Whether they are out.
    fn try_write(&mut self, client: &mut Self::Client, bytes: &[u8]) -> bool;

    /// Reads exactly `count` bytes.
    fn read(&mut self, client: &mut Self::Client, count: usize) -> Vec<u8>;

    /// Reads until the end.
    fn read_to_end(&mut self, client: &mut Self::Client) -> (Vec<u8>, End);

    /// Closes the client's side; it still reads.
    fn finish(&mut self, client: &mut Self::Client);

    /// Breaks the connection.
    fn reset(&mut self, client: Self::Client);

    /// Makes the core of `node` command something. The driver is woken.
    fn order(&mut self, node: usize, commands: Vec<Command<Parcel>>);

    /// Makes the core of `node` command something, and waits until it has been executed.
    fn carry_out(&mut self, node: usize, commands: Vec<Command<Parcel>>) {
        self.order(node, commands);
        let ordered = self.board(node).ordered();
        self.until("commands are executed", |rig| (rig.board(node).executed() >= ordered).then_some(()));
    }

    /// Makes the driver of `node` take a turn.
    fn wake(&self, node: usize);

    /// Waits until `look` gives something.
    fn until<T>(&mut self, what: &str, look: impl FnMut(&Self) -> Option<T>) -> T;

    /// Stops the cores, lets the drivers finish what is closing, and returns how many slots each still uses.
    fn stop(self) -> Vec<u32>;

    /// Waits for the next connection that `node` has accepted and the test has not seen yet.
    fn accepted(&mut self, node: usize) -> Conn {
        self.until("a connection is accepted", |rig| rig.board(node).next_accepted()).0
    }

    /// Waits until the core of `node` has received `count` bytes from `conn`, and takes them.
    fn received(&mut self, node: usize, conn: Conn, count: usize) -> Vec<u8> {
        self.until("input arrives", |rig| {
            let have = rig.board(node).input_len(conn);
            assert!(have <= count, "{have} bytes instead of {count}");
            (have == count).then(|| rig.board(node).take_input(conn))
        })
    }

    /// Waits for an event that `matches`.
    fn sees<T>(&mut self, node: usize, what: &str, matches: impl Fn(&Seen) -> Option<T>) -> T {
        self.until(what, |rig| rig.board(node).find(&matches))
    }
}

/// `count` bytes that tell where a loss or a mix-up is.
pub(crate) fn pattern(seed: u64, count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(count).collect()
}
