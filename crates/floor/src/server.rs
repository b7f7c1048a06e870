//! The accepting side.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::readiness::{ReadTotals, Readiness};
use super::ring::{Completion, Kind, Ring};
use super::{BATCH, FloorError, PONG};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Slots beyond those needed, so that the last wanted connection never meets a full table.
const SLOTS_SPARE: u32 = 16;

/// A listener on a loopback port of its own, and a ring that holds what it accepts in direct descriptors.
///
/// Closing resets its connections, so that neither side keeps a port in TIME_WAIT.
pub struct Server {
    ring: Ring,
    listener: Socket,
    accepting: bool,
    slots: Vec<u32>,
    readiness: Readiness,
    completions: Vec<Completion>,
}

/// When the connections of one server came.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// When the first was seen, if any.
    pub first: Option<Instant>,
    /// When the last was seen, if any.
    pub last: Option<Instant>,
    /// How many the server holds now.
    pub connections: u32,
}

/// What one round of sends did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendRound {
    /// Sockets written to.
    pub sends: u64,
    /// Sends of these that the socket took only in part or not at all.
    pub short: u64,
    /// Bytes taken by the sockets.
    pub bytes: u64,
}

/// How a server pings.
#[derive(Clone, Copy, Debug)]
pub struct PingPlan {
    /// Each connection gets one ping per interval; they are spread evenly over it.
    pub interval: Duration,
    /// How often the pings that are due are sent.
    pub tick: Duration,
    /// For how long.
    pub duration: Duration,
    /// How long to wait for the last pongs afterwards.
    pub grace: Duration,
}

/// What came of pinging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PingTotals {
    /// Pings sent whole.
    pub pings: u64,
    /// Pongs received.
    pub pongs: u64,
    /// Bytes received that were no pong.
    pub unexpected_bytes: u64,
    /// Connections that ended meanwhile.
    pub closed: u64,
}

impl Server {
    /// Listens on a free port of 127.0.0.1, with room for `connections`, ready to send `payload` to each.
    pub fn listen(connections: u32, payload: &[u8]) -> Result<Self, FloorError> {
        let listener = listener().map_err(FloorError::request("listening"))?;
        Ok(Self {
            ring: Ring::new(connections + SLOTS_SPARE, payload.into(), &[])?,
            listener,
            accepting: false,
            slots: Vec::with_capacity(connections as usize),
            readiness: Readiness::default(),
            completions: Vec::new(),
        })
    }

    /// Where clients connect to.
    pub fn address(&self) -> Result<SocketAddrV4, FloorError> {
        let address =
            self.listener.local_addr().map_err(FloorError::request("reading the listener's address"))?;
        Ok(address.as_socket_ipv4().expect("the listener was bound to IPv4"))
    }

    /// Accepts until the server holds `connections` in all, or for `patience`.
    pub fn accept(&mut self, connections: u32, patience: Duration) -> Result<Accepted, FloorError> {
        let deadline = Instant::now() + patience;
        let (mut first, mut last) = (None, None);
        while self.slots.len() < connections as usize {
            if !self.accepting {
                self.ring.push_accept(self.listener.as_fd())?;
                self.accepting = true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.ring.wait(left)?;
            if self.take_accepted()? > 0 {
                let now = Instant::now();
                first.get_or_insert(now);
                last = Some(now);
            }
            if left.is_zero() {
                break;
            }
        }
        Ok(Accepted { first, last, connections: self.slots.len() as u32 })
    }

    fn take_accepted(&mut self) -> Result<usize, FloorError> {
        let before = self.slots.len();
        self.ring.take_completions(&mut self.completions);
        for completion in self.completions.drain(..) {
            if completion.kind != Kind::Accept {
                continue;
            }
            if let Some(error) = completion.error() {
                return Err(FloorError::request("accepting")(error));
            }
            self.slots.push(completion.result as u32);
            self.accepting = completion.more();
        }
        Ok(self.slots.len() - before)
    }

    /// Arms a multishot poll on every connection.
    pub fn poll_all(&mut self) -> Result<(), FloorError> {
        for slot in &self.slots {
            self.ring.push_poll(*slot)?;
        }
        self.ring.submit()
    }

    /// Writes the payload once to every connection.
    pub fn send_to_all(&mut self) -> Result<SendRound, FloorError> {
        let whole = self.ring.payload().len() as u64;
        let mut round = SendRound { sends: self.slots.len() as u64, short: 0, bytes: 0 };
        let mut short_bytes = 0;
        // Completions are taken after each batch: a receiver that has stopped may cut every send short.
        for batch in self.slots.chunks(BATCH) {
            for slot in batch {
                self.ring.push_send(*slot)?;
            }
            self.ring.submit()?;
            self.ring.take_completions(&mut self.completions);
            for completion in self.completions.drain(..) {
                if completion.kind == Kind::Send {
                    round.short += 1;
                    short_bytes += u64::try_from(completion.result).unwrap_or(0);
                }
            }
        }
        round.bytes = (round.sends - round.short) * whole + short_bytes;
        Ok(round)
    }

    /// Sends the payload, which should be [`super::PING`], to every connection in turn, and counts the pongs.
    /// Polls must have been armed before.
    pub fn ping(&mut self, plan: PingPlan) -> Result<PingTotals, FloorError> {
        let start = Instant::now();
        let before = self.readiness.totals;
        let mut totals = PingTotals::default();
        let mut sent = 0;
        let mut tick = 0;
        loop {
            let elapsed = start.elapsed();
            if elapsed >= plan.duration {
                break;
            }
            let due = self.pings_due(elapsed, plan.interval);
            while sent < due {
                let slot = self.slots[(sent % self.slots.len() as u64) as usize];
                self.ring.push_send(slot)?;
                sent += 1;
            }
            tick += 1;
            self.read_pongs_until(
                (start + plan.tick * tick).min(start + plan.duration),
                u64::MAX,
                &mut totals,
            )?;
        }
        self.read_pongs_until(start + plan.duration + plan.grace, sent, &mut totals)?;
        let after = self.readiness.totals;
        totals.pings = sent - (after.short_sends - before.short_sends);
        totals.closed = after.closed - before.closed;
        Ok(totals)
    }

    /// How many pings should have left after `elapsed`.
    fn pings_due(&self, elapsed: Duration, interval: Duration) -> u64 {
        let due = elapsed.as_nanos() * self.slots.len() as u128 / interval.as_nanos().max(1);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    fn read_pongs_until(
        &mut self,
        until: Instant,
        enough: u64,
        totals: &mut PingTotals,
    ) -> Result<(), FloorError> {
        while totals.pongs < enough {
            let left = until.saturating_duration_since(Instant::now());
            self.readiness.turn(&mut self.ring, left, |bytes| {
                let pongs = bytes.chunks(PONG.len()).filter(|chunk| is_pong(chunk)).count();
                totals.pongs += pongs as u64;
                totals.unexpected_bytes += (bytes.len() - pongs * PONG.len()) as u64;
                0
            })?;
            if left.is_zero() {
                break;
            }
        }
        Ok(())
    }

    /// What the server has read so far.
    pub fn read_totals(&self) -> ReadTotals {
        self.readiness.totals
    }

    /// Resets every connection. The server can only be dropped afterwards.
    pub fn close(&mut self) -> Result<(), FloorError> {
        self.slots.clear();
        self.ring.close_all()
    }
}

/// A masked pong without a payload, whatever its mask.
fn is_pong(bytes: &[u8]) -> bool {
    bytes.len() == PONG.len() && bytes[..2] == PONG[..2]
}

fn listener() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Accepted sockets inherit both.
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
