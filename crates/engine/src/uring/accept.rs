//! Accepting, never more than the table has room for, then the question where each client comes from.
//!
//! A multishot accept takes whatever waits in the backlog, in one go, and loses the connection that finds the
//! table full. So it is armed only while there is room for more than one go can take; with less room there are
//! single accepts, never more of them than free slots. The change is made in time for what a multishot accept
//! still delivers before the completion that says it is cancelled.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::opcode;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd};
use socket2::SockRef;

use super::ring::{self, BATCH, COMPLETIONS, Completion, WANT};
use super::token::{self, Request};
use super::{Conn, Event, Now, Uring};
use crate::driver::Driver as _;
use crate::listener::{self, ACCEPT_RETRY, AcceptFailure};
use crate::time::Time;

/// Single accepts that wait at once, hence connections that they accept in one turn.
const ACCEPTS_ARMED_MAX: u32 = 64;
/// Slots that accepts leave to hand-offs, which take theirs without asking: the kernel loses a connection that
/// it accepts into a full table.
const SLOTS_SPARE: u32 = 8;

/// However many wait, a multishot accept ends when the completion queue is full; before that the ring collects
/// completions until it has `WANT`.
const BURST_MAX: u32 = COMPLETIONS + WANT as u32 + 1;

pub(super) struct Accepting {
    listener: Option<OwnedFd>,
    pub(super) wanted: bool,
    /// Accepts that the kernel holds, and whether they are one multishot accept.
    armed: u32,
    multishot: bool,
    /// Connections that a multishot accept may take between two looks at the table.
    burst: u32,
    /// All of them are being cancelled.
    cancelling: bool,
    /// After a failure the next attempt waits until then.
    pub(super) not_before: Option<Time>,
    /// Accepted in this turn, not reported yet.
    fresh: Vec<Conn>,
    names: Box<[libc::sockaddr_storage]>,
    /// The kernel refuses to write a name into more room than the name needs.
    name_length: usize,
}

impl Accepting {
    pub(super) fn new(listener: Option<OwnedFd>) -> Accepting {
        // SAFETY: a socket address is plain bytes, for which zero is a value.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let family = listener.as_ref().and_then(|socket| SockRef::from(socket).local_addr().ok());
        let is_v6 = family.is_some_and(|address| address.is_ipv6());
        let waiting = listener.as_ref().and_then(|socket| listener::backlog(socket).ok());
        Accepting {
            burst: waiting.map_or(BURST_MAX, burst),
            multishot: false,
            name_length: if is_v6 { size_of::<libc::sockaddr_in6>() } else { size_of::<libc::sockaddr_in>() },
            listener,
            wanted: false,
            armed: 0,
            cancelling: false,
            not_before: None,
            fresh: Vec::new(),
            names: vec![name; BATCH].into(),
        }
    }
}

/// A full backlog, in which the kernel lets one more wait than it says, and as many again that complete while
/// it is being emptied.
fn burst(backlog: u32) -> u32 {
    backlog.saturating_add(1).saturating_mul(2).min(BURST_MAX)
}

impl<P: Send + 'static> Uring<P> {
    /// Arms or cancels accepts, as the core wants it and as the table allows. Once a turn, before it sleeps.
    pub(super) fn update_accepts(&mut self) -> io::Result<()> {
        let Some(listener) = self.accepting.listener.as_ref().map(AsRawFd::as_raw_fd) else { return Ok(()) };
        if self.accepting.not_before.is_some_and(|time| time <= self.now().time) {
            self.accepting.not_before = None;
        }
        let room = self.slots.capacity().saturating_sub(self.slots.in_use() + SLOTS_SPARE);
        let wanted = self.accepting.wanted && self.accepting.not_before.is_none();
        // Once armed it stays until the room is needed, so that it is not armed and cancelled in turns.
        let enough = self.accepting.burst.saturating_mul(if self.accepting.multishot { 1 } else { 2 });
        let multishot = wanted && room >= enough;
        let target = if multishot {
            1
        } else if wanted {
            room.min(ACCEPTS_ARMED_MAX)
        } else {
            0
        };
        if self.accepting.cancelling {
            return Ok(());
        }
        let accept = token::of_index(Request::Accept, 0);
        let other = self.accepting.armed > 0 && multishot != self.accepting.multishot;
        if self.accepting.armed > target || other {
            self.make_room(1, &mut |_| {})?;
            self.accepting.cancelling = true;
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(accept).all()).build();
            self.push(cancel, token::of_index(Request::Ignored, 0));
            return Ok(());
        }
        self.accepting.multishot = multishot;
        while self.accepting.armed < target {
            self.make_room(1, &mut |_| {})?;
            self.accepting.armed += 1;
            let entry = if multishot {
                opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(true).build()
            } else {
                opcode::Accept::new(Fd(listener), std::ptr::null_mut(), std::ptr::null_mut())
                    .file_index(Some(DestinationSlot::auto_target()))
                    .build()
            };
            self.push(entry, accept);
        }
        Ok(())
    }

    pub(super) fn accepted(&mut self, done: Completion) {
        if !done.more() {
            self.accepting.armed -= 1;
            self.accepting.cancelling &= self.accepting.armed > 0;
        }
        if done.result >= 0 {
            let conn = self.slots.open(done.result as u32);
            return self.accepting.fresh.push(conn);
        }
        let error = io::Error::from_raw_os_error(-done.result);
        match AcceptFailure::of(&error) {
            AcceptFailure::Transient => {}
            // Nobody will try again once the listener is gone.
            AcceptFailure::Later if self.accepting.listener.is_none() => {}
            AcceptFailure::Later => {
                tracing::debug!(%error, "accepting pauses");
                self.accepting.not_before = Some(self.now().time + ACCEPT_RETRY);
            }
            AcceptFailure::Never => {
                // The first says it; the others that were armed fail with it.
                self.accepting.not_before = None;
                if self.accepting.listener.take().is_some() {
                    tracing::error!(%error, "the listener is gone, accepting ends");
                }
            }
        }
    }

    /// Asks where accepted connections come from, and reports them.
    pub(super) fn introduce(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) -> io::Result<()> {
        if self.accepting.fresh.is_empty() {
            return Ok(());
        }
        let mut fresh = std::mem::take(&mut self.accepting.fresh);
        for batch in fresh.chunks(BATCH) {
            self.flush(&mut |_| {})?;
            let length = self.accepting.name_length as u32;
            for (index, conn) in batch.iter().enumerate() {
                let entry = ring::peer_name(conn.slot, &raw mut self.accepting.names[index], length)
                    .user_data(token::of_index(Request::PeerName, index));
                // SAFETY: `names` outlives the ring, and this code does not look at it before the flush.
                unsafe { self.ring.push(&entry) };
            }
            self.exchange(Request::PeerName)?;
            let now = Now::read();
            for done in self.answers.drain(..) {
                let index = token::index(done.token);
                // A client that has already gone has no name; its end of input comes with the first read.
                let peer = (done.result >= 0).then(|| socket_address(&self.accepting.names[index])).flatten();
                let peer = peer.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
                report(now, Event::Accepted { conn: batch[index], peer });
            }
        }
        fresh.clear();
        self.accepting.fresh = fresh;
        Ok(())
    }
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

#[cfg(test)]
mod tests;
