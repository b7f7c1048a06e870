//! Close codes that Campanile sends, and which codes a peer may send (RFC 6455 §7.4): the standard ones where there is
//! one, and those from 4400 on for the rest.

/// Normal end.
pub const NORMAL: u16 = 1000;
/// The endpoint goes away: a server stops, a page is left.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke RFC 6455.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of data that the endpoint does not take: text where the subprotocol has binary messages, or the other way
/// round.
pub const UNSUPPORTED_DATA: u16 = 1003;
/// A text message or a close reason is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A policy was violated that has no code of its own, such as too many fragments.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message is larger than allowed.
pub const TOO_LARGE: u16 = 1009;
/// The server met something unexpected.
pub const INTERNAL_ERROR: u16 = 1011;

/// An application frame is malformed.
pub const MALFORMED: u16 = 4400;
/// Not authenticated, or the token has expired.
pub const UNAUTHENTICATED: u16 = 4401;
/// Authenticated, but not allowed.
pub const FORBIDDEN: u16 = 4403;
/// Too slow to authenticate.
pub const HELLO_TIMEOUT: u16 = 4408;
/// Replaced by a newer session of the same device.
pub const REPLACED: u16 = 4409;
/// The device has been revoked.
pub const REVOKED: u16 = 4410;
/// The device does not acknowledge.
pub const NOT_ACKNOWLEDGING: u16 = 4414;
/// Too many connections, requests or messages.
pub const TOO_MANY: u16 = 4429;
/// The node is draining: come back later, or elsewhere.
pub const DRAINING: u16 = 4503;

/// Whether a peer may put `code` into a close frame: 1000–1003, 1007–1014 (registered) and 3000–4999 (libraries and
/// applications). 1004–1006 and 1015 are reserved and must never be sent.
#[must_use]
pub const fn is_valid(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
