//! Who waits for what: pushes that are answered together, and answers that leave after the turn's sends.

use std::collections::VecDeque;
use std::sync::Arc;

use campanile_engine::Conn;
use slab::Slab;

use crate::inbox::Inbox;
use crate::requests::{Answer, Bell, Outcome, PushError, Pushed, Ticket};

/// Who waits for an answer.
pub(crate) enum Asker {
    /// The control plane.
    Control(Ticket, Option<Arc<Bell>>),
    /// A session that has sent a sync frame, by its name for it.
    Session { conn: Conn, reference: String },
}

/// Pushes that are answered together.
struct Job {
    asker: Asker,
    results: Vec<Option<Result<Pushed, PushError>>>,
    left: usize,
}

/// One push of a job.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Place {
    pub(crate) job: usize,
    pub(crate) index: usize,
}

/// What became of a session's sync frame.
pub(crate) struct Receipt {
    pub(crate) conn: Conn,
    pub(crate) reference: String,
    pub(crate) result: Result<Pushed, PushError>,
}

/// Everybody who waits.
#[derive(Default)]
pub(crate) struct Jobs {
    jobs: Slab<Job>,
    /// Answers that wait for this turn's sends.
    replies: Vec<(Asker, Answer)>,
    /// What sessions are to be told when the event is over.
    receipts: VecDeque<Receipt>,
}

impl Jobs {
    /// Whether nobody waits for a push.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// So many pushes are answered together.
    pub(crate) fn begin(&mut self, asker: Asker, pushes: usize) -> usize {
        self.jobs.insert(Job { asker, results: vec![None; pushes], left: pushes })
    }

    /// The push has its result.
    pub(crate) fn finish(&mut self, place: Place, result: Result<Pushed, PushError>) {
        self.set(place, result);
        self.count_off(place);
    }

    /// The push has a result that may still change, until it is counted off.
    pub(crate) fn set(&mut self, place: Place, result: Result<Pushed, PushError>) {
        if let Some(job) = self.jobs.get_mut(place.job) {
            job.results[place.index] = Some(result);
        }
    }

    /// What became of the push for one of its devices is something else. Whether that is news.
    pub(crate) fn amend(&mut self, place: Place, device: usize, outcome: Outcome) -> bool {
        let job = self.jobs.get_mut(place.job);
        let Some(Some(Ok(pushed))) = job.map(|job| &mut job.results[place.index]) else { return false };
        std::mem::replace(&mut pushed.devices[device].1, outcome) != outcome
    }

    /// The push has its last result: with the last of a job its asker is answered.
    pub(crate) fn count_off(&mut self, place: Place) {
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
                    self.receipts.push_back(Receipt { conn, reference, result });
                }
            }
        }
    }

    /// Answers after this turn's sends.
    pub(crate) fn reply(&mut self, asker: Asker, answer: Answer) {
        self.replies.push((asker, answer));
    }

    /// What a session is to be told now.
    pub(crate) fn take_receipt(&mut self) -> Option<Receipt> {
        self.receipts.pop_front()
    }

    /// Sends the answers whose sends are over.
    pub(crate) fn send_replies(&mut self, inbox: &Inbox) {
        for (asker, answer) in self.replies.drain(..) {
            if let Asker::Control(ticket, bell) = asker {
                inbox.answer(ticket, answer);
                // Only now: whoever is woken finds the answer.
                drop(bell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_protocol::ids::{DeviceId, MessageId};

    use super::*;

    fn pushed(device: u32) -> Result<Pushed, PushError> {
        let devices = vec![(DeviceId::try_from(device).unwrap(), Outcome::Sent)];
        Ok(Pushed { id: MessageId { epoch: 1, seq: 1 }, devices, duplicate: false })
    }

    fn answers(jobs: &mut Jobs) -> Vec<(Ticket, Answer)> {
        let inbox = Inbox::new();
        jobs.send_replies(&inbox);
        std::iter::from_fn(|| inbox.take_answer()).collect()
    }

    #[test]
    fn a_job_is_answered_with_its_last_push_in_the_order_of_its_pushes() {
        let mut jobs = Jobs::default();
        let job = jobs.begin(Asker::Control(Ticket(7), None), 2);
        jobs.finish(Place { job, index: 1 }, Err(PushError::NoDevices));
        assert!(answers(&mut jobs).is_empty() && !jobs.is_empty());
        jobs.finish(Place { job, index: 0 }, pushed(1));
        let answers = answers(&mut jobs);
        let [(Ticket(7), Answer::Pushed(results))] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(results[..], [pushed(1), Err(PushError::NoDevices)]);
        assert!(jobs.is_empty());
    }

    #[test]
    fn a_result_may_change_until_it_is_counted_off() {
        let mut jobs = Jobs::default();
        let place = Place { job: jobs.begin(Asker::Control(Ticket(0), None), 1), index: 0 };
        jobs.set(place, pushed(1));
        assert!(jobs.amend(place, 0, Outcome::Broken));
        jobs.count_off(place);
        assert!(!jobs.amend(place, 0, Outcome::Sent), "it is answered");
        let answers = answers(&mut jobs);
        let [(_, Answer::Pushed(results))] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(results[0].as_ref().unwrap().devices[0].1, Outcome::Broken);
    }

    #[test]
    fn a_session_hears_of_its_sync_by_its_own_name_for_it() {
        let mut jobs = Jobs::default();
        let conn = Conn { slot: 3, generation: 4 };
        let job = jobs.begin(Asker::Session { conn, reference: "mine".to_owned() }, 1);
        jobs.finish(Place { job, index: 0 }, pushed(2));
        let receipt = jobs.take_receipt().expect("no receipt");
        assert_eq!((receipt.conn, receipt.reference.as_str()), (conn, "mine"));
        assert!(jobs.take_receipt().is_none() && answers(&mut jobs).is_empty());
    }
}
