//! A panic while a request is answered costs that request: it is answered `internal`, counted and logged, and everybody
//! else goes on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waiting, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tonic::Status;

use super::auth;
use super::error::ApiError;
use super::metrics::ApiMetrics;
use crate::panics;

/// Answers a request whose handler panics, and goes on with an answer that is a stream.
pub(super) async fn contain(
    State(metrics): State<Arc<ApiMetrics>>,
    request: Request,
    next: Next,
) -> Response {
    let grpc = auth::is_grpc(request.headers());
    match panics::caught(next.run(request)).await {
        Ok(response) => response.map(|body| match body.size_hint().exact() {
            // What is there as a whole has nothing left that could panic.
            Some(_) => body,
            None => Body::new(Stream { body, grpc, metrics: Some(metrics) }),
        }),
        Err(words) => {
            report(&metrics, &words);
            ApiError::Internal.into_answer(grpc)
        }
    }
}

/// Counts and logs a panic of the API.
pub(super) fn report(metrics: &ApiMetrics, words: &str) {
    metrics.panicked();
    tracing::error!(panic = words, "the API has panicked: one request is lost, and everything else goes on");
}

/// An answer that is made while it is sent.
struct Stream {
    body: Body,
    grpc: bool,
    /// `None` once it has panicked.
    metrics: Option<Arc<ApiMetrics>>,
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Waiting<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Stream { body, grpc, metrics } = &mut *self;
        if metrics.is_none() {
            return Poll::Ready(None);
        }
        match panics::catching(|| Pin::new(body).poll_frame(cx)) {
            Ok(frame) => frame,
            Err(words) => {
                if let Some(metrics) = metrics.take() {
                    report(&metrics, &words);
                }
                // Over HTTP the head has said 200 already: what is left is to break off.
                let broken = || axum::Error::new(io::Error::other("the answer cannot be finished"));
                Poll::Ready(Some(if *grpc { trailers().ok_or_else(broken) } else { Err(broken()) }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.metrics.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The end of a gRPC stream that has failed.
fn trailers() -> Option<Frame<Bytes>> {
    let mut headers = HeaderMap::new();
    Status::from(ApiError::Internal).add_header(&mut headers).ok()?;
    Some(Frame::trailers(headers))
}
