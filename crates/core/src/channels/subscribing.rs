//! Sessions come to channels and leave them.

use std::sync::Arc;

use campanile_protocol::frame::close_code;
use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{
    Device, Payload, Publish as PublishFrame, ServerFrame, Subscribe, Subscribed, Unsubscribe, Unsubscribed,
};

use super::mail::{ClientPublish, Mail};
use super::subscriptions::Subscription;
use super::{Joining, Role};
use crate::Shard;
use crate::connection::Session;
use crate::directory::NONE;
use crate::names::{NAME_BYTES_MAX, Name};
use crate::publish::{Publish, PublishDraft, PublishRefused};
use crate::push::{PayloadError, readable};
use crate::requests::{PublishError, Unavailable};
use crate::settings::Mode;
use crate::tokens::{Grants, TokenError};

/// Messages of clients that may wait for the queue of one other shard.
const PUBLISHES_WAITING_MAX: usize = 1_024;

/// Checking a signature costs as much as so many frames.
const FRAMES_PER_TOKEN: u32 = 3;
/// Nobody hears it.
const OVER: Refused = ("not_subscribed", "the session is over");

/// Why a frame is refused: its stable name, and words for developers.
pub(super) type Refused = (&'static str, &'static str);

pub(super) const INVALID: &str = "invalid_field";

/// The name of the channel that a frame is about.
pub(super) fn channel_name(reference: &str, channel: &str) -> Result<ChannelName, Refused> {
    if reference.len() > NAME_BYTES_MAX {
        return Err((INVALID, "ref has at most 64 bytes"));
    }
    ChannelName::try_from(channel)
        .map_err(|_| (INVALID, "a channel's name has 1 to 255 bytes without control characters and `*`"))
}

/// Why a client's message is not published, as its client hears it.
fn in_words(refused: &PublishRefused) -> Refused {
    let words = match refused {
        PublishRefused::Reserved => "a user's status has no messages: send setState",
        PublishRefused::Payload(PayloadError::Missing) => "payload is missing",
        PublishRefused::Payload(PayloadError::Json(_)) => "payload.json is not JSON of bounded depth",
        PublishRefused::Payload(PayloadError::TooLarge { .. }) => {
            "the payload is larger than limits.push_bytes_max"
        }
    };
    (refused.code(), words)
}

impl Shard {
    /// A client asks for a channel.
    pub(crate) fn take_subscribe(&mut self, slot: u32, subscribe: Subscribe) {
        let Subscribe { r#ref: reference, channel, token, since, newest } = subscribe;
        let subscribed = channel_name(&reference, &channel).and_then(|name| {
            self.check_room(slot, &name)?;
            let until = self.check_allowed(slot, &name, &token)?;
            self.subscribe(
                slot,
                &name,
                until,
                Joining { subscription: NONE, reference: reference.clone(), since, newest },
            )
        });
        if let Err((reason, message)) = subscribed {
            self.counters.subscriptions_refused.add(1);
            self.refuse_frame(slot, reason, message, &reference);
        }
    }

    /// Whether the session may have one more subscription, and this one.
    fn check_room(&self, slot: u32, name: &ChannelName) -> Result<(), Refused> {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return Err(OVER) };
        let known = self.channels.find(name);
        let mut count = 0;
        for (_, subscription) in self.channels.subscriptions.of_session(session.subscriptions) {
            count += 1;
            if known == Some(subscription.channel) {
                return Err(("already_subscribed", "the session is subscribed to this channel"));
            }
        }
        match count < self.settings.namespaces.subscriptions_per_session_max {
            true => Ok(()),
            false => Err(("too_many_subscriptions", "the session has as many subscriptions as it may")),
        }
    }

    /// Whether the session may subscribe to the channel, and until when a token for the subscription allows it.
    fn check_allowed(&mut self, slot: u32, name: &ChannelName, token: &str) -> Result<u32, Refused> {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        if session.is_some_and(|session| self.allows(session, name)) {
            return Ok(u32::MAX);
        }
        if token.is_empty() {
            return Err(("channel_forbidden", "the session's token does not allow this channel"));
        }
        if !self.pay_for_frames(slot, FRAMES_PER_TOKEN) {
            self.counters.sessions_too_many_frames.add(1);
            self.close(slot, close_code::TOO_MANY, "too many tokens");
            return Err(OVER);
        }
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return Err(OVER) };
        let (Mode::Gateway { verifier }, Some(user)) = (&self.settings.mode, self.directory.id(session.user))
        else {
            return Err(("channel_forbidden", "there are no users here"));
        };
        match verifier.verify_subscription(token, user, self.now.unix_ms) {
            Ok(grant) if grant.channel == *name => {
                Ok(u32::try_from(grant.expires_at).unwrap_or(u32::MAX).min(u32::MAX - 1))
            }
            Err(TokenError::Expired) => Err(("token_expired", "the token for the subscription has expired")),
            _ => Err(("token_invalid", "the token is not valid for this user and channel")),
        }
    }

    /// Whether the session may subscribe to the channel without a token for it.
    fn allows(&self, session: &Session, name: &ChannelName) -> bool {
        self.grants_of(session).is_some_and(|grants| grants.may_subscribe(name))
            || self.settings.namespaces.of(name).open
    }

    pub(super) fn may_publish(&self, session: &Session, name: &ChannelName) -> bool {
        self.grants_of(session).is_some_and(|grants| grants.may_publish(name))
    }

    fn grants_of(&self, session: &Session) -> Option<&Arc<Grants>> {
        self.channels.grants.get(session.grants)
    }

    /// Subscribes a session. The answer follows when the owner's log is there.
    fn subscribe(
        &mut self,
        slot: u32,
        name: &ChannelName,
        until: u32,
        joining: Joining,
    ) -> Result<(), Refused> {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(next) = session.map(|session| session.subscriptions) else { return Err(OVER) };
        let number = self.channel_for(name).map_err(|error| match error {
            PublishError::TooManyChannels => {
                ("too_many_channels", "the node has as many channels as it takes")
            }
            _ => ("overloaded", "the node is overloaded"),
        })?;
        let subscription =
            Subscription { slot, channel: number, place: NONE, next, until, ..Subscription::default() };
        let subscription = self.channels.subscriptions.add(subscription);
        if let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) {
            session.subscriptions = subscription;
        }
        self.counters.subscriptions.set(self.channels.subscriptions.len().into());
        if until != u32::MAX {
            self.expect_subscription_end(slot);
        }
        let joining = Joining { subscription, ..joining };
        let Some(channel) = self.channels.get_mut(number) else { return Ok(()) };
        match channel.is_attached() {
            true => self.join(number, joining),
            false => channel.joining.push(joining),
        }
        Ok(())
    }

    /// What the token asks for from the beginning of the session.
    pub(crate) fn begin_subscriptions(&mut self, slot: u32, grants: Option<Arc<Grants>>) {
        let Some(grants) = grants else { return };
        self.set_grants(slot, Some(Arc::clone(&grants)));
        for name in &grants.subscribe {
            let joining = Joining { subscription: NONE, reference: String::new(), since: None, newest: 0 };
            let subscribed =
                self.check_room(slot, name).and_then(|()| self.subscribe(slot, name, u32::MAX, joining));
            if let Err((reason, message)) = subscribed {
                self.counters.subscriptions_refused.add(1);
                let message = format!("{name}: {message}");
                self.refuse_frame(slot, reason, &message, "");
            }
        }
    }

    /// What the session may do with channels from now on. Subscriptions that are not allowed any more end.
    pub(crate) fn set_grants(&mut self, slot: u32, grants: Option<Arc<Grants>>) {
        let grants = grants.map_or(NONE, |grants| self.channels.grants.add(grants));
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) else {
            return self.channels.grants.remove(grants);
        };
        let before = std::mem::replace(&mut session.grants, grants);
        self.channels.grants.remove(before);
        self.end_subscriptions(slot, "channel_forbidden", |shard, session, subscription| {
            let name = shard.channels.get(subscription.channel).map(|channel| &channel.name);
            subscription.until == u32::MAX && name.is_some_and(|name| !shard.allows(session, name))
        });
    }

    /// Ends subscriptions whose tokens have expired.
    pub(crate) fn end_expired_subscriptions(&mut self, slot: u32) {
        let now = self.now.unix_ms / 1_000;
        self.end_subscriptions(slot, "token_expired", |_, _, subscription| {
            subscription.until != u32::MAX && u64::from(subscription.until) <= now
        });
    }

    /// Ends some subscriptions of a session, and tells it.
    fn end_subscriptions(
        &mut self,
        slot: u32,
        reason: &str,
        ends: impl Fn(&Shard, &Session, &Subscription) -> bool,
    ) {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return };
        let all = self.channels.subscriptions.of_session(session.subscriptions);
        let ended = all.filter(|(_, subscription)| ends(self, session, subscription));
        let ended: Vec<(u32, u32)> = ended.map(|(number, ended)| (number, ended.channel)).collect();
        for (number, channel) in ended {
            let name = self.channels.get(channel).map(|channel| channel.name.as_str().to_owned());
            self.end_subscription(number);
            let (channel, reason) = (name.unwrap_or_default(), reason.to_owned());
            let unsubscribed = Unsubscribed { r#ref: String::new(), channel, reason };
            self.send_frame(slot, &ServerFrame::Unsubscribed(unsubscribed));
        }
    }

    /// When the first of a session's subscriptions ends because of its token, in milliseconds from now.
    pub(crate) fn subscriptions_end_in_ms(&self, session: &Session) -> Option<u64> {
        let all = self.channels.subscriptions.of_session(session.subscriptions);
        let until =
            all.map(|(_, subscription)| subscription.until).filter(|&until| until != u32::MAX).min()?;
        Some((u64::from(until) * 1_000).saturating_sub(self.now.unix_ms))
    }

    /// The owner's log is there.
    pub(super) fn attached(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(number) else { return };
        for joining in std::mem::take(&mut channel.joining) {
            self.join(number, joining);
        }
    }

    /// The subscription begins: it gets its cursor, and the client its answer.
    fn join(&mut self, number: u32, joining: Joining) {
        let Joining { subscription: subscriber, reference, since, newest } = joining;
        let now_ms = self.now.unix_ms;
        let Some(channel) = self.channels.slab.get_mut(number as usize) else { return };
        let namespace = self.settings.namespaces.of(&channel.name);
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
        self.counters.subscriptions_recovered.add(u64::from(recovered));
        self.counters.subscriptions_not_recovered.add(u64::from(since.is_some() && !recovered));
        self.send_frame(
            slot,
            &ServerFrame::Subscribed(Subscribed { r#ref: reference, channel, position, recovered }),
        );
        if lacks {
            self.channels.set_behind(subscriber);
        }
    }

    /// A client wants no more of a channel.
    pub(crate) fn take_unsubscribe(&mut self, slot: u32, unsubscribe: Unsubscribe) {
        let Unsubscribe { r#ref: reference, channel } = unsubscribe;
        let found = channel_name(&reference, &channel).and_then(|name| {
            self.subscription(slot, &name)
                .ok_or(("not_subscribed", "the session is not subscribed to this channel"))
        });
        match found {
            Ok(subscription) => {
                self.take_back(slot, subscription);
                self.end_subscription(subscription);
                let unsubscribed = Unsubscribed { r#ref: reference, channel, reason: String::new() };
                self.send_frame(slot, &ServerFrame::Unsubscribed(unsubscribed));
            }
            Err((reason, message)) => self.refuse_frame(slot, reason, message, &reference),
        }
    }

    /// A subscription that has not begun will not: that is answered, too, if a frame asked for it.
    fn take_back(&mut self, slot: u32, subscription: u32) {
        let channel = self.channels.subscriptions.get(subscription).map(|subscription| subscription.channel);
        let Some(channel) = channel.and_then(|number| self.channels.get(number)) else { return };
        let joining = channel.joining.iter().find(|joining| joining.subscription == subscription);
        let reference = joining.map(|joining| joining.reference.clone());
        if let Some(reference) = reference.filter(|reference| !reference.is_empty()) {
            self.refuse_frame(slot, "not_subscribed", "unsubscribed before it began", &reference);
        }
    }

    /// The session's subscription to a channel.
    pub(super) fn subscription(&self, slot: u32, name: &ChannelName) -> Option<u32> {
        let number = self.channels.find(name)?;
        let session = self.connections.get(slot)?.as_session()?;
        let mut all = self.channels.subscriptions.of_session(session.subscriptions);
        all.find(|(_, subscription)| subscription.channel == number).map(|(subscription, _)| subscription)
    }

    /// Ends one subscription of a session.
    pub(super) fn end_subscription(&mut self, ended: u32) {
        let subscriptions = &mut self.channels.subscriptions;
        let Some(&Subscription { slot, next, .. }) = subscriptions.get(ended) else { return };
        if let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session()) {
            match session.subscriptions == ended {
                true => session.subscriptions = next,
                false => {
                    let first = session.subscriptions;
                    let before = subscriptions.before(first, ended);
                    if let Some(before) = subscriptions.get_mut(before) {
                        before.next = next;
                    }
                }
            }
        }
        self.leave_channel(ended);
    }

    /// Ends all subscriptions of a session that is over.
    pub(crate) fn leave_channels(&mut self, session: &Session) {
        self.channels.grants.remove(session.grants);
        let mut next = session.subscriptions;
        while let Some(subscription) = self.channels.subscriptions.get(next) {
            let number = next;
            next = subscription.next;
            self.leave_channel(number);
        }
    }

    /// Takes a subscription out of its channel and forgets it.
    fn leave_channel(&mut self, ended: u32) {
        let now = self.now.time;
        let channels = &mut self.channels;
        let Some(&Subscription { channel: number, place, .. }) = channels.subscriptions.get(ended) else {
            return;
        };
        channels.subscriptions.remove(ended);
        self.counters.subscriptions.set(channels.subscriptions.len().into());
        let Some(channel) = channels.slab.get_mut(number as usize) else { return };
        channel.used = now;
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
        self.forget_if_unheard(number);
    }

    /// A client publishes.
    pub(crate) fn take_publish(&mut self, slot: u32, frame: PublishFrame) {
        let PublishFrame { r#ref: reference, channel, kind, payload } = frame;
        let publish = channel_name(&reference, &channel)
            .and_then(|name| self.client_publish(slot, name, kind, payload.unwrap_or_default()));
        let publish = match publish {
            Ok(publish) => publish,
            Err((reason, message)) => {
                self.counters.client_publishes_refused.add(1);
                return self.refuse_frame(slot, reason, message, &reference);
            }
        };
        let Some(conn) = self.connections.get(slot).map(|connection| connection.conn(slot)) else { return };
        let owner = self.home.of_channel(&publish.channel);
        let publish = ClientPublish { from: self.index, conn, reference, publish };
        match owner == self.index {
            true => self.publish_for_client(publish),
            false => self.lanes.send(owner, Mail::Publish(Box::new(publish))),
        }
    }

    /// What a client may publish.
    fn client_publish(
        &mut self,
        slot: u32,
        channel: ChannelName,
        kind: String,
        payload: Payload,
    ) -> Result<Publish, Refused> {
        let kind = Name::optional(kind)
            .map_err(|_| (INVALID, "kind has at most 64 bytes, without control characters"))?;
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session else { return Err(OVER) };
        let payload = readable(Some(payload)).map_err(PublishRefused::from);
        let draft = payload.map(|payload| PublishDraft {
            channel: channel.clone(),
            kind,
            from: self.device_of(session),
            payload,
        });
        let publish = draft.and_then(|draft| Publish::new(draft, &self.settings.push_rules()));
        let publish = publish.map_err(|refused| in_words(&refused))?;
        if !self.may_publish(session, &channel) {
            return Err(("channel_forbidden", "the session's token does not allow to publish here"));
        }
        self.check_publishing(slot, &channel)?;
        Ok(publish)
    }

    pub(super) fn device_of(&self, session: &Session) -> Option<Device> {
        let user = self.directory.id(session.user)?.as_str().to_owned();
        Some(Device { user, device: session.device })
    }

    /// Charges the session for something that goes to all subscribers of a channel.
    pub(super) fn check_publishing(&mut self, slot: u32, channel: &ChannelName) -> Result<(), Refused> {
        let per_second = self.settings.namespaces.of(channel).publishes_per_second_max;
        if !self.pay_for_publish(slot, per_second) {
            return Err(("publish_too_fast", "the session publishes faster than it may"));
        }
        let owner = self.home.of_channel(channel);
        match self.lanes.waiting(owner) < PUBLISHES_WAITING_MAX {
            true => Ok(()),
            false => Err((Unavailable::Overloaded.code(), "too much waits for the owner of the channel")),
        }
    }

    /// Whether the shard owns the channel.
    pub(super) fn owns(&self, number: u32) -> bool {
        self.channels.get(number).is_some_and(|channel| matches!(channel.role, Role::Owner { .. }))
    }
}
