//! Pushes to users' devices.

mod answer;
mod json;
mod request;

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(super) use self::answer::PushAnswer;
pub(super) use self::json::Sent;
pub use self::request::{DEVICES_LISTED_MAX, PushRules};
pub(super) use self::request::{PushRequest, invalid, now_ms};

use self::json::PushBody;
use super::auth::Publisher;
use super::error::{ApiError, ErrorBody};
use super::fields::Bounded;
use super::{Context, body};
use crate::shard::requests::{Push, Unavailable};

/// Pushes that one batch may have.
pub const BATCH_PUSHES_MAX: usize = 1_000;
/// The largest body of a push or a batch in bytes, unless one payload alone may be larger.
pub const PUSH_BODY_BYTES_MAX: usize = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    pushes: Bounded<&'a RawValue, BATCH_PUSHES_MAX>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BatchItem {
    Answered(PushAnswer),
    Refused(ErrorBody),
}

#[derive(Serialize)]
struct BatchAnswer {
    results: Vec<BatchItem>,
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
    let now_ms = now_ms();
    let pushes = requests(&body)?
        .into_iter()
        .map(|request| request?.into_push(&context.rules, publisher, now_ms))
        .collect();
    drop(body);
    let results = many(&context, pushes).await?.into_iter().map(|result| match result {
        Ok(answer) => BatchItem::Answered(answer),
        Err(error) => BatchItem::Refused(error.body()),
    });
    Ok(json_response(StatusCode::OK, &BatchAnswer { results: results.collect() }))
}

/// The pushes of a batch. They are told apart first, so that a bad one does not spoil the others; beside the parsing
/// of each that costs little, since nothing is copied.
fn requests(body: &[u8]) -> Result<Vec<Result<PushRequest, ApiError>>, ApiError> {
    let batch: BatchBody<'_> = body::parse(body)?;
    let item = |raw: &RawValue| body::parse::<PushBody>(raw.get().as_bytes())?.into_request();
    Ok(batch.pushes.0.into_iter().map(item).collect())
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
    let mut good = Vec::with_capacity(pushes.len());
    let refused: Vec<Option<ApiError>> =
        pushes.into_iter().map(|push| push.map(|push| good.push(push)).err()).collect();
    let mut pushed = context.shards.push(good).await?.into_iter();
    let results = refused.into_iter().map(|refused| match refused {
        Some(error) => Err(error),
        // As many answers as pushes that were good.
        None => match pushed.next().unwrap_or(Err(Unavailable::Stopping.into())) {
            Ok(pushed) => Ok(PushAnswer(pushed)),
            Err(error) => Err(error.into()),
        },
    });
    Ok(results.collect())
}

impl IntoResponse for PushAnswer {
    fn into_response(self) -> Response {
        let status = self.failure().map_or(StatusCode::OK, |failure| failure.http());
        json_response(status, &self)
    }
}

fn json_response(status: StatusCode, answer: &impl Serialize) -> Response {
    // Writing to a vector does not fail, and neither do these values.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
