//! Channels over gRPC.

use campanile_protocol::messages::{ChannelMessage, Position};

use super::*;
use crate::api::grpc::wire::{
    GetChannelRequest, GetChannelResponse, GetHistoryRequest, GetHistoryResponse, ListMembersRequest,
    PublishBatchRequest, PublishRequest, PublishResponse,
};

impl Served {
    async fn publish(&self, publish: PublishRequest) -> Result<PublishResponse, Status> {
        Ok(self.client().publish(with_key(publish)).await?.into_inner())
    }

    async fn channel(&self, channel: &str) -> Result<GetChannelResponse, Status> {
        let request = GetChannelRequest { channel: channel.into() };
        Ok(self.client().get_channel(with_key(request)).await?.into_inner())
    }

    async fn history(
        &self,
        channel: &str,
        since: Option<Position>,
        limit: u32,
    ) -> Result<GetHistoryResponse, Status> {
        let request = GetHistoryRequest { channel: channel.into(), since, limit };
        Ok(self.client().get_history(with_key(request)).await?.into_inner())
    }
}

fn message(channel: &str, text: &str) -> PublishRequest {
    let payload = Some(Payload::text(text));
    PublishRequest { channel: channel.into(), payload, ..PublishRequest::default() }
}

fn offsets(messages: &[ChannelMessage]) -> Vec<u64> {
    messages.iter().map(|message| message.offset).collect()
}

#[tokio::test]
async fn a_message_is_published_as_over_http() {
    let served = Served::start().await;
    let from = Some(Device { user: "eve".into(), device: 9 });
    let first = PublishRequest { kind: "score".into(), from: from.clone(), ..message("a/b", "1") };
    let answer = served.publish(first).await.unwrap();
    assert_eq!((&*answer.channel, answer.epoch, answer.offset), ("a/b", 7, 1));
    assert_eq!(served.publish(message("a/b", "2")).await.unwrap().offset, 2);
    let published = served.api.published("a/b");
    assert_eq!((&*published[0].kind, &published[0].from), ("score", &from));
    assert_eq!(published[0].payload, Some(Payload::text("1")));
    assert_eq!((&*published[1].kind, &published[1].from), ("message", &None));
    let text = served.api.metrics().await;
    let line = "campanile_api_requests_total{method=\"POST\",route=\"Publish\",status=\"200\"} 2";
    assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    served.end().await;
}

#[tokio::test]
async fn what_is_known_of_a_channel_is_that_of_http() {
    let served = Served::start().await;
    assert_eq!(served.channel("room:7").await.unwrap(), GetChannelResponse::default());
    assert_eq!(served.history("room:7", None, 0).await.unwrap(), GetHistoryResponse::default());
    for number in 1..=5 {
        served.publish(message("room:7", &number.to_string())).await.unwrap();
    }
    let position = Some(Position { epoch: 7, offset: 5 });
    let known = GetChannelResponse { position, subscribers: 2, history_messages: 3 };
    assert_eq!(served.channel("room:7").await.unwrap(), known);

    let newest = served.history("room:7", None, 1).await.unwrap();
    assert_eq!((newest.position, newest.complete), (position, true));
    let expected = ChannelMessage {
        channel: "room:7".into(),
        offset: 5,
        kind: "message".into(),
        sent_at_ms: 1_000,
        payload: Some(Payload::text("5")),
        from: None,
    };
    assert_eq!(newest.messages, [expected]);
    for (epoch, offset, limit, complete, expected) in [
        (7, 3, 0, true, &[4, 5][..]),
        (7, 3, 1, true, &[4]),
        (7, 1, 500, false, &[3, 4, 5]),
        (8, 3, 0, false, &[3, 4, 5]),
    ] {
        let history = served.history("room:7", Some(Position { epoch, offset }), limit).await.unwrap();
        assert_eq!((history.complete, &*offsets(&history.messages)), (complete, expected));
    }

    let list = ListMembersRequest { channel: "room:7".into() };
    let members = served.client().list_members(with_key(list)).await.unwrap().into_inner();
    let named: Vec<_> = members.members.iter().map(|member| (&*member.user, member.device)).collect();
    assert_eq!((members.count, named), (2, vec![("ada", 1), ("eve", 2)]));
    served.end().await;
}

#[tokio::test]
async fn refusals_have_the_codes_of_http() {
    let served = Served::start().await;
    let invalid = (Code::InvalidArgument, "invalid_field");
    let from = |user: &str, device| Some(Device { user: user.into(), device });
    for (publish, expected) in [
        (message("presence:ada", ""), (Code::InvalidArgument, "channel_reserved")),
        (message("full", ""), (Code::ResourceExhausted, "too_many_channels")),
        (message("busy", ""), (Code::Unavailable, "overloaded")),
        (message("", ""), invalid),
        (message("a*", ""), invalid),
        (message(&"x".repeat(256), ""), invalid),
        (PublishRequest { payload: None, ..message("a", "") }, invalid),
        (PublishRequest { payload: Some(Payload::default()), ..message("a", "") }, invalid),
        (PublishRequest { payload: Some(Content::Json("{".into()).into()), ..message("a", "") }, invalid),
        (PublishRequest { kind: "x".repeat(65), ..message("a", "") }, invalid),
        (PublishRequest { from: from("", 1), ..message("a", "") }, invalid),
        (PublishRequest { from: from("eve", u32::MAX), ..message("a", "") }, invalid),
        (message("a", &"x".repeat(1_025)), (Code::InvalidArgument, "payload_too_large")),
    ] {
        let error = served.publish(publish.clone()).await.unwrap_err();
        assert_eq!(code(&error), expected, "{publish:?}: {error:?}");
    }
    let asked = served.api.requests();
    for channel in ["", "a*", "a\nb"] {
        assert_eq!(code(&served.channel(channel).await.unwrap_err()), invalid);
        assert_eq!(code(&served.history(channel, None, 0).await.unwrap_err()), invalid);
    }
    assert_eq!(code(&served.history("a", None, 501).await.unwrap_err()), invalid);
    for (channel, expected) in [("a*", invalid), ("rooms", (Code::PermissionDenied, "members_disabled"))] {
        let list = ListMembersRequest { channel: channel.into() };
        let error = served.client().list_members(with_key(list)).await.unwrap_err();
        assert_eq!(code(&error), expected);
    }
    assert_eq!(served.api.requests(), asked, "no shard was bothered");
    let error = served.client().publish(message("a", "")).await.unwrap_err();
    assert_eq!(code(&error), (Code::Unauthenticated, "key_missing"));
    let batches = tokio_stream::iter([PublishBatchRequest::default()]);
    let error = served.client().publish_batch(batches).await.unwrap_err();
    assert_eq!(code(&error), (Code::Unauthenticated, "key_missing"));
    served.end().await;
}

fn batch(number: usize) -> PublishBatchRequest {
    let message = |channel: &str, text: &str| message(channel, &format!("{number}{text}"));
    PublishBatchRequest { messages: vec![message("news", "a"), message("full", ""), message("news", "b")] }
}

#[tokio::test]
async fn requests_of_a_stream_are_published_and_answered_in_order() {
    let served = Served::start().await;
    served.api.hold_answers();
    let (sender, receiver) = mpsc::channel(128);
    let mut client = served.client();
    let mut answers = client.publish_batch(with_key(Sent(receiver))).await.unwrap().into_inner();
    for number in 0..100 {
        sender.send(batch(number)).await.unwrap();
    }
    let home = HomeShard::new(served.api.shards.count(), PlacementKey::new([0; 16]));
    let [news, full] = ["news", "full"].map(|channel| home.of_channel(&channel.parse().unwrap()));
    served.have_been_asked(REQUESTS_IN_FLIGHT_MAX * if news == full { 1 } else { 2 }).await;
    served.api.release_answers();
    drop(sender);
    let mut offset = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        let [first, second, third] = &answer.results[..] else { panic!("three results") };
        for result in [first, third] {
            offset += 1;
            let answer = result.answer.as_ref().unwrap();
            assert_eq!((&*answer.channel, answer.epoch, answer.offset), ("news", 7, offset));
            assert_eq!(result.error, None);
        }
        let error = second.error.as_ref().unwrap();
        assert_eq!((&*error.code, error.status), ("too_many_channels", Code::ResourceExhausted as u32));
        assert_eq!(second.answer, None);
    }
    assert_eq!(offset, 200);
    let published = served.api.published("news");
    let texts = published.into_iter().map(|message| message.payload.unwrap());
    let expected =
        (0..100).flat_map(|number| ["a", "b"].map(|text| Payload::text(format!("{number}{text}"))));
    assert!(texts.eq(expected), "a channel's messages keep the order of the stream");
    drop((answers, client));
    served.end().await;
}

#[tokio::test]
async fn a_batch_of_no_messages_or_too_many_ends_the_stream() {
    let served = Served::start().await;
    let many = PublishBatchRequest { messages: vec![message("news", ""); 1_001] };
    for wrong in [PublishBatchRequest::default(), many] {
        let batches = tokio_stream::iter([batch(0), wrong, batch(1)]);
        let mut answers = served.client().publish_batch(with_key(batches)).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().results.len(), 3);
        let error = answers.message().await.unwrap_err();
        assert_eq!(code(&error), (Code::InvalidArgument, "invalid_field"));
        assert!(error.message().starts_with("messages: "), "{error:?}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_batch_that_finds_every_queue_full_is_answered_for_each_message() {
    let served = Served::start().await;
    served.api.fill_queues();
    let batches = tokio_stream::iter([batch(0)]);
    let mut answers = served.client().publish_batch(with_key(batches)).await.unwrap().into_inner();
    let results = answers.message().await.unwrap().unwrap().results;
    let codes: Vec<_> = results.iter().map(|result| &*result.error.as_ref().unwrap().code).collect();
    assert_eq!(codes, ["overloaded"; 3]);
    drop(answers);
    served.end().await;
}
