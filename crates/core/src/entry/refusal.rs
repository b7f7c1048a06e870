//! Why somebody gets no session: what each refusal says, as HTTP or as a close frame, and where it is counted.

use std::borrow::Cow;

use campanile_protocol::deflate::InflateError;
use campanile_protocol::frame::{ProtocolError, close_code};
use campanile_protocol::upgrade::{self, UpgradeError};
use campanile_telemetry::Counter;

use crate::counters::ShardCounters;
use crate::net::Net;
use crate::seam::OpenRefused;
use crate::tokens::TokenError;
use crate::turn::Turn;

/// What a client that is refused for want of room is told to wait, in seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Why a client is refused, whether its upgrade was answered or not. A new refusal is a variant and its row in
/// [`Refusal::row`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is no upgrade to WebSocket, or not one that may be accepted.
    Request(UpgradeError),
    /// The request did not arrive in time.
    RequestTimeout,
    /// The request arrived, and the client was not known in time.
    AuthenticationTimeout,
    /// The client's address has too many handshakes under way.
    TooManyHandshakes,
    /// The node is draining: another may take the client.
    Draining,
    /// The node is draining, which somebody asked who is no client.
    NotReady,
    /// The node began to drain after the request had been accepted.
    DrainingMeanwhile,
    /// The shard or the node has as many connections as it takes.
    Full,
    /// No socket is at the path.
    NotFound,
    /// The query has a value that means nothing.
    BadQuery,
    /// Browsers may not connect from the origin.
    OriginForbidden,
    /// The token does not prove who the client is.
    Token(TokenError),
    /// The store did not say in time whether the device may come in.
    StoreSlow,
    /// The store does not work.
    StoreFailed,
    /// The store does not keep up.
    Overloaded,
    /// The device is not registered, and was not to be.
    DeviceUnknown,
    /// The user has as many devices as allowed.
    DeviceLimit,
}

/// What a refusal says, and where it is counted.
struct Row<'a> {
    /// The HTTP status.
    status: u16,
    /// The stable reason, for programs.
    reason: &'static str,
    /// One sentence, for people.
    words: Cow<'static, str>,
    /// `None` if nobody was refused a session.
    counter: Option<&'a Counter>,
}

impl Refusal {
    fn row<'a>(&self, counters: &'a ShardCounters) -> Row<'a> {
        let (status, reason, words, counter) = match self {
            Refusal::Request(error) => {
                let words = error.to_string().into();
                return Row {
                    status: error.status(),
                    reason: error.code(),
                    words,
                    counter: Some(&counters.upgrades_malformed),
                };
            }
            Refusal::Token(error) => {
                let (reason, counter) = match error {
                    TokenError::Expired => ("token_expired", &counters.tokens_expired),
                    _ => ("token_invalid", &counters.tokens_refused),
                };
                return Row { status: 401, reason, words: error.to_string().into(), counter: Some(counter) };
            }
            Refusal::NotReady => {
                let words = "the node is draining".into();
                return Row { status: 503, reason: "draining", words, counter: None };
            }
            Refusal::RequestTimeout => (
                408,
                "handshake_timeout",
                "the request did not arrive in time",
                &counters.handshakes_timed_out,
            ),
            Refusal::AuthenticationTimeout => {
                (408, "handshake_timeout", "too slow to authenticate", &counters.handshakes_timed_out)
            }
            Refusal::TooManyHandshakes => (
                429,
                "too_many_handshakes",
                "too many handshakes are under way from this address",
                &counters.upgrades_refused_address,
            ),
            Refusal::Draining => (
                503,
                "draining",
                "the node is stopping: connect again to another",
                &counters.upgrades_refused_draining,
            ),
            Refusal::DrainingMeanwhile => {
                (503, "draining", "the node is stopping", &counters.upgrades_refused_draining)
            }
            Refusal::Full => {
                (503, "full", "the node has as many connections as it takes", &counters.upgrades_refused_full)
            }
            Refusal::NotFound => {
                (404, "not_found", "the socket is at /v2/connect", &counters.upgrades_not_found)
            }
            Refusal::BadQuery => (
                400,
                "bad_query",
                "`ack` is `cumulative` (the default) or `none`",
                &counters.upgrades_malformed,
            ),
            Refusal::OriginForbidden => {
                (403, "origin_forbidden", "this origin may not connect", &counters.upgrades_forbidden_origin)
            }
            Refusal::StoreSlow => {
                (503, "store_slow", "the store did not answer in time", &counters.handshakes_timed_out)
            }
            Refusal::StoreFailed => (
                503,
                "store_failed",
                "the store does not work at the moment",
                &counters.upgrades_refused_store,
            ),
            Refusal::Overloaded => {
                (503, "overloaded", "the store does not keep up", &counters.upgrades_refused_store)
            }
            Refusal::DeviceUnknown => {
                (403, "device_unknown", "the device is not registered", &counters.devices_refused)
            }
            Refusal::DeviceLimit => {
                (403, "device_limit", "the user has too many devices", &counters.devices_refused)
            }
        };
        Row { status, reason, words: words.into(), counter: Some(counter) }
    }

    /// Refuses the client in a slot, and counts it: over HTTP, or with a close frame if its upgrade was answered.
    pub(super) fn tell(self, turn: &mut Turn<'_>, net: &mut Net, slot: u32, was_answered: bool) {
        let row = self.row(turn.counters);
        if let Some(counter) = row.counter {
            counter.add(1);
        }
        if was_answered {
            net.close(turn, slot, close_code_of(row.status), &row.words);
        } else {
            net.finish(turn, slot, row.http().into());
        }
    }
}

impl Row<'_> {
    /// The answer that ends the connection.
    fn http(&self) -> Vec<u8> {
        let retry_after_seconds = matches!(self.status, 429 | 503).then_some(RETRY_AFTER_SECONDS);
        let (status, code, message) = (self.status, self.reason, &*self.words);
        let mut response = Vec::with_capacity(256);
        upgrade::write_refusal(
            &mut response,
            &upgrade::Refusal { status, code, message, retry_after_seconds },
        );
        response
    }
}

/// The close code (RFC 6455 §7.4) that says what an HTTP status says.
const fn close_code_of(status: u16) -> u16 {
    match status {
        401 => close_code::UNAUTHENTICATED,
        403 => close_code::FORBIDDEN,
        408 => close_code::HELLO_TIMEOUT,
        429 => close_code::TOO_MANY,
        503 => close_code::DRAINING,
        _ => close_code::PROTOCOL_ERROR,
    }
}

impl From<UpgradeError> for Refusal {
    fn from(error: UpgradeError) -> Refusal {
        Refusal::Request(error)
    }
}

impl From<OpenRefused> for Refusal {
    fn from(refused: OpenRefused) -> Refusal {
        match refused {
            OpenRefused::Draining => Refusal::DrainingMeanwhile,
            OpenRefused::StoreFailed => Refusal::StoreFailed,
            OpenRefused::Overloaded => Refusal::Overloaded,
            OpenRefused::DeviceUnknown => Refusal::DeviceUnknown,
            OpenRefused::DeviceLimit => Refusal::DeviceLimit,
        }
    }
}

/// Why a hello is refused. Its upgrade was answered, so that a close frame says it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum HelloRefused {
    /// Frames came before the upgrade was answered.
    TooEarly,
    /// The client broke RFC 6455, or its hello is too large.
    Protocol(ProtocolError),
    /// What the client compressed cannot be read, or is too large.
    Compression(InflateError),
    /// The first frame is another one, or none of the schema.
    NotHello,
    /// The token does not prove who the client is.
    Token(TokenError),
}

impl HelloRefused {
    /// Refuses the client in a slot, and counts it.
    pub(super) fn tell(self, turn: &mut Turn<'_>, net: &mut Net, slot: u32) {
        let (code, words) = match self {
            HelloRefused::Token(error) => return Refusal::Token(error).tell(turn, net, slot, true),
            HelloRefused::TooEarly => (close_code::PROTOCOL_ERROR, "frames before the upgrade was answered"),
            HelloRefused::Protocol(error) => (error.close_code(), error.reason()),
            HelloRefused::Compression(error) => (error.close_code(), error.reason()),
            HelloRefused::NotHello => {
                (close_code::UNAUTHENTICATED, "the first frame must be a hello with a token")
            }
        };
        turn.counters.sessions_malformed.add(1);
        net.close(turn, slot, code, words);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use campanile_protocol::upgrade::UpgradeError;

    use super::{OpenRefused, Refusal, TokenError, close_code_of};
    use crate::counters::ShardCounters;

    /// Every refusal as `docs/protocol.md` has it: status, close code, reason, and whether to come back in a moment.
    const TABLE: [(Refusal, u16, u16, &str, bool); 19] = [
        (Refusal::Request(UpgradeError::NotUpgrade), 426, 1002, "upgrade_required", false),
        (Refusal::RequestTimeout, 408, 4408, "handshake_timeout", false),
        (Refusal::AuthenticationTimeout, 408, 4408, "handshake_timeout", false),
        (Refusal::TooManyHandshakes, 429, 4429, "too_many_handshakes", true),
        (Refusal::Draining, 503, 4503, "draining", true),
        (Refusal::DrainingMeanwhile, 503, 4503, "draining", true),
        (Refusal::NotReady, 503, 4503, "draining", true),
        (Refusal::Full, 503, 4503, "full", true),
        (Refusal::NotFound, 404, 1002, "not_found", false),
        (Refusal::BadQuery, 400, 1002, "bad_query", false),
        (Refusal::OriginForbidden, 403, 4403, "origin_forbidden", false),
        (Refusal::Token(TokenError::Expired), 401, 4401, "token_expired", false),
        (Refusal::Token(TokenError::Invalid), 401, 4401, "token_invalid", false),
        (Refusal::Token(TokenError::Claims), 401, 4401, "token_invalid", false),
        (Refusal::StoreSlow, 503, 4503, "store_slow", true),
        (Refusal::StoreFailed, 503, 4503, "store_failed", true),
        (Refusal::Overloaded, 503, 4503, "overloaded", true),
        (Refusal::DeviceUnknown, 403, 4403, "device_unknown", false),
        (Refusal::DeviceLimit, 403, 4403, "device_limit", false),
    ];

    #[test]
    fn every_refusal_keeps_its_status_its_close_code_and_its_reason() {
        let counters = ShardCounters::default();
        for (refusal, status, close, reason, comes_back) in TABLE {
            let row = refusal.row(&counters);
            assert_eq!((row.status, close_code_of(row.status)), (status, close), "{refusal:?}");
            assert_eq!(row.reason, reason, "{refusal:?}");
            let http = String::from_utf8(row.http()).expect("text");
            assert!(http.starts_with(&format!("HTTP/1.1 {status} ")), "{http}");
            assert!(http.contains(&format!(r#""code":"{reason}""#)), "{http}");
            assert_eq!(http.contains("\r\nRetry-After: 2\r\n"), comes_back, "{http}");
            assert!(row.words.len() <= campanile_protocol::frame::CLOSE_REASON_BYTES_MAX, "{refusal:?}");
        }
    }

    #[test]
    fn a_reason_has_one_status_and_one_counter() {
        let counters = ShardCounters::default();
        let mut told = BTreeMap::new();
        for (refusal, ..) in TABLE {
            let row = refusal.row(&counters);
            let Some(counter) = row.counter else { continue };
            let said = (row.status, std::ptr::from_ref(counter));
            assert_eq!(*told.entry(row.reason).or_insert(said), said, "{}", row.reason);
        }
    }

    #[test]
    fn what_a_home_refuses_is_told_by_the_same_name() {
        let counters = ShardCounters::default();
        for (refused, reason) in [
            (OpenRefused::Draining, "draining"),
            (OpenRefused::StoreFailed, "store_failed"),
            (OpenRefused::Overloaded, "overloaded"),
            (OpenRefused::DeviceUnknown, "device_unknown"),
            (OpenRefused::DeviceLimit, "device_limit"),
        ] {
            assert_eq!(Refusal::from(refused).row(&counters).reason, reason);
        }
    }
}
