//! Request bodies: bounded, in time, and JSON whose errors name the field.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use campanile_core::push::PushRules;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::{Deserialize, DeserializeOwned};

use super::error::ApiError;

/// The largest body of a push or a batch in bytes, unless one payload alone may be larger.
pub const PUSH_BODY_BYTES_MAX: usize = 8 << 20;
/// The largest body of a request that carries no payload.
pub(super) const SMALL_BODY_BYTES_MAX: usize = 4_096;
/// From the head to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest body with payloads, in bytes. One payload always fits: base64 and escapes take up to twice the payload's
/// size; text of nothing but control characters takes more, and is refused.
pub(super) fn payloads_bytes_max(rules: &PushRules) -> usize {
    PUSH_BODY_BYTES_MAX.max(2 * rules.payload_bytes_max + SMALL_BODY_BYTES_MAX)
}

/// Reads a JSON body of at most `bytes_max`.
pub(super) async fn json<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, ApiError> {
    parse(&bytes(request, bytes_max).await?)
}

/// As [`json`], but leaves the parsing to the caller.
pub(super) async fn bytes(request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::UnsupportedMediaType);
    }
    read(request.into_body(), bytes_max).await
}

/// As [`json`], but no body at all means the default.
pub(super) async fn json_or_default<T: DeserializeOwned + Default>(
    request: Request,
    bytes_max: usize,
) -> Result<T, ApiError> {
    let is_json = is_json(request.headers());
    match read(request.into_body(), bytes_max).await? {
        body if body.is_empty() => Ok(T::default()),
        body if is_json => parse(&body),
        _ => Err(ApiError::UnsupportedMediaType),
    }
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    // A body that says how large it is gets its answer before it is read.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(ApiError::BodyTooLarge(bytes_max));
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect());
    match read.await {
        Err(_) => Err(ApiError::BodyTimeout),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::BodyTooLarge(bytes_max)),
        Ok(Err(_)) => Err(ApiError::BodyBroken),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// Reads one JSON value.
///
/// # Errors
/// [`ApiError::MalformedJson`] with the position, or [`ApiError::InvalidField`] with the field.
pub(super) fn parse<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(json).or_else(|_| parse_with_path(json))
}

/// Keeping track of the path costs time, so it is done once something is known to be wrong.
fn parse_with_path<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        match (error.is_data(), path.as_str()) {
            (false, _) => ApiError::MalformedJson(error.to_string()),
            (true, "." | "?") => ApiError::InvalidField(error.to_string()),
            (true, path) => ApiError::InvalidField(format!("{path}: {error}")),
        }
    })?;
    deserializer.end().map_err(|error| ApiError::MalformedJson(error.to_string()))?;
    Ok(value)
}
