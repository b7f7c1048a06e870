//! Devices and lists of devices, whatever is asked: HTTP and gRPC agree with a plain model.

use std::collections::BTreeMap;

use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::Payload;
use proptest::prelude::*;
use serde_json::json;

use super::super::grpc::wire::{DeviceEnvelope, PushMessageRequest};
use super::super::push::{PushRequest, from_json};
use super::super::{ApiError, PushRules};
use crate::api::auth::Publisher;
use crate::shard::requests::{Envelopes, Push};

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

proptest! {
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
