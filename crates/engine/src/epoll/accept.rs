//! Accepting: as many as there is room for, a turn at a time.

use std::net::SocketAddr;

use rustix::event::epoll;
use rustix::net::SocketFlags;

use super::slots::State;
use super::{Epoll, LISTENER};
use crate::driver::Event;
use crate::listener::{ACCEPT_RETRY, AcceptFailure};
use crate::time::Now;

/// Connections accepted in one turn.
const ACCEPTS_PER_TURN_MAX: usize = 256;

impl<P: Send + 'static> Epoll<P> {
    /// Watches the listener or not, as the core wants it and as the table allows. Once a turn, before it
    /// sleeps: clients wait in the backlog until a slot is free.
    pub(super) fn update_accepting(&mut self) {
        if self.accept_not_before.is_some_and(|time| time <= Now::read().time) {
            self.accept_not_before = None;
        }
        let on = self.may_accept();
        let Some(listener) = &self.listener else { return };
        if on == self.accepting {
            return;
        }
        let result = if on {
            epoll::add(&self.epoll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)
        } else {
            epoll::delete(&self.epoll, listener)
        };
        if let Err(error) = result {
            if self.complaints.is_due() {
                tracing::error!(%error, on, "the listener cannot be watched");
            }
            self.accept_not_before = Some(Now::read().time + ACCEPT_RETRY);
            return;
        }
        self.accepting = on;
    }

    pub(super) fn may_accept(&self) -> bool {
        self.accept_wanted
            && self.listener.is_some()
            && self.accept_not_before.is_none()
            && self.peers.has_room(self.index)
    }

    pub(super) fn accept(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(listener) = &self.listener else { return };
            if !self.peers.take_room(self.index) {
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(listener, flags) {
                Ok((socket, address)) => {
                    let peer = address
                        .and_then(|address| SocketAddr::try_from(address).ok())
                        .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
                    match self.register(socket, State::default()) {
                        Ok(conn) => report(Now::read(), Event::Accepted { conn, peer }),
                        Err((error, _)) => {
                            self.peers.give_room(self.index, 1);
                            if self.complaints.is_due() {
                                tracing::error!(%error, "accepting pauses, an accepted connection is dropped");
                            }
                            // Nor would the next one be watched: it may wait in the backlog.
                            self.accept_not_before = Some(Now::read().time + ACCEPT_RETRY);
                            return;
                        }
                    }
                }
                Err(error) => {
                    self.peers.give_room(self.index, 1);
                    if self.accept_failed(error) {
                        return;
                    }
                }
            }
        }
    }

    /// Whether to stop for this turn.
    pub(super) fn accept_failed(&mut self, error: rustix::io::Errno) -> bool {
        if error == rustix::io::Errno::AGAIN {
            return true;
        }
        let failure = AcceptFailure::of(&error.into());
        match failure {
            AcceptFailure::Transient => {}
            AcceptFailure::Later => {
                tracing::debug!(%error, "accepting pauses");
                self.accept_not_before = Some(Now::read().time + ACCEPT_RETRY);
            }
            AcceptFailure::Never => {
                tracing::error!(%error, "the listener is gone, accepting ends");
                self.accept_wanted = false;
            }
        }
        failure != AcceptFailure::Transient
    }
}
