//! Links between ends, and which node owns which end.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Ending, Faults};
use crate::driver::Conn;
use crate::time::{Now, Time};

const FIRST_PORT: u16 = 1_000;

pub(super) fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + node as u16))
}

/// One side of a link: 0 connected, 1 accepted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    link: u64,
    side: usize,
}

impl End {
    fn peer(self) -> End {
        End { link: self.link, side: 1 - self.side }
    }
}

/// The bytes under way to one end.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    window: usize,
    /// The writer has closed.
    finished: bool,
}

struct Link {
    /// By the side that reads.
    pipes: [Pipe; 2],
    broken: bool,
    /// Sides that have let go of it.
    left: [bool; 2],
}

/// What a driver keeps for a connection.
pub(super) struct Socket {
    pub(super) conn: Conn,
    pub(super) end: End,
    pub(super) watched: bool,
    pub(super) once: bool,
    pub(super) wants_writable: bool,
    /// The core knows that no more input comes.
    pub(super) hung_up: bool,
    /// Watched at some time, so that it can no longer be handed off.
    pub(super) armed: bool,
    /// Until when the connection lingers after a graceful close.
    pub(super) lingering: Option<Time>,
    /// Bytes of input discarded while lingering.
    pub(super) discarded: u64,
}

/// A connection that waits to be accepted.
pub(super) struct Waiting {
    pub(super) end: End,
    pub(super) peer: SocketAddr,
}

/// A connection that waits to be taken over.
pub(super) struct HandedIn<P> {
    pub(super) end: End,
    pub(super) parcel: Box<P>,
}

pub(super) struct NodeSockets<P> {
    pub(super) slots: u32,
    pub(super) accepting: bool,
    pub(super) sockets: BTreeMap<u32, Socket>,
    generations: Vec<u32>,
    pub(super) backlog: VecDeque<Waiting>,
    pub(super) handed_in: VecDeque<HandedIn<P>>,
}

impl<P> NodeSockets<P> {
    pub(super) fn is_full(&self) -> bool {
        // Who is on the way has a slot for sure.
        self.sockets.len() + self.handed_in.len() >= self.slots as usize
    }

    pub(super) fn get(&mut self, conn: Conn) -> Option<&mut Socket> {
        self.sockets.get_mut(&conn.slot).filter(|socket| socket.conn == conn)
    }

    /// A connection that its core still owns.
    pub(super) fn open(&mut self, conn: Conn) -> Option<&mut Socket> {
        self.get(conn).filter(|socket| socket.lingering.is_none())
    }

    pub(super) fn insert(&mut self, end: End) -> Conn {
        // The lowest free slot: the sooner a slot is reused, the sooner a stale name shows.
        let slot = (0..self.slots).find(|slot| !self.sockets.contains_key(slot)).unwrap_or_default();
        if self.generations.len() <= slot as usize {
            self.generations.resize(slot as usize + 1, 0);
        }
        self.generations[slot as usize] += 1;
        let conn = Conn { slot, generation: self.generations[slot as usize] };
        let socket = Socket {
            conn,
            end,
            watched: false,
            once: false,
            wants_writable: false,
            hung_up: false,
            armed: false,
            lingering: None,
            discarded: 0,
        };
        self.sockets.insert(slot, socket);
        conn
    }
}

pub(super) struct Network<P> {
    random: fastrand::Rng,
    pub(super) faults: Faults,
    now: Now,
    links: BTreeMap<u64, Link>,
    links_made: u64,
    pub(super) nodes: Vec<NodeSockets<P>>,
}

impl<P> Network<P> {
    pub(super) fn new(seed: u64, faults: Faults, unix_ms: u64) -> Network<P> {
        Network {
            random: fastrand::Rng::with_seed(seed),
            faults,
            now: Now { time: Time(1_000_000_000), unix_ms },
            links: BTreeMap::new(),
            links_made: 0,
            nodes: Vec::new(),
        }
    }

    pub(super) fn add_node(&mut self, slots: u32) -> usize {
        self.nodes.push(NodeSockets {
            slots,
            accepting: false,
            sockets: BTreeMap::new(),
            generations: Vec::new(),
            backlog: VecDeque::new(),
            handed_in: VecDeque::new(),
        });
        self.nodes.len() - 1
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now.time = self.now.time + by;
        self.now.unix_ms += by.as_millis() as u64;
    }

    /// What one step takes.
    pub(super) fn pass_time(&mut self) {
        let micros = self.random(2_000);
        self.advance(Duration::from_micros(micros));
        // Microseconds would never add up to a millisecond of the wall clock otherwise.
        self.now.unix_ms += u64::from(self.chance((micros / 2) as u16));
        if self.chance(self.faults.clock_jump) {
            let jump = self.random(60_000);
            match self.random(2) {
                0 => self.advance(Duration::from_millis(jump)),
                _ => self.now.unix_ms = self.now.unix_ms.saturating_sub(jump),
            }
        }
    }

    pub(super) fn random(&mut self, bound: u64) -> u64 {
        self.random.u64(0..bound.max(1))
    }

    pub(super) fn chance(&mut self, thousandths: u16) -> bool {
        thousandths > 0 && self.random(1_000) < u64::from(thousandths)
    }

    pub(super) fn choose<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        let at = self.random(among.len() as u64) as usize;
        among.get(at).copied()
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        self.random.shuffle(items);
    }

    /// Connects to a node: a link, and an arrival at the node.
    pub(super) fn connect(&mut self, from: SocketAddr, node: usize) -> End {
        let windows = [0, 1].map(|_| match self.faults.window_bytes_max {
            usize::MAX => usize::MAX,
            most => 1 + self.random(most as u64) as usize,
        });
        let pipes = windows.map(|window| Pipe { window, ..Pipe::default() });
        self.links_made += 1;
        let link = self.links_made;
        self.links.insert(link, Link { pipes, broken: false, left: [false; 2] });
        let end = End { link, side: 0 };
        self.nodes[node].backlog.push_back(Waiting { end: end.peer(), peer: from });
        end
    }

    /// Writes as much as there is room for.
    pub(super) fn write(&mut self, end: End, bytes: &[u8]) -> usize {
        let Some(link) = self.links.get_mut(&end.link).filter(|link| !link.broken) else { return 0 };
        if bytes.is_empty() || link.pipes[end.peer().side].finished {
            return 0;
        }
        if link.left[end.peer().side] {
            // Nobody is there: the bytes go out, and a reset comes back.
            link.broken = true;
            return bytes.len();
        }
        let pipe = &mut link.pipes[end.peer().side];
        let room = if pipe.finished { 0 } else { pipe.window.saturating_sub(pipe.bytes.len()) };
        let sent = bytes.len().min(room);
        pipe.bytes.extend(&bytes[..sent]);
        sent
    }

    /// How many bytes there are to read.
    pub(super) fn waiting(&self, end: End) -> usize {
        self.links.get(&end.link).map_or(0, |link| link.pipes[end.side].bytes.len())
    }

    pub(super) fn room(&self, end: End) -> usize {
        self.links.get(&end.link).map_or(0, |link| {
            let pipe = &link.pipes[end.peer().side];
            if link.broken {
                // What is written now fails, which is to be found out.
                return usize::MAX;
            }
            pipe.window.saturating_sub(pipe.bytes.len())
        })
    }

    pub(super) fn read(&mut self, end: End, most: usize) -> Vec<u8> {
        match self.links.get_mut(&end.link) {
            Some(link) => {
                let bytes = &mut link.pipes[end.side].bytes;
                let take = most.min(bytes.len());
                bytes.drain(..take).collect()
            }
            None => Vec::new(),
        }
    }

    pub(super) fn read_all(&mut self, end: End) -> Vec<u8> {
        self.read(end, usize::MAX)
    }

    /// What the end has seen, once it has read everything.
    pub(super) fn ending(&self, end: End) -> Ending {
        match self.links.get(&end.link) {
            Some(link) if link.broken => Ending::Reset,
            Some(link) if link.pipes[end.side].finished && link.pipes[end.side].bytes.is_empty() => {
                Ending::Closed
            }
            Some(_) => Ending::Open,
            None => Ending::Reset,
        }
    }

    /// One end closes its side, or breaks the link.
    pub(super) fn shut(&mut self, end: End, reset: bool) {
        let Some(link) = self.links.get_mut(&end.link) else { return };
        link.pipes[end.peer().side].finished = true;
        if reset {
            link.broken = true;
            // What was under way is lost.
            link.pipes[end.peer().side].bytes.clear();
        }
    }

    /// One end lets go: unread input makes it a reset, as TCP does.
    pub(super) fn leave(&mut self, end: End) {
        let unread = self.waiting(end) > 0;
        self.drop_end(end, unread);
    }

    /// One end lets go, with a reset or without.
    pub(super) fn drop_end(&mut self, end: End, reset: bool) {
        self.shut(end, reset);
        if let Some(link) = self.links.get_mut(&end.link) {
            link.left[end.side] = true;
            if link.left == [true; 2] {
                self.links.remove(&end.link);
            }
        }
    }
}
