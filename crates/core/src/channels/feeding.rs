//! Other shards' replicas of the logs that this shard owns: who has one, and what each lacks.

use campanile_protocol::ids::ChannelName;

use super::channel::{Reader, Role};
use super::lane_message::{Feed, LaneMessage, ReplicaRef};
use super::logs::ChannelLogs;
use super::registry::Channels;
use crate::turn::Turn;

/// Channels that replicas are fed in one turn.
const FEEDS_PER_TURN_MAX: usize = 1_024;

/// Another shard has subscribers now.
pub(super) fn attach(
    logs: &mut ChannelLogs<'_>,
    turn: &Turn<'_>,
    name: &ChannelName,
    from: usize,
    replica: ReplicaRef,
) {
    let number = match logs.channel_for(turn, name) {
        Ok(number) => number,
        Err(error) => return logs.channels.lanes.send(from, LaneMessage::Refused { replica, error }),
    };
    if let Some(channel) = logs.channels.get_mut(number)
        && let Role::Owner { readers } = &mut channel.role
    {
        readers.push(Reader { shard: from, replica, fed: None });
        logs.channels.set_feeding(number);
    }
}

/// Another shard has no subscribers any more.
pub(super) fn detach(
    logs: &mut ChannelLogs<'_>,
    turn: &Turn<'_>,
    name: &ChannelName,
    from: usize,
    replica: ReplicaRef,
) {
    let Some(number) = logs.channels.find(name) else { return };
    if let Some(channel) = logs.channels.get_mut(number)
        && let Role::Owner { readers } = &mut channel.role
    {
        readers.retain(|reader| reader.shard != from || reader.replica != replica);
        channel.used = turn.now.time;
    }
    logs.forget_if_unheard(turn, number);
}

impl Channels {
    /// Feeds replicas what they lack, as far as the queues of their shards have room.
    pub(crate) fn feed_replicas(&mut self, turn: &Turn<'_>) {
        let Channels { slab, feeding, lanes, .. } = self;
        for _ in 0..feeding.len().min(FEEDS_PER_TURN_MAX) {
            let Some(number) = feeding.pop_front() else { break };
            let Some(channel) = slab.get_mut(number as usize) else { continue };
            let Role::Owner { readers } = &mut channel.role else { continue };
            channel.feeding = false;
            let head = channel.log.head();
            for reader in readers {
                if reader.fed == Some(head) {
                    continue;
                }
                if !lanes.has_room(reader.shard) {
                    channel.feeding = true;
                    continue;
                }
                let start = reader.fed.unwrap_or(0).max(channel.log.first());
                let feed = Feed {
                    replica: reader.replica,
                    epoch: channel.log.epoch(),
                    start,
                    entries: channel.log.since(start),
                    offset: channel.log.offset(),
                };
                match lanes.try_send(reader.shard, LaneMessage::Feed(Box::new(feed))) {
                    Ok(()) => reader.fed = Some(head),
                    Err(_) => channel.feeding = true,
                }
            }
            if channel.feeding {
                turn.counters.channel_feeds_delayed.add(1);
                feeding.push_back(number);
            }
        }
    }
}
