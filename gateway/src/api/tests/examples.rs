//! Every example of `docs/api.md` is sent, and answered as it says.
//!
//! A block whose first line is ```` ```json METHOD PATH STATUS ```` is a request; one with `json answer` is the answer
//! to the request before it.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::Value;

use super::fake::{Api, KEY, token};
use crate::api::Listener;

const DOCS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md"));

/// The first line and the content of each block of JSON.
fn blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOCS.split("\n```json").skip(1).map(|block| {
        let (first, rest) = block.split_once('\n').expect("a block has lines");
        (first.trim(), rest.split_once("\n```").map_or("", |(content, _)| content).trim())
    })
}

#[tokio::test]
async fn the_examples_of_the_documentation_work() {
    // One after the other on one node, since later ones build on earlier ones.
    let api = Api::new();
    let (mut requests, mut answers) = (0, 0);
    let mut last: Option<(&str, Value)> = None;
    for (first, content) in blocks() {
        if first == "answer" {
            let (request, answer) = last.take().expect("an answer without a request");
            let expected: Value =
                serde_json::from_str(content).unwrap_or_else(|error| panic!("{error}: {content}"));
            assert_eq!(answer, expected, "{request}");
            answers += 1;
            continue;
        }
        let mut words = first.split(' ');
        let (method, path, status) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let (listener, credential) = match path {
            _ if path.starts_with("/v2/messages") => (Listener::Devices, token("ada", 1)),
            _ if path.starts_with("/v2/node") => (Listener::Admin, KEY.to_owned()),
            _ => (Listener::Api, KEY.to_owned()),
        };
        let request = Request::builder()
            .method(method.parse::<Method>().unwrap())
            .uri(path)
            .header("authorization", format!("Bearer {credential}"))
            .header("content-type", "application/json");
        let answer = api.call_at(listener, request.body(Body::from(content)).unwrap()).await;
        assert_eq!(answer.status.as_str(), status, "{first}\n{content}\n{}", answer.json);
        last = Some((first, answer.json));
        requests += 1;
    }
    assert!(requests >= 25 && answers >= 15, "{requests} requests and {answers} answers were found");
}

#[test]
fn every_code_is_documented_with_its_statuses() {
    for error in super::super::error::all() {
        let row = format!("| `{}` | {} | {:?} |", error.code(), error.http().as_u16(), error.grpc());
        assert!(DOCS.contains(&row), "docs/api.md lacks the row: {row}");
    }
}
