//! A push as a publisher asks for it, over HTTP or gRPC, and the push that shards are asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Content, Deliver, Device, Payload};
use sha2::{Digest, Sha256};

use crate::api::auth::Publisher;
use crate::api::error::ApiError;
use campanile_core::requests::{Durability, Envelopes, Push};
use campanile_mailbox::{Dedup, DedupKey, DedupScope};

/// Devices that a push may list.
pub const DEVICES_LISTED_MAX: usize = 1_000;
/// The kind of a message that names none.
pub(in crate::api) const KIND_DEFAULT: &str = "message";

/// What pushes are held to.
#[derive(Copy, Clone, Debug)]
pub struct PushRules {
    /// The largest payload in bytes: `limits.push_bytes_max`.
    pub payload_bytes_max: usize,
    /// How long a durable message waits unless it says less: `mailbox.ttl_days`.
    pub ttl: Duration,
    /// For how long a deduplication id is remembered: `mailbox.dedup_window_seconds`.
    pub dedup_window: Duration,
}

impl PushRules {
    /// Whether a payload is not too large.
    ///
    /// # Errors
    /// [`ApiError::PayloadTooLarge`].
    pub(in crate::api) fn check_size(&self, payload: &Payload) -> Result<(), ApiError> {
        match (payload.content_bytes(), self.payload_bytes_max) {
            (bytes, max) if bytes > max => Err(ApiError::PayloadTooLarge { bytes, max }),
            _ => Ok(()),
        }
    }
}

/// A push. Its ids, names and payloads have passed their checks; what depends on the node's rules has not.
#[derive(Debug)]
pub(in crate::api) struct PushRequest {
    pub(in crate::api) user: UserId,
    pub(in crate::api) envelopes: Envelopes,
    pub(in crate::api) kind: Option<String>,
    pub(in crate::api) from: Option<Device>,
    pub(in crate::api) topic: Option<String>,
    /// 0 for the default.
    pub(in crate::api) ttl_seconds: u32,
    pub(in crate::api) dedup_id: Option<Box<str>>,
    pub(in crate::api) durability: Durability,
    /// The digest of what was asked, where something was added that a retry would not repeat.
    pub(in crate::api) digest: Option<[u8; 16]>,
}

impl PushRequest {
    /// What the shards are asked for.
    ///
    /// # Errors
    /// [`ApiError::PayloadTooLarge`] and [`ApiError::InvalidField`].
    pub(in crate::api) fn into_push(
        mut self,
        rules: &PushRules,
        publisher: Publisher,
        now_ms: u64,
    ) -> Result<Push, ApiError> {
        self.check_size(rules)?;
        self.order_devices()?;
        let expires_at_ms = match self.durability {
            Durability::Durable => now_ms + self.ttl_ms(rules.ttl)?,
            Durability::Ephemeral => self.refuse_promises().map(|()| 0)?,
        };
        let digest = self.dedup_id.is_some().then(|| self.digest.unwrap_or_else(|| self.digest()));
        let dedup = self.dedup_id.zip(digest).map(|(id, digest)| Dedup {
            key: DedupKey { scope: DedupScope::Publisher(publisher.fingerprint), id },
            digest,
            until_ms: now_ms + millis(rules.dedup_window),
        });
        let message = Deliver {
            kind: self.kind.unwrap_or_else(|| KIND_DEFAULT.into()),
            from: self.from,
            sent_at_ms: signed(now_ms),
            expires_at_ms: signed(expires_at_ms),
            topic: self.topic.unwrap_or_default(),
            // The shard gives the id and the sequence number.
            ..Deliver::default()
        };
        Ok(Push { user: self.user, envelopes: self.envelopes, message, durability: self.durability, dedup })
    }

    fn check_size(&self, rules: &PushRules) -> Result<(), ApiError> {
        match &self.envelopes {
            Envelopes::All(payload) | Envelopes::Listed(_, payload) => rules.check_size(payload),
            Envelopes::PerDevice(envelopes) => {
                envelopes.iter().try_for_each(|(_, payload)| rules.check_size(payload))
            }
        }
    }

    /// Devices in the order of their numbers: listed ones once each, and no device with two envelopes.
    fn order_devices(&mut self) -> Result<(), ApiError> {
        let listed = |name, count| match count {
            1..=DEVICES_LISTED_MAX => Ok(()),
            _ => Err(invalid(name, format!("{count} items, 1 to {DEVICES_LISTED_MAX} are allowed"))),
        };
        match &mut self.envelopes {
            Envelopes::All(_) => Ok(()),
            Envelopes::Listed(devices, _) => {
                listed("devices", devices.len())?;
                devices.sort_unstable();
                devices.dedup();
                Ok(())
            }
            Envelopes::PerDevice(envelopes) => {
                listed("deviceEnvelopes", envelopes.len())?;
                envelopes.sort_unstable_by_key(|(device, _)| *device);
                let twice = envelopes.windows(2).find(|pair| pair[0].0 == pair[1].0);
                twice.map_or(Ok(()), |pair| {
                    Err(invalid("deviceEnvelopes", format!("device {} has two envelopes", pair[0].0)))
                })
            }
        }
    }

    fn ttl_ms(&self, max: Duration) -> Result<u64, ApiError> {
        match self.ttl_seconds {
            0 => Ok(millis(max)),
            seconds if u64::from(seconds) > max.as_secs() => Err(invalid(
                "ttlSeconds",
                format!(
                    "{seconds} is more than {} ({} days)",
                    max.as_secs(),
                    max.as_secs() / SECONDS_PER_DAY
                ),
            )),
            seconds => Ok(u64::from(seconds) * 1_000),
        }
    }

    /// Nothing is kept of an ephemeral message, so nothing can be promised that would need it.
    fn refuse_promises(&self) -> Result<(), ApiError> {
        if self.dedup_id.is_some() {
            return Err(invalid(
                "dedupId",
                "an ephemeral message is never stored, so a retry of it cannot be recognised; leave one of the two out",
            ));
        }
        if self.ttl_seconds != 0 {
            return Err(invalid(
                "ttlSeconds",
                "an ephemeral message is never stored, so it waits for nobody; leave one of the two out",
            ));
        }
        Ok(())
    }

    /// A digest of what the publisher means, whatever form it was sent in. What is remembered lives through restarts:
    /// after a change here retries from before are answered as conflicts for as long as ids are remembered.
    pub(in crate::api) fn digest(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        match &self.envelopes {
            Envelopes::All(payload) => {
                hash.update([1]);
                add_payload(&mut hash, payload);
            }
            Envelopes::Listed(devices, payload) => {
                hash.update([2]);
                add_number(&mut hash, devices.len() as u64);
                devices.iter().for_each(|device| add_number(&mut hash, device.get().into()));
                add_payload(&mut hash, payload);
            }
            Envelopes::PerDevice(envelopes) => {
                hash.update([3]);
                add_number(&mut hash, envelopes.len() as u64);
                for (device, payload) in envelopes {
                    add_number(&mut hash, device.get().into());
                    add_payload(&mut hash, payload);
                }
            }
        }
        add_bytes(&mut hash, self.kind.as_deref().unwrap_or(KIND_DEFAULT).as_bytes());
        add_bytes(&mut hash, self.topic.as_deref().unwrap_or_default().as_bytes());
        // An absent sender has an empty name, which no user has.
        add_bytes(&mut hash, self.from.as_ref().map_or(&[][..], |from| from.user.as_bytes()));
        add_number(&mut hash, self.from.as_ref().map_or(0, |from| from.device.into()));
        add_number(&mut hash, self.ttl_seconds.into());
        let digest: [u8; 32] = hash.finalize().into();
        std::array::from_fn(|place| digest[place])
    }
}

const SECONDS_PER_DAY: u64 = 24 * 3_600;

fn add_payload(hash: &mut Sha256, payload: &Payload) {
    let (form, bytes) = content(payload);
    hash.update([form]);
    add_bytes(hash, bytes);
}

fn add_bytes(hash: &mut Sha256, bytes: &[u8]) {
    add_number(hash, bytes.len() as u64);
    hash.update(bytes);
}

fn add_number(hash: &mut Sha256, number: u64) {
    hash.update(number.to_le_bytes());
}

/// The form of a payload as a number, and its bytes.
fn content(payload: &Payload) -> (u8, &[u8]) {
    match &payload.content {
        None => (0, &[]),
        Some(Content::Data(data)) => (1, data),
        Some(Content::Text(text)) => (2, text.as_bytes()),
        Some(Content::Json(json)) => (3, json.as_bytes()),
    }
}

/// An error of a field.
pub(in crate::api) fn invalid(name: impl std::fmt::Display, problem: impl std::fmt::Display) -> ApiError {
    ApiError::InvalidField(format!("{name}: {problem}"))
}

/// One device, or several, or all of them.
pub(in crate::api) fn convenient(devices: Option<Vec<DeviceId>>, payload: Payload) -> Envelopes {
    match devices {
        Some(devices) => Envelopes::Listed(devices, payload),
        None => Envelopes::All(payload),
    }
}

/// Now, in milliseconds since the Unix epoch.
pub(in crate::api) fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
