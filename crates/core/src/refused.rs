//! Why a frame of a client is refused while its session goes on: the error frame's reason and words, in one table.

use std::borrow::Cow;
use std::fmt;

use campanile_protocol::frame::close_code;

use crate::publish::PublishRefused;
use crate::push::PayloadError;
use crate::requests::{PublishError, PushError};
use crate::users::sync_refused::SyncRefused;

/// Why a frame is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameRefused {
    /// A field is missing, too long or of no meaning: which, and what it may be.
    InvalidField(&'static str),
    /// A message for the siblings cannot be taken.
    Sync(SyncRefused),
    /// A message for a channel cannot be taken.
    Draft(PublishRefused),
    /// `last` is of another store.
    OtherEpoch,
    /// `last` or an acknowledgement names a number that was never handed out.
    NotHandedOut(&'static str),
    /// The session has no subscription to the channel, or has none any more.
    NotSubscribed(&'static str),
    /// The session has a subscription to the channel.
    AlreadySubscribed,
    /// The session has as many subscriptions as it may.
    TooManySubscriptions,
    /// The session's token does not allow it.
    ChannelForbidden(&'static str),
    /// The channel is a user's status, where it is not meant.
    ChannelReserved(&'static str),
    /// The shard knows as many channels as it may.
    TooManyChannels,
    /// The channel's namespace tells nobody who is subscribed.
    MembersDisabled,
    /// The token for a subscription has expired.
    TokenExpired,
    /// The token for a subscription is not valid for this user and channel.
    TokenInvalid,
    /// The session publishes faster than it may.
    PublishTooFast,
    /// Too much is under way: of what.
    Overloaded(&'static str),
    /// A push to the siblings failed.
    Push(PushError),
    /// A message for a channel was not published.
    Publish(PublishError),
    /// The same, of a channel that the token names: which channel.
    OfToken(String, Box<FrameRefused>),
}

impl FrameRefused {
    /// The error frame's code.
    pub(crate) fn code(&self) -> u16 {
        close_code::MALFORMED
    }

    /// The stable reason, for programs.
    pub(crate) fn reason(&self) -> &'static str {
        self.row().0
    }

    fn row(&self) -> (&'static str, Cow<'static, str>) {
        let (reason, words) = match self {
            FrameRefused::InvalidField(words) => ("invalid_field", *words),
            FrameRefused::Sync(refused) => return (refused.code(), refused.to_string().into()),
            FrameRefused::Draft(refused) => (refused.code(), words_for_a_client(refused)),
            FrameRefused::OtherEpoch => ("other_epoch", "`last` is of another epoch than the welcome's"),
            FrameRefused::NotHandedOut(words) => ("not_handed_out", *words),
            FrameRefused::NotSubscribed(words) => ("not_subscribed", *words),
            FrameRefused::AlreadySubscribed => {
                ("already_subscribed", "the session is subscribed to this channel")
            }
            FrameRefused::TooManySubscriptions => {
                ("too_many_subscriptions", "the session has as many subscriptions as it may")
            }
            FrameRefused::ChannelForbidden(words) => ("channel_forbidden", *words),
            FrameRefused::ChannelReserved(words) => ("channel_reserved", *words),
            FrameRefused::TooManyChannels => {
                ("too_many_channels", "the node has as many channels as it takes")
            }
            FrameRefused::MembersDisabled => {
                ("members_disabled", "the channel's namespace does not tell its members")
            }
            FrameRefused::TokenExpired => ("token_expired", "the token for the subscription has expired"),
            FrameRefused::TokenInvalid => {
                ("token_invalid", "the token is not valid for this user and channel")
            }
            FrameRefused::PublishTooFast => ("publish_too_fast", "the session publishes faster than it may"),
            FrameRefused::Overloaded(words) => ("overloaded", *words),
            FrameRefused::Push(error) => return (error.code(), error.to_string().into()),
            FrameRefused::Publish(error) => return (error.code(), error.to_string().into()),
            FrameRefused::OfToken(channel, refused) => {
                return (refused.reason(), format!("{channel}: {refused}").into());
            }
        };
        (reason, words.into())
    }
}

/// Why a client's message is not published: the client does not know the API's fields.
fn words_for_a_client(refused: &PublishRefused) -> &'static str {
    match refused {
        PublishRefused::Reserved => "a user's status has no messages: send setState",
        PublishRefused::Payload(PayloadError::Missing) => "payload is missing",
        PublishRefused::Payload(PayloadError::Json(_)) => "payload.json is not JSON of bounded depth",
        PublishRefused::Payload(PayloadError::TooLarge { .. }) => {
            "the payload is larger than limits.push_bytes_max"
        }
    }
}

impl From<SyncRefused> for FrameRefused {
    fn from(refused: SyncRefused) -> FrameRefused {
        FrameRefused::Sync(refused)
    }
}

impl From<PublishRefused> for FrameRefused {
    fn from(refused: PublishRefused) -> FrameRefused {
        FrameRefused::Draft(refused)
    }
}

impl fmt::Display for FrameRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.row().1)
    }
}
