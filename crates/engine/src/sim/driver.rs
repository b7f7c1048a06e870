//! The driver of one simulated node.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use super::Ending;
use super::network::{HandedIn, Network, Waiting, address};
use crate::close::{LINGER, LINGER_BYTES_MAX};
use crate::driver::{CloseMode, Command, Commands, Conn, Driver, Event, Next};
use crate::time::Now;

const SCRATCH_BYTES: usize = 4_096;

/// Moves bytes in a [`super::World`].
pub struct SimDriver<P> {
    network: Rc<RefCell<Network<P>>>,
    index: usize,
    /// Events that commands caused.
    caused: Vec<Event<'static, P>>,
}

impl<P: Send + 'static> SimDriver<P> {
    pub(super) fn new(network: Rc<RefCell<Network<P>>>, index: usize) -> SimDriver<P> {
        SimDriver { network, index, caused: Vec::new() }
    }

    fn command(&mut self, command: Command<P>, report: &mut dyn FnMut(Event<'_, P>)) {
        let network = &mut *self.network.borrow_mut();
        let node = &mut network.nodes[self.index];
        match command {
            Command::Send { conn, bytes } => {
                if let Some(event) = send(network, self.index, conn, bytes) {
                    report(event);
                }
            }
            Command::WatchOnce { conn } => {
                if let Some(socket) = node.open(conn) {
                    socket.once = !socket.watched;
                }
            }
            Command::Watch { conn } => {
                if let Some(socket) = node.open(conn) {
                    socket.watched = true;
                    socket.armed = true;
                }
            }
            Command::Pause { conn } => {
                if let Some(socket) = node.open(conn) {
                    socket.watched = false;
                    socket.once = false;
                }
            }
            Command::WatchWritable { conn } => {
                if let Some(socket) = node.open(conn) {
                    socket.wants_writable = true;
                }
            }
            Command::Close { conn, mode } => {
                let until = network.now().time + LINGER;
                let Some(socket) = network.nodes[self.index].open(conn) else { return };
                let end = socket.end;
                socket.lingering = Some(until);
                network.shut(end, mode == CloseMode::Abort);
                if mode == CloseMode::Abort {
                    network.nodes[self.index].sockets.remove(&conn.slot);
                    network.leave(end);
                }
            }
            Command::HandOff { conn, to, parcel } => {
                let Some(socket) = node.open(conn) else { return };
                assert!(!socket.armed && !socket.once, "a hand-off with something armed");
                let end = socket.end;
                if network.chance(network.faults.refused_hand_off) || network.nodes[to].is_full() {
                    self.caused.push(Event::HandOffFailed { conn, parcel });
                } else {
                    network.nodes[self.index].sockets.remove(&conn.slot);
                    network.nodes[to].handed_in.push_back(HandedIn { end, parcel });
                }
            }
            // Every node takes turns all the time.
            Command::Wake { .. } => {}
            Command::Connect { tag, from, to } => {
                let node = (0..network.nodes.len()).find(|&node| address(node) == to);
                let full = network.nodes[self.index].is_full();
                let from = from.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1)));
                match node.filter(|&node| network.nodes[node].accepting && !full) {
                    // Every machine of the simulator is this one.
                    _ if !from.ip().is_loopback() => {
                        let error = io::ErrorKind::AddrNotAvailable;
                        self.caused.push(Event::ConnectFailed { tag, error });
                    }
                    Some(node) => {
                        let end = network.connect(from, node);
                        let conn = network.nodes[self.index].insert(end);
                        self.caused.push(Event::Connected { conn, tag });
                    }
                    None => {
                        let error = io::ErrorKind::ConnectionRefused;
                        self.caused.push(Event::ConnectFailed { tag, error });
                    }
                }
            }
            Command::Accept { on } => node.accepting = on,
        }
    }

    /// Reports what is ready, but for what the seed delays.
    pub(super) fn take_events(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        for event in std::mem::take(&mut self.caused) {
            let now = self.now();
            report(now, event);
        }
        self.take_arrivals(report);
        let mut slots: Vec<u32> = self.network.borrow().nodes[self.index].sockets.keys().copied().collect();
        self.network.borrow_mut().shuffle(&mut slots);
        for slot in slots {
            let delayed = {
                let network = &mut *self.network.borrow_mut();
                network.chance(network.faults.delay)
            };
            if !delayed {
                self.take_socket_events(slot, report);
            }
        }
    }

    fn take_arrivals(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let now = self.now();
        loop {
            let mut network = self.network.borrow_mut();
            let node = &mut network.nodes[self.index];
            let event = if let Some(HandedIn { end, parcel }) = node.handed_in.pop_front() {
                Event::HandedIn { conn: node.insert(end), parcel }
            } else if node.accepting && !node.is_full() {
                let Some(Waiting { end, peer }) = node.backlog.pop_front() else { return };
                Event::Accepted { conn: node.insert(end), peer }
            } else {
                return;
            };
            drop(network);
            report(now, event);
        }
    }

    fn take_socket_events(&mut self, slot: u32, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let mut network = self.network.borrow_mut();
        let now = network.now();
        let Some(socket) = network.nodes[self.index].sockets.get(&slot) else { return };
        let (conn, end) = (socket.conn, socket.end);
        let (lingering, hung_up) = (socket.lingering, socket.hung_up);
        let listens = socket.watched || socket.once;
        let ending = network.ending(end);
        if let Some(until) = lingering {
            let bytes = network.read(end, 1 + LINGER_BYTES_MAX as usize).len() as u64;
            let Some(socket) = network.nodes[self.index].get(conn) else { return };
            socket.discarded += bytes;
            let enough = socket.discarded > u64::from(LINGER_BYTES_MAX);
            if enough || ending != Ending::Open || until <= now.time {
                network.nodes[self.index].sockets.remove(&slot);
                network.leave(end);
            }
            return;
        }
        let room = network.room(end);
        if let Some(socket) =
            network.nodes[self.index].open(conn).filter(|socket| socket.wants_writable && room > 0)
        {
            socket.wants_writable = false;
            drop(network);
            return report(now, Event::Writable { conn });
        }
        if !listens || hung_up {
            return;
        }
        let waiting = network.waiting(end);
        if waiting > 0 {
            let mut most = waiting.min(SCRATCH_BYTES);
            let partial = network.faults.partial_read;
            if network.chance(partial) {
                most = 1 + network.random(most as u64) as usize;
            }
            let mut data = network.read(end, most);
            if let Some(socket) = network.nodes[self.index].open(conn) {
                socket.once = false;
            }
            drop(network);
            return report(now, Event::Received { conn, data: &mut data });
        }
        let error = match ending {
            Ending::Open => return,
            Ending::Closed => None,
            Ending::Reset => Some(io::ErrorKind::ConnectionReset),
        };
        if let Some(socket) = network.nodes[self.index].open(conn) {
            socket.hung_up = true;
            socket.once = false;
        }
        drop(network);
        report(now, Event::HungUp { conn, error });
    }
}

/// Sends, with the faults of the network. The event says what did not go out.
fn send<P>(network: &mut Network<P>, node: usize, conn: Conn, bytes: Bytes) -> Option<Event<'static, P>> {
    let Some(end) = network.nodes[node].open(conn).map(|socket| socket.end) else {
        let error = Some(io::ErrorKind::NotConnected);
        return Some(Event::SendIncomplete { conn, rest: bytes, error });
    };
    if network.chance(network.faults.reset) {
        network.shut(end, true);
    }
    if network.ending(end) == Ending::Reset {
        let error = Some(io::ErrorKind::BrokenPipe);
        return Some(Event::SendIncomplete { conn, rest: bytes, error });
    }
    let mut most = bytes.len();
    if network.chance(network.faults.refused_send) {
        most = 0;
    } else if network.chance(network.faults.short_send) {
        most = network.random(bytes.len() as u64) as usize;
    }
    let sent = network.write(end, &bytes[..most]);
    (sent < bytes.len()).then(|| Event::SendIncomplete { conn, rest: bytes.slice(sent..), error: None })
}

impl<P: Send + 'static> Driver for SimDriver<P> {
    type Parcel = P;

    fn now(&self) -> Now {
        self.network.borrow().now()
    }

    fn capacity(&self) -> u32 {
        self.network.borrow().nodes[self.index].slots
    }

    fn in_use(&self) -> u32 {
        self.network.borrow().nodes[self.index].sockets.len() as u32
    }

    fn closing(&self) -> u32 {
        let network = self.network.borrow();
        let sockets = network.nodes[self.index].sockets.values();
        sockets.filter(|socket| socket.lingering.is_some()).count() as u32
    }

    fn submit(&mut self, commands: &mut Commands<P>, report: &mut dyn FnMut(Event<'_, P>)) -> io::Result<()> {
        for command in commands.queue.drain(..) {
            self.command(command, report);
        }
        Ok(())
    }

    fn wait(
        &mut self,
        _: Next,
        _: &dyn Fn() -> bool,
        report: &mut dyn FnMut(Now, Event<'_, P>),
    ) -> io::Result<()> {
        self.take_events(report);
        Ok(())
    }
}
