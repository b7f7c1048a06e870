//! Checkers of `delivery`.

use super::state::Delivery;
use crate::invariants::{Broken, holds};
use crate::net::check::Tenants;

impl Delivery {
    /// Windows and their ledgers agree: each adds up, and so does what was read ahead for all of them.
    pub(crate) fn check_windows(&self, tenants: &Tenants<'_>) -> Result<(), Broken> {
        const CHECKER: &str = "windows and ledgers agree";
        holds(CHECKER, self.opened.is_empty() && self.behind.is_empty(), || {
            "a session was not settled".to_owned()
        })?;
        let mut pages = 0;
        for &(slot, session) in &tenants.sessions {
            pages += session.window.page_bytes();
            holds(CHECKER, session.window.adds_up(), || format!("slot {slot}: {:?}", session.window))?;
        }
        self.check_continuing(tenants)?;
        let counted = self.read_ahead_bytes;
        holds(CHECKER, pages == counted, || format!("{pages} bytes are read ahead, counted are {counted}"))
    }

    /// Whoever is sent more in the next turn stands in the queue once, and nobody else of those who are still here.
    fn check_continuing(&self, tenants: &Tenants<'_>) -> Result<(), Broken> {
        const CHECKER: &str = "sessions that continue stand in their queue";
        for (at, conn) in self.continuing.iter().enumerate() {
            let is_first = !self.continuing.range(..at).any(|before| before == conn);
            holds(CHECKER, is_first, || format!("{conn:?} stands there twice"))?;
        }
        for &(slot, session) in tenants.sessions.iter().filter(|(_, session)| session.window.continues()) {
            let is_there = self.continuing.iter().any(|conn| conn.slot == slot);
            holds(CHECKER, is_there, || format!("slot {slot} is forgotten: {:?}", session.window))?;
        }
        Ok(())
    }
}
