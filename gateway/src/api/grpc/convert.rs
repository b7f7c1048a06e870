//! Between the messages of the service and what HTTP shares with it. Fields are named in errors as JSON names them.

use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Content, Device, Payload};
use prost::Message as _;
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::wire::{
    DeviceSession, Durability as WireDurability, PushFailure, PushMessageRequest, PushMessageResponse,
    PushReadReceiptRequest, PushResult, PushedDevice, RegisteredDevice,
};
use crate::api::error::ApiError;
use crate::api::fields::{DedupId, Name};
use crate::api::push::{PushAnswer, PushRequest, Sent, invalid};
use crate::api::receipts::Receipt;
use campanile_core::requests::{Durability, UserDevice};

/// The metadata of an error that has the encoded answer: what became of each device when none took the message.
const ANSWER_METADATA: &str = "campanile-answer-bin";

impl TryFrom<PushMessageRequest> for PushRequest {
    type Error = ApiError;

    fn try_from(request: PushMessageRequest) -> Result<PushRequest, ApiError> {
        let durability = match request.durability() {
            WireDurability::Unspecified | WireDurability::Durable => Durability::Durable,
            WireDurability::Ephemeral => Durability::Ephemeral,
        };
        if WireDurability::try_from(request.durability).is_err() {
            return Err(invalid("durability", format_args!("{} is unknown", request.durability)));
        }
        let listed = |(place, number)| device(format_args!("devices[{place}]"), number);
        let devices: Vec<DeviceId> =
            request.devices.into_iter().enumerate().map(listed).collect::<Result<_, _>>()?;
        let one = |(place, envelope): (usize, super::wire::DeviceEnvelope)| {
            let name = |field| format!("deviceEnvelopes[{place}].{field}");
            Ok((device(name("device"), envelope.device)?, payload(&name("payload"), envelope.payload)?))
        };
        let per_device: Vec<(DeviceId, Payload)> =
            request.device_envelopes.into_iter().enumerate().map(one).collect::<Result<_, ApiError>>()?;
        let sent = Sent {
            version: request.protocol_version,
            encrypted_envelope: request.encrypted_envelope.map(Payload::data),
            device_envelopes: (!per_device.is_empty()).then_some(per_device),
            payload: request.payload.map(|sent| payload("payload", Some(sent))).transpose()?,
            devices: (!devices.is_empty()).then_some(devices),
        };
        Ok(PushRequest {
            user: user("user", &request.user)?,
            envelopes: sent.resolve()?,
            kind: name("kind", &request.kind)?,
            from: request.from.map(sender).transpose()?,
            topic: name("topic", &request.topic)?,
            ttl_seconds: request.ttl_seconds,
            dedup_id: dedup_id(&request.dedup_id)?,
            durability,
            digest: None,
        })
    }
}

/// A receipt with its ids checked.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn receipt(request: PushReadReceiptRequest) -> Result<Receipt, ApiError> {
    let from = request.from.ok_or_else(|| invalid("from", "is missing"))?;
    let read_at_ms = match u64::try_from(request.read_at_ms) {
        Ok(0) => None,
        Ok(ms) => Some(ms),
        Err(_) => return Err(invalid("readAtMs", "is before 1970")),
    };
    Ok(Receipt {
        to: user("to", &request.to)?,
        from: sender(from)?,
        message_ids: (!request.message_ids.is_empty()).then_some(request.message_ids),
        read_at_ms,
        payload: request.payload.map(|sent| payload("payload", Some(sent))).transpose()?,
        ttl_seconds: request.ttl_seconds,
        dedup_id: dedup_id(&request.dedup_id)?,
    })
}

/// A user id.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn user(field: &str, text: &str) -> Result<UserId, ApiError> {
    text.parse().map_err(|error| invalid(field, error))
}

fn device(field: impl std::fmt::Display, number: u32) -> Result<DeviceId, ApiError> {
    DeviceId::try_from(number).map_err(|error| invalid(field, error))
}

/// Who sent a message.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn sender(from: Device) -> Result<Device, ApiError> {
    user("from.user", &from.user)?;
    if from.device != 0 {
        device("from.device", from.device)?;
    }
    Ok(from)
}

/// A kind or a topic, if there is one.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn name(field: &str, text: &str) -> Result<Option<String>, ApiError> {
    let name = (!text.is_empty()).then(|| text.parse::<Name>()).transpose();
    Ok(name.map_err(|problem| invalid(field, problem))?.map(|name| name.0))
}

fn dedup_id(text: &str) -> Result<Option<Box<str>>, ApiError> {
    let id = (!text.is_empty()).then(|| text.parse::<DedupId>()).transpose();
    Ok(id.map_err(|problem| invalid("dedupId", problem))?.map(|id| id.0))
}

/// A payload that can be embedded wherever it goes.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn payload(field: &str, payload: Option<Payload>) -> Result<Payload, ApiError> {
    match payload.and_then(|payload| payload.content) {
        None => Err(invalid(field, "`data`, `text` or `json` is missing")),
        Some(Content::Json(json)) => Payload::json(json).map_err(|error| invalid(field, error)),
        Some(content) => Ok(content.into()),
    }
}

impl From<PushAnswer> for PushMessageResponse {
    fn from(answer: PushAnswer) -> PushMessageResponse {
        let pushed = |device: DeviceId, state: &str, reason: Option<&str>| PushedDevice {
            device: device.get(),
            state: state.into(),
            reason: reason.unwrap_or_default().into(),
        };
        let devices = answer.0.devices.iter().map(|&(device, outcome)| {
            let (state, reason) = (outcome.state(), outcome.reason());
            pushed(device, state, reason)
        });
        PushMessageResponse {
            message_id: answer.0.id.to_string(),
            success: answer.success(),
            delivered_count: u32::try_from(answer.delivered_count()).unwrap_or(u32::MAX),
            devices: devices.collect(),
            failed_devices: answer
                .failed()
                .map(|(device, reason)| pushed(device, "failed", Some(reason)))
                .collect(),
            error_message: answer.error_message().unwrap_or_default(),
            duplicate: answer.0.duplicate,
        }
    }
}

/// The status of a message that no device took, with what became of each.
pub(super) fn failure(failure: ApiError, answer: PushAnswer) -> Status {
    let mut status = Status::from(failure);
    let answer = PushMessageResponse::from(answer).encode_to_vec();
    status.metadata_mut().insert_bin(ANSWER_METADATA, MetadataValue::from_bytes(&answer));
    status
}

impl From<Result<PushAnswer, ApiError>> for PushResult {
    fn from(result: Result<PushAnswer, ApiError>) -> PushResult {
        match result {
            Ok(answer) => PushResult { error: answer.failure().map(Into::into), answer: Some(answer.into()) },
            Err(error) => PushResult { error: Some(error.into()), answer: None },
        }
    }
}

impl From<ApiError> for PushFailure {
    fn from(error: ApiError) -> PushFailure {
        PushFailure {
            code: error.code().into(),
            status: i32::from(error.grpc()).unsigned_abs(),
            message: error.to_string(),
        }
    }
}

impl From<UserDevice> for RegisteredDevice {
    fn from(device: UserDevice) -> RegisteredDevice {
        RegisteredDevice {
            device: device.record.device.get(),
            created_at_ms: device.record.created_at_ms,
            last_seen_at_ms: device.record.last_seen_at_ms,
            session: device.session.map(|session| DeviceSession {
                generation: session.generation,
                subprotocol: session.subprotocol.into(),
                connected_at_ms: session.connected_at_ms,
            }),
        }
    }
}
