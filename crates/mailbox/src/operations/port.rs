//! The queues between one shard and the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use crossbeam_queue::SegQueue;

use super::{Completion, Operation};

/// Whether the store takes messages at the moment. A hint: what is asked meanwhile is answered all the same.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Takes {
    /// It does.
    Messages,
    /// The storage is full: messages are refused.
    NoMessages,
    /// It does not work: everything is refused.
    Nothing,
}

/// Between one shard and the store: what is asked, and what is answered.
pub struct Port {
    operations: SegQueue<Vec<Operation>>,
    completions: SegQueue<Vec<Completion>>,
    /// Whether the store takes messages at the moment, as a [`Takes`].
    takes: AtomicU8,
    shard: Waker,
    store: Waker,
}

impl Port {
    /// Empty queues between the two sides, each of which is woken when there is something for it.
    pub fn new(shard: Waker, store: Waker) -> Arc<Port> {
        let takes = AtomicU8::new(Takes::Messages as u8);
        Arc::new(Port { operations: SegQueue::new(), completions: SegQueue::new(), takes, shard, store })
    }

    /// Asks, in order. Only the shard calls it.
    pub fn ask(&self, operations: Vec<Operation>) {
        self.operations.push(operations);
        self.store.wake_by_ref();
    }

    /// The oldest completions that wait. Only the shard calls it.
    pub fn take_completions(&self) -> Option<Vec<Completion>> {
        self.completions.pop()
    }

    /// Whether completions wait.
    pub fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    /// The oldest operations that wait. Only the store calls it.
    pub fn take_operations(&self) -> Option<Vec<Operation>> {
        self.operations.pop()
    }

    /// Whether the store takes messages.
    pub fn takes(&self) -> Takes {
        match self.takes.load(Ordering::Relaxed) {
            takes if takes == Takes::Messages as u8 => Takes::Messages,
            takes if takes == Takes::NoMessages as u8 => Takes::NoMessages,
            _ => Takes::Nothing,
        }
    }

    /// Says whether messages are taken. Only the store calls it.
    pub fn set_takes(&self, takes: Takes) {
        self.takes.store(takes as u8, Ordering::Relaxed);
    }

    /// Whether operations wait.
    pub fn has_operations(&self) -> bool {
        !self.operations.is_empty()
    }

    /// Answers. Only the store calls it.
    pub fn complete(&self, completions: Vec<Completion>) {
        self.completions.push(completions);
        self.shard.wake_by_ref();
    }
}
