//! Which answer is to which question.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use slab::Slab;

/// The asker's name for an operation that is answered with a `T`, given back in the answer.
pub struct Ticket<T> {
    number: u32,
    answer: PhantomData<fn() -> T>,
}

impl<T> Ticket<T> {
    /// The ticket of this number.
    #[must_use]
    pub const fn new(number: u32) -> Ticket<T> {
        Ticket { number, answer: PhantomData }
    }

    /// The ticket's number: two operations have the same one if they are answered with different types, or if the first
    /// was answered before the second was asked.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number
    }
}

impl<T> Copy for Ticket<T> {}

impl<T> Clone for Ticket<T> {
    fn clone(&self) -> Ticket<T> {
        *self
    }
}

impl<T> PartialEq for Ticket<T> {
    fn eq(&self, other: &Ticket<T>) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Ticket<T> {}

impl<T> Hash for Ticket<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ticket({})", self.number)
    }
}

/// What the operations are for that are answered with a `T` and have not been answered. Nothing but such an answer's
/// ticket takes anything out.
pub struct Tickets<T, W> {
    waiting: Slab<W>,
    answer: PhantomData<fn() -> T>,
}

impl<T, W> Tickets<T, W> {
    /// Nothing is awaited.
    #[must_use]
    pub const fn new() -> Tickets<T, W> {
        Tickets { waiting: Slab::new(), answer: PhantomData }
    }

    /// The ticket of an operation that is about to be asked, and what its answer is for.
    pub fn issue(&mut self, what_for: W) -> Ticket<T> {
        Ticket::new(self.waiting.insert(what_for) as u32)
    }

    /// What an answer is for. `None` if the ticket was not issued here, or was answered before.
    pub fn redeem(&mut self, ticket: Ticket<T>) -> Option<W> {
        self.waiting.try_remove(ticket.number as usize)
    }

    /// What the operations are for that are not answered.
    pub fn awaited(&self) -> impl Iterator<Item = &W> {
        self.waiting.iter().map(|(_, what_for)| what_for)
    }

    /// How many operations are not answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether all operations are answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<T, W> Default for Tickets<T, W> {
    fn default() -> Tickets<T, W> {
        Tickets::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_redeemed_once() {
        let mut tickets = Tickets::<bool, &str>::new();
        let (one, other) = (tickets.issue("one"), tickets.issue("other"));
        assert_ne!(one, other);
        assert_eq!((tickets.redeem(other), tickets.redeem(other)), (Some("other"), None));
        assert_eq!((tickets.len(), tickets.is_empty()), (1, false));
        assert!(tickets.awaited().eq(&["one"]));
        assert_eq!(tickets.redeem(one), Some("one"));
        assert_eq!(tickets.redeem(Ticket::new(77)), None);
        assert!(tickets.is_empty());
    }
}
