//! Sessions in channels: how a subscription begins when the log is there, and how it ends.

use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{ServerFrame, Subscribed, Unsubscribed};

use super::channel::Joining;
use super::logs::ChannelLogs;
use super::registry::Channels;
use super::subscriptions::Subscription;
use crate::net::Net;
use crate::net::wire::NONE;
use crate::refused::FrameRefused;
use crate::requests::PublishError;
use crate::session::Session;
use crate::store::Store;
use crate::turn::Turn;
use crate::users::state::Users;

/// The longest name that a client gives a frame, in bytes.
const REFERENCE_BYTES_MAX: usize = 64;
/// Messages of clients that may wait for the queue of one other shard.
const PUBLISHES_WAITING_MAX: usize = 1_024;

/// Nobody hears it.
pub(super) const OVER: FrameRefused = FrameRefused::NotSubscribed("the session is over");

/// What works on channels and on the sessions that are subscribed to them.
pub(super) struct Subscribers<'a> {
    pub(super) channels: &'a mut Channels,
    pub(super) net: &'a mut Net,
    pub(super) users: &'a mut Users,
    pub(super) store: &'a mut Store,
}

/// The name of the channel that a frame is about. `reference` is the client's name for the frame.
pub(super) fn channel_name(reference: &str, channel: &str) -> Result<ChannelName, FrameRefused> {
    if reference.len() > REFERENCE_BYTES_MAX {
        return Err(FrameRefused::InvalidField("ref has at most 64 bytes"));
    }
    ChannelName::try_from(channel).map_err(|_| {
        FrameRefused::InvalidField("a channel's name has 1 to 255 bytes without control characters and `*`")
    })
}

impl Subscribers<'_> {
    /// What works on the logs alone.
    pub(super) fn logs(&mut self) -> ChannelLogs<'_> {
        ChannelLogs { channels: self.channels, users: self.users, store: self.store }
    }

    /// The session's subscription to a channel.
    pub(super) fn subscription(&self, slot: u32, name: &ChannelName) -> Option<u32> {
        self.channels.subscription(self.net.session(slot)?, name)
    }

    /// Charges the session for something that goes to all subscribers of a channel.
    pub(super) fn charge(
        &mut self,
        turn: &Turn<'_>,
        slot: u32,
        channel: &ChannelName,
    ) -> Result<(), FrameRefused> {
        let per_second = turn.settings.namespaces.of(channel).publishes_per_second_max;
        if !self.net.pay_for_publish(turn, slot, per_second) {
            return Err(FrameRefused::PublishTooFast);
        }
        let owner = turn.home.of_channel(channel);
        if self.channels.lanes.waiting(owner) >= PUBLISHES_WAITING_MAX {
            return Err(FrameRefused::Overloaded("too much waits for the owner of the channel"));
        }
        Ok(())
    }

    /// Subscribes a session, which has room for it and may. The answer follows when the owner's log is there.
    pub(super) fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u32,
        name: &ChannelName,
        until: u32,
        joining: Joining,
    ) -> Result<(), FrameRefused> {
        let session = self.net.session(slot).ok_or(OVER)?;
        let next = session.membership.subscriptions;
        let number = self.logs().channel_for(turn, name).map_err(|error| match error {
            PublishError::TooManyChannels => FrameRefused::TooManyChannels,
            _ => FrameRefused::Overloaded("the node is overloaded"),
        })?;
        let subscription =
            Subscription { slot, channel: number, place: NONE, next, until, ..Subscription::default() };
        let has_end = subscription.ends_at().is_some();
        let subscription = self.channels.subscriptions.add(subscription);
        if let Some(session) = self.net.session_mut(slot) {
            session.membership.subscriptions = subscription;
        }
        turn.counters.subscriptions.set(self.channels.subscriptions.len().into());
        if has_end {
            self.net.retime(slot);
        }
        let joining = Joining { subscription, ..joining };
        let Some(channel) = self.channels.get_mut(number) else { return Ok(()) };
        if channel.is_attached() {
            self.join(turn, number, joining);
        } else {
            channel.joining.push(joining);
        }
        Ok(())
    }

    /// The subscription begins: it gets its cursor, and the client its answer.
    pub(super) fn join(&mut self, turn: &mut Turn<'_>, number: u32, joining: Joining) {
        let Joining { subscription: subscriber, reference, since, newest } = joining;
        let now_ms = turn.now.unix_ms;
        let Some(channel) = self.channels.slab.get_mut(number as usize) else { return };
        let namespace = turn.settings.namespaces.of(&channel.name);
        let log = &channel.log;
        let recovered = since
            .filter(|since| since.epoch == log.epoch())
            .and_then(|since| log.cursor_after(since.offset, namespace, now_ms));
        let cursor = match recovered {
            _ if channel.is_status => log.cursor_of_newest(),
            Some(cursor) => cursor,
            None if since.is_none() => log.cursor_before_newest(newest, namespace, now_ms),
            None => log.head_cursor(),
        };
        let position = Some(channel.position());
        let Some(subscription) = self.channels.subscriptions.get_mut(subscriber) else { return };
        subscription.cursor = cursor;
        subscription.place = channel.subscribers.len() as u32;
        channel.subscribers.push(subscriber);
        let slot = subscription.slot;
        let lacks = cursor != log.head_cursor();
        let channel = channel.name.as_str().to_owned();
        let recovered = recovered.is_some();
        turn.counters.subscriptions_recovered.add(u64::from(recovered));
        turn.counters.subscriptions_not_recovered.add(u64::from(since.is_some() && !recovered));
        let subscribed = Subscribed { r#ref: reference, channel, position, recovered };
        self.net.send_frame(turn, slot, &ServerFrame::Subscribed(subscribed));
        if lacks {
            self.channels.set_behind(subscriber);
        }
    }

    /// Ends some subscriptions of a session, and tells it.
    pub(super) fn end_some(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u32,
        reason: &str,
        ends: impl Fn(&Channels, &Turn<'_>, &Session, &Subscription) -> bool,
    ) {
        let Some(session) = self.net.session(slot) else { return };
        let all = self.channels.subscriptions.of_session(session.membership.subscriptions);
        let ended = all.filter(|(_, subscription)| ends(self.channels, turn, session, subscription));
        let ended: Vec<(u32, u32)> = ended.map(|(number, ended)| (number, ended.channel)).collect();
        for (number, channel) in ended {
            let name = self.channels.get(channel).map(|channel| channel.name.as_str().to_owned());
            self.end(turn, number);
            self.tell_end(turn, slot, String::new(), name.unwrap_or_default(), reason);
        }
    }

    /// Tells a client that a subscription is over; `reference` is its own name for the frame that asked for it.
    pub(super) fn tell_end(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u32,
        reference: String,
        channel: String,
        reason: &str,
    ) {
        let unsubscribed = Unsubscribed { r#ref: reference, channel, reason: reason.to_owned() };
        self.net.send_frame(turn, slot, &ServerFrame::Unsubscribed(unsubscribed));
    }

    /// Ends one subscription of a session.
    pub(super) fn end(&mut self, turn: &Turn<'_>, ended: u32) {
        let subscriptions = &mut self.channels.subscriptions;
        let Some(slot) = subscriptions.get(ended).map(|subscription| subscription.slot) else { return };
        if let Some(session) = self.net.session_mut(slot) {
            let first = session.membership.subscriptions;
            session.membership.subscriptions = subscriptions.unlink(first, ended);
        }
        self.logs().leave(turn, ended);
    }
}

impl ChannelLogs<'_> {
    /// Ends all subscriptions of a session that is over and stands in no table any more.
    pub(super) fn leave_all(&mut self, turn: &Turn<'_>, session: &Session) {
        self.channels.grants.remove(session.membership.grants);
        let mut next = session.membership.subscriptions;
        while let Some(subscription) = self.channels.subscriptions.get(next) {
            let number = std::mem::replace(&mut next, subscription.next);
            self.leave(turn, number);
        }
    }

    /// Takes a subscription out of its channel and forgets it.
    fn leave(&mut self, turn: &Turn<'_>, ended: u32) {
        let channels = &mut *self.channels;
        let Some(subscription) = channels.subscriptions.get(ended) else { return };
        let (number, place) = (subscription.channel, subscription.place);
        channels.subscriptions.remove(ended);
        turn.counters.subscriptions.set(channels.subscriptions.len().into());
        let Some(channel) = channels.slab.get_mut(number as usize) else { return };
        channel.used = turn.now.time;
        if place == NONE {
            channel.joining.retain(|joining| joining.subscription != ended);
        } else {
            channel.subscribers.swap_remove(place as usize);
            if let Some(&moved) = channel.subscribers.get(place as usize) {
                if let Some(moved) = channels.subscriptions.get_mut(moved) {
                    moved.place = place;
                }
                // The pass may have been at this place already.
                channel.again |= channel.ready && place < channel.next;
            }
        }
        self.forget_if_unheard(turn, number);
    }
}
