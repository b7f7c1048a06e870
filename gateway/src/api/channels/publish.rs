//! Messages to the subscribers of channels.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use campanile_core::names::Name;
use campanile_core::publish::{Publish, PublishDraft};
use campanile_core::push::{PushRefused, check_size};
use campanile_core::requests::{PublishError, Unavailable};
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::Position;
use serde::{Deserialize, Serialize};

use super::{ChannelsApi, NamePath, PositionAnswer, name};
use crate::api::batch::{self, BATCH_ITEMS_MAX, RawItems};
use crate::api::body;
use crate::api::error::{ApiError, invalid};
use crate::api::fields::{self, Bounded, From as Sender, PayloadField};

/// The body of `POST /v2/channels/{name}/publish`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody {
    #[serde(default, deserialize_with = "fields::some_text")]
    kind: Option<Name>,
    payload: PayloadField,
    #[serde(default)]
    from: Option<Sender>,
}

/// The body of `POST /v2/channels/publish`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManyBody {
    channels: Bounded<String, BATCH_ITEMS_MAX>,
    #[serde(default, deserialize_with = "fields::some_text")]
    kind: Option<Name>,
    payload: PayloadField,
    #[serde(default)]
    from: Option<Sender>,
}

/// An item of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemBody {
    #[serde(deserialize_with = "fields::text")]
    channel: ChannelName,
    #[serde(default, deserialize_with = "fields::some_text")]
    kind: Option<Name>,
    payload: PayloadField,
    #[serde(default)]
    from: Option<Sender>,
}

impl ItemBody {
    fn into_draft(self) -> PublishDraft {
        draft_of(self.channel, self.kind, self.from, self.payload)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    messages: RawItems<'a>,
}

/// Which message it has become.
pub(in crate::api) struct Published {
    pub(super) channel: ChannelName,
    pub(super) position: Position,
}

#[derive(Serialize)]
pub(super) struct PublishAnswer {
    channel: String,
    #[serde(flatten)]
    position: PositionAnswer,
}

/// `POST /v2/channels/{name}/publish`
pub(super) async fn publish(
    State(room): State<Arc<ChannelsApi>>,
    path: NamePath,
    request: Request,
) -> Result<Json<PublishAnswer>, ApiError> {
    let channel = name(path)?;
    let body: PublishBody = body::json(request, room.body_bytes_max()).await?;
    let draft = draft_of(channel, body.kind, body.from, body.payload);
    Ok(Json(room.one(draft).await?.into()))
}

/// `POST /v2/channels/publish`
pub(super) async fn to_many(
    State(room): State<Arc<ChannelsApi>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body: ManyBody = body::json(request, room.body_bytes_max()).await?;
    let (names, payload) = (body.channels.0, body.payload.0);
    check_size(&payload, room.rules.payload_bytes_max).map_err(PushRefused::from)?;
    // A message that is text is copied for each channel: no more than a batch may bring.
    let (bytes, max) = (payload.content_bytes(), room.body_bytes_max() / names.len());
    if bytes > max {
        return Err(ApiError::PayloadTooLarge { bytes, max });
    }
    let from = body.from.map(Sender::into_device);
    let kind = body.kind;
    let message = |(place, name): (usize, String)| {
        let channel = ChannelName::try_from(name.as_str())
            .map_err(|error| invalid(format_args!("channels[{place}]"), error))?;
        Ok(PublishDraft { channel, kind: kind.clone(), from: from.clone(), payload: payload.clone() })
    };
    let messages = names.into_iter().enumerate().map(message).collect();
    Ok(response(room.many(messages).await?))
}

/// `POST /v2/channels/publish/batch`
pub(super) async fn batch(
    State(room): State<Arc<ChannelsApi>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::bytes(request, room.body_bytes_max()).await?;
    let batch: BatchBody<'_> = body::parse(&body)?;
    let messages = batch::items(batch.messages, |item: ItemBody| Ok(item.into_draft()));
    drop(body);
    Ok(response(room.many(messages).await?))
}

/// One message, as the API reads it in a batch.
#[cfg(test)]
pub(in crate::api) fn from_json(body: &[u8]) -> Result<PublishDraft, ApiError> {
    body::parse::<ItemBody>(body).map(ItemBody::into_draft)
}

impl ChannelsApi {
    /// Publishes one message.
    ///
    /// # Errors
    /// Why it is not published.
    pub(super) async fn one(&self, draft: PublishDraft) -> Result<Published, ApiError> {
        let mut results = self.many(vec![Ok(draft)]).await?;
        results.pop().unwrap_or(Err(Unavailable::Stopping.into()))
    }

    /// Publishes those that are good, and tells for each what became of it. All shards have been asked when this first
    /// waits.
    ///
    /// # Errors
    /// When no shard took its part.
    pub(super) async fn many(
        &self,
        drafts: Vec<Result<PublishDraft, ApiError>>,
    ) -> Result<Vec<Result<Published, ApiError>>, Unavailable> {
        let messages = drafts.into_iter().map(|draft| Ok(Publish::new(draft?, &self.rules)?)).collect();
        let ask = async move |messages: Vec<Publish>| {
            let channels: Vec<ChannelName> = messages.iter().map(|message| message.channel.clone()).collect();
            let positions = self.shards.publish(messages).await?;
            let published = |(channel, result): (ChannelName, Result<Position, PublishError>)| {
                result.map(|position| Published { channel, position })
            };
            Ok(channels.into_iter().zip(positions).map(published).collect::<Vec<_>>())
        };
        batch::ask(messages, ask).await
    }
}

impl From<Published> for PublishAnswer {
    fn from(published: Published) -> PublishAnswer {
        PublishAnswer { channel: published.channel.as_str().into(), position: published.position.into() }
    }
}

fn response(results: Vec<Result<Published, ApiError>>) -> Response {
    batch::response(results.into_iter().map(|result| result.map(PublishAnswer::from)).collect())
}

fn draft_of(
    channel: ChannelName,
    kind: Option<Name>,
    from: Option<Sender>,
    payload: PayloadField,
) -> PublishDraft {
    PublishDraft { channel, kind, from: from.map(Sender::into_device), payload: payload.0 }
}
