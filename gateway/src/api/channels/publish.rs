//! Messages to the subscribers of channels.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{ChannelMessage, Device, Payload, Position};
use serde::{Deserialize, Serialize};

use super::{NamePath, PositionAnswer, name};
use crate::api::batch::{self, BATCH_ITEMS_MAX, RawItems};
use crate::api::error::ApiError;
use crate::api::fields::{self, Bounded, From as Sender, Name, PayloadField};
use crate::api::push::{KIND_DEFAULT, PushRules, invalid};
use crate::api::{Context, body};
use campanile_core::requests::{Publish, PublishError, Unavailable};

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
    fn into_request(self) -> PublishRequest {
        request_of(self.channel, self.kind, self.from, self.payload)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    messages: RawItems<'a>,
}

/// A message for a channel as a publisher asks for it, over HTTP or gRPC. Its names and its payload have passed their
/// checks; what depends on the node's rules has not.
#[derive(Debug, PartialEq)]
pub(in crate::api) struct PublishRequest {
    pub(in crate::api) channel: ChannelName,
    pub(in crate::api) kind: Option<String>,
    pub(in crate::api) from: Option<Device>,
    pub(in crate::api) payload: Payload,
}

/// Which message it has become.
pub(in crate::api) struct Published {
    pub(in crate::api) channel: ChannelName,
    pub(in crate::api) position: Position,
}

#[derive(Serialize)]
pub(super) struct PublishAnswer {
    channel: String,
    #[serde(flatten)]
    position: PositionAnswer,
}

/// `POST /v2/channels/{name}/publish`
pub(super) async fn publish(
    State(context): State<Arc<Context>>,
    path: NamePath,
    request: Request,
) -> Result<Json<PublishAnswer>, ApiError> {
    let channel = name(path)?;
    let body: PublishBody = body::json(request, context.push_body_bytes_max()).await?;
    let request = request_of(channel, body.kind, body.from, body.payload);
    Ok(Json(one(&context, request).await?.into()))
}

/// `POST /v2/channels/publish`
pub(super) async fn to_many(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body: ManyBody = body::json(request, context.push_body_bytes_max()).await?;
    let (names, payload) = (body.channels.0, body.payload.0);
    context.rules.check_size(&payload)?;
    // A message that is text is copied for each channel: no more than a batch may bring.
    let (bytes, max) = (payload.content_bytes(), context.push_body_bytes_max() / names.len());
    if bytes > max {
        return Err(ApiError::PayloadTooLarge { bytes, max });
    }
    let from = body.from.map(Sender::into_device);
    let kind = body.kind.map(|name| name.0);
    let message = |(place, name): (usize, String)| {
        let channel = ChannelName::try_from(name.as_str())
            .map_err(|error| invalid(format_args!("channels[{place}]"), error))?;
        Ok(PublishRequest { channel, kind: kind.clone(), from: from.clone(), payload: payload.clone() })
    };
    let messages = names.into_iter().enumerate().map(message).collect();
    Ok(response(many(&context, messages).await?))
}

/// `POST /v2/channels/publish/batch`
pub(super) async fn batch(
    State(context): State<Arc<Context>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::bytes(request, context.push_body_bytes_max()).await?;
    let batch: BatchBody<'_> = body::parse(&body)?;
    let messages = batch::items(batch.messages, |item: ItemBody| Ok(item.into_request()));
    drop(body);
    Ok(response(many(&context, messages).await?))
}

/// One message, as the API reads it in a batch.
#[cfg(test)]
pub(in crate::api) fn from_json(body: &[u8]) -> Result<PublishRequest, ApiError> {
    body::parse::<ItemBody>(body).map(ItemBody::into_request)
}

/// Publishes one message.
///
/// # Errors
/// Why it is not published.
pub(in crate::api) async fn one(context: &Context, request: PublishRequest) -> Result<Published, ApiError> {
    let mut results = many(context, vec![Ok(request)]).await?;
    results.pop().unwrap_or(Err(Unavailable::Stopping.into()))
}

/// Publishes those that are good, and tells for each what became of it. All shards have been asked when this first
/// waits.
///
/// # Errors
/// When no shard took its part.
pub(in crate::api) async fn many(
    context: &Context,
    messages: Vec<Result<PublishRequest, ApiError>>,
) -> Result<Vec<Result<Published, ApiError>>, Unavailable> {
    let messages = messages.into_iter().map(|message| message?.into_publish(&context.rules)).collect();
    let ask = async move |messages: Vec<Publish>| {
        let channels: Vec<ChannelName> = messages.iter().map(|message| message.channel.clone()).collect();
        let positions = context.shards.publish(messages).await?;
        let published = |(channel, result): (ChannelName, Result<Position, PublishError>)| {
            result.map(|position| Published { channel, position })
        };
        Ok(channels.into_iter().zip(positions).map(published).collect::<Vec<_>>())
    };
    batch::ask(messages, ask).await
}

impl PublishRequest {
    /// What the shards are asked for.
    ///
    /// # Errors
    /// [`ApiError::PayloadTooLarge`].
    fn into_publish(self, rules: &PushRules) -> Result<Publish, ApiError> {
        rules.check_size(&self.payload)?;
        let message = ChannelMessage {
            kind: self.kind.unwrap_or_else(|| KIND_DEFAULT.into()),
            from: self.from,
            payload: Some(self.payload),
            // The channel's owner knows the rest.
            ..ChannelMessage::default()
        };
        Ok(Publish { channel: self.channel, message })
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

fn request_of(
    channel: ChannelName,
    kind: Option<Name>,
    from: Option<Sender>,
    payload: PayloadField,
) -> PublishRequest {
    PublishRequest {
        channel,
        kind: kind.map(|name| name.0),
        from: from.map(Sender::into_device),
        payload: payload.0,
    }
}
