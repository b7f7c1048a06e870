//! The devices of a user.

use axum::http::StatusCode;
use serde_json::json;

use super::fake::Api;

#[tokio::test]
async fn registered_devices_are_listed_with_their_sessions() {
    let api = Api::new();
    let answer = api.get("/v2/users/ada/devices").await;
    let session = json!({"generation": 5, "subprotocol": "campanile.v2", "connectedAtMs": 1_500});
    let devices = json!([
        {"device": 1, "createdAtMs": 1_001, "lastSeenAtMs": 2_000, "connected": true, "session": session},
        {"device": 2, "createdAtMs": 1_002, "lastSeenAtMs": 2_000, "connected": false},
        {"device": 3, "createdAtMs": 1_003, "lastSeenAtMs": 2_000, "connected": false},
    ]);
    assert_eq!(answer.json, json!({"user": "ada", "devices": devices}));
    let answer = api.get("/v2/users/eve%2Fsmith%20%C3%BC/devices").await;
    assert_eq!(answer.json, json!({"user": "eve/smith ü", "devices": []}));
    let answer = api.get("/v2/users/broken/devices").await;
    answer.is_error(StatusCode::SERVICE_UNAVAILABLE, "store_failed");
}

#[tokio::test]
async fn a_device_gets_the_next_free_number_or_the_one_it_asks_for() {
    let api = Api::new();
    for (body, device) in
        [(json!({"device": 0}), 4), (json!({}), 5), (json!({"device": 9}), 9), (json!({"device": 0}), 6)]
    {
        let answer = api.post("/v2/users/ada/devices", body).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(answer.json, json!({"device": device, "createdAtMs": 1_000 + device}));
    }
    let answer = api.send(axum::http::Method::POST, "/v2/users/ada/devices", None).await;
    assert_eq!((answer.status, &answer.json["device"]), (StatusCode::CREATED, &json!(7)), "without a body");
}

#[tokio::test]
async fn a_device_that_exists_and_one_too_many_are_told_apart() {
    let api = Api::new();
    let answer = api.post("/v2/users/ada/devices", json!({"device": 2})).await;
    answer.is_error(StatusCode::CONFLICT, "device_exists");
    let answer = api.post("/v2/users/crowd/devices", json!({})).await;
    answer.is_error(StatusCode::FORBIDDEN, "device_limit");
    for body in
        [json!({"device": -1}), json!({"device": 1u64 << 31}), json!({"device": "1"}), json!({"x": 1})]
    {
        let answer = api.post("/v2/users/ada/devices", body).await;
        answer.is_error(StatusCode::BAD_REQUEST, "invalid_field");
    }
    assert_eq!(api.registered(), []);
}
