//! Ordinary clients connect to a real gateway, receive a push and close cleanly: `tungstenite`, Python's
//! `websockets`, and a browser. The last two need what `scripts/test` installs, and are ignored without it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::node::{Node, PATIENCE, read_json, token};
use campanile_protocol::frame::Message as Frame;
use campanile_protocol::messages::{Content, Encoding, ServerFrame};
use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

const DRIVERS: [&str; 2] = ["uring", "epoll"];

#[test]
fn tungstenite_receives_a_push_as_json_and_closes() {
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "3"]);
        // So many users live on every shard, and most connections are handed over.
        for user in (0..20).map(|number| format!("user-{number}")) {
            let mut socket = node.connect(&user, 1, "campanile.v2+json");
            let welcome = read_json(&mut socket);
            assert_eq!(welcome["welcome"]["device"], json!({"user": user, "device": 1}));
            let push = json!({"user": user, "payload": {"json": {"n": [1, 2.5, "é"]}}, "kind": "note"});
            let answer = node.post("/v2/push", &push).unwrap();
            assert_eq!(
                (&answer["success"], &answer["deliveredCount"]),
                (&json!(true), &json!(1)),
                "{answer}"
            );
            let deliver = &read_json(&mut socket)["deliver"];
            assert_eq!(deliver["id"], answer["messageId"]);
            assert_eq!(deliver["payload"], push["payload"]);
            assert_eq!(deliver["kind"], "note");
            socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "done".into() })).unwrap();
            match socket.read().unwrap() {
                Message::Close(Some(close)) => assert_eq!(close.code, CloseCode::Normal),
                other => panic!("expected the close to be answered, got {other:?}"),
            }
            assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
        }
        node.wait_until("every session has ended", |node| node.metric("campanile_sessions") == 0);
    }
}

#[test]
fn tungstenite_receives_a_push_as_protobuf() {
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "2"]);
        let mut socket = node.connect("ada", 7, "campanile.v2");
        let mut next = || match socket.read().unwrap() {
            Message::Binary(bytes) => {
                ServerFrame::decode(Encoding::Protobuf, &Frame::Binary(&bytes)).unwrap()
            }
            other => panic!("expected a binary message, got {other:?}"),
        };
        assert!(matches!(next(), ServerFrame::Welcome(_)));
        assert!(matches!(next(), ServerFrame::CaughtUp(_)));
        let data = "AAECAwQFBgcICQ==";
        node.post("/v2/push", &json!({"user": "ada", "device": 7, "payload": {"data": data}})).unwrap();
        let ServerFrame::Deliver(deliver) = next() else { panic!("expected a message") };
        let content = deliver.payload.unwrap().content.unwrap();
        assert_eq!(content, Content::Data((0..10).collect::<Vec<u8>>().into()));
    }
}

#[test]
#[ignore = "needs the Python environment that scripts/test makes"]
fn python_websockets_receives_a_push_and_closes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "2"]);
        let output = Command::new(root.join(".venv/bin/python"))
            .arg(root.join("gateway/tests/processes/clients/python_client.py"))
            .args([&node.url(), &format!("http://{}", node.api), crate::node::KEY, &token("guido", 1)])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.trim(), "received and closed with 1000");
    }
}

#[test]
#[ignore = "needs the browser that scripts/test installs"]
fn a_browser_receives_a_push_and_closes() {
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "2"]);
        // The page is served from here, and reports here what it saw.
        let page = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = page.local_addr().unwrap();
        let profile = std::env::temp_dir().join(format!("campanile-browser-{}-{driver}", std::process::id()));
        let program = ["/usr/bin/chromium", "/usr/bin/google-chrome"];
        let program = program.into_iter().find(|path| Path::new(path).exists()).expect("a browser");
        let browser = Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("http://{address}/#{}|{}", node.url(), token("tim", 1)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let browser = Browser { process: browser, profile };
        let report = browse(&page, &node);
        drop(browser);
        assert_eq!(report, "welcome tim 1; deliver {\"hello\":\"browser\"}; close 1000 true");
    }
}

/// Ended when dropped, also by a test that fails.
struct Browser {
    process: Child,
    profile: PathBuf,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Serves the page, pushes when it says that it is welcome, and gives its last report.
fn browse(page: &TcpListener, node: &Node) -> String {
    let deadline = Instant::now() + PATIENCE;
    page.set_nonblocking(true).unwrap();
    loop {
        assert!(Instant::now() < deadline, "the browser does not report");
        let Ok((stream, _)) = page.accept() else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        // Browsers open connections ahead and use them later, or never.
        let Some((path, body)) = read_request(&stream) else { continue };
        let content = if path == "/" { include_str!("clients/browser.html") } else { "" };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
        write!(&stream, "{head}Content-Length: {}\r\n\r\n{content}", content.len()).unwrap();
        match path.as_str() {
            "/welcome" => {
                let push = json!({"user": "tim", "payload": {"json": {"hello": "browser"}}});
                assert_eq!(node.post("/v2/push", &push).unwrap()["deliveredCount"], 1);
            }
            "/done" => return body,
            _ => {}
        }
    }
}

/// Path and body of a request; `None` if none comes.
fn read_request(mut stream: &TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|&count| count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok();
        if body.len() >= head.lines().find_map(length).unwrap_or(0) {
            let path = head.split(' ').nth(1).unwrap_or_default();
            return Some((path.to_owned(), body.to_owned()));
        }
    }
}
