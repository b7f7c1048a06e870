//! The server's answers.

use std::io::Write as _;

use super::{DeflateOffer, UpgradeError, accept_key};

/// Writes `101 Switching Protocols` (RFC 6455 §4.2.2). Append the first frames behind it.
///
/// `subprotocol` must be one that the client offered. With `deflate`, which is the [`UpgradeRequest::deflate`] of the
/// same request, messages may be compressed from now on in both directions.
///
/// [`UpgradeRequest::deflate`]: super::UpgradeRequest::deflate
pub fn write_switching_protocols(
    out: &mut Vec<u8>,
    key: &str,
    subprotocol: Option<&str>,
    deflate: Option<DeflateOffer>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(key));
    if let Some(subprotocol) = subprotocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
    }
    if let Some(offer) = deflate {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        out.extend_from_slice(offer.answer().as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// An answer that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// Short code, stable for programs.
    pub code: &'a str,
    /// One sentence for people.
    pub message: &'a str,
    /// `Retry-After`, in seconds.
    pub retry_after_seconds: Option<u32>,
}

/// Writes an HTTP error with the body `{"error":{"code":"…","message":"…"}}`, after which the connection is closed.
/// Headers that a status requires are added: `Upgrade` and `Sec-WebSocket-Version` for 426, `Allow` for 405,
/// `WWW-Authenticate` for 401.
pub fn write_refusal(out: &mut Vec<u8>, refusal: &Refusal<'_>) {
    let body = serde_json::json!({"error": {"code": refusal.code, "message": refusal.message}}).to_string();
    let (reason, headers) = match refusal.status {
        400 => ("Bad Request", ""),
        401 => ("Unauthorized", "WWW-Authenticate: Bearer\r\n"),
        403 => ("Forbidden", ""),
        404 => ("Not Found", ""),
        405 => ("Method Not Allowed", "Allow: GET\r\n"),
        408 => ("Request Timeout", ""),
        426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        429 => ("Too Many Requests", ""),
        431 => ("Request Header Fields Too Large", ""),
        500 => ("Internal Server Error", ""),
        503 => ("Service Unavailable", ""),
        505 => ("HTTP Version Not Supported", ""),
        _ => ("", ""),
    };
    // Upgrade is a hop-by-hop header, which Connection must name (RFC 9110 §7.8).
    let connection = if refusal.status == 426 { "upgrade, close" } else { "close" };
    let retry_after =
        refusal.retry_after_seconds.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
    let written = write!(
        out,
        "HTTP/1.1 {status} {reason}\r\n{headers}{retry_after}Connection: {connection}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
        status = refusal.status,
        length = body.len(),
    );
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}

/// Writes `200 OK` with a body in JSON, after which the connection is closed: the answer to a request without an
/// upgrade.
pub fn write_answer(out: &mut Vec<u8>, body: &str) {
    let written = write!(
        out,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}

impl UpgradeError {
    /// Writes the answer that refuses the request.
    pub fn write_refusal(self, out: &mut Vec<u8>) {
        let refusal = Refusal {
            status: self.status(),
            code: self.code(),
            message: &self.to_string(),
            retry_after_seconds: None,
        };
        write_refusal(out, &refusal);
    }
}
