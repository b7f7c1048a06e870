//! Checkers of `store`.

use super::{ReadFor, Store};
use crate::invariants::{Broken, holds};

impl Store {
    /// What waits for the store adds up: publishes are refused and reads put off by what its tickets say.
    pub(crate) fn check_waiting(&self) -> Result<(), Broken> {
        let append_bytes: usize = self.awaited.appends.awaited().map(|appending| appending.bytes).sum();
        let read_bytes: usize = self.awaited.pages.awaited().map(ReadFor::bytes).sum();
        let there = (append_bytes, read_bytes);
        let counted = (self.append_bytes_waiting, self.read_bytes_waiting);
        holds("what waits for the store adds up", there == counted, || {
            format!("bytes to append and to read are {there:?}, counted are {counted:?}")
        })
    }

    /// Everything is passed on: what is asked of the store does not wait for a turn that may be far away.
    pub(crate) fn check_passed_on(&self) -> Result<(), Broken> {
        holds("the store is asked in the same turn", self.operations.is_empty(), || {
            format!("the store is not asked: {:?}", self.operations)
        })
    }
}
