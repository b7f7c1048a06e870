//! The model of a store on a disk that fails, and the executor around it.

mod crashes;
mod executor;
mod limits;

use bytes::Bytes;
use campanile_mailbox::executor::Mailbox;
use campanile_mailbox::model::ModelMailbox;
use campanile_mailbox::{
    Address, Append, Dedup, DedupKey, DedupScope, Envelope, MailboxLimits, Stored, Trim,
};
use campanile_protocol::ids::{DeviceId, UserId};

/// When most of this happens, in milliseconds.
const NOW: u64 = 1_000_000;
/// When most messages expire.
const LATER: u64 = NOW + 60_000;

const ROOMY: MailboxLimits = MailboxLimits {
    messages_per_device_max: 1_000,
    bytes_per_device_max: 100_000,
    bytes_total_max: 1_000_000,
};

fn mailbox() -> ModelMailbox {
    ModelMailbox::new(7, ROOMY, 1)
}

fn user(name: &str) -> UserId {
    UserId::try_from(name).unwrap()
}

fn device(number: u32) -> DeviceId {
    DeviceId::try_from(number).unwrap()
}

/// A device of the user `ann`.
fn ann(number: u32) -> Address {
    Address { user: user("ann"), device: device(number) }
}

/// A message for some devices of `ann`: `body` says what is in it.
fn message(seq: u64, devices: &[u32]) -> Append {
    let envelope =
        |&number: &u32| Envelope { device: device(number), body: body(seq, number), confirmed: false };
    Append {
        user: user("ann"),
        seq,
        expires_at_ms: LATER,
        topic: "".into(),
        envelopes: devices.iter().map(envelope).collect(),
        dedup: None,
    }
}

/// Ten bytes.
fn body(seq: u64, device: u32) -> Bytes {
    Bytes::from(format!("{seq:06}-{device:03}"))
}

fn topic(topic: &str, append: Append) -> Append {
    Append { topic: topic.into(), ..append }
}

fn key(id: &str) -> DedupKey {
    DedupKey { scope: DedupScope::Publisher(1), id: id.into() }
}

fn dedup(key: DedupKey, append: Append) -> Append {
    Append { dedup: Some(Dedup { key, digest: [1; 16], until_ms: LATER }), ..append }
}

/// Appends one message.
fn store(mailbox: &mut ModelMailbox, append: Append) -> Vec<Stored> {
    mailbox.append(&[append], NOW).unwrap().remove(0)
}

fn trim(number: u32, up_to: u64) -> Trim {
    Trim { address: ann(number), up_to }
}

/// The numbers that the device reads.
fn reads(mailbox: &mut ModelMailbox, number: u32) -> Vec<u64> {
    let page = mailbox.read(&ann(number), 0, usize::MAX, usize::MAX, NOW).unwrap();
    page.messages.iter().map(|waiting| waiting.seq).collect()
}
