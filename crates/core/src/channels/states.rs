//! What clients say that their users are doing: typing in a channel, or away altogether. Nothing of it is stored.

use campanile_protocol::messages::SetState;

use super::lane_message::{LaneMessage, UserState};
use super::status;
use super::subscribers::{OVER, Subscribers, channel_name};
use crate::publish::user_of_status;
use crate::refused::FrameRefused;
use crate::turn::Turn;

/// The longest state, in bytes.
const STATE_BYTES_MAX: usize = 32;

/// A client says what its user is doing.
pub(super) fn take_set_state(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, slot: u32, frame: SetState) {
    let SetState { r#ref: reference, channel, state } = frame;
    let taken = if channel.is_empty() {
        set_status(at, turn, slot, &reference, state)
    } else {
        set_state(at, turn, slot, &reference, &channel, state)
    };
    if let Err(refused) = taken {
        at.net.refuse_frame(turn, slot, &refused, &reference);
    }
}

/// For whoever watches the user.
fn set_status(
    at: &mut Subscribers<'_>,
    turn: &Turn<'_>,
    slot: u32,
    reference: &str,
    state: String,
) -> Result<(), FrameRefused> {
    check_state(&state)?;
    let session = at.net.session(slot).ok_or(OVER)?;
    let Some(user) = at.users.id(session.who.user()).cloned() else { return Ok(()) };
    let no_name = FrameRefused::InvalidField("no channel can have the name of this user's status");
    let name = status::status_of(&user).ok_or(no_name)?;
    channel_name(reference, name.as_str())?;
    at.charge(turn, slot, &name)?;
    at.users.presence.say(turn, &user, state);
    Ok(())
}

/// For the subscribers of a channel.
fn set_state(
    at: &mut Subscribers<'_>,
    turn: &Turn<'_>,
    slot: u32,
    reference: &str,
    channel: &str,
    state: String,
) -> Result<(), FrameRefused> {
    let name = channel_name(reference, channel)?;
    check_state(&state)?;
    if user_of_status(&name).is_some() {
        let words = "leave the channel empty to set the user's own status";
        return Err(FrameRefused::ChannelReserved(words));
    }
    let session = at.net.session(slot).ok_or(OVER)?;
    if at.channels.subscription(session, &name).is_none() {
        return Err(FrameRefused::NotSubscribed("the session is not subscribed to this channel"));
    }
    if !turn.settings.namespaces.of(&name).states && !at.channels.may_publish(session, &name) {
        return Err(FrameRefused::ChannelForbidden("only who may publish may tell states here"));
    }
    let Some(from) = at.users.device_of(&session.who) else { return Ok(()) };
    at.charge(turn, slot, &name)?;
    if at.channels.repeated.is_repeated(turn.now.time, channel, &from.user, &state) {
        turn.counters.states_coalesced.add(1);
        return Ok(());
    }
    let owner = turn.home.of_channel(&name);
    let state = UserState { channel: name, from, state };
    if owner == turn.shard {
        at.logs().announce(turn, state);
    } else {
        at.channels.lanes.send(owner, LaneMessage::State(Box::new(state)));
    }
    Ok(())
}

fn check_state(state: &str) -> Result<(), FrameRefused> {
    if !(1..=STATE_BYTES_MAX).contains(&state.len()) || state.chars().any(char::is_control) {
        return Err(FrameRefused::InvalidField("a state has 1 to 32 bytes without control characters"));
    }
    Ok(())
}
