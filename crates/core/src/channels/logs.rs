//! What becomes of the logs of channels: who owns one numbers its messages, and every shard with subscribers has a
//! copy.

use campanile_protocol::ids::{ChannelName, UserId};
use campanile_protocol::messages::{Device, Event, Position};

use super::channel::Role;
use super::lane_message::{LaneMessage, UserState};
use super::log::Log;
use super::registry::Channels;
use crate::publish::user_of_status;
use crate::requests::{ChannelHistory, Publish, PublishError, Unavailable};
use crate::store::Store;
use crate::turn::Turn;
use crate::users::state::Users;

/// Bytes that the log of a channel may have while the logs of its shard have more than they should.
pub(super) const CUT_LOG_BYTES: usize = 16 * 1024;

/// What works on logs. Sessions are not needed for it.
pub(super) struct ChannelLogs<'a> {
    pub(super) channels: &'a mut Channels,
    pub(super) users: &'a mut Users,
    pub(super) store: &'a mut Store,
}

impl ChannelLogs<'_> {
    /// The number of a channel that this shard knows, or knows from now on.
    pub(super) fn channel_for(&mut self, turn: &Turn<'_>, name: &ChannelName) -> Result<u32, PublishError> {
        if let Some(number) = self.channels.find(name) {
            return Ok(number);
        }
        if self.channels.slab.len() >= turn.settings.namespaces.channels_per_shard_max as usize {
            return Err(PublishError::TooManyChannels);
        }
        let owner = turn.home.of_channel(name);
        if owner == turn.shard {
            let number = self.store.number().ok_or(Unavailable::Overloaded)?;
            // No two stores have the same epoch, and no number is given out twice.
            let log = Log::new(turn.settings.epoch.wrapping_add(number));
            let role = Role::Owner { readers: Vec::new() };
            let number = self.channels.add(turn, name.clone(), log, role);
            self.begin_status(turn, number);
            return Ok(number);
        }
        let role = Role::Replica { attached: false };
        let number = self.channels.add(turn, name.clone(), Log::new(0), role);
        if let Some(replica) = self.channels.get(number).map(|channel| channel.replica(number)) {
            let attach = LaneMessage::Attach { channel: name.clone(), from: turn.shard, replica };
            self.channels.lanes.send(owner, attach);
        }
        Ok(number)
    }

    /// Somebody watches a user of this shard: the log begins with what the user is doing.
    fn begin_status(&mut self, turn: &Turn<'_>, number: u32) {
        let user = self.channels.get(number).and_then(|channel| user_of_status(&channel.name));
        let Some(user) = user.and_then(|user| UserId::try_from(user).ok()) else { return };
        let is_connected = self.users.is_connected(&user);
        let state = self.users.presence.watch(&user, number, is_connected);
        self.append_state(turn, number, Device { user: user.as_str().to_owned(), device: 0 }, state);
    }

    /// Publishes a message to a channel of this shard.
    pub(super) fn publish(&mut self, turn: &Turn<'_>, publish: Publish) -> Result<Position, PublishError> {
        let Publish { channel: name, mut message } = publish;
        if user_of_status(&name).is_some() {
            return Err(PublishError::Reserved);
        }
        let number = self.channel_for(turn, &name)?;
        let bytes_max = turn.settings.namespaces.log_bytes_per_shard_max;
        if self.channels.log_bytes > bytes_max.saturating_add(bytes_max / 4) {
            // What can be cut is cut by and by.
            return Err(Unavailable::Overloaded.into());
        }
        let channel = self.channels.get_mut(number).ok_or(Unavailable::Overloaded)?;
        debug_assert!(channel.is_owned(), "published where the channel does not live");
        name.as_str().clone_into(&mut message.channel);
        let before = channel.log.bytes();
        channel.log.publish(message, turn.now.unix_ms);
        channel.log.trim(turn.settings.namespaces.of(&name), turn.now.unix_ms);
        let position = channel.position();
        turn.counters.channel_messages_published.add(1);
        self.appended_to(turn, number, before);
        Ok(position)
    }

    /// Tells the subscribers of a channel of this shard what a user is doing.
    pub(super) fn announce(&mut self, turn: &Turn<'_>, state: UserState) {
        let UserState { channel, from, state } = state;
        // Whoever is subscribed has attached its shard before.
        let Some(number) = self.channels.find(&channel) else { return };
        if self.channels.get(number).is_some_and(|channel| channel.is_owned()) {
            self.append_state(turn, number, from, state.into_boxed_str());
        }
    }

    /// Tells what has become due of users whose status is watched, a few at a time: messages go first.
    pub(super) fn tell_statuses(&mut self, turn: &Turn<'_>) {
        for told in self.users.presence.take_due(turn) {
            let from = Device { user: told.user.as_str().to_owned(), device: 0 };
            self.append_state(turn, told.channel, from, told.state);
        }
    }

    fn append_state(&mut self, turn: &Turn<'_>, number: u32, from: Device, state: Box<str>) {
        let now_ms = turn.now.unix_ms;
        let Some(channel) = self.channels.get_mut(number) else { return };
        let event = Event {
            name: "presence:update".to_owned(),
            from: Some(from),
            at_ms: i64::try_from(now_ms).unwrap_or(i64::MAX),
            channel: channel.name.as_str().to_owned(),
            state: state.into_string(),
            ..Event::default()
        };
        let before = channel.log.bytes();
        channel.log.announce(event, now_ms);
        if channel.is_status {
            channel.log.keep_newest();
        } else {
            channel.log.trim(turn.settings.namespaces.of(&channel.name), now_ms);
        }
        turn.counters.states_announced.add(1);
        self.appended_to(turn, number, before);
    }

    /// The log of a channel has new entries: subscribers and replicas are owed them.
    pub(super) fn appended_to(&mut self, turn: &Turn<'_>, number: u32, bytes_before: usize) {
        let channels = &mut *self.channels;
        let Some(channel) = channels.slab.get_mut(number as usize) else { return };
        channel.used = turn.now.time;
        if channels.log_bytes > turn.settings.namespaces.log_bytes_per_shard_max
            && channel.log.bytes() > CUT_LOG_BYTES
        {
            channel.log.cut(CUT_LOG_BYTES);
            turn.counters.channel_logs_cut.add(1);
        }
        channels.log_bytes = channels.log_bytes - bytes_before + channel.log.bytes();
        turn.counters.channel_log_bytes.set(channels.log_bytes as u64);
        let is_replicated = channel.is_replicated();
        channels.set_ready(number);
        if is_replicated {
            channels.set_feeding(number);
        }
    }

    /// A channel of which nobody has heard anything is not kept for those who may come back.
    pub(super) fn forget_if_unheard(&mut self, turn: &Turn<'_>, number: u32) {
        let unheard = self.channels.get(number).is_some_and(|channel| {
            channel.is_deserted() && channel.log.head() == 0 && !channel.is_replicated()
        });
        if unheard {
            self.forget(turn, number);
        }
    }

    /// Forgets a channel that nobody needs.
    pub(super) fn forget(&mut self, turn: &Turn<'_>, number: u32) {
        let Some(channel) = self.channels.remove(turn, number) else { return };
        if !channel.is_owned() {
            let (owner, replica) = (turn.home.of_channel(&channel.name), channel.replica(number));
            let detach = LaneMessage::Detach { channel: channel.name, from: turn.shard, replica };
            self.channels.lanes.send(owner, detach);
        } else if let Some(user) = user_of_status(&channel.name) {
            self.users.presence.unwatch(user);
        }
    }
}

impl Channels {
    /// Some of the history of a channel of this shard.
    pub(crate) fn history(
        &self,
        turn: &Turn<'_>,
        name: &ChannelName,
        since: Option<Position>,
        messages_max: usize,
    ) -> ChannelHistory {
        let Some(channel) = self.named(name) else {
            return ChannelHistory { complete: since.is_none(), ..ChannelHistory::default() };
        };
        let (namespace, now_ms) = (turn.settings.namespaces.of(name), turn.now.unix_ms);
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
