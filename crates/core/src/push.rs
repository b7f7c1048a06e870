//! Messages for users, as shards are asked to deliver them.
//!
//! [`Push::new`] is the only way to one: whoever asks, a publisher over HTTP or gRPC or a device with a sync frame,
//! hears the same refusals. What holds of every [`Push`]: its names are names, no payload is larger than allowed, its
//! devices are in the order of their numbers and none is there twice, a durable message expires, and an ephemeral one
//! has no deduplication id.

use std::time::Duration;

use campanile_mailbox::{Dedup, DedupKey, DedupScope};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Content, Deliver, Device, JsonError, Payload};
use sha2::{Digest, Sha256};

use crate::names::{DedupId, KIND_DEFAULT, Name};

/// Devices that one push may name.
pub const DEVICES_LISTED_MAX: usize = 1_000;

const SECONDS_PER_DAY: u64 = 24 * 3_600;

/// What pushes and publishes are held to: a part of the node's settings.
#[derive(Copy, Clone, Debug)]
pub struct PushRules {
    /// The largest payload in bytes: `limits.push_bytes_max`.
    pub payload_bytes_max: usize,
    /// How long a durable message waits unless it says less: `mailbox.ttl_days`.
    pub ttl: Duration,
    /// For how long the deduplication id of a publisher is remembered: `mailbox.dedup_window_seconds`.
    pub dedup_window: Duration,
}

impl PushRules {
    /// The time that a message is asked to wait, cut to the longest that is allowed.
    #[must_use]
    pub fn clamp_ttl(&self, ttl_seconds: u32) -> u32 {
        let most = u32::try_from(self.ttl.as_secs()).unwrap_or(u32::MAX);
        ttl_seconds.min(most)
    }
}

/// A message for a user.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Push {
    /// Whose devices.
    pub user: UserId,
    /// What each of them is to receive.
    pub envelopes: Envelopes,
    /// Everything about the message but its payload. The shard fills in `id` and `seq`. A durable message expires:
    /// `expires_at_ms` is not 0.
    pub message: Deliver,
    /// Whether it waits for those who are away.
    pub durability: Durability,
    /// Under which name a retry is recognised; durable messages only.
    pub dedup: Option<Dedup>,
}

/// What each device is to receive.
#[derive(Clone, Debug, PartialEq)]
pub enum Envelopes {
    /// The same for all registered devices of the user.
    All(Payload),
    /// The same for these devices.
    Listed(Vec<DeviceId>, Payload),
    /// One for each device; no device twice.
    PerDevice(Vec<(DeviceId, Payload)>),
}

impl Envelopes {
    /// What a device is to receive; `None` if it is not meant.
    pub(crate) fn payload(&self, device: DeviceId) -> Option<&Payload> {
        match self {
            Envelopes::All(payload) => Some(payload),
            Envelopes::Listed(devices, payload) => devices.contains(&device).then_some(payload),
            Envelopes::PerDevice(each) => {
                each.iter().find(|(meant, _)| *meant == device).map(|(_, payload)| payload)
            }
        }
    }

    /// The bytes of all payloads.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Envelopes::All(payload) | Envelopes::Listed(_, payload) => payload.content_bytes(),
            Envelopes::PerDevice(each) => each.iter().map(|(_, payload)| payload.content_bytes()).sum(),
        }
    }

    /// The devices that are named.
    pub(crate) fn listed(&self) -> impl Iterator<Item = DeviceId> + '_ {
        let (listed, each): (&[DeviceId], &[(DeviceId, Payload)]) = match self {
            Envelopes::All(_) => (&[], &[]),
            Envelopes::Listed(devices, _) => (devices, &[]),
            Envelopes::PerDevice(each) => (&[], each),
        };
        listed.iter().copied().chain(each.iter().map(|&(device, _)| device))
    }
}

/// Whether a message waits for those who are away.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is stored, and delivered at least once to every device that it is for.
    Durable,
    /// It is sent to devices that are connected and keep up, and never stored. It may overtake durable messages.
    Ephemeral,
}

/// A push as it is asked for. Its ids and names have passed their checks, the rest has not.
#[derive(Clone, Debug)]
pub struct PushDraft {
    /// Whose devices.
    pub user: UserId,
    /// What each of them is to receive, in any order.
    pub envelopes: Envelopes,
    /// What it is, for the client; [`KIND_DEFAULT`] if it does not say.
    pub kind: Option<Name>,
    /// A message of the same topic that still waits for a device is replaced.
    pub topic: Option<Name>,
    /// In whose name.
    pub from: Option<Device>,
    /// How long it waits; 0 for as long as is allowed.
    pub ttl_seconds: u32,
    /// Whether it waits for those who are away.
    pub durability: Durability,
    /// Under which name a retry is recognised.
    pub dedup: Option<DedupDraft>,
}

/// The deduplication id of a push, as it is asked for.
#[derive(Clone, Debug)]
pub struct DedupDraft {
    /// Whose id.
    pub scope: DedupScope,
    /// The id.
    pub id: DedupId,
    /// The digest of what was asked, where that is not the draft: something was added that a retry would not repeat.
    pub digest: Option<[u8; 16]>,
    /// For how long it is remembered.
    pub remembered: Duration,
}

/// Why a payload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// There is none, or one of no kind.
    #[error("`data`, `text` or `json` is missing")]
    Missing,
    /// It claims to be JSON and is not, or is nested too deep to be put into other JSON.
    #[error("{0}")]
    Json(String),
    /// It is larger than `limits.push_bytes_max`.
    #[error("{bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is allowed.
        max: usize,
    },
}

impl From<JsonError> for PayloadError {
    fn from(error: JsonError) -> PayloadError {
        PayloadError::Json(error.to_string())
    }
}

/// Why a push is refused before any shard hears of it. The words begin with the field, as JSON names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRefused {
    /// A payload cannot be taken.
    #[error("payload: {0}")]
    Payload(#[from] PayloadError),
    /// No device is listed, or more than [`DEVICES_LISTED_MAX`].
    #[error("{field}: {count} items, 1 to {DEVICES_LISTED_MAX} are allowed")]
    DeviceCount {
        /// The list.
        field: &'static str,
        /// How long it is.
        count: usize,
    },
    /// One device has two envelopes.
    #[error("deviceEnvelopes: device {0} has two envelopes")]
    TwoEnvelopes(DeviceId),
    /// The message is to wait for longer than allowed.
    #[error("ttlSeconds: {seconds} is more than {max} ({} days)", max / SECONDS_PER_DAY)]
    TtlTooLong {
        /// How long it is to wait.
        seconds: u32,
        /// The longest that is allowed.
        max: u64,
    },
    /// An ephemeral message has a deduplication id.
    #[error(
        "dedupId: an ephemeral message is never stored, so a retry of it cannot be recognised; leave one of the two out"
    )]
    EphemeralDedup,
    /// An ephemeral message says how long it waits.
    #[error(
        "ttlSeconds: an ephemeral message is never stored, so it waits for nobody; leave one of the two out"
    )]
    EphemeralTtl,
}

impl PushRefused {
    /// The stable name of the refusal.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PushRefused::Payload(error) => error.code(),
            _ => "invalid_field",
        }
    }
}

impl PayloadError {
    /// The stable name of the refusal.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PayloadError::TooLarge { .. } => "payload_too_large",
            PayloadError::Missing | PayloadError::Json(_) => "invalid_field",
        }
    }
}

/// A payload that came in protobuf, where it may be missing or claim to be JSON that is none. One that came in JSON or
/// was made by [`Payload::json`] needs no second look.
///
/// # Errors
/// [`PayloadError::Missing`] and [`PayloadError::Json`].
pub fn readable(payload: Option<Payload>) -> Result<Payload, PayloadError> {
    match payload.and_then(|payload| payload.content) {
        None => Err(PayloadError::Missing),
        Some(Content::Json(json)) => Ok(Payload::json(json)?),
        Some(content) => Ok(content.into()),
    }
}

/// Whether a payload is not too large.
///
/// # Errors
/// [`PayloadError::TooLarge`].
pub fn check_size(payload: &Payload, max: usize) -> Result<(), PayloadError> {
    match payload.content_bytes() {
        bytes if bytes > max => Err(PayloadError::TooLarge { bytes, max }),
        _ => Ok(()),
    }
}

impl Push {
    /// What shards are asked for.
    ///
    /// # Errors
    /// [`PushRefused`].
    pub fn new(mut draft: PushDraft, rules: &PushRules, now_ms: u64) -> Result<Push, PushRefused> {
        draft.envelopes.check_sizes(rules.payload_bytes_max)?;
        draft.envelopes.put_in_order()?;
        let expires_at_ms = match draft.durability {
            Durability::Durable => now_ms + draft.ttl_ms(rules.ttl)?,
            Durability::Ephemeral => draft.refuse_promises().map(|()| 0)?,
        };
        let dedup = draft.dedup.take().map(|dedup| Dedup {
            digest: dedup.digest.unwrap_or_else(|| draft.digest()),
            key: DedupKey { scope: dedup.scope, id: dedup.id.into() },
            until_ms: now_ms + millis(dedup.remembered),
        });
        let message = Deliver {
            kind: draft.kind.map_or_else(|| KIND_DEFAULT.into(), String::from),
            from: draft.from,
            sent_at_ms: signed(now_ms),
            expires_at_ms: signed(expires_at_ms),
            topic: draft.topic.map(String::from).unwrap_or_default(),
            // The shard gives the id and the sequence number.
            ..Deliver::default()
        };
        let PushDraft { user, envelopes, durability, .. } = draft;
        Ok(Push { user, envelopes, message, durability, dedup })
    }
}

impl Envelopes {
    fn check_sizes(&self, max: usize) -> Result<(), PayloadError> {
        match self {
            Envelopes::All(payload) | Envelopes::Listed(_, payload) => check_size(payload, max),
            Envelopes::PerDevice(each) => each.iter().try_for_each(|(_, payload)| check_size(payload, max)),
        }
    }

    /// Puts devices in the order of their numbers: listed ones once each, and no device with two envelopes.
    fn put_in_order(&mut self) -> Result<(), PushRefused> {
        let counted = |field, count| match count {
            1..=DEVICES_LISTED_MAX => Ok(()),
            _ => Err(PushRefused::DeviceCount { field, count }),
        };
        match self {
            Envelopes::All(_) => Ok(()),
            Envelopes::Listed(devices, _) => {
                counted("devices", devices.len())?;
                devices.sort_unstable();
                devices.dedup();
                Ok(())
            }
            Envelopes::PerDevice(each) => {
                counted("deviceEnvelopes", each.len())?;
                each.sort_unstable_by_key(|(device, _)| *device);
                let twice = each.windows(2).find(|pair| pair[0].0 == pair[1].0);
                twice.map_or(Ok(()), |pair| Err(PushRefused::TwoEnvelopes(pair[0].0)))
            }
        }
    }
}

impl PushDraft {
    fn ttl_ms(&self, max: Duration) -> Result<u64, PushRefused> {
        match (self.ttl_seconds, max.as_secs()) {
            (0, _) => Ok(millis(max)),
            (seconds, max) if u64::from(seconds) > max => Err(PushRefused::TtlTooLong { seconds, max }),
            (seconds, _) => Ok(u64::from(seconds) * 1_000),
        }
    }

    /// Nothing is kept of an ephemeral message, so nothing can be promised that would need it.
    fn refuse_promises(&self) -> Result<(), PushRefused> {
        if self.dedup.is_some() {
            return Err(PushRefused::EphemeralDedup);
        }
        if self.ttl_seconds != 0 {
            return Err(PushRefused::EphemeralTtl);
        }
        Ok(())
    }

    /// A digest of what the publisher means, whatever form it was sent in. What is remembered lives through restarts:
    /// after a change here retries from before are answered as conflicts for as long as ids are remembered.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
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
        add_bytes(&mut hash, self.kind.as_ref().map_or(KIND_DEFAULT, Name::as_str).as_bytes());
        add_bytes(&mut hash, self.topic.as_ref().map_or("", Name::as_str).as_bytes());
        // An absent sender has an empty name, which no user has.
        add_bytes(&mut hash, self.from.as_ref().map_or(&[][..], |from| from.user.as_bytes()));
        add_number(&mut hash, self.from.as_ref().map_or(0, |from| from.device.into()));
        add_number(&mut hash, self.ttl_seconds.into());
        let digest: [u8; 32] = hash.finalize().into();
        std::array::from_fn(|place| digest[place])
    }
}

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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000;
    const RULES: PushRules = PushRules {
        payload_bytes_max: 10,
        ttl: Duration::from_secs(100),
        dedup_window: Duration::from_secs(5),
    };

    fn device(number: u32) -> DeviceId {
        number.try_into().unwrap()
    }

    fn draft(envelopes: Envelopes) -> PushDraft {
        PushDraft {
            user: "ada".parse().unwrap(),
            envelopes,
            kind: None,
            topic: None,
            from: None,
            ttl_seconds: 0,
            durability: Durability::Durable,
            dedup: None,
        }
    }

    fn to_all(text: &str) -> PushDraft {
        draft(Envelopes::All(Payload::text(text)))
    }

    fn dedup() -> Option<DedupDraft> {
        let (scope, remembered) = (DedupScope::Publisher(7), RULES.dedup_window);
        Some(DedupDraft { scope, id: "d".parse().unwrap(), digest: None, remembered })
    }

    fn refused(draft: PushDraft) -> PushRefused {
        Push::new(draft, &RULES, NOW_MS).unwrap_err()
    }

    #[test]
    fn a_durable_push_expires_and_an_ephemeral_one_does_not() {
        for (ttl_seconds, waits_ms) in [(0, 100_000), (1, 1_000), (100, 100_000)] {
            let push = Push::new(PushDraft { ttl_seconds, ..to_all("hi") }, &RULES, NOW_MS).unwrap();
            assert_eq!(push.message.expires_at_ms - push.message.sent_at_ms, waits_ms);
            assert_eq!((push.message.kind.as_str(), push.message.topic.as_str()), ("message", ""));
        }
        let too_long = PushDraft { ttl_seconds: 101, ..to_all("hi") };
        assert_eq!(refused(too_long), PushRefused::TtlTooLong { seconds: 101, max: 100 });
        assert_eq!((RULES.clamp_ttl(101), RULES.clamp_ttl(99), RULES.clamp_ttl(0)), (100, 99, 0));
        let ephemeral = PushDraft { durability: Durability::Ephemeral, ..to_all("hi") };
        assert_eq!(Push::new(ephemeral.clone(), &RULES, NOW_MS).unwrap().message.expires_at_ms, 0);
        assert_eq!(refused(PushDraft { ttl_seconds: 1, ..ephemeral.clone() }), PushRefused::EphemeralTtl);
        assert_eq!(refused(PushDraft { dedup: dedup(), ..ephemeral }), PushRefused::EphemeralDedup);
    }

    #[test]
    fn no_envelope_is_too_large_and_no_device_has_two() {
        let (fits, large) = (Payload::text("0123456789"), Payload::text("0123456789a"));
        let too_large = PushRefused::Payload(PayloadError::TooLarge { bytes: 11, max: 10 });
        assert_eq!(too_large.code(), "payload_too_large");
        for envelopes in [
            Envelopes::All(large.clone()),
            Envelopes::Listed(vec![device(1)], large.clone()),
            Envelopes::PerDevice(vec![(device(1), fits.clone()), (device(2), large)]),
        ] {
            assert_eq!(refused(draft(envelopes)), too_large);
        }
        let twice = [1, 2, 1].map(|number| (device(number), fits.clone()));
        assert_eq!(refused(draft(Envelopes::PerDevice(twice.into()))), PushRefused::TwoEnvelopes(device(1)));
        let listed = Envelopes::Listed([3, 1, 3].map(device).into(), fits.clone());
        let push = Push::new(draft(listed), &RULES, NOW_MS).unwrap();
        assert_eq!(push.envelopes, Envelopes::Listed([1, 3].map(device).into(), fits.clone()));
        for (devices, count) in [(vec![], 0), (vec![device(1); 1_001], 1_001)] {
            let refusal = refused(draft(Envelopes::Listed(devices, fits.clone())));
            assert_eq!(refusal, PushRefused::DeviceCount { field: "devices", count });
            assert_eq!(refusal.code(), "invalid_field");
        }
    }

    #[test]
    fn what_is_remembered_of_a_push_is_what_it_means() {
        let remembered = |draft: PushDraft| {
            let push = Push::new(PushDraft { dedup: dedup(), ..draft }, &RULES, NOW_MS).unwrap();
            push.dedup.unwrap()
        };
        let first = remembered(to_all("hi"));
        assert_eq!((&*first.key.id, first.until_ms), ("d", NOW_MS + 5_000));
        let named = PushDraft { kind: "message".parse().ok(), ..to_all("hi") };
        assert_eq!(remembered(named).digest, first.digest, "the default said aloud");
        for other in [
            to_all("ho"),
            draft(Envelopes::All(Payload::data("hi"))),
            draft(Envelopes::Listed(vec![device(1)], Payload::text("hi"))),
            PushDraft { kind: "call".parse().ok(), ..to_all("hi") },
            PushDraft { topic: "t".parse().ok(), ..to_all("hi") },
            PushDraft { ttl_seconds: 5, ..to_all("hi") },
            PushDraft { from: Some(Device { user: "eve".into(), device: 0 }), ..to_all("hi") },
        ] {
            assert_ne!(remembered(other).digest, first.digest);
        }
        // What an earlier version has stored is still the same push: this digest may never change.
        let digest: String = first.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "2490731913c9c4d5c10557d25f7327aa");
    }

    #[test]
    fn a_payload_from_protobuf_is_there_and_is_what_it_claims() {
        assert_eq!(readable(None), Err(PayloadError::Missing));
        assert_eq!(readable(Some(Payload::default())), Err(PayloadError::Missing));
        let json = |json: &str| readable(Some(Content::Json(json.to_owned()).into()));
        assert!(json("{\"a\":[1]}").is_ok() && readable(Some(Payload::text(""))).is_ok());
        for bad in ["", "{", "1 2", &("[".repeat(101) + &"]".repeat(101))] {
            assert!(matches!(json(bad), Err(PayloadError::Json(_))), "{bad}");
        }
    }
}
