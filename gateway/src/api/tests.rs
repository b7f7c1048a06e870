//! The API against shards that are played by a thread: no socket, no driver.

pub(super) mod fake;

use axum::http::{Method, StatusCode};
use campanile_protocol::messages::Payload;
use serde_json::{Value, json};

use self::fake::{Api, KEY};
use crate::node::Phase;
use crate::shard::requests::Targets;

#[tokio::test]
async fn a_push_to_all_devices_lists_what_became_of_each() {
    let api = Api::new();
    let answer = api.post("/v2/push", json!({"user": "ada", "payload": {"text": "hi"}})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json,
        json!({
            "messageId": "00000000000000070000000000000001",
            "success": true,
            "deliveredCount": 2,
            "devices": [
                {"device": 1, "state": "sent"},
                {"device": 2, "state": "sent"},
                {"device": 3, "state": "failed", "reason": "not_keeping_up"},
            ],
            "failedDevices": [{"device": 3, "reason": "not_keeping_up"}],
            "errorMessage": "1 of 3 devices could not be reached",
        })
    );
}

#[tokio::test]
async fn a_push_to_listed_devices_reaches_only_those() {
    let api = Api::new();
    for (body, listed) in [
        (json!({"user": "ada", "device": 2, "payload": {"text": "hi"}}), vec![2]),
        (json!({"user": "ada", "devices": [2, 1, 2], "payload": {"text": "hi"}}), vec![1, 2]),
    ] {
        let answer = api.post("/v2/push", body).await;
        assert_eq!((&answer.json["success"], &answer.json["errorMessage"]), (&json!(true), &Value::Null));
        assert_eq!(answer.json["deliveredCount"], listed.len());
        let Targets::Listed(devices) = api.pushed().devices else { panic!("not listed") };
        assert_eq!(devices.iter().map(|device| device.get()).collect::<Vec<_>>(), listed);
    }
}

#[tokio::test]
async fn a_user_without_connected_devices_is_no_error_but_no_success() {
    let api = Api::new();
    let answer = api.post("/v2/push", json!({"user": "bob", "payload": {"text": "hi"}})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!((&answer.json["success"], &answer.json["deliveredCount"]), (&json!(false), &json!(0)));
    assert_eq!(answer.json["errorMessage"], "user `bob` has no connected device");
    assert_eq!((&answer.json["devices"], &answer.json["failedDevices"]), (&json!([]), &json!([])));
    let answer = api.post("/v2/push", json!({"user": "bob", "device": 4, "payload": {"text": "hi"}})).await;
    assert_eq!(answer.json["failedDevices"], json!([{"device": 4, "reason": "not_connected"}]));
    assert_eq!((&answer.json["success"], answer.status), (&json!(false), StatusCode::OK));
}

#[tokio::test]
async fn everything_that_a_push_says_reaches_the_message() {
    let api = Api::new();
    api.post(
        "/v2/push",
        json!({
            "user": "ada", "payload": {"data": "AP8="}, "kind": "call", "topic": "t", "ttlSeconds": 60,
            "from": {"user": "eve", "device": 9},
        }),
    )
    .await;
    let message = api.pushed().message;
    assert_eq!((message.kind.as_str(), message.topic.as_str()), ("call", "t"));
    assert_eq!(message.expires_at_ms - message.sent_at_ms, 60_000);
    assert_eq!(message.from.map(|from| (from.user, from.device)), Some(("eve".into(), 9)));
    assert_eq!(message.payload, Some(Payload::data(vec![0, 255])));
    api.post("/v2/push", json!({"user": "ada", "payload": {"json": {"a": [1, null]}}})).await;
    let message = api.pushed().message;
    assert_eq!((message.kind.as_str(), message.topic.as_str(), message.expires_at_ms), ("message", "", 0));
    assert_eq!(message.from, None);
    assert_eq!(message.payload, Payload::json(r#"{"a":[1,null]}"#).ok());
}

#[tokio::test]
async fn every_form_of_payload_is_taken() {
    let api = Api::new();
    for payload in [
        json!({"data": ""}),
        json!({"data": "-_8"}),
        json!({"data": "+/8="}),
        json!({"text": ""}),
        json!({"json": null}),
        json!({"json": "text"}),
    ] {
        let answer = api.post("/v2/push", json!({"user": "ada", "payload": payload})).await;
        assert_eq!(answer.status, StatusCode::OK, "{payload}: {}", answer.json);
    }
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let api = Api::new();
    let payload = json!({"text": "hi"});
    let deep: String = "[".repeat(200) + &"]".repeat(200);
    for (body, message) in [
        (json!({"payload": payload}), "missing field `user`"),
        (json!({"user": "ada"}), "missing field `payload`"),
        (json!({"user": "ada", "payload": payload, "colour": 1}), "colour: unknown field `colour`"),
        (json!({"user": "", "payload": payload}), "user: a user id must not be empty"),
        (json!({"user": "x".repeat(65), "payload": payload}), "user: a user id has at most 64 bytes"),
        (json!({"user": 7, "payload": payload}), "user: "),
        (json!({"user": "ada", "device": 0, "payload": payload}), "device: a device id is a number"),
        (json!({"user": "ada", "device": 1u64 << 31, "payload": payload}), "device: a device id is a number"),
        (json!({"user": "ada", "device": -1, "payload": payload}), "device: "),
        (json!({"user": "ada", "device": "1", "payload": payload}), "device: "),
        (json!({"user": "ada", "devices": [], "payload": payload}), "devices: 0 devices"),
        (json!({"user": "ada", "devices": [1, 0], "payload": payload}), "devices[1]: a device id"),
        (json!({"user": "ada", "devices": vec![1; 1_001], "payload": payload}), "devices: 1001 devices"),
        (json!({"user": "ada", "device": 1, "devices": [1], "payload": payload}), "device: either"),
        (json!({"user": "ada", "payload": {}}), "payload: `data`, `text` or `json` is missing"),
        (json!({"user": "ada", "payload": "hi"}), "payload: "),
        (json!({"user": "ada", "payload": {"text": "a", "json": 1}}), "payload: either"),
        (json!({"user": "ada", "payload": {"txt": "a"}}), "payload: unknown field `txt`"),
        (json!({"user": "ada", "payload": {"data": "%"}}), "payload.data: not base64"),
        (json!({"user": "ada", "payload": {"text": 1}}), "payload.text: "),
        (json!({"user": "ada", "payload": payload, "kind": ""}), "kind: 0 bytes"),
        (json!({"user": "ada", "payload": payload, "kind": "a\nb"}), "kind: must not"),
        (json!({"user": "ada", "payload": payload, "topic": "x".repeat(65)}), "topic: 65 bytes"),
        (json!({"user": "ada", "payload": payload, "from": {"user": ""}}), "from.user: "),
        (json!({"user": "ada", "payload": payload, "ttlSeconds": 2_592_001}), "ttlSeconds: 2592001"),
        (json!({"user": "ada", "payload": payload, "ttlSeconds": -1}), "ttlSeconds: "),
        (json!([]), ""),
    ] {
        let answer = api.post("/v2/push", body.clone()).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with(message), "{body}: {}", answer.message());
    }
    let body = format!(r#"{{"user":"ada","payload":{{"json":{deep}}}}}"#);
    let answer = api.send(Method::POST, "/v2/push", Some(body.into())).await;
    answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
    assert!(answer.message().contains("nested deeper"), "{}", answer.message());
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

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
    let answer = api.post("/v2/push", push("x".repeat(1 << 20))).await;
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
async fn one_bad_push_does_not_spoil_the_batch() {
    let api = Api::new();
    let good = json!({"user": "ada", "device": 1, "payload": {"text": "hi"}});
    let absent = json!({"user": "bob", "payload": {"text": "hi"}});
    let bad = json!({"user": "ada", "device": 0, "payload": {"text": "hi"}});
    let large = json!({"user": "ada", "payload": {"text": "x".repeat(1_025)}});
    let answer = api.post("/v2/push/batch", json!({"pushes": [bad, good, large, absent, 7]})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!(results[0]["error"]["code"], "invalid_field");
    assert!(results[0]["error"]["message"].as_str().unwrap().starts_with("device: "));
    assert_eq!((&results[1]["success"], &results[1]["deliveredCount"]), (&json!(true), &json!(1)));
    assert_eq!(results[2]["error"]["code"], "payload_too_large");
    assert_eq!(results[3]["errorMessage"], "user `bob` has no connected device");
    assert_eq!(results[4]["error"]["code"], "invalid_field");
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_pushes() {
    let api = Api::new();
    let good = json!({"user": "ada", "device": 1, "payload": {"text": "hi"}});
    let answer = api.post("/v2/push/batch", json!({"pushes": vec![&good; 1_000]})).await;
    let results = answer.json["results"].as_array().unwrap();
    assert!(results.len() == 1_000 && results.iter().all(|result| result["success"] == true));
    for count in [0, 1_001] {
        let answer = api.post("/v2/push/batch", json!({"pushes": vec![&good; count]})).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with("pushes: "), "{}", answer.message());
    }
    let answer = api.post("/v2/push/batch", json!({"pushes": [{"user": "ada"}]})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let message = answer.json["results"][0]["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("missing field `payload`"), "{message}");
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
async fn the_devices_of_a_user_are_listed() {
    let api = Api::new();
    let answer = api.get("/v2/users/ada/devices").await;
    let device = json!({"device": 1, "generation": 5, "subprotocol": "campanile.v2", "connectedAtMs": 1_000});
    assert_eq!(answer.json, json!({"user": "ada", "devices": [device]}));
    let answer = api.get("/v2/users/bob%2Fsmith%20%C3%BC/devices").await;
    assert_eq!(answer.json, json!({"user": "bob/smith ü", "devices": []}));
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
        (Method::POST, "/v2/broadcast"),
        (Method::GET, "/v2/users/ada/devices"),
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
    assert!(api.metrics().await.contains("campanile_api_keys_refused_total 30\n"));
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
    api.context.node.enter(Phase::Ready);
    assert_eq!(health().await.1.status, StatusCode::OK);
    api.context.node.enter(Phase::Draining);
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
        "# HELP campanile_messages_sent Messages pushed to a device.",
        "campanile_messages_sent_total{shard=\"1\"} 0",
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
