//! What a checker has found that must never be. The simulator checks after every step of a shard.

use std::fmt;

/// An invariant of the core is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The checker that found it.
    pub checker: &'static str,
    /// What it found.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// Fails the checker unless something holds.
pub(crate) fn holds(checker: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { checker, what: what() }) }
}
