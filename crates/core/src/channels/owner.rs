//! What the owner of a channel does: it numbers messages, keeps the log, and feeds the shards with replicas.

use std::sync::Arc;

use campanile_engine::Conn;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{Position, Published, ServerFrame};

use super::entry::Entry;
use super::log::Log;
use super::mail::{ClientPublish, ClientPublished, Feed, Mail, ReplicaRef};
use super::{Reader, Role};
use crate::Shard;
use crate::publish::user_of_status;
use crate::requests::{ChannelHistory, ChannelPart, Publish, PublishError, Unavailable};

/// Bytes that the log of a channel may have while the logs of its shard have more than they should.
pub(super) const CUT_LOG_BYTES: usize = 16 * 1024;
/// What is taken from other shards in one turn: about a turn's worth of sends.
const MAIL_PER_TURN_MAX: usize = 4_096;
/// A question for members costs as much as so many other things.
const MAIL_PER_QUERY: usize = 128;
/// Channels that replicas are fed in one turn.
const FEEDS_PER_TURN_MAX: usize = 1_024;

impl Shard {
    /// The number of a channel that this shard knows, or knows from now on.
    pub(super) fn channel_for(&mut self, name: &ChannelName) -> Result<u32, PublishError> {
        if let Some(number) = self.channels.find(name) {
            return Ok(number);
        }
        if self.channels.len() >= self.settings.namespaces.channels_per_shard_max as usize {
            return Err(PublishError::TooManyChannels);
        }
        let owner = self.home.of_channel(name);
        let now = self.now.time;
        if owner == self.index {
            let number = self.storage.number().ok_or(Unavailable::Overloaded)?;
            // No two stores have the same epoch, and no number is given out twice.
            let log = Log::new(self.settings.epoch.wrapping_add(number));
            let role = Role::Owner { readers: Vec::new() };
            let number = self.channels.add(name.clone(), log, role, now);
            self.counters.channels.set(self.channels.len() as u64);
            self.begin_status(number);
            return Ok(number);
        }
        let role = Role::Replica { attached: false };
        let number = self.channels.add(name.clone(), Log::new(0), role, now);
        self.counters.channels.set(self.channels.len() as u64);
        let Some(channel) = self.channels.get(number) else { return Ok(number) };
        let replica = channel.replica(number);
        self.lanes.send(owner, Mail::Attach { channel: name.clone(), from: self.index, replica });
        Ok(number)
    }

    /// Publishes a message to a channel of this shard.
    pub(crate) fn publish(&mut self, publish: Publish) -> Result<Position, PublishError> {
        let Publish { channel: name, mut message } = publish;
        if user_of_status(&name).is_some() {
            return Err(PublishError::Reserved);
        }
        let number = self.channel_for(&name)?;
        let bytes_max = self.settings.namespaces.log_bytes_per_shard_max;
        if self.channels.log_bytes > bytes_max.saturating_add(bytes_max / 4) {
            // What can be cut is cut by and by.
            return Err(Unavailable::Overloaded.into());
        }
        let (now_ms, settings) = (self.now.unix_ms, Arc::clone(&self.settings));
        let channel = self.channels.get_mut(number).ok_or(Unavailable::Overloaded)?;
        debug_assert!(
            matches!(channel.role, Role::Owner { .. }),
            "published where the channel does not live"
        );
        name.as_str().clone_into(&mut message.channel);
        let before = channel.log.bytes();
        channel.log.publish(message, now_ms);
        channel.log.trim(settings.namespaces.of(&name), now_ms);
        let position = channel.position();
        self.counters.channel_messages_published.add(1);
        self.appended_to(number, before);
        Ok(position)
    }

    /// The log of a channel has new entries.
    pub(super) fn appended_to(&mut self, number: u32, bytes_before: usize) {
        let bytes_max = self.settings.namespaces.log_bytes_per_shard_max;
        let now = self.now.time;
        let channels = &mut self.channels;
        let Some(channel) = channels.slab.get_mut(number as usize) else { return };
        channel.used = now;
        if channels.log_bytes > bytes_max && channel.log.bytes() > CUT_LOG_BYTES {
            channel.log.cut(CUT_LOG_BYTES);
            self.counters.channel_logs_cut.add(1);
        }
        channels.log_bytes = channels.log_bytes - bytes_before + channel.log.bytes();
        self.counters.channel_log_bytes.set(channels.log_bytes as u64);
        let is_read = matches!(&channel.role, Role::Owner { readers } if !readers.is_empty());
        channels.set_ready(number);
        if is_read {
            channels.set_feeding(number);
        }
    }

    /// Takes what other shards say, as much as one turn may.
    pub(crate) fn take_mail(&mut self) {
        self.lanes.retry();
        let mut taken = 0;
        while taken < MAIL_PER_TURN_MAX
            && let Some(mail) = self.lanes.take(self.index)
        {
            taken += if matches!(mail, Mail::AskMembers { .. }) { MAIL_PER_QUERY } else { 1 };
            match mail {
                Mail::Attach { channel, from, replica } => self.attach(&channel, from, replica),
                Mail::Detach { channel, from, replica } => self.detach(&channel, from, replica),
                Mail::Feed(feed) => self.fed(*feed),
                Mail::Refused { replica, error } => self.refused(replica, error),
                Mail::Publish(publish) => self.publish_for_client(*publish),
                Mail::Published(published) => self.answer_publish(*published),
                Mail::State(state) => self.announce(*state),
                Mail::AskMembers { channel, from, query } => self.answer_members(&channel, from, query),
                Mail::Members { query, count, members } => self.take_members(query, count, members),
            }
        }
    }

    /// Another shard has subscribers now.
    fn attach(&mut self, name: &ChannelName, from: usize, replica: ReplicaRef) {
        let number = match self.channel_for(name) {
            Ok(number) => number,
            Err(error) => return self.lanes.send(from, Mail::Refused { replica, error }),
        };
        if let Some(channel) = self.channels.get_mut(number)
            && let Role::Owner { readers } = &mut channel.role
        {
            readers.push(Reader { shard: from, replica, fed: None });
            self.channels.set_feeding(number);
        }
    }

    fn detach(&mut self, name: &ChannelName, from: usize, replica: ReplicaRef) {
        let now = self.now.time;
        let Some(number) = self.channels.find(name) else { return };
        if let Some(channel) = self.channels.get_mut(number)
            && let Role::Owner { readers } = &mut channel.role
        {
            readers.retain(|reader| reader.shard != from || reader.replica != replica);
            channel.used = now;
        }
        self.forget_if_unheard(number);
    }

    /// Feeds replicas what they lack, as far as the queues of their shards have room.
    pub(crate) fn feed_replicas(&mut self) {
        for _ in 0..self.channels.feeding.len().min(FEEDS_PER_TURN_MAX) {
            let Some(number) = self.channels.feeding.pop_front() else { break };
            let Some(channel) = self.channels.slab.get_mut(number as usize) else { continue };
            let Role::Owner { readers } = &mut channel.role else { continue };
            channel.feeding = false;
            let head = channel.log.head();
            for reader in readers {
                if reader.fed == Some(head) {
                    continue;
                }
                if !self.lanes.has_room(reader.shard) {
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
                match self.lanes.try_send(reader.shard, Mail::Feed(Box::new(feed))) {
                    Ok(()) => reader.fed = Some(head),
                    Err(_) => channel.feeding = true,
                }
            }
            if channel.feeding {
                self.counters.channel_feeds_delayed.add(1);
                self.channels.feeding.push_back(number);
            }
        }
    }

    /// The owner has sent what this shard lacks.
    fn fed(&mut self, feed: Feed) {
        let Feed { replica, epoch, start, entries, offset } = feed;
        let now_ms = self.now.unix_ms;
        let settings = Arc::clone(&self.settings);
        // A replica that was given up is fed until the owner hears of it.
        let Some(channel) = self.replica(replica) else { return };
        let before = channel.log.bytes();
        if let Role::Replica { attached: attached @ false } = &mut channel.role {
            *attached = true;
            channel.log = Log::replica(epoch, start, offset, entries);
            self.appended_to(replica.number, before);
            return self.attached(replica.number);
        }
        channel.log.feed(start, entries, offset);
        match channel.is_status {
            true => channel.log.keep_newest(),
            false => channel.log.trim(settings.namespaces.of(&channel.name), now_ms),
        }
        self.appended_to(replica.number, before);
    }

    fn replica(&mut self, replica: ReplicaRef) -> Option<&mut super::Channel> {
        self.channels.get_mut(replica.number).filter(|channel| channel.serial == replica.serial)
    }

    /// The owner cannot have the channel: nobody is subscribed to it.
    fn refused(&mut self, replica: ReplicaRef, error: PublishError) {
        let Some(channel) = self.replica(replica) else { return };
        for joining in std::mem::take(&mut channel.joining) {
            let slot = self.channels.subscriptions.get(joining.subscription).map(|joining| joining.slot);
            self.end_subscription(joining.subscription);
            self.counters.subscriptions_refused.add(1);
            if let Some(slot) = slot {
                self.refuse_frame(slot, error.code(), &error.to_string(), &joining.reference);
            }
        }
        self.channels.remove(replica.number);
        self.counters.channels.set(self.channels.len() as u64);
    }

    /// A client's message for a channel that lives on this shard, whose session may live on another.
    pub(super) fn publish_for_client(&mut self, publish: ClientPublish) {
        let ClientPublish { from, conn, reference, publish } = publish;
        let channel = publish.channel.clone();
        let result = self.publish(publish);
        let published = ClientPublished { conn, reference, channel, result };
        match from == self.index {
            true => self.answer_publish(published),
            false => self.lanes.send(from, Mail::Published(Box::new(published))),
        }
    }

    /// Tells a client what became of its message, if it is still there.
    fn answer_publish(&mut self, published: ClientPublished) {
        let ClientPublished { conn, reference, channel, result } = published;
        if self.session_of(conn).is_none() {
            return;
        }
        match result {
            Ok(position) => {
                let channel = channel.as_str().to_owned();
                let published = Published { r#ref: reference, channel, position: Some(position) };
                self.send_frame(conn.slot, &ServerFrame::Published(published));
            }
            Err(error) => self.refuse_frame(conn.slot, error.code(), &error.to_string(), &reference),
        }
    }

    pub(super) fn session_of(&mut self, conn: Conn) -> Option<&mut crate::connection::Session> {
        self.tenant(conn)?.session()
    }

    /// What this shard knows of a channel.
    pub(crate) fn channel_part(&self, name: &ChannelName) -> ChannelPart {
        let found = self.channels.find(name).and_then(|number| self.channels.get(number));
        let Some(channel) = found else { return ChannelPart::default() };
        let (subscribers, members) = self.members_here(channel);
        let owned = matches!(channel.role, Role::Owner { .. });
        let namespace = self.settings.namespaces.of(name);
        ChannelPart {
            subscribers,
            members,
            position: owned.then(|| channel.position()),
            history_messages: match owned {
                true => channel.log.history_messages(namespace, self.now.unix_ms),
                false => 0,
            },
        }
    }

    /// Some of the history of a channel of this shard.
    pub(crate) fn channel_history(
        &self,
        name: &ChannelName,
        since: Option<Position>,
        messages_max: usize,
    ) -> ChannelHistory {
        let found = self.channels.find(name).and_then(|number| self.channels.get(number));
        let Some(channel) = found else {
            return ChannelHistory { complete: since.is_none(), ..ChannelHistory::default() };
        };
        let (namespace, now_ms) = (self.settings.namespaces.of(name), self.now.unix_ms);
        let complete = since.is_none_or(|since| {
            since.epoch == channel.log.epoch()
                && channel.log.cursor_after(since.offset, namespace, now_ms).is_some()
        });
        // Of another epoch nothing is known: everything is new.
        let after = since.map(|since| if since.epoch == channel.log.epoch() { since.offset } else { 0 });
        ChannelHistory {
            position: Some(channel.position()),
            complete,
            messages: channel.log.history(after, messages_max, namespace, now_ms),
        }
    }
}

/// What is shared between shards.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Arc<Entry>>();
};
