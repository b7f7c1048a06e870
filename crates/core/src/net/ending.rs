//! Why the gateway ends a session: one table of close codes, words and counters.

use std::borrow::Cow;

use campanile_protocol::deflate::InflateError;
use campanile_protocol::frame::{self, ProtocolError, close_code};
use campanile_telemetry::Counter;

use crate::counters::ShardCounters;

/// Why a session ends by the gateway's will.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// The client broke RFC 6455, or its message is too large or in too many fragments.
    Protocol(ProtocolError),
    /// What the client compressed cannot be read, or is too large.
    Compression(InflateError),
    /// A frame is none of the schema: the code and words of its error.
    Frame(u16, String),
    /// The client sends more frames than it may.
    TooManyFrames,
    /// The client sends more tokens than it may.
    TooManyTokens,
    /// The client asks for answers and does not read them.
    AsksMoreThanItReads,
    /// The socket takes nothing for too long.
    NotReading,
    /// A message was begun and not finished in time.
    MessageUnfinished,
    /// The session held the most when its shard held too much.
    OverBudget,
    /// No sign of life after a ping.
    NoPong,
    /// A newer session of the device has opened.
    Replaced,
    /// The token has expired.
    TokenExpired,
    /// A later token is not valid for the device.
    TokenRefused,
    /// An operator has disconnected the session.
    Disconnected,
    /// What was delivered is not acknowledged for too long.
    NotAcknowledging,
    /// The device's mail cannot be read from the store.
    Unreadable,
    /// A message cannot be put into the session's encoding.
    NotEncodable,
    /// The session fell behind a channel whose policy is to close.
    TooSlowForChannel,
}

impl Ending {
    /// The close code (RFC 6455 §7.4), what the client is told, and what is counted.
    pub(super) fn told<'a>(&self, counters: &'a ShardCounters) -> (u16, Cow<'static, str>, &'a Counter) {
        let (code, words, counter) = match self {
            Ending::Protocol(error) => {
                let counter = match error {
                    ProtocolError::TooLarge | ProtocolError::TooManyFragments => &counters.sessions_too_large,
                    _ => &counters.sessions_malformed,
                };
                (error.close_code(), error.reason(), counter)
            }
            Ending::Compression(error) => {
                let counter = match error {
                    InflateError::TooLarge => &counters.sessions_too_large,
                    _ => &counters.sessions_malformed,
                };
                (error.close_code(), error.reason(), counter)
            }
            Ending::Frame(code, words) => {
                // Nothing in the text of the error is ours to hide, but a close reason has little room.
                let end = words.floor_char_boundary(frame::CLOSE_REASON_BYTES_MAX);
                return (*code, words[..end].to_owned().into(), &counters.sessions_malformed);
            }
            Ending::TooManyFrames => {
                (close_code::TOO_MANY, "too many frames", &counters.sessions_too_many_frames)
            }
            Ending::TooManyTokens => {
                (close_code::TOO_MANY, "too many tokens", &counters.sessions_too_many_frames)
            }
            Ending::AsksMoreThanItReads => {
                (close_code::TOO_MANY, "asks for more than it reads", &counters.sessions_not_reading)
            }
            Ending::NotReading => {
                (close_code::POLICY_VIOLATION, "what was sent is not read", &counters.sessions_not_reading)
            }
            Ending::MessageUnfinished => (
                close_code::POLICY_VIOLATION,
                "a message was not finished in time",
                &counters.sessions_message_unfinished,
            ),
            Ending::OverBudget => (
                close_code::TOO_MANY,
                "the node holds too much for slow clients",
                &counters.sessions_over_budget,
            ),
            Ending::NoPong => (close_code::GOING_AWAY, "no answer to a ping", &counters.sessions_timed_out),
            Ending::Replaced => (
                close_code::REPLACED,
                "replaced by a newer session of this device",
                &counters.sessions_replaced,
            ),
            Ending::TokenExpired => {
                (close_code::UNAUTHENTICATED, "the token has expired", &counters.sessions_expired)
            }
            Ending::TokenRefused => (
                close_code::UNAUTHENTICATED,
                "the new token is not valid for this device",
                &counters.tokens_refused,
            ),
            Ending::Disconnected => {
                (close_code::FORBIDDEN, "disconnected by the operator", &counters.sessions_disconnected)
            }
            Ending::NotAcknowledging => (
                close_code::NOT_ACKNOWLEDGING,
                "what was delivered is not acknowledged",
                &counters.sessions_not_acknowledging,
            ),
            Ending::Unreadable => (
                close_code::INTERNAL_ERROR,
                "the store does not work: come back",
                &counters.sessions_unreadable,
            ),
            Ending::NotEncodable => {
                (close_code::INTERNAL_ERROR, "a message cannot be sent", &counters.messages_not_encodable)
            }
            Ending::TooSlowForChannel => (
                close_code::POLICY_VIOLATION,
                "too slow for a channel",
                &counters.sessions_too_slow_for_channel,
            ),
        };
        (code, words.into(), counter)
    }
}
