//! Between shards: what one shard tells another, in order, through bounded lock-free queues.
//!
//! Nothing waits: what a queue does not take stays with the sender, who tries again in its next turns. What stays there
//! is bounded by what sessions may ask for in a moment: a shard takes a whole queue in one turn. The messages of channels
//! never stay: the owner knows how far each shard was fed, and feeds on when there is room.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::channels::mail::Mail;

/// What may wait for one shard.
pub const MAIL_WAITING_MAX: usize = 4_096;

/// The queues of all shards of a node.
pub struct Lanes {
    queues: Box<[ArrayQueue<Mail>]>,
}

impl Lanes {
    /// Empty queues for `count` shards, each for `waiting_max` of what others tell it: [`MAIL_WAITING_MAX`], or less in
    /// a test.
    pub fn new(count: usize, waiting_max: usize) -> Arc<Lanes> {
        Arc::new(Lanes { queues: (0..count).map(|_| ArrayQueue::new(waiting_max)).collect() })
    }

    /// Whether something waits for a shard.
    pub(super) fn has_mail(&self, shard: usize) -> bool {
        !self.queues[shard].is_empty()
    }

    pub(super) fn take(&self, shard: usize) -> Option<Mail> {
        self.queues[shard].pop()
    }
}

/// One shard's end of the lanes to all others.
pub(super) struct Outgoing {
    lanes: Arc<Lanes>,
    /// What a queue did not take, by shard.
    waiting: Vec<VecDeque<Mail>>,
    /// Whom to wake when the turn's commands are executed.
    wake: Vec<bool>,
}

impl Outgoing {
    pub(super) fn new(lanes: Arc<Lanes>) -> Outgoing {
        let count = lanes.queues.len();
        Outgoing { lanes, waiting: (0..count).map(|_| VecDeque::new()).collect(), wake: vec![false; count] }
    }

    /// Sends, now or as soon as there is room; in order.
    pub(super) fn send(&mut self, to: usize, mail: Mail) {
        self.wake[to] = true;
        if self.waiting[to].is_empty() {
            let Err(mail) = self.lanes.queues[to].push(mail) else { return };
            self.waiting[to].push_back(mail);
        } else {
            self.waiting[to].push_back(mail);
        }
    }

    /// Whether a queue has room now.
    pub(super) fn has_room(&self, to: usize) -> bool {
        !self.lanes.queues[to].is_full()
    }

    /// Sends if there is room now, before what waits: for what needs no order with it.
    pub(super) fn try_send(&mut self, to: usize, mail: Mail) -> Result<(), Mail> {
        self.lanes.queues[to].push(mail)?;
        self.wake[to] = true;
        Ok(())
    }

    /// How much waits for a shard because its queue is full.
    pub(super) fn waiting(&self, to: usize) -> usize {
        self.waiting[to].len()
    }

    /// Whether anything waits.
    pub(super) fn is_behind(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn retry(&mut self) {
        for (to, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some(mail) = waiting.pop_front() {
                match self.lanes.queues[to].push(mail) {
                    Ok(()) => self.wake[to] = true,
                    Err(mail) => {
                        waiting.push_front(mail);
                        break;
                    }
                }
            }
        }
    }

    /// Whom to wake; each once.
    pub(super) fn take_wakes(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.wake.iter_mut().enumerate().filter_map(|(to, wake)| std::mem::take(wake).then_some(to))
    }

    pub(super) fn has_mail(&self, shard: usize) -> bool {
        self.lanes.has_mail(shard)
    }

    pub(super) fn take(&self, shard: usize) -> Option<Mail> {
        self.lanes.take(shard)
    }
}
