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
        let counted = self.read_ahead_bytes;
        holds(CHECKER, pages == counted, || format!("{pages} bytes are read ahead, counted are {counted}"))
    }
}
