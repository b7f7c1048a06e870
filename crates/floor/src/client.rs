//! The connecting side.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::readiness::Readiness;
use super::ring::{Completion, Kind, Ring};
use super::{FloorError, PING, PONG, require_loopback};

/// How often a serving client looks whether it should stop.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// Index of the server's address in the ring's addresses; the sources follow.
const TARGET: usize = 0;

/// What a client does with what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Reads and discards.
    Nothing,
    /// Expects only [`PING`] and answers each with [`PONG`].
    Pong,
}

/// What one client ring holds.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// The server; a loopback address.
    pub target: SocketAddrV4,
    /// Source addresses, used in turn; each gives as many connections to the target as there are local ports.
    pub sources: Vec<Ipv4Addr>,
    /// How many connections.
    pub connections: u32,
    /// Connects that may be on their way at once; keep the sum under the server's backlog.
    pub in_flight_max: u32,
    /// What to do with what comes.
    pub answer: Answer,
}

/// What serving clients have received; may be shared by many.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes received.
    pub bytes: AtomicU64,
    /// Pings answered.
    pub pings: AtomicU64,
    /// Bytes received that were no ping where only pings were expected.
    pub unexpected_bytes: AtomicU64,
    /// Connections that the server has ended.
    pub closed: AtomicU64,
}

/// A ring with sockets in direct descriptors that connect to one server.
pub struct Client {
    ring: Ring,
    plan: ClientPlan,
    readiness: Readiness,
    completions: Vec<Completion>,
}

impl Client {
    /// A ring with an empty table for the plan's connections.
    pub fn new(plan: ClientPlan) -> Result<Self, FloorError> {
        let mut addresses = vec![require_loopback(plan.target)?];
        for source in &plan.sources {
            addresses.push(require_loopback(SocketAddrV4::new(*source, 0))?);
        }
        Ok(Self {
            ring: Ring::new(plan.connections, PONG.into(), &addresses)?,
            plan,
            readiness: Readiness::default(),
            completions: Vec::new(),
        })
    }

    /// Makes all sockets and binds them, without ports yet, so that connecting does no more than connect.
    pub fn open(&mut self) -> Result<(), FloorError> {
        for slot in 0..self.plan.connections {
            self.ring.push_open(slot)?;
        }
        self.finish_opening("opening sockets")?;
        if self.plan.sources.is_empty() {
            return Ok(());
        }
        for slot in 0..self.plan.connections {
            self.ring.push_bind_late(slot)?;
        }
        self.finish_opening("setting IP_BIND_ADDRESS_NO_PORT")?;
        for slot in 0..self.plan.connections {
            let source = slot as usize % self.plan.sources.len();
            self.ring.push_bind(slot, TARGET + 1 + source)?;
        }
        self.finish_opening("binding sockets")
    }

    /// Submits; these requests end at once and complete only when they fail.
    fn finish_opening(&mut self, step: &'static str) -> Result<(), FloorError> {
        self.ring.submit()?;
        self.ring.take_completions(&mut self.completions);
        match self.completions.drain(..).find_map(|completion| completion.error()) {
            Some(error) => Err(FloorError::request(step)(error)),
            None => Ok(()),
        }
    }

    /// Connects all sockets; gives up after `patience`.
    pub fn connect(&mut self, patience: Duration) -> Result<(), FloorError> {
        let deadline = Instant::now() + patience;
        let (mut started, mut connected) = (0, 0);
        while connected < self.plan.connections {
            while started < self.plan.connections && started - connected < self.plan.in_flight_max {
                self.ring.push_connect(started, TARGET)?;
                started += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FloorError::TimedOut {
                    what: "connections were established",
                    done: connected,
                    expected: self.plan.connections,
                });
            }
            self.ring.wait(left)?;
            self.ring.take_completions(&mut self.completions);
            for completion in self.completions.drain(..).filter(|completion| completion.kind == Kind::Connect)
            {
                if let Some(error) = completion.error() {
                    return Err(FloorError::request("connecting")(error));
                }
                connected += 1;
            }
        }
        Ok(())
    }

    /// Arms a multishot poll on every connection, which [`Self::serve`] needs.
    pub fn poll_all(&mut self) -> Result<(), FloorError> {
        for slot in 0..self.plan.connections {
            self.ring.push_poll(slot)?;
        }
        self.ring.submit()
    }

    /// Reads, and answers if the plan says so, until `stop`; adds what came to `progress` after every turn.
    pub fn serve(&mut self, stop: &AtomicBool, progress: &Progress) -> Result<(), FloorError> {
        let answer = self.plan.answer;
        while !stop.load(Ordering::Relaxed) {
            let before = self.readiness.totals;
            let (mut pings, mut unexpected) = (0, 0);
            self.readiness.turn(&mut self.ring, STOP_CHECK, |bytes| match answer {
                Answer::Nothing => 0,
                Answer::Pong => {
                    let found = bytes.chunks(PING.len()).filter(|chunk| **chunk == PING).count();
                    pings += found as u64;
                    unexpected += (bytes.len() - found * PING.len()) as u64;
                    found as u32
                }
            })?;
            let after = self.readiness.totals;
            progress.bytes.fetch_add(after.bytes - before.bytes, Ordering::Relaxed);
            progress.closed.fetch_add(after.closed - before.closed, Ordering::Relaxed);
            progress.pings.fetch_add(pings, Ordering::Relaxed);
            progress.unexpected_bytes.fetch_add(unexpected, Ordering::Relaxed);
        }
        Ok(())
    }
}
