//! What a session's token allows with channels, from its beginning to its renewal, and the end of what it no longer
//! allows.

use std::sync::Arc;

use super::channel::Joining;
use super::subscribers::Subscribers;
use super::subscribing::check_room;
use super::subscriptions::UNENDING;
use crate::net::wire::NONE;
use crate::refused::FrameRefused;
use crate::tokens::Grants;
use crate::turn::Turn;

/// What the token asks for from the beginning of the session.
pub(super) fn begin_subscriptions(
    at: &mut Subscribers<'_>,
    turn: &mut Turn<'_>,
    slot: u32,
    grants: Option<Arc<Grants>>,
) {
    let Some(grants) = grants else { return };
    set_grants(at, turn, slot, Some(Arc::clone(&grants)));
    for name in &grants.subscribe {
        let joining = Joining { subscription: NONE, reference: String::new(), since: None, newest: 0 };
        let subscribed =
            check_room(at, turn, slot, name).and_then(|()| at.subscribe(turn, slot, name, UNENDING, joining));
        if let Err(refused) = subscribed {
            turn.counters.subscriptions_refused.add(1);
            let refused = FrameRefused::OfToken(name.as_str().to_owned(), Box::new(refused));
            at.net.refuse_frame(turn, slot, &refused, "");
        }
    }
}

/// What the session may do with channels from now on. Subscriptions that are not allowed any more end.
pub(super) fn set_grants(
    at: &mut Subscribers<'_>,
    turn: &mut Turn<'_>,
    slot: u32,
    grants: Option<Arc<Grants>>,
) {
    let Some(session) = at.net.session_mut(slot) else { return };
    let grants = grants.map_or(NONE, |grants| at.channels.grants.add(grants));
    let before = std::mem::replace(&mut session.membership.grants, grants);
    at.channels.grants.remove(before);
    at.end_some(turn, slot, "channel_forbidden", |channels, turn, session, subscription| {
        let name = channels.get(subscription.channel).map(|channel| &channel.name);
        subscription.ends_at().is_none()
            && name.is_some_and(|name| !channels.may_subscribe(turn, session, name))
    });
}

/// Ends subscriptions of a session whose own tokens have expired.
pub(super) fn end_expired(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, slot: u32) {
    let now = turn.now.unix_ms / 1_000;
    at.end_some(turn, slot, "token_expired", |_, _, _, subscription| {
        subscription.ends_at().is_some_and(|until| u64::from(until) <= now)
    });
}
