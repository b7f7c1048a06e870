//! The frames of the schema in both encodings.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod common;

use campanile_protocol::{
    frame::{Decoder, Limits, Message, close_code},
    messages::{
        Ack, CaughtUp, ClientFrame, Content, DecodeError, Deliver, Device, DeviceState, Drain, Encoding,
        Error, Event, Hello, JSON_DEPTH_MAX, JsonError, Payload, Ping, Pong, Receipt, ServerFrame, Sync,
        Welcome, encode_deliver_frame,
    },
};
use common::{Owned, decode};
use proptest::prelude::*;

fn deliver(payload: Payload) -> ServerFrame {
    ServerFrame::Deliver(Deliver {
        id: "00000000000000010000000000000002".to_owned(),
        seq: 9_007_199_254_740_993,
        from: Some(Device { user: "ann".to_owned(), device: 2 }),
        payload: Some(payload),
        ..Deliver::default()
    })
}

/// The JSON of a frame.
fn json(frame: &ServerFrame) -> String {
    let mut out = Vec::new();
    frame.encode_frame(Encoding::Json, &mut out).unwrap();
    match decode(&out, &Limits::CLIENT).messages.as_slice() {
        [Owned::Text(text)] => text.clone(),
        other => panic!("one text message, not {other:?}"),
    }
}

#[test]
fn the_json_mapping_is_that_of_protobuf() {
    let data = json(&deliver(Payload::data(&b"\xff\xfe\xfd"[..])));
    let expected = concat!(
        r#"{"deliver":{"id":"00000000000000010000000000000002","seq":"9007199254740993","#,
        r#""from":{"user":"ann","device":2},"payload":{"data":"//79"}}}"#
    );
    assert_eq!(data, expected);
    let welcome =
        ServerFrame::Welcome(Welcome { ping_interval_ms: 25_000, server_time_ms: -1, ..Welcome::default() });
    assert_eq!(json(&welcome), r#"{"welcome":{"pingIntervalMs":25000,"serverTimeMs":"-1"}}"#);
    assert_eq!(json(&ServerFrame::Pong(Pong::default())), r#"{"pong":{}}"#);
}

#[test]
fn json_payloads_are_embedded_as_they_are() {
    let raw = r#"{"z":1.0,"a":[1e2, "\u00e9"], "z":null}"#;
    let text = json(&deliver(Payload::json(raw).unwrap()));
    assert!(text.contains(&format!(r#""payload":{{"json":{raw}}}"#)), "{text}");
    let frame = ServerFrame::decode(Encoding::Json, &Message::Text(&text)).unwrap();
    assert_eq!(frame, deliver(Payload::json(raw).unwrap()));
    for value in ["null", "1", "\"x\"", "[]"] {
        let frame = deliver(Payload::json(value).unwrap());
        assert_eq!(ServerFrame::decode(Encoding::Json, &Message::Text(&json(&frame))).unwrap(), frame);
    }
}

#[test]
fn what_is_not_json_cannot_break_out_of_its_place() {
    for bad in ["", "{", "1,\"x\":2", "1}}", "{} {}", "nul", "\"\n\""] {
        assert!(matches!(Payload::json(bad), Err(JsonError::Syntax(_))), "{bad}");
        let frame = deliver(Content::Json(bad.to_owned()).into());
        let mut out = b"before".to_vec();
        assert!(frame.encode_frame(Encoding::Json, &mut out).is_err());
        assert_eq!(out, b"before");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(Payload::json(nested(JSON_DEPTH_MAX)).is_ok());
    assert!(Payload::json(format!("[\"\\\"{}\"]", "[".repeat(1000))).is_ok(), "brackets within a string");
    let wide = format!("[{}]", vec!["[]"; 1000].join(","));
    assert!(Payload::json(wide).is_ok());
    assert!(matches!(Payload::json(nested(JSON_DEPTH_MAX + 1)), Err(JsonError::Depth)));
    let embedded = |json: &str| format!(r#"{{"event":{{"payload":{{"json":{json}}}}}}}"#);
    let at_limit = embedded(&nested(JSON_DEPTH_MAX));
    assert!(ServerFrame::decode(Encoding::Json, &Message::Text(&at_limit)).is_ok());
    // Deep enough to overrun the stack of a parser that recurses.
    for json in [embedded(&nested(100_000)), nested(100_000), format!(r#"{{"x":{}}}"#, nested(100_000))] {
        assert!(ServerFrame::decode(Encoding::Json, &Message::Text(&json)).is_err());
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_frames_are_told_apart() {
    let newer = r#"{"future":[1,{}],"hello":{"token":"t","x":{"y":[{}]},"last":7,"epoch":"8"}}"#;
    let hello =
        ClientFrame::Hello(Hello { token: "t".to_owned(), last: 7, epoch: 8, capabilities: Vec::new() });
    assert_eq!(ClientFrame::decode(Encoding::Json, &Message::Text(newer)).unwrap(), hello);
    for (encoding, message) in [
        (Encoding::Json, Message::Text(r#"{"future":{}}"#)),
        (Encoding::Json, Message::Text("{}")),
        (Encoding::Protobuf, Message::Binary(b"")),
        // Field 100, empty.
        (Encoding::Protobuf, Message::Binary(b"\xa2\x06\x00")),
    ] {
        assert!(matches!(ClientFrame::decode(encoding, &message), Err(DecodeError::Unknown)), "{message:?}");
    }
}

#[test]
fn malformed_frames_are_refused() {
    for text in [
        "",
        "[]",
        "null",
        "{",
        "{}x",
        r#"{"ack":1}"#,
        r#"{"ack":{"seq":"x"}}"#,
        r#"{"ack":{"seq":-1}}"#,
        r#"{"ack":{"seq":1,"seq":2}}"#,
        r#"{"ack":{},"ping":{}}"#,
        r#"{"hello":{"token":1}}"#,
    ] {
        let error = ClientFrame::decode(Encoding::Json, &Message::Text(text)).unwrap_err();
        assert!(matches!(error, DecodeError::Json(_)), "{text}: {error:?}");
        assert_eq!(error.close_code(), close_code::MALFORMED);
    }
    for bytes in [&b"\x0a"[..], b"\x0a\x05\x0a", b"\x0a\x03\x0a\x01\xff", b"\xff\xff"] {
        let error = ClientFrame::decode(Encoding::Protobuf, &Message::Binary(bytes)).unwrap_err();
        assert!(matches!(error, DecodeError::Protobuf(_)), "{bytes:x?}: {error:?}");
    }
    for two in [r#"{"event":{"payload":{"text":"a","json":1}}}"#, r#"{"event":{"payload":{"data":"!"}}}"#] {
        assert!(ServerFrame::decode(Encoding::Json, &Message::Text(two)).is_err());
    }
}

#[test]
fn the_kind_of_message_must_fit_the_subprotocol() {
    for (encoding, message) in [
        (Encoding::Json, Message::Binary(b"{}")),
        (Encoding::Protobuf, Message::Text("")),
        (Encoding::Protobuf, Message::Ping(b"")),
    ] {
        let error = ClientFrame::decode(encoding, &message).unwrap_err();
        assert!(matches!(error, DecodeError::Kind), "{error:?}");
        assert_eq!(error.close_code(), 1003);
    }
}

#[test]
fn the_first_known_offer_is_chosen() {
    let negotiate = |offers: &[&str]| Encoding::negotiate(offers.iter().copied());
    assert_eq!(negotiate(&["campanile.v9", "campanile.v2+json", "campanile.v2"]), Some(Encoding::Json));
    assert_eq!(negotiate(&["campanile.v2", "campanile.v2+json"]), Some(Encoding::Protobuf));
    assert_eq!(negotiate(&["Campanile.V2", "campanile.v1"]), None);
    assert_eq!(negotiate(&[]), None);
}

fn payload() -> impl Strategy<Value = Option<Payload>> {
    proptest::option::of(prop_oneof![
        // Sizes on both sides of each form of header.
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Payload::data),
        (48_000..50_000_usize).prop_map(|len| Payload::data(vec![7; len])),
        (65_000..66_000_usize).prop_map(|len| Payload::text("x".repeat(len))),
        any::<String>().prop_map(Payload::text),
        any::<(i64, String)>()
            .prop_map(|value| Payload::json(serde_json::to_string(&value).unwrap()).unwrap()),
    ])
}

fn device() -> impl Strategy<Value = Option<Device>> {
    proptest::option::of((any::<String>(), any::<u32>()).prop_map(|(user, device)| Device { user, device }))
}

fn server_frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        (any::<(String, u64, String, i64, i64, String)>(), device(), payload()).prop_map(
            |((id, seq, kind, sent_at_ms, expires_at_ms, topic), from, payload)| {
                ServerFrame::Deliver(Deliver {
                    id,
                    seq,
                    kind,
                    from,
                    sent_at_ms,
                    expires_at_ms,
                    topic,
                    payload,
                })
            }
        ),
        (any::<(String, i64)>(), device(), payload()).prop_map(|((name, at_ms), from, payload)| {
            ServerFrame::Event(Event { name, from, at_ms, payload, ..Event::default() })
        }),
        (any::<(u64, String, u64, u32)>(), device()).prop_map(
            |((generation, node, epoch, ping_interval_ms), device)| ServerFrame::Welcome(Welcome {
                device,
                generation,
                node,
                epoch,
                ping_interval_ms,
                ..Welcome::default()
            })
        ),
        any::<u32>().prop_map(|reconnect_after_ms| ServerFrame::Drain(Drain { reconnect_after_ms })),
        any::<(u32, String, String, String)>().prop_map(|(code, message, reason, r#ref)| {
            ServerFrame::Error(Error { code, message, reason, r#ref })
        }),
        any::<(String, String, Vec<(u32, String, String)>)>().prop_map(|(r#ref, id, devices)| {
            let state = |(device, state, reason)| DeviceState { device, state, reason };
            ServerFrame::Receipt(Receipt { r#ref, id, devices: devices.into_iter().map(state).collect() })
        }),
        any::<u64>().prop_map(|seq| ServerFrame::CaughtUp(CaughtUp { seq })),
        any::<u64>().prop_map(|nonce| ServerFrame::Pong(Pong { nonce })),
    ]
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        any::<(String, u64, u64, Vec<String>)>().prop_map(|(token, last, epoch, capabilities)| {
            ClientFrame::Hello(Hello { token, last, epoch, capabilities })
        }),
        any::<u64>().prop_map(|seq| ClientFrame::Ack(Ack { seq })),
        any::<u64>().prop_map(|nonce| ClientFrame::Ping(Ping { nonce })),
        (any::<(String, String, u32, String, u32, bool)>(), payload()).prop_map(
            |((r#ref, kind, device, topic, ttl_seconds, ephemeral), payload)| {
                ClientFrame::Sync(Sync { r#ref, kind, device, topic, ttl_seconds, ephemeral, payload })
            }
        ),
    ]
}

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, ..Limits::SERVER };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_survive_both_encodings(server in server_frame(), client in client_frame(), key in any::<[u8; 4]>()) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            // Behind another frame, as in a log of frames.
            let mut out = Vec::new();
            server.encode_frame(encoding, &mut out).unwrap();
            server.encode_frame(encoding, &mut out).unwrap();
            let mut input = out.as_mut_slice();
            let mut decoder = Decoder::new();
            for _ in 0..2 {
                let message = decoder.next(&mut input, &Limits::CLIENT).unwrap().unwrap();
                prop_assert_eq!(&ServerFrame::decode(encoding, &message).unwrap(), &server);
            }
            prop_assert!(input.is_empty());

            let mut out = Vec::new();
            client.encode_frame(encoding, key, &mut out).unwrap();
            client.encode_frame(encoding, key, &mut out).unwrap();
            let mut input = out.as_mut_slice();
            for _ in 0..2 {
                let message = decoder.next(&mut input, &LIMITS).unwrap().unwrap();
                prop_assert_eq!(&ClientFrame::decode(encoding, &message).unwrap(), &client);
            }
            prop_assert!(input.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn a_message_that_is_encoded_already_becomes_the_same_frame(
        (id, seq, kind) in any::<(String, u64, String)>(),
        payload in payload(),
    ) {
        let deliver = Deliver { id, seq, kind, payload, ..Deliver::default() };
        let body = prost::Message::encode_to_vec(&deliver);
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let (mut direct, mut stored) = (Vec::new(), Vec::new());
            ServerFrame::Deliver(deliver.clone()).encode_frame(encoding, &mut direct).unwrap();
            encode_deliver_frame(&body, encoding, &mut stored).unwrap();
            prop_assert_eq!(direct, stored);
        }
    }
}

#[test]
fn what_is_no_message_becomes_no_json_frame() {
    let mut out = Vec::new();
    assert!(encode_deliver_frame(b"\xff\xff", Encoding::Json, &mut out).is_err());
    assert!(out.is_empty());
}
