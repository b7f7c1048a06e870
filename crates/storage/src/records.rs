//! Values. Each begins with a checksum of its key and of what follows, so that a value that was damaged, or that turns
//! up under another key, is never taken for one that was written.
//!
//! ```text
//!             8          8        8        …          integers are little-endian
//!         ┌──────────┬─────────┬────────┬──────────┐
//! message │ checksum │ expires │ topic# │ topic │ body …        topic# is 2 bytes
//!         ├──────────┼─────────┴────┬───┴───┬──────────┬───────┬──────────┐
//! mailbox │ checksum │ acknowledged │ as_of │ messages │ bytes │ earliest │
//!         ├──────────┼─────┬────────┴───────┴──────────┴───────┴──────────┘
//! topic   │ checksum │ seq │
//!         ├──────────┼─────┴───────┬─────┬───────┬──────────────────────────────┐
//! dedup   │ checksum │ digest (16) │ seq │ until │ (device (4), outcome (1)) …  │
//!         ├──────────┼───────┬─────┴─────┴───────┴──────────────────────────────┘
//! order   │ checksum │ until │ key of the dedup record …
//!         ├──────────┼───────┴─────┬─────────────────────────────────────────────┐
//! user    │ checksum │ last (4)    │ (device (4), created, last seen) …          │
//!         └──────────┴─────────────┴─────────────────────────────────────────────┘
//! ```

use bytes::{Bytes, BytesMut};
use campanile_protocol::ids::DeviceId;
use xxhash_rust::xxh3::Xxh3Default;

use campanile_mailbox::{DeviceRecord, Remembered, Stored, UserRecord};

const CHECKSUM_BYTES: usize = 8;
/// What a message's record has before its topic and body.
const MESSAGE_HEAD_BYTES: usize = CHECKSUM_BYTES + 8 + 2;
const DEVICE_BYTES: usize = 4 + 8 + 8;

/// A record is not what was written.
#[derive(Debug)]
pub(super) struct Damaged;

/// A message as it is stored.
pub(super) struct Message {
    pub(super) expires_at_ms: u64,
    pub(super) topic: Bytes,
    pub(super) body: Bytes,
}

/// What is written down of one mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The number up to which the device has confirmed.
    pub(super) acknowledged: u64,
    /// Messages up to this number are in `messages` and `bytes`; later ones are to be counted.
    pub(super) as_of: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// No message of the mailbox, counted or not, expires earlier. In milliseconds since the Unix epoch.
    pub(super) earliest: u64,
}

fn checksum(key: &[u8], payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Xxh3Default::new();
    hash.update(key);
    hash.update(payload);
    hash.digest().to_le_bytes()
}

fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &value[CHECKSUM_BYTES..]);
    value[..CHECKSUM_BYTES].copy_from_slice(&sum);
    value
}

fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<Reader<'a>, Damaged> {
    let (sum, payload) = value.split_first_chunk().ok_or(Damaged)?;
    if *sum == checksum(key, payload) { Ok(Reader(payload)) } else { Err(Damaged) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Damaged> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Damaged)?;
        self.0 = rest;
        Ok(head)
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        self.take().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        self.take().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn device(&mut self) -> Result<DeviceId, Damaged> {
        self.u32()?.try_into().map_err(|_| Damaged)
    }

    fn end(self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged) }
    }
}

impl Message {
    /// The most that [`Message::encode`] adds.
    pub(super) fn encoded_bytes_max(topic: &str, body: &[u8]) -> usize {
        MESSAGE_HEAD_BYTES + topic.len() + body.len()
    }

    /// Writes a message to the end of a buffer that has room for it.
    pub(super) fn encode(key: &[u8], expires_at_ms: u64, topic: &str, body: &[u8], value: &mut BytesMut) {
        // Longer ones cannot be asked for; what is cut here only would not replace.
        let topic = &topic.as_bytes()[..topic.len().min(u16::MAX.into())];
        let start = value.len();
        value.extend_from_slice(&[0; CHECKSUM_BYTES]);
        value.extend_from_slice(&expires_at_ms.to_le_bytes());
        value.extend_from_slice(&(topic.len() as u16).to_le_bytes());
        value.extend_from_slice(topic);
        value.extend_from_slice(body);
        let sum = checksum(key, &value[start + CHECKSUM_BYTES..]);
        value[start..start + CHECKSUM_BYTES].copy_from_slice(&sum);
    }

    /// The parts share the value's memory.
    pub(super) fn decode(key: &[u8], value: Bytes) -> Result<Message, Damaged> {
        let mut reader = unseal(key, &value)?;
        let expires_at_ms = reader.u64()?;
        let body_at = MESSAGE_HEAD_BYTES + usize::from(u16::from_le_bytes(*reader.take()?));
        if body_at > value.len() {
            return Err(Damaged);
        }
        Ok(Message {
            expires_at_ms,
            topic: value.slice(MESSAGE_HEAD_BYTES..body_at),
            body: value.slice(body_at..),
        })
    }
}

impl Checkpoint {
    pub(super) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(CHECKSUM_BYTES + 5 * 8);
        value.extend_from_slice(&[0; CHECKSUM_BYTES]);
        for number in [self.acknowledged, self.as_of, self.messages, self.bytes, self.earliest] {
            value.extend_from_slice(&number.to_le_bytes());
        }
        seal(key, value)
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Checkpoint, Damaged> {
        let mut reader = unseal(key, value)?;
        let checkpoint = Checkpoint {
            acknowledged: reader.u64()?,
            as_of: reader.u64()?,
            messages: reader.u64()?,
            bytes: reader.u64()?,
            earliest: reader.u64()?,
        };
        reader.end().map(|()| checkpoint)
    }
}

pub(super) fn encode_topic(key: &[u8], seq: u64) -> Vec<u8> {
    let mut value = vec![0; CHECKSUM_BYTES];
    value.extend_from_slice(&seq.to_le_bytes());
    seal(key, value)
}

pub(super) fn decode_topic(key: &[u8], value: &[u8]) -> Result<u64, Damaged> {
    let mut reader = unseal(key, value)?;
    let seq = reader.u64()?;
    reader.end().map(|()| seq)
}

/// A deduplication id's record.
pub(super) struct DedupRecord {
    pub(super) until_ms: u64,
    pub(super) remembered: Remembered,
}

impl DedupRecord {
    pub(super) fn encode(key: &[u8], until_ms: u64, remembered: &Remembered) -> Vec<u8> {
        let mut value = vec![0; CHECKSUM_BYTES];
        value.extend_from_slice(&remembered.digest);
        value.extend_from_slice(&remembered.seq.to_le_bytes());
        value.extend_from_slice(&until_ms.to_le_bytes());
        for (device, stored) in &remembered.outcomes {
            value.extend_from_slice(&device.get().to_le_bytes());
            value.push(match stored {
                Stored::Yes => 0,
                Stored::MailboxFull => 1,
                Stored::StorageFull => 2,
            });
        }
        seal(key, value)
    }

    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<DedupRecord, Damaged> {
        let mut reader = unseal(key, value)?;
        let digest = *reader.take()?;
        let (seq, until_ms) = (reader.u64()?, reader.u64()?);
        let mut outcomes = Vec::with_capacity(reader.0.len() / 5);
        while !reader.0.is_empty() {
            let device = reader.device()?;
            let stored = match reader.take::<1>()? {
                [0] => Stored::Yes,
                [1] => Stored::MailboxFull,
                [2] => Stored::StorageFull,
                _ => return Err(Damaged),
            };
            outcomes.push((device, stored));
        }
        Ok(DedupRecord { until_ms, remembered: Remembered { digest, seq, outcomes } })
    }
}

pub(super) fn encode_order(key: &[u8], until_ms: u64, dedup_key: &[u8]) -> Vec<u8> {
    let mut value = vec![0; CHECKSUM_BYTES];
    value.extend_from_slice(&until_ms.to_le_bytes());
    value.extend_from_slice(dedup_key);
    seal(key, value)
}

pub(super) fn decode_order<'a>(key: &[u8], value: &'a [u8]) -> Result<(u64, &'a [u8]), Damaged> {
    let mut reader = unseal(key, value)?;
    let until_ms = reader.u64()?;
    if reader.0.is_empty() { Err(Damaged) } else { Ok((until_ms, reader.0)) }
}

pub(super) fn encode_user(key: &[u8], record: &UserRecord) -> Vec<u8> {
    let mut value = Vec::with_capacity(CHECKSUM_BYTES + 4 + record.devices.len() * DEVICE_BYTES);
    value.extend_from_slice(&[0; CHECKSUM_BYTES]);
    value.extend_from_slice(&record.last_device.to_le_bytes());
    for known in &record.devices {
        value.extend_from_slice(&known.device.get().to_le_bytes());
        value.extend_from_slice(&known.created_at_ms.to_le_bytes());
        value.extend_from_slice(&known.last_seen_at_ms.to_le_bytes());
    }
    seal(key, value)
}

pub(super) fn decode_user(key: &[u8], value: &[u8]) -> Result<UserRecord, Damaged> {
    let mut reader = unseal(key, value)?;
    let mut record = UserRecord { devices: Vec::new(), last_device: reader.u32()? };
    while !reader.0.is_empty() {
        record.devices.push(DeviceRecord {
            device: reader.device()?,
            created_at_ms: reader.u64()?,
            last_seen_at_ms: reader.u64()?,
        });
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_or_another_key_is_damage() {
        let mut value = BytesMut::new();
        Message::encode(b"key", 7, "topic", b"body", &mut value);
        let value = value.to_vec();
        let message = Message::decode(b"key", value.clone().into()).unwrap();
        assert_eq!(
            (message.expires_at_ms, &message.topic[..], &message.body[..]),
            (7, &b"topic"[..], &b"body"[..])
        );
        assert!(Message::decode(b"kez", value.clone().into()).is_err());
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Message::decode(b"key", damaged.into()).is_err(), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(Message::decode(b"key", value[..len].to_vec().into()).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn records_survive_writing() {
        let checkpoint = Checkpoint { acknowledged: 1, as_of: 2, messages: 3, bytes: 4, earliest: u64::MAX };
        assert_eq!(Checkpoint::decode(b"k", &checkpoint.encode(b"k")).unwrap(), checkpoint);
        let device = 5.try_into().unwrap();
        let outcomes =
            vec![(device, Stored::Yes), (device, Stored::MailboxFull), (device, Stored::StorageFull)];
        let remembered = Remembered { digest: [9; 16], seq: 8, outcomes };
        let record = DedupRecord::decode(b"k", &DedupRecord::encode(b"k", 7, &remembered)).unwrap();
        assert_eq!((record.until_ms, record.remembered), (7, remembered));
        let known = DeviceRecord { device, created_at_ms: 1, last_seen_at_ms: 2 };
        let user = UserRecord { devices: vec![known], last_device: 6 };
        assert_eq!(decode_user(b"k", &encode_user(b"k", &user)).unwrap(), user);
        assert_eq!(decode_topic(b"k", &encode_topic(b"k", 3)).unwrap(), 3);
        assert_eq!(decode_order(b"k", &encode_order(b"k", 3, b"d")).unwrap(), (3, &b"d"[..]));
    }
}
