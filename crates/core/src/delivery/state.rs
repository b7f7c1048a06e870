//! What the sessions of one shard share.

use std::collections::VecDeque;

use campanile_engine::Conn;

use crate::seam::{OpenRefused, Opened};
use crate::session::Session;

/// The deliveries of one shard.
#[derive(Default)]
pub(crate) struct Delivery {
    /// Bytes that were read for sessions and not sent.
    pub(super) read_ahead_bytes: usize,
    /// Sessions that are sent more of their mail in the next turn; each at most once.
    pub(super) continuing: VecDeque<Conn>,
    /// Sessions that wait until their homes may read for them; each at most once.
    pub(super) readers: VecDeque<Conn>,
    /// Sessions that look, when the event is over, whether there is something to send or to read.
    pub(super) behind: Vec<u32>,
    /// What homes have said to connections that wait for their session.
    pub(super) opened: VecDeque<(Conn, Result<Opened, OpenRefused>)>,
}

impl Delivery {
    /// A connection that waits for its session, and what its home has said.
    pub(crate) fn take_opened(&mut self) -> Option<(Conn, Result<Opened, OpenRefused>)> {
        self.opened.pop_front()
    }

    /// A session that may have something to send or to read.
    pub(crate) fn take_behind(&mut self) -> Option<u32> {
        self.behind.pop()
    }

    /// A session is over: what was read for it is held no more.
    pub(crate) fn left(&mut self, session: &Session) {
        self.read_ahead_bytes -= session.window.page_bytes();
    }

    /// Whether sessions are sent more in the next turn.
    pub(crate) fn continues(&self) -> bool {
        !self.continuing.is_empty()
    }

    /// How many sessions are sent more in this turn.
    pub(crate) fn continuing(&self) -> usize {
        self.continuing.len()
    }
}
