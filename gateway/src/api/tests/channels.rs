//! Channels: publishing, and what is known of them.

use axum::http::{Method, StatusCode};
use campanile_protocol::messages::{Device, Payload};
use serde_json::{Value, json};

use super::fake::{Api, token};
use crate::api::PUSH_BODY_BYTES_MAX;

fn text(text: &str) -> Value {
    json!({"payload": {"text": text}})
}

/// Publishes so many messages to a channel.
async fn fill(api: &Api, channel: &str, count: usize) {
    for number in 1..=count {
        let answer = api.post(&format!("/v2/channels/{channel}/publish"), text(&number.to_string())).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_message_is_published_and_its_position_told() {
    let api = Api::new();
    let body = json!({"kind": "score", "payload": {"data": "AP8="}, "from": {"user": "eve", "device": 9}});
    let answer = api.post("/v2/channels/live:1/publish", body).await;
    let position = |offset: &str| json!({"channel": "live:1", "epoch": "7", "offset": offset});
    assert_eq!((answer.status, answer.json), (StatusCode::OK, position("1")));
    assert_eq!(api.post("/v2/channels/live:1/publish", text("hi")).await.json, position("2"));
    let published = api.published("live:1");
    assert_eq!(published[0].kind, "score");
    assert_eq!(published[0].payload, Some(Payload::data(vec![0, 255])));
    assert_eq!(published[0].from, Some(Device { user: "eve".into(), device: 9 }));
    assert_eq!((&*published[1].kind, &published[1].from), ("message", &None));
    let body = json!({"payload": {"json": {"a": [1]}}, "from": {"user": "eve"}});
    api.post("/v2/channels/live:1/publish", body).await;
    let last = api.published("live:1").pop().unwrap();
    assert_eq!(last.payload, Payload::json(r#"{"a":[1]}"#).ok());
    assert_eq!(last.from, Some(Device { user: "eve".into(), device: 0 }));
}

#[tokio::test]
async fn a_name_in_a_path_is_percent_encoded() {
    let api = Api::new();
    for (encoded, name) in [
        ("news", "news"),
        ("chat:42", "chat:42"),
        ("a%2Fb", "a/b"),
        ("100%25", "100%"),
        ("%252F", "%2F"),
        ("a%20b+c", "a b+c"),
        ("%E5%90%8D%E5%89%8D", "名前"),
        ("a%3Fb%23c", "a?b#c"),
        ("..", ".."),
        // Nor are names mistaken for the paths beside them.
        ("publish", "publish"),
        ("batch", "batch"),
        ("publish%2Fbatch", "publish/batch"),
    ] {
        let path = format!("/v2/channels/{encoded}");
        assert_eq!(api.get(&path).await.json["channel"], name);
        let answer = api.post(&format!("{path}/publish"), text("hi")).await;
        assert_eq!((answer.status, &answer.json["channel"]), (StatusCode::OK, &json!(name)));
        assert_eq!(api.published(name).len(), 1, "{name}");
        let history = api.get(&format!("{path}/history")).await.json;
        assert_eq!((&history["channel"], &history["messages"][0]["channel"]), (&json!(name), &json!(name)));
        assert_eq!(api.get(&path).await.json["subscribers"], 2);
    }
    let members = api.get("/v2/channels/room:a%2Fb/members").await.json;
    assert_eq!(members["channel"], "room:a/b");
}

#[tokio::test]
async fn a_name_that_no_channel_has_is_refused() {
    let api = Api::new();
    let long = "x".repeat(256);
    for (name, code) in [
        ("a*", "invalid_channel"),
        ("%2A", "invalid_channel"),
        ("a%0Ab", "invalid_channel"),
        ("%C2%85", "invalid_channel"),
        (&*long, "invalid_channel"),
        ("", "invalid_channel"),
        ("%FF", "invalid_path"),
    ] {
        for (method, rest) in
            [(Method::GET, "/members"), (Method::GET, "/history"), (Method::POST, "/publish")]
        {
            let body = Some(text("hi").to_string().into());
            let answer = api.send(method, &format!("/v2/channels/{name}{rest}"), body).await;
            answer.is_error(StatusCode::BAD_REQUEST, code);
        }
        if !name.is_empty() {
            api.get(&format!("/v2/channels/{name}")).await.is_error(StatusCode::BAD_REQUEST, code);
        }
    }
    api.get("/v2/channels").await.is_error(StatusCode::NOT_FOUND, "not_found");
    api.get("/v2/channels/a/b/history").await.is_error(StatusCode::NOT_FOUND, "not_found");
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

#[tokio::test]
async fn a_message_with_a_wrong_field_is_refused() {
    let api = Api::new();
    let payload = json!({"text": "hi"});
    for (body, message) in [
        (json!({}), "missing field `payload`"),
        (json!({"payload": {}}), "payload: `data`, `text` or `json` is missing"),
        (json!({"payload": {"data": "%"}}), "payload.data: not base64"),
        (json!({"payload": payload, "kind": ""}), "kind: 0 bytes"),
        (json!({"payload": payload, "kind": "x".repeat(65)}), "kind: 65 bytes"),
        (json!({"payload": payload, "from": {"user": ""}}), "from.user: "),
        (json!({"payload": payload, "from": {"user": "a", "device": 0}}), "from.device: "),
        (json!({"payload": payload, "channel": "news"}), "channel: unknown field"),
        (json!({"payload": payload, "ttlSeconds": 1}), "ttlSeconds: unknown field"),
    ] {
        for (path, more) in [
            ("/v2/channels/news/publish", json!({})),
            ("/v2/channels/publish", json!({"channels": ["news"]})),
        ] {
            let mut body = body.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let answer = api.post(path, body.clone()).await;
            answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
            assert!(answer.message().starts_with(message), "{body}: {}", answer.message());
        }
        let mut item = body.clone();
        let named = item.as_object_mut().unwrap().insert("channel".into(), "news".into()).is_some();
        if !named {
            let answer = api.post("/v2/channels/publish/batch", json!({"messages": [item]})).await;
            let error = &answer.json["results"][0]["error"];
            assert_eq!((answer.status, &error["code"]), (StatusCode::OK, &json!("invalid_field")), "{body}");
            assert!(error["message"].as_str().unwrap().starts_with(message), "{body}: {error}");
        }
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

#[tokio::test]
async fn what_a_shard_refuses_is_told() {
    let api = Api::new();
    for (channel, status, code, part) in [
        ("presence:ada", StatusCode::BAD_REQUEST, "channel_reserved", "`presence`"),
        ("full", StatusCode::TOO_MANY_REQUESTS, "too_many_channels", "as many channels"),
        ("busy", StatusCode::SERVICE_UNAVAILABLE, "overloaded", "try again"),
    ] {
        let answer = api.post(&format!("/v2/channels/{channel}/publish"), text("hi")).await;
        answer.is_error(status, code);
        assert!(answer.message().contains(part), "{}", answer.message());
        let retry = status == StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(answer.headers.contains_key("retry-after"), retry, "{channel}");
        let many = json!({"channels": ["news", channel], "payload": {"text": "hi"}});
        let answer = api.post("/v2/channels/publish", many).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json["results"][0]["channel"], "news");
        assert_eq!(answer.json["results"][1]["error"]["code"], code);
    }
}

#[tokio::test]
async fn payloads_have_the_size_of_a_push() {
    let api = Api::new();
    let large = "x".repeat(1_025);
    for (path, body) in [
        ("/v2/channels/news/publish", text(&large)),
        ("/v2/channels/publish", json!({"channels": ["news"], "payload": {"text": large}})),
    ] {
        let answer = api.post(path, body).await;
        answer.is_error(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large");
        assert_eq!(answer.message(), "payload: 1025 bytes, at most 1024 are allowed");
        let answer = api.post(path, text(&"x".repeat(9 << 20))).await;
        answer.is_error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
        let request = super::fake::request(Method::POST, path, "text/plain").body("{}".into()).unwrap();
        let answer = api.call(request).await;
        answer.is_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
    }
    let answer = api.post("/v2/channels/news/publish", text(&large[1..])).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_message_to_many_channels_brings_no_more_than_a_batch() {
    let api = Api::with(|parts| parts.rules.payload_bytes_max = PUSH_BODY_BYTES_MAX);
    let many = |count: usize, bytes: usize| {
        let channels: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        json!({"channels": channels, "payload": {"text": "x".repeat(bytes)}})
    };
    let max = (2 * PUSH_BODY_BYTES_MAX + 4_096) / 1_000;
    let answer = api.post("/v2/channels/publish", many(1_000, max + 1)).await;
    answer.is_error(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large");
    assert_eq!(answer.message(), format!("payload: {} bytes, at most {max} are allowed", max + 1));
    assert_eq!(api.requests(), 0, "no shard was bothered");
    let answer = api.post("/v2/channels/publish", many(1_000, max)).await;
    assert_eq!(answer.json["results"].as_array().unwrap().len(), 1_000);
    assert_eq!(api.post("/v2/channels/publish", many(2, 2 * max)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_message_goes_to_many_channels_and_one_bad_name_does_not_spoil_it() {
    let api = Api::new();
    let answer = api
        .post(
            "/v2/channels/publish",
            json!({
                "channels": ["a", "room:7", "a*", "", "a", "presence:eve"], "kind": "note",
                "payload": {"text": "hi"}, "from": {"user": "eve"},
            }),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let invalid = |place: usize, problem: &str| json!({"error": {"code": "invalid_field", "message": format!("channels[{place}]: {problem}")}});
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(
        results[..5],
        [
            json!({"channel": "a", "epoch": "7", "offset": "1"}),
            json!({"channel": "room:7", "epoch": "7", "offset": "1"}),
            invalid(2, "the name of a channel must not contain control characters or `*`"),
            invalid(3, "the name of a channel must not be empty"),
            // Listed twice is published twice, as in a batch.
            json!({"channel": "a", "epoch": "7", "offset": "2"}),
        ]
    );
    assert_eq!((results.len(), &results[5]["error"]["code"]), (6, &json!("channel_reserved")));
    for message in [api.published("a"), api.published("room:7")].concat() {
        assert_eq!((&*message.kind, message.payload), ("note", Some(Payload::text("hi"))));
        assert_eq!(message.from, Some(Device { user: "eve".into(), device: 0 }));
    }
}

#[tokio::test]
async fn a_batch_publishes_each_message_for_itself_and_in_order() {
    let api = Api::new();
    let messages = json!([
        {"channel": "a", "payload": {"text": "1"}},
        {"channel": "b", "kind": "k", "payload": {"json": null}, "from": {"user": "eve", "device": 1}},
        {"channel": "a*", "payload": {"text": "2"}},
        7,
        {"payload": {"text": "3"}},
        {"channel": "full", "payload": {"text": "4"}},
        {"channel": "a", "payload": {"text": "x".repeat(1_025)}},
        {"channel": "a", "payload": {"text": "5"}},
    ]);
    let answer = api.post("/v2/channels/publish/batch", json!({"messages": messages})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(results[0], json!({"channel": "a", "epoch": "7", "offset": "1"}));
    assert_eq!(results[1], json!({"channel": "b", "epoch": "7", "offset": "1"}));
    assert_eq!(results[7], json!({"channel": "a", "epoch": "7", "offset": "2"}));
    let codes: Vec<_> =
        results[2..7].iter().map(|result| result["error"]["code"].as_str().unwrap()).collect();
    let invalid = "invalid_field";
    assert_eq!(codes, [invalid, invalid, invalid, "too_many_channels", "payload_too_large"]);
    let texts: Vec<_> = api.published("a").into_iter().map(|message| message.payload.unwrap()).collect();
    assert_eq!(texts, [Payload::text("1"), Payload::text("5")]);
    let other = &api.published("b")[0];
    assert_eq!((&*other.kind, &other.from), ("k", &Some(Device { user: "eve".into(), device: 1 })));
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_items() {
    let api = Api::new();
    let good = json!({"channel": "a", "payload": {"text": "hi"}});
    for (path, field, item) in
        [("/v2/channels/publish/batch", "messages", &good), ("/v2/channels/publish", "channels", &json!("a"))]
    {
        let body = |count: usize| match field {
            "channels" => json!({"channels": vec![item; count], "payload": {"text": "hi"}}),
            _ => json!({"messages": vec![item; count]}),
        };
        for count in [0, 1_001] {
            let answer = api.post(path, body(count)).await;
            answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
            assert!(answer.message().starts_with(&format!("{field}: ")), "{}", answer.message());
        }
        let before = api.published("a").len();
        let answer = api.post(path, body(1_000)).await;
        let offsets = answer.json["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["offset"].as_str().unwrap().parse::<usize>().unwrap());
        assert!(offsets.eq(before + 1..=before + 1_000), "in order");
    }
}

#[tokio::test]
async fn what_is_known_of_a_channel_is_added_up() {
    let api = Api::new();
    let answer = api.get("/v2/channels/quiet").await;
    let nothing = json!({"channel": "quiet", "subscribers": 0, "historyMessages": 0});
    assert_eq!((answer.status, answer.json), (StatusCode::OK, nothing));
    fill(&api, "live:1", 5).await;
    let position = json!({"epoch": "7", "offset": "5"});
    assert_eq!(
        api.get("/v2/channels/live:1").await.json,
        json!({"channel": "live:1", "position": position, "subscribers": 2, "historyMessages": 3})
    );
}

#[tokio::test]
async fn members_are_told_where_the_namespace_says_so() {
    let api = Api::new();
    fill(&api, "room:7", 1).await;
    fill(&api, "rooms", 1).await;
    let answer = api.get("/v2/channels/room:7/members").await;
    let members = json!([{"user": "ada", "device": 1}, {"user": "eve", "device": 2}]);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json, json!({"channel": "room:7", "count": 2, "members": members}));
    let answer = api.get("/v2/channels/room:8/members").await;
    assert_eq!(answer.json, json!({"channel": "room:8", "count": 0, "members": []}));
    let asked = api.requests();
    for channel in ["rooms", "room", "rooms:7", "presence:ada", ":room"] {
        let answer = api.get(&format!("/v2/channels/{channel}/members")).await;
        answer.is_error(StatusCode::FORBIDDEN, "members_disabled");
    }
    assert_eq!(api.requests(), asked, "no shard was bothered");
    let open = Api::with(|parts| parts.namespaces.default.members = true);
    assert_eq!(open.get("/v2/channels/rooms/members").await.status, StatusCode::OK);
}

#[tokio::test]
async fn history_is_the_newest_or_what_came_after_a_position() {
    let api = Api::new();
    let path = "/v2/channels/live:1/history";
    let answer = api.get(path).await;
    assert_eq!(answer.json, json!({"channel": "live:1", "complete": false, "messages": []}));
    fill(&api, "live:1", 5).await;
    let answer = api.get("/v2/channels/live:1/history?limit=1").await;
    let message = json!({
        "channel": "live:1", "offset": "5", "kind": "message", "sentAtMs": "1000", "payload": {"text": "5"},
    });
    let position = json!({"epoch": "7", "offset": "5"});
    assert_eq!(
        answer.json,
        json!({"channel": "live:1", "position": position, "complete": true, "messages": [message]})
    );
    // The node has the last three.
    for (query, complete, offsets) in [
        ("", true, &["3", "4", "5"][..]),
        ("?limit=500", true, &["3", "4", "5"]),
        ("?sinceEpoch=7&sinceOffset=5", true, &[]),
        ("?sinceEpoch=7&sinceOffset=3", true, &["4", "5"]),
        ("?sinceEpoch=7&sinceOffset=3&limit=1", true, &["4"]),
        ("?sinceOffset=2&sinceEpoch=7", true, &["3", "4", "5"]),
        ("?sinceEpoch=7&sinceOffset=1", false, &["3", "4", "5"]),
        ("?sinceEpoch=7&sinceOffset=0", false, &["3", "4", "5"]),
        ("?sinceEpoch=7&sinceOffset=6", false, &["3", "4", "5"]),
        ("?sinceEpoch=18446744073709551615&sinceOffset=18446744073709551615", false, &["3", "4", "5"]),
    ] {
        let answer = api.get(&format!("{path}{query}")).await.json;
        let found: Vec<_> = answer["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["offset"].as_str().unwrap())
            .collect();
        assert_eq!((&answer["complete"], &*found), (&json!(complete), offsets), "{query}");
    }
}

#[tokio::test]
async fn a_query_for_history_is_checked() {
    let api = Api::new();
    for (query, message) in [
        ("limit=0", "limit: 0 is not between 1 and 500"),
        ("limit=501", "limit: 501 is not"),
        ("limit=x", ""),
        ("sinceEpoch=1", "sinceOffset: is missing"),
        ("sinceOffset=1", "sinceEpoch: is missing"),
        ("sinceEpoch=1&sinceOffset=-1", ""),
        ("sinceEpoch=18446744073709551616&sinceOffset=1", ""),
        ("sinceEpoch=&sinceOffset=", ""),
        ("sinceEpoch=1&sinceEpoch=1&sinceOffset=1", ""),
        ("since=1", ""),
    ] {
        let answer = api.get(&format!("/v2/channels/news/history?{query}")).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with(message), "{query}: {}", answer.message());
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

#[tokio::test]
async fn only_publishers_ask_about_channels() {
    let api = Api::new();
    for (method, path) in [
        (Method::GET, "/v2/channels/publish"),
        (Method::GET, "/v2/channels/room:7"),
        (Method::GET, "/v2/channels/room:7/members"),
        (Method::GET, "/v2/channels/room:7/history"),
        (Method::POST, "/v2/channels/room:7/publish"),
        (Method::POST, "/v2/channels/publish"),
        (Method::POST, "/v2/channels/publish/batch"),
    ] {
        let answer = api.device(method.clone(), path, &token("ada", 1)).await;
        answer.is_error(StatusCode::FORBIDDEN, "publisher_key_needed");
        let answer = api.device(method, path, "wrong-key-01234567").await;
        answer.is_error(StatusCode::UNAUTHORIZED, "key_refused");
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
    let answer = api.send(Method::DELETE, "/v2/channels/publish", None).await;
    answer.is_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    api.get("/v2/channels/publish/publish")
        .await
        .is_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
}

#[tokio::test]
async fn shards_that_are_busy_are_worth_another_try() {
    let api = Api::new();
    api.fill_queues();
    for (path, body) in [
        ("/v2/channels/news/publish", text("hi")),
        ("/v2/channels/publish", json!({"channels": ["a", "b"], "payload": {"text": "hi"}})),
        ("/v2/channels/publish/batch", json!({"messages": [{"channel": "a", "payload": {"text": "hi"}}]})),
    ] {
        let answer = api.post(path, body).await;
        answer.is_error(StatusCode::SERVICE_UNAVAILABLE, "overloaded");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    for path in ["/v2/channels/room:7", "/v2/channels/room:7/members", "/v2/channels/room:7/history"] {
        api.get(path).await.is_error(StatusCode::SERVICE_UNAVAILABLE, "overloaded");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_says_nothing_of_a_channel_is_not_waited_for() {
    let api = Api::new();
    let answer = api.get("/v2/channels/silence").await;
    answer.is_error(StatusCode::SERVICE_UNAVAILABLE, "timeout");
}

#[tokio::test]
async fn requests_are_counted_by_their_route() {
    let api = Api::new();
    fill(&api, "live:1", 2).await;
    fill(&api, "live:2", 1).await;
    api.get("/v2/channels/live:1").await;
    let text = api.metrics().await;
    for line in [
        "campanile_api_requests_total{method=\"POST\",route=\"/v2/channels/{name}/publish\",status=\"200\"} 3",
        "campanile_api_requests_total{method=\"GET\",route=\"/v2/channels/{name}\",status=\"200\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
}
