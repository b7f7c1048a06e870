//! The HTTP/1.1 upgrade to WebSocket (RFC 6455 §4, RFC 9112), both sides.
//!
//! A server feeds a [`HeadReader`], parses the head with [`UpgradeRequest::parse`] and answers with
//! [`write_switching_protocols`] or [`write_refusal`]. A client sends [`write_request`] and checks the answer with
//! [`parse_response`]. The one extension is permessage-deflate (RFC 7692), and always without context takeover: each
//! message is compressed by itself, so that no connection owns a compressor and one compressed frame serves many.
//!
//! What always holds: a head is at most [`HEAD_BYTES_MAX`] and [`HEADERS_MAX`] long, it is searched once and parsed
//! once however it arrives, and anything that two HTTP implementations could read differently (bare line feeds,
//! repeated headers, bodies) is refused. Callers must not read on after an error.

mod client;
mod extensions;
mod head;
mod key;
mod request;
mod response;

pub use client::{Request, ResponseError, SwitchingProtocols, parse_response, write_request};
pub use extensions::DeflateOffer;
pub use head::HeadReader;
pub use key::{accept_key, client_key};
pub use request::{SUBPROTOCOL_HEADERS_MAX, UpgradeError, UpgradeRequest, plain_path};
pub use response::{Refusal, write_answer, write_refusal, write_switching_protocols};

/// Largest head, request or answer, including the empty line that ends it, in bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most header lines in a head.
pub const HEADERS_MAX: usize = 64;
