//! One ring with its descriptor table and all memory that its requests may point to.
//!
//! Every request that this module can submit points into memory that the [`Ring`] owns, never moves and never
//! changes while the ring lives (or into a static). That is what makes its methods safe to call.

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::{BATCH, FloorError, MIN_WAIT_USEC, READ_BYTES_MAX, WANT};

const COMPLETIONS_MAX: u32 = 16_384;
const _: () = assert!(COMPLETIONS_MAX as usize >= 4 * (BATCH + WANT));

/// The value of a socket option that is switched on.
static ON: i32 = 1;

/// Which request a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Accept,
    Open,
    Connect,
    Poll,
    Read,
    Send,
}

/// One completion, decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) kind: Kind,
    /// The descriptor slot the request was for; 0 for an accept.
    pub(crate) slot: u32,
    /// The scratch buffer of a read.
    pub(crate) buffer: u16,
    pub(crate) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the multishot request is still armed.
    pub(crate) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// Whether the socket had more to read when the read ended.
    pub(crate) fn more_to_read(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }

    /// The error, if the request failed.
    pub(crate) fn error(&self) -> Option<io::Error> {
        (self.result < 0).then(|| io::Error::from_raw_os_error(-self.result))
    }
}

/// A ring, its table of direct descriptors and its buffers.
pub(crate) struct Ring {
    // First, so that the ring is closed before the memory it may use goes.
    ring: IoUring,
    scratch: Box<[u8]>,
    payload: Box<[u8]>,
    addresses: Box<[libc::sockaddr_in]>,
    // A single-issuer ring belongs to the thread that made it.
    _not_send: PhantomData<*const ()>,
}

impl Ring {
    /// A ring with `slots` direct descriptors that can send `payload` and bind or connect to `addresses`.
    pub(crate) fn new(
        slots: u32,
        payload: Box<[u8]>,
        addresses: &[SocketAddrV4],
    ) -> Result<Self, FloorError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS_MAX)
            .build(BATCH as u32)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => FloorError::KernelTooOld,
                _ => FloorError::Unavailable(error),
            })?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(FloorError::request("probing the ring"))?;
        if !ring.params().is_feature_min_timeout() || !probe.is_supported(opcode::Bind::CODE) {
            return Err(FloorError::KernelTooOld);
        }
        ring.submitter()
            .register_files_sparse(slots)
            .map_err(|source| FloorError::Table { slots, source })?;
        Ok(Self {
            ring,
            scratch: vec![0; BATCH * READ_BYTES_MAX].into_boxed_slice(),
            payload,
            addresses: addresses.iter().map(kernel_address).collect(),
            _not_send: PhantomData,
        })
    }

    /// What every send of this ring writes.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What the last read into `buffer` brought, `length` bytes of it.
    pub(crate) fn read_bytes(&self, buffer: u16, length: usize) -> &[u8] {
        &self.scratch[usize::from(buffer) * READ_BYTES_MAX..][..length]
    }

    /// Accepts from `listener` into free slots until the table is full.
    pub(crate) fn push_accept(&mut self, listener: BorrowedFd<'_>) -> Result<(), FloorError> {
        let entry =
            opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).allocate_file_index(true).build();
        // SAFETY: a multishot accept has no memory arguments; the kernel takes its own reference to the listener.
        unsafe { self.push(entry, Kind::Accept, 0, 0) }
    }

    /// Opens a TCP socket in `slot`. Completes only if it fails.
    pub(crate) fn push_open(&mut self, slot: u32) -> Result<(), FloorError> {
        let place = types::DestinationSlot::try_from_slot_target(slot).expect("slots are far below 2^32");
        let entry = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP)
            .file_index(Some(place))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: creating a socket has no memory arguments.
        unsafe { self.push(entry, Kind::Open, slot, 0) }
    }

    /// Lets the kernel choose the port when the socket connects instead of when it is bound, so that a port can
    /// serve every source address. Completes only if it fails.
    pub(crate) fn push_bind_late(&mut self, slot: u32) -> Result<(), FloorError> {
        let entry = opcode::SetSockOpt::new(
            types::Fixed(slot),
            libc::IPPROTO_IP as u32,
            libc::IP_BIND_ADDRESS_NO_PORT as u32,
            (&raw const ON).cast(),
            size_of::<i32>() as u32,
        )
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the option's value is a static of the length given.
        unsafe { self.push(entry, Kind::Open, slot, 0) }
    }

    /// Binds the socket to the ring's address number `address`. Completes only if it fails.
    pub(crate) fn push_bind(&mut self, slot: u32, address: usize) -> Result<(), FloorError> {
        let entry =
            opcode::Bind::new(types::Fixed(slot), (&raw const self.addresses[address]).cast(), ADDRESS_BYTES)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the address is a whole sockaddr_in in a box that lives and stays as it is as long as the ring.
        unsafe { self.push(entry, Kind::Open, slot, 0) }
    }

    /// Connects the socket to the ring's address number `address`.
    pub(crate) fn push_connect(&mut self, slot: u32, address: usize) -> Result<(), FloorError> {
        let entry = opcode::Connect::new(
            types::Fixed(slot),
            (&raw const self.addresses[address]).cast(),
            ADDRESS_BYTES,
        )
        .build();
        // SAFETY: the address is a whole sockaddr_in in a box that lives and stays as it is as long as the ring.
        unsafe { self.push(entry, Kind::Connect, slot, 0) }
    }

    /// Reports every time that the socket becomes readable.
    pub(crate) fn push_poll(&mut self, slot: u32) -> Result<(), FloorError> {
        let entry = opcode::PollAdd::new(types::Fixed(slot), libc::POLLIN as u32).multi(true).build();
        // SAFETY: a poll has no memory arguments.
        unsafe { self.push(entry, Kind::Poll, slot, 0) }
    }

    /// Reads what is there into scratch buffer `buffer`, which must be under [`BATCH`]; never waits for data.
    pub(crate) fn push_read(&mut self, slot: u32, buffer: u16) -> Result<(), FloorError> {
        let start = usize::from(buffer) * READ_BYTES_MAX;
        let place = &mut self.scratch[start..start + READ_BYTES_MAX];
        let entry = opcode::Recv::new(types::Fixed(slot), place.as_mut_ptr(), READ_BYTES_MAX as u32)
            .flags(libc::MSG_DONTWAIT)
            .build();
        // SAFETY: the buffer is inside the scratch box, which lives as long as the ring. With MSG_DONTWAIT the read
        // ends inside io_uring_enter, which borrows the ring mutably, so nobody sees the buffer while it is written.
        unsafe { self.push(entry, Kind::Read, slot, buffer) }
    }

    /// Writes the payload. A complete send posts no completion and is over when the submission returns; one that
    /// the socket could not take, or not whole, completes with what was written.
    pub(crate) fn push_send(&mut self, slot: u32) -> Result<(), FloorError> {
        let entry = opcode::Send::new(
            types::Fixed(slot),
            self.payload.as_ptr(),
            u32::try_from(self.payload.len()).expect("a payload is under 4 GiB"),
        )
        .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the payload is a box that lives and stays as it is as long as the ring.
        unsafe { self.push(entry, Kind::Send, slot, 0) }
    }

    /// Submits what has been pushed and does not wait.
    pub(crate) fn submit(&mut self) -> Result<(), FloorError> {
        while !self.ring.submission().is_empty() {
            ignore_interruptions(self.ring.submit())?;
        }
        Ok(())
    }

    /// Submits what has been pushed, then waits for events: as soon as there is one, gathers more for
    /// [`MIN_WAIT_USEC`]; gives up after `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<(), FloorError> {
        let timeout = types::Timespec::from(timeout);
        let arguments = types::SubmitArgs::new().min_wait_usec(MIN_WAIT_USEC).timespec(&timeout);
        ignore_interruptions(self.ring.submitter().submit_with_args(WANT, &arguments))?;
        self.submit()
    }

    /// Moves all completions that are there to the end of `completions`.
    pub(crate) fn take_completions(&mut self, completions: &mut Vec<Completion>) {
        completions.extend(self.ring.completion().map(|entry| decode(&entry)));
    }

    /// Closes every descriptor of the table.
    pub(crate) fn close_all(&mut self) -> Result<(), FloorError> {
        self.ring.submitter().unregister_files().map_err(FloorError::request("closing the sockets"))
    }

    /// Queues a request, submitting first if the queue is full.
    ///
    /// # Safety
    /// All memory that the entry points to must stay valid, and unchanged by others, until the request has ended.
    unsafe fn push(
        &mut self,
        entry: squeue::Entry,
        kind: Kind,
        slot: u32,
        buffer: u16,
    ) -> Result<(), FloorError> {
        let entry = entry.user_data(encode(kind, slot, buffer));
        if self.ring.submission().is_full() {
            self.submit()?;
        }
        // SAFETY: passed on to the caller.
        unsafe { self.ring.submission().push(&entry) }.expect("there is room after a submission");
        Ok(())
    }
}

const ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

fn kernel_address(address: &SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// user_data: kind in the top byte, scratch buffer in the 16 bits above the slot, slot in the low 32.
fn encode(kind: Kind, slot: u32, buffer: u16) -> u64 {
    (kind as u64) << 56 | u64::from(buffer) << 32 | u64::from(slot)
}

fn decode(entry: &cqueue::Entry) -> Completion {
    let data = entry.user_data();
    let kind = match (data >> 56) as u8 {
        0 => Kind::Accept,
        1 => Kind::Open,
        2 => Kind::Connect,
        3 => Kind::Poll,
        4 => Kind::Read,
        5 => Kind::Send,
        other => unreachable!("no request is made with kind {other}"),
    };
    Completion {
        kind,
        slot: data as u32,
        buffer: (data >> 32) as u16,
        result: entry.result(),
        flags: entry.flags(),
    }
}

fn ignore_interruptions(entered: io::Result<usize>) -> Result<(), FloorError> {
    match entered {
        Ok(_) => Ok(()),
        // EBUSY: completions wait for room in their queue, which the caller is about to empty.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => Ok(()),
        Err(error) => Err(FloorError::Request { request: "entering the ring", source: error }),
    }
}
