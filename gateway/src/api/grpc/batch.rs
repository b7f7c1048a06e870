//! `PushBatch` and `PublishBatch`: requests come and answers go on one stream, in order, with several requests under
//! way at once.
//!
//! One task drives the whole stream. A request's shards have been asked once its future was polled for the first time,
//! so requests reach the shards in the order in which they came, and only the oldest has to be waited for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Cx, Poll, ready};

use campanile_core::requests::Unavailable;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::api::BATCH_ITEMS_MAX;
use crate::api::auth::Publisher;
use crate::api::error::{ApiError, invalid};

/// Requests of one stream that may be under way. Beyond it the next one is read when the oldest has been answered.
pub(in crate::api) const REQUESTS_IN_FLIGHT_MAX: usize = 64;

/// A request of such a stream.
pub(in crate::api) trait Batch: Sized + Unpin {
    /// What the request works with.
    type Room: Send + Sync + 'static;
    /// The answer.
    type Response: Send + Unpin;

    /// The field with the items.
    const ITEMS: &'static str;

    /// How many items there are.
    fn items(&self) -> usize;

    /// Carries the items out. Its first poll asks all shards.
    fn carry_out(
        self,
        room: Arc<Self::Room>,
        publisher: Publisher,
    ) -> impl Future<Output = Self::Response> + Send + 'static;
}

/// The answers of one stream.
pub(in crate::api) struct Answers<R: Batch> {
    room: Arc<R::Room>,
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
    pub(in crate::api) fn new(
        room: Arc<R::Room>,
        publisher: Publisher,
        requests: Streaming<R>,
    ) -> Answers<R> {
        Answers { room, publisher, requests: Some(requests), end: None, in_flight: VecDeque::new() }
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
            Box::pin(request.carry_out(Arc::clone(&self.room), self.publisher));
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

/// One result for each item, also when no shard took its part.
pub(in crate::api) fn results<A, R: From<Result<A, ApiError>>>(
    asked: Result<Vec<Result<A, ApiError>>, Unavailable>,
    count: usize,
) -> Vec<R> {
    match asked {
        Ok(results) => results.into_iter().map(Into::into).collect(),
        Err(unavailable) => (0..count).map(|_| Err(ApiError::from(unavailable)).into()).collect(),
    }
}
