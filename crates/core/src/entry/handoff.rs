//! From the shard that accepted a client to its home shard, where its session opens.

use campanile_engine::{Command, Conn};

use super::EntryHandler;
use super::client::Client;
use super::refusal::Refusal;
use crate::session::State;
use crate::turn::Turn;

/// Hand-offs: clients that have authenticated, and whose home is another shard.
impl EntryHandler<'_> {
    /// Gives a client and its connection to its home, the shard `to`.
    pub(crate) fn hand_off(&mut self, turn: &mut Turn<'_>, conn: Conn, client: Box<Client>, to: usize) {
        turn.counters.hand_offs.add(1);
        self.net.hand_off(turn, conn.slot);
        turn.commands.push(Command::HandOff { conn, to, parcel: client });
    }

    /// Another shard hands over a client who lives here. Gives the client back if a session is to be opened for it.
    pub(crate) fn handed_in(&mut self, turn: &mut Turn<'_>, conn: Conn, client: Client) -> Option<Client> {
        self.net.come(turn, conn, State::HandingOff);
        let refusal = if self.entry.is_draining() {
            Refusal::DrainingMeanwhile
        } else if client.deadline < turn.now.time {
            Refusal::AuthenticationTimeout
        } else {
            return Some(client);
        };
        self.refuse_client(turn, conn.slot, &client, refusal);
        None
    }

    /// The home shard could not take the connection, which has come back.
    pub(crate) fn hand_off_failed(&mut self, turn: &mut Turn<'_>, conn: Conn, client: &Client) {
        self.net.come_back(turn);
        turn.counters.hand_offs_failed.add(1);
        self.refuse_client(turn, conn.slot, client, Refusal::Full);
    }

    /// Refuses a client that has authenticated: over HTTP if its upgrade was not answered yet.
    pub(crate) fn refuse_client(
        &mut self,
        turn: &mut Turn<'_>,
        slot: u32,
        client: &Client,
        refusal: Refusal,
    ) {
        refusal.tell(turn, self.net, slot, client.upgrade.is_none());
    }
}
