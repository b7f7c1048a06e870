//! Reading: the sockets that are ready, many in one submission, into scratch memory of the driver.

use std::io;

use io_uring::opcode;
use io_uring::types::Fixed;

use super::ring::{BATCH, Completion};
use super::slots::Poll;
use super::token::{self, Request};
use super::{Conn, ENTRIES_PER_STEP_MAX, Event, Now, SCRATCH_BYTES, Uring};

/// How often one socket is read in a turn before the others get theirs.
const READS_PER_TURN_MAX: usize = 4;

impl<P: Send + 'static> Uring<P> {
    /// Reads the sockets that have input. Those that have more than their share stay for the next turn.
    pub(super) fn read(&mut self, report: &mut dyn FnMut(Now, Event<'_, P>)) -> io::Result<()> {
        let mut round = std::mem::take(&mut self.readable);
        let mut more = std::mem::take(&mut self.more);
        for _ in 0..READS_PER_TURN_MAX {
            if round.is_empty() {
                break;
            }
            for batch in round.chunks(BATCH) {
                self.read_batch(batch, &mut more, report)?;
            }
            std::mem::swap(&mut round, &mut more);
            more.clear();
        }
        // Reports may have queued others.
        round.append(&mut self.readable);
        self.readable = round;
        self.more = more;
        Ok(())
    }

    fn read_batch(
        &mut self,
        batch: &[Conn],
        more: &mut Vec<Conn>,
        report: &mut dyn FnMut(Now, Event<'_, P>),
    ) -> io::Result<()> {
        self.flush(&mut |_| {})?;
        for (index, &conn) in batch.iter().enumerate() {
            if !self.slots.unqueue_read(conn) {
                continue;
            }
            let buffer = self.scratch[index].as_mut_ptr();
            let entry = opcode::Recv::new(Fixed(conn.slot), buffer, SCRATCH_BYTES as u32)
                .flags(libc::MSG_DONTWAIT)
                .build()
                .user_data(token::of_index(Request::Recv, index));
            // SAFETY: `scratch` outlives the ring; a receive that does not wait is complete after the flush,
            // and nothing looks at its buffer before.
            unsafe { self.ring.push(&entry) };
        }
        self.exchange(Request::Recv)?;
        let now = Now::read();
        for at in 0..self.answers.len() {
            let done = self.answers[at];
            let index = token::index(done.token);
            self.make_room(ENTRIES_PER_STEP_MAX, &mut |_| {})?;
            self.received(now, batch[index], index, done, more, report);
        }
        Ok(())
    }

    fn received(
        &mut self,
        now: Now,
        conn: Conn,
        index: usize,
        done: Completion,
        more: &mut Vec<Conn>,
        report: &mut dyn FnMut(Now, Event<'_, P>),
    ) {
        if done.result == -libc::EAGAIN {
            if self.slots.dry(conn) {
                self.arm_poll(conn, Poll::In, false);
            }
            return;
        }
        let length = usize::try_from(done.result).unwrap_or(0);
        if let Some(step) = self.slots.discard(conn, length as u32) {
            self.take_step(conn, step);
        } else if length > 0 {
            report(now, Event::Received { conn, data: &mut self.scratch[index][..length] });
        } else {
            self.slots.hang_up(conn);
            let error = (done.result < 0).then(|| io::Error::from_raw_os_error(-done.result).kind());
            return report(now, Event::HungUp { conn, error });
        }
        if done.nonempty() && self.slots.wants_more(conn) && self.slots.queue_read(conn) {
            more.push(conn);
        }
    }
}
