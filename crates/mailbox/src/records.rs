//! What a store keeps for users and their devices, and what it says about it.

use bytes::Bytes;
use campanile_protocol::ids::{DeviceId, UserId};

/// Whose queue: one device of one user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

/// A message of one user, with an envelope for each device that it is stored for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Whose devices.
    pub user: UserId,
    /// The message's number; higher than that of every earlier message of the user.
    pub seq: u64,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// It replaces a waiting message of the same topic (RFC 8030 §5.4), device by device. Empty for none.
    pub topic: Box<str>,
    /// One for each device, no device twice.
    pub envelopes: Vec<Envelope>,
    /// Remembered together with the envelopes, unless none of them could be stored.
    pub dedup: Option<Dedup>,
}

/// What one device is to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The device.
    pub device: DeviceId,
    /// The message as the device receives it: an encoded `Deliver`.
    pub body: Bytes,
    /// The device has confirmed it already: it need not be stored, and counts as stored.
    pub confirmed: bool,
}

/// Who gave a deduplication id: ids of different scopes are different.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DedupScope {
    /// A publisher, by a fingerprint of its API key.
    Publisher(u64),
    /// A device of the user, by its number.
    Sibling(u32),
}

/// A deduplication id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey {
    /// Who gave it.
    pub scope: DedupScope,
    /// Up to 128 bytes.
    pub id: Box<str>,
}

/// A deduplication id, and what is to be remembered with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// The id.
    pub key: DedupKey,
    /// A digest of the request: another request under the same id is a conflict.
    pub digest: [u8; 16],
    /// Until when it is remembered, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// What is remembered of an earlier request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The digest of that request.
    pub digest: [u8; 16],
    /// The message's number.
    pub seq: u64,
    /// What became of the envelopes then.
    pub outcomes: Vec<(DeviceId, Stored)>,
}

/// What became of one envelope.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// It waits for the device, or the device has confirmed it.
    Yes,
    /// The device's mailbox is full.
    MailboxFull,
    /// The node's storage is full.
    StorageFull,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub seq: u64,
    /// The message as the device receives it: an encoded `Deliver`.
    pub body: Bytes,
}

/// Messages in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Waiting>,
    /// Whether there may be more behind the last of them.
    pub more: bool,
}

/// What waits for a device.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages. Expired ones count until they are removed, at the latest when the mailbox would be full.
    pub messages: u64,
    /// Their bodies, in bytes.
    pub bytes: u64,
    /// The number up to which the device has confirmed, 0 if it never has.
    pub acknowledged: u64,
}

/// Everything up to a number is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trim {
    /// Whose mail.
    pub address: Address,
    /// The highest number confirmed.
    pub up_to: u64,
}

/// A registered device.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its number.
    pub device: DeviceId,
    /// When it was registered, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was last known to be connected, in milliseconds since the Unix epoch.
    pub last_seen_at_ms: u64,
}

/// A user's devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRecord {
    /// In the order of their numbers.
    pub devices: Vec<DeviceRecord>,
    /// The highest device number ever given to the user, so that none is given twice.
    pub last_device: u32,
}

/// How much one mailbox and the whole store may hold.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages that may wait for one device.
    pub messages_per_device_max: u64,
    /// Bytes that may wait for one device.
    pub bytes_per_device_max: u64,
    /// Bytes of the whole store on disk.
    pub bytes_total_max: u64,
}
