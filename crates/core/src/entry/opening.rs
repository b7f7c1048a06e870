//! From the client on its home shard to the session: what the session's side does when the home has answered.

use campanile_engine::{Command, Conn};
use campanile_protocol::messages::{Device, Limits, ServerFrame, Welcome};

use super::EntryHandler;
use super::client::{Client, Upgrade};
use super::refusal::Refusal;
use crate::channels::membership::Membership;
use crate::delivery::window::SessionWindow;
use crate::net::wire::{Agreed, Wire};
use crate::refused::FrameRefused;
use crate::seam::Opened;
use crate::session::Session;
use crate::turn::Turn;
use crate::users::who::Who;

/// Openings: clients on their home shard.
impl EntryHandler<'_> {
    /// The home has not answered by the handshake's deadline.
    pub(crate) fn opening_timed_out(&mut self, turn: &mut Turn<'_>, slot: u32) {
        if let Some(client) = self.net.end_opening(slot) {
            self.refuse_client(turn, slot, &client, Refusal::StoreSlow);
        }
    }

    /// Begins the session that the home has opened: greets the client, and reads on. What waits for the device, its
    /// token's subscriptions and its unread input are the caller's, in this order.
    pub(crate) fn begin(&mut self, turn: &mut Turn<'_>, conn: Conn, client: &Client, opened: &Opened) {
        let slot = conn.slot;
        let mut greeting = match &client.upgrade {
            Some(upgrade) => upgrade.answer(client.agreed.encoding),
            None => Vec::new(),
        };
        greeting.extend_from_slice(&client.owed);
        write_welcome(turn, client, opened, &mut greeting);
        let (device, unix_ms) = (client.device.get(), turn.now.unix_ms);
        let session = Session {
            wire: Wire::new(client.agreed, turn.now_ms(), turn.now_tenths()),
            window: SessionWindow::opened(opened.acknowledged, opened.last_number, opened.may_wait),
            membership: Membership::none(),
            who: Who::new(opened.generation, opened.user, device, client.expires_at, unix_ms),
        };
        self.net.begin_session(turn, slot, session);
        self.net.post(turn, slot, greeting.into());
        if let Some(refused) = client.refused_last(turn.settings.epoch, opened.last_number) {
            self.net.refuse_frame(turn, slot, &refused, "");
        }
        self.net.start_pings(turn, slot);
        turn.commands.push(Command::Watch { conn });
    }

    /// Begins a session whose messages are sent back.
    pub(super) fn begin_echo(&mut self, turn: &mut Turn<'_>, conn: Conn, agreed: Agreed, upgrade: &Upgrade) {
        let slot = conn.slot;
        let Some(handshake) = self.net.leave_handshake(slot) else { return };
        self.entry.left(turn, &handshake);
        let session = Session {
            wire: Wire::new(agreed, turn.now_ms(), turn.now_tenths()),
            window: SessionWindow::default(),
            membership: Membership::none(),
            who: Who::echo(turn.now.unix_ms),
        };
        self.net.begin_session(turn, slot, session);
        self.net.post(turn, slot, upgrade.answer(agreed.encoding).into());
        self.net.start_pings(turn, slot);
        turn.commands.push(Command::Watch { conn });
    }
}

/// What a client says that it has processed.
impl Client {
    /// The number up to which the hello confirms: 0, and counted, if it is of another epoch or was never handed out.
    pub(crate) fn acknowledged_before(&self, turn: &Turn<'_>, last_number: u64) -> u64 {
        let refused = self.refused_last(turn.settings.epoch, last_number).is_some();
        turn.counters.acknowledgements_refused.add(u64::from(refused));
        if refused { 0 } else { self.last }
    }

    /// Why the hello confirms nothing, although it has a number.
    fn refused_last(&self, epoch: u64, last_number: u64) -> Option<FrameRefused> {
        if self.last > 0 && self.last_epoch != epoch {
            return Some(FrameRefused::OtherEpoch);
        }
        (self.last > last_number).then_some(FrameRefused::NotHandedOut("`last` was never handed out"))
    }
}

fn write_welcome(turn: &Turn<'_>, client: &Client, opened: &Opened, out: &mut Vec<u8>) {
    let (settings, limits) = (turn.settings, &turn.settings.limits);
    let welcome = Welcome {
        device: Some(Device { user: client.user.as_str().to_owned(), device: client.device.get() }),
        generation: opened.generation,
        node: settings.node.clone(),
        epoch: settings.epoch,
        ping_interval_ms: limits.ping_interval_ms,
        limits: Some(Limits {
            message_bytes_max: u32::try_from(limits.message_bytes_max).unwrap_or(u32::MAX),
            window_messages_max: limits.window_messages_max,
            window_bytes_max: limits.window_bytes_max,
        }),
        server_time_ms: i64::try_from(turn.now.unix_ms).unwrap_or(i64::MAX),
        capabilities: Vec::new(),
        waiting: opened.waiting,
        acknowledged: opened.acknowledged,
    };
    let encoded = ServerFrame::Welcome(welcome).encode_frame(client.agreed.encoding, out);
    debug_assert!(encoded.is_ok(), "a welcome has no payload that could fail");
}

#[cfg(test)]
mod tests {
    use campanile_engine::Time;
    use campanile_protocol::messages::Encoding;

    use super::{Agreed, Client, FrameRefused};

    fn client(last: u64, last_epoch: u64) -> Client {
        Client {
            user: "ada".try_into().expect("an id"),
            device: 1.try_into().expect("a device"),
            expires_at: 0,
            grants: None,
            agreed: Agreed { encoding: Encoding::Json, acknowledges: true, deflate: false },
            last,
            last_epoch,
            upgrade: None,
            unread: Vec::new(),
            owed: Vec::new(),
            deadline: Time(0),
        }
    }

    #[test]
    fn a_hello_confirms_only_numbers_of_this_store_that_were_handed_out() {
        let refused = |last, last_epoch| client(last, last_epoch).refused_last(9, 100);
        assert_eq!([refused(0, 0), refused(0, 8), refused(1, 9), refused(100, 9)], [None, None, None, None]);
        assert_eq!(refused(1, 8), Some(FrameRefused::OtherEpoch));
        assert_eq!(refused(101, 8), Some(FrameRefused::OtherEpoch));
        assert!(matches!(refused(101, 9), Some(FrameRefused::NotHandedOut(_))));
    }
}
