//! The room of what goes to users' devices: pushes, read receipts and broadcasts.

mod answer;
mod broadcast;
mod grpc;
mod json;
mod receipts;
mod request;

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use campanile_core::push::{Push, PushRules};
use campanile_core::requests::Unavailable;
use serde::Deserialize;

pub(super) use self::answer::PushAnswer;
#[cfg(test)]
pub(super) use self::json::from_json;
pub use self::receipts::{RECEIPT_ID_BYTES_MAX, RECEIPT_MESSAGES_MAX};
pub(super) use self::request::PushRequest;

use self::json::PushBody;
use super::auth::Publisher;
use super::batch::{self, RawItems};
use super::body;
use super::clock::now_ms;
use super::error::ApiError;
use super::routes::Routes;
use crate::shards::Shards;

/// What requests about pushes work with.
pub(super) struct PushApi {
    shards: Arc<Shards>,
    rules: PushRules,
}

/// The requests about pushes.
pub(super) fn routes(room: &Arc<PushApi>) -> Routes {
    Routes::new()
        .route("/v2/push", post(push))
        .route("/v2/push/batch", post(batch))
        .route("/v2/receipts", post(receipts::receipt))
        .route("/v2/broadcast", post(broadcast::broadcast))
        .with_state(Arc::clone(room))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    pushes: RawItems<'a>,
}

/// `POST /v2/push`
async fn push(
    State(room): State<Arc<PushApi>>,
    Extension(publisher): Extension<Publisher>,
    request: Request,
) -> Result<Response, ApiError> {
    let body: PushBody = body::json(request, room.body_bytes_max()).await?;
    let push = body.into_request()?.into_push(&room.rules, publisher, now_ms())?;
    Ok(room.one(push).await?.into_response())
}

/// `POST /v2/push/batch`
async fn batch(
    State(room): State<Arc<PushApi>>,
    Extension(publisher): Extension<Publisher>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::bytes(request, room.body_bytes_max()).await?;
    let (batch, now_ms) = (body::parse::<BatchBody<'_>>(&body)?, now_ms());
    let pushes = batch::items(batch.pushes, |push: PushBody| {
        push.into_request()?.into_push(&room.rules, publisher, now_ms)
    });
    drop(body);
    Ok(batch::response(room.many(pushes).await?))
}

impl PushApi {
    pub(super) fn new(shards: Arc<Shards>, rules: PushRules) -> PushApi {
        PushApi { shards, rules }
    }

    /// The largest body of a request here, in bytes.
    pub(super) fn body_bytes_max(&self) -> usize {
        body::payloads_bytes_max(&self.rules)
    }

    /// Pushes one message.
    ///
    /// # Errors
    /// Why the shard did nothing.
    async fn one(&self, push: Push) -> Result<PushAnswer, ApiError> {
        let mut results = self.shards.push(vec![push]).await?;
        let pushed = results.pop().unwrap_or(Err(Unavailable::Stopping.into()))?;
        Ok(PushAnswer(pushed))
    }

    /// Pushes those that are good, and tells for each what became of it. All shards have been asked when this first
    /// waits.
    ///
    /// # Errors
    /// When no shard took its part.
    async fn many(
        &self,
        pushes: Vec<Result<Push, ApiError>>,
    ) -> Result<Vec<Result<PushAnswer, ApiError>>, Unavailable> {
        let results = batch::ask(pushes, |pushes| self.shards.push(pushes)).await?;
        Ok(results.into_iter().map(|result| result.map(PushAnswer)).collect())
    }
}

impl IntoResponse for PushAnswer {
    fn into_response(self) -> Response {
        let status = self.failure().map_or(StatusCode::OK, |failure| failure.http());
        batch::json_response(status, &self)
    }
}
