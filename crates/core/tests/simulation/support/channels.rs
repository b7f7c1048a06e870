//! Channels: what devices say and hear about them, and what the control plane asks.

use std::time::Duration;

use bytes::Bytes;
use campanile_core::namespaces::Namespace;
use campanile_core::publish::PublishDraft;
use campanile_core::requests::{
    Answer, ChannelHistory, ChannelPart, Publish, PublishError, RequestBody, Ticket,
};
use campanile_core::tokens::{Grants, Pattern};
use campanile_engine::sim::Ending;
use campanile_protocol::ids::{ChannelName, DeviceId};
use campanile_protocol::messages::{
    self as frames, ChannelMessage, ClientFrame, Content, Encoding, Error, Gap, ListMembers, Payload,
    Position, ServerFrame, SetState, Subscribe, Subscribed, Unsubscribe, Unsubscribed,
};

use super::gateway::{RULES, signer};
use super::{Device, Entry, Gateway, Setup, user};

/// Longer than any namespace of a test keeps its messages, and than channels are kept for those who may come back.
const LONGEST_HISTORY: Duration = Duration::from_secs(600);

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::try_from(name).unwrap()
}

pub(crate) fn position(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

/// What a token allows: where to subscribe, where to publish, and what it subscribes to.
pub(crate) fn grants(channels: &[&str], publish: &[&str], subscribe: &[&str]) -> Grants {
    let patterns = |list: &[&str]| list.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Grants {
        channels: patterns(channels),
        publish: patterns(publish),
        subscribe: subscribe.iter().map(|name| channel(name)).collect(),
    }
}

/// Everything may be subscribed to, and published to.
pub(crate) fn everything() -> Grants {
    grants(&["*"], &["*"], &[])
}

/// A message of a channel: its kind, which is its payload, too.
pub(crate) fn a_publish(name: &str, kind: &str) -> Publish {
    let payload = Some(Payload::data(Bytes::copy_from_slice(kind.as_bytes())));
    let message = ChannelMessage { kind: kind.to_owned(), payload, ..ChannelMessage::default() };
    publish_as_it_is(name, message)
}

/// What a constructor makes, with this message instead, to any channel: shards are also tested with what no constructor
/// would let through.
pub(crate) fn publish_as_it_is(name: &str, message: ChannelMessage) -> Publish {
    let payload = Payload::data(Bytes::new());
    let draft = PublishDraft { channel: channel("any"), kind: None, from: None, payload };
    let mut publish = Publish::new(draft, &RULES).unwrap();
    (publish.channel, publish.message) = (channel(name), message);
    publish
}

/// The same with a payload of so many bytes.
pub(crate) fn a_large_publish(name: &str, kind: &str, bytes: usize) -> Publish {
    let mut publish = a_publish(name, kind);
    publish.message.payload = Some(Content::Data(vec![b'x'; bytes].into()).into());
    publish
}

impl Setup {
    /// Changes what holds for a namespace; for channels of no namespace if `name` is empty.
    pub(crate) fn namespace(mut self, name: &str, change: impl FnOnce(&mut Namespace)) -> Setup {
        let namespaces = &mut self.namespaces;
        change(match name {
            "" => &mut namespaces.default,
            _ => namespaces.named.entry(name.to_owned()).or_default(),
        });
        self
    }
}

impl Device {
    /// Asks for a channel; the name of the frame is the channel's.
    pub(crate) fn subscribe(&mut self, channel: &str) {
        self.say_subscribe(Subscribe::default(), channel);
    }

    pub(crate) fn subscribe_since(&mut self, channel: &str, since: Position) {
        self.say_subscribe(Subscribe { since: Some(since), ..Subscribe::default() }, channel);
    }

    pub(crate) fn subscribe_newest(&mut self, channel: &str, newest: u32) {
        self.say_subscribe(Subscribe { newest, ..Subscribe::default() }, channel);
    }

    pub(crate) fn subscribe_with(&mut self, channel: &str, token: String) {
        self.say_subscribe(Subscribe { token, ..Subscribe::default() }, channel);
    }

    fn say_subscribe(&mut self, subscribe: Subscribe, channel: &str) {
        let (r#ref, channel) = (channel.to_owned(), channel.to_owned());
        self.say(&ClientFrame::Subscribe(Subscribe { r#ref, channel, ..subscribe }));
    }

    pub(crate) fn unsubscribe(&mut self, channel: &str) {
        let (r#ref, channel) = (channel.to_owned(), channel.to_owned());
        self.say(&ClientFrame::Unsubscribe(Unsubscribe { r#ref, channel }));
    }

    /// Publishes; the name of the frame is the message's kind, which is its payload, too.
    pub(crate) fn publish(&mut self, channel: &str, kind: &str) {
        let Publish { message, .. } = a_publish(channel, kind);
        let (r#ref, channel) = (kind.to_owned(), channel.to_owned());
        let (kind, payload) = (message.kind, message.payload);
        self.say(&ClientFrame::Publish(frames::Publish { r#ref, channel, kind, payload }));
    }

    /// Says what its user is doing: on a channel, or in general if `channel` is empty.
    pub(crate) fn set_state(&mut self, channel: &str, state: &str) {
        let (r#ref, channel, state) = (state.to_owned(), channel.to_owned(), state.to_owned());
        self.say(&ClientFrame::SetState(SetState { r#ref, channel, state }));
    }

    pub(crate) fn list_members(&mut self, channel: &str) {
        let (r#ref, channel) = (channel.to_owned(), channel.to_owned());
        self.say(&ClientFrame::ListMembers(ListMembers { r#ref, channel }));
    }

    /// The messages of a channel that it got.
    pub(crate) fn heard(&self, channel: &str) -> Vec<&ChannelMessage> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::ChannelMessage(message) if message.channel == channel => Some(message),
                _ => None,
            })
            .collect()
    }

    /// Their kinds.
    pub(crate) fn heard_kinds(&self, channel: &str) -> Vec<&str> {
        self.heard(channel).into_iter().map(|message| message.kind.as_str()).collect()
    }

    /// Their offsets.
    pub(crate) fn heard_offsets(&self, channel: &str) -> Vec<u64> {
        self.heard(channel).into_iter().map(|message| message.offset).collect()
    }

    /// The newest answer to a subscribe of a channel.
    pub(crate) fn subscribed(&self, channel: &str) -> Option<&Subscribed> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::Subscribed(subscribed) if subscribed.channel == channel => Some(subscribed),
                _ => None,
            })
            .last()
    }

    /// Where the newest subscription of a channel began: epoch and offset.
    pub(crate) fn began(&self, channel: &str) -> Position {
        let subscribed = self.subscribed(channel).expect("not subscribed");
        subscribed.position.expect("a subscription without a position")
    }

    pub(crate) fn unsubscribed(&self, channel: &str) -> Vec<&Unsubscribed> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::Unsubscribed(unsubscribed) if unsubscribed.channel == channel => {
                    Some(unsubscribed)
                }
                _ => None,
            })
            .collect()
    }

    pub(crate) fn gaps(&self, channel: &str) -> Vec<&Gap> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::Gap(gap) if gap.channel == channel => Some(gap),
                _ => None,
            })
            .collect()
    }

    /// Answers to publishes: the name of the frame, and where the message is.
    pub(crate) fn published(&self) -> Vec<(&str, Position)> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::Published(published) => {
                    Some((published.r#ref.as_str(), published.position.expect("published nowhere")))
                }
                _ => None,
            })
            .collect()
    }

    /// Who it was told is in a channel, most recently: how many sessions, and which, in order.
    pub(crate) fn members(&self, channel: &str) -> Option<(u32, Vec<(&str, u32)>)> {
        let frame = self.frames().filter_map(|frame| match frame {
            ServerFrame::Members(members) if members.channel == channel => Some(members),
            _ => None,
        });
        frame.last().map(|told| {
            let name = |device: &'_ frames::Device| device.device;
            let mut members: Vec<_> =
                told.members.iter().map(|device| (device.user.as_str(), name(device))).collect();
            members.sort_unstable();
            (told.count, members)
        })
    }

    pub(crate) fn errors(&self) -> Vec<&Error> {
        self.frames()
            .filter_map(|frame| match frame {
                ServerFrame::Error(error) => Some(error),
                _ => None,
            })
            .collect()
    }

    /// What was refused and why: the name of each frame, and the reason.
    pub(crate) fn refused(&self) -> Vec<(&str, &str)> {
        self.errors().into_iter().map(|error| (error.r#ref.as_str(), error.reason.as_str())).collect()
    }

    /// What users were said to do on a channel: who and what.
    pub(crate) fn states(&self, channel: &str) -> Vec<(&str, &str)> {
        let of = |event: &&frames::Event| event.channel == channel;
        let told = self.events().into_iter().filter(of).map(|event| {
            assert_eq!(event.name, "presence:update");
            assert!(event.at_ms > 0, "a state of no time");
            let from = event.from.as_ref().expect("nobody's state");
            (from.user.as_str(), event.state.as_str())
        });
        told.collect()
    }
}

impl Gateway {
    /// A token that allows something with channels.
    pub(crate) fn token_with(&self, name: &str, device: u32, seconds: u64, grants: &Grants) -> String {
        let now = self.world.now().unix_ms / 1_000;
        let device = DeviceId::try_from(device).unwrap();
        signer().sign_with(&user(name), device, now, now + seconds, grants)
    }

    /// A token for one subscription, which ends so many seconds from now.
    pub(crate) fn subscription_token(&self, name: &str, to: &str, seconds: i64) -> String {
        let now = self.world.now().unix_ms / 1_000;
        signer().sign_subscription(&user(name), &channel(to), now.saturating_add_signed(seconds))
    }

    /// A device with a session that may do this with channels.
    pub(crate) fn device_with(
        &mut self,
        name: &str,
        number: u32,
        encoding: Encoding,
        grants: &Grants,
    ) -> usize {
        let token = self.token_with(name, number, 3_600, grants);
        let device = self.enter(0, encoding, Entry::Header(token));
        self.settle();
        assert!(self[device].is_connected(), "{name}/{number}: {:?}", self[device].status);
        device
    }

    /// A device with a session that may do everything with channels.
    pub(crate) fn member(&mut self, name: &str, number: u32) -> usize {
        self.device_with(name, number, Encoding::Protobuf, &everything())
    }

    /// The same, subscribed to a channel.
    pub(crate) fn subscriber(&mut self, name: &str, number: u32, channel: &str) -> usize {
        let device = self.member(name, number);
        self.subscribes(device, channel);
        device
    }

    /// A device subscribes.
    pub(crate) fn subscribes(&mut self, device: usize, channel: &str) {
        self[device].subscribe(channel);
        self.settle();
        assert!(self[device].subscribed(channel).is_some(), "{:?}", self[device].errors());
    }

    /// A user who lives on this shard; another one for each `number`.
    pub(crate) fn user_of(&self, shard: usize, number: usize) -> String {
        let names = (0..).map(|name| format!("user {name}"));
        names.filter(|name| self.home.of(&user(name)) == shard).nth(number).unwrap()
    }

    /// A channel `NAMESPACE:…` that this shard owns.
    pub(crate) fn channel_of(&self, namespace: &str, shard: usize) -> String {
        let mut names = (0..).map(|name| format!("{namespace}:{name}"));
        names.find(|name| self.home.of_channel(&channel(name)) == shard).unwrap()
    }

    /// Asks the owner of a channel to publish: all messages are for channels of one owner.
    pub(crate) fn ask_publish(&mut self, messages: Vec<Publish>) -> Ticket {
        let mut owners: Vec<usize> =
            messages.iter().map(|publish| self.home.of_channel(&publish.channel)).collect();
        owners.dedup();
        assert_eq!(owners.len(), 1, "channels of several owners");
        self.ask(owners[0], RequestBody::Publish(messages))
    }

    /// Publishes, and what became of each message.
    pub(crate) fn publish_all(&mut self, messages: Vec<Publish>) -> Vec<Result<Position, PublishError>> {
        let ticket = self.ask_publish(messages);
        match self.settled_answer(ticket) {
            Answer::Published(published) => published,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes a message; where it is.
    pub(crate) fn publish(&mut self, name: &str, kind: &str) -> Position {
        self.publish_all(vec![a_publish(name, kind)]).remove(0).expect("refused")
    }

    /// What all shards together know of a channel. Members are in order.
    pub(crate) fn channel(&mut self, name: &str) -> ChannelPart {
        self.channel_with_history(name).0
    }

    /// The same, and its whole history, at the same time.
    pub(crate) fn channel_with_history(&mut self, name: &str) -> (ChannelPart, ChannelHistory) {
        let parts: Vec<Ticket> = (0..self.counters.len())
            .map(|shard| self.ask(shard, RequestBody::Channel(channel(name))))
            .collect();
        let history = self.ask_history(name, None, usize::MAX);
        self.settle();
        let mut whole = ChannelPart::default();
        for ticket in parts {
            let Some(Answer::Channel(part)) = self.answer(ticket) else { panic!("another answer") };
            assert!(part.position.is_none() || whole.position.is_none(), "two owners");
            whole.subscribers += part.subscribers;
            whole.members.extend(part.members);
            whole.position = whole.position.or(part.position);
            whole.history_messages += part.history_messages;
        }
        whole.members.sort_by(|one, other| (&one.user, one.device).cmp(&(&other.user, other.device)));
        let Some(Answer::History(history)) = self.answer(history) else { panic!("another answer") };
        (whole, history)
    }

    fn ask_history(&mut self, name: &str, since: Option<Position>, messages_max: usize) -> Ticket {
        let owner = self.home.of_channel(&channel(name));
        self.ask(owner, RequestBody::History { channel: channel(name), since, messages_max })
    }

    /// The history of a channel.
    pub(crate) fn history(
        &mut self,
        name: &str,
        since: Option<Position>,
        messages_max: usize,
    ) -> ChannelHistory {
        let ticket = self.ask_history(name, since, messages_max);
        match self.settled_answer(ticket) {
            Answer::History(history) => history,
            other => panic!("{other:?}"),
        }
    }

    /// Everybody leaves. When all histories are over nothing may be left of them.
    pub(crate) fn ends_forgotten(mut self) {
        for device in 0..self.devices.len() {
            if self[device].ending == Ending::Open {
                self.hang_up(device, false);
            }
        }
        self.wait(Duration::from_secs(3));
        // A replica goes before its owner may.
        for _ in 0..3 {
            self.world.advance(LONGEST_HISTORY);
            self.settle();
        }
        self.assert_empty();
    }
}
