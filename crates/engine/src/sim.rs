//! The simulator: cores on virtual sockets and a virtual clock, everything decided by a seed.
//!
//! A [`World`] holds nodes, each a core with its driver, and clients that a test plays by hand. Time passes only
//! in [`World::step`] and [`World::advance`]. [`Faults`] says how often the network misbehaves. The same seed
//! with the same calls gives the same run, so a failure is repeated by its seed.

mod driver;
mod network;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

pub use self::driver::SimDriver;
use self::network::{End, Network};
use crate::driver::{Commands, Core, Driver, Next, turn};
use crate::time::{Now, Time};

/// How often the network misbehaves, each as a chance in a thousand, and how much it holds.
#[derive(Copy, Clone, Debug)]
pub struct Faults {
    /// A send takes only a part, though there is room.
    pub short_send: u16,
    /// A send takes nothing, though there is room.
    pub refused_send: u16,
    /// A read gives only a part of what is there.
    pub partial_read: u16,
    /// A send finds the connection broken.
    pub reset: u16,
    /// An event that is ready is left for a later turn, so that connections overtake each other.
    pub delay: u16,
    /// A hand-off is refused.
    pub refused_hand_off: u16,
    /// A step takes up to a minute instead of up to two milliseconds, or the wall clock goes back by as much.
    pub clock_jump: u16,
    /// The bytes that a connection holds in one direction are chosen between 1 and this.
    pub window_bytes_max: usize,
}

impl Faults {
    /// A network that does what one hopes for.
    pub const NONE: Faults = Faults {
        short_send: 0,
        refused_send: 0,
        partial_read: 0,
        reset: 0,
        delay: 0,
        refused_hand_off: 0,
        clock_jump: 0,
        window_bytes_max: usize::MAX,
    };

    /// A network that does everything it may, often.
    pub const HOSTILE: Faults = Faults {
        short_send: 100,
        refused_send: 50,
        partial_read: 200,
        reset: 5,
        delay: 200,
        refused_hand_off: 50,
        clock_jump: 0,
        window_bytes_max: 4_096,
    };
}

/// A client that a test plays.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(u64);

/// What a client has seen of the end of its connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing yet.
    Open,
    /// The node closed its side, after everything that was sent.
    Closed,
    /// The connection broke.
    Reset,
}

struct Node<C: Core> {
    core: C,
    driver: SimDriver<C::Parcel>,
    commands: Commands<C::Parcel>,
    later: Commands<C::Parcel>,
    next: Next,
}

/// Nodes and clients, from a seed.
pub struct World<C: Core> {
    network: Rc<RefCell<Network<C::Parcel>>>,
    nodes: Vec<Node<C>>,
    clients: BTreeMap<u64, End>,
    clients_made: u64,
}

impl<C: Core> World<C> {
    /// An empty world. Its wall clock starts at `unix_ms`.
    pub fn new(seed: u64, faults: Faults, unix_ms: u64) -> World<C> {
        World {
            network: Rc::new(RefCell::new(Network::new(seed, faults, unix_ms))),
            nodes: Vec::new(),
            clients: BTreeMap::new(),
            clients_made: 0,
        }
    }

    /// The address at which node `index` accepts.
    pub fn address(index: usize) -> SocketAddr {
        network::address(index)
    }

    /// Adds a node with room for `slots` connections. Nodes are numbered from 0.
    pub fn add_node(&mut self, core: C, slots: u32) {
        let index = self.network.borrow_mut().add_node(slots);
        self.nodes.push(Node {
            core,
            driver: SimDriver::new(Rc::clone(&self.network), index),
            commands: Commands::default(),
            later: Commands::default(),
            next: Next::Now,
        });
    }

    /// The core of node `index`.
    pub fn core(&mut self, index: usize) -> &mut C {
        &mut self.nodes[index].core
    }

    /// How many slots node `index` uses, those of closing connections included.
    pub fn in_use(&self, index: usize) -> u32 {
        self.nodes[index].driver.in_use()
    }

    /// The clocks.
    pub fn now(&self) -> Now {
        self.network.borrow().now()
    }

    /// Changes the faults, for instance to let a run come to rest.
    pub fn set_faults(&mut self, faults: Faults) {
        self.network.borrow_mut().faults = faults;
    }

    /// Lets time pass without a step.
    pub fn advance(&mut self, by: Duration) {
        self.network.borrow_mut().advance(by);
    }

    /// One turn of a node that the seed chooses. Returns whether any node still runs.
    pub fn step(&mut self) -> bool {
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|&node| self.nodes[node].next != Next::Stop).collect();
        let Some(index) = self.network.borrow_mut().choose(&running) else { return false };
        self.network.borrow_mut().pass_time();
        let Node { core, driver, commands, later, next } = &mut self.nodes[index];
        driver.take_events(&mut |now, event| core.on_event(now, event, commands));
        *next = turn(driver, core, commands, later).expect("the simulated driver does not fail");
        true
    }

    /// `count` steps, or until every node has stopped.
    pub fn steps(&mut self, count: usize) {
        for _ in 0..count {
            if !self.step() {
                return;
            }
        }
    }

    /// A client connects to a node. It waits in the backlog while the node does not accept.
    pub fn connect(&mut self, node: usize) -> Client {
        self.clients_made += 1;
        let client = self.clients_made;
        let from = SocketAddr::from(([127, 0, 0, 2], 1024 + (client % 60_000) as u16));
        let end = self.network.borrow_mut().connect(from, node);
        self.clients.insert(client, end);
        Client(client)
    }

    /// The client writes. Returns how much went out.
    pub fn send(&mut self, client: Client, bytes: &[u8]) -> usize {
        match self.clients.get(&client.0) {
            Some(&end) => self.network.borrow_mut().write(end, bytes),
            None => 0,
        }
    }

    /// The client reads all that has arrived.
    pub fn receive(&mut self, client: Client) -> Bytes {
        match self.clients.get(&client.0) {
            Some(&end) => self.network.borrow_mut().read_all(end).into(),
            None => Bytes::new(),
        }
    }

    /// What the client has seen of the end, once it has read everything.
    pub fn ending(&self, client: Client) -> Ending {
        match self.clients.get(&client.0) {
            Some(&end) => self.network.borrow().ending(end),
            None => Ending::Reset,
        }
    }

    /// The client closes its side, or breaks the connection.
    pub fn close(&mut self, client: Client, reset: bool) {
        if let Some(&end) = self.clients.get(&client.0) {
            self.network.borrow_mut().shut(end, reset);
        }
    }

    /// Forgets a client and drops its connection.
    pub fn drop_client(&mut self, client: Client) {
        if let Some(end) = self.clients.remove(&client.0) {
            self.network.borrow_mut().drop_end(end, true);
        }
    }

    /// A number below `bound` from the seed, for what the test itself leaves to chance.
    pub fn random(&mut self, bound: u64) -> u64 {
        self.network.borrow_mut().random(bound)
    }

    /// The monotonic clock.
    pub fn time(&self) -> Time {
        self.now().time
    }
}
