//! How much a session may ask for: every frame costs, some cost more (generic cell rate algorithm, ITU-T I.371).

use super::Net;
use crate::turn::Turn;

/// Frames may come this many times faster than on average, for one second's worth of them.
const BURST_SECONDS: u32 = 10;
const TENTHS_PER_SECOND: u32 = 10_000;

impl Net {
    /// Charges frames to the session. False if it cannot pay.
    pub(crate) fn pay_for_frames(&mut self, turn: &Turn<'_>, slot: u32, frames: u32) -> bool {
        let Some(session) = self.session_mut(slot) else { return false };
        if session.who.is_echo() {
            return true;
        }
        let ahead = session.wire.ahead(turn) + frame_cost(turn).saturating_mul(frames);
        session.wire.paid_until = turn.now_tenths().wrapping_add(ahead);
        ahead <= BURST_SECONDS * TENTHS_PER_SECOND
    }

    /// Charges what goes to all subscribers of a channel. False if the session cannot pay; it is not charged then. Half
    /// of what it may do in a burst is left for frames that cost little.
    pub(crate) fn pay_for_publish(&mut self, turn: &Turn<'_>, slot: u32, per_second: u32) -> bool {
        // Its frame is paid for already.
        let cost = (TENTHS_PER_SECOND / per_second.max(1)).saturating_sub(frame_cost(turn));
        let Some(session) = self.session_mut(slot) else { return false };
        let ahead = session.wire.ahead(turn) + cost;
        let pays = ahead <= BURST_SECONDS * TENTHS_PER_SECOND / 2;
        if pays {
            session.wire.paid_until = turn.now_tenths().wrapping_add(ahead);
        }
        pays
    }

    /// Gives back what a frame cost: an acknowledgement that was owed.
    pub(crate) fn refund_frame(&mut self, turn: &Turn<'_>, slot: u32) {
        if let Some(session) = self.session_mut(slot) {
            session.wire.paid_until = session.wire.paid_until.wrapping_sub(frame_cost(turn));
        }
    }
}

impl super::wire::Wire {
    /// What is paid for in advance, in tenths of milliseconds.
    fn ahead(&self, turn: &Turn<'_>) -> u32 {
        (self.paid_until.wrapping_sub(turn.now_tenths()) as i32).max(0) as u32
    }
}

/// What a frame costs, in tenths of milliseconds.
fn frame_cost(turn: &Turn<'_>) -> u32 {
    (TENTHS_PER_SECOND / turn.settings.limits.frames_per_second_max.max(1)).max(1)
}
