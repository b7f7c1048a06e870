//! `PushBatch`: requests come and answers go on one stream, in order, with several requests under way at once.
//!
//! One task drives the whole stream. A request's shards have been asked once its future was polled for the first time,
//! so requests reach the shards in the order in which they came, and only the oldest has to be waited for.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Cx, Poll, ready};

use tonic::codegen::tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::wire::{PushBatchRequest, PushBatchResponse};
use crate::api::Context;
use crate::api::auth::Publisher;
use crate::api::error::ApiError;
use crate::api::push::{self, BATCH_PUSHES_MAX, PushRequest, invalid, now_ms};

/// Requests of one stream that may be under way. Beyond it the next one is read when the oldest has been answered.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;

/// The answers of one stream.
pub(in crate::api) struct Answers {
    context: Arc<Context>,
    publisher: Publisher,
    /// `None` once they have ended.
    requests: Option<Streaming<PushBatchRequest>>,
    /// What the stream ends with, after the answers to all requests before it.
    end: Option<Status>,
    in_flight: VecDeque<Answer>,
}

enum Answer {
    Ready(PushBatchResponse),
    Waiting(Pin<Box<dyn Future<Output = PushBatchResponse> + Send>>),
}

impl Answers {
    pub(super) fn new(
        context: Arc<Context>,
        publisher: Publisher,
        requests: Streaming<PushBatchRequest>,
    ) -> Answers {
        Answers { context, publisher, requests: Some(requests), end: None, in_flight: VecDeque::new() }
    }

    /// Starts as many requests as have come and may be under way.
    fn take_requests(&mut self, cx: &mut Cx<'_>) {
        while self.in_flight.len() < REQUESTS_IN_FLIGHT_MAX
            && let Some(requests) = &mut self.requests
            && let Poll::Ready(next) = Pin::new(requests).poll_next(cx)
        {
            match next {
                Some(Ok(request)) if (1..=BATCH_PUSHES_MAX).contains(&request.pushes.len()) => {
                    self.start(request, cx);
                }
                Some(Ok(request)) => {
                    let count = request.pushes.len();
                    let problem = format_args!("{count} items, 1 to {BATCH_PUSHES_MAX} are allowed");
                    self.finish(Some(invalid("pushes", problem).into()));
                }
                Some(Err(status)) => self.finish(Some(status)),
                None => self.finish(None),
            }
        }
    }

    fn finish(&mut self, end: Option<Status>) {
        (self.requests, self.end) = (None, end);
    }

    fn start(&mut self, request: PushBatchRequest, cx: &mut Cx<'_>) {
        let mut answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(answer(Arc::clone(&self.context), self.publisher, request));
        self.in_flight.push_back(match answer.as_mut().poll(cx) {
            Poll::Ready(response) => Answer::Ready(response),
            Poll::Pending => Answer::Waiting(answer),
        });
    }
}

impl Stream for Answers {
    type Item = Result<PushBatchResponse, Status>;

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

async fn answer(context: Arc<Context>, publisher: Publisher, request: PushBatchRequest) -> PushBatchResponse {
    let (now_ms, count) = (now_ms(), request.pushes.len());
    let pushes = request
        .pushes
        .into_iter()
        .map(|push| PushRequest::try_from(push)?.into_push(&context.rules, publisher, now_ms))
        .collect();
    let results = match push::many(&context, pushes).await {
        Ok(results) => results.into_iter().map(Into::into).collect(),
        Err(unavailable) => (0..count).map(|_| Err(ApiError::from(unavailable)).into()).collect(),
    };
    PushBatchResponse { results }
}
