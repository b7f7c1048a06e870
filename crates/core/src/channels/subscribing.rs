//! What clients ask for: a subscription, or the end of one.

use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{Subscribe, Unsubscribe};

use super::channel::Joining;
use super::subscribers::{OVER, Subscribers, channel_name};
use super::subscriptions::UNENDING;
use crate::net::ending::Ending;
use crate::net::wire::NONE;
use crate::refused::FrameRefused;
use crate::settings::Mode;
use crate::tokens::TokenError;
use crate::turn::Turn;

/// Checking a signature costs as much as so many frames.
const FRAMES_PER_TOKEN: u32 = 3;

/// A client asks for a channel.
pub(super) fn take_subscribe(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, slot: u32, frame: Subscribe) {
    let Subscribe { r#ref: reference, channel, token, since, newest } = frame;
    let subscribed = channel_name(&reference, &channel).and_then(|name| {
        check_room(at, turn, slot, &name)?;
        let until = check_allowed(at, turn, slot, &name, &token)?;
        let joining = Joining { subscription: NONE, reference: reference.clone(), since, newest };
        at.subscribe(turn, slot, &name, until, joining)
    });
    if let Err(refused) = subscribed {
        turn.counters.subscriptions_refused.add(1);
        at.net.refuse_frame(turn, slot, &refused, &reference);
    }
}

/// Whether the session may have one more subscription, and this one.
pub(super) fn check_room(
    at: &Subscribers<'_>,
    turn: &Turn<'_>,
    slot: u32,
    name: &ChannelName,
) -> Result<(), FrameRefused> {
    let session = at.net.session(slot).ok_or(OVER)?;
    let known = at.channels.find(name);
    let mut count = 0;
    for (_, subscription) in at.channels.subscriptions.of_session(session.membership.subscriptions) {
        count += 1;
        if known == Some(subscription.channel) {
            return Err(FrameRefused::AlreadySubscribed);
        }
    }
    if count >= turn.settings.namespaces.subscriptions_per_session_max {
        return Err(FrameRefused::TooManySubscriptions);
    }
    Ok(())
}

/// Whether the session may subscribe to the channel, and until when a token for the subscription allows it.
fn check_allowed(
    at: &mut Subscribers<'_>,
    turn: &mut Turn<'_>,
    slot: u32,
    name: &ChannelName,
    token: &str,
) -> Result<u32, FrameRefused> {
    let session = at.net.session(slot).ok_or(OVER)?;
    if at.channels.may_subscribe(turn, session, name) {
        return Ok(UNENDING);
    }
    if token.is_empty() {
        return Err(FrameRefused::ChannelForbidden("the session's token does not allow this channel"));
    }
    if !at.net.pay_for_frames(turn, slot, FRAMES_PER_TOKEN) {
        at.net.end(turn, slot, &Ending::TooManyTokens);
        return Err(OVER);
    }
    let session = at.net.session(slot).ok_or(OVER)?;
    let (Mode::Gateway { verifier }, Some(user)) = (&turn.settings.mode, at.users.id(session.who.user()))
    else {
        return Err(FrameRefused::ChannelForbidden("there are no users here"));
    };
    match verifier.verify_subscription(token, user, turn.now.unix_ms) {
        Ok(grant) if grant.channel == *name => {
            Ok(u32::try_from(grant.expires_at).unwrap_or(UNENDING).min(UNENDING - 1))
        }
        Err(TokenError::Expired) => Err(FrameRefused::TokenExpired),
        _ => Err(FrameRefused::TokenInvalid),
    }
}

/// A client wants no more of a channel.
pub(super) fn take_unsubscribe(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, slot: u32, frame: Unsubscribe) {
    let Unsubscribe { r#ref: reference, channel } = frame;
    let found = channel_name(&reference, &channel).and_then(|name| {
        let not_subscribed = FrameRefused::NotSubscribed("the session is not subscribed to this channel");
        at.subscription(slot, &name).ok_or(not_subscribed)
    });
    match found {
        Ok(subscription) => {
            take_back(at, turn, slot, subscription);
            at.end(turn, subscription);
            at.tell_end(turn, slot, reference, channel, "");
        }
        Err(refused) => at.net.refuse_frame(turn, slot, &refused, &reference),
    }
}

/// A subscription that has not begun will not: that is answered, too, if a frame asked for it.
fn take_back(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, slot: u32, subscription: u32) {
    let channel = at.channels.subscriptions.get(subscription).map(|subscription| subscription.channel);
    let Some(channel) = channel.and_then(|number| at.channels.get(number)) else { return };
    let joining = channel.joining.iter().find(|joining| joining.subscription == subscription);
    let Some(reference) = joining.map(|joining| joining.reference.clone()) else { return };
    if !reference.is_empty() {
        let refused = FrameRefused::NotSubscribed("unsubscribed before it began");
        at.net.refuse_frame(turn, slot, &refused, &reference);
    }
}
