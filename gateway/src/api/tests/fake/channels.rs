//! The channels of the played shards.

use std::collections::HashMap;
use std::sync::Mutex;

use campanile_core::namespaces::PRESENCE_NAMESPACE;
use campanile_core::requests::{ChannelHistory, ChannelPart, Publish, PublishError, Unavailable};
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{ChannelMessage, Device, Position};

use super::EPOCH;

/// Messages that each channel keeps.
const HISTORY_MESSAGES: usize = 3;

/// Every channel keeps its newest [`HISTORY_MESSAGES`]. `full` is one channel too many; `busy` is on a shard that takes
/// no more work. Each channel that was published to has subscribers: `ada`'s first device on the first shard, `eve`'s
/// second on the other.
#[derive(Default)]
pub(super) struct Channels(Mutex<HashMap<ChannelName, Vec<ChannelMessage>>>);

impl Channels {
    pub(super) fn publish(&self, publish: Publish) -> Result<Position, PublishError> {
        if publish.channel.namespace() == Some(PRESENCE_NAMESPACE) {
            return Err(PublishError::Reserved);
        }
        match publish.channel.as_str() {
            "full" => return Err(PublishError::TooManyChannels),
            "busy" => return Err(Unavailable::Overloaded.into()),
            _ => {}
        }
        let mut channels = self.0.lock().unwrap();
        let messages = channels.entry(publish.channel.clone()).or_default();
        let offset = messages.len() as u64 + 1;
        let channel = publish.channel.as_str().into();
        messages.push(ChannelMessage { channel, offset, sent_at_ms: 1_000, ..publish.message });
        Ok(Position { epoch: EPOCH, offset })
    }

    /// What a shard knows of a channel.
    pub(super) fn part(&self, channel: &ChannelName, shard: usize) -> ChannelPart {
        let channels = self.0.lock().unwrap();
        let Some(messages) = channels.get(channel) else { return ChannelPart::default() };
        let (user, device) = [("ada", 1), ("eve", 2)][shard];
        let members = vec![Device { user: user.into(), device }];
        let part = ChannelPart { subscribers: 1, members, ..ChannelPart::default() };
        match shard {
            0 => ChannelPart {
                position: Some(Position { epoch: EPOCH, offset: messages.len() as u64 }),
                history_messages: messages.len().min(HISTORY_MESSAGES) as u32,
                ..part
            },
            _ => part,
        }
    }

    pub(super) fn history(
        &self,
        channel: &ChannelName,
        since: Option<Position>,
        messages_max: usize,
    ) -> ChannelHistory {
        let channels = self.0.lock().unwrap();
        let Some(messages) = channels.get(channel) else { return ChannelHistory::default() };
        let newest = messages.len();
        let kept = &messages[newest.saturating_sub(HISTORY_MESSAGES)..];
        let position = Some(Position { epoch: EPOCH, offset: newest as u64 });
        match since {
            None => {
                let messages = kept[kept.len().saturating_sub(messages_max)..].to_vec();
                ChannelHistory { position, complete: true, messages }
            }
            Some(since) => {
                let has = since.epoch == EPOCH && since.offset <= newest as u64;
                let after: Vec<_> =
                    kept.iter().filter(|message| !has || message.offset > since.offset).cloned().collect();
                let complete = has && since.offset + 1 >= kept.first().map_or(1, |first| first.offset);
                ChannelHistory {
                    position,
                    complete,
                    messages: after.into_iter().take(messages_max).collect(),
                }
            }
        }
    }

    /// The messages of a channel.
    pub(super) fn messages(&self, channel: &str) -> Vec<ChannelMessage> {
        self.0.lock().unwrap().get(channel).cloned().unwrap_or_default()
    }
}
