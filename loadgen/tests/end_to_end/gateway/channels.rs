//! The channels of the small gateway.

use std::collections::HashMap;
use std::sync::mpsc::Sender;

use campanile_protocol::messages::{
    ChannelMessage, ClientFrame, Error, Gap, Payload, Position, Published, ServerFrame, Subscribed,
};

use super::{Faults, encoded};

const EPOCH: u64 = u64::MAX;

#[derive(Default)]
struct Channel {
    newest: u64,
    subscribers: Vec<Sender<Vec<u8>>>,
}

#[derive(Default)]
pub(super) struct Channels(HashMap<String, Channel>);

impl Channels {
    /// What a device asks for, and the answer.
    pub(super) fn serve(&mut self, faults: &Faults, frame: ClientFrame, to: &Sender<Vec<u8>>) -> ServerFrame {
        match frame {
            ClientFrame::Subscribe(frame) if faults.forbidden_channel == Some(frame.channel.as_str()) => {
                let (reason, message) = ("channel_forbidden".into(), "not for you".into());
                ServerFrame::Error(Error { code: 4403, reason, message, r#ref: frame.r#ref })
            }
            ClientFrame::Subscribe(frame) => {
                let channel = self.0.entry(frame.channel.clone()).or_default();
                channel.subscribers.push(to.clone());
                ServerFrame::Subscribed(Subscribed {
                    r#ref: frame.r#ref,
                    channel: frame.channel,
                    position: Some(Position { epoch: EPOCH, offset: channel.newest }),
                    recovered: false,
                })
            }
            ClientFrame::Publish(frame) => {
                let position = self.publish(faults, &frame.channel, frame.payload.unwrap());
                let (r#ref, channel) = (frame.r#ref, frame.channel);
                ServerFrame::Published(Published { r#ref, channel, position: Some(position) })
            }
            other => panic!("a device sent {other:?}"),
        }
    }

    pub(super) fn publish(&mut self, faults: &Faults, name: &str, payload: Payload) -> Position {
        let channel = self.0.entry(name.to_owned()).or_default();
        channel.newest += 1;
        let offset = channel.newest;
        let is_nth = |every: Option<u64>| every.is_some_and(|every| offset.is_multiple_of(every));
        let message = ServerFrame::ChannelMessage(ChannelMessage {
            channel: name.to_owned(),
            offset,
            payload: Some(payload),
            ..ChannelMessage::default()
        });
        let gap =
            ServerFrame::Gap(Gap { channel: name.to_owned(), until: offset, reason: "too_slow".into() });
        let frames =
            match (is_nth(faults.lose_every), is_nth(faults.skip_every), is_nth(faults.duplicate_every)) {
                (true, _, _) => vec![],
                (_, true, _) => vec![gap],
                (_, _, true) => vec![message.clone(), message],
                _ => vec![message],
            };
        for frame in &frames {
            // Whoever has left hears nothing.
            channel.subscribers.retain(|subscriber| subscriber.send(encoded(frame)).is_ok());
        }
        Position { epoch: EPOCH, offset }
    }
}
