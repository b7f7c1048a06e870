//! gRPC, with a real client and the server on a socket.

mod channels;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use campanile_core::placement::{HomeShard, PlacementKey};
use campanile_core::requests::{self, Envelopes};
use campanile_protocol::messages::{Content, Device, Payload};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::codegen::tokio_stream::{self, Stream};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::{v1, v1alpha};

use super::fake::{Api, KEY, token};
use crate::api::Listener;
use crate::api::grpc::REQUESTS_IN_FLIGHT_MAX;
use crate::api::grpc::wire::gateway_client::GatewayClient;
use crate::api::grpc::wire::{
    DeviceEnvelope, Durability, ListDevicesRequest, PushBatchRequest, PushMessageRequest,
    PushMessageResponse, PushReadReceiptRequest, RegisterDeviceRequest,
};
use crate::api::server::{Patience, serve};
use crate::status::Phase;

/// Only there to turn a hang into a failure.
const LONG: Duration = Duration::from_secs(20);

/// A server on a socket.
struct Served {
    api: Api,
    address: SocketAddr,
    channel: Channel,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Served {
    async fn start() -> Served {
        let api = Api::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let ended = async { drop(ended.await) };
        let serving =
            tokio::spawn(serve(listener, Arc::clone(&api.api), Listener::Api, Patience::new(100), ended));
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.timeout(LONG).connect().await.unwrap();
        Served { api, address, channel, end, serving }
    }

    fn client(&self) -> GatewayClient<Channel> {
        GatewayClient::new(self.channel.clone())
    }

    async fn push(&self, push: PushMessageRequest) -> Result<PushMessageResponse, Status> {
        Ok(self.client().push_message(with_key(push)).await?.into_inner())
    }

    /// Waits until the shards have taken so many questions, and sees that they take no more.
    async fn have_been_asked(&self, expected: usize) {
        let asked = async {
            while self.api.requests() < expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, asked).await.expect("requests wait for each other");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(self.api.requests(), expected);
    }

    async fn end(self) {
        drop((self.end, self.channel));
        self.serving.await.unwrap();
    }
}

fn with_key<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {KEY}");
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    request
}

fn text(user: &str, text: &str) -> PushMessageRequest {
    let payload = Some(Payload::text(text));
    PushMessageRequest { user: user.into(), payload, ..PushMessageRequest::default() }
}

fn code(status: &Status) -> (Code, &str) {
    let code = status.metadata().get("campanile-code").map_or("none", |code| code.to_str().unwrap());
    (status.code(), code)
}

#[tokio::test]
async fn a_message_is_pushed_in_every_version() {
    let served = Served::start().await;
    let answer = served.push(text("ada", "hi")).await.unwrap();
    assert_eq!(answer.message_id, "00000000000000070000000000000001");
    assert_eq!((answer.success, answer.delivered_count, answer.duplicate), (true, 1, false));
    let states: Vec<_> = answer.devices.iter().map(|device| (device.device, &*device.state)).collect();
    assert_eq!(states, [(1, "sent"), (2, "stored"), (3, "failed")]);
    assert_eq!((&*answer.failed_devices[0].reason, answer.failed_devices.len()), ("mailbox_full", 1));
    assert_eq!(answer.error_message, "1 of 3 devices could not be reached");
    let push = served.api.pushed();
    assert_eq!(push.envelopes, Envelopes::All(Payload::text("hi")));
    assert_eq!(push.message.expires_at_ms - push.message.sent_at_ms, 30 * 86_400_000);

    let envelope = |device| DeviceEnvelope { device, payload: Some(Payload::data(vec![1])) };
    let version_2 = PushMessageRequest {
        user: "ada".into(),
        protocol_version: 2,
        device_envelopes: vec![envelope(2), envelope(1)],
        kind: "call".into(),
        topic: "t".into(),
        from: Some(Device { user: "eve".into(), device: 0 }),
        ttl_seconds: 5,
        dedup_id: "d".into(),
        ..PushMessageRequest::default()
    };
    assert!(!served.push(version_2.clone()).await.unwrap().duplicate);
    assert!(served.push(version_2).await.unwrap().duplicate);
    let push = served.api.pushed();
    assert!(matches!(push.envelopes, Envelopes::PerDevice(_)) && push.dedup.is_some());
    assert_eq!((&*push.message.kind, &*push.message.topic), ("call", "t"));
    assert_eq!(push.message.expires_at_ms - push.message.sent_at_ms, 5_000);

    let version_1 = PushMessageRequest {
        user: "bob".into(),
        encrypted_envelope: Some(vec![0, 255].into()),
        ..PushMessageRequest::default()
    };
    assert!(served.push(version_1).await.unwrap().success);
    assert_eq!(served.api.pushed().envelopes, Envelopes::All(Payload::data(vec![0, 255])));

    let mut ephemeral = text("bob", "hi");
    ephemeral.set_durability(Durability::Ephemeral);
    let answer = served.push(ephemeral).await.unwrap();
    assert_eq!((answer.success, &*answer.error_message), (false, "the user has no connected device"));
    assert_eq!(served.api.pushed().durability, requests::Durability::Ephemeral);
    served.end().await;
}

#[tokio::test]
async fn errors_have_the_codes_of_http_and_a_status() {
    let served = Served::start().await;
    let listed = |user: &str, device| PushMessageRequest { devices: vec![device], ..text(user, "") };
    let json = |json: &str| PushMessageRequest {
        payload: Some(Content::Json(json.into()).into()),
        ..text("ada", "")
    };
    for (push, status, code) in [
        (text("nobody", ""), Code::NotFound, "no_devices"),
        (listed("full", 4), Code::NotFound, "unknown_device"),
        (listed("full", 1), Code::ResourceExhausted, "mailbox_full"),
        (listed("full", 2), Code::ResourceExhausted, "storage_full"),
        (text("broken", ""), Code::Unavailable, "store_failed"),
        (text("", ""), Code::InvalidArgument, "invalid_field"),
        (listed("ada", 0), Code::InvalidArgument, "invalid_field"),
        (json("{"), Code::InvalidArgument, "invalid_field"),
        (json(&("[".repeat(101) + &"]".repeat(101))), Code::InvalidArgument, "invalid_field"),
        (
            PushMessageRequest { payload: Some(Payload::default()), ..text("ada", "") },
            Code::InvalidArgument,
            "invalid_field",
        ),
        (PushMessageRequest { payload: None, ..text("ada", "") }, Code::InvalidArgument, "invalid_field"),
        (PushMessageRequest { durability: 9, ..text("ada", "") }, Code::InvalidArgument, "invalid_field"),
        (
            PushMessageRequest { ttl_seconds: u32::MAX, ..text("ada", "") },
            Code::InvalidArgument,
            "invalid_field",
        ),
        (
            PushMessageRequest { kind: "x".repeat(65), ..text("ada", "") },
            Code::InvalidArgument,
            "invalid_field",
        ),
        (
            PushMessageRequest { dedup_id: "x".repeat(129), ..text("ada", "") },
            Code::InvalidArgument,
            "invalid_field",
        ),
        (
            PushMessageRequest {
                from: Some(Device { user: "e".into(), device: u32::MAX }),
                ..text("ada", "")
            },
            Code::InvalidArgument,
            "invalid_field",
        ),
        (text("ada", &"x".repeat(1_025)), Code::InvalidArgument, "payload_too_large"),
    ] {
        let error = served.push(push.clone()).await.unwrap_err();
        assert_eq!(self::code(&error), (status, code), "{push:?}: {error:?}");
    }
    let first = PushMessageRequest { dedup_id: "d".into(), ..text("ada", "a") };
    served.push(first).await.unwrap();
    let second = PushMessageRequest { dedup_id: "d".into(), ..text("ada", "b") };
    let error = served.push(second).await.unwrap_err();
    assert_eq!(self::code(&error), (Code::AlreadyExists, "dedup_conflict"));
    // What became of each device is beside the error.
    let error = served.push(listed("full", 1)).await.unwrap_err();
    let answer = error.metadata().get_bin("campanile-answer-bin").unwrap().to_bytes().unwrap();
    let answer = <PushMessageResponse as prost::Message>::decode(answer).unwrap();
    assert_eq!((answer.devices[0].device, &*answer.devices[0].reason), (1, "mailbox_full"));
    let text = served.api.metrics().await;
    let line = "campanile_api_requests_total{method=\"POST\",route=\"PushMessage\",status=\"404\"} 2";
    assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    served.end().await;
}

#[tokio::test]
async fn nothing_is_done_without_a_key() {
    let served = Served::start().await;
    for (name, value, expected) in [
        ("x-other", KEY.to_owned(), (Code::Unauthenticated, "key_missing")),
        ("authorization", "Bearer wrong-key-01234567".into(), (Code::Unauthenticated, "key_refused")),
        (
            "authorization",
            format!("Bearer {}", token("ada", 1)),
            (Code::PermissionDenied, "publisher_key_needed"),
        ),
    ] {
        let mut request = Request::new(text("ada", "hi"));
        request.metadata_mut().insert(name, value.parse::<MetadataValue<_>>().unwrap());
        let error = served.client().push_message(request).await.unwrap_err();
        assert_eq!(code(&error), expected);
        let batches = tokio_stream::iter([PushBatchRequest::default()]);
        let mut request = Request::new(batches);
        request.metadata_mut().insert(name, value.parse::<MetadataValue<_>>().unwrap());
        assert_eq!(code(&served.client().push_batch(request).await.unwrap_err()), expected);
    }
    assert_eq!(served.api.requests(), 0, "no shard was bothered");
    let mut request = Request::new(text("ada", "hi"));
    request.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    served.client().push_message(request).await.unwrap();
    served.end().await;
}

#[tokio::test]
async fn receipts_and_devices_are_those_of_http() {
    let served = Served::start().await;
    let mut client = served.client();
    let receipt = PushReadReceiptRequest {
        to: "ada".into(),
        from: Some(Device { user: "eve".into(), device: 9 }),
        message_ids: vec!["m".into()],
        read_at_ms: 5,
        ..PushReadReceiptRequest::default()
    };
    assert!(client.push_read_receipt(with_key(receipt.clone())).await.unwrap().into_inner().success);
    let push = served.api.pushed();
    assert_eq!(push.message.kind, "receipt");
    let payload = Payload::json(json!({"messageIds": ["m"], "readAtMs": 5}).to_string()).unwrap();
    assert_eq!(push.envelopes, Envelopes::All(payload));
    for wrong in [
        PushReadReceiptRequest { from: None, ..receipt.clone() },
        PushReadReceiptRequest { read_at_ms: -1, ..receipt.clone() },
        PushReadReceiptRequest { message_ids: vec!["m".into(); 1_001], ..receipt.clone() },
        PushReadReceiptRequest { payload: Some(Payload::text("")), ..receipt },
    ] {
        let error = client.push_read_receipt(with_key(wrong)).await.unwrap_err();
        assert_eq!(code(&error), (Code::InvalidArgument, "invalid_field"));
    }

    let list = ListDevicesRequest { user: "ada".into() };
    let devices = client.list_devices(with_key(list)).await.unwrap().into_inner().devices;
    assert_eq!(devices.iter().map(|device| device.device).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(devices[0].session.as_ref().map(|session| session.generation), Some(5));
    assert_eq!((devices[1].created_at_ms, devices[1].last_seen_at_ms), (1_002, 2_000));
    assert_eq!(devices[1].session, None);

    let register = async |user: &str, device| {
        let request = RegisterDeviceRequest { user: user.into(), device };
        served.client().register_device(with_key(request)).await
    };
    let registered = register("ada", 0).await.unwrap().into_inner();
    assert_eq!((registered.device, registered.created_at_ms), (4, 1_004));
    assert_eq!(code(&register("ada", 4).await.unwrap_err()), (Code::AlreadyExists, "device_exists"));
    assert_eq!(code(&register("crowd", 0).await.unwrap_err()), (Code::ResourceExhausted, "device_limit"));
    assert_eq!(code(&register("ada", u32::MAX).await.unwrap_err()), (Code::InvalidArgument, "invalid_field"));
    drop(client);
    served.end().await;
}

/// A stream of requests that the test sends one by one.
struct Sent<T>(mpsc::Receiver<T>);

impl<T> Stream for Sent<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

fn batch(number: usize) -> PushBatchRequest {
    let pushes =
        vec![text("ada", &format!("{number}a")), text("nobody", ""), text("ada", &format!("{number}b"))];
    PushBatchRequest { pushes }
}

#[tokio::test]
async fn requests_of_a_stream_do_not_wait_for_each_other_and_are_answered_in_order() {
    let served = Served::start().await;
    served.api.hold_answers();
    let (sender, receiver) = mpsc::channel(128);
    let mut client = served.client();
    let mut answers = client.push_batch(with_key(Sent(receiver))).await.unwrap().into_inner();
    for number in 0..100 {
        sender.send(batch(number)).await.unwrap();
    }
    // None has been answered, and yet many have reached the shards; but not without end.
    let home = HomeShard::new(served.api.shards.count(), PlacementKey::new([0; 16]));
    let [ada, nobody] = ["ada", "nobody"].map(|user| home.of(&user.parse().unwrap()));
    served.have_been_asked(REQUESTS_IN_FLIGHT_MAX * if ada == nobody { 1 } else { 2 }).await;
    // Answered in the wrong order by the shards.
    served.api.release_answers();
    drop(sender);
    let mut count = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        let [first, second, third] = &answer.results[..] else { panic!("three results") };
        assert!(first.error.is_none() && first.answer.as_ref().is_some_and(|answer| answer.success));
        let error = second.error.as_ref().unwrap();
        assert_eq!((&*error.code, error.status), ("no_devices", Code::NotFound as u32));
        assert!(second.answer.is_none() && third.error.is_none());
        count += 1;
    }
    assert_eq!(count, 100);
    let texts: Vec<String> = served
        .api
        .all_pushed()
        .into_iter()
        .filter(|push| push.user.as_str() == "ada")
        .map(|push| match push.envelopes {
            Envelopes::All(Payload { content: Some(Content::Text(text)) }) => text,
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<String> =
        (0..100).flat_map(|number| [format!("{number}a"), format!("{number}b")]).collect();
    assert_eq!(texts, expected, "a user's messages keep the order of the stream");
    drop((answers, client));
    served.end().await;
}

#[tokio::test]
async fn a_batch_that_is_none_ends_the_stream_after_the_answers_before_it() {
    let served = Served::start().await;
    for wrong in [PushBatchRequest::default(), PushBatchRequest { pushes: vec![text("ada", ""); 1_001] }] {
        let batches = tokio_stream::iter([batch(0), wrong, batch(1)]);
        let mut answers = served.client().push_batch(with_key(batches)).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().results.len(), 3);
        let error = answers.message().await.unwrap_err();
        assert_eq!(code(&error), (Code::InvalidArgument, "invalid_field"));
    }
    served.end().await;
}

#[tokio::test]
async fn a_batch_tells_what_became_of_a_message_that_no_device_took() {
    let served = Served::start().await;
    let pushes = vec![text("full", ""), text("ada", &"x".repeat(1_025))];
    let batches = tokio_stream::iter([PushBatchRequest { pushes }]);
    let mut answers = served.client().push_batch(with_key(batches)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let (full, large) = (&answer.results[0], &answer.results[1]);
    assert_eq!(full.error.as_ref().map(|error| &*error.code), Some("storage_full"));
    assert_eq!(full.answer.as_ref().map(|answer| answer.failed_devices.len()), Some(2));
    assert_eq!(large.error.as_ref().map(|error| &*error.code), Some("payload_too_large"));
    assert_eq!(large.answer, None);
    drop(answers);
    served.end().await;
}

#[tokio::test]
async fn health_follows_the_nodes_life_without_a_key() {
    let served = Served::start().await;
    let mut client = HealthClient::new(served.channel.clone());
    let mut check = async |service: &str| {
        let request = HealthCheckRequest { service: service.into() };
        client.check(request).await.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
    served.api.node.enter(Phase::Ready);
    assert_eq!(check("").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("campanile.v2.Gateway").await.unwrap(), ServingStatus::Serving);
    assert_eq!(check("other").await.unwrap_err().code(), Code::NotFound);
    served.api.node.enter(Phase::Draining);
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
    let watch = client.watch(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(watch.code(), Code::Unimplemented);
    drop(client);
    served.end().await;
}

#[tokio::test]
async fn the_schema_can_be_asked_for_in_both_versions() {
    let served = Served::start().await;
    let list = || v1::ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..v1::ServerReflectionRequest::default()
    };
    let symbol = v1::ServerReflectionRequest {
        message_request: Some(MessageRequest::FileContainingSymbol("campanile.v2.Deliver".into())),
        ..v1::ServerReflectionRequest::default()
    };
    let mut client = ServerReflectionClient::new(served.channel.clone());
    let requests = with_key(tokio_stream::iter([list(), symbol]));
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = services.service.iter().map(|service| &*service.name).collect();
    assert!(names.contains(&"campanile.v2.Gateway") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
    let refused = client.server_reflection_info(tokio_stream::iter([list()])).await.unwrap_err();
    assert_eq!(code(&refused), (Code::Unauthenticated, "key_missing"));

    let list = v1alpha::ServerReflectionRequest {
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
        ..v1alpha::ServerReflectionRequest::default()
    };
    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(served.channel.clone());
    let mut older_answers =
        older.server_reflection_info(with_key(tokio_stream::iter([list]))).await.unwrap().into_inner();
    assert!(older_answers.message().await.unwrap().unwrap().message_response.is_some());
    drop((client, older, answers, older_answers));
    served.end().await;
}

#[tokio::test]
async fn both_versions_of_http_share_the_port() {
    let served = Served::start().await;
    served.push(text("ada", "over HTTP/2")).await.unwrap();
    let older = campanile_harness::http::Client::new(served.address).with_bearer(KEY);
    let push = r#"{"user":"ada","payload":{"text":"over HTTP/1.1"}}"#;
    let answered = tokio::task::spawn_blocking(move || older.post("/v2/push", push));
    assert_eq!(answered.await.unwrap().unwrap().status, 200);
    let texts = served.api.all_pushed();
    assert_eq!(texts.len(), 2);
    // JSON over HTTP/2, and a gRPC path that does not exist.
    let mut raw = tonic::client::Grpc::new(served.channel.clone());
    raw.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<ListDevicesRequest, PushMessageResponse>::default();
    let path = axum::http::uri::PathAndQuery::from_static("/campanile.v2.Other/Method");
    let error = raw.unary(with_key(ListDevicesRequest::default()), path, codec).await.unwrap_err();
    assert_eq!(code(&error), (Code::Unimplemented, "not_found"));
    drop(raw);
    served.end().await;
}
