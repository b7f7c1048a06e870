//! Frames that a device sends to the other devices of its user: stored and delivered like what a publisher pushes.

use std::time::Duration;

use campanile_engine::Conn;
use campanile_mailbox::DedupScope;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{Device, Payload, Sync};
use prost::Message as _;
use sha2::{Digest, Sha256};

use super::home::HomeHandler;
use super::sync_refused::SyncRefused;
use super::who::Who;
use crate::control::jobs::{Asker, Place};
use crate::names::Name;
use crate::push::{DedupDraft, Durability, Envelopes, Push, PushDraft, PushRefused, readable};
use crate::requests::Unavailable;
use crate::seam::Sessions;
use crate::turn::Turn;

/// How long the name of a sync is remembered: as long as clients remember it.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The kinds that need more than their name.
const FORWARD: &str = "forward";
const READ_SYNC: &str = "read-sync";

impl HomeHandler<'_> {
    /// A device writes to its siblings. Whether that is answered later; otherwise there is nobody to tell.
    pub(crate) fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut impl Sessions,
        conn: Conn,
        who: &Who,
        sync: Sync,
    ) -> Result<bool, SyncRefused> {
        let reference = sync.r#ref.clone();
        let Some(push) = self.sync_push(turn, who, sync)? else { return Ok(false) };
        let place = Place { job: self.jobs.begin(Asker::Session { conn, reference }, 1), index: 0 };
        match push.durability {
            Durability::Durable => self.parking().push_durable(turn, sessions, place, push),
            // It is not given back when a sibling is sent a lot this turn: it is dropped for that one.
            Durability::Ephemeral => {
                if self.ephemeral().push_ephemeral(turn, sessions, place, push).is_err() {
                    self.jobs.finish(place, Err(Unavailable::Overloaded.into()));
                }
            }
        }
        Ok(true)
    }

    /// What a sync frame asks for; `None` if the user has no other device.
    fn sync_push(&self, turn: &Turn<'_>, who: &Who, sync: Sync) -> Result<Option<Push>, SyncRefused> {
        let user = self.users.directory.user(who.user());
        let (Some(id), Some(user)) = (self.users.id(who.user()), user) else { return Ok(None) };
        let named = |text: &str| Name::optional(text.to_owned()).map_err(|_| SyncRefused::Names);
        let (name, kind, topic) = (named(&sync.r#ref)?, named(&sync.kind)?, named(&sync.topic)?);
        if kind.is_none() || (name.is_none() && !sync.ephemeral) {
            return Err(SyncRefused::Names);
        }
        if sync.kind == READ_SYNC && topic.is_none() && !sync.ephemeral {
            return Err(SyncRefused::TopicMissing);
        }
        if sync.device == who.device() {
            return Err(SyncRefused::ToItself);
        }
        let siblings: Vec<DeviceId> = match sync.device {
            0 if sync.kind == FORWARD => return Err(SyncRefused::ForwardToAll),
            0 => {
                let others = user.devices.iter().filter(|known| known.device.get() != who.device());
                others.map(|known| known.device).collect()
            }
            device => {
                let device = DeviceId::try_from(device).map_err(|_| SyncRefused::NoDevice)?;
                if !user.devices.iter().any(|known| known.device == device) {
                    return Err(SyncRefused::UnknownDevice);
                }
                vec![device]
            }
        };
        if siblings.is_empty() {
            return Ok(None);
        }
        let rules = turn.settings.push_rules();
        // Of the frame as it came, and only for what is remembered.
        let digest = (!sync.ephemeral).then(|| digest(&sync));
        let payload = match sync.payload {
            // A sync may be nothing but its kind.
            None => Payload::default(),
            Some(payload) if payload.content.is_none() => payload,
            payload => readable(payload).map_err(PushRefused::from)?,
        };
        // Devices may ask for longer than is allowed; an ephemeral message waits for nobody.
        let ttl_seconds = if sync.ephemeral { 0 } else { rules.clamp_ttl(sync.ttl_seconds) };
        let scope = DedupScope::Sibling(who.device());
        let dedup = name.zip(digest).map(|(name, digest)| DedupDraft {
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
            from: Some(Device { user: id.as_str().to_owned(), device: who.device() }),
            ttl_seconds,
            durability: if sync.ephemeral { Durability::Ephemeral } else { Durability::Durable },
            dedup,
        };
        Ok(Some(Push::new(draft, &rules, turn.now.unix_ms)?))
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
