//! Between shards: what one shard tells another, in order, through bounded lock-free queues.
//!
//! Nothing waits: what a queue does not take stays with the sender, who tries again in its next turns. What stays there
//! is bounded by what sessions may ask for in a moment: a shard takes a whole queue in one turn. The messages of
//! channels never stay: the owner knows how far each shard was fed, and feeds on when there is room.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::channels::lane_message::LaneMessage;

/// What may wait for one shard.
pub const MESSAGES_WAITING_MAX: usize = 4_096;

/// The queues of all shards of a node.
pub struct Lanes {
    queues: Box<[ArrayQueue<LaneMessage>]>,
}

impl Lanes {
    /// Empty queues for `count` shards, each for `waiting_max` of what others tell it: [`MESSAGES_WAITING_MAX`], or
    /// less in a test.
    pub fn new(count: usize, waiting_max: usize) -> Arc<Lanes> {
        Arc::new(Lanes { queues: (0..count).map(|_| ArrayQueue::new(waiting_max)).collect() })
    }
}

/// One shard's end of the lanes to all others.
pub(crate) struct Outgoing {
    lanes: Arc<Lanes>,
    /// What a queue did not take, by shard.
    waiting: Vec<VecDeque<LaneMessage>>,
    /// Whom to wake when the turn's commands are executed.
    wake: Vec<bool>,
}

impl Outgoing {
    /// One shard's end, with nothing under way.
    pub(crate) fn new(lanes: Arc<Lanes>) -> Outgoing {
        let count = lanes.queues.len();
        Outgoing { lanes, waiting: (0..count).map(|_| VecDeque::new()).collect(), wake: vec![false; count] }
    }

    /// Sends, now or as soon as there is room; in order.
    pub(crate) fn send(&mut self, to: usize, message: LaneMessage) {
        self.wake[to] = true;
        if self.waiting[to].is_empty() {
            let Err(message) = self.lanes.queues[to].push(message) else { return };
            self.waiting[to].push_back(message);
        } else {
            self.waiting[to].push_back(message);
        }
    }

    /// Whether a queue has room now.
    pub(crate) fn has_room(&self, to: usize) -> bool {
        !self.lanes.queues[to].is_full()
    }

    /// Sends if there is room now, before what waits: for what needs no order with it.
    pub(crate) fn try_send(&mut self, to: usize, message: LaneMessage) -> Result<(), LaneMessage> {
        self.lanes.queues[to].push(message)?;
        self.wake[to] = true;
        Ok(())
    }

    /// How much waits for a shard because its queue is full.
    pub(crate) fn waiting(&self, to: usize) -> usize {
        self.waiting[to].len()
    }

    /// Whether anything waits.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn retry(&mut self) {
        for (to, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some(message) = waiting.pop_front() {
                match self.lanes.queues[to].push(message) {
                    Ok(()) => self.wake[to] = true,
                    Err(message) => {
                        waiting.push_front(message);
                        break;
                    }
                }
            }
        }
    }

    /// Whom to wake; each once.
    pub(crate) fn take_wakes(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.wake.iter_mut().enumerate().filter_map(|(to, wake)| std::mem::take(wake).then_some(to))
    }

    /// Whether something waits for a shard.
    pub(crate) fn has_messages(&self, shard: usize) -> bool {
        !self.lanes.queues[shard].is_empty()
    }

    /// The oldest that waits for a shard.
    pub(crate) fn take(&self, shard: usize) -> Option<LaneMessage> {
        self.lanes.queues[shard].pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(query: u32) -> LaneMessage {
        LaneMessage::Members { query, count: 0, members: Vec::new() }
    }

    /// What waits for a shard, in order.
    fn taken(lane: &Outgoing, shard: usize) -> Vec<u32> {
        let numbers = std::iter::from_fn(|| lane.take(shard)).map(|message| match message {
            LaneMessage::Members { query, .. } => query,
            _ => panic!("nothing else was sent"),
        });
        numbers.collect()
    }

    #[test]
    fn what_a_full_queue_does_not_take_follows_in_order() {
        let mut lane = Outgoing::new(Lanes::new(2, 2));
        (0..3).for_each(|number| lane.send(1, message(number)));
        assert!(lane.is_behind() && lane.waiting(1) == 1 && lane.waiting(0) == 0);
        assert_eq!(taken(&lane, 1), [0, 1]);
        // There is room now, but not before what waits.
        lane.send(1, message(3));
        assert!(!lane.has_messages(1));
        lane.retry();
        assert_eq!(taken(&lane, 1), [2, 3]);
        assert!(!lane.is_behind());
    }

    #[test]
    fn a_full_queue_holds_nobody_else_up() {
        let mut lane = Outgoing::new(Lanes::new(3, 1));
        (0..3).for_each(|number| lane.send(1, message(number)));
        lane.send(2, message(7));
        lane.retry();
        assert_eq!((taken(&lane, 2), lane.waiting(1)), (vec![7], 2));
    }

    #[test]
    fn what_needs_no_order_is_given_back_if_there_is_no_room() {
        let mut lane = Outgoing::new(Lanes::new(2, 1));
        assert!(lane.has_room(1) && lane.try_send(1, message(0)).is_ok());
        assert!(!lane.has_room(1) && lane.try_send(1, message(1)).is_err());
        assert_eq!((taken(&lane, 1), lane.is_behind()), (vec![0], false));
    }

    #[test]
    fn whoever_was_told_something_is_woken_once() {
        let mut lane = Outgoing::new(Lanes::new(3, 1));
        for number in 0..3 {
            lane.send(2, message(number));
        }
        assert_eq!(lane.take_wakes().collect::<Vec<_>>(), [2]);
        assert_eq!(lane.take_wakes().count(), 0);
        taken(&lane, 2);
        lane.retry();
        assert_eq!(lane.take_wakes().collect::<Vec<_>>(), [2], "what waited has come");
    }
}
