//! Channels, between the messages of the service and what HTTP shares with it.

use campanile_protocol::ids::ChannelName;

use super::convert::{name, payload, sender};
use super::wire::{
    GetChannelResponse, GetHistoryResponse, ListMembersResponse, PublishRequest as WireRequest,
    PublishResponse, PublishResult,
};
use crate::api::channels::{PublishRequest, Published};
use crate::api::error::ApiError;
use crate::api::push::invalid;
use campanile_core::requests::{ChannelHistory, ChannelPart};

/// The name of a channel.
///
/// # Errors
/// [`ApiError::InvalidField`].
pub(super) fn channel(text: &str) -> Result<ChannelName, ApiError> {
    text.parse().map_err(|error| invalid("channel", error))
}

impl TryFrom<WireRequest> for PublishRequest {
    type Error = ApiError;

    fn try_from(request: WireRequest) -> Result<PublishRequest, ApiError> {
        Ok(PublishRequest {
            channel: channel(&request.channel)?,
            kind: name("kind", &request.kind)?,
            from: request.from.map(sender).transpose()?,
            payload: payload("payload", request.payload)?,
        })
    }
}

impl From<Published> for PublishResponse {
    fn from(published: Published) -> PublishResponse {
        let Published { channel, position } = published;
        PublishResponse { channel: channel.as_str().into(), epoch: position.epoch, offset: position.offset }
    }
}

impl From<Result<Published, ApiError>> for PublishResult {
    fn from(result: Result<Published, ApiError>) -> PublishResult {
        match result {
            Ok(published) => PublishResult { error: None, answer: Some(published.into()) },
            Err(error) => PublishResult { error: Some(error.into()), answer: None },
        }
    }
}

impl From<ChannelPart> for GetChannelResponse {
    fn from(known: ChannelPart) -> GetChannelResponse {
        GetChannelResponse {
            position: known.position,
            subscribers: known.subscribers,
            history_messages: known.history_messages,
        }
    }
}

impl From<ChannelPart> for ListMembersResponse {
    fn from(known: ChannelPart) -> ListMembersResponse {
        ListMembersResponse { count: known.subscribers, members: known.members }
    }
}

impl From<ChannelHistory> for GetHistoryResponse {
    fn from(history: ChannelHistory) -> GetHistoryResponse {
        GetHistoryResponse {
            position: history.position,
            complete: history.complete,
            messages: history.messages,
        }
    }
}
