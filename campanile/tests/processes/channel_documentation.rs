//! What `docs/channels.md` shows is what happens: its configuration, commands and frames, from the first to the last,
//! on a real node.
//!
//! A block of ```` ```json client NAME ```` is sent by that client, one of `json server NAME` is what it receives next,
//! `json answer` is what the commands before it print. Epochs and times are the node's own, but the same where the text
//! says the same.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Deserializer, Value, json};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::documentation::all_blocks;
use crate::node::{KEY, Node, SECRET, Socket, read_json};

const DOCS: &str = include_str!("../../../docs/channels.md");
const SUBPROTOCOL: &str = "campanile.v2+json";

fn values(json: &str) -> Vec<Value> {
    let values = Deserializer::from_str(json).into_iter();
    values.map(|value| value.unwrap_or_else(|error| panic!("{error}: {json}"))).collect()
}

/// What stands in the text for what only the node knows.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// Fails unless what was received is what is written.
    fn compare(&mut self, key: &str, written: &Value, received: &Value) {
        match (written, received) {
            (Value::Object(some), Value::Object(others)) => {
                let keys: Vec<_> = some.keys().collect();
                assert_eq!(keys, others.keys().collect::<Vec<_>>(), "{written} is {received}");
                some.iter().for_each(|(key, value)| self.compare(key, value, &others[key]));
            }
            (Value::Array(some), Value::Array(others)) => {
                assert_eq!(some.len(), others.len(), "{written} is {received}");
                some.iter().zip(others).for_each(|(value, other)| self.compare(key, value, other));
            }
            (Value::String(written), Value::String(received))
                if ["epoch", "sentAtMs", "atMs"].contains(&key) =>
            {
                assert!(received.parse::<u64>().is_ok_and(|number| number > 0), "{key}: {received}");
                let known = self.0.entry(written.clone()).or_insert_with(|| received.clone());
                assert_eq!(known, received, "{key} {written}");
            }
            _ => assert_eq!(written, received, "{key}"),
        }
    }

    /// Writes what the node knows in place of what stands for it.
    fn put_in(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => fields.values_mut().for_each(|value| self.put_in(value)),
            Value::String(text) => {
                if let Some(known) = self.0.get(text) {
                    text.clone_from(known);
                }
            }
            _ => {}
        }
    }
}

/// Those who speak in the text.
struct Conversation {
    node: Node,
    clients: HashMap<String, Socket>,
    names: Names,
    printed: Vec<Value>,
}

impl Conversation {
    fn run(&mut self, commands: &str) {
        let programs = Path::new(env!("CARGO_BIN_EXE_campanile")).parent().unwrap();
        let commands = commands
            .replace("campanile token", &format!("{}/campanile token", programs.display()))
            .replace("127.0.0.1:8081", &self.node.api.to_string());
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", &commands]).current_dir(&self.node.folder).stdin(Stdio::null());
        let output = shell.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{commands}");
        self.printed.extend(values(&String::from_utf8(output.stdout).unwrap()));
    }

    fn send(&mut self, name: &str, mut frame: Value) {
        let token = |file: &str| fs::read_to_string(self.node.folder.join(file)).unwrap().trim().to_owned();
        if let Some(written) = frame.pointer_mut("/hello/token") {
            *written = token(&format!("{name}.jwt")).into();
            let socket = self.node.connect_with(None, SUBPROTOCOL);
            assert!(self.clients.insert(name.to_owned(), socket).is_none(), "{name} comes twice");
        }
        if let Some(written) = frame.pointer_mut("/subscribe/token") {
            *written = token("subscription.jwt").into();
        }
        self.names.put_in(&mut frame);
        self.clients.get_mut(name).unwrap().send(Message::Text(frame.to_string().into())).unwrap();
    }

    fn receive(&mut self, name: &str, written: &Value) {
        let socket = self.clients.get_mut(name).unwrap();
        let received = loop {
            let frame = read_json(socket);
            if frame.get("welcome").is_none() {
                break frame;
            }
        };
        self.names.compare("", written, &received);
    }
}

#[test]
fn what_the_documentation_of_channels_shows_is_what_happens() {
    for driver in ["uring", "epoll"] {
        let mut blocks = all_blocks(DOCS).peekable();
        let (_, configuration) =
            blocks.next_if(|(fence, _)| *fence == "toml").expect("a configuration first");
        // So that going offline does not take the test as long as users like it.
        let configuration = format!("[channels]\noffline_after_seconds = 1\n{configuration}");
        let node = Node::configured(&configuration, &["--driver", driver, "--shards", "2"]);
        fs::write(node.folder.join("jwt.secret"), SECRET).unwrap();
        fs::write(node.folder.join("api.key"), KEY).unwrap();
        let (clients, names) = (HashMap::new(), Names::default());
        let mut all = Conversation { node, clients, names, printed: Vec::new() };
        let mut frames = 0;
        for (fence, content) in blocks {
            match fence.split(' ').collect::<Vec<_>>()[..] {
                ["sh"] => all.run(content),
                ["json", "answer"] => {
                    assert_eq!(all.printed.len(), 1, "{content}");
                    all.names.compare("", &values(content)[0], &all.printed.remove(0));
                }
                ["json", "client", name] => {
                    values(content).into_iter().for_each(|frame| all.send(name, frame));
                }
                ["json", "server", name] => {
                    frames += values(content).len();
                    values(content).iter().for_each(|frame| all.receive(name, frame));
                }
                // What a client is told that does not keep up: the test below.
                ["json", "server"] => assert!(content.contains("gap")),
                _ => panic!("nobody runs a block of {fence}"),
            }
        }
        assert!(all.printed.is_empty(), "an answer is not shown: {:?}", all.printed);
        assert!(frames >= 20, "{frames} frames were found");
    }
}

const SLOW: &str = r#"
[channels.default]
subscribe = "anyone"
history_messages_max = 1
log_bytes_max = 65536
[channels.namespaces.skip]
slow = "skip"
[channels.namespaces.conflate]
slow = "conflate"
log_bytes_max = 8388608
[channels.namespaces.close]
slow = "close"
[limits]
pong_timeout_ms = 60000
"#;

/// Publishes until the subscriber's socket is full, and then some more. The number of the last message.
fn publish_too_much(node: &Node, channel: &str) -> u64 {
    let body = json!({"payload": {"text": "x".repeat(40_000)}});
    let publish = || node.post(&format!("/v2/channels/{channel}/publish"), &body).unwrap();
    let before = node.metric("campanile_sends_incomplete_total");
    while node.metric("campanile_sends_incomplete_total") == before {
        publish();
    }
    (0..10).for_each(|_| drop(publish()));
    publish()["offset"].as_str().unwrap().parse().unwrap()
}

/// What a subscriber reads that has not read for a while: the frames up to and with the message of this number, or up
/// to the close.
fn read_late(socket: &mut Socket, last: u64) -> (Vec<Value>, Option<CloseCode>) {
    let (mut frames, last) = (Vec::new(), json!(last.to_string()));
    loop {
        match socket.read().unwrap() {
            Message::Close(close) => return (frames, close.map(|close| close.code)),
            Message::Text(text) => frames.push(serde_json::from_str::<Value>(&text).unwrap()),
            other => panic!("expected a text message, got {other:?}"),
        }
        if frames.last().unwrap()["channelMessage"]["offset"] == last {
            return (frames, None);
        }
    }
}

#[test]
fn who_does_not_keep_up_is_told_as_the_documentation_says() {
    let shown = all_blocks(DOCS).find(|(fence, _)| *fence == "json server").unwrap().1;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for driver in ["uring", "epoll"] {
        let node = Node::configured(SLOW, &["--driver", driver, "--shards", "1"]);
        for (policy, reason) in [("skip", "too_slow"), ("conflate", "conflated"), ("close", "")] {
            let mut socket = node.connect(policy, 1, SUBPROTOCOL);
            assert!(read_json(&mut socket)["welcome"].is_object());
            let channel = format!("{policy}:1");
            let subscribe = json!({"subscribe": {"ref": "1", "channel": channel}});
            socket.send(Message::Text(subscribe.to_string().into())).unwrap();
            assert!(read_json(&mut socket)["subscribed"].is_object());
            let last = publish_too_much(&node, &channel);
            let (frames, close) = read_late(&mut socket, last);
            let [gap, message] = &values(shown)[..] else { panic!("{shown}") };
            let (mut expected, mut gaps) = (1, 0);
            for frame in &frames {
                let number = |name: &str, of: &Value| of[name].as_str().unwrap().parse::<u64>().unwrap();
                if let Some(told) = frame.get("gap") {
                    assert_eq!(keys(told), keys(&gap["gap"]));
                    assert_eq!((&told["channel"], &told["reason"]), (&json!(channel), &json!(reason)));
                    assert!(number("until", told) >= expected, "nothing is missing: {told}");
                    (expected, gaps) = (number("until", told) + 1, gaps + 1);
                    continue;
                }
                let received = &frame["channelMessage"];
                assert_eq!(keys(received), keys(&message["channelMessage"]));
                assert_eq!(number("offset", received), expected, "a hole that no gap told of");
                expected += 1;
            }
            match policy {
                "close" => assert_eq!((close, gaps), (Some(CloseCode::Policy), 0)),
                // More than one if the socket took something in between.
                _ => assert!(close.is_none() && gaps > 0 && expected == last + 1),
            }
            assert!(frames.len() - gaps < last as usize, "nothing was missed");
        }
    }
}
