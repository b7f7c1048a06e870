//! What panics while a request is answered.

use std::pin::Pin;
use std::task::{Context as Waiting, Poll};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tower::ServiceExt as _;

use super::fake::Api;
use crate::api::{CODE_METADATA, Listener};

/// Says something, and then panics.
struct Interrupted(bool);

impl HttpBody for Interrupted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Waiting<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        assert!(!std::mem::replace(&mut self.0, true), "the stream of a test");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"begun")))))
    }
}

/// Asks for what panics at once, or in the middle of its answer.
async fn answer(api: &Api, path: &str, kind: &str) -> Response {
    let routes = Router::new()
        .route(
            "/at-once",
            any(async |request: Request<Body>| assert!(request.uri().path().is_empty(), "a test")),
        )
        .route("/in-between", any(async || Body::new(Interrupted(false))));
    let request = Request::post(path).header("content-type", kind).body(Body::empty()).unwrap();
    api.api.layered(Listener::Api, routes).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_panic_is_answered_as_internal() {
    let api = Api::new();
    let response = answer(&api, "/at-once", "application/json").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["error"]["code"], "internal");
    let response = answer(&api, "/at-once", "application/grpc").await;
    assert_eq!(response.headers()["grpc-status"], "13");
    assert_eq!(response.headers()[CODE_METADATA], "internal");
    let metrics = api.metrics().await;
    assert!(metrics.contains("campanile_api_panics_total 2"), "{metrics}");
    assert!(metrics.contains(r#"route="/at-once",status="500"} 2"#), "{metrics}");
}

#[tokio::test]
async fn an_answer_that_panics_while_it_is_sent_ends_as_what_it_is_a_failure() {
    let api = Api::new();
    let mut body = answer(&api, "/in-between", "application/json").await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
    let mut body = answer(&api, "/in-between", "application/grpc").await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers[CODE_METADATA]),
        (&"13".parse().unwrap(), &"internal".parse().unwrap())
    );
    assert!(body.frame().await.is_none());
    assert!(api.metrics().await.contains("campanile_api_panics_total 2"));
}
