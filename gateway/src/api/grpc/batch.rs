//! `PushBatch` and `PublishBatch`: requests come and answers go on one stream, in order, with several requests under way at once.
//!
//! One task drives the whole stream. A request's shards have been asked once its future was polled for the first time,
//! so requests reach the shards in the order in which they came, and only the oldest has to be waited for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Cx, Poll, ready};

use tonic::codegen::tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::wire::{PublishBatchRequest, PublishBatchResponse, PushBatchRequest, PushBatchResponse};
use crate::api::auth::Publisher;
use crate::api::channels::{self, PublishRequest};
use crate::api::error::ApiError;
use crate::api::push::{self, PushRequest, invalid, now_ms};
use crate::api::{BATCH_ITEMS_MAX, Context};
use campanile_core::requests::Unavailable;

/// Requests of one stream that may be under way. Beyond it the next one is read when the oldest has been answered.
pub(in crate::api) const REQUESTS_IN_FLIGHT_MAX: usize = 64;

/// A request of such a stream.
pub(in crate::api) trait Batch: Sized + Unpin {
    /// The answer.
    type Response: Send + Unpin;

    /// The field with the items.
    const ITEMS: &'static str;

    /// How many items there are.
    fn items(&self) -> usize;

    /// Carries the items out. Its first poll asks all shards.
    fn carry_out(
        self,
        context: Arc<Context>,
        publisher: Publisher,
    ) -> impl Future<Output = Self::Response> + Send + 'static;
}

/// The answers of one stream.
pub(in crate::api) struct Answers<R: Batch> {
    context: Arc<Context>,
    publisher: Publisher,
    /// `None` once they have ended.
    requests: Option<Streaming<R>>,
    /// What the stream ends with, after the answers to all requests before it.
    end: Option<Status>,
    in_flight: VecDeque<Answer<R::Response>>,
}

enum Answer<T> {
    Ready(T),
    Waiting(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<R: Batch> Answers<R> {
    pub(super) fn new(context: Arc<Context>, publisher: Publisher, requests: Streaming<R>) -> Answers<R> {
        Answers { context, publisher, requests: Some(requests), end: None, in_flight: VecDeque::new() }
    }

    /// Starts as many requests as have come and may be under way.
    fn take_requests(&mut self, cx: &mut Cx<'_>) {
        while self.in_flight.len() < REQUESTS_IN_FLIGHT_MAX
            && let Some(requests) = &mut self.requests
            && let Poll::Ready(next) = Pin::new(requests).poll_next(cx)
        {
            match next {
                Some(Ok(request)) if (1..=BATCH_ITEMS_MAX).contains(&request.items()) => {
                    self.start(request, cx);
                }
                Some(Ok(request)) => {
                    let count = request.items();
                    let problem = format_args!("{count} items, 1 to {BATCH_ITEMS_MAX} are allowed");
                    self.finish(Some(invalid(R::ITEMS, problem).into()));
                }
                Some(Err(status)) => self.finish(Some(status)),
                None => self.finish(None),
            }
        }
    }

    fn finish(&mut self, end: Option<Status>) {
        (self.requests, self.end) = (None, end);
    }

    fn start(&mut self, request: R, cx: &mut Cx<'_>) {
        let mut answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(request.carry_out(Arc::clone(&self.context), self.publisher));
        self.in_flight.push_back(match answer.as_mut().poll(cx) {
            Poll::Ready(response) => Answer::Ready(response),
            Poll::Pending => Answer::Waiting(answer),
        });
    }
}

impl<R: Batch> Stream for Answers<R> {
    type Item = Result<R::Response, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Option<Self::Item>> {
        self.take_requests(cx);
        if let Some(Answer::Waiting(oldest)) = self.in_flight.front_mut() {
            let response = ready!(oldest.as_mut().poll(cx));
            self.in_flight.pop_front();
            return Poll::Ready(Some(Ok(response)));
        }
        match self.in_flight.pop_front() {
            Some(Answer::Ready(response)) => Poll::Ready(Some(Ok(response))),
            _ if self.requests.is_some() => Poll::Pending,
            _ => Poll::Ready(self.end.take().map(Err)),
        }
    }
}

impl Batch for PushBatchRequest {
    type Response = PushBatchResponse;

    const ITEMS: &'static str = "pushes";

    fn items(&self) -> usize {
        self.pushes.len()
    }

    async fn carry_out(self, context: Arc<Context>, publisher: Publisher) -> PushBatchResponse {
        let (now_ms, count) = (now_ms(), self.pushes.len());
        let pushes = self
            .pushes
            .into_iter()
            .map(|push| PushRequest::try_from(push)?.into_push(&context.rules, publisher, now_ms))
            .collect();
        PushBatchResponse { results: results(push::many(&context, pushes).await, count) }
    }
}

impl Batch for PublishBatchRequest {
    type Response = PublishBatchResponse;

    const ITEMS: &'static str = "messages";

    fn items(&self) -> usize {
        self.messages.len()
    }

    async fn carry_out(self, context: Arc<Context>, _: Publisher) -> PublishBatchResponse {
        let count = self.messages.len();
        let messages = self.messages.into_iter().map(PublishRequest::try_from).collect();
        PublishBatchResponse { results: results(channels::many(&context, messages).await, count) }
    }
}

/// One result for each item, also when no shard took its part.
fn results<A, R: From<Result<A, ApiError>>>(
    asked: Result<Vec<Result<A, ApiError>>, Unavailable>,
    count: usize,
) -> Vec<R> {
    match asked {
        Ok(results) => results.into_iter().map(Into::into).collect(),
        Err(unavailable) => (0..count).map(|_| Err(ApiError::from(unavailable)).into()).collect(),
    }
}
