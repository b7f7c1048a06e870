//! Real gateway processes: start, refuse, hostile clients, drain.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use campanile_harness::ports::free_address;
use campanile_harness::process::Lines;
use campanile_harness::{Gateway, Launch};
use serde_json::{Value, json};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket, protocol::Role};

use crate::node::{KEY, Node, PATIENCE, SECRET, campanile, folder, options, output, read_json};

const DRIVERS: [&str; 2] = ["uring", "epoll"];

#[test]
fn a_second_gateway_on_the_same_port_is_an_error() {
    let node = Node::start(&["--shards", "2"]);
    let mut second = options(&["--listen", &node.listen.to_string()]);
    second.has_log_file = true;
    let error = Gateway::start(second).unwrap_err().to_string();
    assert!(error.contains(&format!("{} is in use", node.listen)), "{error}");
}

#[test]
fn a_drained_node_tells_its_clients_and_ends_well() {
    for driver in DRIVERS {
        let mut node = Node::start(&["--driver", driver, "--shards", "2"]);
        let mut sockets: Vec<_> =
            (0..50).map(|user| node.connect(&format!("u{user}"), 1, "campanile.v2+json")).collect();
        for socket in &mut sockets {
            assert!(read_json(socket)["welcome"].is_object());
        }
        node.terminate();
        let mut delays = Vec::new();
        for socket in &mut sockets {
            let drain = read_json(socket);
            delays.push(drain["drain"]["reconnectAfterMs"].as_u64().unwrap_or(0));
            match socket.read().unwrap() {
                Message::Close(Some(close)) => assert_eq!(close.code, CloseCode::from(4503)),
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 25, "clients would all come back together: {delays:?}");
        assert!(node.wait().success());
    }
}

#[test]
fn a_node_that_has_said_that_it_is_ready_drains_when_it_is_asked_to() {
    for _ in 0..5 {
        let folder = folder();
        let (jwt, key) =
            (folder.write_secret("jwt", SECRET).unwrap(), folder.write_secret("key", KEY).unwrap());
        let anywhere = ["--listen", "--api-listen", "--admin-listen", "--devices-listen"];
        let mut launch = Launch::new(env!("CARGO_BIN_EXE_campanile")).arg("serve");
        launch = launch.args(anywhere.iter().flat_map(|flag| [*flag, "127.0.0.1:0"]));
        launch = launch.arg("--jwt-hs256-file").arg(jwt).arg("--api-key-file").arg(key);
        launch = launch.arg("--data-dir").arg(folder.join("data")).args(["--shards", "1"]);
        let mut node = launch.stdout(Stdio::piped()).start().unwrap();
        let lines = Lines::read(node.take_stdout().unwrap());
        let ready = lines.next(PATIENCE).unwrap().unwrap();
        assert!(ready.starts_with("ready "), "{ready}");
        node.terminate().unwrap();
        node.finish(PATIENCE).unwrap();
    }
}

/// Sends bytes as a client would behind its upgrade, and reads until the end.
fn answer_to(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.listen).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn malformed_requests_get_an_answer_even_with_input_unread() {
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver]);
        let noise = vec![b'x'; 60_000];
        for (request, status) in [
            (&b"NONSENSE\r\n\r\n"[..], "400"),
            (b"GET /v2/connect HTTP/1.1\r\nHost: a\r\n\r\n", "426"),
            (b"POST /v2/connect HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
            (b"GET /v2/connect HTTP/1.0\r\n\r\n", "505"),
            (b"GET /v2/connect HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "400"),
            (&noise, "431"),
        ] {
            let answer = answer_to(&node, &[request, &b"unread ".repeat(1_000)].concat());
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let body: Value = serde_json::from_str(body).unwrap();
            assert!(body["error"]["code"].is_string(), "{body}");
        }
    }
}

#[test]
fn a_hostile_client_is_told_why_and_disturbs_nobody() {
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "1"]);
        let mut bystander = node.connect("bystander", 1, "campanile.v2+json");
        assert!(read_json(&mut bystander)["welcome"].is_object());
        let flood: Vec<u8> = [0x89, 0x80, 1, 2, 3, 4].repeat(5_000);
        // A text message of 1 MiB is announced; no byte of it need come.
        let large = [0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4];
        let cases: [(&[u8], u16); 7] = [
            (&[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'], 1002),
            (&[0xf1, 0x80, 0, 0, 0, 0], 1002),
            (&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
            (&[0x81, 0x82, 0, 0, 0, 0, b'{', b'x'], 4400),
            (&[0x82, 0x82, 0, 0, 0, 0, b'{', b'}'], 1003),
            (&large, 1009),
            (&flood, 4429),
        ];
        for (bytes, code) in cases {
            let mut socket = node.connect("mallory", 1, "campanile.v2+json");
            assert!(read_json(&mut socket)["welcome"].is_object());
            let mut stream = socket.get_ref().try_clone().unwrap();
            // The gateway may close while we still write.
            let _ = stream.write_all(bytes);
            let _ = stream.write_all(&[0x82, 0x80, 0, 0, 0, 0].repeat(100));
            let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
            let close = loop {
                match socket.read() {
                    Ok(Message::Close(close)) => break close.unwrap(),
                    Ok(_) => {}
                    Err(error) => panic!("no close code for {code}: {error}"),
                }
            };
            assert_eq!(close.code, CloseCode::from(code), "{}", close.reason);
            assert!(!close.reason.is_empty());
        }
        node.post("/v2/push", &json!({"user": "bystander", "payload": {"text": "still here"}})).unwrap();
        assert_eq!(read_json(&mut bystander)["deliver"]["payload"]["text"], "still here");
    }
}

#[test]
fn an_echo_gives_back_what_it_gets() {
    for driver in DRIVERS {
        let address = free_address().unwrap();
        let mut echo =
            campanile().args(["echo", "--listen", &address.to_string(), "--driver", driver]).spawn().unwrap();
        let stream = loop {
            if let Ok(stream) = TcpStream::connect(address) {
                break stream;
            }
            assert!(echo.try_wait().unwrap().is_none(), "the echo has ended");
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
        for length in [0, 1, 125, 126, 4_096, 65_535] {
            for message in
                [Message::Text("é".repeat(length / 2).into()), Message::Binary(vec![7; length].into())]
            {
                socket.send(message.clone()).unwrap();
                assert_eq!(socket.read().unwrap(), message);
            }
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        echo.kill().unwrap();
        echo.wait().unwrap();
    }
}

#[test]
fn the_demo_ends_with_its_table() {
    let folder = folder();
    let file = folder.join("demo.json");
    let mut demo = campanile();
    demo.args(["demo", "--devices", "300", "--seconds", "2", "--json"]).arg(&file);
    let demo = output(demo);
    let text = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{text}{}", String::from_utf8_lossy(&demo.stderr));
    assert!(text.contains("  p95 ") && text.contains("memory per connection"), "{text}");
    let found: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(found["lost"], 0, "{found}");
    assert!(found["received"].as_u64().unwrap() > 0, "{found}");
    let [p90, p95, p99] =
        ["p90", "p95", "p99"].map(|name| found[format!("latency_{name}_ms")].as_f64().unwrap());
    assert!(0.0 < p90 && p90 <= p95 && p95 <= p99, "{found}");
}
