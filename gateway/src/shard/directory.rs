//! Which sessions a user has: user → device → connection.
//!
//! A user stands here while it has at least one session. Its sessions form a list through the connections
//! (`next_of_user`), so that a user with one device costs its id and eight bytes.

use std::hash::{BuildHasher, Hash};

use campanile_protocol::ids::UserId;
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::table::Table;

/// No slot, no user.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Default)]
struct User {
    id: Option<UserId>,
    /// The slot of the first session.
    first: u32,
}

/// The users of one shard, by a number that stays the same while the user is connected.
pub(super) struct Directory {
    numbers: HashTable<u32>,
    users: Table<User>,
    free: Vec<u32>,
    next: u32,
}

fn hash(id: &str) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    id.hash(&mut hasher);
    std::hash::Hasher::finish(&hasher)
}

impl Directory {
    pub(super) fn new() -> Directory {
        Directory { numbers: HashTable::new(), users: Table::new(), free: Vec::new(), next: 0 }
    }

    /// How many users are connected.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of a connected user.
    pub(super) fn find(&self, id: &UserId) -> Option<u32> {
        let users = &self.users;
        let is_id = |&number: &u32| users.get(number).is_some_and(|user| user.id.as_ref() == Some(id));
        self.numbers.find(hash(id.as_str()), is_id).copied()
    }

    /// The number of a user, who is added without a session if need be.
    pub(super) fn find_or_add(&mut self, id: UserId) -> u32 {
        if let Some(number) = self.find(&id) {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let hashed = hash(id.as_str());
        *self.users.entry(number) = User { id: Some(id), first: NONE };
        let users = &self.users;
        self.numbers.insert_unique(hashed, number, |&other| {
            let id = users.get(other).and_then(|user| user.id.as_ref());
            hash(id.map_or("", UserId::as_str))
        });
        number
    }

    /// Removes a user who has no session any more.
    pub(super) fn remove(&mut self, number: u32) {
        let Some(id) = self.users.get_mut(number).and_then(|user| user.id.take()) else { return };
        if let Ok(entry) = self.numbers.find_entry(hash(id.as_str()), |&other| other == number) {
            entry.remove();
            self.free.push(number);
        }
    }

    /// The slot of the user's first session, or [`NONE`].
    pub(super) fn first(&self, number: u32) -> u32 {
        self.users.get(number).map_or(NONE, |user| user.first)
    }

    pub(super) fn set_first(&mut self, number: u32, slot: u32) {
        if let Some(user) = self.users.get_mut(number) {
            user.first = slot;
        }
    }

    /// The user's id.
    pub(super) fn id(&self, number: u32) -> Option<&UserId> {
        self.users.get(number)?.id.as_ref()
    }
}
