//! Reading: sockets that are ready, a few reads each a turn.

use rustix::net::RecvFlags;

use super::Epoll;
use crate::close::LINGER_BYTES_MAX;
use crate::driver::{Conn, Event};
use crate::time::Now;

/// Reads from one socket in one turn.
const READS_PER_TURN_MAX: usize = 4;

impl<P: Send + 'static> Epoll<P> {
    pub(super) fn queue_read(&mut self, conn: Conn) {
        if let Some(slot) = self.slots.get(conn).filter(|slot| !slot.state.queued) {
            slot.state.queued = true;
            self.readable.push(conn);
        }
    }

    pub(super) fn read(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) {
        let mut round = std::mem::take(&mut self.readable);
        for conn in round.drain(..) {
            if let Some(slot) = self.slots.get(conn) {
                slot.state.queued = false;
            }
            for _ in 0..READS_PER_TURN_MAX {
                if !self.read_once(conn, report) {
                    break;
                }
            }
            // Edges come once: what is left is read in the next turn.
            if self.slots.get(conn).is_some_and(|slot| slot.state.readable && slot.state.listens()) {
                self.queue_read(conn);
            }
        }
        round.append(&mut self.readable);
        self.readable = round;
    }

    /// Whether there may be more for this core now.
    pub(super) fn read_once(&mut self, conn: Conn, report: &mut dyn FnMut(Now, Event<'_, P>)) -> bool {
        let Some(slot) = self.slots.get(conn).filter(|slot| slot.state.listens() && slot.state.readable)
        else {
            return false;
        };
        let result = rustix::net::recv(&slot.socket, &mut self.scratch[..], RecvFlags::DONTWAIT);
        let (length, error) = match result {
            Ok((length, _)) => (length, None),
            Err(rustix::io::Errno::AGAIN) => {
                slot.state.readable = false;
                return false;
            }
            Err(rustix::io::Errno::INTR) => return true,
            Err(error) => (0, Some(error.kind())),
        };
        if slot.state.lingering {
            slot.state.discarded += length as u32;
            if length == 0 || slot.state.discarded > LINGER_BYTES_MAX {
                self.release(conn);
                return false;
            }
            return true;
        }
        slot.state.once = false;
        if length == 0 {
            slot.state.watched = false;
            report(Now::read(), Event::HungUp { conn, error });
            return false;
        }
        report(Now::read(), Event::Received { conn, data: &mut self.scratch[..length] });
        true
    }
}
