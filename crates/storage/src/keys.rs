//! Keys. They sort by user, then device, then number, and no key of one user is a prefix of another user's, since the
//! user's length comes first.
//!
//! ```text
//!            1        n         4          8
//!         ┌─────┬──────────┬─────────┬───────────┐
//! message │ len │ user     │ device  │ seq       │    integers are big-endian
//!         ├─────┼──────────┼─────────┼───────────┘
//! mailbox │ len │ user     │ device  │
//!         ├─────┼──────────┼─────────┼────────────────┐
//! topic   │ len │ user     │ device  │ topic …        │
//!         ├─────┼──────────┼──────┬──┴────────┬───────┴──┐
//! dedup   │ len │ user     │ kind │ scope (8) │ id …     │    kind: 0 publishers, 1 siblings
//!         ├─────┼──────────┼──────┼───────────┼──────────┘
//! order   │ len │ user     │ kind │ seq       │
//!         ├─────┼──────────┼──────┴───────────┘
//! user    │ len │ user     │
//!         └─────┴──────────┘
//! ```

use bytes::BytesMut;
use campanile_protocol::ids::{DeviceId, USER_ID_BYTES_MAX, UserId};
use siphasher::sip128::SipHasher13;

use super::files::Secret;
use campanile_mailbox::{Address, DedupKey, DedupScope};

/// Longer topics and deduplication ids are cut and told apart by a hash: keys have a limit. Nobody outside can find two
/// that have the same one, since it is keyed with the store's secret.
const TEXT_BYTES_MAX: usize = 256;
const ADDRESS_BYTES_MAX: usize = 1 + USER_ID_BYTES_MAX + 4;
const _: () = assert!(USER_ID_BYTES_MAX <= u8::MAX as usize);

/// The key of a user's device, which begins the keys of all that belongs to it. It lives on the stack, since one is
/// made for every envelope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressKey {
    bytes: [u8; ADDRESS_BYTES_MAX],
    len: u8,
}

impl AddressKey {
    pub(super) fn new(user: &UserId, device: DeviceId) -> AddressKey {
        let user = user.as_str().as_bytes();
        let mut bytes = [0; ADDRESS_BYTES_MAX];
        let len = 1 + user.len() + 4;
        bytes[0] = user.len() as u8;
        bytes[1..=user.len()].copy_from_slice(user);
        bytes[1 + user.len()..len].copy_from_slice(&device.get().to_be_bytes());
        AddressKey { bytes, len: len as u8 }
    }

    pub(super) fn of(address: &Address) -> AddressKey {
        AddressKey::new(&address.user, address.device)
    }

    /// Reads a key of the `mailboxes` keyspace.
    pub(super) fn parse(key: &[u8]) -> Option<AddressKey> {
        let len = 1 + usize::from(*key.first()?) + 4;
        if key.len() != len || len > ADDRESS_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; ADDRESS_BYTES_MAX];
        bytes[..len].copy_from_slice(key);
        Some(AddressKey { bytes, len: len as u8 })
    }

    pub(super) fn device(&self) -> u32 {
        let bytes = self.as_slice();
        u32::from_be_bytes(*bytes.last_chunk().unwrap_or(&[0; 4]))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(super) fn message(&self, seq: u64) -> Vec<u8> {
        [self.as_slice(), &seq.to_be_bytes()].concat()
    }

    pub(super) fn push_message(&self, seq: u64, key: &mut BytesMut) {
        key.extend_from_slice(self.as_slice());
        key.extend_from_slice(&seq.to_be_bytes());
    }

    pub(super) fn topic(&self, topic: &[u8], secret: &Secret) -> Vec<u8> {
        let mut key = Vec::with_capacity(usize::from(self.len) + topic.len().min(TEXT_BYTES_MAX));
        key.extend_from_slice(self.as_slice());
        push_text(&mut key, topic, secret);
        key
    }
}

/// The number at the end of a key of a message or of the order of deduplication ids.
pub(super) fn seq(key: &[u8]) -> u64 {
    u64::from_be_bytes(*key.last_chunk().unwrap_or(&[0; 8]))
}

pub(super) fn user(user: &UserId) -> Vec<u8> {
    user_with_room(user, 0)
}

/// A key that so many bytes will be added to: what is allocated is kept as long as the key.
fn user_with_room(user: &UserId, room: usize) -> Vec<u8> {
    let user = user.as_str().as_bytes();
    let mut key = Vec::with_capacity(1 + user.len() + room);
    key.push(user.len() as u8);
    key.extend_from_slice(user);
    key
}

/// Begins the keys of the order in which a user's deduplication ids of one kind came.
pub(super) fn dedup_order(user_id: &UserId, scope: DedupScope) -> Vec<u8> {
    let mut key = user_with_room(user_id, 1);
    key.push(kind(scope).0);
    key
}

pub(super) fn dedup(user_id: &UserId, dedup: &DedupKey, secret: &Secret) -> Vec<u8> {
    let (kind, scope) = kind(dedup.scope);
    let mut key = user_with_room(user_id, 1 + 8 + dedup.id.len().min(TEXT_BYTES_MAX));
    key.push(kind);
    key.extend_from_slice(&scope.to_be_bytes());
    push_text(&mut key, dedup.id.as_bytes(), secret);
    key
}

fn kind(scope: DedupScope) -> (u8, u64) {
    match scope {
        DedupScope::Publisher(fingerprint) => (0, fingerprint),
        DedupScope::Sibling(device) => (1, device.into()),
    }
}

fn push_text(key: &mut Vec<u8>, text: &[u8], secret: &Secret) {
    if text.len() < TEXT_BYTES_MAX {
        key.extend_from_slice(text);
    } else {
        key.extend_from_slice(&text[..TEXT_BYTES_MAX - 16]);
        key.extend_from_slice(&SipHasher13::new_with_key(secret).hash(text).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str, device: u32) -> AddressKey {
        AddressKey::new(&user.parse().unwrap(), device.try_into().unwrap())
    }

    #[test]
    fn keys_sort_by_number_and_no_user_is_found_under_another() {
        assert!(key("a", 1).message(255) < key("a", 1).message(256));
        assert!(key("a", 1).message(u64::MAX) < key("a", 2).message(0));
        let short = key("a", 1);
        for other in ["ab", "a\u{20}", "b"] {
            assert!(!key(other, 1).as_slice().starts_with(&user(&"a".parse().unwrap())));
            assert!(!key(other, 1).as_slice().starts_with(short.as_slice()));
        }
        assert_eq!(AddressKey::parse(short.as_slice()).unwrap().as_slice(), short.as_slice());
        assert_eq!(short.device(), 1);
        assert_eq!(seq(&short.message(77)), 77);
        assert!(AddressKey::parse(&short.message(1)).is_none() && AddressKey::parse(&[]).is_none());
    }

    #[test]
    fn long_topics_stay_different_and_keys_short() {
        let (one, other) = (format!("{}1", "t".repeat(70_000)), format!("{}2", "t".repeat(70_000)));
        let topic = |text: &str, secret| key("a", 1).topic(text.as_bytes(), secret);
        assert_ne!(topic(&one, &[1; 16]), topic(&other, &[1; 16]));
        assert_ne!(topic(&one, &[1; 16]), topic(&one, &[2; 16]), "who does not know the secret cannot tell");
        assert_eq!(topic(&one, &[1; 16]), topic(&one, &[1; 16]));
        assert_eq!(topic("short", &[1; 16]), topic("short", &[2; 16]));
        assert!(topic(&one, &[1; 16]).len() < 1_000);
    }
}
