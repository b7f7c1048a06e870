//! Who is answered where by a real gateway, from its start to its end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::json;

use crate::node::{KEY, Node, PATIENCE, token};
use crate::ordinary_clients::browse_from;

const DRIVERS: [&str; 2] = ["uring", "epoll"];

/// What these bytes are answered.
fn answer(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// What a `GET` with this credential is answered.
fn get(address: SocketAddr, path: &str, credential: &str) -> String {
    let authorization = format!("Authorization: Bearer {credential}\r\n");
    answer(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n{authorization}Connection: close\r\n\r\n"))
}

const UPGRADE: &str = "GET /v2/connect HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn probes_are_answered_on_every_listener_and_all_else_on_its_own() {
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "2"]);
        let all = [node.listen, node.api, node.admin, node.devices];
        for address in all {
            for (path, body) in [("/healthz", r#"{"status":"ok"}"#), ("/readyz", r#"{"status":"ready"}"#)] {
                let answer = get(address, path, "nobody");
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(body), "{answer}");
            }
        }
        let token = token("ada", 1);
        for (path, credential, answered) in [
            ("/v2/users/ada/devices", KEY, [false, true, false, false]),
            // For this release the API answers what has moved, too.
            ("/metrics", "nobody", [false, true, true, false]),
            ("/v2/node", KEY, [false, true, true, false]),
            ("/v2/messages", &token, [false, true, false, true]),
        ] {
            let found = all.map(|address| get(address, path, credential).starts_with("HTTP/1.1 200 "));
            assert_eq!(found, answered, "{path}");
        }
    }
}

#[test]
fn whoever_comes_during_a_drain_is_answered_at_once() {
    for driver in DRIVERS {
        let mut node = Node::start(&["--driver", driver, "--shards", "2"]);
        // They say nothing, so that the drain takes a while.
        let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(node.listen).unwrap()).collect();
        node.wait_until("the silent ones are there", |node| node.metric("campanile_handshakes") >= 8);
        node.terminate();
        node.wait_until("the node drains", |node| {
            get(node.listen, "/readyz", "").starts_with("HTTP/1.1 503 ")
        });
        // On whichever shard.
        for _ in 0..8 {
            let answer = answer(node.listen, UPGRADE);
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"draining\""), "{answer}");
            assert!(answer.contains("\r\nRetry-After: "), "{answer}");
        }
        assert!(get(node.listen, "/healthz", "").starts_with("HTTP/1.1 200 "), "the process lives");
        drop(silent);
        assert!(node.wait().success());
    }
}

#[test]
#[ignore = "needs the browser that scripts/test installs"]
fn a_page_polls_if_its_origin_is_allowed() {
    let page = include_str!("clients/browser_polls.html");
    let polled = "waiting 0; message {\"hello\":\"page\"}; confirmed 204; waiting 0; 404 unknown_message";
    for (allowed, report) in
        [(None, polled), (Some("its own"), polled), (Some("https://elsewhere.example"), "Failed to fetch")]
    {
        let pages = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", pages.local_addr().unwrap());
        let configuration = match allowed {
            None => String::new(),
            Some("its own") => format!("[edge]\nallowed_origins = [{own:?}]"),
            Some(other) => format!("[edge]\nallowed_origins = [{other:?}]"),
        };
        let node = Node::configured(&configuration, &["--shards", "2"]);
        let hash = format!("http://{}|{}", node.devices, token("tim", 1));
        let seen = browse_from(pages, page, &hash, |path| {
            assert_eq!(path, "/empty");
            let push = json!({"user": "tim", "payload": {"json": {"hello": "page"}}});
            assert_eq!(node.post("/v2/push", &push).unwrap()["success"], true);
        });
        assert_eq!(seen, report, "{allowed:?}");
    }
}
