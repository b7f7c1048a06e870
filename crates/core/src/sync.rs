//! Frames that a device sends to the other devices of its user: stored and delivered like what a publisher pushes.

use std::time::Duration;

use campanile_engine::Conn;
use campanile_mailbox::DedupScope;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{Device, DeviceState, Payload, Receipt, ServerFrame, Sync};
use prost::Message as _;
use sha2::{Digest, Sha256};

use super::Shard;
use super::jobs::{Asker, Place};
use super::names::Name;
use super::push::{DedupDraft, Durability, Envelopes, Push, PushDraft, PushRefused, readable};
use super::requests::{PushError, Pushed, Unavailable};

/// How long the name of a sync is remembered: as long as clients remember it.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The kinds that need more than their name.
const FORWARD: &str = "forward";
const READ_SYNC: &str = "read-sync";

/// Why a sync is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum SyncRefused {
    /// The name of the frame, its kind or its topic is none.
    #[error("ref and kind have 1 to 64 bytes, topic at most 64, without control characters")]
    Names,
    /// A `read-sync` does not say which one it replaces.
    #[error("a read-sync has a topic: the newest replaces those that wait")]
    TopicMissing,
    /// A device writes to itself.
    #[error("device is the sender's own; name a sibling, or 0 for all")]
    ToItself,
    /// A `forward` is for nobody in particular.
    #[error("a forward names its device")]
    ForwardToAll,
    /// No device can have this number.
    #[error("no such device")]
    NoDevice,
    /// The user has no device of this number.
    #[error("the user has no such device")]
    UnknownDevice,
    /// What holds of every push does not hold of this one.
    #[error(transparent)]
    Push(#[from] PushRefused),
}

impl SyncRefused {
    /// The stable name of the refusal.
    fn code(&self) -> &'static str {
        match self {
            SyncRefused::UnknownDevice => "unknown_device",
            SyncRefused::Push(refused) => refused.code(),
            _ => "invalid_field",
        }
    }
}

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
            Err(refused) => self.refuse_frame(slot, refused.code(), &refused.to_string(), &reference),
        }
    }

    /// An ephemeral sync is not given back when a sibling is sent a lot this turn: it is dropped for that one.
    fn push_sync_now(&mut self, place: Place, push: Push) {
        if self.push_ephemeral(place, push).is_err() {
            self.finish_push(place, Err(Unavailable::Overloaded.into()));
        }
    }

    /// What a sync frame asks for; `None` if the user has no other device.
    fn sync_push(&self, slot: u32, sync: Sync) -> Result<Option<Push>, SyncRefused> {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return Ok(None) };
        let user = self.directory.user(session.user);
        let (Some(id), Some(user)) = (self.directory.id(session.user), user) else { return Ok(None) };
        let digest = digest(&sync);
        let named = |text: &str| Name::optional(text.to_owned()).map_err(|_| SyncRefused::Names);
        let (name, kind, topic) = (named(&sync.r#ref)?, named(&sync.kind)?, named(&sync.topic)?);
        if kind.is_none() || (name.is_none() && !sync.ephemeral) {
            return Err(SyncRefused::Names);
        }
        if sync.kind == READ_SYNC && topic.is_none() && !sync.ephemeral {
            return Err(SyncRefused::TopicMissing);
        }
        if sync.device == session.device {
            return Err(SyncRefused::ToItself);
        }
        let siblings: Vec<DeviceId> = match sync.device {
            0 if sync.kind == FORWARD => return Err(SyncRefused::ForwardToAll),
            0 => {
                let others = user.devices.iter().filter(|known| known.device != session.device);
                others.filter_map(|known| DeviceId::try_from(known.device).ok()).collect()
            }
            device => {
                let device = DeviceId::try_from(device).map_err(|_| SyncRefused::NoDevice)?;
                if !user.devices.iter().any(|known| known.device == device.get()) {
                    return Err(SyncRefused::UnknownDevice);
                }
                vec![device]
            }
        };
        if siblings.is_empty() {
            return Ok(None);
        }
        let rules = self.settings.push_rules();
        let payload = match sync.payload {
            // A sync may be nothing but its kind.
            None => Payload::default(),
            Some(payload) if payload.content.is_none() => payload,
            payload => readable(payload).map_err(PushRefused::from)?,
        };
        // Devices may ask for longer than is allowed; an ephemeral message waits for nobody.
        let ttl_seconds = if sync.ephemeral { 0 } else { rules.clamp_ttl(sync.ttl_seconds) };
        let scope = DedupScope::Sibling(session.device);
        let dedup = name.filter(|_| !sync.ephemeral).map(|name| DedupDraft {
            scope,
            id: name.into(),
            digest: Some(digest),
            remembered: REMEMBERED,
        });
        let draft = PushDraft {
            user: id.clone(),
            envelopes: Envelopes::Listed(siblings, payload),
            kind,
            topic,
            from: Some(Device { user: id.as_str().to_owned(), device: session.device }),
            ttl_seconds,
            durability: if sync.ephemeral { Durability::Ephemeral } else { Durability::Durable },
            dedup,
        };
        Ok(Some(Push::new(draft, &rules, self.now.unix_ms)?))
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
