//! Limits and addresses at the edge.

use campanile_engine::sim::Ending;
use campanile_protocol::messages::Encoding::Json;

use crate::support::{Entry, Gateway, Setup};

/// A PROXY header of version 2 for a client at this address.
fn proxy_header(address: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(address);
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0, 80]);
    header
}

fn proxied() -> Setup {
    let mut setup = Setup::shards(2).limits(|limits| limits.handshakes_per_address_max = 2);
    setup.proxy_protocol_from = vec!["127.0.0.2/32".into()];
    setup
}

fn enter_proxied(gateway: &mut Gateway, shard: usize, address: [u8; 4], entry: Entry) -> usize {
    let device = gateway.dial(shard, Json, entry);
    gateway[device].outgoing = proxy_header(address);
    gateway[device].ask_upgrade();
    device
}

#[test]
fn the_limit_of_an_address_is_that_of_the_real_client() {
    let mut gateway = proxied().start();
    let from_one: Vec<usize> =
        (0..3).map(|_| enter_proxied(&mut gateway, 0, [192, 0, 2, 1], Entry::Nothing)).collect();
    gateway.settle();
    let statuses: Vec<_> = from_one.iter().map(|&device| gateway[device].status).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == Some(101)).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|&&status| status == Some(429)).count(), 1, "{statuses:?}");
    let other = enter_proxied(&mut gateway, 0, [192, 0, 2, 2], Entry::Nothing);
    gateway.settle();
    assert_eq!(gateway[other].status, Some(101));
    gateway.ends_empty();
}

#[test]
fn a_proxy_header_may_come_a_byte_at_a_time() {
    let mut gateway = proxied().start();
    let token = gateway.token("ada", 1, 60);
    let ada = enter_proxied(&mut gateway, 0, [192, 0, 2, 1], Entry::Header(token));
    gateway[ada].step_bytes = 1;
    for _ in 0..600 {
        gateway.steps(4);
        gateway.pump();
    }
    assert!(gateway[ada].is_connected());
    gateway.ends_empty();
}

#[test]
fn a_trusted_peer_without_a_proxy_header_is_cut_off() {
    let mut gateway = proxied().start();
    for bytes in [&b"GET /v2/connect HTTP/1.1\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c", b"x"] {
        let device = gateway.raw(0, bytes);
        assert_eq!(gateway[device].ending, Ending::Reset);
        assert!(gateway[device].pieces.is_empty());
    }
    assert_eq!(gateway.count("proxy_headers_malformed"), 3);
    gateway.ends_empty();
}

#[test]
fn a_proxy_header_of_anybody_else_is_a_bad_request() {
    let mut gateway = Setup::shards(1).start();
    let device = gateway.dial(0, Json, Entry::Nothing);
    gateway[device].outgoing = proxy_header([192, 0, 2, 1]);
    gateway[device].ask_upgrade();
    gateway.settle();
    assert_eq!(gateway[device].status, Some(400));
    gateway.ends_empty();
}

#[test]
fn handshakes_of_one_address_are_limited_until_they_end() {
    let mut gateway = Setup::shards(1).limits(|limits| limits.handshakes_per_address_max = 3).start();
    let waiting: Vec<usize> = (0..3).map(|_| gateway.dial(0, Json, Entry::Nothing)).collect();
    gateway.settle();
    let refused = gateway.enter(0, Json, Entry::Nothing);
    gateway.settle();
    assert_eq!((gateway[refused].status, gateway[refused].retry_after), (Some(429), Some(2)));
    // A session and a client that is gone are no handshakes.
    let token = gateway.token("ada", 1, 60);
    gateway[waiting[0]].entry = Entry::Header(token);
    gateway[waiting[0]].ask_upgrade();
    gateway.hang_up(waiting[1], true);
    gateway.settle();
    assert!(gateway[waiting[0]].is_connected());
    let more: Vec<usize> = (0..3).map(|_| gateway.enter(0, Json, Entry::Nothing)).collect();
    gateway.settle();
    let statuses: Vec<_> = more.iter().map(|&device| gateway[device].status).collect();
    assert_eq!(statuses, [Some(101), Some(101), Some(429)]);
    assert_eq!(gateway.count("upgrades_refused_address"), 2);
    gateway.ends_empty();
}

#[test]
fn a_full_shard_answers_503() {
    let mut setup = Setup::shards(1);
    setup.slots = 16;
    let mut gateway = setup.start();
    for device in 0..8 {
        gateway.device(&format!("user {device}"), 1);
    }
    let token = gateway.token("late", 1, 60);
    let late = gateway.enter(0, Json, Entry::Header(token));
    gateway.settle();
    assert_eq!((gateway[late].status, gateway[late].retry_after), (Some(503), Some(2)));
    gateway.hang_up(0, false);
    gateway.settle();
    gateway.device("late", 1);
    assert_eq!(gateway.count("upgrades_refused_full"), 1);
    gateway.ends_empty();
}

#[test]
fn a_full_node_answers_503() {
    let mut gateway = Setup::shards(3).limits(|limits| limits.max_connections = 4).start();
    for device in 0..4 {
        gateway.device(&format!("user {device}"), 1);
    }
    let token = gateway.token("late", 1, 60);
    let late = gateway.enter(2, Json, Entry::Header(token));
    gateway.settle();
    assert_eq!(gateway[late].status, Some(503));
    assert_eq!((gateway.count("sessions"), gateway.count("upgrades_refused_full")), (4, 1));
    gateway.ends_empty();
}
