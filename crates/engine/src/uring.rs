//! The `io_uring` driver.
//!
//! Sockets live in the ring's table of direct descriptors, not in the process's. An idle connection is one
//! multishot poll; when it fires, the socket is read without waiting into the driver's scratch memory. Sends do
//! not wait either and complete inside the submission: only those that did not go out whole post a completion.
//! So no request ever holds a buffer while this code runs, and there is no buffer lifetime to track.
//!
//! Needs Linux 6.12 or later for the shortest waits, 6.7 (a socket's options and peer by command) to work at
//! all, and 6.11 for connections from a given source address.

mod accept;
mod connect;
mod read;
pub(crate) mod ring;
mod slots;
mod token;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{opcode, squeue};

use self::accept::Accepting;
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
/// Entries that a command, or the answer to a completion, needs at most.
const ENTRIES_PER_STEP_MAX: usize = 4;
/// The longest sleep; any finite time serves, since a timer is needed for the minimal wait.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// The `io_uring` driver of one thread. It must be made on the thread that runs it.
pub struct Uring<P> {
    // Dropped first: the kernel lets go of everything before the memory goes.
    ring: Ring,
    index: usize,
    peers: Arc<Peers<P>>,
    accepting: Accepting,
    slots: Slots,
    lingering: Lingering,
    /// Sends of the current submission, by index.
    sends: Vec<(Conn, Bytes)>,
    /// Completions that wait for `wait`.
    completions: Vec<Completion>,
    /// Completions of the exchange that is being read.
    answers: Vec<Completion>,
    /// Sockets to read.
    readable: Vec<Conn>,
    /// Sockets to read once more in this turn.
    more: Vec<Conn>,
    /// Hand-offs that the kernel has not answered, by slot. Each parcel is owned by the request.
    handing_off: HashMap<u32, *mut P>,
    /// Hand-offs refused before they were submitted.
    refused: Vec<(Conn, Box<P>)>,
    connecting: Connecting,
    scratch: Box<[[u8; SCRATCH_BYTES]]>,
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
        let mut driver = Uring {
            ring,
            index,
            peers,
            accepting: Accepting::new(listener),
            slots: Slots::new(slots),
            lingering: Lingering::default(),
            sends: Vec::with_capacity(BATCH),
            completions: Vec::new(),
            answers: Vec::new(),
            readable: Vec::new(),
            more: Vec::new(),
            handing_off: HashMap::new(),
            refused: Vec::new(),
            connecting: Connecting::default(),
            // Zeroed by the allocator, so that pages become resident only when they are used.
            scratch: vec![[0; SCRATCH_BYTES]; BATCH].into(),
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
        let mut kept = first;
        for at in first..self.completions.len() {
            let done = self.completions[at];
            if token::request(done.token) == Some(Request::Send) {
                self.send_incomplete(done, report);
            } else {
                self.completions[kept] = done;
                kept += 1;
            }
        }
        self.completions.truncate(kept);
        self.sends.clear();
        Ok(())
    }

    /// Submits what is queued, no sends among it, and moves the completions of `request` to `answers`.
    fn exchange(&mut self, request: Request) -> io::Result<()> {
        let first = self.completions.len();
        self.flush(&mut |_| {})?;
        self.answers.clear();
        let mut kept = first;
        for at in first..self.completions.len() {
            let done = self.completions[at];
            if token::request(done.token) == Some(request) {
                self.answers.push(done);
            } else {
                self.completions[kept] = done;
                kept += 1;
            }
        }
        self.completions.truncate(kept);
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

    fn command(&mut self, command: Command<P>, report: &mut dyn FnMut(Event<'_, P>)) -> io::Result<()> {
        self.make_room(ENTRIES_PER_STEP_MAX, report)?;
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
            Command::Accept { on } => self.accepting.wanted = on,
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
                let entry = opcode::Shutdown::new(Fixed(conn.slot), libc::SHUT_WR).build();
                self.push(entry, token::of_conn(Request::Shutdown, conn));
                self.lingering.begin(self.now().time, conn);
                if self.slots.watch_lingering(conn) {
                    self.arm_poll(conn, Poll::In, true);
                }
                if self.slots.queue_read(conn) {
                    self.readable.push(conn);
                }
            }
            Step::Cancel => {
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

    fn hand_off(&mut self, conn: Conn, to: usize, parcel: Box<P>) {
        let ring = self.peers.ring(to);
        let (Some(ring), true) = (ring, self.slots.hand_off(conn)) else {
            self.refused.push((conn, parcel));
            return;
        };
        let parcel = Box::into_raw(parcel);
        let arrival = token::of_parcel(parcel.expose_provenance());
        self.handing_off.insert(conn.slot, parcel);
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
                    let token = token::of_index(Request::WakePeer, to);
                    self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), token);
                }
            }
            _ => waker.wake(),
        }
    }

    /// Acts on every completion that waits, but for reads.
    fn take_completions(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) -> io::Result<()> {
        let mut at = 0;
        // Submissions on the way may add completions behind.
        while at < self.completions.len() {
            let done = self.completions[at];
            at += 1;
            self.make_room(ENTRIES_PER_STEP_MAX, &mut |_| {})?;
            match token::request(done.token) {
                Some(Request::Accept) => self.accepted(done),
                Some(Request::PollIn) => self.fired(done, Poll::In, report),
                Some(Request::PollOut) => self.fired(done, Poll::Out, report),
                Some(Request::Shutdown) => {
                    let conn = token::conn(done.token);
                    let step = self.slots.shut(conn);
                    self.take_step(conn, step);
                }
                Some(Request::Close) => self.slots.closed(token::conn(done.token)),
                Some(Request::HandOff) => self.handed_off(done, report),
                Some(Request::HandedIn) => self.handed_in(done, report),
                Some(Request::Wake) => {
                    // The poll is edge-triggered, so the descriptor need not be emptied: every write fires again, and
                    // a 64-bit counter does not overflow.
                    if !done.more() {
                        self.arm_waker()?;
                    }
                }
                // Only a failure is told; the other driver may sleep, and counts on us.
                Some(Request::WakePeer) => self.peers.waker(token::index(done.token)).ring(),
                Some(Request::Socket) => self.socket_made(done, report),
                Some(Request::Connect | Request::ConnectStep) => self.connected(done, report),
                Some(Request::Ignored | Request::Recv | Request::PeerName | Request::Send) | None => {}
            }
        }
        self.completions.clear();
        self.introduce(report)
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
        let Some(parcel) = self.handing_off.remove(&conn.slot) else { return };
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
    }

    fn expire_lingering(&mut self) -> io::Result<()> {
        let now = self.now().time;
        while let Some(conn) = self.lingering.overdue(now) {
            self.make_room(ENTRIES_PER_STEP_MAX, &mut |_| {})?;
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
        let own = self.lingering.next_deadline().into_iter().chain(self.accepting.not_before);
        let patience = next.patience(self.now().time, own);
        let waker = self.peers.waker(self.index);
        waker.fall_asleep();
        if has_mail() {
            waker.awake();
            return Duration::ZERO;
        }
        patience.unwrap_or(SLEEP_MAX)
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

    fn closing(&self) -> u32 {
        self.slots.closing()
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
        self.update_accepts()?;
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
