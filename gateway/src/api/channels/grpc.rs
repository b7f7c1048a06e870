//! Channels over gRPC: requests become those that HTTP's become.

use std::sync::Arc;

use campanile_core::publish::PublishDraft;
use campanile_core::requests::{ChannelHistory, ChannelPart};
use campanile_protocol::ids::ChannelName;
use tonic::{Request, Response, Status, Streaming};

use super::{ChannelsApi, Published};
use crate::api::auth::Publisher;
use crate::api::error::{ApiError, invalid};
use crate::api::grpc::batch::{Answers, Batch, results};
use crate::api::grpc::convert::{name, payload, sender};
use crate::api::grpc::wire::{
    GetChannelRequest, GetChannelResponse, GetHistoryRequest, GetHistoryResponse, ListMembersRequest,
    ListMembersResponse, PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse,
    PublishResult,
};

impl ChannelsApi {
    /// `Publish`
    pub(in crate::api) async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let published = self.one(request.into_inner().try_into()?).await?;
        Ok(Response::new(published.into()))
    }

    /// `PublishBatch`
    pub(in crate::api) fn publish_batch(
        self: &Arc<ChannelsApi>,
        request: Request<Streaming<PublishBatchRequest>>,
    ) -> Result<Response<Answers<PublishBatchRequest>>, Status> {
        let publisher = Publisher::of(request.extensions())?;
        Ok(Response::new(Answers::new(Arc::clone(self), publisher, request.into_inner())))
    }

    /// `GetChannel`
    pub(in crate::api) async fn get_channel(
        &self,
        request: Request<GetChannelRequest>,
    ) -> Result<Response<GetChannelResponse>, Status> {
        let channel = channel(&request.get_ref().channel)?;
        let known = self.shards.channel(&channel).await.map_err(ApiError::from)?;
        Ok(Response::new(known.into()))
    }

    /// `ListMembers`
    pub(in crate::api) async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let channel = channel(&request.get_ref().channel)?;
        Ok(Response::new(self.members_of(&channel).await?.into()))
    }

    /// `GetHistory`
    pub(in crate::api) async fn get_history(
        &self,
        request: Request<GetHistoryRequest>,
    ) -> Result<Response<GetHistoryResponse>, Status> {
        let GetHistoryRequest { channel: name, since, limit } = request.into_inner();
        let limit = (limit != 0).then_some(limit as usize);
        Ok(Response::new(self.history_of(channel(&name)?, since, limit).await?.into()))
    }
}

impl Batch for PublishBatchRequest {
    type Room = ChannelsApi;
    type Response = PublishBatchResponse;

    const ITEMS: &'static str = "messages";

    fn items(&self) -> usize {
        self.messages.len()
    }

    async fn carry_out(self, room: Arc<ChannelsApi>, _: Publisher) -> PublishBatchResponse {
        let count = self.messages.len();
        let drafts = self.messages.into_iter().map(PublishDraft::try_from).collect();
        PublishBatchResponse { results: results(room.many(drafts).await, count) }
    }
}

/// The name of a channel.
///
/// # Errors
/// [`ApiError::InvalidField`].
fn channel(text: &str) -> Result<ChannelName, ApiError> {
    text.parse().map_err(|error| invalid("channel", error))
}

impl TryFrom<PublishRequest> for PublishDraft {
    type Error = ApiError;

    fn try_from(request: PublishRequest) -> Result<PublishDraft, ApiError> {
        Ok(PublishDraft {
            channel: channel(&request.channel)?,
            kind: name("kind", request.kind)?,
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
