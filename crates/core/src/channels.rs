//! Channels: who is subscribed, the log of what was published, and each subscriber's cursor into it.
//!
//! A channel is owned by one shard ([`HomeShard::of_channel`](crate::placement::HomeShard::of_channel)), which numbers
//! its messages and keeps its log. Other shards with subscribers keep a replica: to the owner a shard is a subscriber
//! like any other, with a cursor of its own. What always holds:
//! - Every entry of a log is stored once, however many shards and subscribers it is for, and never changes.
//! - A position in a log means the same entry on every shard.
//! - A subscription holds a cursor and no bytes. What it lacks is sent in one send of bounded size.
//! - Who falls behind the log is told so before anything newer, or is disconnected: nothing is skipped silently.
//! - Everything here is bounded: subscriptions by session, channels by shard, logs by channel and by shard.
//!
//! A shard holds [`Channels`] and works on them through a [`ChannelHandler`]. Inside, each view borrows what it needs:
//! `ChannelLogs` no session, `FanOut` nothing but sockets and cursors, `Subscribers` both.

mod channel;
pub(crate) mod check;
mod entry;
mod fanout;
mod feeding;
mod grant_table;
mod incoming;
pub(crate) mod lane_message;
mod log;
mod logs;
mod members;
pub(crate) mod membership;
mod publishing;
mod query;
pub(crate) mod registry;
mod repeated;
mod replicas;
mod resuming;
mod rights;
mod sends;
mod states;
mod status;
mod subscribers;
mod subscribing;
mod subscriptions;
mod sweep;

use std::sync::Arc;

use campanile_engine::Conn;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{
    ListMembers, Position, Publish as PublishFrame, SetState, Subscribe, Unsubscribe,
};

use self::fanout::FanOut;
use self::logs::ChannelLogs;
pub(crate) use self::registry::Channels;
use self::subscribers::Subscribers;
use crate::net::Net;
use crate::requests::{ChannelPart, Publish, PublishError};
use crate::session::Session;
use crate::store::Store;
use crate::tokens::Grants;
use crate::turn::Turn;
use crate::users::state::Users;

/// What a shard does with its channels.
pub(crate) struct ChannelHandler<'a> {
    pub(crate) channels: &'a mut Channels,
    pub(crate) net: &'a mut Net,
    /// Who the subscribers are, and what they are doing.
    pub(crate) users: &'a mut Users,
    /// Gives a new log its epoch.
    pub(crate) store: &'a mut Store,
}

/// What clients ask for.
impl ChannelHandler<'_> {
    /// A client asks for a channel.
    pub(crate) fn take_subscribe(&mut self, turn: &mut Turn<'_>, slot: u32, frame: Subscribe) {
        subscribing::take_subscribe(&mut self.subscribers(), turn, slot, frame);
    }

    /// A client wants no more of a channel.
    pub(crate) fn take_unsubscribe(&mut self, turn: &mut Turn<'_>, slot: u32, frame: Unsubscribe) {
        subscribing::take_unsubscribe(&mut self.subscribers(), turn, slot, frame);
    }

    /// A client publishes.
    pub(crate) fn take_publish(&mut self, turn: &mut Turn<'_>, slot: u32, frame: PublishFrame) {
        publishing::take_publish(&mut self.subscribers(), turn, slot, frame);
    }

    /// A client says what its user is doing.
    pub(crate) fn take_set_state(&mut self, turn: &mut Turn<'_>, slot: u32, frame: SetState) {
        states::take_set_state(&mut self.subscribers(), turn, slot, frame);
    }

    /// A client asks who is subscribed to a channel.
    pub(crate) fn take_list_members(&mut self, turn: &mut Turn<'_>, slot: u32, frame: ListMembers) {
        members::take_list_members(&mut self.subscribers(), turn, slot, frame);
    }
}

/// The life of a session.
impl ChannelHandler<'_> {
    /// A session has begun, and was welcomed: what its token asks for.
    pub(crate) fn begin_subscriptions(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u32,
        grants: Option<Arc<Grants>>,
    ) {
        rights::begin_subscriptions(&mut self.subscribers(), turn, slot, grants);
    }

    /// A session has renewed its token. Subscriptions that are not allowed any more end.
    pub(crate) fn set_grants(&mut self, turn: &mut Turn<'_>, slot: u32, grants: Option<Arc<Grants>>) {
        rights::set_grants(&mut self.subscribers(), turn, slot, grants);
    }

    /// The timer of a session has come: subscriptions end whose own tokens have expired.
    pub(crate) fn end_expired_subscriptions(&mut self, turn: &mut Turn<'_>, slot: u32) {
        rights::end_expired(&mut self.subscribers(), turn, slot);
    }

    /// A session is over, and stands in no table any more.
    pub(crate) fn leave(&mut self, turn: &Turn<'_>, session: &Session) {
        self.logs().leave_all(turn, session);
    }

    /// A session's socket has room again.
    pub(crate) fn resume_subscriptions(&mut self, slot: u32) {
        self.fan_out_view().resume_subscriptions(slot);
    }

    /// A socket did not take all that it was sent this turn: `rest` bytes are left. If that was nothing but frames of
    /// one channel, the cursor goes back, and only the rest of the last frame is to be kept. How long that is.
    pub(crate) fn keep_cursor(&mut self, turn: &Turn<'_>, conn: Conn, rest: usize) -> Option<usize> {
        self.fan_out_view().keep_cursor(turn, conn, rest)
    }
}

/// What publishers ask for.
impl ChannelHandler<'_> {
    /// Publishes a message to a channel of this shard.
    pub(crate) fn publish(&mut self, turn: &Turn<'_>, publish: Publish) -> Result<Position, PublishError> {
        self.logs().publish(turn, publish)
    }

    /// What this shard knows of a channel.
    pub(crate) fn channel_part(&mut self, turn: &Turn<'_>, name: &ChannelName) -> ChannelPart {
        members::channel_part(&self.subscribers(), turn, name)
    }
}

/// What is due in a turn.
impl ChannelHandler<'_> {
    /// Takes the oldest message that another shard has for this one. What it cost: 1 for most.
    pub(crate) fn take_lane_message(&mut self, turn: &mut Turn<'_>) -> Option<usize> {
        incoming::take_lane_message(&mut self.subscribers(), turn)
    }

    /// Looks through some channels, when it is time.
    pub(crate) fn sweep(&mut self, turn: &Turn<'_>) {
        sweep::sweep(&mut self.logs(), turn);
    }

    /// Tells what has become due of users whose status is watched, a few at a time.
    pub(crate) fn tell_statuses(&mut self, turn: &Turn<'_>) {
        self.logs().tell_statuses(turn);
    }

    /// Brings subscribers forward by about so many sends.
    pub(crate) fn fan_out(&mut self, turn: &mut Turn<'_>, sends_max: usize) {
        self.fan_out_view().fan_out(turn, sends_max);
    }
}

/// The views that do it.
impl ChannelHandler<'_> {
    fn subscribers(&mut self) -> Subscribers<'_> {
        let ChannelHandler { channels, net, users, store } = self;
        Subscribers { channels, net, users, store }
    }

    fn logs(&mut self) -> ChannelLogs<'_> {
        ChannelLogs { channels: self.channels, users: self.users, store: self.store }
    }

    fn fan_out_view(&mut self) -> FanOut<'_> {
        FanOut { channels: self.channels, net: self.net }
    }
}
