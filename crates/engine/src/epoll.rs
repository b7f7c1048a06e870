//! The `epoll` driver: for kernels and containers that refuse `io_uring`.
//!
//! Every socket is registered once, edge-triggered, for input, room and hang-up; what a core wants to hear is
//! kept per slot. A send is one system call, made when it is commanded.

mod accept;
mod connect;
mod handoff;
mod read;
mod slots;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{SendFlags, Shutdown};

use self::slots::{Slots, State};
use crate::close::Lingering;
use crate::driver::{CloseMode, Command, Commands, Conn, Driver, Event, Next};
use crate::peers::{InTransit, Peers};
use crate::time::{Now, Seldom, Time};

/// Bytes that are read at a time.
const SCRATCH_BYTES: usize = 16 * 1024;
/// Events taken at a time.
const EVENTS: usize = 512;
/// What the listener is registered with.
const LISTENER: u64 = u64::MAX;
/// What the waker is registered with.
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

    /// How long to sleep at most.
    fn patience(&self, next: Next, has_mail: &dyn Fn() -> bool) -> Option<Duration> {
        let waiting = !self.readable.is_empty() || !self.caused.is_empty() || self.has_arrivals();
        if next == Next::Now || waiting {
            return Some(Duration::ZERO);
        }
        let stranded = self.stranded.as_ref().map(|&(time, _)| time);
        let own = self.lingering.next_deadline().into_iter().chain(self.accept_not_before).chain(stranded);
        let patience = next.patience(Now::read().time, own);
        let waker = self.peers.waker(self.index);
        waker.fall_asleep();
        // Room may have come back from another driver.
        let accept_changed = self.may_accept() && !self.accepting;
        if has_mail() || self.has_arrivals() || accept_changed {
            waker.awake();
            return Some(Duration::ZERO);
        }
        patience
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

#[cfg(test)]
mod tests;
