//! The JSON of a push.

use campanile_core::names::{DedupId, Name};
use campanile_core::push::{DEVICES_LISTED_MAX, Durability, Envelopes, PushDraft};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::Payload;
use serde::Deserialize;

use super::PushRequest;
#[cfg(test)]
use crate::api::body;
use crate::api::error::{ApiError, invalid};
use crate::api::fields::{self, Base64, Bounded, From, Listed, PayloadField};

/// The body of `POST /v2/push`, and an item of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct PushBody {
    #[serde(deserialize_with = "fields::text")]
    user: UserId,
    #[serde(default)]
    protocol_version: Option<u32>,
    #[serde(default)]
    encrypted_envelope: Option<Base64>,
    #[serde(default)]
    device_envelopes: Option<Bounded<DeviceEnvelope, DEVICES_LISTED_MAX>>,
    #[serde(default)]
    payload: Option<PayloadField>,
    #[serde(default, deserialize_with = "fields::some_device")]
    device: Option<DeviceId>,
    #[serde(default)]
    devices: Option<Bounded<Listed, DEVICES_LISTED_MAX>>,
    #[serde(default, deserialize_with = "fields::some_text")]
    kind: Option<Name>,
    #[serde(default, deserialize_with = "fields::some_text")]
    topic: Option<Name>,
    #[serde(default)]
    from: Option<From>,
    #[serde(default)]
    ttl_seconds: u32,
    #[serde(default, deserialize_with = "fields::some_text")]
    dedup_id: Option<DedupId>,
    #[serde(default)]
    durability: DurabilityField,
}

/// Exactly one of `payload` and `envelope`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceEnvelope {
    #[serde(deserialize_with = "fields::device")]
    device: DeviceId,
    #[serde(default)]
    payload: Option<PayloadField>,
    #[serde(default)]
    envelope: Option<Base64>,
}

#[derive(Copy, Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DurabilityField {
    #[default]
    Durable,
    Ephemeral,
}

impl PushBody {
    /// The push, whatever version it is in.
    ///
    /// # Errors
    /// [`ApiError::InvalidField`] for fields that contradict each other.
    pub(super) fn into_request(self) -> Result<PushRequest, ApiError> {
        let devices = match (self.device, self.devices) {
            (Some(_), Some(_)) => return Err(invalid("device", "either `device` or `devices`, not both")),
            (Some(device), None) => Some(vec![device]),
            (None, Some(devices)) => Some(devices.0.into_iter().map(|listed| listed.0).collect()),
            (None, None) => None,
        };
        let per_device = self.device_envelopes.map(|envelopes| envelopes.0);
        let envelopes = Sent {
            version: self.protocol_version.unwrap_or(0),
            encrypted_envelope: self.encrypted_envelope.map(|envelope| envelope.0),
            device_envelopes: per_device
                .map(|list| list.into_iter().enumerate().map(one).collect())
                .transpose()?,
            payload: self.payload.map(|payload| payload.0),
            devices,
        };
        let draft = PushDraft {
            user: self.user,
            envelopes: envelopes.resolve()?,
            kind: self.kind,
            topic: self.topic,
            from: self.from.map(From::into_device),
            ttl_seconds: self.ttl_seconds,
            durability: match self.durability {
                DurabilityField::Durable => Durability::Durable,
                DurabilityField::Ephemeral => Durability::Ephemeral,
            },
            dedup: None,
        };
        Ok(PushRequest { draft, dedup_id: self.dedup_id, digest: None })
    }
}

/// One push, as the API reads it.
#[cfg(test)]
pub(in crate::api) fn from_json(body: &[u8]) -> Result<PushRequest, ApiError> {
    body::parse::<PushBody>(body)?.into_request()
}

fn one((place, envelope): (usize, DeviceEnvelope)) -> Result<(DeviceId, Payload), ApiError> {
    let payload = match (envelope.payload, envelope.envelope) {
        (Some(payload), None) => payload.0,
        (None, Some(envelope)) => envelope.0,
        (None, None) => return Err(invalid(named(place), "`payload` or `envelope` is missing")),
        (Some(_), Some(_)) => return Err(invalid(named(place), "either `payload` or `envelope`, not both")),
    };
    Ok((envelope.device, payload))
}

fn named(place: usize) -> String {
    format!("deviceEnvelopes[{place}]")
}

/// The ways in which a push may say what is sent, over HTTP and gRPC.
pub(super) struct Sent {
    /// 0 if it is not said.
    pub(super) version: u32,
    pub(super) encrypted_envelope: Option<Payload>,
    pub(super) device_envelopes: Option<Vec<(DeviceId, Payload)>>,
    pub(super) payload: Option<Payload>,
    pub(super) devices: Option<Vec<DeviceId>>,
}

impl Sent {
    /// What each device is sent.
    ///
    /// # Errors
    /// [`ApiError::InvalidField`] when it is said in no way or in several, or not in the version's way.
    pub(super) fn resolve(self) -> Result<Envelopes, ApiError> {
        const ONE: &str = "exactly one of `payload`, `deviceEnvelopes` and `encryptedEnvelope` is needed";
        if self.devices.is_some() && self.payload.is_none() {
            return Err(invalid(
                "devices",
                "goes with `payload` only: `deviceEnvelopes` name their devices, and `encryptedEnvelope` is for all",
            ));
        }
        let (version, envelopes) = match (self.encrypted_envelope, self.device_envelopes, self.payload) {
            (Some(envelope), None, None) => (1, Envelopes::All(envelope)),
            (None, Some(envelopes), None) => (2, Envelopes::PerDevice(envelopes)),
            (None, None, Some(payload)) => (2, convenient(self.devices, payload)),
            (None, None, None) => return Err(invalid("payload", format_args!("is missing: {ONE}"))),
            _ => return Err(invalid("payload", ONE)),
        };
        match (self.version, version) {
            (0, _) => Ok(envelopes),
            (said, is) if said == is => Ok(envelopes),
            (1, _) => Err(invalid("protocolVersion", "version 1 goes with `encryptedEnvelope`")),
            (2, _) => Err(invalid(
                "protocolVersion",
                "version 2 goes with `deviceEnvelopes` or `payload`, not with `encryptedEnvelope`",
            )),
            (other, _) => Err(invalid("protocolVersion", format_args!("{other} is neither 1 nor 2"))),
        }
    }
}

/// One device, or several, or all of them.
fn convenient(devices: Option<Vec<DeviceId>>, payload: Payload) -> Envelopes {
    match devices {
        Some(devices) => Envelopes::Listed(devices, payload),
        None => Envelopes::All(payload),
    }
}
