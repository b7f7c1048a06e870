//! Pushes to users' devices.

mod answer;
mod json;
mod request;

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

pub(super) use self::answer::PushAnswer;
pub(super) use self::json::Sent;
pub use self::request::{DEVICES_LISTED_MAX, PushRules};
pub(super) use self::request::{KIND_DEFAULT, PushRequest, invalid, now_ms};

use self::json::PushBody;
use super::auth::Publisher;
use super::batch::{self, RawItems};
use super::error::ApiError;
use super::{Context, body};
use campanile_core::requests::{Push, Unavailable};

/// The largest body of a push or a batch in bytes, unless one payload alone may be larger.
pub const PUSH_BODY_BYTES_MAX: usize = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    pushes: RawItems<'a>,
}

/// `POST /v2/push`
pub(super) async fn push(
    State(context): State<Arc<Context>>,
    Extension(publisher): Extension<Publisher>,
    request: Request,
) -> Result<Response, ApiError> {
    let body: PushBody = body::json(request, context.push_body_bytes_max()).await?;
    let push = body.into_request()?.into_push(&context.rules, publisher, now_ms())?;
    Ok(one(&context, push).await?.into_response())
}

/// `POST /v2/push/batch`
pub(super) async fn batch(
    State(context): State<Arc<Context>>,
    Extension(publisher): Extension<Publisher>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::bytes(request, context.push_body_bytes_max()).await?;
    let (batch, now_ms) = (body::parse::<BatchBody<'_>>(&body)?, now_ms());
    let pushes = batch::items(batch.pushes, |push: PushBody| {
        push.into_request()?.into_push(&context.rules, publisher, now_ms)
    });
    drop(body);
    Ok(batch::response(many(&context, pushes).await?))
}

/// One push, as the API reads it.
#[cfg(test)]
pub(super) fn from_json(body: &[u8]) -> Result<PushRequest, ApiError> {
    body::parse::<PushBody>(body)?.into_request()
}

/// Pushes one message.
///
/// # Errors
/// Why the shard did nothing.
pub(super) async fn one(context: &Context, push: Push) -> Result<PushAnswer, ApiError> {
    let mut results = context.shards.push(vec![push]).await?;
    let pushed = results.pop().unwrap_or(Err(Unavailable::Stopping.into()))?;
    Ok(PushAnswer(pushed))
}

/// Pushes those that are good, and tells for each what became of it. All shards have been asked when this first waits.
///
/// # Errors
/// When no shard took its part.
pub(super) async fn many(
    context: &Context,
    pushes: Vec<Result<Push, ApiError>>,
) -> Result<Vec<Result<PushAnswer, ApiError>>, Unavailable> {
    let results = batch::ask(pushes, |pushes| context.shards.push(pushes)).await?;
    Ok(results.into_iter().map(|result| result.map(PushAnswer)).collect())
}

impl IntoResponse for PushAnswer {
    fn into_response(self) -> Response {
        let status = self.failure().map_or(StatusCode::OK, |failure| failure.http());
        batch::json_response(status, &self)
    }
}
