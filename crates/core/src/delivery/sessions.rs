//! The sessions at work: what their homes say to them.

use campanile_engine::Conn;
use campanile_mailbox::Waiting;

use super::frames::Frames;
use super::state::Delivery;
use super::window::{Window, WindowLimits};
use crate::net::Net;
use crate::net::ending::Ending;
use crate::requests::{ConnectedDevice, Outcome};
use crate::seam::{Delivered, EndedBy, OpenRefused, Opened, Progress, SessionRef, Sessions};
use crate::session::State;
use crate::turn::Turn;
use crate::users::who::Who;

/// The sessions of one shard, and what their deliveries may touch.
pub(crate) struct SessionHandler<'a> {
    pub(crate) delivery: &'a mut Delivery,
    pub(crate) net: &'a mut Net,
}

impl Sessions for SessionHandler<'_> {
    fn is_opening(&self, conn: Conn) -> bool {
        matches!(self.net.state_of(conn), Some(State::Opening(_)))
    }

    fn opened(&mut self, _: &mut Turn<'_>, conn: Conn, opened: Result<Opened, OpenRefused>) {
        self.delivery.opened.push_back((conn, opened));
    }

    fn deliver(
        &mut self,
        turn: &mut Turn<'_>,
        to: SessionRef,
        number: u64,
        bytes: usize,
        frames: Option<&mut Frames>,
    ) -> Delivered {
        let Some(session) = self.net.session_mut(to.slot) else { return Delivered::Behind };
        if session.who.generation() != to.generation {
            return Delivered::Behind;
        }
        let agreed = session.wire.agreed();
        let room = session.window.has_room(bytes, WindowLimits::of(turn.settings)) && session.wire.keeps_up();
        let frame = frames.filter(|_| room).and_then(|frames| frames.get(agreed.encoding));
        let Some(frame) = frame else {
            session.window.0.get_or_insert_with(|| Box::new(Window::live(number - 1))).fall_behind();
            self.delivery.behind.push(to.slot);
            return Delivered::Behind;
        };
        let delivered = if agreed.acknowledges {
            session.window.0.get_or_insert_with(|| Box::new(Window::live(number - 1))).sent(number, bytes);
            Delivered::Sent
        } else {
            session.window.confirmed_by_sending(number);
            Delivered::Confirmed
        };
        turn.counters.messages_sent.add(1);
        turn.sends += 1;
        self.net.post(turn, to.slot, frame);
        delivered
    }

    fn page(&mut self, turn: &mut Turn<'_>, conn: Conn, who: &Who, page: Option<Vec<Waiting>>, live: bool) {
        let Some(session) = self.net.session_mut(conn.slot) else { return };
        if session.who.generation() != who.generation() {
            return;
        }
        let Some(messages) = page else { return self.net.end(turn, conn.slot, &Ending::Unreadable) };
        let Some(window) = &mut session.window.0 else { return };
        let before = window.page_bytes();
        window.read(messages, live);
        let after = window.page_bytes();
        self.delivery.read_ahead_bytes = self.delivery.read_ahead_bytes - before + after;
        self.delivery.behind.push(conn.slot);
    }

    fn progress(&self, of: SessionRef, number: u64) -> Option<Progress> {
        let session =
            self.net.session(of.slot).filter(|session| session.who.generation() == of.generation)?;
        let acknowledges = session.wire.agreed().acknowledges;
        Some(match &session.window.0 {
            None if acknowledges => Progress::Confirmed,
            None => Progress::Sent,
            Some(window) if acknowledges && window.has_confirmed(number) => Progress::Confirmed,
            Some(window) if window.has_sent(number) => Progress::Sent,
            Some(_) => Progress::Waiting,
        })
    }

    fn is_busy(&self, of: SessionRef) -> bool {
        let session = self.net.session(of.slot);
        session.is_some_and(|session| session.wire.keeps_up() && self.net.has_enough(session))
    }

    fn event(&mut self, turn: &mut Turn<'_>, to: SessionRef, frames: &mut Frames) -> Outcome {
        let session = self.net.session(to.slot);
        let Some(session) = session.filter(|session| session.who.generation() == to.generation) else {
            turn.counters.messages_not_keeping_up.add(1);
            return Outcome::NotKeepingUp;
        };
        let Some(bytes) = frames.get(session.wire.encoding()) else {
            turn.counters.messages_not_encodable.add(1);
            return Outcome::NotEncodable;
        };
        if !session.wire.keeps_up() {
            turn.counters.messages_not_keeping_up.add(1);
            return Outcome::NotKeepingUp;
        }
        turn.counters.messages_sent.add(1);
        turn.sends += 1;
        self.net.post(turn, to.slot, bytes);
        Outcome::Sent
    }

    fn end(&mut self, turn: &mut Turn<'_>, of: SessionRef, why: EndedBy) {
        let session = self.net.session(of.slot);
        if session.is_some_and(|session| session.who.generation() == of.generation) {
            let ending = match why {
                EndedBy::Newer => Ending::Replaced,
                EndedBy::Operator => Ending::Disconnected,
            };
            self.net.end(turn, of.slot, &ending);
        }
    }
}

impl SessionHandler<'_> {
    /// A session as the control plane is told of it.
    pub(crate) fn connected(&self, of: SessionRef) -> Option<ConnectedDevice> {
        let session = self.net.session(of.slot)?;
        Some(ConnectedDevice {
            generation: session.who.generation(),
            subprotocol: session.wire.encoding().subprotocol(),
            connected_at_ms: session.who.connected_at_ms(),
        })
    }
}
