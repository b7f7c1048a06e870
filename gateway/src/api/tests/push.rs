//! Pushes, batches and receipts.

use axum::http::{Method, StatusCode};
use campanile_core::requests::{Durability, Envelopes};
use campanile_mailbox::DedupScope;
use campanile_protocol::messages::{Content, Payload};
use serde_json::{Value, json};

use super::fake::{Api, KEY, OTHER_KEY, request, token};

fn numbers(envelopes: &Envelopes) -> Vec<u32> {
    match envelopes {
        Envelopes::All(_) => Vec::new(),
        Envelopes::Listed(devices, _) => devices.iter().map(|device| device.get()).collect(),
        Envelopes::PerDevice(envelopes) => envelopes.iter().map(|(device, _)| device.get()).collect(),
    }
}

#[tokio::test]
async fn what_became_of_each_device_is_told() {
    let api = Api::new();
    let answer = api.post("/v2/push", json!({"user": "ada", "payload": {"text": "hi"}})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json,
        json!({
            "messageId": "00000000000000070000000000000001",
            "success": true,
            "deliveredCount": 1,
            "devices": [
                {"device": 1, "state": "sent"},
                {"device": 2, "state": "stored"},
                {"device": 3, "state": "failed", "reason": "mailbox_full"},
            ],
            "failedDevices": [{"device": 3, "reason": "mailbox_full"}],
            "errorMessage": "1 of 3 devices could not be reached",
        })
    );
}

#[tokio::test]
async fn a_push_to_listed_devices_reaches_only_those() {
    let api = Api::new();
    for (body, listed, delivered) in [
        (json!({"user": "ada", "device": 2, "payload": {"text": "hi"}}), vec![2], 0),
        (json!({"user": "ada", "devices": [2, 1, 2], "payload": {"text": "hi"}}), vec![1, 2], 1),
    ] {
        let answer = api.post("/v2/push", body).await;
        assert_eq!((&answer.json["success"], &answer.json["errorMessage"]), (&json!(true), &Value::Null));
        assert_eq!(answer.json["deliveredCount"], delivered, "stored is not delivered");
        let push = api.pushed();
        assert!(matches!(push.envelopes, Envelopes::Listed(..)));
        assert_eq!(numbers(&push.envelopes), listed);
    }
}

#[tokio::test]
async fn each_device_gets_its_own_envelope_in_version_2() {
    let api = Api::new();
    let body = json!({"user": "ada", "deviceEnvelopes": [
        {"device": 2, "envelope": "AP8="}, {"device": 1, "payload": {"json": [1]}},
    ]});
    for version in [None, Some(2)] {
        let mut body = body.clone();
        if let Some(version) = version {
            body["protocolVersion"] = version.into();
        }
        assert_eq!(api.post("/v2/push", body).await.status, StatusCode::OK);
        let Envelopes::PerDevice(envelopes) = api.pushed().envelopes else { panic!("not for each device") };
        let found: Vec<_> = envelopes.into_iter().map(|(device, payload)| (device.get(), payload)).collect();
        assert_eq!(found, [(1, Payload::json("[1]").unwrap()), (2, Payload::data(vec![0, 255]))]);
    }
}

#[tokio::test]
async fn all_devices_get_the_envelope_of_version_1() {
    let api = Api::new();
    for body in [
        json!({"user": "ada", "encryptedEnvelope": "AP8"}),
        json!({"user": "ada", "encryptedEnvelope": "AP8=", "protocolVersion": 1}),
    ] {
        assert_eq!(api.post("/v2/push", body).await.status, StatusCode::OK);
        assert_eq!(api.pushed().envelopes, Envelopes::All(Payload::data(vec![0, 255])));
    }
}

#[tokio::test]
async fn fields_of_different_versions_contradict_each_other() {
    let api = Api::new();
    let envelopes = json!([{"device": 1, "envelope": "AAAA"}]);
    for (fields, message) in [
        (json!({}), "payload: is missing"),
        (json!({"payload": {"text": ""}, "encryptedEnvelope": ""}), "payload: exactly one"),
        (json!({"payload": {"text": ""}, "deviceEnvelopes": envelopes}), "payload: exactly one"),
        (json!({"encryptedEnvelope": "", "deviceEnvelopes": envelopes}), "payload: exactly one"),
        (json!({"encryptedEnvelope": "", "protocolVersion": 2}), "protocolVersion: version 2"),
        (json!({"deviceEnvelopes": envelopes, "protocolVersion": 1}), "protocolVersion: version 1"),
        (json!({"payload": {"text": ""}, "protocolVersion": 1}), "protocolVersion: version 1"),
        (json!({"payload": {"text": ""}, "protocolVersion": 3}), "protocolVersion: 3"),
        (json!({"encryptedEnvelope": "", "device": 1}), "devices: goes with `payload` only"),
        (json!({"deviceEnvelopes": envelopes, "devices": [1]}), "devices: goes with `payload` only"),
        (json!({"deviceEnvelopes": []}), "deviceEnvelopes: 0 items"),
        (json!({"deviceEnvelopes": [{"device": 1}]}), "deviceEnvelopes[0]: `payload` or `envelope`"),
        (
            json!({"deviceEnvelopes": [{"device": 1, "envelope": "", "payload": {"text": ""}}]}),
            "deviceEnvelopes[0]: either",
        ),
        (json!({"deviceEnvelopes": [{"envelope": ""}]}), "deviceEnvelopes[0]: missing field `device`"),
        (
            json!({"deviceEnvelopes": [{"device": 0, "envelope": ""}]}),
            "deviceEnvelopes[0].device: a device id",
        ),
        (
            json!({"deviceEnvelopes": [{"device": 1, "envelope": "%"}]}),
            "deviceEnvelopes[0].envelope: not base64",
        ),
        (
            json!({"deviceEnvelopes": [{"device": 7, "envelope": ""}, {"device": 7, "envelope": ""}]}),
            "deviceEnvelopes: device 7 has two envelopes",
        ),
        (json!({"encryptedEnvelope": "%"}), "encryptedEnvelope: not base64"),
    ] {
        let mut body = json!({"user": "ada"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = api.post("/v2/push", body.clone()).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with(message), "{body}: {}", answer.message());
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
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
    let push = api.pushed();
    assert_eq!(push.durability, Durability::Durable);
    assert_eq!(push.envelopes, Envelopes::All(Payload::data(vec![0, 255])));
    let message = push.message;
    assert_eq!((message.kind.as_str(), message.topic.as_str()), ("call", "t"));
    assert_eq!(message.expires_at_ms - message.sent_at_ms, 60_000);
    assert_eq!(message.from.map(|from| (from.user, from.device)), Some(("eve".into(), 9)));
}

#[tokio::test]
async fn a_durable_message_always_expires_and_an_ephemeral_one_never() {
    let api = Api::new();
    let day = 86_400;
    for (fields, seconds) in [
        (json!({}), 30 * day),
        (json!({"ttlSeconds": 0}), 30 * day),
        (json!({"ttlSeconds": 30 * day}), 30 * day),
        (json!({"durability": "durable", "ttlSeconds": 1}), 1),
    ] {
        let mut body = json!({"user": "ada", "payload": {"json": {"a": [1, null]}}});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(api.post("/v2/push", body).await.status, StatusCode::OK);
        let message = api.pushed().message;
        assert_eq!(message.expires_at_ms - message.sent_at_ms, seconds * 1_000);
        assert_eq!((message.kind.as_str(), message.topic.as_str(), message.from), ("message", "", None));
    }
    let body = json!({"user": "ada", "payload": {"text": ""}, "durability": "ephemeral"});
    assert_eq!(api.post("/v2/push", body).await.status, StatusCode::OK);
    let push = api.pushed();
    assert_eq!((push.message.expires_at_ms, push.durability), (0, Durability::Ephemeral));
}

#[tokio::test]
async fn an_ephemeral_message_promises_nothing() {
    let api = Api::new();
    for (field, value) in [("dedupId", json!("d")), ("ttlSeconds", json!(1))] {
        let mut body = json!({"user": "ada", "payload": {"text": ""}, "durability": "ephemeral"});
        body[field] = value;
        let answer = api.post("/v2/push", body).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with(&format!("{field}: an ephemeral message is never stored")));
    }
    let body = json!({"user": "ada", "payload": {"text": ""}, "durability": "ephemeral", "ttlSeconds": 0});
    assert_eq!(api.post("/v2/push", body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_ephemeral_message_that_reaches_nobody_is_no_error_but_no_success() {
    let api = Api::new();
    let push = |fields: Value| {
        let mut body = json!({"user": "bob", "payload": {"text": "hi"}, "durability": "ephemeral"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    let answer = api.post("/v2/push", push(json!({}))).await;
    assert_eq!((answer.status, &answer.json["success"]), (StatusCode::OK, &json!(false)));
    assert_eq!(answer.json["errorMessage"], "the user has no connected device");
    assert_eq!((&answer.json["devices"], &answer.json["failedDevices"]), (&json!([]), &json!([])));
    for devices in [vec![1], vec![1, 4]] {
        let answer = api.post("/v2/push", push(json!({"devices": devices}))).await;
        assert_eq!((answer.status, &answer.json["success"]), (StatusCode::OK, &json!(false)));
        assert_eq!(answer.json["failedDevices"][0], json!({"device": 1, "reason": "not_connected"}));
        assert_eq!(answer.json["error"], Value::Null);
    }
}

#[tokio::test]
async fn when_no_device_takes_the_message_the_gravest_reason_is_the_error() {
    let api = Api::new();
    for (user, devices, status, code) in [
        ("full", vec![1], StatusCode::TOO_MANY_REQUESTS, "mailbox_full"),
        ("full", vec![1, 4], StatusCode::TOO_MANY_REQUESTS, "mailbox_full"),
        ("full", vec![2], StatusCode::INSUFFICIENT_STORAGE, "storage_full"),
        ("full", vec![1, 2, 4], StatusCode::INSUFFICIENT_STORAGE, "storage_full"),
        ("full", vec![3, 4], StatusCode::NOT_FOUND, "unknown_device"),
    ] {
        let body = json!({"user": user, "devices": devices, "payload": {"text": ""}});
        let answer = api.post("/v2/push", body).await;
        answer.is_error(status, code);
        // Beside the error each device is told about.
        assert_eq!((&answer.json["success"], &answer.json["deliveredCount"]), (&json!(false), &json!(0)));
        assert_eq!(answer.json["failedDevices"].as_array().unwrap().len(), devices.len());
    }
    let body = json!({"user": "ada", "devices": [2, 3, 4], "payload": {"text": ""}});
    let answer = api.post("/v2/push", body).await;
    assert_eq!((answer.status, &answer.json["success"]), (StatusCode::OK, &json!(true)), "one took it");
    assert_eq!(answer.json["failedDevices"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn errors_of_the_whole_push_have_their_codes() {
    let api = Api::new();
    let push = |user: &str| json!({"user": user, "payload": {"text": ""}});
    api.post("/v2/push", push("nobody")).await.is_error(StatusCode::NOT_FOUND, "no_devices");
    let answer = api.post("/v2/push", push("broken")).await;
    answer.is_error(StatusCode::SERVICE_UNAVAILABLE, "store_failed");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_retry_is_told_from_another_message_under_its_id() {
    let api = Api::new();
    let body = json!({"user": "ada", "payload": {"text": "hi"}, "dedupId": "d1"});
    let first = api.post("/v2/push", body.clone()).await;
    assert_eq!((first.status, &first.json["duplicate"]), (StatusCode::OK, &Value::Null));
    let dedup = api.pushed().dedup.unwrap();
    assert_eq!(&*dedup.key.id, "d1");
    // The same meaning in another form.
    let form =
        r#"{"dedupId":"d1","kind":"message","ttlSeconds":0,"payload":{"text":"\u0068i"},"user":"ada"}"#;
    let again = api.send(Method::POST, "/v2/push", Some(form.into())).await;
    assert_eq!((again.status, &again.json["duplicate"]), (StatusCode::OK, &json!(true)));
    let later = api.pushed().dedup.unwrap();
    assert_eq!((later.digest, &later.key), (dedup.digest, &dedup.key));
    assert!((0..60_000).contains(&(later.until_ms - dedup.until_ms)));
    for (field, value) in [
        ("payload", json!({"text": "ho"})),
        ("payload", json!({"data": "aGk="})),
        ("kind", json!("call")),
        ("topic", json!("t")),
        ("from", json!({"user": "eve"})),
        ("ttlSeconds", json!(5)),
        ("device", json!(1)),
    ] {
        let mut other = body.clone();
        other[field] = value;
        api.post("/v2/push", other).await.is_error(StatusCode::CONFLICT, "dedup_conflict");
    }
}

#[tokio::test]
async fn deduplication_ids_belong_to_a_key() {
    let api = Api::new();
    let mut scopes = Vec::new();
    for key in [KEY, OTHER_KEY, KEY] {
        let request = request(Method::POST, "/v2/push", "application/json").header("x-api-key", key);
        let mut request =
            request.body(r#"{"user":"ada","payload":{"text":""},"dedupId":"d"}"#.into()).unwrap();
        request.headers_mut().remove("authorization");
        assert_eq!(api.call(request).await.status, StatusCode::OK);
        let dedup = api.pushed().dedup.unwrap();
        assert!(matches!(dedup.key.scope, DedupScope::Publisher(_)));
        scopes.push(dedup.key.scope);
    }
    assert!(scopes[0] == scopes[2] && scopes[0] != scopes[1]);
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
        (json!({"user": "ada", "payload": payload, "colour": 1}), "colour: unknown field `colour`"),
        (json!({"user": "", "payload": payload}), "user: a user id must not be empty"),
        (json!({"user": "x".repeat(65), "payload": payload}), "user: a user id has at most 64 bytes"),
        (json!({"user": 7, "payload": payload}), "user: "),
        (json!({"user": "ada", "device": 0, "payload": payload}), "device: a device id is a number"),
        (json!({"user": "ada", "device": 1u64 << 31, "payload": payload}), "device: a device id is a number"),
        (json!({"user": "ada", "device": -1, "payload": payload}), "device: "),
        (json!({"user": "ada", "device": "1", "payload": payload}), "device: "),
        (json!({"user": "ada", "devices": [], "payload": payload}), "devices: 0 items"),
        (json!({"user": "ada", "devices": [1, 0], "payload": payload}), "devices[1]: a device id"),
        (json!({"user": "ada", "devices": vec![1; 1_001], "payload": payload}), "devices: more than 1000"),
        (json!({"user": "ada", "device": 1, "devices": [1], "payload": payload}), "device: either"),
        (json!({"user": "ada", "payload": {}}), "payload: `data`, `text` or `json` is missing"),
        (json!({"user": "ada", "payload": "hi"}), "payload: "),
        (json!({"user": "ada", "payload": {"text": "a", "json": 1}}), "payload: either"),
        (json!({"user": "ada", "payload": {"txt": "a"}}), "payload.txt: unknown field `txt`"),
        (json!({"user": "ada", "payload": {"data": "%"}}), "payload.data: not base64"),
        (json!({"user": "ada", "payload": {"text": 1}}), "payload.text: "),
        (json!({"user": "ada", "payload": payload, "kind": ""}), "kind: 0 bytes"),
        (json!({"user": "ada", "payload": payload, "kind": "a\nb"}), "kind: must not"),
        (json!({"user": "ada", "payload": payload, "topic": "x".repeat(65)}), "topic: 65 bytes"),
        (json!({"user": "ada", "payload": payload, "dedupId": ""}), "dedupId: 0 bytes"),
        (json!({"user": "ada", "payload": payload, "dedupId": "x".repeat(129)}), "dedupId: 129 bytes"),
        (json!({"user": "ada", "payload": payload, "durability": "solid"}), "durability: unknown variant"),
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
async fn one_bad_push_does_not_spoil_the_batch() {
    let api = Api::new();
    let text = json!({"text": "hi"});
    let answer = api
        .post(
            "/v2/push/batch",
            json!({"pushes": [
                {"user": "ada", "device": 0, "payload": text},
                {"user": "ada", "device": 1, "payload": text},
                {"user": "ada", "payload": {"text": "x".repeat(1_025)}},
                {"user": "nobody", "payload": text},
                7,
                {"user": "full", "device": 1, "payload": text},
                {"user": "broken", "payload": text},
                {"user": "bob", "encryptedEnvelope": "AAAA"},
            ]}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let results = answer.json["results"].as_array().unwrap();
    let codes: Vec<_> = results.iter().map(|result| result["error"]["code"].as_str()).collect();
    let (invalid, none) = (Some("invalid_field"), None);
    assert_eq!(
        codes,
        [
            invalid,
            none,
            Some("payload_too_large"),
            Some("no_devices"),
            invalid,
            Some("mailbox_full"),
            Some("store_failed"),
            none
        ]
    );
    assert!(results[0]["error"]["message"].as_str().unwrap().starts_with("device: "));
    assert_eq!((&results[1]["success"], &results[1]["deliveredCount"]), (&json!(true), &json!(1)));
    assert_eq!(results[5]["devices"][0]["reason"], "mailbox_full");
    assert_eq!((&results[7]["success"], &results[7]["deliveredCount"]), (&json!(true), &json!(0)));
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_pushes() {
    let api = Api::new();
    let good = json!({"user": "ada", "device": 1, "payload": {"text": "hi"}});
    let answer = api.post("/v2/push/batch", json!({"pushes": vec![&good; 1_000]})).await;
    let results = answer.json["results"].as_array().unwrap();
    assert!(results.len() == 1_000 && results.iter().all(|result| result["success"] == true));
    for pushes in [vec![], vec![&good; 1_001], vec![&json!(7); 1_001]] {
        let answer = api.post("/v2/push/batch", json!({"pushes": pushes})).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with("pushes: "), "{}", answer.message());
    }
    let answer = api.post("/v2/push/batch", json!({"pushes": [{"user": "ada"}]})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let message = answer.json["results"][0]["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("payload: is missing"), "{message}");
}

fn text(payload: &Payload) -> Value {
    match &payload.content {
        Some(Content::Json(json)) => serde_json::from_str(json).unwrap(),
        other => panic!("not JSON: {other:?}"),
    }
}

#[tokio::test]
async fn a_receipt_goes_to_all_devices_of_the_sender() {
    let api = Api::new();
    let body = json!({
        "to": "ada", "from": {"user": "eve", "device": 9}, "messageIds": ["m1", "m2"], "readAtMs": 1_234,
    });
    let answer = api.post("/v2/receipts", body).await;
    assert_eq!((answer.status, &answer.json["success"]), (StatusCode::OK, &json!(true)));
    let push = api.pushed();
    assert_eq!((push.user.as_str(), push.message.kind.as_str()), ("ada", "receipt"));
    assert_eq!(push.message.from.map(|from| (from.user, from.device)), Some(("eve".into(), 9)));
    assert_eq!(push.durability, Durability::Durable);
    let Envelopes::All(payload) = push.envelopes else { panic!("not for all") };
    assert_eq!(text(&payload), json!({"messageIds": ["m1", "m2"], "readAtMs": 1_234}));
    let body = json!({"to": "ada", "from": {"user": "eve"}, "payload": {"data": "AP8="}});
    assert_eq!(api.post("/v2/receipts", body).await.status, StatusCode::OK);
    assert_eq!(api.pushed().envelopes, Envelopes::All(Payload::data(vec![0, 255])));
    let body = json!({"to": "nobody", "from": {"user": "eve"}, "messageIds": ["m"]});
    api.post("/v2/receipts", body).await.is_error(StatusCode::NOT_FOUND, "no_devices");
}

#[tokio::test]
async fn a_receipt_that_is_retried_later_is_the_same() {
    let api = Api::new();
    let body = json!({"to": "ada", "from": {"user": "eve"}, "messageIds": ["m"], "dedupId": "d"});
    assert_eq!(api.post("/v2/receipts", body.clone()).await.json["duplicate"], Value::Null);
    let Envelopes::All(payload) = api.pushed().envelopes else { panic!("not for all") };
    let read_at_ms = text(&payload)["readAtMs"].as_u64().unwrap();
    assert!(read_at_ms > 1_600_000_000_000, "the time is filled in");
    while crate::api::clock::now_ms() == read_at_ms {
        tokio::task::yield_now().await;
    }
    assert_eq!(api.post("/v2/receipts", body.clone()).await.json["duplicate"], true);
    let mut other = body;
    other["messageIds"] = json!(["n"]);
    api.post("/v2/receipts", other).await.is_error(StatusCode::CONFLICT, "dedup_conflict");
}

#[tokio::test]
async fn a_receipt_with_a_wrong_field_is_refused() {
    let api = Api::new();
    let from = json!({"user": "eve", "device": 1});
    for (body, message) in [
        (json!({"from": from, "messageIds": ["m"]}), "missing field `to`"),
        (json!({"to": "ada", "messageIds": ["m"]}), "missing field `from`"),
        (json!({"to": "ada", "from": from}), "messageIds: is missing"),
        (json!({"to": "ada", "from": from, "messageIds": []}), "messageIds: 0 items"),
        (json!({"to": "ada", "from": from, "messageIds": ["m", ""]}), "messageIds[1]: 0 bytes"),
        (json!({"to": "ada", "from": from, "messageIds": ["x".repeat(65)]}), "messageIds[0]: 65 bytes"),
        (json!({"to": "ada", "from": from, "messageIds": vec!["m"; 1_001]}), "messageIds: more than 1000"),
        (json!({"to": "ada", "from": from, "messageIds": ["m"], "payload": {"text": ""}}), "payload: goes"),
        (json!({"to": "ada", "from": from, "readAtMs": 1, "payload": {"text": ""}}), "payload: goes"),
        (json!({"to": "ada", "from": from, "messageIds": ["m"], "readAtMs": -1}), "readAtMs: "),
        (json!({"to": "ada", "from": from, "messageIds": ["m"], "kind": "x"}), "kind: unknown field"),
    ] {
        let answer = api.post("/v2/receipts", body.clone()).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
        assert!(answer.message().starts_with(message), "{body}: {}", answer.message());
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
}

#[tokio::test]
async fn a_devices_token_pushes_nothing() {
    let api = Api::new();
    for path in ["/v2/push", "/v2/push/batch", "/v2/receipts", "/v2/users/ada/devices"] {
        let answer = api.device(Method::POST, path, &token("ada", 1)).await;
        answer.is_error(StatusCode::FORBIDDEN, "publisher_key_needed");
    }
    assert_eq!(api.requests(), 0, "no shard was bothered");
}
