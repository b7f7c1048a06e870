//! The least work with which this machine can do the gateway's socket job: what `bench floor` measures.
//!
//! That is what accepting, holding, writing to and pinging sockets costs when nothing else is done.
//!
//! A gateway's figures mean little on their own; divided by the floor of the same machine in the same run they
//! say how much of the time the gateway itself takes. So this crate has no sessions, frames, limits or
//! accounting: a [`Server`] owns one ring and its direct descriptors, a [`Client`] is its counterpart, and both do
//! the fewest system calls and requests that we know of.
//!
//! What always holds:
//! - A server or client is used by the thread that made it; the ring has a single issuer. One thread may own many.
//! - A slot is never reused while its ring lives, so completions need no generation.
//! - Only loopback addresses are served or dialled.
//!
//! The gateway must not use this crate. What is good here is built there again, with limits and life cycles.

mod client;
mod readiness;
mod ring;
mod server;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

pub use client::{Answer, Client, ClientPlan, Progress};
pub use readiness::ReadTotals;
pub use server::{Accepted, PingPlan, PingTotals, SendRound, Server};

/// Sockets that are sent to, or read from, in one submission: larger batches were measured to be no faster.
pub const BATCH: usize = 256;

/// Bytes that one read may return.
pub const READ_BYTES_MAX: usize = 4096;

/// How long a wait gathers more events once the first may have come, in microseconds.
pub const MIN_WAIT_USEC: u32 = 50;

/// Events after which a wait returns at once.
pub const WANT: usize = 512;

/// An unmasked WebSocket ping without a payload, as a server sends it (RFC 6455 §5.5.2).
pub const PING: [u8; 2] = [0x89, 0x00];

/// A masked WebSocket pong without a payload, as a client sends it (RFC 6455 §5.5.3): the last 4 bytes are the mask.
pub const PONG: [u8; 6] = [0x8A, 0x80, 0x1F, 0x2E, 0x3D, 0x4C];

/// Why the floor could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// The kernel has no io_uring, or a container's seccomp profile refuses it.
    #[error("io_uring is not available: {0}; allow it (kernel.io_uring_disabled, seccomp profile)")]
    Unavailable(#[source] io::Error),
    /// The ring lacks `min_wait_usec`, the newest feature that is used here.
    #[error("the kernel is too old: Linux 6.12 or newer is needed")]
    KernelTooOld,
    /// The ring's descriptor table was refused; `RLIMIT_NOFILE` bounds the table of each ring.
    #[error("a table of {slots} descriptors was refused: {source}; use more rings or raise nofile")]
    Table {
        /// How many slots were asked for.
        slots: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address is not on the loopback interface.
    #[error("{0} is not a loopback address: this load is for the own machine only")]
    NotLoopback(Ipv4Addr),
    /// A request that must succeed did not.
    #[error("{request} failed: {source}")]
    Request {
        /// Which request it was.
        request: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The peers did not do their part in time.
    #[error("only {done} of {expected} {what} before time ran out")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How many there were.
        done: u32,
        /// How many there should have been.
        expected: u32,
    },
}

impl FloorError {
    fn request(request: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Request { request, source }
    }
}

/// How many sockets one ring's table should hold at most: 95 % of `RLIMIT_NOFILE`, which bounds each ring's table
/// but not their sum.
pub fn sockets_per_ring_max() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let slots_max = limit.current.unwrap_or(u64::MAX).min(1 << 20);
    u32::try_from(slots_max * 95 / 100).expect("at most 2^20")
}

fn require_loopback(address: SocketAddrV4) -> Result<SocketAddrV4, FloorError> {
    if address.ip().is_loopback() { Ok(address) } else { Err(FloorError::NotLoopback(*address.ip())) }
}
