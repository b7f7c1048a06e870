//! Reads sockets when a multishot poll says that they are readable, into the ring's scratch buffers.

use std::time::Duration;

use super::ring::{Completion, Kind, Ring};
use super::{BATCH, FloorError};

/// What has been read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadTotals {
    /// Bytes received.
    pub bytes: u64,
    /// Reads that returned data.
    pub reads: u64,
    /// Connections that ended, in whichever way.
    pub closed: u64,
    /// Sends that the socket took only in part or not at all.
    pub short_sends: u64,
}

/// The sockets of one ring that wait for data.
#[derive(Default)]
pub(crate) struct Readiness {
    ready: Vec<u32>,
    answers: Vec<(u32, u32)>,
    completions: Vec<Completion>,
    pub(crate) totals: ReadTotals,
}

impl Readiness {
    /// Waits for readable sockets until `timeout`, and reads each until it is dry. `on_bytes` sees what a socket
    /// sent and says how many times the ring's payload is to be sent back to it.
    pub(crate) fn turn(
        &mut self,
        ring: &mut Ring,
        timeout: Duration,
        mut on_bytes: impl FnMut(&[u8]) -> u32,
    ) -> Result<(), FloorError> {
        ring.wait(timeout)?;
        self.handle_completions(ring, &mut on_bytes)?;
        while !self.ready.is_empty() {
            let batch = self.ready.len().min(BATCH);
            for (buffer, slot) in self.ready.drain(..batch).enumerate() {
                ring.push_read(slot, buffer as u16)?;
            }
            ring.submit()?;
            self.handle_completions(ring, &mut on_bytes)?;
        }
        self.send_answers(ring)
    }

    fn handle_completions(
        &mut self,
        ring: &mut Ring,
        on_bytes: &mut impl FnMut(&[u8]) -> u32,
    ) -> Result<(), FloorError> {
        let mut completions = std::mem::take(&mut self.completions);
        ring.take_completions(&mut completions);
        for completion in completions.drain(..) {
            match completion.kind {
                Kind::Poll => self.on_poll(ring, completion)?,
                Kind::Read => self.on_read(ring, completion, on_bytes),
                Kind::Send => self.totals.short_sends += 1,
                // A listener that is still armed may report a late or failed accept; nobody waits for it any more.
                Kind::Accept | Kind::Open | Kind::Connect => {}
            }
        }
        self.completions = completions;
        Ok(())
    }

    fn on_poll(&mut self, ring: &mut Ring, completion: Completion) -> Result<(), FloorError> {
        if completion.result < 0 {
            self.totals.closed += 1;
            return Ok(());
        }
        let ended = completion.result & i32::from(libc::POLLHUP | libc::POLLERR) != 0;
        if !completion.more() && !ended {
            ring.push_poll(completion.slot)?;
        }
        self.ready.push(completion.slot);
        Ok(())
    }

    fn on_read(&mut self, ring: &mut Ring, completion: Completion, on_bytes: &mut impl FnMut(&[u8]) -> u32) {
        match completion.result {
            length @ 1.. => {
                self.totals.bytes += length as u64;
                self.totals.reads += 1;
                let times = on_bytes(ring.read_bytes(completion.buffer, length as usize));
                if times > 0 {
                    self.answers.push((completion.slot, times));
                }
                if completion.more_to_read() {
                    self.ready.push(completion.slot);
                }
            }
            0 => self.totals.closed += 1,
            result if result == -libc::EAGAIN => {}
            _ => self.totals.closed += 1,
        }
    }

    /// Sends the answers, at most one per socket in a submission: a second could overtake a first that was cut short.
    fn send_answers(&mut self, ring: &mut Ring) -> Result<(), FloorError> {
        while !self.answers.is_empty() {
            for (slot, _) in &self.answers {
                ring.push_send(*slot)?;
            }
            ring.submit()?;
            self.answers.retain_mut(|(_, times)| {
                *times -= 1;
                *times > 0
            });
        }
        Ok(())
    }
}
