//! This shard's replicas of logs that other shards own: what the owner feeds them, and what subscribers wait for.

use super::channel::{Channel, Role};
use super::lane_message::{Feed, ReplicaRef};
use super::log::Log;
use super::registry::Channels;
use super::subscribers::Subscribers;
use crate::refused::FrameRefused;
use crate::requests::PublishError;
use crate::turn::Turn;

/// The channel that is meant, if its number still has this tenant.
fn replica(channels: &mut Channels, replica: ReplicaRef) -> Option<&mut Channel> {
    channels.get_mut(replica.number).filter(|channel| channel.serial == replica.serial)
}

/// The owner has sent what this shard lacks.
pub(super) fn take_feed(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, feed: Feed) {
    let Feed { replica: fed, epoch, start, entries, offset } = feed;
    // A replica that was given up is fed until the owner hears of it.
    let Some(channel) = replica(at.channels, fed) else { return };
    let before = channel.log.bytes();
    if let Role::Replica { attached: attached @ false } = &mut channel.role {
        *attached = true;
        channel.log = Log::replica(epoch, start, offset, entries);
        at.logs().appended_to(turn, fed.number, before);
        return begin_waiting(at, turn, fed.number);
    }
    channel.log.feed(start, entries, offset);
    if channel.is_status {
        channel.log.keep_newest();
    } else {
        channel.log.trim(turn.settings.namespaces.of(&channel.name), turn.now.unix_ms);
    }
    at.logs().appended_to(turn, fed.number, before);
}

/// The owner's log is there: whoever waits for it is subscribed.
fn begin_waiting(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, number: u32) {
    let Some(channel) = at.channels.get_mut(number) else { return };
    for joining in std::mem::take(&mut channel.joining) {
        at.join(turn, number, joining);
    }
}

/// The owner cannot have the channel: nobody is subscribed to it.
pub(super) fn take_refusal(
    at: &mut Subscribers<'_>,
    turn: &mut Turn<'_>,
    refused: ReplicaRef,
    error: PublishError,
) {
    let Some(channel) = replica(at.channels, refused) else { return };
    for joining in std::mem::take(&mut channel.joining) {
        let slot = at.channels.subscriptions.get(joining.subscription).map(|joining| joining.slot);
        at.end(turn, joining.subscription);
        turn.counters.subscriptions_refused.add(1);
        if let Some(slot) = slot {
            at.net.refuse_frame(turn, slot, &FrameRefused::Publish(error), &joining.reference);
        }
    }
    at.channels.remove(turn, refused.number);
}
