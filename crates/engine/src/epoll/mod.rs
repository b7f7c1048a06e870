//! The `epoll` driver: for kernels and containers that refuse `io_uring`.
//!
//! Every socket is registered once, edge-triggered, for input, room and hang-up; what a core wants to hear is
//! kept per slot. A send is one system call, made when it is commanded.

mod slots;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};

use self::slots::{Slots, State};
use crate::close::{LINGER_BYTES_MAX, Lingering};
use crate::driver::{CloseMode, Command, Commands, Conn, Driver, Event, Next};
use crate::listener::{ACCEPT_RETRY, AcceptFailure};
use crate::peers::{InTransit, Peers};
use crate::time::{Now, Seldom, Time};

const SCRATCH_BYTES: usize = 16 * 1024;
const READS_PER_TURN_MAX: usize = 4;
const ACCEPTS_PER_TURN_MAX: usize = 256;
const EVENTS: usize = 512;
const LISTENER: u64 = u64::MAX;
const WAKER: u64 = u64::MAX - 1;

/// The `epoll` driver of one thread.
pub struct Epoll<P> {
    epoll: OwnedFd,
    index: usize,
    peers: Arc<Peers<P>>,
    listener: Option<OwnedFd>,
    /// Whether the core wants to accept, and whether the listener is watched.
    accept_wanted: bool,
    accepting: bool,
    /// After a failure the next attempt waits until then.
    accept_not_before: Option<Time>,
    /// A connection that was handed over and that the kernel would not watch, and when it is tried again.
    stranded: Option<(Time, InTransit<P>)>,
    slots: Slots,
    lingering: Lingering,
    complaints: Seldom,
    events: Vec<epoll::Event>,
    /// Sockets to read.
    readable: Vec<Conn>,
    /// Events that commands caused, for the next `wait`.
    caused: Vec<Event<'static, P>>,
    scratch: Box<[u8; SCRATCH_BYTES]>,
}

impl<P: Send + 'static> Epoll<P> {
    /// Makes the driver `index` of `peers` with room for `slots` connections, which take from `listener` once
    /// the core wants to accept.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(
        index: usize,
        peers: Arc<Peers<P>>,
        slots: u32,
        listener: Option<OwnedFd>,
    ) -> io::Result<Epoll<P>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = epoll::EventData::new_u64(WAKER);
        epoll::add(&epoll, peers.waker(index).event(), waker, epoll::EventFlags::IN)?;
        if let Some(listener) = &listener {
            rustix::io::ioctl_fionbio(listener, true)?;
        }
        peers.give_room(index, slots);
        Ok(Epoll {
            epoll,
            index,
            peers,
            listener,
            accept_wanted: false,
            accepting: false,
            accept_not_before: None,
            stranded: None,
            slots: Slots::new(slots),
            lingering: Lingering::default(),
            complaints: Seldom::default(),
            events: Vec::with_capacity(EVENTS),
            readable: Vec::new(),
            caused: Vec::new(),
            scratch: Box::new([0; SCRATCH_BYTES]),
        })
    }

    /// Puts a socket into the slot that has been taken for it. When the kernel does not watch it (it is out of
    /// memory, or `fs.epoll.max_user_watches` is reached) the caller has the socket again, and the room.
    fn register(&mut self, socket: OwnedFd, state: State) -> Result<Conn, (io::Error, OwnedFd)> {
        let conn = self.slots.insert(socket, state);
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(u64::from(conn.generation) << 32 | u64::from(conn.slot));
        if let Some(slot) = self.slots.get(conn)
            && let Err(error) = epoll::add(&self.epoll, &slot.socket, data, flags)
            && let Some(slot) = self.slots.remove(conn)
        {
            return Err((error.into(), slot.socket));
        }
        Ok(conn)
    }

    /// Watches the listener or not, as the core wants it and as the table allows. Once a turn, before it
    /// sleeps: clients wait in the backlog until a slot is free.
    fn update_accepting(&mut self) {
        if self.accept_not_before.is_some_and(|time| time <= Now::read().time) {
            self.accept_not_before = None;
        }
        let on = self.may_accept();
        let Some(listener) = &self.listener else { return };
        if on == self.accepting {
            return;
        }
        let result = if on {
            epoll::add(&self.epoll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)
        } else {
            epoll::delete(&self.epoll, listener)
        };
        if let Err(error) = result {
            if self.complaints.is_due() {
                tracing::error!(%error, on, "the listener cannot be watched");
            }
            self.accept_not_before = Some(Now::read().time + ACCEPT_RETRY);
            return;
        }
        self.accepting = on;
    }

    fn may_accept(&self) -> bool {
        self.accept_wanted
            && self.listener.is_some()
            && self.accept_not_before.is_none()
            && self.peers.has_room(self.index)
    }

    fn accept(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(listener) = &self.listener else { return };
            if !self.peers.take_room(self.index) {
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(listener, flags) {
                Ok((socket, address)) => {
                    let peer = address
                        .and_then(|address| SocketAddr::try_from(address).ok())
                        .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
                    match self.register(socket, State::default()) {
                        Ok(conn) => report(Now::read(), Event::Accepted { conn, peer }),
                        Err((error, _)) => {
                            self.peers.give_room(self.index, 1);
                            if self.complaints.is_due() {
                                tracing::error!(%error, "accepting pauses, an accepted connection is dropped");
                            }
                            // Nor would the next one be watched: it may wait in the backlog.
                            self.accept_not_before = Some(Now::read().time + ACCEPT_RETRY);
                            return;
                        }
                    }
                }
                Err(error) => {
                    self.peers.give_room(self.index, 1);
                    if self.accept_failed(error) {
                        return;
                    }
                }
            }
        }
    }

    /// Whether to stop for this turn.
    fn accept_failed(&mut self, error: rustix::io::Errno) -> bool {
        if error == rustix::io::Errno::AGAIN {
            return true;
        }
        let failure = AcceptFailure::of(&error.into());
        match failure {
            AcceptFailure::Transient => {}
            AcceptFailure::Later => {
                tracing::debug!(%error, "accepting pauses");
                self.accept_not_before = Some(Now::read().time + ACCEPT_RETRY);
            }
            AcceptFailure::Never => {
                tracing::error!(%error, "the listener is gone, accepting ends");
                self.accept_wanted = false;
            }
        }
        failure != AcceptFailure::Transient
    }

    fn command(&mut self, command: Command<P>, report: &mut dyn FnMut(Event<'_, P>)) {
        match command {
            Command::Send { conn, bytes } => self.send(conn, bytes, report),
            Command::WatchOnce { conn } => self.watch(conn, false),
            Command::Watch { conn } => self.watch(conn, true),
            Command::Pause { conn } => {
                if let Some(slot) = self.slots.open(conn) {
                    slot.state.watched = false;
                    slot.state.once = false;
                }
            }
            Command::WatchWritable { conn } => {
                if let Some(slot) = self.slots.open(conn) {
                    if slot.state.writable {
                        self.caused.push(Event::Writable { conn });
                    } else {
                        slot.state.wants_writable = true;
                    }
                }
            }
            Command::Close { conn, mode } => self.close(conn, mode),
            Command::HandOff { conn, to, parcel } => self.hand_off(conn, to, parcel),
            Command::Wake { to } => self.peers.waker(to).wake(),
            Command::Connect { tag, from, to } => self.connect(tag, from, to),
            Command::Accept { on } => self.accept_wanted = on,
        }
    }

    fn watch(&mut self, conn: Conn, on: bool) {
        let Some(slot) = self.slots.open(conn) else { return };
        slot.state.watched |= on;
        slot.state.once = !slot.state.watched;
        if slot.state.readable {
            self.queue_read(conn);
        }
    }

    fn queue_read(&mut self, conn: Conn) {
        if let Some(slot) = self.slots.get(conn).filter(|slot| !slot.state.queued) {
            slot.state.queued = true;
            self.readable.push(conn);
        }
    }

    fn send(&mut self, conn: Conn, bytes: Bytes, report: &mut dyn FnMut(Event<'_, P>)) {
        let Some(slot) = self.slots.open(conn) else {
            let error = Some(io::ErrorKind::NotConnected);
            return report(Event::SendIncomplete { conn, rest: bytes, error });
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let (sent, error) = match rustix::net::send(&slot.socket, &bytes, flags) {
            Ok(sent) => (sent, None),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => (0, None),
            Err(error) => (0, Some(error.kind())),
        };
        if sent < bytes.len() {
            slot.state.writable = false;
            report(Event::SendIncomplete { conn, rest: bytes.slice(sent..), error });
        }
    }

    fn close(&mut self, conn: Conn, mode: CloseMode) {
        let now = Now::read().time;
        let Some(slot) = self.slots.open(conn) else { return };
        if mode == CloseMode::Abort || rustix::net::shutdown(&slot.socket, Shutdown::Write).is_err() {
            return self.release(conn);
        }
        // Whatever edges there were: a read tells whether the peer has closed already.
        slot.state.readable = true;
        self.slots.linger(conn);
        self.lingering.begin(now, conn);
        self.queue_read(conn);
    }

    fn release(&mut self, conn: Conn) {
        if self.slots.remove(conn).is_some() {
            self.peers.give_room(self.index, 1);
        }
    }

    fn hand_off(&mut self, conn: Conn, to: usize, parcel: Box<P>) {
        if let Err(parcel) = self.send_off(conn, to, parcel) {
            return self.caused.push(Event::HandOffFailed { conn, parcel });
        }
        if let Some(slot) = self.slots.get(conn) {
            let _ = epoll::delete(&self.epoll, &slot.socket);
        }
        self.release(conn);
        self.peers.waker(to).wake();
    }

    /// Queues a duplicate of the socket for `to`, so that a refusal leaves everything as it was.
    fn send_off(&mut self, conn: Conn, to: usize, parcel: Box<P>) -> Result<(), Box<P>> {
        let idle = self.slots.open(conn).filter(|slot| !slot.state.listens());
        let Some(Ok(socket)) = idle.map(|slot| slot.socket.try_clone()) else { return Err(parcel) };
        if !self.peers.take_room(to) {
            return Err(parcel);
        }
        self.peers.arriving(to).push(InTransit { socket, parcel }).map_err(|refused| {
            self.peers.give_room(to, 1);
            // It may have stopped accepting for want of that slot.
            self.peers.waker(to).wake();
            refused.parcel
        })
    }

    fn take_arrivals(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        while let Some(InTransit { socket, parcel }) = self.next_arrival() {
            match self.register(socket, State { readable: true, ..State::default() }) {
                Ok(conn) => report(Now::read(), Event::HandedIn { conn, parcel }),
                Err((error, socket)) => {
                    if self.complaints.is_due() {
                        tracing::error!(%error, "a connection that was handed over has to wait");
                    }
                    // Its source has let go of it, and the parcel is owed to the core. Those behind it wait, too.
                    let again = Now::read().time + ACCEPT_RETRY;
                    self.stranded = Some((again, InTransit { socket, parcel }));
                }
            }
        }
    }

    fn next_arrival(&mut self) -> Option<InTransit<P>> {
        match self.stranded.take() {
            Some((time, arrival)) if time <= Now::read().time => Some(arrival),
            Some(waiting) => {
                self.stranded = Some(waiting);
                None
            }
            None => self.peers.arriving(self.index).pop(),
        }
    }

    /// Whether a connection that was handed over can be taken in now.
    fn has_arrivals(&self) -> bool {
        self.stranded.is_none() && !self.peers.arriving(self.index).is_empty()
    }

    fn connect(&mut self, tag: u64, from: Option<SocketAddr>, to: SocketAddr) {
        if !self.peers.take_room(self.index) {
            let error = io::ErrorKind::QuotaExceeded;
            return self.caused.push(Event::ConnectFailed { tag, error });
        }
        let state = State { connecting: Some(tag), ..State::default() };
        let attempt = start_connect(from, to);
        let attempt = attempt.and_then(|socket| self.register(socket, state).map_err(|(error, _)| error));
        if let Err(error) = attempt {
            self.peers.give_room(self.index, 1);
            self.caused.push(Event::ConnectFailed { tag, error: error.kind() });
        }
    }

    /// Takes one readiness event of a connection.
    fn ready(&mut self, event: epoll::Event, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let data = event.data.u64();
        let conn = Conn { slot: data as u32, generation: (data >> 32) as u32 };
        let Some(slot) = self.slots.get(conn) else { return };
        let flags = event.flags;
        let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        if let Some(tag) = slot.state.connecting {
            if broken || flags.contains(epoll::EventFlags::OUT) {
                self.connected(conn, tag, report);
            }
            return;
        }
        if broken || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP) {
            slot.state.readable = true;
            if slot.state.listens() {
                self.queue_read(conn);
            }
        }
        let Some(slot) = self.slots.open(conn) else { return };
        if broken || flags.contains(epoll::EventFlags::OUT) {
            slot.state.writable = true;
            if std::mem::take(&mut slot.state.wants_writable) {
                report(Now::read(), Event::Writable { conn });
            }
        }
    }

    fn connected(&mut self, conn: Conn, tag: u64, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let Some(slot) = self.slots.get(conn) else { return };
        slot.state.connecting = None;
        slot.state.writable = true;
        // The edge of what the peer sent at once may have come with this one.
        slot.state.readable = true;
        match rustix::net::sockopt::socket_error(&slot.socket) {
            Ok(Ok(())) => report(Now::read(), Event::Connected { conn, tag }),
            Ok(Err(error)) | Err(error) => {
                self.release(conn);
                report(Now::read(), Event::ConnectFailed { tag, error: error.kind() });
            }
        }
    }

    fn read(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let mut round = std::mem::take(&mut self.readable);
        for conn in round.drain(..) {
            if let Some(slot) = self.slots.get(conn) {
                slot.state.queued = false;
            }
            for _ in 0..READS_PER_TURN_MAX {
                if !self.read_once(conn, report) {
                    break;
                }
            }
            // Edges come once: what is left is read in the next turn.
            if self.slots.get(conn).is_some_and(|slot| slot.state.readable && slot.state.listens()) {
                self.queue_read(conn);
            }
        }
        round.append(&mut self.readable);
        self.readable = round;
    }

    /// Whether there may be more for this core now.
    fn read_once(&mut self, conn: Conn, report: &mut dyn FnMut(Now, Event<'_, P>)) -> bool {
        let Some(slot) = self.slots.get(conn).filter(|slot| slot.state.listens() && slot.state.readable)
        else {
            return false;
        };
        let result = rustix::net::recv(&slot.socket, &mut self.scratch[..], RecvFlags::DONTWAIT);
        let (length, error) = match result {
            Ok((length, _)) => (length, None),
            Err(rustix::io::Errno::AGAIN) => {
                slot.state.readable = false;
                return false;
            }
            Err(rustix::io::Errno::INTR) => return true,
            Err(error) => (0, Some(error.kind())),
        };
        if slot.state.lingering {
            slot.state.discarded += length as u32;
            if length == 0 || slot.state.discarded > LINGER_BYTES_MAX {
                self.release(conn);
                return false;
            }
            return true;
        }
        slot.state.once = false;
        if length == 0 {
            slot.state.watched = false;
            report(Now::read(), Event::HungUp { conn, error });
            return false;
        }
        report(Now::read(), Event::Received { conn, data: &mut self.scratch[..length] });
        true
    }

    /// How long to sleep at most.
    fn patience(&self, next: Next, has_mail: &dyn Fn() -> bool) -> Option<Duration> {
        let waiting = !self.readable.is_empty() || !self.caused.is_empty() || self.has_arrivals();
        if next == Next::Now || waiting {
            return Some(Duration::ZERO);
        }
        let now = Now::read().time;
        let patience = match next {
            Next::At(time) => Some(time.since(now)),
            _ => None,
        };
        let stranded = self.stranded.as_ref().map(|&(time, _)| time);
        let own = self.lingering.next_deadline().into_iter().chain(self.accept_not_before).chain(stranded);
        let own = own.map(|deadline| deadline.since(now));
        let waker = self.peers.waker(self.index);
        waker.fall_asleep();
        // Room may have come back from another driver.
        let accept_changed = self.may_accept() && !self.accepting;
        if has_mail() || self.has_arrivals() || accept_changed {
            waker.awake();
            return Some(Duration::ZERO);
        }
        patience.into_iter().chain(own).min()
    }
}

impl<P: Send + 'static> Driver for Epoll<P> {
    type Parcel = P;

    fn now(&self) -> Now {
        Now::read()
    }

    fn capacity(&self) -> u32 {
        self.slots.capacity()
    }

    fn in_use(&self) -> u32 {
        self.slots.in_use()
    }

    fn closing(&self) -> u32 {
        self.slots.lingering()
    }

    fn submit(&mut self, commands: &mut Commands<P>, report: &mut dyn FnMut(Event<'_, P>)) -> io::Result<()> {
        for command in commands.queue.drain(..) {
            self.command(command, report);
        }
        Ok(())
    }

    fn wait(
        &mut self,
        next: Next,
        has_mail: &dyn Fn() -> bool,
        report: &mut dyn FnMut(Now, Event<'_, P>),
    ) -> io::Result<()> {
        let now = Now::read().time;
        while let Some(conn) = self.lingering.overdue(now) {
            self.release(conn);
        }
        self.update_accepting();
        let patience = self.patience(next, has_mail);
        let timeout = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.peers.waker(self.index).awake();
        let mut caused = std::mem::take(&mut self.caused);
        for event in caused.drain(..) {
            // Commands of the same turn may have ended the connection.
            if !matches!(event, Event::Writable { conn } if self.slots.open(conn).is_none()) {
                report(Now::read(), event);
            }
        }
        self.caused = caused;
        let events = std::mem::take(&mut self.events);
        for &event in &events {
            match event.data.u64() {
                LISTENER => self.accept(report),
                WAKER => self.peers.waker(self.index).clear(),
                _ => self.ready(event, report),
            }
        }
        self.events = events;
        self.take_arrivals(report);
        self.read(report);
        Ok(())
    }
}

fn start_connect(from: Option<SocketAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        // The port is then chosen by the connect, which knows the destination.
        set_bind_address_no_port(&socket)?;
        socket.bind(&from.into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}

fn set_bind_address_no_port(socket: &impl AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the kernel reads `length` bytes of `on` during the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;
