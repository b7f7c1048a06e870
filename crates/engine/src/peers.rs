//! What the drivers of one process share: how to wake each other, and where to send a connection.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::Wake;

use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};

/// How many connections may wait to be taken over by one `epoll` driver. Beyond it a hand-off is refused.
pub const HAND_OFFS_WAITING_MAX: usize = 1_024;

/// Wakes one thread from any other; costs a system call only when that thread sleeps.
///
/// The sleeper calls [`Waker::fall_asleep`], looks for work once more, and then waits for [`Waker::event`] to become
/// readable. Only one thread may sleep on a waker.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
    asleep: AtomicBool,
}

impl Waker {
    /// A waker whose thread is awake.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Waker> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker { event, asleep: AtomicBool::new(false) })
    }

    /// Makes the sleeper look for work. Call it after the work has been put where the core finds it.
    pub fn wake(&self) {
        // Pairs with the fence in `fall_asleep`: either we see that the driver sleeps, or it sees our work.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Makes the event descriptor ready, whether or not the driver sleeps.
    pub(crate) fn ring(&self) {
        // A counter that is full is a wake-up that is still pending; nothing else can fail here.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Declares that the thread is about to sleep. It must look for work once more before it does.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Declares that the thread is awake, so that nobody spends a system call on it.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Claims the right to wake the driver by other means than the event descriptor.
    pub(crate) fn claim(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// The event descriptor: readable after a wake-up.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Empties the event descriptor.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.event, &mut count);
    }
}

/// How other crates wake a thread, without knowing this one.
impl Wake for Waker {
    fn wake(self: Arc<Waker>) {
        Waker::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Waker>) {
        Waker::wake(self);
    }
}

/// A connection on its way to an `epoll` driver.
pub(crate) struct InTransit<P> {
    pub(crate) socket: OwnedFd,
    pub(crate) parcel: Box<P>,
}

struct Peer<P> {
    waker: Arc<Waker>,
    /// A duplicate of the ring's descriptor, once the ring exists. It keeps the number from being reused
    /// while any driver may still send to it.
    ring: OnceLock<OwnedFd>,
    arriving: ArrayQueue<InTransit<P>>,
    /// Free slots of an `epoll` driver's table. Whoever takes one, for a connection of its own or for one on
    /// its way there, has it for sure; so a hand-off that would find the table full is refused at its source.
    room: AtomicU32,
}

/// The drivers of one process, by index.
pub struct Peers<P> {
    peers: Box<[Peer<P>]>,
}

impl<P> Peers<P> {
    /// Prepares `count` drivers.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new(count: usize) -> io::Result<Arc<Peers<P>>> {
        let peers = (0..count)
            .map(|_| {
                Ok(Peer {
                    waker: Arc::new(Waker::new()?),
                    ring: OnceLock::new(),
                    arriving: ArrayQueue::new(HAND_OFFS_WAITING_MAX),
                    room: AtomicU32::new(0),
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Arc::new(Peers { peers }))
    }

    /// How many drivers there are.
    pub fn count(&self) -> usize {
        self.peers.len()
    }

    /// What wakes driver `index`.
    pub fn waker(&self, index: usize) -> &Arc<Waker> {
        &self.peers[index].waker
    }

    /// Tells the others of the ring of driver `index`.
    pub(crate) fn set_ring(&self, index: usize, ring: BorrowedFd<'_>) -> io::Result<()> {
        let ring = ring.try_clone_to_owned()?;
        self.peers[index].ring.set(ring).map_err(|_| io::Error::other("two drivers with one index"))
    }

    /// The ring of driver `index`, if it has been made.
    pub(crate) fn ring(&self, index: usize) -> Option<RawFd> {
        self.peers[index].ring.get().map(AsRawFd::as_raw_fd)
    }

    pub(crate) fn arriving(&self, index: usize) -> &ArrayQueue<InTransit<P>> {
        &self.peers[index].arriving
    }

    /// Takes a slot of driver `index`; false when there is none.
    pub(crate) fn take_room(&self, index: usize) -> bool {
        // The count guards nothing but itself: what travels with a slot goes through the queue.
        let room = &self.peers[index].room;
        room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).is_ok()
    }

    pub(crate) fn give_room(&self, index: usize, slots: u32) {
        self.peers[index].room.fetch_add(slots, Ordering::Relaxed);
    }

    pub(crate) fn has_room(&self, index: usize) -> bool {
        self.peers[index].room.load(Ordering::Relaxed) > 0
    }
}
