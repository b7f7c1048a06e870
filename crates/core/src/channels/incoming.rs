//! What other shards tell this one, and who it is for.

use super::lane_message::LaneMessage;
use super::subscribers::Subscribers;
use super::{feeding, members, publishing, replicas};
use crate::turn::Turn;

/// A question for members costs as much as so many other things.
const COST_OF_QUERY: usize = 128;

/// Takes the oldest message that another shard has for this one. What it cost: 1 for most.
pub(super) fn take_lane_message(at: &mut Subscribers<'_>, turn: &mut Turn<'_>) -> Option<usize> {
    let message = at.channels.lanes.take(turn.shard)?;
    let cost = if matches!(message, LaneMessage::AskMembers { .. }) { COST_OF_QUERY } else { 1 };
    match message {
        LaneMessage::Attach { channel, from, replica } => {
            feeding::attach(&mut at.logs(), turn, &channel, from, replica);
        }
        LaneMessage::Detach { channel, from, replica } => {
            feeding::detach(&mut at.logs(), turn, &channel, from, replica);
        }
        LaneMessage::Feed(feed) => replicas::take_feed(at, turn, *feed),
        LaneMessage::Refused { replica, error } => replicas::take_refusal(at, turn, replica, error),
        LaneMessage::Publish(publish) => publishing::publish_for_client(at, turn, *publish),
        LaneMessage::Published(published) => publishing::answer_publish(at, turn, *published),
        LaneMessage::State(state) => at.logs().announce(turn, *state),
        LaneMessage::AskMembers { channel, from, query } => {
            members::answer_members(at, turn, &channel, from, query);
        }
        LaneMessage::Members { query, count, members } => {
            members::take_members(at, turn, query, count, members);
        }
    }
    Some(cost)
}
