//! What waits in a device's mailbox, sent as its window allows, and the acknowledgements that open the window.

use campanile_protocol::messages::{CaughtUp, ServerFrame, encode_deliver_frame};

use super::sessions::SessionHandler;
use super::window::{Window, WindowLimits};
use crate::net::ending::Ending;
use crate::net::outbox::TURN_BYTES_MAX;
use crate::net::wire::Agreed;
use crate::refused::FrameRefused;
use crate::seam::Home;
use crate::turn::Turn;

/// Bytes that are read ahead for all sessions of a shard together. Beyond it each is read only what its window has room
/// for.
const READ_AHEAD_BYTES_MAX: usize = 32 * 1024 * 1024;

impl SessionHandler<'_> {
    /// Sends what was read, as far as the window and the socket allow, and asks for more.
    pub(crate) fn catch_up(&mut self, turn: &mut Turn<'_>, home: &mut impl Home, slot: u32) {
        let limits = WindowLimits::of(turn.settings);
        let Some(conn) = self.net.conn(slot) else { return };
        let Some(session) = self.net.session_mut(slot) else { return };
        let (who, agreed, keeps_up) = (session.who, session.wire.agreed(), session.wire.keeps_up());
        let Some(window) = &mut session.window.0 else { return };
        let paged = window.page_bytes();
        let mut frames = Vec::new();
        if keeps_up {
            match fill(window, limits, agreed, &mut frames) {
                Ok(sent) => turn.counters.messages_replayed.add(sent),
                Err(NotEncodable) => {
                    self.delivery.read_ahead_bytes =
                        self.delivery.read_ahead_bytes - paged + window.page_bytes();
                    return self.net.end(turn, slot, &Ending::NotEncodable);
                }
            }
            if !agreed.acknowledges && !frames.is_empty() {
                home.acknowledge(turn, &who, window.last_sent(), true);
            }
            let ahead = self.delivery.read_ahead_bytes < READ_AHEAD_BYTES_MAX;
            // Every acknowledgement asks; mostly there is nothing to read, and then nothing is allocated.
            if window.wants_to_read(limits, ahead) {
                if !home.may_read() {
                    if !std::mem::replace(&mut window.waits_to_read, true) {
                        self.delivery.readers.push_back(conn);
                    }
                } else if let Some(read_on) = window.read_on(limits, ahead) {
                    home.read(turn, conn, &who, read_on);
                }
            }
        } else {
            // It does not read: what was read for it waits in the store instead.
            window.drop_page();
        }
        if window.ends_replay() {
            let caught_up = ServerFrame::CaughtUp(CaughtUp { seq: window.last_sent() });
            let encoded = caught_up.encode_frame(agreed.encoding, &mut frames);
            debug_assert!(encoded.is_ok(), "no payload that could fail");
        }
        self.delivery.read_ahead_bytes = self.delivery.read_ahead_bytes - paged + window.page_bytes();
        let next = window.next_bytes();
        // A turn takes only so much.
        if next.is_some_and(|bytes| window.has_room(bytes, limits))
            && !std::mem::replace(&mut window.continues, true)
        {
            self.delivery.continuing.push_back(conn);
        }
        let is_shut = next.is_some_and(|bytes| !window.has_room(bytes, limits)) || window.is_shut(limits);
        let shuts = is_shut && window.shut_since_ms.is_none();
        if shuts {
            window.shut_since_ms = Some(turn.now_ms());
        }
        if window.is_settled() {
            session.window.0 = None;
        }
        let timeouts = &turn.settings.limits;
        // Otherwise the timer looks in time anyway.
        if shuts && timeouts.acknowledge_timeout_ms < timeouts.ping_interval_ms.max(timeouts.pong_timeout_ms)
        {
            self.net.retime(slot);
        }
        if !frames.is_empty() {
            turn.sends += 1;
            self.net.post(turn, slot, frames.into());
        }
    }

    /// Sends more to the next session that was left in the middle of its mail. `None` if there is no further one.
    pub(crate) fn go_on(&mut self, turn: &mut Turn<'_>, home: &mut impl Home) -> Option<()> {
        let conn = self.delivery.continuing.pop_front()?;
        if self.net.has_session(conn) {
            let session = self.net.session_mut(conn.slot);
            if let Some(window) = session.and_then(|session| session.window.0.as_mut()) {
                window.continues = false;
            }
            self.catch_up(turn, home, conn.slot);
        }
        Some(())
    }

    /// Reads for the sessions that wait for it, as far as their homes may.
    pub(crate) fn read_for_those_who_wait(&mut self, turn: &mut Turn<'_>, home: &mut impl Home) {
        while home.may_read()
            && let Some(conn) = self.delivery.readers.pop_front()
        {
            if !self.net.has_session(conn) {
                continue;
            }
            let window = self.net.session_mut(conn.slot).and_then(|session| session.window.0.as_mut());
            if window.is_some_and(|window| std::mem::take(&mut window.waits_to_read)) {
                self.catch_up(turn, home, conn.slot);
            }
        }
    }

    /// The device confirms everything up to a number.
    ///
    /// # Errors
    /// [`FrameRefused::NotHandedOut`].
    pub(crate) fn acknowledge(
        &mut self,
        turn: &mut Turn<'_>,
        home: &mut impl Home,
        slot: u32,
        number: u64,
    ) -> Result<(), FrameRefused> {
        if !home.was_handed_out(number) {
            turn.counters.acknowledgements_refused.add(1);
            return Err(FrameRefused::NotHandedOut("acknowledges a number that was never handed out"));
        }
        turn.counters.acknowledgements.add(1);
        let Some(session) = self.net.session_mut(slot) else { return Ok(()) };
        let who = session.who;
        // Without it everything is confirmed already.
        let Some(window) = &mut session.window.0 else { return Ok(()) };
        let before = window.page_bytes();
        let news = window.confirm(number);
        let after = window.page_bytes();
        self.delivery.read_ahead_bytes = self.delivery.read_ahead_bytes - before + after;
        if news {
            self.net.refund_frame(turn, slot);
            home.acknowledge(turn, &who, number, false);
            self.catch_up(turn, home, slot);
        }
        Ok(())
    }
}

/// A message cannot be put into the encoding of the session.
struct NotEncodable;

/// Takes messages that were read as far as the window has room, and writes them as frames. How many.
fn fill(
    window: &mut Window,
    limits: WindowLimits,
    agreed: Agreed,
    frames: &mut Vec<u8>,
) -> Result<u64, NotEncodable> {
    let mut count = 0;
    while frames.len() < TURN_BYTES_MAX
        && window.next_bytes().is_some_and(|bytes| window.has_room(bytes, limits))
        && let Some(waiting) = window.take_next()
    {
        encode_deliver_frame(&waiting.body, agreed.encoding, frames).map_err(|_| NotEncodable)?;
        if agreed.acknowledges {
            window.sent(waiting.seq, waiting.body.len());
        } else {
            window.sent_unconfirmed(waiting.seq);
        }
        count += 1;
    }
    Ok(count)
}
