//! What a refused request is answered: `{"error":{"code":"…","message":"…"}}`. Codes are stable, messages are for
//! people.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use campanile_protocol::ids::IdError;
use serde::Serialize;

use crate::shard::requests::{PushError, Unavailable};

/// A refused request, or a refused item of a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The body is not JSON.
    #[error("{0}")]
    MalformedJson(String),
    /// A field is missing, unknown or wrong; the message begins with its name.
    #[error("{0}")]
    InvalidField(String),
    /// The path names a user that cannot exist.
    #[error("the user id in the path: {0}")]
    InvalidUser(IdError),
    /// The path is not UTF-8 once decoded.
    #[error("the path is not UTF-8")]
    InvalidPath,
    /// The request has no key.
    #[error("a key is needed: `Authorization: Bearer KEY` or `X-Api-Key: KEY`")]
    KeyMissing,
    /// The request has a wrong key.
    #[error("the key is not valid")]
    KeyRefused,
    /// There is no such path.
    #[error("there is no such path")]
    NotFound,
    /// The path does not take this method.
    #[error("the path does not take this method")]
    MethodNotAllowed,
    /// The body arrives too slowly.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The body broke off.
    #[error("the body broke off")]
    BodyBroken,
    /// The body is larger than any that the path takes.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// The payload is larger than `limits.push_bytes_max`.
    #[error("payload: {bytes} bytes, at most {max} are allowed")]
    PayloadTooLarge {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// The body is something else than JSON.
    #[error("the body is `application/json`")]
    UnsupportedMediaType,
    /// A shard takes no more work.
    #[error("{0}; try again")]
    Unavailable(Unavailable),
    /// The answer took too long.
    #[error("the node did not answer in time; it may still have done what was asked")]
    Timeout,
    /// The node is not ready yet.
    #[error("the node is starting")]
    Starting,
    /// The node sends its devices away.
    #[error("the node is draining")]
    Draining,
}

impl ApiError {
    /// The stable code and the status.
    fn class(&self) -> (&'static str, StatusCode) {
        match self {
            ApiError::MalformedJson(_) => ("malformed_json", StatusCode::BAD_REQUEST),
            ApiError::InvalidField(_) => ("invalid_field", StatusCode::BAD_REQUEST),
            ApiError::InvalidUser(_) => ("invalid_user", StatusCode::BAD_REQUEST),
            ApiError::InvalidPath => ("invalid_path", StatusCode::BAD_REQUEST),
            ApiError::KeyMissing => ("key_missing", StatusCode::UNAUTHORIZED),
            ApiError::KeyRefused => ("key_refused", StatusCode::UNAUTHORIZED),
            ApiError::NotFound => ("not_found", StatusCode::NOT_FOUND),
            ApiError::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            ApiError::BodyTimeout => ("body_timeout", StatusCode::REQUEST_TIMEOUT),
            ApiError::BodyBroken => ("body_broken", StatusCode::BAD_REQUEST),
            ApiError::BodyTooLarge(_) => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            ApiError::PayloadTooLarge { .. } => ("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            ApiError::UnsupportedMediaType => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            ApiError::Unavailable(Unavailable::Overloaded) => ("overloaded", StatusCode::SERVICE_UNAVAILABLE),
            ApiError::Unavailable(Unavailable::Stopping) => ("stopping", StatusCode::SERVICE_UNAVAILABLE),
            ApiError::Unavailable(Unavailable::StoreFailed) => {
                ("store_failed", StatusCode::SERVICE_UNAVAILABLE)
            }
            ApiError::Timeout => ("timeout", StatusCode::SERVICE_UNAVAILABLE),
            ApiError::Starting => ("starting", StatusCode::SERVICE_UNAVAILABLE),
            ApiError::Draining => ("draining", StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// The answer's body; also what stands for one item of a batch.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody { error: ErrorDetail { code: self.class().0, message: self.to_string() } }
    }
}

impl From<PushError> for ApiError {
    fn from(error: PushError) -> ApiError {
        match error {
            PushError::Unavailable(unavailable) => unavailable.into(),
            _ => ApiError::NotFound,
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> ApiError {
        ApiError::Unavailable(unavailable)
    }
}

/// The JSON of an error.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorDetail {
    code: &'static str,
    message: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.class().1;
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
