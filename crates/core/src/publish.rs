//! Messages for the subscribers of channels, as shards are asked to publish them.
//!
//! [`Publish::new`] is the only way to one, for publishers over HTTP and gRPC and for devices alike. What holds of
//! every [`Publish`]: its kind is a name, its payload is there and not too large, and its channel is no user's status.

use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{ChannelMessage, Device, Payload};

use crate::names::{KIND_DEFAULT, Name};
use crate::namespaces::PRESENCE_NAMESPACE;
use crate::push::{PayloadError, PushRules, check_size};

/// A message for the subscribers of a channel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Publish {
    /// The channel.
    pub channel: ChannelName,
    /// The message. The owner fills in `channel`, `offset` and `sent_at_ms`.
    pub message: ChannelMessage,
}

/// A publish as it is asked for. Its names have passed their checks, the rest has not.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishDraft {
    /// The channel.
    pub channel: ChannelName,
    /// What it is, for the client; [`KIND_DEFAULT`] if it does not say.
    pub kind: Option<Name>,
    /// In whose name.
    pub from: Option<Device>,
    /// What subscribers get.
    pub payload: Payload,
}

/// Why a publish is refused before any shard hears of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    /// The channel is a user's status: it has no messages.
    #[error("channels of the namespace `{PRESENCE_NAMESPACE}` are users' statuses and have no messages")]
    Reserved,
    /// The payload cannot be taken.
    #[error("payload: {0}")]
    Payload(#[from] PayloadError),
}

impl PublishRefused {
    /// The stable name of the refusal.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            PublishRefused::Reserved => "channel_reserved",
            PublishRefused::Payload(error) => error.code(),
        }
    }
}

impl Publish {
    /// What shards are asked for.
    ///
    /// # Errors
    /// [`PublishRefused`].
    pub fn new(draft: PublishDraft, rules: &PushRules) -> Result<Publish, PublishRefused> {
        if user_of_status(&draft.channel).is_some() {
            return Err(PublishRefused::Reserved);
        }
        if draft.payload.content.is_none() {
            return Err(PayloadError::Missing.into());
        }
        check_size(&draft.payload, rules.payload_bytes_max)?;
        let message = ChannelMessage {
            kind: draft.kind.map_or_else(|| KIND_DEFAULT.into(), String::from),
            from: draft.from,
            payload: Some(draft.payload),
            // The channel's owner knows the rest.
            ..ChannelMessage::default()
        };
        Ok(Publish { channel: draft.channel, message })
    }
}

/// The user whose status the channel is, if it is one.
#[must_use]
pub fn user_of_status(channel: &ChannelName) -> Option<&str> {
    let (namespace, user) = channel.as_str().split_once(':')?;
    (namespace == PRESENCE_NAMESPACE).then_some(user)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn publish(channel: &str, payload: Payload) -> Result<Publish, PublishRefused> {
        let rules =
            PushRules { payload_bytes_max: 3, ttl: Duration::from_secs(1), dedup_window: Duration::ZERO };
        let draft = PublishDraft { channel: channel.parse().unwrap(), kind: None, from: None, payload };
        Publish::new(draft, &rules)
    }

    #[test]
    fn what_is_published_has_a_kind_and_a_payload_of_a_size() {
        let published = publish("chat:1", Payload::text("abc")).unwrap();
        assert_eq!((&*published.message.kind, published.channel.as_str()), ("message", "chat:1"));
        assert_eq!(published.message.payload, Some(Payload::text("abc")));
        let refused = |payload| publish("chat:1", payload).unwrap_err();
        let too_large = refused(Payload::text("abcd"));
        assert_eq!(
            (too_large.code(), &*too_large.to_string()),
            ("payload_too_large", "payload: 4 bytes, at most 3 are allowed")
        );
        assert_eq!(refused(Payload::default()).code(), "invalid_field");
    }

    #[test]
    fn a_status_has_no_messages() {
        let refused = publish("presence:ada", Payload::text("a")).unwrap_err();
        assert_eq!((&refused, refused.code()), (&PublishRefused::Reserved, "channel_reserved"));
        for channel in ["presence", "presences:ada", "a:presence:b", ":presence"] {
            assert!(publish(channel, Payload::text("a")).is_ok(), "{channel}");
        }
    }
}
