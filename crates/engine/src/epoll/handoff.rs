//! Connections handed to other drivers, and from them.

use rustix::event::epoll;

use super::Epoll;
use super::slots::State;
use crate::driver::{Conn, Event};
use crate::listener::ACCEPT_RETRY;
use crate::peers::InTransit;
use crate::time::Now;

impl<P: Send + 'static> Epoll<P> {
    pub(super) fn hand_off(&mut self, conn: Conn, to: usize, parcel: Box<P>) {
        if let Err(parcel) = self.send_off(conn, to, parcel) {
            return self.caused.push(Event::HandOffFailed { conn, parcel });
        }
        if let Some(slot) = self.slots.get(conn) {
            let _ = epoll::delete(&self.epoll, &slot.socket);
        }
        self.release(conn);
        self.peers.waker(to).wake();
    }

    /// Queues a duplicate of the socket for `to`, so that a refusal leaves everything as it was.
    pub(super) fn send_off(&mut self, conn: Conn, to: usize, parcel: Box<P>) -> Result<(), Box<P>> {
        let idle = self.slots.open(conn).filter(|slot| !slot.state.listens());
        let Some(Ok(socket)) = idle.map(|slot| slot.socket.try_clone()) else { return Err(parcel) };
        if !self.peers.take_room(to) {
            return Err(parcel);
        }
        self.peers.arriving(to).push(InTransit { socket, parcel }).map_err(|refused| {
            self.peers.give_room(to, 1);
            // It may have stopped accepting for want of that slot.
            self.peers.waker(to).wake();
            refused.parcel
        })
    }

    pub(super) fn take_arrivals(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        while let Some(InTransit { socket, parcel }) = self.next_arrival() {
            match self.register(socket, State { readable: true, ..State::default() }) {
                Ok(conn) => report(Now::read(), Event::HandedIn { conn, parcel }),
                Err((error, socket)) => {
                    if self.complaints.is_due() {
                        tracing::error!(%error, "a connection that was handed over has to wait");
                    }
                    // Its source has let go of it, and the parcel is owed to the core. Those behind it wait, too.
                    let again = Now::read().time + ACCEPT_RETRY;
                    self.stranded = Some((again, InTransit { socket, parcel }));
                }
            }
        }
    }

    pub(super) fn next_arrival(&mut self) -> Option<InTransit<P>> {
        match self.stranded.take() {
            Some((time, arrival)) if time <= Now::read().time => Some(arrival),
            Some(waiting) => {
                self.stranded = Some(waiting);
                None
            }
            None => self.peers.arriving(self.index).pop(),
        }
    }

    /// Whether a connection that was handed over can be taken in now.
    pub(super) fn has_arrivals(&self) -> bool {
        self.stranded.is_none() && !self.peers.arriving(self.index).is_empty()
    }
}
