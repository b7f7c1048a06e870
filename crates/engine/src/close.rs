//! Connections that say goodbye: input is discarded for a bounded time and amount, so that the peer reads our
//! close frame instead of a reset. Shared by the drivers that hold real sockets.

use std::collections::VecDeque;
use std::time::Duration;

use crate::driver::Conn;
use crate::time::Time;

/// How long a closed connection's input is discarded.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How much of it.
pub(crate) const LINGER_BYTES_MAX: u32 = 64 * 1024;

/// The connections that linger, oldest first. Since all linger equally long, they end in the order in which
/// they began; one that ended earlier is skipped by its generation.
#[derive(Default)]
pub(crate) struct Lingering {
    queue: VecDeque<(Time, Conn)>,
}

impl Lingering {
    pub(crate) fn begin(&mut self, now: Time, conn: Conn) {
        self.queue.push_back((now + LINGER, conn));
    }

    /// The next connection whose time is over.
    pub(crate) fn overdue(&mut self, now: Time) -> Option<Conn> {
        let &(until, conn) = self.queue.front()?;
        (until <= now).then(|| {
            self.queue.pop_front();
            conn
        })
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.queue.front().map(|&(until, _)| until)
    }
}
