//! Which requests are accepted, and which of several things that stand against one is told.

use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::Encoding;
use campanile_protocol::upgrade::UpgradeError;

use super::{Admission, Admitted, Asker, Decision, acknowledges};
use crate::entry::refusal::Refusal;
use crate::limits::Limits;
use crate::namespaces::Namespaces;
use crate::settings::{HELD_BYTES_MAX, Mode, ShardSettings};
use crate::tokens::{Signer, TokenError, Verifier};

const SECRET: &[u8] = b"a secret of at least 32 bytes, for tests only";
const NOW_MS: u64 = 1_000_000_000;

fn settings(mode: Mode) -> ShardSettings {
    ShardSettings {
        mode,
        limits: Limits::default(),
        namespaces: Namespaces::default(),
        allowed_origins: vec!["https://app.example".into()],
        proxy_protocol_from: Vec::new(),
        node: "node".into(),
        epoch: 9,
        connections: Default::default(),
        auto_register: true,
        message_ttl_ms: 1_000,
        dedup_window_ms: 1_000,
        held_bytes_max: HELD_BYTES_MAX,
    }
}

fn gateway() -> ShardSettings {
    settings(Mode::Gateway { verifier: Box::new(Verifier::hs256(SECRET).expect("long enough")) })
}

fn admission(settings: &ShardSettings) -> Admission<'_> {
    Admission { settings, is_draining: false, is_full: false, unix_ms: NOW_MS }
}

fn request(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

fn bearer(expires_at: u64) -> String {
    let user = UserId::try_from("ada").expect("an id");
    let device = DeviceId::try_from(3).expect("a device");
    let token = Signer::hs256(SECRET).expect("long enough").sign(&user, device, 1, expires_at);
    format!("Authorization: Bearer {token}\r\n")
}

fn admit(admission: &Admission<'_>, target: &str, more: &str) -> Result<Admitted, Refusal> {
    match admission.decide(request(target, more).as_bytes())? {
        Decision::Admit(admitted) => Ok(admitted),
        Decision::Answer(body) => panic!("answered with {body}"),
    }
}

#[test]
fn of_several_things_that_stand_against_a_request_the_most_general_is_told() {
    let settings = gateway();
    // Everything is wrong with it; what is told is mended one by one.
    let token = "Authorization: Bearer nonsense\r\n";
    let worst = format!("Origin: https://evil.example\r\nSec-WebSocket-Protocol: soap\r\n{token}");
    let mut admission = Admission { is_draining: true, is_full: true, ..admission(&settings) };
    let told = |admission: &Admission<'_>, target, more: &str| admit(admission, target, more).err();
    assert_eq!(told(&admission, "/?ack=maybe", &worst), Some(Refusal::Draining));
    admission.is_draining = false;
    assert_eq!(told(&admission, "/?ack=maybe", &worst), Some(Refusal::Full));
    admission.is_full = false;
    assert_eq!(told(&admission, "/?ack=maybe", &worst), Some(Refusal::NotFound));
    assert_eq!(told(&admission, "/v2/connect?ack=maybe", &worst), Some(Refusal::BadQuery));
    assert_eq!(told(&admission, "/v2/connect", &worst), Some(Refusal::OriginForbidden));
    let worst = worst.replace("evil", "APP");
    assert_eq!(told(&admission, "/v2/connect", &worst), Some(UpgradeError::Subprotocol.into()));
    let worst = worst.replace("soap", "campanile.v2");
    assert_eq!(told(&admission, "/v2/connect", &worst), Some(Refusal::Token(TokenError::Invalid)));
    assert_eq!(told(&admission, "/v2/connect", &worst.replace(token, "")), None);
}

#[test]
fn a_request_that_is_no_upgrade_hears_so_even_from_a_node_that_drains() {
    let settings = gateway();
    let admission = Admission { is_draining: true, ..admission(&settings) };
    let refused = admission.decide(b"GET /v2/connect HTTP/1.1\r\nHost: a\r\n\r\n").err();
    assert_eq!(refused, Some(Refusal::Request(UpgradeError::NotUpgrade)));
}

#[test]
fn a_probe_hears_whether_devices_can_connect() {
    let settings = gateway();
    let ask = |path: &str, is_draining| {
        let admission = Admission { is_draining, is_full: true, ..admission(&settings) };
        admission.decide(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
    };
    for (path, is_draining, body) in [
        ("/healthz", false, r#"{"status":"ok"}"#),
        ("/healthz", true, r#"{"status":"ok"}"#),
        ("/readyz", false, r#"{"status":"ready"}"#),
    ] {
        assert!(matches!(ask(path, is_draining), Ok(Decision::Answer(answer)) if answer == body), "{path}");
    }
    assert_eq!(ask("/readyz", true).err(), Some(Refusal::NotReady));
}

#[test]
fn a_token_in_the_request_says_who_asks() {
    let settings = gateway();
    let admission = admission(&settings);
    let admitted = admit(&admission, "/v2/connect", &bearer(NOW_MS / 1_000 + 60)).expect("accepted");
    let Asker::Known(identity) = admitted.asker else { panic!("{:?}", admitted.asker) };
    assert_eq!((identity.user.as_str(), identity.device.get()), ("ada", 3));
    let expired = admit(&admission, "/v2/connect", &bearer(NOW_MS / 1_000 - 600)).err();
    assert_eq!(expired, Some(Refusal::Token(TokenError::Expired)));
    let unknown = admit(&admission, "/v2/connect", "").expect("accepted");
    assert!(matches!(unknown.asker, Asker::Unknown));
}

#[test]
fn what_is_agreed_on_is_what_the_client_offered() {
    let settings = gateway();
    let admission = admission(&settings);
    let nothing = admit(&admission, "/v2/connect", "").expect("accepted");
    assert_eq!((nothing.agreed.encoding, nothing.upgrade.offered), (Encoding::Json, false));
    assert!(nothing.agreed.acknowledges && !nothing.agreed.deflate);
    let offer = format!("Sec-WebSocket-Protocol: {}\r\n", Encoding::Protobuf.subprotocol());
    let protobuf = admit(&admission, "/v2/connect?ack=none", &offer).expect("accepted");
    assert_eq!((protobuf.agreed.encoding, protobuf.upgrade.offered), (Encoding::Protobuf, true));
    assert!(!protobuf.agreed.acknowledges);
    // No namespace compresses, so that compression would be of no use.
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let plain = admit(&admission, "/v2/connect", deflate).expect("accepted");
    assert!(!plain.agreed.deflate && plain.upgrade.deflate.is_none());
}

#[test]
fn an_echo_takes_any_path_and_any_subprotocol_and_names_none() {
    let settings = settings(Mode::Echo);
    let admission = admission(&settings);
    let admitted = admit(&admission, "/anything", "Sec-WebSocket-Protocol: soap\r\n").expect("accepted");
    assert!(matches!(admitted.asker, Asker::Echo) && !admitted.upgrade.offered);
}

#[test]
fn a_client_acknowledges_unless_its_query_says_otherwise() {
    for (query, expected) in [
        (None, Some(true)),
        (Some(""), Some(true)),
        (Some("ack=cumulative"), Some(true)),
        (Some("ack=none"), Some(false)),
        (Some("a=b&ack=none"), Some(false)),
        (Some("back=none"), Some(true)),
        (Some("ack="), None),
        (Some("ack=None"), None),
    ] {
        assert_eq!(acknowledges(query), expected, "{query:?}");
    }
}
