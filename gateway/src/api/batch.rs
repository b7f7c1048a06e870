//! Batches: many items in one request, each of which succeeds or fails for itself.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use campanile_core::requests::Unavailable;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::body;
use super::error::{ApiError, ErrorBody};
use super::fields::Bounded;

/// Items that one batch may have.
pub const BATCH_ITEMS_MAX: usize = 1_000;

/// The items of a batch as they were sent.
pub(super) type RawItems<'a> = Bounded<&'a RawValue, BATCH_ITEMS_MAX>;

/// What became of one item.
#[derive(Serialize)]
#[serde(untagged)]
enum Item<A> {
    Answered(A),
    Refused(ErrorBody),
}

#[derive(Serialize)]
struct BatchAnswer<A> {
    results: Vec<Item<A>>,
}

/// The items of a batch. They are told apart first, so that a bad one does not spoil the others; beside the parsing of
/// each that costs little, since nothing is copied.
pub(super) fn items<'a, B: Deserialize<'a>, T>(
    raw: RawItems<'a>,
    checked: impl Fn(B) -> Result<T, ApiError>,
) -> Vec<Result<T, ApiError>> {
    let item = |raw: &'a RawValue| checked(body::parse(raw.get().as_bytes())?);
    raw.0.into_iter().map(item).collect()
}

/// Asks shards for the items that are good, and tells for each item what became of it. All shards have been asked when
/// this first waits, if `ask` does so.
///
/// # Errors
/// When no shard took its part.
pub(super) async fn ask<T, A, E, F>(
    items: Vec<Result<T, ApiError>>,
    ask: impl FnOnce(Vec<T>) -> F,
) -> Result<Vec<Result<A, ApiError>>, Unavailable>
where
    E: Into<ApiError> + From<Unavailable>,
    F: Future<Output = Result<Vec<Result<A, E>>, Unavailable>>,
{
    let mut good = Vec::with_capacity(items.len());
    let refused: Vec<Option<ApiError>> =
        items.into_iter().map(|item| item.map(|item| good.push(item)).err()).collect();
    let mut answers = ask(good).await?.into_iter();
    let results = refused.into_iter().map(|refused| match refused {
        Some(error) => Err(error),
        // As many answers as items that were good.
        None => answers.next().unwrap_or(Err(Unavailable::Stopping.into())).map_err(Into::into),
    });
    Ok(results.collect())
}

/// The answer to a batch.
pub(super) fn response<A: Serialize>(results: Vec<Result<A, ApiError>>) -> Response {
    let item = |result| match result {
        Ok(answer) => Item::Answered(answer),
        Err(error) => Item::Refused(ApiError::body(&error)),
    };
    json_response(StatusCode::OK, &BatchAnswer { results: results.into_iter().map(item).collect() })
}

/// An answer in JSON.
pub(super) fn json_response(status: StatusCode, answer: &impl Serialize) -> Response {
    // Writing to a vector does not fail, and neither do these values.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
