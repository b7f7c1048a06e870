//! What goes to every session: a pass over the table, a slice per turn, so that nothing waits behind it for long.

use std::collections::VecDeque;

use campanile_protocol::frame::{close_code, close_frame};
use campanile_protocol::messages::{Drain, Encoding, Event, ServerFrame};

use super::jobs::{Asker, Jobs};
use crate::delivery::frames::Frames;
use crate::net::Net;
use crate::requests::Answer;
use crate::turn::Turn;

/// Slots looked at in one slice, whether or not they have a session.
const SLOTS_PER_SLICE: u32 = 8_192;

/// Passes over all sessions, the oldest first.
#[derive(Default)]
pub(crate) struct Broadcasts(VecDeque<Pass>);

/// Work for every session, done in slices.
struct Pass {
    task: Task,
    next_slot: u32,
}

enum Task {
    Broadcast { asker: Asker, frames: Box<Frames>, sent: u32, skipped: u32 },
    Drain { reconnect_within_ms: u32 },
}

impl Broadcasts {
    /// Whether no pass is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every session is sent an event, unless it does not keep up.
    pub(crate) fn begin(&mut self, asker: Asker, event: &Event) {
        let frames = Box::new(Frames::new(ServerFrame::Event(event.clone())));
        let task = Task::Broadcast { asker, frames, sent: 0, skipped: 0 };
        self.0.push_back(Pass { task, next_slot: 0 });
    }

    /// Every session is told to come back after a random part of so many milliseconds, and closed.
    pub(crate) fn begin_drain(&mut self, reconnect_within_ms: u32) {
        self.0.push_back(Pass { task: Task::Drain { reconnect_within_ms }, next_slot: 0 });
    }

    /// Ends all passes where they are.
    pub(crate) fn end_all(&mut self, jobs: &mut Jobs) {
        for pass in std::mem::take(&mut self.0) {
            pass.end(jobs);
        }
    }

    /// Advances the oldest pass by one slice.
    pub(crate) fn advance(&mut self, turn: &mut Turn<'_>, net: &mut Net, jobs: &mut Jobs, sends_max: usize) {
        let Some(mut pass) = self.0.pop_front() else { return };
        let end = net.slots_end();
        let slots_end = pass.next_slot.saturating_add(SLOTS_PER_SLICE).min(end);
        let mut sends = 0;
        while pass.next_slot < slots_end && sends < sends_max {
            let slot = pass.next_slot;
            pass.next_slot += 1;
            sends += usize::from(pass.visit(turn, net, slot));
        }
        if pass.next_slot < end {
            return self.0.push_front(pass);
        }
        pass.end(jobs);
    }
}

impl Pass {
    /// Does its work for the session in a slot. Whether there is one.
    fn visit(&mut self, turn: &mut Turn<'_>, net: &mut Net, slot: u32) -> bool {
        let Some(session) = net.session(slot) else { return false };
        let (encoding, echo) = (session.wire.encoding(), session.who.is_echo());
        match &mut self.task {
            Task::Broadcast { frames, sent, skipped, .. } => {
                let keeps_up = session.wire.keeps_up();
                match frames.get(encoding) {
                    Some(bytes) if keeps_up => {
                        *sent += 1;
                        turn.counters.broadcast_sent.add(1);
                        net.post(turn, slot, bytes);
                    }
                    encoded => {
                        *skipped += 1;
                        turn.counters.broadcast_skipped.add(u64::from(encoded.is_some()));
                    }
                }
            }
            Task::Drain { reconnect_within_ms } => {
                drain_session(turn, net, slot, *reconnect_within_ms, (!echo).then_some(encoding));
            }
        }
        true
    }

    fn end(self, jobs: &mut Jobs) {
        if let Task::Broadcast { asker, sent, skipped, .. } = self.task {
            jobs.reply(asker, Answer::Broadcast { sent, skipped });
        }
    }
}

/// Tells a client when to come back, and closes.
fn drain_session(
    turn: &mut Turn<'_>,
    net: &mut Net,
    slot: u32,
    reconnect_within_ms: u32,
    encoding: Option<Encoding>,
) {
    let reconnect_after_ms = turn.random.u32(0..=reconnect_within_ms);
    let mut last = Vec::with_capacity(64);
    if let Some(encoding) = encoding {
        let drain = ServerFrame::Drain(Drain { reconnect_after_ms });
        let encoded = drain.encode_frame(encoding, &mut last);
        debug_assert!(encoded.is_ok(), "a drain has no payload that could fail");
    }
    let reason = format!("draining: come back in {reconnect_after_ms} ms");
    last.extend_from_slice(&close_frame(close_code::DRAINING, &reason));
    net.finish(turn, slot, last.into());
}
