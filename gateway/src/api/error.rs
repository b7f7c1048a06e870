//! What a refused request is answered: over HTTP `{"error":{"code":"…","message":"…"}}`, over gRPC a status with the
//! code in its metadata. Codes are stable and the same everywhere, messages are for people.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use campanile_core::publish::PublishRefused;
use campanile_core::push::{PayloadError, PushRefused};
use campanile_core::requests::{PublishError, PushError, Unavailable};
use campanile_core::tokens::TokenError;
use campanile_mailbox::operations::RegisterError;
use campanile_protocol::ids::IdError;
use serde::Serialize;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// The metadata of a gRPC error that has the stable code.
pub const CODE_METADATA: &str = "campanile-code";

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
    /// The path names a message that cannot exist.
    #[error("the message id in the path: {0}")]
    InvalidMessageId(IdError),
    /// The path names a channel that cannot exist.
    #[error("the channel in the path: {0}")]
    InvalidChannel(IdError),
    /// The path is not UTF-8 once decoded.
    #[error("the path is not UTF-8")]
    InvalidPath,
    /// The request has no key.
    #[error("a key is needed: `Authorization: Bearer KEY` or `X-Api-Key: KEY`")]
    KeyMissing,
    /// The request has a wrong key.
    #[error("the key is not valid")]
    KeyRefused,
    /// The request has a device's token where a publisher's key is needed.
    #[error("this is for publishers, with a key; a device's token is not enough")]
    KeyNeeded,
    /// The request has no token.
    #[error("the device's token is needed: `Authorization: Bearer TOKEN`")]
    TokenMissing,
    /// The request has a token that is not valid now.
    #[error("{0}")]
    TokenRefused(TokenError),
    /// The request has a publisher's key where a device's token is needed.
    #[error("this is for devices, with their own token; a publisher's key reads nobody's mail")]
    TokenNeeded,
    /// The request names another device than its token.
    #[error("deviceId: the token is another device's")]
    OtherDevice,
    /// The request is a page's whose origin is not allowed.
    #[error("pages of this origin may not ask")]
    OriginForbidden,
    /// The device of the token is not registered, and is not to be.
    #[error("the device is not registered")]
    NotRegistered,
    /// The user has as many devices as allowed.
    #[error("the user has as many devices as allowed")]
    DeviceLimit,
    /// The device to be registered exists.
    #[error("the user has this device already")]
    DeviceExists,
    /// The channel is a user's status, which has no messages.
    #[error("{}", PublishError::Reserved)]
    ChannelReserved,
    /// The node knows as many channels as it may.
    #[error("{}", PublishError::TooManyChannels)]
    TooManyChannels,
    /// The channel's namespace does not let anybody ask for its members.
    #[error("the members of this channel are not told: its namespace does not have `members = true`")]
    MembersDisabled,
    /// There is no such path.
    #[error("there is no such path")]
    NotFound,
    /// The path does not take this method.
    #[error("the path does not take this method")]
    MethodNotAllowed,
    /// The message does not wait for the device: it has been confirmed, has expired, or never was.
    #[error("no such message waits for this device; if this is a retry, the first attempt has done it")]
    UnknownMessage,
    /// The user has no registered device.
    #[error("the user has no device; nothing is stored")]
    NoDevices,
    /// None of the devices that are listed exists.
    #[error("the user has none of these devices; nothing is stored")]
    UnknownDevice,
    /// No device could take the message: mailboxes are full.
    #[error("no device could take the message: mailboxes are full until mail is fetched or expires")]
    MailboxFull,
    /// No device could take the message: the node's storage is full.
    #[error("no device could take the message: the storage of the node is full")]
    StorageFull,
    /// Another message was pushed under the same deduplication id.
    #[error("dedupId: another message was pushed under this id")]
    DedupConflict,
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
    /// A stored message cannot be read. The operator has to look at the storage.
    #[error("a stored message is damaged")]
    Damaged,
    /// What answers the request has panicked; the log says where.
    #[error("the gateway has failed at this request; it may have been carried out")]
    Internal,
    /// A shard takes no more work, or the store does not work.
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
    /// The stable code, the HTTP status and the gRPC status.
    fn class(&self) -> (&'static str, StatusCode, Code) {
        use {StatusCode as Http, Unavailable as Un};
        match self {
            ApiError::MalformedJson(_) => ("malformed_json", Http::BAD_REQUEST, Code::InvalidArgument),
            ApiError::InvalidField(_) => ("invalid_field", Http::BAD_REQUEST, Code::InvalidArgument),
            ApiError::InvalidUser(_) => ("invalid_user", Http::BAD_REQUEST, Code::InvalidArgument),
            ApiError::InvalidMessageId(_) => ("invalid_message_id", Http::BAD_REQUEST, Code::InvalidArgument),
            ApiError::InvalidChannel(_) => ("invalid_channel", Http::BAD_REQUEST, Code::InvalidArgument),
            ApiError::InvalidPath => ("invalid_path", Http::BAD_REQUEST, Code::InvalidArgument),
            ApiError::KeyMissing => ("key_missing", Http::UNAUTHORIZED, Code::Unauthenticated),
            ApiError::KeyRefused => ("key_refused", Http::UNAUTHORIZED, Code::Unauthenticated),
            ApiError::KeyNeeded => ("publisher_key_needed", Http::FORBIDDEN, Code::PermissionDenied),
            ApiError::TokenMissing => ("token_missing", Http::UNAUTHORIZED, Code::Unauthenticated),
            ApiError::TokenRefused(TokenError::Expired) => {
                ("token_expired", Http::UNAUTHORIZED, Code::Unauthenticated)
            }
            ApiError::TokenRefused(_) => ("token_refused", Http::UNAUTHORIZED, Code::Unauthenticated),
            ApiError::TokenNeeded => ("device_token_needed", Http::FORBIDDEN, Code::PermissionDenied),
            ApiError::OtherDevice => ("other_device", Http::FORBIDDEN, Code::PermissionDenied),
            ApiError::OriginForbidden => ("origin_forbidden", Http::FORBIDDEN, Code::PermissionDenied),
            ApiError::NotRegistered => ("not_registered", Http::FORBIDDEN, Code::PermissionDenied),
            ApiError::DeviceLimit => ("device_limit", Http::FORBIDDEN, Code::ResourceExhausted),
            ApiError::DeviceExists => ("device_exists", Http::CONFLICT, Code::AlreadyExists),
            ApiError::ChannelReserved => {
                (PublishError::Reserved.code(), Http::BAD_REQUEST, Code::InvalidArgument)
            }
            ApiError::TooManyChannels => {
                (PublishError::TooManyChannels.code(), Http::TOO_MANY_REQUESTS, Code::ResourceExhausted)
            }
            ApiError::MembersDisabled => ("members_disabled", Http::FORBIDDEN, Code::PermissionDenied),
            ApiError::NotFound => ("not_found", Http::NOT_FOUND, Code::Unimplemented),
            ApiError::MethodNotAllowed => {
                ("method_not_allowed", Http::METHOD_NOT_ALLOWED, Code::Unimplemented)
            }
            ApiError::UnknownMessage => ("unknown_message", Http::NOT_FOUND, Code::NotFound),
            ApiError::NoDevices => ("no_devices", Http::NOT_FOUND, Code::NotFound),
            ApiError::UnknownDevice => ("unknown_device", Http::NOT_FOUND, Code::NotFound),
            ApiError::MailboxFull => ("mailbox_full", Http::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            ApiError::StorageFull => ("storage_full", Http::INSUFFICIENT_STORAGE, Code::ResourceExhausted),
            ApiError::DedupConflict => ("dedup_conflict", Http::CONFLICT, Code::AlreadyExists),
            ApiError::BodyTimeout => ("body_timeout", Http::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            ApiError::BodyBroken => ("body_broken", Http::BAD_REQUEST, Code::InvalidArgument),
            ApiError::BodyTooLarge(_) => ("body_too_large", Http::PAYLOAD_TOO_LARGE, Code::InvalidArgument),
            ApiError::PayloadTooLarge { .. } => {
                ("payload_too_large", Http::PAYLOAD_TOO_LARGE, Code::InvalidArgument)
            }
            ApiError::UnsupportedMediaType => {
                ("unsupported_media_type", Http::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
            }
            ApiError::Damaged => ("damaged", Http::INTERNAL_SERVER_ERROR, Code::DataLoss),
            ApiError::Internal => ("internal", Http::INTERNAL_SERVER_ERROR, Code::Internal),
            ApiError::Unavailable(Un::Overloaded) => {
                ("overloaded", Http::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
            ApiError::Unavailable(Un::Stopping) => ("stopping", Http::SERVICE_UNAVAILABLE, Code::Unavailable),
            ApiError::Unavailable(Un::StoreFailed) => {
                ("store_failed", Http::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
            ApiError::Timeout => ("timeout", Http::SERVICE_UNAVAILABLE, Code::Unavailable),
            ApiError::Starting => ("starting", Http::SERVICE_UNAVAILABLE, Code::Unavailable),
            ApiError::Draining => ("draining", Http::SERVICE_UNAVAILABLE, Code::Unavailable),
        }
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        self.class().0
    }

    /// The HTTP status.
    pub(super) fn http(&self) -> StatusCode {
        self.class().1
    }

    /// The gRPC status.
    pub(super) fn grpc(&self) -> Code {
        self.class().2
    }

    /// What stands in an answer's `error`.
    pub(super) fn detail(&self) -> ErrorDetail {
        ErrorDetail { code: self.code(), message: self.to_string() }
    }

    /// The answer's body; also what stands for one item of a batch.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody { error: self.detail() }
    }

    /// The answer to a gRPC request, or to one that is none.
    pub(super) fn into_answer(self, grpc: bool) -> Response {
        if grpc { Status::from(self).into_http::<axum::body::Body>() } else { self.into_response() }
    }
}

/// A refusal of a field.
pub(super) fn invalid(name: impl std::fmt::Display, problem: impl std::fmt::Display) -> ApiError {
    ApiError::InvalidField(format!("{name}: {problem}"))
}

impl From<PushRefused> for ApiError {
    fn from(refused: PushRefused) -> ApiError {
        match refused {
            PushRefused::Payload(PayloadError::TooLarge { bytes, max }) => {
                ApiError::PayloadTooLarge { bytes, max }
            }
            refused => ApiError::InvalidField(refused.to_string()),
        }
    }
}

impl From<PublishRefused> for ApiError {
    fn from(refused: PublishRefused) -> ApiError {
        match refused {
            PublishRefused::Reserved => ApiError::ChannelReserved,
            PublishRefused::Payload(error) => PushRefused::from(error).into(),
        }
    }
}

impl From<PushError> for ApiError {
    fn from(error: PushError) -> ApiError {
        match error {
            PushError::NoDevices => ApiError::NoDevices,
            PushError::DedupConflict => ApiError::DedupConflict,
            PushError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> ApiError {
        match error {
            PublishError::Reserved => ApiError::ChannelReserved,
            PublishError::TooManyChannels => ApiError::TooManyChannels,
            PublishError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> ApiError {
        ApiError::Unavailable(unavailable)
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> ApiError {
        match error {
            RegisterError::TooMany => ApiError::DeviceLimit,
            RegisterError::Unknown => ApiError::NotRegistered,
            RegisterError::Exists => ApiError::DeviceExists,
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let (code, _, status) = error.class();
        let mut metadata = MetadataMap::with_capacity(1);
        metadata.insert(CODE_METADATA, MetadataValue::from_static(code));
        Status::with_metadata(status, error.to_string(), metadata)
    }
}

/// The JSON of an error.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ErrorDetail {
    code: &'static str,
    message: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.http();
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

/// One error of each kind.
#[cfg(test)]
pub(super) fn all() -> Vec<ApiError> {
    use ApiError::*;
    let text = String::new;
    vec![
        MalformedJson(text()),
        InvalidField(text()),
        InvalidUser(IdError::UserEmpty),
        InvalidMessageId(IdError::Message),
        InvalidChannel(IdError::ChannelEmpty),
        InvalidPath,
        KeyMissing,
        KeyRefused,
        KeyNeeded,
        TokenMissing,
        TokenRefused(TokenError::Invalid),
        TokenRefused(TokenError::Expired),
        TokenNeeded,
        OtherDevice,
        OriginForbidden,
        NotRegistered,
        DeviceLimit,
        DeviceExists,
        ChannelReserved,
        TooManyChannels,
        MembersDisabled,
        NotFound,
        MethodNotAllowed,
        UnknownMessage,
        NoDevices,
        UnknownDevice,
        MailboxFull,
        StorageFull,
        DedupConflict,
        BodyTimeout,
        BodyBroken,
        BodyTooLarge(1),
        PayloadTooLarge { bytes: 2, max: 1 },
        UnsupportedMediaType,
        Damaged,
        Internal,
        Unavailable(self::Unavailable::Overloaded),
        Unavailable(self::Unavailable::Stopping),
        Unavailable(self::Unavailable::StoreFailed),
        Timeout,
        Starting,
        Draining,
    ]
}
