//! Parts of the service's messages that several rooms have, with their checks. Fields are named in errors as JSON names
//! them, and empty ones count as left out.

use std::fmt::Display;

use campanile_core::names::{DedupId, Name};
use campanile_core::push::readable;
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Device, Payload};

use crate::api::error::{ApiError, invalid};

/// A user id.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(in crate::api) fn user(field: &str, text: &str) -> Result<UserId, ApiError> {
    text.parse().map_err(|error| invalid(field, error))
}

/// A device id.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(in crate::api) fn device(field: impl Display, number: u32) -> Result<DeviceId, ApiError> {
    DeviceId::try_from(number).map_err(|error| invalid(field, error))
}

/// Who sent a message.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(in crate::api) fn sender(from: Device) -> Result<Device, ApiError> {
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
pub(in crate::api) fn name(field: &str, text: String) -> Result<Option<Name>, ApiError> {
    Name::optional(text).map_err(|problem| invalid(field, problem))
}

/// A deduplication id, if there is one.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(in crate::api) fn dedup_id(text: &str) -> Result<Option<DedupId>, ApiError> {
    DedupId::optional(text).map_err(|problem| invalid("dedupId", problem))
}

/// A payload that can be embedded wherever it goes.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(in crate::api) fn payload(field: &str, payload: Option<Payload>) -> Result<Payload, ApiError> {
    readable(payload).map_err(|error| invalid(field, error))
}
