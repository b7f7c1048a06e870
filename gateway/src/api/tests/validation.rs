//! Devices, lists of devices and channels, whatever is asked: HTTP and gRPC agree with a plain model.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use campanile_core::publish::PublishDraft;
use campanile_core::push::{Envelopes, Push, PushRules};
use campanile_protocol::ids::{ChannelName, DeviceId};
use campanile_protocol::messages::{Device, Payload};
use proptest::prelude::*;
use serde_json::json;

use super::fake::Api;
use crate::api::auth::Publisher;
use crate::api::channels;
use crate::api::error::ApiError;
use crate::api::grpc::wire::{DeviceEnvelope, PublishRequest, PushMessageRequest};
use crate::api::push::{PushRequest, from_json};

const RULES: PushRules = PushRules {
    payload_bytes_max: 100,
    ttl: std::time::Duration::from_secs(1_000),
    dedup_window: std::time::Duration::from_secs(10),
};

fn push(request: Result<PushRequest, ApiError>) -> Result<Push, ApiError> {
    request?.into_push(&RULES, Publisher { fingerprint: 1 }, 1_000_000)
}

/// Numbers that are device ids, mostly, and some that just are not.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 1..20_u32,
        1 => Just(DeviceId::MAX),
        1 => prop_oneof![Just(0), Just(DeviceId::MAX + 1), Just(u32::MAX)],
    ]
}

fn valid(number: u32) -> bool {
    (1..=DeviceId::MAX).contains(&number)
}

/// Names that channels have, mostly, with everything that means something in a path.
fn channel() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::collection::vec(
            prop_oneof![Just('/'), Just('%'), Just(':'), Just('?'), Just('+'), Just('.'), Just(' '), Just('é'), Just('a')],
            0..8
        ).prop_map(|characters| characters.into_iter().collect()),
        2 => any::<String>(),
        1 => prop_oneof![Just("x".repeat(255)), Just("x".repeat(256)), Just("a*".into()), Just("publish".into())],
    ]
}

/// With every byte escaped that is not a letter, a digit or one of `-._~` (RFC 3986 §2.3).
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[test]
fn whatever_a_channel_is_called_its_path_leads_to_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = Api::new();
    proptest!(|(name in channel())| {
        let answer = runtime.block_on(api.get(&format!("/v2/channels/{}/history", percent_encoded(&name))));
        match ChannelName::try_from(name.as_str()) {
            Ok(_) => prop_assert_eq!((answer.status, &answer.json["channel"]), (StatusCode::OK, &json!(name))),
            Err(_) => answer.is_error(StatusCode::BAD_REQUEST, "invalid_channel"),
        }
    });
}

proptest! {
    #[test]
    fn a_publish_is_the_same_over_http_and_grpc(
        channel in channel(),
        kind in prop_oneof![Just(String::new()), Just("k".repeat(65)), "[a-z\\t]{1,5}"],
        user in prop_oneof![Just(String::new()), Just("u".repeat(65)), "[a-zé]{1,5}"],
        device in number(),
        bytes in prop::collection::vec(any::<u8>(), 0..110),
    ) {
        let mut body = json!({
            "channel": channel, "payload": {"data": base64(&bytes)}, "from": {"user": user, "device": device},
        });
        // Left out is empty there.
        if !kind.is_empty() {
            body["kind"] = kind.clone().into();
        }
        let from = Some(Device { user: user.clone(), device });
        let payload = Some(Payload::data(bytes));
        let http = channels::from_json(body.to_string().as_bytes());
        // No device is 0 there.
        if device != 0 {
            let wire = PublishRequest { channel: channel.clone(), kind: kind.clone(), from, payload };
            let grpc = PublishDraft::try_from(wire);
            prop_assert_eq!(grpc.as_ref().map_err(|_| ()), http.as_ref().map_err(|_| ()));
        }
        let good = ChannelName::try_from(&*channel).is_ok()
            && kind.len() <= 64
            && !kind.contains('\t')
            && (1..=64).contains(&user.len())
            && valid(device);
        prop_assert_eq!(http.is_ok(), good, "{:?}", http);
    }

    #[test]
    fn listed_devices_are_valid_distinct_and_ordered(numbers in prop::collection::vec(number(), 1..30)) {
        let body = json!({"user": "u", "devices": numbers, "payload": {"text": "x"}}).to_string();
        let message = PushMessageRequest {
            user: "u".into(),
            devices: numbers.clone(),
            payload: Some(Payload::text("x")),
            ..PushMessageRequest::default()
        };
        let http = push(from_json(body.as_bytes()));
        prop_assert_eq!(&push(PushRequest::try_from(message)).map_err(|_| ()), &http.clone().map_err(|_| ()));
        match http {
            Ok(push) => {
                let Envelopes::Listed(devices, _) = push.envelopes else { panic!("not listed") };
                let mut expected = numbers.clone();
                expected.sort_unstable();
                expected.dedup();
                prop_assert!(numbers.iter().copied().all(valid));
                prop_assert_eq!(devices.iter().map(|device| device.get()).collect::<Vec<_>>(), expected);
            }
            Err(error) => {
                let bad = numbers.iter().position(|&number| !valid(number));
                prop_assert!(bad.is_some(), "{} for nothing", error);
                let name = format!("devices[{}]: ", bad.unwrap_or_default());
                prop_assert!(error.to_string().starts_with(&name), "{}", error);
            }
        }
    }

    #[test]
    fn no_device_has_two_envelopes_and_none_is_lost(
        envelopes in prop::collection::vec((number(), prop::collection::vec(any::<u8>(), 0..110)), 1..12),
    ) {
        let listed: Vec<_> = envelopes
            .iter()
            .map(|(device, bytes)| json!({"device": device, "envelope": base64(bytes)}))
            .collect();
        let body = json!({"user": "u", "deviceEnvelopes": listed}).to_string();
        let message = PushMessageRequest {
            user: "u".into(),
            device_envelopes: envelopes
                .iter()
                .map(|(device, bytes)| DeviceEnvelope {
                    device: *device,
                    payload: Some(Payload::data(bytes.clone())),
                })
                .collect(),
            ..PushMessageRequest::default()
        };
        let http = push(from_json(body.as_bytes()));
        prop_assert_eq!(&push(PushRequest::try_from(message)).map_err(|_| ()), &http.clone().map_err(|_| ()));
        let model: BTreeMap<u32, &Vec<u8>> = envelopes.iter().map(|(device, bytes)| (*device, bytes)).collect();
        let good = model.len() == envelopes.len()
            && envelopes.iter().all(|(device, bytes)| valid(*device) && bytes.len() <= 100);
        prop_assert_eq!(http.is_ok(), good, "{:?}", http);
        if let Ok(push) = http {
            let Envelopes::PerDevice(found) = push.envelopes else { panic!("not for each device") };
            let expected: Vec<_> = model
                .into_iter()
                .map(|(device, bytes)| (DeviceId::try_from(device).unwrap(), Payload::data(bytes.clone())))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_body_with_any_bytes_changed_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = BODY.to_vec();
        for (place, byte) in &changes {
            let place = place.index(body.len());
            body[place] = *byte;
        }
        match push(from_json(&body)) {
            // What passes keeps its promises.
            Ok(push) => prop_assert!(push.message.kind.len() <= 64 && push.message.expires_at_ms > 1_000_000),
            Err(error) => {
                prop_assert!(!changes.is_empty(), "{}", error);
                prop_assert_eq!(error.http().as_u16() / 100, 4);
            }
        }
        let cut = cut.index(BODY.len());
        prop_assert!(from_json(&BODY[..cut]).is_err(), "a body without its end");
    }
}

const BODY: &[u8] = br#"{"user":"u","protocolVersion":2,"deviceEnvelopes":[{"device":1,"envelope":"AP8="},{"device":2,
"payload":{"json":{"a":["\u00e9",{}]}}}],"kind":"k","topic":"t","from":{"user":"v","device":3},"ttlSeconds":60,
"dedupId":"d","durability":"durable"}"#;

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}
