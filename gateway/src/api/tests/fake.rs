//! A router whose shards are played by one thread.

mod channels;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
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
use campanile_core::counters::ShardCounters;
use campanile_core::inbox::{Inbox, REQUESTS_WAITING_MAX};
use campanile_core::namespaces::{Namespace, Namespaces};
use campanile_core::placement::PlacementKey;
use campanile_core::push::PushRules;
use campanile_core::requests::{
    Answer, Bell, ConnectedDevice, Durability, Envelopes, Outcome, Push, PushError, Pushed, RequestBody,
    Ticket, Unavailable, UserDevice,
};
use campanile_core::tokens::{Signer, Verifier};
use campanile_engine::{DriverKind, Waker};
use campanile_mailbox::operations::RegisterError;
use campanile_mailbox::{Address, DedupKey, DeviceRecord, Page, Waiting};
use campanile_protocol::ids::{DeviceId, MessageId, UserId};
use campanile_protocol::messages::{ChannelMessage, Deliver, Event, Payload};
use http_body_util::BodyExt;
use hyper::body::Frame;
use prost::Message as _;
use serde_json::Value;
use tower::ServiceExt;

use self::channels::Channels;
use crate::api::clock::now_ms;
use crate::api::{AllowedOrigins, ApiParts, Listener};
use crate::config::ApiKeys;
use crate::shards::Shards;
use crate::status::NodeStatus;

pub(in crate::api) const KEY: &str = "0123456789abcdef";
pub(in crate::api) const OTHER_KEY: &str = "fedcba9876543210";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// What waits for device 1 of `ada`, by number.
const WAITING: [u64; 3] = [11, 12, 15];
/// The epoch of all numbers.
pub(in crate::api) const EPOCH: u64 = 7;

/// `ada` has device 1, which is connected, 2, which is not, and 3, whose mailbox is full and which does not keep up;
/// `bob` has device 1, which is not connected. The devices of `full` are 1, whose mailbox is full, and 2, for which
/// there is no storage. `crowd` may have no more devices; the store does not work for `broken`; nobody answers about
/// `silence`, the user and the channel; others have no device. The members of channels of the namespace `room` are
/// told.
pub(in crate::api) struct Api {
    pub(in crate::api) api: Arc<crate::api::Api>,
    pub(in crate::api) shards: Arc<Shards>,
    pub(in crate::api) node: Arc<NodeStatus>,
    played: Arc<Played>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Played {
    pushes: Mutex<Vec<Push>>,
    /// Answers to pushes and publishes are kept back, while this is something.
    held: Mutex<Option<Vec<Held>>>,
    remembered: Mutex<HashMap<DedupKey, [u8; 16]>>,
    confirmed: Mutex<HashSet<u64>>,
    registered: Mutex<Vec<(UserId, DeviceId)>>,
    channels: Channels,
    requests: AtomicUsize,
    paused: AtomicBool,
    ended: AtomicBool,
}

/// An answer that is kept back, where it goes, and what tells that it is there.
type Held = (Arc<Inbox>, Ticket, Answer, Option<Arc<Bell>>);

pub(in crate::api) struct Reply {
    pub(in crate::api) status: StatusCode,
    pub(in crate::api) headers: HeaderMap,
    pub(in crate::api) json: Value,
    text: String,
}

impl Api {
    pub(in crate::api) fn new() -> Api {
        Api::with(|_| {})
    }

    pub(in crate::api) fn with(change: impl FnOnce(&mut ApiParts)) -> Api {
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
        let shards = Shards::new(answers_waker, parts, PlacementKey::new([0; 16]));
        let played = Arc::new(Played::default());
        let (playing, answering) = (Arc::clone(&played), Arc::clone(&shards));
        let threads = vec![
            thread::spawn(move || playing.play(&inboxes)),
            thread::spawn(move || answering.hand_out_answers().unwrap()),
        ];
        let node = Arc::new(NodeStatus::new(DriverKind::Epoll, 100).unwrap());
        let mut parts = ApiParts {
            store: Arc::default(),
            shards: Arc::clone(&shards),
            keys: ApiKeys::parse(&format!("{KEY}\n{OTHER_KEY}")).unwrap(),
            verifier: Verifier::hs256(SECRET).unwrap(),
            auto_register: true,
            namespaces: Namespaces {
                named: [("room".into(), Namespace { members: true, ..Namespace::default() })].into(),
                ..Namespaces::default()
            },
            rules: PushRules {
                payload_bytes_max: 1_024,
                ttl: Duration::from_secs(30 * 86_400),
                dedup_window: Duration::from_secs(600),
            },
            origins: AllowedOrigins::default(),
            node: Arc::clone(&node),
        };
        change(&mut parts);
        Api { api: Arc::new(crate::api::Api::new(parts)), shards, node, played, threads }
    }

    /// Asks as a publisher does.
    pub(in crate::api) async fn call(&self, request: Request<Body>) -> Reply {
        self.call_at(Listener::Api, request).await
    }

    pub(in crate::api) async fn call_at(&self, listener: Listener, request: Request<Body>) -> Reply {
        let response = self.api.router(listener).oneshot(request).await.unwrap();
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

    /// Asks as a device, without a body.
    pub(in crate::api) async fn device(&self, method: Method, path: &str, token: &str) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {token}"));
        let listener = if path.starts_with("/v2/messages") { Listener::Devices } else { Listener::Api };
        self.call_at(listener, request.body(Body::empty()).unwrap()).await
    }

    pub(in crate::api) async fn metrics(&self) -> String {
        let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
        self.call_at(Listener::Admin, request).await.text
    }

    /// The newest push that a shard was asked for.
    pub(in crate::api) fn pushed(&self) -> Push {
        self.played.pushes.lock().unwrap().pop().expect("nothing was pushed")
    }

    /// All pushes that shards were asked for, oldest first.
    pub(in crate::api) fn all_pushed(&self) -> Vec<Push> {
        self.played.pushes.lock().unwrap().drain(..).collect()
    }

    /// The messages that were published to a channel, oldest first.
    pub(in crate::api) fn published(&self, channel: &str) -> Vec<ChannelMessage> {
        self.played.channels.messages(channel)
    }

    /// The devices that were registered.
    pub(in crate::api) fn registered(&self) -> Vec<(String, u32)> {
        let registered = self.played.registered.lock().unwrap();
        registered.iter().map(|(user, device)| (user.as_str().to_owned(), device.get())).collect()
    }

    /// Keeps back the answers to pushes and publishes from now on.
    pub(in crate::api) fn hold_answers(&self) {
        *self.played.held.lock().unwrap() = Some(Vec::new());
    }

    /// Gives the answers that were kept back, the newest first.
    pub(in crate::api) fn release_answers(&self) {
        let held = self.played.held.lock().unwrap().take().unwrap_or_default();
        for (inbox, ticket, answer, bell) in held.into_iter().rev() {
            inbox.answer(ticket, answer);
            drop(bell);
        }
    }

    /// How many questions the shards have taken.
    pub(in crate::api) fn requests(&self) -> usize {
        self.played.requests.load(Ordering::SeqCst)
    }

    /// Leaves no place in any queue.
    pub(in crate::api) fn fill_queues(&self) {
        self.played.paused.store(true, Ordering::SeqCst);
        for _ in 0..REQUESTS_WAITING_MAX + 100 {
            let mut asking = pin!(self.shards.broadcast(Event::default()));
            // Asks, and goes away.
            let _ = asking.as_mut().poll(&mut Cx::from_waker(std::task::Waker::noop()));
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.played.ended.store(true, Ordering::SeqCst);
        self.shards.stop_answering();
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
            for (shard, inbox) in inboxes.iter().enumerate() {
                while let Some(request) = inbox.take() {
                    self.requests.fetch_add(1, Ordering::SeqCst);
                    let Some(answer) = self.answer(request.body, shard) else { continue };
                    match (&mut *self.held.lock().unwrap(), &answer) {
                        (Some(held), Answer::Pushed(_) | Answer::Published(_)) => {
                            held.push((Arc::clone(inbox), request.ticket, answer, request.bell));
                        }
                        _ => inbox.answer(request.ticket, answer),
                    }
                }
            }
        }
    }

    fn answer(&self, question: RequestBody, shard: usize) -> Option<Answer> {
        Some(match question {
            RequestBody::Push(pushes) => {
                let pushed = pushes.iter().map(|push| self.push(push)).collect();
                self.pushes.lock().unwrap().extend(pushes);
                Answer::Pushed(pushed)
            }
            RequestBody::Broadcast(_) => Answer::Broadcast { sent: 9, skipped: 1 },
            RequestBody::Publish(messages) => {
                let publish = |message| self.channels.publish(message);
                Answer::Published(messages.into_iter().map(publish).collect())
            }
            RequestBody::Channel(channel) if channel.as_str() == "silence" => return None,
            RequestBody::Channel(channel) => Answer::Channel(self.channels.part(&channel, shard)),
            RequestBody::History { channel, since, messages_max } => {
                Answer::History(self.channels.history(&channel, since, messages_max))
            }
            RequestBody::Devices(user) if user.as_str() == "silence" => return None,
            RequestBody::Devices(user) => Answer::Devices(self.devices(&user)),
            RequestBody::Register(user, device) => Answer::Registered(Ok(self.register(user, device))),
            RequestBody::List { address, after, messages_max } => {
                let waiting: Vec<u64> =
                    self.waiting(&address).into_iter().filter(|seq| *seq > after).collect();
                let page = waiting.iter().take(messages_max).map(|&seq| Waiting { seq, body: deliver(seq) });
                Answer::Listed(Ok(Page { messages: page.collect(), more: waiting.len() > messages_max }))
            }
            RequestBody::Fetch(address, id) => {
                let there = id.epoch == EPOCH && self.waiting(&address).contains(&id.seq);
                Answer::Fetched(Ok(there.then(|| deliver(id.seq))))
            }
            RequestBody::Confirm(address, id) => {
                let there = id.epoch == EPOCH && self.waiting(&address).contains(&id.seq);
                Answer::Confirmed(Ok(there && self.confirmed.lock().unwrap().insert(id.seq)))
            }
            RequestBody::Disconnect(_, device) => Answer::Disconnected(if device.is_some() { 1 } else { 3 }),
            RequestBody::Drain { .. } | RequestBody::Stop => Answer::Draining,
        })
    }
}

/// The numbers of a user's devices.
fn numbers(user: &UserId) -> &'static [u32] {
    match user.as_str() {
        "ada" => &[1, 2, 3],
        "full" => &[1, 2],
        "bob" => &[1],
        _ => &[],
    }
}

/// What becomes of a message.
fn outcome(user: &UserId, device: DeviceId, durability: Durability) -> Outcome {
    let durable = durability == Durability::Durable;
    match (user.as_str(), device.get()) {
        ("ada", 1) => Outcome::Sent,
        ("ada", 2) | ("bob", 1) if durable => Outcome::Stored,
        ("ada", 2) | ("bob", 1) => Outcome::NotConnected,
        ("ada", 3) | ("full", 1) if durable => Outcome::MailboxFull,
        ("ada", 3) => Outcome::NotKeepingUp,
        ("full", 2) if durable => Outcome::StorageFull,
        _ => Outcome::UnknownDevice,
    }
}

/// A message that waits, as it is stored.
fn deliver(seq: u64) -> Bytes {
    let id = MessageId { epoch: EPOCH, seq }.to_string();
    let payload = Payload::json(r#"{"a":[1]}"#).ok();
    let deliver = Deliver {
        id,
        seq,
        kind: "message".into(),
        sent_at_ms: 1_000,
        expires_at_ms: 2_000,
        payload,
        ..Deliver::default()
    };
    deliver.encode_to_vec().into()
}

impl Played {
    fn push(&self, push: &Push) -> Result<Pushed, PushError> {
        if push.user.as_str() == "broken" {
            return Err(Unavailable::StoreFailed.into());
        }
        let numbers = numbers(&push.user);
        if numbers.is_empty() {
            return Err(PushError::NoDevices);
        }
        let mut duplicate = false;
        if let Some(dedup) = &push.dedup {
            match self.remembered.lock().unwrap().entry(dedup.key.clone()) {
                Entry::Occupied(before) if *before.get() != dedup.digest => {
                    return Err(PushError::DedupConflict);
                }
                Entry::Occupied(_) => duplicate = true,
                Entry::Vacant(free) => _ = free.insert(dedup.digest),
            }
        }
        let devices = match &push.envelopes {
            Envelopes::All(_) => numbers.iter().copied().map(device).collect(),
            Envelopes::Listed(devices, _) => devices.clone(),
            Envelopes::PerDevice(envelopes) => envelopes.iter().map(|(device, _)| *device).collect(),
        };
        let mut outcomes: Vec<_> =
            devices.iter().map(|&device| (device, outcome(&push.user, device, push.durability))).collect();
        // Only those that are connected are meant by an ephemeral push to all.
        if matches!(push.envelopes, Envelopes::All(_)) {
            outcomes.retain(|(_, outcome)| *outcome != Outcome::NotConnected);
        }
        Ok(Pushed { id: MessageId { epoch: EPOCH, seq: 1 }, devices: outcomes, duplicate })
    }

    fn devices(&self, user: &UserId) -> Result<Vec<UserDevice>, Unavailable> {
        if user.as_str() == "broken" {
            return Err(Unavailable::StoreFailed);
        }
        let registered = self.registered.lock().unwrap();
        let registered = registered.iter().filter(|(known, _)| known == user).map(|(_, device)| device.get());
        let record = |number: u32| DeviceRecord {
            device: device(number),
            created_at_ms: 1_000 + u64::from(number),
            last_seen_at_ms: 2_000,
        };
        let session = ConnectedDevice { generation: 5, subprotocol: "campanile.v2", connected_at_ms: 1_500 };
        let connected = |number| (user.as_str() == "ada" && number == 1).then(|| session.clone());
        let numbers = numbers(user).iter().copied().chain(registered);
        Ok(numbers.map(|number| UserDevice { record: record(number), session: connected(number) }).collect())
    }

    fn register(&self, user: UserId, wanted: Option<DeviceId>) -> Result<DeviceId, RegisterError> {
        if user.as_str() == "crowd" {
            return Err(RegisterError::TooMany);
        }
        let mut registered = self.registered.lock().unwrap();
        let exists = |wanted: DeviceId| {
            numbers(&user).contains(&wanted.get()) || registered.contains(&(user.clone(), wanted))
        };
        let next = wanted.unwrap_or_else(|| (1..).map(device).find(|&free| !exists(free)).unwrap());
        if exists(next) {
            return Err(RegisterError::Exists);
        }
        registered.push((user, next));
        Ok(next)
    }

    /// What waits for a device.
    fn waiting(&self, address: &Address) -> Vec<u64> {
        let confirmed = self.confirmed.lock().unwrap();
        let has_mail = (address.user.as_str(), address.device.get()) == ("ada", 1);
        WAITING.into_iter().filter(|seq| has_mail && !confirmed.contains(seq)).collect()
    }
}

/// A token of a device that is valid for another minute.
pub(in crate::api) fn token(user: &str, number: u32) -> String {
    let now = now_ms() / 1_000;
    Signer::hs256(SECRET).unwrap().sign(&user.parse().unwrap(), device(number), now, now + 60)
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
