//! Ordinary clients connect to a real gateway, receive a push and close cleanly: `tungstenite`, Python's
//! `websockets`, and a browser. The last two need what `scripts/test` installs, and are ignored without it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use campanile_protocol::frame::Message as Frame;
use campanile_protocol::messages::{Content, Encoding, ServerFrame};
use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::node::{Node, PATIENCE, read_json, token};

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
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "2"]);
        let said = python("python_client.py", &node, &token("guido", 1));
        assert_eq!(said, "received and closed with 1000");
    }
}

/// Runs one of the Python clients to its end; what it says.
pub(crate) fn python(script: &str, node: &Node, token: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(root.join(".venv/bin/python"))
        .arg(root.join("campanile/tests/processes/clients").join(script))
        .args([&node.url(), &format!("http://{}", node.api), crate::node::KEY, token])
        .arg(format!("http://{}", node.admin))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

#[test]
#[ignore = "needs the browser that scripts/test installs"]
fn a_browser_receives_a_push_and_closes() {
    for driver in DRIVERS {
        let node = Node::start(&["--driver", driver, "--shards", "2"]);
        let welcome = || {
            let push = json!({"user": "tim", "payload": {"json": {"hello": "browser"}}});
            // The page may have closed before the message was on the disk: then it counts as stored, not as delivered.
            assert_eq!(node.post("/v2/push", &push).unwrap()["success"], true);
        };
        let page = include_str!("clients/browser.html");
        let report = browse(page, &node, &token("tim", 1), |path| match path {
            "/welcome" => welcome(),
            _ => panic!("the page asks for {path}"),
        });
        assert_eq!(report, "welcome tim 1; deliver {\"hello\":\"browser\"}; close 1000 true");
    }
}

/// Ended when dropped, also by a test that fails.
struct Browser {
    process: Child,
    profile: PathBuf,
}

impl Browser {
    fn open(url: &str) -> Browser {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let profile = std::env::temp_dir().join(format!("campanile-browser-{}-{number}", std::process::id()));
        let program = ["/usr/bin/chromium", "/usr/bin/google-chrome"];
        let program = program.into_iter().find(|path| Path::new(path).exists()).expect("a browser");
        let process = Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Browser { process, profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Opens a page in a browser, serves it, hears where it has come to by the paths that it posts to, and gives what it
/// posts to `/done`.
pub(crate) fn browse(page: &'static str, node: &Node, token: &str, has_come: impl FnMut(&str)) -> String {
    let pages = TcpListener::bind("127.0.0.1:0").unwrap();
    browse_from(pages, page, &format!("{}|{token}", node.url()), has_come)
}

/// The same for a page that is served on this listener and finds this behind the hash of its address.
pub(crate) fn browse_from(
    listener: TcpListener,
    page: &'static str,
    hash: &str,
    mut has_come: impl FnMut(&str),
) -> String {
    let _browser = Browser::open(&format!("http://{}/#{hash}", listener.local_addr().unwrap()));
    let deadline = Instant::now() + PATIENCE;
    listener.set_nonblocking(true).unwrap();
    let (asked, requests) = mpsc::channel();
    loop {
        assert!(Instant::now() < deadline, "the browser does not report");
        if let Ok((stream, _)) = listener.accept() {
            let asked = asked.clone();
            // Browsers open connections ahead and use them later, or never: each has a thread, which ends with it.
            std::thread::spawn(move || answer_request(&stream, page).map(|request| asked.send(request)));
        }
        match requests.recv_timeout(Duration::from_millis(20)) {
            Ok((path, body)) if path == "/done" => return body,
            Ok((path, _)) if ["/", "/favicon.ico"].contains(&path.as_str()) => {}
            Ok((path, _)) => has_come(&path),
            Err(_) => {}
        }
    }
}

/// Serves the page; path and body of the request, `None` if none comes.
fn answer_request(mut stream: &TcpStream, page: &str) -> Option<(String, String)> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let (path, body) = read_request(stream)?;
    let content = if path == "/" { page } else { "" };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{content}", content.len()).ok()?;
    Some((path, body))
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
