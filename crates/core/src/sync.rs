//! Frames that a device sends to the other devices of its user: stored and delivered like what a publisher pushes.

use campanile_engine::Conn;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{
    Content, Deliver, Device, DeviceState, Payload, Receipt, ServerFrame, Sync,
};
use prost::Message as _;
use sha2::{Digest, Sha256};

use super::Shard;
use super::jobs::{Asker, Place};
use super::requests::{Durability, Envelopes, Push, PushError, Pushed, Unavailable};
use campanile_mailbox::{Dedup, DedupKey, DedupScope};

/// The longest name of a frame, kind and topic, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// How long the name of a sync is remembered, in milliseconds: as long as clients remember it.
const REMEMBERED_MS: u64 = 30 * 24 * 3_600 * 1_000;
/// The kinds that need more than their name.
const FORWARD: &str = "forward";
const READ_SYNC: &str = "read-sync";

impl Shard {
    /// A device writes to its siblings.
    pub(super) fn take_sync(&mut self, slot: u32, sync: Sync) {
        self.counters.syncs_received.add(1);
        let reference = sync.r#ref.clone();
        match self.sync_push(slot, sync) {
            Ok(Some(push)) => {
                let Some(conn) = self.connections.get(slot).map(|connection| connection.conn(slot)) else {
                    return;
                };
                let job = self.begin_job(Asker::Session { conn, reference }, 1);
                let place = Place { job, index: 0 };
                match push.durability {
                    Durability::Durable => self.push_durable(place, push),
                    Durability::Ephemeral => self.push_sync_now(place, push),
                }
            }
            // There is nobody to tell.
            Ok(None) => self.send_receipt(slot, Receipt { r#ref: reference, ..Receipt::default() }),
            Err((reason, message)) => self.refuse_frame(slot, reason, message, &reference),
        }
    }

    /// An ephemeral sync is not given back when a sibling is sent a lot this turn: it is dropped for that one.
    fn push_sync_now(&mut self, place: Place, push: Push) {
        if self.push_ephemeral(place, push).is_err() {
            self.finish_push(place, Err(Unavailable::Overloaded.into()));
        }
    }

    /// What a sync frame asks for; `None` if the user has no other device.
    fn sync_push(&self, slot: u32, sync: Sync) -> Result<Option<Push>, (&'static str, &'static str)> {
        const INVALID: &str = "invalid_field";
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return Ok(None) };
        let user = self.directory.user(session.user);
        let (Some(id), Some(user)) = (self.directory.id(session.user), user) else { return Ok(None) };
        for (name, may_be_empty) in [(&sync.r#ref, sync.ephemeral), (&sync.kind, false), (&sync.topic, true)]
        {
            if name.len() > NAME_BYTES_MAX || (name.is_empty() && !may_be_empty) {
                return Err((INVALID, "ref and kind have 1 to 64 bytes, topic at most 64"));
            }
        }
        if sync.kind == READ_SYNC && sync.topic.is_empty() && !sync.ephemeral {
            return Err((INVALID, "a read-sync has a topic: the newest replaces those that wait"));
        }
        if sync.device == session.device {
            return Err((INVALID, "device is the sender's own; name a sibling, or 0 for all"));
        }
        let siblings: Vec<DeviceId> = match sync.device {
            0 if sync.kind == FORWARD => return Err((INVALID, "a forward names its device")),
            0 => {
                let others = user.devices.iter().filter(|known| known.device != session.device);
                others.filter_map(|known| DeviceId::try_from(known.device).ok()).collect()
            }
            device => {
                let device = DeviceId::try_from(device).map_err(|_| (INVALID, "no such device"))?;
                if !user.devices.iter().any(|known| known.device == device.get()) {
                    return Err(("unknown_device", "the user has no such device"));
                }
                vec![device]
            }
        };
        if siblings.is_empty() {
            return Ok(None);
        }
        let payload = checked(sync.payload.clone().unwrap_or_default(), self.settings.limits.push_bytes_max)?;
        let ttl_ms = match u64::from(sync.ttl_seconds) * 1_000 {
            0 => self.settings.message_ttl_ms,
            ttl_ms => ttl_ms.min(self.settings.message_ttl_ms),
        };
        let now_ms = self.now.unix_ms;
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let durable = !sync.ephemeral;
        let dedup = durable.then(|| Dedup {
            key: DedupKey { scope: DedupScope::Sibling(session.device), id: sync.r#ref.as_str().into() },
            digest: digest(&sync),
            until_ms: now_ms + REMEMBERED_MS,
        });
        let message = Deliver {
            kind: sync.kind,
            from: Some(Device { user: id.as_str().to_owned(), device: session.device }),
            sent_at_ms: signed(now_ms),
            expires_at_ms: if durable { signed(now_ms + ttl_ms) } else { 0 },
            topic: sync.topic,
            ..Deliver::default()
        };
        Ok(Some(Push {
            user: id.clone(),
            envelopes: Envelopes::Listed(siblings, payload),
            message,
            durability: if durable { Durability::Durable } else { Durability::Ephemeral },
            dedup,
        }))
    }

    /// Tells the sender what became of its sync, if it is still there.
    pub(super) fn answer_sync(&mut self, conn: Conn, reference: String, result: Result<Pushed, PushError>) {
        if self.tenant(conn).is_none_or(|connection| connection.session().is_none()) {
            return;
        }
        match result {
            Ok(pushed) => {
                let devices = pushed.devices.iter().map(|&(device, outcome)| DeviceState {
                    device: device.get(),
                    state: outcome.state().to_owned(),
                    reason: outcome.reason().unwrap_or_default().to_owned(),
                });
                let devices = devices.collect();
                self.send_receipt(
                    conn.slot,
                    Receipt { r#ref: reference, id: pushed.id.to_string(), devices },
                );
            }
            Err(error) => self.refuse_frame(conn.slot, error.code(), &error.to_string(), &reference),
        }
    }

    fn send_receipt(&mut self, slot: u32, receipt: Receipt) {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(encoding) = session.map(|session| session.encoding) else { return };
        let mut bytes = Vec::new();
        let encoded = ServerFrame::Receipt(receipt).encode_frame(encoding, &mut bytes);
        debug_assert!(encoded.is_ok(), "a receipt has no payload that could fail");
        self.answer(slot, bytes);
    }
}

/// A payload that every encoding can carry and that is not too large.
pub(super) fn checked(payload: Payload, bytes_max: usize) -> Result<Payload, (&'static str, &'static str)> {
    if payload.content_bytes() > bytes_max {
        return Err(("payload_too_large", "the payload is larger than limits.push_bytes_max"));
    }
    match payload.content {
        Some(Content::Json(json)) => {
            Payload::json(json).map_err(|_| ("invalid_field", "payload.json is not JSON of bounded depth"))
        }
        _ => Ok(payload),
    }
}

/// What makes two syncs the same.
fn digest(sync: &Sync) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(sync.kind.as_bytes());
    part(sync.topic.as_bytes());
    part(&sync.device.to_le_bytes());
    part(&sync.payload.clone().unwrap_or_default().encode_to_vec());
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize()[..16]);
    digest
}
