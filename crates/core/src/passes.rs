//! What goes to every session: a pass over the table, a slice per turn, so that nothing waits behind it for long.

use std::sync::Arc;

use campanile_protocol::frame::{close_code, close_frame};
use campanile_protocol::messages::{Drain, Encoding, Event, ServerFrame};

use super::Shard;
use super::frames::Frames;
use super::jobs::Asker;
use super::requests::Answer;

/// Slots looked at in one slice, whether or not they have a session.
const SLOTS_PER_SLICE: u32 = 8_192;

/// Work for every session, done in slices.
pub(super) struct Pass {
    task: Task,
    next_slot: u32,
}

enum Task {
    Broadcast { asker: Asker, frames: Box<Frames>, sent: u32, skipped: u32 },
    Drain,
}

impl Shard {
    pub(super) fn begin_broadcast(&mut self, asker: Asker, event: &Arc<Event>) {
        let frames = Box::new(Frames::new(ServerFrame::Event(Event::clone(event))));
        let task = Task::Broadcast { asker, frames, sent: 0, skipped: 0 };
        self.passes.push_back(Pass { task, next_slot: 0 });
    }

    pub(super) fn begin_drain(&mut self) {
        self.passes.push_back(Pass { task: Task::Drain, next_slot: 0 });
    }

    /// Ends all passes where they are.
    pub(super) fn end_passes(&mut self) {
        for pass in std::mem::take(&mut self.passes) {
            self.end_pass(pass);
        }
    }

    fn end_pass(&mut self, pass: Pass) {
        if let Task::Broadcast { asker, sent, skipped, .. } = pass.task {
            self.reply(asker, Answer::Broadcast { sent, skipped });
        }
    }

    /// Advances the oldest pass by one slice.
    pub(super) fn advance_pass(&mut self, sends_max: usize) {
        let Some(mut pass) = self.passes.pop_front() else { return };
        let end = self.connections.end();
        let slots_end = pass.next_slot.saturating_add(SLOTS_PER_SLICE).min(end);
        let mut sends = 0;
        while pass.next_slot < slots_end && sends < sends_max {
            let slot = pass.next_slot;
            pass.next_slot += 1;
            let Some(session) = self.connections.get(slot).and_then(|connection| connection.as_session())
            else {
                continue;
            };
            sends += 1;
            let (encoding, echo) = (session.encoding, session.is_echo());
            match &mut pass.task {
                Task::Broadcast { frames, sent, skipped, .. } => {
                    let outcome = frames.get(encoding).map(|bytes| self.send_event(slot, bytes));
                    match outcome {
                        Some(true) => *sent += 1,
                        Some(false) | None => *skipped += 1,
                    }
                }
                Task::Drain => self.drain_session(slot, encoding, echo),
            }
        }
        if pass.next_slot < end {
            return self.passes.push_front(pass);
        }
        self.end_pass(pass);
    }

    fn send_event(&mut self, slot: u32, bytes: bytes::Bytes) -> bool {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let keeps_up = session.is_some_and(|session| session.unsent.is_none());
        if keeps_up {
            self.counters.broadcast_sent.add(1);
            self.post(slot, bytes);
        } else {
            self.counters.broadcast_skipped.add(1);
        }
        keeps_up
    }

    /// Tells a client when to come back, and closes.
    fn drain_session(&mut self, slot: u32, encoding: Encoding, echo: bool) {
        let within = self.draining.as_ref().map_or(0, |draining| draining.reconnect_within_ms);
        let reconnect_after_ms = self.random.u32(0..=within);
        let mut last = Vec::with_capacity(64);
        if !echo {
            let drain = ServerFrame::Drain(Drain { reconnect_after_ms });
            let encoded = drain.encode_frame(encoding, &mut last);
            debug_assert!(encoded.is_ok(), "a drain has no payload that could fail");
        }
        let reason = format!("draining: come back in {reconnect_after_ms} ms");
        last.extend_from_slice(&close_frame(close_code::DRAINING, &reason));
        self.finish(slot, last.into());
    }
}
