//! The API against shards that are played by a thread: no socket, no driver.

mod channels;
mod containment;
mod devices;
mod examples;
pub(super) mod fake;
mod grpc;
mod listeners;
mod mailbox;
mod push;
mod validation;

use axum::http::{Method, StatusCode};
use serde_json::json;

use self::fake::{Api, KEY};
use crate::status::Phase;

#[tokio::test]
async fn what_is_no_json_is_refused_with_its_place() {
    let api = Api::new();
    let push = r#"{"user":"ada","payload":{"text":"hi"}}"#;
    for body in [&b""[..], b"{", b"{]", b"nonsense", b"{\"user\":\"\x01\"}", b"{\"user\":\"\xff\"}"] {
        let answer = api.send(Method::POST, "/v2/push", Some(body.into())).await;
        answer.is_error(StatusCode::BAD_REQUEST, "malformed_json");
        assert!(answer.message().contains("line 1"), "{}", answer.message());
    }
    let answer = api.send(Method::POST, "/v2/push", Some(format!("{push} {push}").into())).await;
    answer.is_error(StatusCode::BAD_REQUEST, "malformed_json");
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

#[tokio::test]
async fn payloads_and_bodies_have_a_size() {
    let api = Api::new();
    let push = |text: String| json!({"user": "ada", "payload": {"text": text}});
    assert_eq!(api.post("/v2/push", push("x".repeat(1_024))).await.status, StatusCode::OK);
    let answer = api.post("/v2/push", push("x".repeat(1_025))).await;
    answer.is_error(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large");
    assert_eq!(answer.message(), "payload: 1025 bytes, at most 1024 are allowed");
    let answer = api.post("/v2/push", push("x".repeat(9 << 20))).await;
    answer.is_error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
    let answer = api.post("/v2/users/ada/disconnect", json!({"x": "x".repeat(5_000)})).await;
    answer.is_error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
    // A body that does not say its length is counted as it comes.
    let endless = axum::body::Body::new(fake::Endless);
    let answer = api.send(Method::POST, "/v2/push", Some(endless)).await;
    answer.is_error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_not_waited_for() {
    let api = Api::new();
    let silent = axum::body::Body::new(fake::Silent);
    let answer = api.send(Method::POST, "/v2/push", Some(silent)).await;
    answer.is_error(StatusCode::REQUEST_TIMEOUT, "body_timeout");
}

#[tokio::test]
async fn only_json_is_taken() {
    let api = Api::new();
    let body = r#"{"user":"ada","payload":{"text":"hi"}}"#;
    for (kind, status) in [
        ("application/json", StatusCode::OK),
        ("Application/JSON; charset=utf-8", StatusCode::OK),
        ("text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/x-www-form-urlencoded", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let request = fake::request(Method::POST, "/v2/push", kind).body(body.into()).unwrap();
        assert_eq!(api.call(request).await.status, status, "{kind}");
    }
}

#[tokio::test]
async fn a_broadcast_says_how_many_it_reached() {
    let api = Api::new();
    let answer = api.post("/v2/broadcast", json!({"name": "presence:update", "payload": {"json": {}}})).await;
    // Each of the two shards has 10 sessions, of which 1 does not keep up.
    assert_eq!((answer.status, answer.json), (StatusCode::OK, json!({"sent": 18, "skipped": 2})));
    for (body, message) in [
        (json!({"payload": {"text": ""}}), "missing field `name`"),
        (json!({"name": "", "payload": {"text": ""}}), "name: 0 bytes"),
        (json!({"name": "n"}), "missing field `payload`"),
    ] {
        let answer = api.post("/v2/broadcast", body).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with(message), "{}", answer.message());
    }
}

#[tokio::test]
async fn a_user_id_in_a_path_is_checked() {
    let api = Api::new();
    let long = format!("/v2/users/{}/devices", "x".repeat(65));
    api.get(&long).await.is_error(StatusCode::BAD_REQUEST, "invalid_user");
    api.get("/v2/users/a%0Ab/devices").await.is_error(StatusCode::BAD_REQUEST, "invalid_user");
    api.get("/v2/users/%FF/devices").await.is_error(StatusCode::BAD_REQUEST, "invalid_path");
    let answer = api.post("/v2/users/a%00/disconnect", json!({})).await;
    answer.is_error(StatusCode::BAD_REQUEST, "invalid_user");
}

#[tokio::test]
async fn a_user_or_one_device_is_disconnected() {
    let api = Api::new();
    let all = api.post("/v2/users/ada/disconnect", json!({})).await;
    assert_eq!(all.json, json!({"disconnected": 3}));
    let without_body = fake::with_key(Method::POST, "/v2/users/ada/disconnect");
    let without_body = without_body.body(axum::body::Body::empty()).unwrap();
    assert_eq!(api.call(without_body).await.json, json!({"disconnected": 3}));
    let one = api.post("/v2/users/ada/disconnect", json!({"device": 1})).await;
    assert_eq!(one.json, json!({"disconnected": 1}));
    let answer = api.post("/v2/users/ada/disconnect", json!({"device": 0})).await;
    answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
    let answer = api.post("/v2/users/ada/disconnect", json!({"devices": [1]})).await;
    assert!(answer.message().starts_with("devices: unknown field `devices`"), "{}", answer.message());
}

#[tokio::test]
async fn nothing_of_value_is_answered_without_a_key() {
    let api = Api::new();
    for (method, path) in [
        (Method::POST, "/v2/push"),
        (Method::POST, "/v2/push/batch"),
        (Method::POST, "/v2/receipts"),
        (Method::POST, "/v2/broadcast"),
        (Method::GET, "/v2/users/ada/devices"),
        (Method::POST, "/v2/users/ada/devices"),
        (Method::POST, "/v2/users/ada/disconnect"),
        (Method::GET, "/v2/node"),
    ] {
        for (name, value, code) in [
            ("x-other", "1", "key_missing"),
            ("authorization", KEY, "key_missing"),
            ("authorization", "Bearer wrong-key-01234567", "key_refused"),
            ("authorization", "Bearer ", "key_refused"),
            ("x-api-key", "", "key_refused"),
        ] {
            let request = axum::http::Request::builder().method(&method).uri(path).header(name, value);
            let answer = api.call(request.body(axum::body::Body::empty()).unwrap()).await;
            answer.is_error(StatusCode::UNAUTHORIZED, code);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
    for (name, value) in [("authorization", format!("bearer  {KEY}")), ("X-Api-Key", KEY.into())] {
        let request = axum::http::Request::builder().uri("/v2/node").header(name, value);
        let answer = api.call(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert!(api.metrics().await.contains("campanile_api_keys_refused_total 40\n"));
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_told_apart() {
    let api = Api::new();
    api.get("/").await.is_error(StatusCode::NOT_FOUND, "not_found");
    api.get("/v2/users/a/b/devices").await.is_error(StatusCode::NOT_FOUND, "not_found");
    api.get("/v2/users//devices").await.is_error(StatusCode::BAD_REQUEST, "invalid_user");
    let answer = api.get("/v2/push").await;
    answer.is_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn shards_that_are_gone_or_busy_are_worth_another_try() {
    let api = Api::new();
    api.fill_queues();
    for (path, body) in [
        ("/v2/push", json!({"user": "ada", "payload": {"text": "hi"}})),
        ("/v2/push/batch", json!({"pushes": [{"user": "ada", "payload": {"text": "hi"}}]})),
        ("/v2/broadcast", json!({"name": "n", "payload": {"text": "hi"}})),
        ("/v2/users/ada/disconnect", json!({})),
    ] {
        let answer = api.post(path, body).await;
        answer.is_error(StatusCode::SERVICE_UNAVAILABLE, "overloaded");
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_does_not_answer_is_not_waited_for() {
    let api = Api::new();
    let answer = api.get("/v2/users/silence/devices").await;
    answer.is_error(StatusCode::SERVICE_UNAVAILABLE, "timeout");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn readiness_follows_the_nodes_life_and_liveness_does_not() {
    let api = Api::new();
    let health = async || (api.get("/healthz").await.status, api.get("/readyz").await);
    let (alive, ready) = health().await;
    assert_eq!(alive, StatusCode::OK);
    ready.is_error(StatusCode::SERVICE_UNAVAILABLE, "starting");
    api.node.enter(Phase::Ready);
    assert_eq!(health().await.1.status, StatusCode::OK);
    api.node.enter(Phase::Draining);
    let (alive, ready) = health().await;
    assert_eq!(alive, StatusCode::OK);
    ready.is_error(StatusCode::SERVICE_UNAVAILABLE, "draining");
    assert_eq!(ready.headers["retry-after"], "1");
}

#[tokio::test]
async fn the_node_describes_itself_and_each_shard() {
    let api = Api::new();
    let node = api.get("/v2/node").await.json;
    assert_eq!((&node["shardCount"], &node["connectionsMax"]), (&json!(2), &json!(100)));
    assert_eq!((&node["driver"], &node["phase"]), (&json!("epoll"), &json!("starting")));
    assert_eq!(node["shards"][1]["connections"], 2);
    assert_eq!(node["totals"]["connections"], 3);
    assert!(node["residentBytes"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn metrics_are_counted_by_shard_and_route() {
    let api = Api::new();
    api.post("/v2/push", json!({"user": "ada", "payload": {"text": "hi"}})).await;
    api.get("/v2/users/ada/devices").await;
    api.get("/v2/users/eve/devices").await;
    api.get("/nowhere").await;
    let text = api.metrics().await;
    for line in [
        "# TYPE campanile_connections gauge",
        "campanile_connections{shard=\"0\"} 1",
        "campanile_connections{shard=\"1\"} 2",
        "# TYPE campanile_messages_sent counter",
        "# HELP campanile_messages_sent Messages sent to a device when they were pushed.",
        "campanile_messages_sent_total{shard=\"1\"} 0",
        "# TYPE campanile_store_commits counter",
        "campanile_store_failed 0.0",
        "campanile_ready 0.0",
        "# TYPE process_cpu_seconds counter",
        "campanile_api_requests_total{method=\"POST\",route=\"/v2/push\",status=\"200\"} 1",
        "campanile_api_requests_total{method=\"GET\",route=\"/v2/users/{user}/devices\",status=\"200\"} 2",
        "campanile_api_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "campanile_api_request_duration_seconds_count{route=\"/v2/push\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(text.contains(&format!("\n{name} ")), "{name} is missing");
    }
    assert!(text.ends_with("# EOF\n"), "the end is marked");
    assert_eq!(text.matches("# EOF").count(), 1);
}
