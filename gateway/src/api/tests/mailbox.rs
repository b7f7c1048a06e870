//! The mailbox of a device that polls.

use axum::http::{Method, Request, StatusCode};
use campanile_protocol::ids::MessageId;
use serde_json::json;

use super::fake::{Api, EPOCH, KEY, token};

fn id(seq: u64) -> String {
    MessageId { epoch: EPOCH, seq }.to_string()
}

#[tokio::test]
async fn messages_are_paged_oldest_first() {
    let api = Api::new();
    let token = token("ada", 1);
    let page = api.device(Method::GET, "/v2/messages?limit=2", &token).await;
    assert_eq!(page.status, StatusCode::OK);
    let message = |seq: u64| {
        json!({
            "id": id(seq), "seq": seq.to_string(), "kind": "message", "sentAtMs": "1000", "expiresAtMs": "2000",
            "payload": {"json": {"a": [1]}},
        })
    };
    assert_eq!(page.json, json!({"messages": [message(11), message(12)], "next": "12", "more": true}));
    let page = api.device(Method::GET, "/v2/messages?after=12", &token).await;
    assert_eq!(page.json, json!({"messages": [message(15)], "next": "15", "more": false}));
    let page = api.device(Method::GET, "/v2/messages?after=15&limit=500", &token).await;
    assert_eq!(page.json, json!({"messages": [], "next": "15", "more": false}));
    assert_eq!(api.registered(), [], "a device that is known is not registered again");
}

#[tokio::test]
async fn a_query_is_checked() {
    let api = Api::new();
    for query in ["limit=0", "limit=501", "limit=x", "after=-1", "after=x", "before=1", "limit=1&limit=2"] {
        let answer = api.device(Method::GET, &format!("/v2/messages?{query}"), &token("ada", 1)).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

#[tokio::test]
async fn a_device_fetches_its_own_envelope_only() {
    let api = Api::new();
    let path = format!("/v2/messages/{}/envelope", id(11));
    for query in ["", "?deviceId=1"] {
        let answer = api.device(Method::GET, &format!("{path}{query}"), &token("ada", 1)).await;
        assert_eq!((answer.status, &answer.json["seq"]), (StatusCode::OK, &json!("11")));
    }
    let answer = api.device(Method::GET, &format!("{path}?deviceId=2"), &token("ada", 1)).await;
    answer.is_error(StatusCode::FORBIDDEN, "other_device");
    let answer = api.device(Method::GET, &format!("{path}?device=1"), &token("ada", 1)).await;
    answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
    let answer = api.device(Method::GET, &path, &token("ada", 2)).await;
    answer.is_error(StatusCode::NOT_FOUND, "unknown_message");
}

#[tokio::test]
async fn confirmed_messages_are_gone_and_a_retry_is_told_so() {
    let api = Api::new();
    let token = token("ada", 1);
    for (method, path) in [
        (Method::POST, format!("/v2/messages/{}/delivered", id(11))),
        (Method::DELETE, format!("/v2/messages/{}", id(12))),
    ] {
        let answer = api.device(method.clone(), &path, &token).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        api.device(method, &path, &token).await.is_error(StatusCode::NOT_FOUND, "unknown_message");
    }
    let page = api.device(Method::GET, "/v2/messages", &token).await;
    assert_eq!(page.json["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn ids_that_name_nothing_here_are_not_found() {
    let api = Api::new();
    let token = token("ada", 1);
    let other_epoch = MessageId { epoch: EPOCH + 1, seq: 11 }.to_string();
    for id in [other_epoch, id(13)] {
        for (method, rest) in [(Method::GET, "/envelope"), (Method::POST, "/delivered"), (Method::DELETE, "")]
        {
            let answer = api.device(method, &format!("/v2/messages/{id}{rest}"), &token).await;
            answer.is_error(StatusCode::NOT_FOUND, "unknown_message");
        }
    }
    for id in ["1", &id(10).to_uppercase(), "%00"] {
        let answer = api.device(Method::DELETE, &format!("/v2/messages/{id}"), &token).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_message_id");
    }
    let answer = api.device(Method::DELETE, "/v2/messages/%FF", &token).await;
    answer.is_error(StatusCode::BAD_REQUEST, "invalid_path");
}

#[tokio::test]
async fn only_the_devices_own_token_opens_its_mailbox() {
    let api = Api::new();
    let expired = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEiLCJkaWQiOjEsImV4cCI6MX0.x";
    for (method, path) in [
        (Method::GET, "/v2/messages".to_owned()),
        (Method::GET, format!("/v2/messages/{}/envelope", id(11))),
        (Method::POST, format!("/v2/messages/{}/delivered", id(11))),
        (Method::DELETE, format!("/v2/messages/{}", id(11))),
    ] {
        for (token, status, code) in [
            (KEY, StatusCode::FORBIDDEN, "device_token_needed"),
            ("nonsense", StatusCode::UNAUTHORIZED, "token_refused"),
            (expired, StatusCode::UNAUTHORIZED, "token_refused"),
            (&expired_token(), StatusCode::UNAUTHORIZED, "token_expired"),
        ] {
            api.device(method.clone(), &path, token).await.is_error(status, code);
        }
        let request = Request::builder().method(&method).uri(&path).body(axum::body::Body::empty()).unwrap();
        let answer = api.call(request).await;
        answer.is_error(StatusCode::UNAUTHORIZED, "token_missing");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

/// Well signed, and over.
fn expired_token() -> String {
    let signer = campanile_core::tokens::Signer::hs256(b"0123456789abcdef0123456789abcdef").unwrap();
    signer.sign(&"ada".parse().unwrap(), "1".parse().unwrap(), 1, 2)
}

#[tokio::test]
async fn a_device_that_only_polls_is_registered_at_its_first_poll() {
    let api = Api::new();
    for _ in 0..2 {
        let page = api.device(Method::GET, "/v2/messages", &token("eve", 8)).await;
        assert_eq!(page.json, json!({"messages": [], "next": "0", "more": false}));
    }
    assert_eq!(api.registered(), [("eve".to_owned(), 8)]);
    let answer = api.device(Method::GET, "/v2/messages", &token("crowd", 8)).await;
    answer.is_error(StatusCode::FORBIDDEN, "device_limit");
    let closed = Api::with(|parts| parts.auto_register = false);
    let answer = closed.device(Method::GET, "/v2/messages", &token("eve", 8)).await;
    answer.is_error(StatusCode::FORBIDDEN, "not_registered");
    assert_eq!(closed.registered(), []);
}
