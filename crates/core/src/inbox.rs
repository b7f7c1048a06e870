//! Between the control plane and one shard: bounded queues in both directions.
//!
//! A request reserves the place of its answer before it is queued, so that a shard can always answer and never
//! waits. Neither side takes a lock; what wakes them is theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::requests::{Answer, Request, Ticket};

/// Requests that may wait for one shard, unanswered ones included. Beyond it new ones are refused.
pub const REQUESTS_WAITING_MAX: usize = 1_024;
/// Places beyond those that only orders use: one [`Drain`](crate::requests::RequestBody::Drain) and one
/// [`Stop`](crate::requests::RequestBody::Stop). However many requests wait, a shard can be told to end.
const ORDERS_MAX: usize = 2;

/// The shard's side of the queues.
pub struct Inbox {
    requests: ArrayQueue<Request>,
    answers: ArrayQueue<(Ticket, Answer)>,
    /// The shard takes nothing any more.
    ended: AtomicBool,
}

impl Inbox {
    /// Empty queues.
    pub fn new() -> Arc<Inbox> {
        Arc::new(Inbox {
            requests: ArrayQueue::new(REQUESTS_WAITING_MAX + ORDERS_MAX),
            answers: ArrayQueue::new(REQUESTS_WAITING_MAX + ORDERS_MAX),
            ended: AtomicBool::new(false),
        })
    }

    /// Whether requests wait.
    pub fn has_mail(&self) -> bool {
        !self.requests.is_empty()
    }

    /// The oldest request that waits.
    pub fn take(&self) -> Option<Request> {
        self.requests.pop()
    }

    /// Asks, when the place of the answer is known to be free. Gives the request back when the queue is full.
    pub fn ask(&self, request: Request) -> Result<(), Request> {
        self.requests.push(request)
    }

    /// Answers. Its place was reserved by the asker.
    pub fn answer(&self, ticket: Ticket, answer: Answer) {
        let reserved = self.answers.push((ticket, answer));
        debug_assert!(reserved.is_ok(), "an answer nobody reserved a place for");
    }

    /// The oldest answer that waits.
    pub fn take_answer(&self) -> Option<(Ticket, Answer)> {
        self.answers.pop()
    }

    /// The shard has ended: whoever asks, or waits for an answer that has not been given, is told so. The thread that
    /// hands out answers has to be woken afterwards.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the shard has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
