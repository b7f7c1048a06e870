//! The ring: entries go in, are submitted in batches, and completions are copied out at once, so that the
//! kernel's completion queue is as empty as it can be whenever more may arrive.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

/// Entries per submission. 256 took two thirds of the time of 32, and more was no better.
pub(super) const BATCH: usize = 256;
/// The kernel finds a poll that is to be cancelled in a hash table with one bucket for 32 completions, 256 at
/// most: this is the least that gives all 256. With 128 the search was 6 % of the CPU of closing 100,000
/// connections. It costs 64 KiB a ring.
pub(super) const COMPLETIONS: u32 = 8_192;
/// With deferred task work one enter runs 20 wake-ups unless it asks for more.
pub(super) const WANT: usize = 512;
/// An enter that brought this many may have left some behind.
const WAKE_UPS_PER_ENTER: usize = 20;
/// How long to collect up to `WANT` completions before being content with one.
const MIN_WAIT: Duration = Duration::from_micros(50);
const ENTER_GETEVENTS: u32 = 1;
/// How often in a row the kernel may take no entry (it is out of memory) before the ring counts as broken.
const REFUSALS_MAX: u32 = 10_000;

#[derive(Copy, Clone, Debug)]
pub(super) struct Completion {
    pub(super) token: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// Whether the request stays armed.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// Whether the socket held more bytes after a receive.
    pub(super) fn nonempty(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

/// What `ENOMEM` means to the operator: the queues count as locked memory of the user, about 150 KiB a ring.
pub(crate) const NO_MEMORY: &str =
    "no memory may be locked for an io_uring: raise LimitMEMLOCK (ulimit -l), 256 KiB for each shard";

/// How often, and how far apart, a ring is tried for which no memory may be locked: one that was dropped (the
/// probe's, for one) gives its memory back a little later.
const TRIES: u32 = 20;
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Queues as large as a driver's, without a table.
pub(crate) fn set_up() -> io::Result<IoUring> {
    let mut tries = 1;
    loop {
        match build() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(TRY_AGAIN);
            }
            result => return result,
        }
    }
}

fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(COMPLETIONS)
        .build(BATCH as u32)
}

pub(super) struct Ring {
    ring: IoUring,
}

impl Ring {
    pub(super) fn new(slots: u32) -> io::Result<Ring> {
        let ring = set_up().map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => io::Error::new(io::ErrorKind::OutOfMemory, NO_MEMORY),
            _ => error,
        })?;
        if !ring.params().is_feature_nodrop() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the ring may drop completions"));
        }
        ring.submitter().register_files_sparse(slots)?;
        Ok(Ring { ring })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Room for entries before the next submission.
    pub(super) fn room(&mut self) -> usize {
        let queue = self.ring.submission();
        queue.capacity() - queue.len()
    }

    /// Adds an entry. There must be [`Ring::room`].
    ///
    /// # Safety
    /// Every buffer that `entry` names must stay valid until the request is complete. For the requests that
    /// end inside the submission (receives and sends with `MSG_DONTWAIT`, binds, options) that is until the
    /// next [`Ring::submit`] returns.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: passed on to our caller.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "the caller looks for room first");
    }

    /// Submits every entry and copies the completions that are there.
    pub(super) fn submit(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let mut refusals = 0;
        loop {
            let waiting = self.ring.submission().len();
            if waiting == 0 {
                return Ok(());
            }
            self.enter(|ring| ring.submitter().submit().map(drop))?;
            self.reap(completions)?;
            if self.ring.submission().len() < waiting {
                refusals = 0;
                continue;
            }
            refusals += 1;
            if refusals == REFUSALS_MAX {
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the kernel takes no more requests"));
            }
            std::thread::yield_now();
        }
    }

    /// Submits every entry, runs what the kernel has deferred, waits for at most `timeout` for something to
    /// complete, and copies the completions.
    pub(super) fn submit_and_wait(
        &mut self,
        timeout: Duration,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        if timeout.is_zero() || !completions.is_empty() {
            self.submit_and_look(completions)?;
        } else {
            let timespec = Timespec::from(timeout);
            let mut args = SubmitArgs::new().timespec(&timespec);
            let mut want = 1;
            if self.ring.params().is_feature_min_timeout() {
                args = args.min_wait_usec(MIN_WAIT.as_micros() as u32);
                want = WANT;
            }
            self.enter(|ring| ring.submitter().submit_with_args(want, &args).map(drop))?;
        }
        self.reap(completions)?;
        // Whatever one call left over.
        self.submit(completions)
    }

    /// Submits every entry and runs up to about `WANT` of what the kernel has deferred. Who asks the kernel for
    /// more than one completion sleeps until they are there, be it for a timer that has run out; so this asks
    /// for none, again and again while there is more.
    fn submit_and_look(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let first = completions.len();
        loop {
            let before = completions.len();
            let entries = self.ring.submission().len() as u32;
            self.enter(|ring| {
                // SAFETY: no argument is passed; the entries are the ring's own, and `push` vouches for them.
                unsafe { ring.submitter().enter::<()>(entries, 0, ENTER_GETEVENTS, None) }.map(drop)
            })?;
            self.reap(completions)?;
            if completions.len() - before < WAKE_UPS_PER_ENTER || completions.len() - first >= WANT {
                return Ok(());
            }
        }
    }

    /// Copies the completions, those that overflowed the queue included.
    fn reap(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        loop {
            for entry in self.ring.completion() {
                completions.push(Completion {
                    token: entry.user_data(),
                    result: entry.result(),
                    flags: entry.flags(),
                });
            }
            if !self.ring.submission().cq_overflow() {
                return Ok(());
            }
            self.enter(|ring| {
                // SAFETY: no argument is passed, and nothing is submitted.
                unsafe { ring.submitter().enter::<()>(0, 0, ENTER_GETEVENTS, None) }.map(drop)
            })?;
        }
    }

    /// One system call. Interruptions, time-outs and a completion queue that is full are no errors: the caller
    /// looks at the queues.
    fn enter(&mut self, call: impl FnOnce(&IoUring) -> io::Result<()>) -> io::Result<()> {
        match call(&self.ring) {
            Ok(()) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }
}

impl Drop for Ring {
    /// Peers hold the ring's file as long as they live, so the sockets are let go here.
    fn drop(&mut self) {
        let _ = self.ring.submitter().register_sync_cancel(None, io_uring::types::CancelBuilder::any());
        // What is cancelled lets go of its socket only when the deferred work runs, some of it at a time.
        loop {
            // SAFETY: no argument is passed, and nothing is submitted.
            let entered = unsafe { self.ring.submitter().enter::<()>(0, 0, ENTER_GETEVENTS, None) };
            if entered.is_err() || self.ring.completion().count() == 0 {
                break;
            }
        }
        let _ = self.ring.submitter().unregister_files();
    }
}

/// `SO_PEERNAME` of a direct descriptor: `getsockopt` has no entry of its own in the crate, so the command
/// number of the `setsockopt` entry is replaced.
pub(super) fn peer_name(slot: u32, address: *mut libc::sockaddr_storage, length: u32) -> squeue::Entry {
    const SOCKET_URING_OP_GETSOCKOPT: u32 = 2;
    const COMMAND_OFFSET: usize = 8;
    let mut entry = opcode::SetSockOpt::new(
        io_uring::types::Fixed(slot),
        libc::SOL_SOCKET as u32,
        libc::SO_PEERNAME as u32,
        address.cast_const().cast(),
        length,
    )
    .build();
    // SAFETY: `Entry` is a transparent `io_uring_sqe`, 64 bytes of plain integers, whose `cmd_op` stands at
    // byte 8 (linux/io_uring.h) and is aligned for a u32.
    unsafe {
        (&raw mut entry).cast::<u8>().add(COMMAND_OFFSET).cast::<u32>().write(SOCKET_URING_OP_GETSOCKOPT)
    };
    entry
}

const _: () = assert!(size_of::<squeue::Entry>() == 64);
