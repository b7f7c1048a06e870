//! Checkers of `delivery`.

use std::collections::VecDeque;

use campanile_engine::Conn;

use super::state::Delivery;
use super::window::Window;
use crate::invariants::{Broken, holds};
use crate::net::Net;
use crate::net::check::Tenants;
use crate::session::Session;

impl Delivery {
    /// Windows and their ledgers agree: each adds up, and so does what was read ahead for all of them.
    pub(crate) fn check_windows(&self, net: &Net, tenants: &Tenants<'_>) -> Result<(), Broken> {
        const CHECKER: &str = "windows and ledgers agree";
        holds(CHECKER, self.opened.is_empty() && self.behind.is_empty(), || {
            "a session was not settled".to_owned()
        })?;
        let mut pages = 0;
        for &(slot, session) in &tenants.sessions {
            pages += session.window.page_bytes();
            holds(CHECKER, session.window.adds_up(), || format!("slot {slot}: {:?}", session.window))?;
        }
        const CONTINUING: &str = "sessions that continue stand in their queue";
        check_queue(CONTINUING, &self.continuing, net, tenants, |window| window.continues)?;
        const READERS: &str = "sessions that wait to read stand in their queue";
        check_queue(READERS, &self.readers, net, tenants, |window| window.waits_to_read)?;
        let counted = self.read_ahead_bytes;
        holds(CHECKER, pages == counted, || format!("{pages} bytes are read ahead, counted are {counted}"))
    }
}

/// Whoever says that it waits stands in the queue once, and nobody else does of those who are still here.
fn check_queue(
    checker: &'static str,
    queue: &VecDeque<Conn>,
    net: &Net,
    tenants: &Tenants<'_>,
    says: fn(&Window) -> bool,
) -> Result<(), Broken> {
    let waits = |session: &Session| session.window.0.as_ref().is_some_and(|window| says(window));
    let mut here = 0;
    for (at, &conn) in queue.iter().enumerate().filter(|&(_, &conn)| net.has_session(conn)) {
        here += 1;
        let is_one = net.session(conn.slot).is_some_and(waits);
        holds(checker, is_one && !queue.range(..at).any(|&before| before == conn), || {
            format!("{conn:?} stands in the queue and waits: {is_one}")
        })?;
    }
    let waiting = tenants.sessions.iter().filter(|(_, session)| waits(session)).count();
    holds(checker, waiting == here, || format!("{waiting} wait, {here} stand in the queue"))
}
