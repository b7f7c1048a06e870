//! The client's side, for the load generator and tests.

use std::{io::Write as _, mem::MaybeUninit};

use httparse::Status;
use thiserror::Error;

use super::{
    HEADERS_MAX, accept_key, extensions,
    request::{list, value},
};

/// What a client asks for. Values are written as they are and must not contain line breaks.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Host, with the port unless it is the scheme's own.
    pub host: &'a str,
    /// Path and query, from the leading slash.
    pub path: &'a str,
    /// From [`client_key`](super::client_key).
    pub key: &'a str,
    /// Subprotocols in order of preference, separated by commas; none if empty.
    pub protocols: &'a str,
    /// Token for `Authorization: Bearer`.
    pub bearer_token: Option<&'a str>,
    /// Whether to offer permessage-deflate (RFC 7692).
    pub deflate: bool,
}

/// Writes a request to upgrade (RFC 6455 §4.1).
pub fn write_request(out: &mut Vec<u8>, request: &Request<'_>) {
    let written = write!(
        out,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
        path = request.path,
        host = request.host,
        key = request.key,
    );
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
    if !request.protocols.is_empty() {
        out.extend_from_slice(b"Sec-WebSocket-Protocol: ");
        out.extend_from_slice(request.protocols.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if request.deflate {
        out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
        out.extend_from_slice(extensions::OFFER.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(token) = request.bearer_token {
        out.extend_from_slice(b"Authorization: Bearer ");
        out.extend_from_slice(token.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Why the answer to a request does not open a connection.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ResponseError {
    /// Not an HTTP/1.1 answer, or too many headers.
    #[error("not an HTTP/1.1 response")]
    Malformed,
    /// The server refuses, with this status; the body says why.
    #[error("the server refused with status {status}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in seconds, if given so.
        retry_after_seconds: Option<u32>,
    },
    /// `Upgrade` or `Connection` is missing (RFC 6455 §4.1).
    #[error("the response does not upgrade to websocket")]
    NotUpgrade,
    /// `Sec-WebSocket-Accept` does not belong to the request's key.
    #[error("Sec-WebSocket-Accept does not match the key")]
    AcceptKey,
    /// The server chose a subprotocol or an extension that was not offered (RFC 6455 §4.1), or permessage-deflate
    /// otherwise than offered (RFC 7692 §7.1).
    #[error("the server chose a subprotocol or extension that was not offered")]
    NotOffered,
}

/// A server's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchingProtocols<'a> {
    /// The subprotocol that the server chose.
    pub subprotocol: Option<&'a str>,
    /// Whether permessage-deflate is in use: set [`Limits::deflate`](crate::frame::Limits::deflate).
    pub deflate: bool,
}

/// Parses the head of the answer to `request`, as [`HeadReader`](super::HeadReader) gives it, and checks it (RFC 6455
/// §4.1).
///
/// # Errors
/// The connection is not open; see [`ResponseError`].
pub fn parse_response<'a>(
    head: &'a [u8],
    request: &Request<'_>,
) -> Result<SwitchingProtocols<'a>, ResponseError> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        head,
        &mut headers,
    );
    match parsed {
        Ok(Status::Complete(len)) if len == head.len() && response.version == Some(1) => {}
        _ => return Err(ResponseError::Malformed),
    }
    let (mut upgrade, mut connection, mut accepted) = (false, false, false);
    let mut subprotocol = None;
    let mut deflate = false;
    let mut retry_after_seconds = None;
    for header in &*response.headers {
        let Ok(value) = value(header) else { continue };
        match header.name.to_ascii_lowercase().as_str() {
            "upgrade" => upgrade = value.eq_ignore_ascii_case("websocket"),
            "connection" => connection |= list(value).any(|token| token.eq_ignore_ascii_case("upgrade")),
            "sec-websocket-accept" => accepted = value.as_bytes() == accept_key(request.key),
            "sec-websocket-protocol" if list(request.protocols).any(|offer| offer == value) => {
                subprotocol = Some(value)
            }
            // Once only: a second line would be a second extension with the same bit (RFC 7692 §5).
            "sec-websocket-extensions" if request.deflate && !deflate && extensions::is_accepted(value) => {
                deflate = true;
            }
            "sec-websocket-protocol" | "sec-websocket-extensions" => {
                return Err(ResponseError::NotOffered);
            }
            "retry-after" => retry_after_seconds = value.parse().ok(),
            _ => {}
        }
    }
    match response.code {
        Some(101) => {}
        Some(status) => {
            return Err(ResponseError::Refused { status, retry_after_seconds });
        }
        None => return Err(ResponseError::Malformed),
    }
    if !(upgrade && connection) {
        return Err(ResponseError::NotUpgrade);
    }
    if !accepted {
        return Err(ResponseError::AcceptKey);
    }
    Ok(SwitchingProtocols { subprotocol, deflate })
}
