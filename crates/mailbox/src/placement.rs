//! Where users are placed: by a hash that only this store can compute.

use std::fmt;

use campanile_protocol::ids::UserId;
use siphasher::sip::SipHasher13;

/// The key that places users: random, made with the store and the same for its whole life, so that a restart moves
/// nobody. Clients choose their ids, and without a key they could choose many that are placed together.
///
/// The hash is SipHash-1-3 of the id's bytes. Who is placed where is to be the same for every later version of this
/// program: it does not change.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct PlacementKey([u8; 16]);

impl PlacementKey {
    /// A key of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> PlacementKey {
        PlacementKey(bytes)
    }

    /// The hash of a user's id.
    #[must_use]
    pub fn hash(&self, user: &UserId) -> u64 {
        self.hash_text(user.as_str())
    }

    /// The hash of a text: of a user's id the same as [`PlacementKey::hash`], for what is placed beside users.
    #[must_use]
    pub fn hash_text(&self, text: &str) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(text.as_bytes())
    }
}

impl fmt::Debug for PlacementKey {
    /// Says nothing of the key: logs are read by others.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PlacementKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_stay_where_they_were_placed_by_earlier_versions() {
        let key = PlacementKey::new(*b"0123456789abcdef");
        let user: UserId = "ann".parse().unwrap();
        assert_eq!(key.hash(&user), 13_862_328_779_178_167_015);
        assert_eq!(key.hash_text("ann"), key.hash(&user));
        assert_ne!(PlacementKey::new([0; 16]).hash(&user), key.hash(&user));
        assert_eq!(format!("{key:?}"), "PlacementKey");
    }
}
