//! The `io_uring` driver.
//!
//! Sockets live in the ring's table of direct descriptors, not in the process's. An idle connection is one
//! multishot poll; when it fires, the socket is read without waiting into the driver's scratch memory. Sends do
//! not wait either and complete inside the submission: only those that did not go out whole post a completion.
//! So no request ever holds a buffer while this code runs, and there is no buffer lifetime to track.
//!
//! Needs Linux 6.12 or later for the shortest waits, 6.1 (single issuer, deferred task work) to work at all.

mod connect;
mod ring;
mod slots;
mod token;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{opcode, squeue};

use self::connect::Connecting;
use self::ring::{BATCH, Completion, Ring};
use self::slots::{Fired, Poll, Slots, Step};
use self::token::Request;
use crate::close::Lingering;
use crate::driver::{CloseMode, Command, Commands, Conn, Driver, Event, Next};
use crate::peers::Peers;
use crate::time::Now;

/// Bytes read from one socket at a time.
const SCRATCH_BYTES: usize = 4_096;
/// How often one socket is read in a turn before the others get theirs.
const READS_PER_TURN_MAX: usize = 4;
/// Slots that stay free: the kernel loses a connection that it accepts into a full table.
const SLOTS_SPARE: u32 = 8;
/// The longest sleep; any finite time serves, since a timer is needed for the minimal wait.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// The `io_uring` driver of one thread. It must be made on the thread that runs it.
pub struct Uring<P> {
    // Dropped first: the kernel lets go of everything before the memory goes.
    ring: Ring,
    index: usize,
    peers: Arc<Peers<P>>,
    listener: Option<OwnedFd>,
    accept_wanted: bool,
    accept_armed: bool,
    slots: Slots,
    lingering: Lingering,
    /// Sends of the current submission, by index.
    sends: Vec<(Conn, Bytes)>,
    /// Completions that wait for `wait`.
    completions: Vec<Completion>,
    /// Sockets to read.
    readable: Vec<Conn>,
    /// Hand-offs that the kernel has not answered, by slot. Each parcel is owned by the request.
    handing_off: Vec<(u32, *mut P)>,
    /// Hand-offs refused before they were submitted.
    refused: Vec<(Conn, Box<P>)>,
    connecting: Connecting,
    scratch: Box<[[u8; SCRATCH_BYTES]]>,
    names: Box<[libc::sockaddr_storage]>,
}

impl<P: Send + 'static> Uring<P> {
    /// Makes the driver `index` of `peers` with room for `slots` connections, which take from `listener` once
    /// the core wants to accept.
    ///
    /// # Errors
    /// When the kernel refuses the ring or the table (bounded by `RLIMIT_NOFILE`).
    pub fn new(
        index: usize,
        peers: Arc<Peers<P>>,
        slots: u32,
        listener: Option<OwnedFd>,
    ) -> io::Result<Uring<P>> {
        let ring = Ring::new(slots)?;
        // SAFETY: the ring is open, and the borrow ends with this statement.
        peers.set_ring(index, unsafe { BorrowedFd::borrow_raw(ring.descriptor()) })?;
        // SAFETY: a socket address is plain bytes, for which zero is a value.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut driver = Uring {
            ring,
            index,
            peers,
            listener,
            accept_wanted: false,
            accept_armed: false,
            slots: Slots::new(slots),
            lingering: Lingering::default(),
            sends: Vec::with_capacity(BATCH),
            completions: Vec::new(),
            readable: Vec::new(),
            handing_off: Vec::new(),
            refused: Vec::new(),
            connecting: Connecting::default(),
            // Zeroed by the allocator, so that pages become resident only when they are used.
            scratch: zeroed_scratch(),
            names: vec![name; BATCH].into(),
        };
        driver.arm_waker()?;
        Ok(driver)
    }

    /// Makes room for `entries` in the submission queue.
    fn make_room(&mut self, entries: usize, report: &mut dyn FnMut(Event<'_, P>)) -> io::Result<()> {
        if self.ring.room() < entries {
            self.flush(report)?;
        }
        Ok(())
    }

    /// Submits what is queued. When it returns, no request refers to a buffer, and every send that did not go
    /// out whole has been reported.
    fn flush(&mut self, report: &mut dyn FnMut(Event<'_, P>)) -> io::Result<()> {
        let first = self.completions.len();
        self.ring.submit(&mut self.completions)?;
        let mut at = first;
        while at < self.completions.len() {
            if token::request(self.completions[at].token) == Some(Request::Send) {
                let done = self.completions.remove(at);
                self.send_incomplete(done, report);
            } else {
                at += 1;
            }
        }
        self.sends.clear();
        Ok(())
    }

    fn send_incomplete(&mut self, done: Completion, report: &mut dyn FnMut(Event<'_, P>)) {
        let (conn, bytes) = &self.sends[token::index(done.token)];
        let (sent, error) = match done.result {
            sent if sent >= 0 => (sent as usize, None),
            code if code == -libc::EAGAIN => (0, None),
            code => (0, Some(io::Error::from_raw_os_error(-code).kind())),
        };
        if sent < bytes.len() {
            report(Event::SendIncomplete { conn: *conn, rest: bytes.slice(sent..), error });
        }
    }

    /// Queues a request that names no memory.
    fn push(&mut self, entry: squeue::Entry, token: u64) {
        // SAFETY: the entry names no buffer.
        unsafe { self.ring.push(&entry.user_data(token)) };
    }

    fn arm_poll(&mut self, conn: Conn, poll: Poll, multishot: bool) {
        let (request, events) = match poll {
            Poll::In => (Request::PollIn, libc::POLLIN | libc::POLLRDHUP),
            Poll::Out => (Request::PollOut, libc::POLLOUT),
        };
        let entry = opcode::PollAdd::new(Fixed(conn.slot), events as u32).multi(multishot).build();
        self.push(entry, token::of_conn(request, conn));
    }

    fn arm_waker(&mut self) -> io::Result<()> {
        self.make_room(1, &mut |_| {})?;
        let event = self.peers.waker(self.index).event().as_raw_fd();
        let entry = opcode::PollAdd::new(Fd(event), libc::POLLIN as u32).multi(true).build();
        self.push(entry, token::of_index(Request::Wake, 0));
        Ok(())
    }

    /// Arms or cancels accepting, as the core wants it and as the table allows.
    fn update_accept(&mut self) {
        let room = self.slots.in_use() + SLOTS_SPARE < self.slots.capacity();
        let wanted = self.accept_wanted && room;
        let Some(listener) = self.listener.as_ref().map(AsRawFd::as_raw_fd) else { return };
        if wanted && !self.accept_armed {
            self.accept_armed = true;
            let entry = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(true).build();
            self.push(entry, token::of_index(Request::Accept, 0));
        } else if !wanted && self.accept_armed {
            let builder = CancelBuilder::user_data(token::of_index(Request::Accept, 0));
            self.push(opcode::AsyncCancel2::new(builder).build(), token::of_index(Request::Ignored, 0));
        }
    }

    fn command(&mut self, command: Command<P>, report: &mut dyn FnMut(Event<'_, P>)) -> io::Result<()> {
        // No command needs more than four entries.
        self.make_room(4, report)?;
        match command {
            Command::Send { conn, bytes } => self.send(conn, bytes, report),
            Command::WatchOnce { conn } => {
                if self.slots.watch_once(conn) && self.slots.queue_read(conn) {
                    self.readable.push(conn);
                }
            }
            Command::Watch { conn } => {
                let (arm, read) = self.slots.watch(conn);
                if arm {
                    self.arm_poll(conn, Poll::In, true);
                }
                if read && self.slots.queue_read(conn) {
                    self.readable.push(conn);
                }
            }
            Command::Pause { conn } => self.slots.pause(conn),
            Command::WatchWritable { conn } => {
                if self.slots.watch_writable(conn) {
                    self.arm_poll(conn, Poll::Out, false);
                }
            }
            Command::Close { conn, mode } => {
                let step = self.slots.close(conn, mode);
                self.take_step(conn, step);
            }
            Command::HandOff { conn, to, parcel } => self.hand_off(conn, to, parcel),
            Command::Wake { to } => self.wake(to),
            Command::Connect { tag, from, to } => self.connect(tag, from, to),
            Command::Accept { on } => {
                self.accept_wanted = on;
                self.update_accept();
            }
        }
        Ok(())
    }

    fn send(&mut self, conn: Conn, bytes: Bytes, report: &mut dyn FnMut(Event<'_, P>)) {
        if !self.slots.is_open(conn) {
            let error = Some(io::ErrorKind::NotConnected);
            return report(Event::SendIncomplete { conn, rest: bytes, error });
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(Fixed(conn.slot), bytes.as_ptr(), bytes.len() as u32)
            .flags(flags)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(token::of_index(Request::Send, self.sends.len()));
        self.sends.push((conn, bytes));
        // SAFETY: `sends` owns the bytes until `flush` has returned, by when the request is complete.
        unsafe { self.ring.push(&entry) };
    }

    fn take_step(&mut self, conn: Conn, step: Step) {
        match step {
            Step::Wait => {}
            Step::Linger => {
                self.shut_down(conn, libc::SHUT_WR);
                self.lingering.begin(self.now().time, conn);
                if self.slots.watch_lingering(conn) {
                    self.arm_poll(conn, Poll::In, true);
                }
                if self.slots.queue_read(conn) {
                    self.readable.push(conn);
                }
            }
            Step::Cancel => {
                self.shut_down(conn, libc::SHUT_RDWR);
                for (poll, request) in [(Poll::In, Request::PollIn), (Poll::Out, Request::PollOut)] {
                    if self.slots.is_armed(conn, poll) {
                        let builder = CancelBuilder::user_data(token::of_conn(request, conn));
                        self.push(
                            opcode::AsyncCancel2::new(builder).build().flags(squeue::Flags::SKIP_SUCCESS),
                            token::of_index(Request::Ignored, 0),
                        );
                    }
                }
            }
            Step::Close => {
                let entry = opcode::Close::new(Fixed(conn.slot)).build();
                self.push(entry, token::of_conn(Request::Close, conn));
            }
        }
    }

    fn shut_down(&mut self, conn: Conn, how: i32) {
        let entry = opcode::Shutdown::new(Fixed(conn.slot), how).build();
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), token::of_index(Request::Ignored, 0));
    }

    fn hand_off(&mut self, conn: Conn, to: usize, parcel: Box<P>) {
        let ring = self.peers.ring(to);
        let (Some(ring), true) = (ring, self.slots.hand_off(conn)) else {
            self.refused.push((conn, parcel));
            return;
        };
        let parcel = Box::into_raw(parcel);
        let arrival = token::of_parcel(parcel.expose_provenance());
        self.handing_off.push((conn.slot, parcel));
        let entry =
            opcode::MsgRingSendFd::new(Fd(ring), Fixed(conn.slot), DestinationSlot::auto_target(), arrival);
        self.push(entry.build(), token::of_conn(Request::HandOff, conn));
    }

    fn wake(&mut self, to: usize) {
        let waker = Arc::clone(self.peers.waker(to));
        match self.peers.ring(to) {
            Some(ring) if to != self.index => {
                if waker.claim() {
                    let arrival = token::of_index(Request::Ignored, 0);
                    let entry = opcode::MsgRingData::new(Fd(ring), 0, arrival, None).build();
                    self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), arrival);
                }
            }
            _ => waker.wake(),
        }
    }

    /// Acts on every completion that waits, but for reads.
    fn take_completions(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) -> io::Result<()> {
        let mut accepted = Vec::new();
        let mut at = 0;
        // Submissions on the way may add completions behind.
        while at < self.completions.len() {
            let done = self.completions[at];
            at += 1;
            self.make_room(4, &mut |_| {})?;
            match token::request(done.token) {
                Some(Request::Accept) => self.accepted(done, &mut accepted),
                Some(Request::PollIn) => self.fired(done, Poll::In, report),
                Some(Request::PollOut) => self.fired(done, Poll::Out, report),
                Some(Request::Close) => {
                    self.slots.closed(token::conn(done.token));
                    self.update_accept();
                }
                Some(Request::HandOff) => self.handed_off(done, report),
                Some(Request::HandedIn) => self.handed_in(done, report),
                Some(Request::Wake) => {
                    self.peers.waker(self.index).clear();
                    if !done.more() {
                        self.arm_waker()?;
                    }
                }
                Some(Request::Socket) => self.socket_made(done, report),
                Some(Request::Connect) => self.connected(done, report),
                Some(Request::Ignored | Request::Recv | Request::PeerName | Request::Send) | None => {}
            }
        }
        self.completions.clear();
        self.introduce(&accepted, report)
    }

    fn accepted(&mut self, done: Completion, accepted: &mut Vec<Conn>) {
        if done.result >= 0 {
            accepted.push(self.slots.open(done.result as u32));
        }
        if !done.more() {
            self.accept_armed = false;
        }
        self.update_accept();
    }

    /// Asks where accepted connections come from, and reports them.
    fn introduce(&mut self, accepted: &[Conn], report: &mut dyn FnMut(Now, Event<'_, P>)) -> io::Result<()> {
        for batch in accepted.chunks(BATCH) {
            self.flush(&mut |_| {})?;
            let length = size_of::<libc::sockaddr_storage>() as u32;
            for (index, conn) in batch.iter().enumerate() {
                let entry = ring::peer_name(conn.slot, &raw mut self.names[index], length)
                    .user_data(token::of_index(Request::PeerName, index));
                // SAFETY: `names` outlives the ring, and this code does not look at it before the flush.
                unsafe { self.ring.push(&entry) };
            }
            let first = self.completions.len();
            self.flush(&mut |_| {})?;
            let now = Now::read();
            for at in first..self.completions.len() {
                let done = self.completions[at];
                if token::request(done.token) != Some(Request::PeerName) {
                    continue;
                }
                let index = token::index(done.token);
                // A client that has already gone has no name; its end of input comes with the first read.
                let peer = (done.result >= 0).then(|| socket_address(&self.names[index])).flatten();
                let peer = peer.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
                report(now, Event::Accepted { conn: batch[index], peer });
            }
        }
        Ok(())
    }

    fn fired(&mut self, done: Completion, poll: Poll, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let conn = token::conn(done.token);
        match self.slots.fired(conn, poll, done.more()) {
            Fired::Stale => {}
            Fired::Writable => report(self.now(), Event::Writable { conn }),
            Fired::Step(step) => self.take_step(conn, step),
            Fired::Read { rearm } => {
                if rearm {
                    self.arm_poll(conn, Poll::In, true);
                }
                if self.slots.queue_read(conn) {
                    self.readable.push(conn);
                }
            }
        }
    }

    fn handed_off(&mut self, done: Completion, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let conn = token::conn(done.token);
        let Some(at) = self.handing_off.iter().position(|&(slot, _)| slot == conn.slot) else { return };
        let (_, parcel) = self.handing_off.swap_remove(at);
        // On EOVERFLOW the target holds the socket but was never told, and the kernel was out of memory: the
        // target's slot is lost, the connection is not.
        let succeeded = done.result >= 0;
        let step = self.slots.handed_off(conn, succeeded);
        self.take_step(conn, step);
        if !succeeded {
            // SAFETY: the request failed, so the target got no completion with this address and the parcel is
            // still ours; it was made by `Box::into_raw` and leaves `handing_off` once.
            let parcel = unsafe { Box::from_raw(parcel) };
            report(self.now(), Event::HandOffFailed { conn, parcel });
        }
    }

    fn handed_in(&mut self, done: Completion, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        if done.result < 0 {
            return;
        }
        let conn = self.slots.open(done.result as u32);
        let parcel = std::ptr::with_exposed_provenance_mut::<P>(token::parcel(done.token));
        // SAFETY: only `hand_off` of a driver of the same `Peers<P>` makes such a token, from a box of `P`; the
        // kernel delivers it once, and only when the hand-off succeeds, after which its source forgets it.
        let parcel = unsafe { Box::from_raw(parcel) };
        report(self.now(), Event::HandedIn { conn, parcel });
        self.update_accept();
    }

    /// Reads the sockets that have input. Those that have more than their share stay for the next turn.
    fn read(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) -> io::Result<()> {
        let mut round = std::mem::take(&mut self.readable);
        let mut more = Vec::new();
        for _ in 0..READS_PER_TURN_MAX {
            if round.is_empty() {
                break;
            }
            for batch in round.chunks(BATCH) {
                self.read_batch(batch, &mut more, report)?;
            }
            std::mem::swap(&mut round, &mut more);
            more.clear();
        }
        // Reports may have queued others.
        round.append(&mut self.readable);
        self.readable = round;
        Ok(())
    }

    fn read_batch(
        &mut self,
        batch: &[Conn],
        more: &mut Vec<Conn>,
        report: &mut dyn FnMut(Now, Event<'_, P>),
    ) -> io::Result<()> {
        self.flush(&mut |_| {})?;
        for (index, &conn) in batch.iter().enumerate() {
            if !self.slots.unqueue_read(conn) {
                continue;
            }
            let buffer = self.scratch[index].as_mut_ptr();
            let entry = opcode::Recv::new(Fixed(conn.slot), buffer, SCRATCH_BYTES as u32)
                .flags(libc::MSG_DONTWAIT)
                .build()
                .user_data(token::of_index(Request::Recv, index));
            // SAFETY: `scratch` outlives the ring; a receive that does not wait is complete after the flush,
            // and nothing looks at its buffer before.
            unsafe { self.ring.push(&entry) };
        }
        let first = self.completions.len();
        self.flush(&mut |_| {})?;
        let now = Now::read();
        for at in first..self.completions.len() {
            let done = self.completions[at];
            if token::request(done.token) == Some(Request::Recv) {
                let index = token::index(done.token);
                self.make_room(4, &mut |_| {})?;
                self.received(now, batch[index], index, done, more, report);
            }
        }
        Ok(())
    }

    fn received(
        &mut self,
        now: Now,
        conn: Conn,
        index: usize,
        done: Completion,
        more: &mut Vec<Conn>,
        report: &mut dyn FnMut(Now, Event<'_, P>),
    ) {
        if done.result == -libc::EAGAIN {
            if self.slots.dry(conn) {
                self.arm_poll(conn, Poll::In, false);
            }
            return;
        }
        let length = usize::try_from(done.result).unwrap_or(0);
        if let Some(step) = self.slots.discard(conn, length as u32) {
            self.take_step(conn, step);
        } else if length > 0 {
            report(now, Event::Received { conn, data: &mut self.scratch[index][..length] });
        } else {
            let error = (done.result < 0).then(|| io::Error::from_raw_os_error(-done.result).kind());
            return report(now, Event::HungUp { conn, error });
        }
        if done.nonempty() && self.slots.wants_more(conn) && self.slots.queue_read(conn) {
            more.push(conn);
        }
    }

    fn expire_lingering(&mut self) -> io::Result<()> {
        let now = self.now().time;
        while let Some(conn) = self.lingering.overdue(now) {
            self.make_room(4, &mut |_| {})?;
            let step = self.slots.finish(conn);
            self.take_step(conn, step);
        }
        Ok(())
    }

    /// How long to sleep at most.
    fn patience(&self, next: Next, has_mail: &dyn Fn() -> bool) -> Duration {
        if next == Next::Now
            || !self.completions.is_empty()
            || !self.readable.is_empty()
            || !self.refused.is_empty()
        {
            return Duration::ZERO;
        }
        let now = self.now().time;
        let mut patience = match next {
            Next::At(time) => time.since(now),
            _ => SLEEP_MAX,
        };
        if let Some(deadline) = self.lingering.next_deadline() {
            patience = patience.min(deadline.since(now));
        }
        let waker = self.peers.waker(self.index);
        waker.fall_asleep();
        if has_mail() {
            waker.awake();
            return Duration::ZERO;
        }
        patience
    }
}

impl<P: Send + 'static> Driver for Uring<P> {
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

    fn submit(&mut self, commands: &mut Commands<P>, report: &mut dyn FnMut(Event<'_, P>)) -> io::Result<()> {
        for command in commands.queue.drain(..) {
            self.command(command, report)?;
        }
        self.flush(report)
    }

    fn wait(
        &mut self,
        next: Next,
        has_mail: &dyn Fn() -> bool,
        report: &mut dyn FnMut(Now, Event<'_, P>),
    ) -> io::Result<()> {
        self.expire_lingering()?;
        let patience = self.patience(next, has_mail);
        self.ring.submit_and_wait(patience, &mut self.completions)?;
        self.peers.waker(self.index).awake();
        for (conn, parcel) in std::mem::take(&mut self.refused) {
            report(self.now(), Event::HandOffFailed { conn, parcel });
        }
        self.take_completions(report)?;
        self.read(report)
    }
}

fn zeroed_scratch() -> Box<[[u8; SCRATCH_BYTES]]> {
    let mut scratch = Vec::new();
    scratch.resize_with(BATCH, || [0; SCRATCH_BYTES]);
    scratch.into()
}

/// The address that the kernel wrote.
fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a `sockaddr_in`, which is smaller and aligned alike.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::from((address, u16::from_be(name.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a `sockaddr_in6`.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddr::from((address, u16::from_be(name.sin6_port))))
        }
        _ => None,
    }
}
