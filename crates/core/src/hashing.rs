//! How names are hashed: with a key that those who choose the names do not know.
//!
//! Clients and publishers choose user ids, channels, deduplication ids. Without a key anybody can compute thousands of
//! them with one hash beforehand, and every look-up of one then compares all. It is SipHash-1-3 (Aumasson and
//! Bernstein, 2012), as in the standard library's tables: a pseudo-random function, so that answers and times tell
//! nothing of the key. The faster hashes (foldhash, XXH3, wyhash's kin) promise less, and for some of them inputs are
//! known that meet under every seed. For a name of 16 bytes they take some 25 ns less. Numbers that we give out
//! ourselves are hashed without a key.

use std::fmt::{self, Debug, Formatter};
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// The key of a hash. Tables have one for each process; users are placed by the store's.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// This key.
    pub const fn new(bytes: [u8; 16]) -> HashKey {
        HashKey(bytes)
    }

    /// The hash of a name.
    pub fn of(&self, name: &str) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(name.as_bytes())
    }
}

/// A secret does not stand in logs.
impl Debug for HashKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

impl BuildHasher for HashKey {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}
