//! Who is subscribed to a channel: every shard is asked for its own subscribers.

use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{Device, ListMembers, ServerFrame};

use super::channel::Channel;
use super::lane_message::LaneMessage;
use super::query::Query;
use super::subscribers::{Subscribers, channel_name};
use crate::refused::FrameRefused;
use crate::requests::{ChannelPart, MEMBERS_MAX};
use crate::turn::Turn;

/// Questions of clients that may be under way on one shard.
const QUERIES_MAX: usize = 256;

/// A client asks who is subscribed to a channel.
pub(super) fn take_list_members(
    at: &mut Subscribers<'_>,
    turn: &mut Turn<'_>,
    slot: u32,
    frame: ListMembers,
) {
    let ListMembers { r#ref: reference, channel } = frame;
    let checked = channel_name(&reference, &channel).and_then(|name| check(at, turn, slot, name));
    let channel = match checked {
        Ok(channel) => channel,
        Err(refused) => return at.net.refuse_frame(turn, slot, &refused, &reference),
    };
    let Some(conn) = at.net.conn(slot) else { return };
    let shards = turn.home.count();
    let query = at.channels.queries.insert(Query::new(conn, reference, channel.clone(), shards)) as u32;
    for shard in (0..shards).filter(|&shard| shard != turn.shard) {
        let ask = LaneMessage::AskMembers { channel: channel.clone(), from: turn.shard, query };
        at.channels.lanes.send(shard, ask);
    }
    let part = channel_part(at, turn, &channel);
    take_members(at, turn, query, part.subscribers, part.members);
}

/// Whether the session may ask. It is charged for it.
fn check(
    at: &mut Subscribers<'_>,
    turn: &Turn<'_>,
    slot: u32,
    name: ChannelName,
) -> Result<ChannelName, FrameRefused> {
    if at.subscription(slot, &name).is_none() {
        return Err(FrameRefused::NotSubscribed("only who is subscribed is told who else is"));
    }
    if !turn.settings.namespaces.of(&name).members {
        return Err(FrameRefused::MembersDisabled);
    }
    if at.channels.queries.len() >= QUERIES_MAX {
        return Err(FrameRefused::Overloaded("too many such questions are under way"));
    }
    // Every shard works for it, as for a message.
    at.charge(turn, slot, &name)?;
    Ok(name)
}

/// Another shard asks.
pub(super) fn answer_members(
    at: &mut Subscribers<'_>,
    turn: &Turn<'_>,
    channel: &ChannelName,
    from: usize,
    query: u32,
) {
    let part = channel_part(at, turn, channel);
    let answer = LaneMessage::Members { query, count: part.subscribers, members: part.members };
    at.channels.lanes.send(from, answer);
}

/// One shard has answered.
pub(super) fn take_members(
    at: &mut Subscribers<'_>,
    turn: &mut Turn<'_>,
    number: u32,
    count: u32,
    members: Vec<Device>,
) {
    let Some(query) = at.channels.queries.get_mut(number as usize) else { return };
    if !query.add(count, members) {
        return;
    }
    let (conn, members) = at.channels.queries.remove(number as usize).answer();
    if at.net.has_session(conn) {
        at.net.send_frame(turn, conn.slot, &ServerFrame::Members(members));
    }
}

/// What this shard knows of a channel.
pub(super) fn channel_part(at: &Subscribers<'_>, turn: &Turn<'_>, name: &ChannelName) -> ChannelPart {
    let Some(channel) = at.channels.named(name) else { return ChannelPart::default() };
    let (owned, namespace) = (channel.is_owned(), turn.settings.namespaces.of(name));
    let history = owned.then(|| channel.log.history_messages(namespace, turn.now.unix_ms));
    ChannelPart {
        subscribers: channel.subscribers.len() as u32,
        members: members_here(at, channel),
        position: owned.then(|| channel.position()),
        history_messages: history.unwrap_or(0),
    }
}

/// The first of this shard's sessions that are subscribed.
fn members_here(at: &Subscribers<'_>, channel: &Channel) -> Vec<Device> {
    let subscribers = channel.subscribers.iter().take(MEMBERS_MAX);
    let members = subscribers.filter_map(|&number| {
        let subscription = at.channels.subscriptions.get(number)?;
        at.users.device_of(&at.net.session(subscription.slot)?.who)
    });
    members.collect()
}
