//! Who waits for what: pushes that are answered together, and answers that leave after the turn's sends.

use std::sync::Arc;

use campanile_engine::Conn;

use super::Shard;
use super::requests::{Answer, Bell, PushError, Pushed, Ticket};

/// Who waits for an answer.
pub(super) enum Asker {
    /// The control plane.
    Control(Ticket, Option<Arc<Bell>>),
    /// A session that has sent a sync frame, by its name for it.
    Session { conn: Conn, reference: String },
}

/// Pushes that are answered together.
pub(super) struct Job {
    asker: Asker,
    pub(super) results: Vec<Option<Result<Pushed, PushError>>>,
    left: usize,
}

/// One push of a job.
#[derive(Copy, Clone, Debug)]
pub(super) struct Place {
    pub(super) job: usize,
    pub(super) index: usize,
}

/// An answer that leaves after this turn's sends.
pub(super) struct Reply {
    asker: Asker,
    answer: Answer,
}

impl Shard {
    pub(super) fn begin_job(&mut self, asker: Asker, pushes: usize) -> usize {
        self.jobs.insert(Job { asker, results: vec![None; pushes], left: pushes })
    }

    /// The push has its result.
    pub(super) fn finish_push(&mut self, place: Place, result: Result<Pushed, PushError>) {
        if let Some(job) = self.jobs.get_mut(place.job) {
            job.results[place.index] = Some(result);
        }
        self.count_off(place);
    }

    fn count_off(&mut self, place: Place) {
        let Some(job) = self.jobs.get_mut(place.job) else { return };
        job.left -= 1;
        if job.left > 0 {
            return;
        }
        let Job { asker, results, .. } = self.jobs.remove(place.job);
        // Every push has its result when all are counted off.
        let mut results = results.into_iter().flatten();
        match asker {
            Asker::Control(..) => self.reply(asker, Answer::Pushed(results.collect())),
            Asker::Session { conn, reference } => {
                if let Some(result) = results.next() {
                    self.answer_sync(conn, reference, result);
                }
            }
        }
    }

    /// Answers after this turn's sends.
    pub(super) fn reply(&mut self, asker: Asker, answer: Answer) {
        self.replies.push(Reply { asker, answer });
    }

    /// Sends the answers whose sends are over.
    pub(super) fn send_answers(&mut self) {
        for place in std::mem::take(&mut self.submitted) {
            self.count_off(place);
        }
        for Reply { asker, answer } in std::mem::take(&mut self.replies) {
            if let Asker::Control(ticket, bell) = asker {
                self.inbox.answer(ticket, answer);
                // Only now: whoever is woken finds the answer.
                drop(bell);
            }
        }
    }
}
