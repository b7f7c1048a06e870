//! Messages that clients publish, and what they are told of them.

use campanile_protocol::ids::ChannelName;
use campanile_protocol::messages::{Payload, Publish as PublishFrame, Published, ServerFrame};

use super::lane_message::{ClientPublish, ClientPublished, LaneMessage};
use super::subscribers::{OVER, Subscribers, channel_name};
use crate::names::Name;
use crate::publish::{Publish, PublishDraft, PublishRefused};
use crate::push::readable;
use crate::refused::FrameRefused;
use crate::turn::Turn;

/// A client publishes.
pub(super) fn take_publish(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, slot: u32, frame: PublishFrame) {
    let PublishFrame { r#ref: reference, channel, kind, payload } = frame;
    let publish = channel_name(&reference, &channel)
        .and_then(|name| checked_publish(at, turn, slot, name, kind, payload.unwrap_or_default()));
    let publish = match publish {
        Ok(publish) => publish,
        Err(refused) => {
            turn.counters.client_publishes_refused.add(1);
            return at.net.refuse_frame(turn, slot, &refused, &reference);
        }
    };
    let Some(conn) = at.net.conn(slot) else { return };
    let owner = turn.home.of_channel(&publish.channel);
    let publish = ClientPublish { from: turn.shard, conn, reference, publish };
    if owner == turn.shard {
        publish_for_client(at, turn, publish);
    } else {
        at.channels.lanes.send(owner, LaneMessage::Publish(Box::new(publish)));
    }
}

/// What a client may publish. It is charged for it.
fn checked_publish(
    at: &mut Subscribers<'_>,
    turn: &Turn<'_>,
    slot: u32,
    channel: ChannelName,
    kind: String,
    payload: Payload,
) -> Result<Publish, FrameRefused> {
    let no_kind = FrameRefused::InvalidField("kind has at most 64 bytes, without control characters");
    let kind = Name::optional(kind).map_err(|_| no_kind)?;
    let session = at.net.session(slot).ok_or(OVER)?;
    let payload = readable(Some(payload)).map_err(PublishRefused::from)?;
    let from = at.users.device_of(&session.who);
    let draft = PublishDraft { channel, kind, from, payload };
    let publish = Publish::new(draft, &turn.settings.push_rules())?;
    if !at.channels.may_publish(session, &publish.channel) {
        let words = "the session's token does not allow to publish here";
        return Err(FrameRefused::ChannelForbidden(words));
    }
    at.charge(turn, slot, &publish.channel)?;
    Ok(publish)
}

/// A client's message for a channel that lives on this shard, whose session may live on another.
pub(super) fn publish_for_client(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, publish: ClientPublish) {
    let ClientPublish { from, conn, reference, publish } = publish;
    let channel = publish.channel.clone();
    let result = at.logs().publish(turn, publish);
    let published = ClientPublished { conn, reference, channel, result };
    if from == turn.shard {
        answer_publish(at, turn, published);
    } else {
        at.channels.lanes.send(from, LaneMessage::Published(Box::new(published)));
    }
}

/// Tells a client what became of its message, if it is still there.
pub(super) fn answer_publish(at: &mut Subscribers<'_>, turn: &mut Turn<'_>, published: ClientPublished) {
    let ClientPublished { conn, reference, channel, result } = published;
    if !at.net.has_session(conn) {
        return;
    }
    match result {
        Ok(position) => {
            let channel = channel.as_str().to_owned();
            let published = Published { r#ref: reference, channel, position: Some(position) };
            at.net.send_frame(turn, conn.slot, &ServerFrame::Published(published));
        }
        Err(error) => at.net.refuse_frame(turn, conn.slot, &FrameRefused::Publish(error), &reference),
    }
}
