//! From the connection to the session.

use std::time::Duration;

use campanile_engine::sim::{Ending, Faults};
use campanile_protocol::frame::Opcode;
use campanile_protocol::messages::Encoding::{self, Json, Protobuf};
use campanile_protocol::messages::{CaughtUp, ClientFrame, Ping, ServerFrame};

use crate::support::{Entry, Gateway, Seen, Setup, user};
use campanile_core::placement::{HomeShard, PlacementKey};

fn refused(gateway: &mut Gateway, entry: Entry) -> (Option<u16>, Option<u16>) {
    let device = gateway.enter(0, Json, entry);
    gateway.settle();
    (gateway[device].status, gateway[device].code())
}

#[test]
fn a_token_in_the_header_gets_the_upgrade_and_the_welcome_in_one_piece() {
    for encoding in [Protobuf, Json] {
        let mut gateway = Setup::shards(1).start();
        let token = gateway.token("ada", 3, 60);
        let ada = gateway.enter(0, encoding, Entry::Header(token));
        gateway.settle();
        assert_eq!(gateway[ada].pieces.len(), 1);
        assert_eq!(gateway[ada].seen.len(), 2);
        assert_eq!(gateway[ada].seen[1], Seen::Frame(ServerFrame::CaughtUp(CaughtUp { seq: 0 })));
        assert_eq!(gateway[ada].subprotocol.as_deref(), Some(encoding.subprotocol()));
        let welcome = gateway[ada].welcome().unwrap();
        let device = welcome.device.as_ref().unwrap();
        assert_eq!((device.user.as_str(), device.device), ("ada", 3));
        assert_eq!((welcome.node.as_str(), welcome.epoch, welcome.generation), ("simulated", 9, 1));
        assert_eq!(welcome.ping_interval_ms, 25_000);
        gateway.ends_empty();
    }
}

#[test]
fn a_hello_opens_a_session_for_those_who_cannot_set_headers() {
    for encoding in [Protobuf, Json] {
        let mut gateway = Setup::shards(2).start();
        for (shard, name) in [(0, "ada"), (1, "ada"), (0, "bob"), (1, "bob")] {
            let token = gateway.token(name, 1 + shard as u32, 60);
            let device = gateway.enter(shard, encoding, Entry::Hello(token));
            gateway.settle();
            assert!(gateway[device].is_connected());
        }
        assert_eq!(gateway.count("sessions"), 4);
        gateway.ends_empty();
    }
}

#[test]
fn a_bad_token_in_the_header_is_refused_over_http() {
    let mut gateway = Setup::shards(1).start();
    let expired = gateway.token("ada", 1, 0);
    assert_eq!(refused(&mut gateway, Entry::Header(expired)), (Some(401), None));
    assert_eq!(refused(&mut gateway, Entry::Header("nonsense".into())), (Some(401), None));
    assert!(gateway[0].refusal().contains("token_expired"), "{}", gateway[0].refusal());
    assert!(gateway[1].refusal().contains("token_invalid"), "{}", gateway[1].refusal());
    assert_eq!((gateway.count("tokens_expired"), gateway.count("tokens_refused")), (1, 1));
    gateway.ends_empty();
}

#[test]
fn a_bad_token_in_the_hello_is_refused_with_4401() {
    let mut gateway = Setup::shards(1).start();
    let expired = gateway.token("ada", 1, 0);
    for token in [expired, "nonsense".into(), String::new()] {
        assert_eq!(refused(&mut gateway, Entry::Hello(token)), (Some(101), Some(4401)));
    }
    gateway.ends_empty();
}

#[test]
fn another_frame_before_the_hello_is_refused_with_4401() {
    let mut gateway = Setup::shards(1).start();
    let device = gateway.enter(0, Json, Entry::Nothing);
    gateway.settle();
    gateway[device].say(&ClientFrame::Ping(Ping { nonce: 1 }));
    gateway.settle();
    assert_eq!(gateway[device].code(), Some(4401));
    gateway.ends_empty();
}

#[test]
fn pings_are_answered_before_the_hello_and_with_it() {
    let mut gateway = Setup::shards(3).start();
    for shard in 0..3 {
        let device = gateway.enter(shard, Protobuf, Entry::Nothing);
        gateway.settle();
        gateway[device].say_raw(Opcode::Ping, b"one");
        gateway[device].say_raw(Opcode::Ping, b"two");
        gateway.settle();
        gateway[device].say_raw(Opcode::Ping, b"three");
        let token = gateway.token("ada", 1 + shard as u32, 60);
        gateway[device].say_hello(&token);
        gateway[device].say(&ClientFrame::Ping(Ping { nonce: 4 }));
        gateway.settle();
        let seen = &gateway[device].seen;
        assert_eq!(seen[..2], [Seen::Pong(b"two".to_vec()), Seen::Pong(b"three".to_vec())]);
        assert!(matches!(seen[2], Seen::Frame(ServerFrame::Welcome(_))), "{seen:?}");
        assert!(matches!(seen[3], Seen::Frame(ServerFrame::CaughtUp(_))), "{seen:?}");
        assert!(matches!(seen[4], Seen::Frame(ServerFrame::Pong(_))), "{seen:?}");
    }
    gateway.ends_empty();
}

#[test]
fn a_close_before_the_hello_is_echoed() {
    let mut gateway = Setup::shards(1).start();
    let device = gateway.enter(0, Json, Entry::Nothing);
    gateway.settle();
    gateway[device].say_close(3_000);
    gateway.settle();
    assert_eq!(gateway[device].code(), Some(3_000));
    gateway.ends_empty();
}

#[test]
fn a_client_without_a_token_cannot_make_the_gateway_hold_a_large_message() {
    let mut gateway = Setup::shards(1).start();
    let device = gateway.enter(0, Json, Entry::Nothing);
    gateway.settle();
    gateway[device].say_raw(Opcode::Text, &[b'a'; 10_000]);
    gateway.settle();
    assert_eq!(gateway[device].code(), Some(1009));
    gateway.ends_empty();
}

#[test]
fn frames_before_the_upgrade_was_answered_are_refused_after_the_answer() {
    let mut gateway = Setup::shards(1).start();
    let device = gateway.enter(0, Json, Entry::Nothing);
    let token = gateway.token("ada", 1, 60);
    gateway[device].say_hello(&token);
    gateway.settle();
    assert_eq!((gateway[device].status, gateway[device].code()), (Some(101), Some(1002)));
    gateway.ends_empty();
}

#[test]
fn frames_behind_a_request_with_a_token_are_read_on_the_home_shard() {
    let mut gateway = Setup::shards(3).start();
    for shard in 0..3 {
        let token = gateway.token("ada", 1 + shard as u32, 60);
        let device = gateway.enter(shard, Protobuf, Entry::Header(token));
        gateway[device].say(&ClientFrame::Ping(Ping { nonce: 77 }));
        gateway.settle();
        assert!(
            gateway[device]
                .frames()
                .any(|frame| matches!(frame, ServerFrame::Pong(pong) if pong.nonce == 77))
        );
    }
    gateway.ends_empty();
}

fn status_of(gateway: &mut Gateway, request: &str) -> u16 {
    let device = gateway.raw(0, request.as_bytes());
    assert_eq!(gateway[device].ending, Ending::Closed, "{}", gateway[device].refusal());
    gateway[device].status.unwrap()
}

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

#[test]
fn every_bad_request_hears_why() {
    let mut gateway = Setup::shards(1).start();
    for (status, request) in [
        (404, request("/", "")),
        (404, request("/v2/connect/", "")),
        (400, request("/v2/connect", "Sec-WebSocket-Protocol: soap\r\n")),
        (400, request("/v2/connect", "Content-Length: 1\r\n")),
        (426, "GET /v2/connect HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (405, "POST /v2/connect HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        (505, "GET /v2/connect HTTP/1.0\r\nHost: a\r\n\r\n".into()),
        (400, "hello\r\n\r\n".into()),
        (400, "hello\n".into()),
        (431, "a".repeat(8_192)),
    ] {
        assert_eq!(status_of(&mut gateway, &request), status, "{request}");
    }
    assert_eq!((gateway.count("upgrades_not_found"), gateway.count("upgrades_malformed")), (2, 8));
    gateway.ends_empty();
}

#[test]
fn probes_are_answered_without_an_upgrade() {
    let mut gateway = Setup::shards(1).start();
    let ask = |gateway: &mut Gateway, request: &str| {
        let status = status_of(gateway, request);
        (status, gateway.devices.last().unwrap().refusal())
    };
    for request in ["GET {} HTTP/1.1\r\nHost: a\r\n\r\n", "GET {}?x=1 HTTP/1.0\r\nUpgrade: h2c\r\n\r\n"] {
        for (path, body) in [("/healthz", r#"{"status":"ok"}"#), ("/readyz", r#"{"status":"ready"}"#)] {
            let (status, answer) = ask(&mut gateway, &request.replace("{}", path));
            assert!(status == 200 && answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
        }
    }
    assert_eq!(gateway.count("upgrades_malformed"), 0, "they are no upgrades");
    for (status, request) in [
        (404, request("/healthz", "")),
        (426, "GET /healthz/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (405, "POST /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
    ] {
        assert_eq!(status_of(&mut gateway, &request), status, "{request}");
    }
    // Somebody who says nothing keeps the node draining for a while.
    gateway.dial(0, Json, Entry::Nothing);
    gateway.settle();
    gateway.drain(0);
    gateway.settle();
    let (status, answer) = ask(&mut gateway, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = ask(&mut gateway, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(status == 503 && answer.contains("draining"), "{answer}");
}

#[test]
fn only_allowed_origins_connect_from_browsers() {
    let mut setup = Setup::shards(1);
    setup.allowed_origins = vec!["https://app.example".into()];
    let mut gateway = setup.start();
    assert_eq!(status_of(&mut gateway, &request("/v2/connect", "Origin: https://evil.example\r\n")), 403);
    gateway.device("ada", 1);
    let origin = "Sec-WebSocket-Protocol: campanile.v2\r\nOrigin: https://APP.example\r\n";
    // The device's own key is another, but the status says enough: it was not refused.
    let allowed = gateway.dial(0, Protobuf, Entry::Nothing);
    gateway[allowed].outgoing = request("/v2/connect", origin).into_bytes();
    gateway[allowed].reads = false;
    gateway.settle();
    let client = gateway[allowed].client;
    assert!(gateway.world.receive(client).starts_with(b"HTTP/1.1 101"));
    assert_eq!(gateway.count("upgrades_forbidden_origin"), 1);
    gateway.ends_empty();
}

#[test]
fn a_handshake_has_one_deadline_whatever_arrives() {
    // (whether it asks, bytes of the request and of the hello at a time, status, close code)
    let cases: [(bool, usize, usize, u16, Option<u16>); 4] = [
        (false, 0, 0, 408, None),
        (true, 1, 0, 408, None),
        (true, usize::MAX, 0, 101, Some(4408)),
        (true, usize::MAX, 2, 101, Some(4408)),
    ];
    for (asks, request_bytes, hello_bytes, status, code) in cases {
        let mut gateway = Setup::shards(1).limits(|limits| limits.handshake_timeout_ms = 2_000).start();
        let begun = gateway.world.time();
        let device = gateway.dial(0, Json, Entry::Nothing);
        gateway[device].step_bytes = request_bytes;
        if asks {
            gateway[device].ask_upgrade();
        }
        while gateway[device].ending == Ending::Open {
            if gateway[device].status == Some(101) && gateway[device].step_bytes != hello_bytes {
                gateway[device].step_bytes = hello_bytes;
                gateway[device].say_hello(&"a".repeat(1_000));
            }
            gateway.wait(Duration::from_millis(20));
            let took = gateway.world.time().since(begun);
            assert!(took < Duration::from_millis(2_500), "after {took:?}");
        }
        let took = gateway.world.time().since(begun);
        assert!(took >= Duration::from_millis(2_000), "after {took:?}");
        assert_eq!((gateway[device].status, gateway[device].code()), (Some(status), code));
        assert_eq!(gateway.count("handshakes_timed_out"), 1);
        gateway.ends_empty();
    }
}

#[test]
fn a_request_that_comes_a_byte_at_a_time_is_still_a_request() {
    let mut gateway = Setup::shards(2).start();
    let token = gateway.token("ada", 1, 60);
    let device = gateway.enter(0, Json, Entry::Header(token));
    gateway[device].step_bytes = 1;
    for _ in 0..600 {
        gateway.steps(4);
        gateway.pump();
    }
    assert!(gateway[device].is_connected());
    gateway.ends_empty();
}

#[test]
fn every_user_is_handed_to_the_home_shard() {
    let mut gateway = Setup::shards(3).start();
    let mut entered = 0;
    for shard in 0..3 {
        for name in ["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "user 7"] {
            for entry in [Entry::Header, Entry::Hello] {
                entered += 1;
                let token = gateway.token(name, 1 + entered % 5, 60);
                let encoding = [Encoding::Json, Encoding::Protobuf][entered as usize % 2];
                let device = gateway.enter(shard, encoding, entry(token));
                gateway.settle();
                assert!(gateway[device].is_connected(), "{name} at {shard}");
                gateway[device].say_close(1000);
                gateway.settle();
            }
        }
    }
    for (shard, counters) in gateway.counters.iter().enumerate() {
        let at_home = ["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "user 7"]
            .iter()
            .filter(|name| gateway.home.of(&user(name)) == shard)
            .count() as u64;
        assert!(at_home > 0, "no user lives on {shard}");
        assert_eq!(counters.sessions_opened.get(), 6 * at_home);
        assert_eq!(counters.hand_offs.get(), 2 * (8 - at_home));
    }
    gateway.ends_empty();
}

#[test]
fn users_are_spread_evenly_over_the_shards() {
    for shards in [2, 3, 6, 22] {
        let home = HomeShard::new(shards, PlacementKey::new([0; 16]));
        for form in ["", "user-", "u:0000", "7c9e6679-7425-40de-944b-e07fc1f9"] {
            let mut users = vec![0; shards];
            (0..10_000).for_each(|number| users[home.of(&user(&format!("{form}{number}")))] += 1);
            let even = 10_000 / shards;
            assert!(
                users.iter().all(|&users| users > even * 8 / 10 && users < even * 12 / 10),
                "{form}: {users:?}"
            );
        }
    }
}

#[test]
fn a_refused_hand_off_is_answered() {
    let faults = Faults { refused_hand_off: 1_000, ..Faults::NONE };
    let mut gateway = Setup::shards(2).faults(faults).start();
    let away = 1 - gateway.home.of(&user("ada"));
    let token = gateway.token("ada", 1, 60);
    let header = gateway.enter(away, Json, Entry::Header(token.clone()));
    let hello = gateway.enter(away, Json, Entry::Hello(token));
    gateway.settle();
    assert_eq!((gateway[header].status, gateway[header].retry_after), (Some(503), Some(2)));
    assert_eq!((gateway[hello].status, gateway[hello].code()), (Some(101), Some(4503)));
    assert_eq!((gateway.count("hand_offs_failed"), gateway.count("sessions_opened")), (2, 0));
    gateway.ends_empty();
}
