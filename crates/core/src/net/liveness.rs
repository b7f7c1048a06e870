//! Whether a client is there: pings, and the one timer of a session, which looks after all of its deadlines.

use std::time::Duration;

use bytes::Bytes;

use super::Net;
use super::ending::Ending;
use super::wire::Ping;
use crate::turn::Turn;

/// A ping without a payload.
const PING: Bytes = Bytes::from_static(&[0x89, 0]);

impl Net {
    /// The first ping comes after a random part of the interval, so that those who connected together are not
    /// pinged together.
    pub(crate) fn start_pings(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let interval = turn.settings.limits.ping_interval_ms.max(2);
        let first = turn.random.u32(interval / 2..interval);
        self.set_timer_for(turn, slot, u64::from(first), None);
    }

    /// A deadline of the session has changed: its timer is set anew when the event is over.
    pub(crate) fn retime(&mut self, slot: u32) {
        self.retimed.push(slot);
    }

    /// A session whose timer is to be set anew.
    pub(crate) fn take_retimed(&mut self) -> Option<u32> {
        self.retimed.pop()
    }

    /// Sets the timer of a session for the earliest of its deadlines: whoever looks for one of these must not make the
    /// others late. The first of its subscriptions ends in `ends_ms` milliseconds.
    pub(crate) fn set_timer(&mut self, turn: &Turn<'_>, slot: u32, ends_ms: Option<u64>) {
        self.set_timer_for(turn, slot, u64::MAX, ends_ms);
    }

    fn set_timer_for(&mut self, turn: &Turn<'_>, slot: u32, at_ms: u64, ends_ms: Option<u64>) {
        let Some(session) = self.session(slot) else { return };
        let (limits, wire) = (&turn.settings.limits, &session.wire);
        let left = |whole_ms: u32, since_ms: u32| {
            u64::from(whole_ms.saturating_sub(turn.now_ms().wrapping_sub(since_ms)))
        };
        let ping = if wire.ping == Ping::Sent { limits.pong_timeout_ms } else { limits.ping_interval_ms };
        let unread = wire.unsent.as_ref().filter(|_| !session.who.is_echo());
        let token_ms = session.who.token_ends_in_ms(turn.now.unix_ms);
        let left_ms = [
            Some(left(ping, wire.heard_ms)),
            unread.map(|unsent| left(limits.pong_timeout_ms, unsent.stalled_ms)),
            session.window.shut_since_ms().map(|since| left(limits.acknowledge_timeout_ms, since)),
            ends_ms,
        ];
        let left_ms = left_ms.into_iter().flatten().fold(at_ms.min(token_ms), u64::min);
        let at = turn.now.time + Duration::from_millis(left_ms);
        let unfinished = self.held.message_deadline(slot, wire.decoder.owned_bytes());
        self.wheel.set(slot, unfinished.map_or(at, |unfinished| unfinished.min(at)));
    }

    /// The timer of a session has come: it is ended for what is overdue, or pinged if it was silent. Whether it goes
    /// on.
    pub(crate) fn session_due(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let (now_ms, limits) = (turn.now_ms(), &turn.settings.limits);
        let Some(session) = self.session_mut(slot) else { return };
        let since = |ms: u32| now_ms.wrapping_sub(ms);
        if session.who.token_ends_in_ms(turn.now.unix_ms) == 0 {
            return self.end(turn, slot, &Ending::TokenExpired);
        }
        let echo = session.who.is_echo();
        let stalled = session.wire.unsent.as_ref().filter(|_| !echo).map(|unsent| since(unsent.stalled_ms));
        if stalled.is_some_and(|stalled| stalled >= limits.pong_timeout_ms) {
            return self.end(turn, slot, &Ending::NotReading);
        }
        let shut = session.window.shut_since_ms().map(since);
        if shut.is_some_and(|shut_ms| shut_ms >= limits.acknowledge_timeout_ms) {
            return self.end(turn, slot, &Ending::NotAcknowledging);
        }
        let bytes = session.wire.decoder.owned_bytes();
        if self.held.message_deadline(slot, bytes).is_some_and(|deadline| deadline <= turn.now.time) {
            return self.end(turn, slot, &Ending::MessageUnfinished);
        }
        let Some(session) = self.session_mut(slot) else { return };
        let wire = &mut session.wire;
        let silent = since(wire.heard_ms);
        let interval = limits.ping_interval_ms;
        if wire.ping == Ping::Sent {
            if silent >= limits.pong_timeout_ms {
                return self.end(turn, slot, &Ending::NoPong);
            }
        } else if silent >= interval || (wire.ping == Ping::Due && silent.saturating_mul(2) >= interval) {
            // The first ping comes early; any other only after a whole interval of silence.
            wire.ping = Ping::Sent;
            wire.heard_ms = now_ms;
            if wire.unsent.is_none() {
                turn.counters.pings_sent.add(1);
                self.post(turn, slot, PING);
            }
        } else if wire.ping == Ping::Due {
            wire.ping = Ping::Answered;
        }
        self.retime(slot);
    }
}
