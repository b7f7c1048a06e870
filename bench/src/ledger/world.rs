//! What everybody in a run knows: where the gateway is, which of its lives this is, and what is to be done.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use campanile_load::audience::Audience;
use campanile_load::credentials::Credentials;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Publish; come and go.
    Flow,
    /// Publish nothing new; everybody comes and stays.
    Drain,
    /// End.
    Stop,
}

/// Shared by all threads of a run.
pub(crate) struct World {
    /// Part of every content.
    pub(crate) run: u64,
    /// Where devices connect.
    pub(crate) listen: SocketAddr,
    /// Where messages are published.
    pub(crate) api: SocketAddr,
    pub(crate) api_key: String,
    /// Devices by number, and whose they are.
    pub(crate) audience: Audience,
    pub(crate) credentials: Credentials,
    /// Size of each content.
    pub(crate) bytes: usize,
    phase: AtomicU8,
    incarnation: AtomicU32,
    /// Messages that were accepted.
    pub(crate) accepted: AtomicU64,
    /// Requests that are on their way now.
    pub(crate) asking: AtomicU64,
    /// Requests that were not answered.
    pub(crate) unanswered: AtomicU64,
    /// Messages that were delivered.
    pub(crate) receipts: AtomicU64,
    /// Sessions that were welcomed.
    pub(crate) sessions: AtomicU64,
    /// Devices that are connected, have caught up and have acknowledged everything.
    pub(crate) settled: AtomicU64,
}

/// What users' names begin with; their number follows.
pub(crate) const USER_PREFIX: &str = "ledger-";

impl World {
    pub(crate) fn new(
        listen: SocketAddr,
        api: SocketAddr,
        api_key: String,
        audience: Audience,
        credentials: Credentials,
        bytes: usize,
    ) -> World {
        let zero = || AtomicU64::new(0);
        World {
            run: fastrand::u64(..),
            listen,
            api,
            api_key,
            audience,
            credentials,
            bytes,
            phase: AtomicU8::new(0),
            incarnation: AtomicU32::new(0),
            accepted: zero(),
            asking: zero(),
            unanswered: zero(),
            receipts: zero(),
            sessions: zero(),
            settled: zero(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Flow,
            1 => Phase::Drain,
            _ => Phase::Stop,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Which life of the gateway this is. It is counted up when one is over and the next has not begun.
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::SeqCst)
    }

    pub(crate) fn next_incarnation(&self) -> u32 {
        self.incarnation.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Name of a user.
    pub(crate) fn user(&self, user: u32) -> String {
        format!("{USER_PREFIX}{user}")
    }

    /// How many devices a user has.
    pub(crate) fn devices_of(&self, user: u32) -> u32 {
        (0..self.audience.devices).filter(|&device| self.audience.user_of(device) == user).count() as u32
    }
}
