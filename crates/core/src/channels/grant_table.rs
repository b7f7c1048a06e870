//! What sessions may do with channels: sessions with the same grants share them, so that a session keeps a number.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use crate::hashing::HashKey;
use crate::tokens::Grants;

/// The grants of all sessions of a shard, by number, each with how many sessions have it.
pub(super) struct GrantTable {
    numbers: HashMap<Arc<Grants>, u32, HashKey>,
    shared: Slab<(Arc<Grants>, u32)>,
}

impl GrantTable {
    /// No grants. They are hashed with `key`.
    pub(super) fn new(key: HashKey) -> GrantTable {
        GrantTable { numbers: HashMap::with_hasher(key), shared: Slab::new() }
    }

    /// The number of these grants, which one more session has.
    pub(super) fn add(&mut self, grants: Arc<Grants>) -> u32 {
        if let Some(&number) = self.numbers.get(&grants) {
            self.shared[number as usize].1 += 1;
            return number;
        }
        let number = self.shared.insert((Arc::clone(&grants), 1)) as u32;
        self.numbers.insert(grants, number);
        number
    }

    /// The grants with this number.
    pub(super) fn get(&self, number: u32) -> Option<&Grants> {
        self.shared.get(number as usize).map(|(grants, _)| &**grants)
    }

    /// One session fewer has these grants. Nothing happens for a number that is none.
    pub(super) fn remove(&mut self, number: u32) {
        let Some((grants, sessions)) = self.shared.get_mut(number as usize) else { return };
        *sessions -= 1;
        if *sessions == 0 {
            self.numbers.remove(grants);
            self.shared.remove(number as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Pattern;

    fn grants(pattern: &str) -> Arc<Grants> {
        Arc::new(Grants { channels: vec![Pattern::parse(pattern).unwrap()], ..Grants::default() })
    }

    #[test]
    fn sessions_with_the_same_grants_share_them_until_the_last_is_gone() {
        let mut table = GrantTable::new(HashKey::new([7; 16]));
        let first = table.add(grants("news:*"));
        assert_eq!(table.add(grants("news:*")), first);
        assert_ne!(table.add(grants("chat:*")), first);
        assert_eq!(table.shared.len(), 2);
        table.remove(first);
        assert!(table.get(first).is_some());
        table.remove(first);
        assert!(table.get(first).is_none());
        assert_eq!((table.shared.len(), table.numbers.len()), (1, 1));
        table.remove(crate::net::wire::NONE);
    }
}
