//! Who is subscribed to a channel: every shard is asked for its own subscribers.

use campanile_engine::Conn;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{Device, ListMembers, Members, ServerFrame};

use super::Channel;
use super::mail::Mail;
use super::subscribing::channel_name;
use crate::Shard;
use crate::requests::MEMBERS_MAX;

/// Questions of clients that may be under way on one shard.
const QUERIES_MAX: usize = 256;

/// A client's question that is under way.
pub(super) struct Query {
    conn: Conn,
    reference: String,
    channel: ChannelName,
    /// Shards that have not answered.
    left: usize,
    count: u32,
    members: Vec<Device>,
}

impl Shard {
    /// How many sessions of this shard are subscribed, and the first of them.
    pub(super) fn members_here(&self, channel: &Channel) -> (u32, Vec<Device>) {
        let subscriptions = channel.subscribers.iter().take(MEMBERS_MAX);
        let members = subscriptions.filter_map(|&number| {
            let subscription = self.channels.subscriptions.get(number)?;
            self.device_of(self.connections.get(subscription.slot)?.as_session()?)
        });
        (channel.subscribers.len() as u32, members.collect())
    }

    /// A client asks who is subscribed to a channel.
    pub(crate) fn take_list_members(&mut self, slot: u32, list: ListMembers) {
        let ListMembers { r#ref: reference, channel } = list;
        let checked = channel_name(&reference, &channel).and_then(|name| {
            if self.subscription(slot, &name).is_none() {
                return Err(("not_subscribed", "only who is subscribed is told who else is"));
            }
            if !self.settings.namespaces.of(&name).members {
                return Err(("members_disabled", "the channel's namespace does not tell its members"));
            }
            if self.channels.queries.len() >= QUERIES_MAX {
                return Err(("overloaded", "too many such questions are under way"));
            }
            // Every shard works for it, as for a message.
            self.check_publishing(slot, &name).map(|()| name)
        });
        let channel = match checked {
            Ok(channel) => channel,
            Err((reason, message)) => return self.refuse_frame(slot, reason, message, &reference),
        };
        let Some(conn) = self.connections.get(slot).map(|connection| connection.conn(slot)) else { return };
        let left = self.home.count();
        let query = Query { conn, reference, channel: channel.clone(), left, count: 0, members: Vec::new() };
        let query = self.channels.queries.insert(query) as u32;
        for shard in (0..left).filter(|&shard| shard != self.index) {
            self.lanes.send(shard, Mail::AskMembers { channel: channel.clone(), from: self.index, query });
        }
        let part = self.channel_part(&channel);
        self.take_members(query, part.subscribers, part.members);
    }

    pub(super) fn answer_members(&mut self, channel: &ChannelName, from: usize, query: u32) {
        let part = self.channel_part(channel);
        self.lanes.send(from, Mail::Members { query, count: part.subscribers, members: part.members });
    }

    /// One shard has answered.
    pub(super) fn take_members(&mut self, number: u32, count: u32, members: Vec<Device>) {
        let Some(query) = self.channels.queries.get_mut(number as usize) else { return };
        query.left -= 1;
        query.count += count;
        query.members.extend(members);
        query.members.truncate(MEMBERS_MAX);
        if query.left > 0 {
            return;
        }
        let Query { conn, reference, channel, count, members, .. } =
            self.channels.queries.remove(number as usize);
        if self.session_of(conn).is_none() {
            return;
        }
        let channel = channel.as_str().to_owned();
        let members = Members { r#ref: reference, channel, count, members };
        self.send_frame(conn.slot, &ServerFrame::Members(members));
    }
}
