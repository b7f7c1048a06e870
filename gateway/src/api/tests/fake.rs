//! A router whose shards are played by one thread.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Cx, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use campanile_engine::{DriverKind, Waker};
use campanile_protocol::ids::{DeviceId, MessageId};
use campanile_protocol::messages::Event;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::Value;
use tower::ServiceExt;

use crate::api::metrics::ApiMetrics;
use crate::api::{Context, router};
use crate::config::ApiKeys;
use crate::node::NodeStatus;
use crate::shard::counters::ShardCounters;
use crate::shard::link::{Inbox, REQUESTS_WAITING_MAX, Shards};
use crate::shard::requests::{Answer, ConnectedDevice, Outcome, Push, Pushed, RequestBody, Targets};

pub(in crate::api) const KEY: &str = "0123456789abcdef";

/// `ada` has devices 1, 2 and 3, of which 3 does not keep up; nobody answers about `silence`; others have none.
pub(in crate::api) struct Api {
    pub(in crate::api) context: Arc<Context>,
    played: Arc<Played>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Played {
    pushes: Mutex<Vec<Push>>,
    requests: AtomicUsize,
    paused: AtomicBool,
    ended: AtomicBool,
}

pub(in crate::api) struct Reply {
    pub(in crate::api) status: StatusCode,
    pub(in crate::api) headers: HeaderMap,
    pub(in crate::api) json: Value,
    text: String,
}

impl Api {
    pub(in crate::api) fn new() -> Api {
        let answers_waker = Arc::new(Waker::new().unwrap());
        let parts: Vec<_> = [1, 2]
            .into_iter()
            .map(|connections| {
                let counters = Arc::new(ShardCounters::default());
                counters.connections.set(connections);
                (Inbox::new(), Arc::new(Waker::new().unwrap()), counters)
            })
            .collect();
        let inboxes: Vec<_> = parts.iter().map(|(inbox, ..)| Arc::clone(inbox)).collect();
        let shards = Shards::new(answers_waker, parts);
        let played = Arc::new(Played::default());
        let (playing, answering) = (Arc::clone(&played), Arc::clone(&shards));
        let threads = vec![
            thread::spawn(move || playing.play(&inboxes)),
            thread::spawn(move || answering.hand_out_answers().unwrap()),
        ];
        let context = Context {
            shards,
            keys: ApiKeys::parse(KEY).unwrap(),
            push_bytes_max: 1_024,
            node: Arc::new(NodeStatus::new(DriverKind::Epoll, 100).unwrap()),
            metrics: ApiMetrics::default(),
        };
        Api { context: Arc::new(context), played, threads }
    }

    pub(in crate::api) async fn call(&self, request: Request<Body>) -> Reply {
        let response = router(Arc::clone(&self.context)).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status: head.status, headers: head.headers, json, text }
    }

    pub(in crate::api) async fn send(&self, method: Method, path: &str, body: Option<Body>) -> Reply {
        let request = request(method, path, "application/json");
        self.call(request.body(body.unwrap_or_else(Body::empty)).unwrap()).await
    }

    pub(in crate::api) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub(in crate::api) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body.to_string().into())).await
    }

    pub(in crate::api) async fn metrics(&self) -> String {
        self.get("/metrics").await.text
    }

    /// The newest push that a shard was asked for.
    pub(in crate::api) fn pushed(&self) -> Push {
        self.played.pushes.lock().unwrap().pop().expect("nothing was pushed")
    }

    /// How many questions the shards have taken.
    pub(in crate::api) fn requests(&self) -> usize {
        self.played.requests.load(Ordering::SeqCst)
    }

    /// Leaves no place in any queue.
    pub(in crate::api) fn fill_queues(&self) {
        self.played.paused.store(true, Ordering::SeqCst);
        for _ in 0..REQUESTS_WAITING_MAX + 100 {
            let mut asking = pin!(self.context.shards.broadcast(Event::default()));
            // Asks, and goes away.
            let _ = asking.as_mut().poll(&mut Cx::from_waker(std::task::Waker::noop()));
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.played.ended.store(true, Ordering::SeqCst);
        self.context.shards.stop_answering();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

impl Reply {
    pub(in crate::api) fn is_error(&self, status: StatusCode, code: &str) {
        assert_eq!((self.status, &self.json["error"]["code"]), (status, &code.into()), "{}", self.text);
        assert!(!self.message().is_empty());
    }

    pub(in crate::api) fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }
}

impl Played {
    fn play(&self, inboxes: &[Arc<Inbox>]) {
        while !self.ended.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_micros(200));
            if self.paused.load(Ordering::SeqCst) {
                continue;
            }
            for inbox in inboxes {
                while let Some(request) = inbox.take() {
                    self.requests.fetch_add(1, Ordering::SeqCst);
                    if let Some(answer) = self.answer(request.body) {
                        inbox.answer(request.ticket, answer);
                    }
                }
            }
        }
    }

    fn answer(&self, question: RequestBody) -> Option<Answer> {
        Some(match question {
            RequestBody::Push(pushes) => {
                let pushed = pushes.iter().map(push).collect();
                self.pushes.lock().unwrap().extend(pushes);
                Answer::Pushed(pushed)
            }
            RequestBody::Broadcast(_) => Answer::Broadcast { sent: 9, skipped: 1 },
            RequestBody::Devices(user) if user.as_str() == "silence" => return None,
            RequestBody::Devices(user) => Answer::Devices(match user.as_str() {
                "ada" => vec![ConnectedDevice {
                    device: device(1),
                    generation: 5,
                    subprotocol: "campanile.v2",
                    connected_at_ms: 1_000,
                }],
                _ => Vec::new(),
            }),
            RequestBody::Disconnect(_, device) => Answer::Disconnected(if device.is_some() { 1 } else { 3 }),
            RequestBody::Drain { .. } | RequestBody::Stop => Answer::Draining,
        })
    }
}

fn push(push: &Push) -> Pushed {
    let connected: &[u32] = if push.user.as_str() == "ada" { &[1, 2, 3] } else { &[] };
    let devices = match &push.devices {
        Targets::All => connected.iter().copied().map(device).collect(),
        Targets::Listed(devices) => devices.clone(),
    };
    let outcome = |device: &DeviceId| match device.get() {
        3 => Outcome::NotKeepingUp,
        number if connected.contains(&number) => Outcome::Sent,
        _ => Outcome::NotConnected,
    };
    Pushed {
        id: MessageId { epoch: 7, seq: 1 },
        devices: devices.iter().map(|device| (*device, outcome(device))).collect(),
    }
}

fn device(number: u32) -> DeviceId {
    DeviceId::try_from(number).unwrap()
}

pub(in crate::api) fn with_key(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path).header("authorization", format!("Bearer {KEY}"))
}

pub(in crate::api) fn request(method: Method, path: &str, kind: &str) -> Builder {
    with_key(method, path).header("content-type", kind)
}

/// A body without end.
pub(in crate::api) struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Cx<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1_024])))))
    }
}

/// A body that never comes.
pub(in crate::api) struct Silent;

impl hyper::body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Cx<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
