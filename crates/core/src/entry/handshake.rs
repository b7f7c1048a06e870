//! From the accepted connection to the authenticated client: PROXY header, upgrade, hello.

use std::net::IpAddr;
use std::time::Duration;

use campanile_engine::{Command, Conn};
use campanile_protocol::frame::Decoder;
use campanile_protocol::proxy::{self, Parsed};
use campanile_protocol::upgrade::{HeadReader, write_answer};

use super::addresses::network_of;
use super::admission::{Admission, Admitted, Asker, Decision};
use super::client::{Client, Handshake, Phase, Upgrade};
use super::hello::{Heard, read_hello};
use super::refusal::{HelloRefused, Refusal};
use super::{Entered, EntryHandler};
use crate::net::wire::{Agreed, NONE};
use crate::tokens::Identity;
use crate::turn::Turn;

/// Handshakes: what the driver reports of connections that are not authenticated.
impl EntryHandler<'_> {
    /// A client has connected.
    pub(crate) fn accepted(&mut self, turn: &mut Turn<'_>, conn: Conn, peer: IpAddr) {
        // A socket for both families names IPv4 peers in IPv6 (RFC 4291 §2.5.5.2).
        let peer = peer.to_canonical();
        let settings = turn.settings;
        turn.counters.connections_accepted.add(1);
        turn.counters.handshakes.add(1);
        let is_proxy = settings.proxy_protocol_from.iter().any(|network| network.contains(&peer));
        let phase = if is_proxy { Phase::Proxy(Vec::new()) } else { Phase::Head(HeadReader::new()) };
        let deadline = turn.now.time + Duration::from_millis(settings.limits.handshake_timeout_ms.into());
        let handshake = Handshake { address: peer, phase, deadline, counted: false, outbox: NONE };
        self.net.accept(turn, conn, handshake, self.entry.is_draining());
        self.net.set_deadline(conn.slot, deadline);
        if is_proxy || self.count(turn, conn.slot, peer) {
            turn.commands.push(Command::WatchOnce { conn });
        }
    }

    /// Takes input of a connection that shakes hands.
    pub(crate) fn input<'d>(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        mut data: &'d mut [u8],
    ) -> Entered<'d> {
        let Some(handshake) = self.net.handshake_mut(conn.slot) else { return Entered::Nothing };
        if matches!(handshake.phase, Phase::Proxy(_)) {
            match self.read_proxy_header(turn, conn, data) {
                Some(rest) => data = rest,
                None => return Entered::Nothing,
            }
        }
        match self.net.handshake_mut(conn.slot).map(|handshake| &handshake.phase) {
            Some(Phase::Head(_)) => self.read_head(turn, conn, data),
            Some(Phase::Hello { .. }) => self.read_hello(turn, conn, data),
            Some(Phase::Proxy(_)) | None => Entered::Nothing,
        }
    }

    /// The handshake was not over at its deadline.
    pub(crate) fn timed_out(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let Some(handshake) = self.net.handshake_mut(slot) else { return };
        match handshake.phase {
            Phase::Hello { .. } => Refusal::AuthenticationTimeout.tell(turn, self.net, slot, true),
            Phase::Proxy(_) | Phase::Head(_) => Refusal::RequestTimeout.tell(turn, self.net, slot, false),
        }
    }

    /// Counts a handshake for its address. False if it is refused, because there are too many.
    fn count(&mut self, turn: &mut Turn<'_>, slot: u32, address: IpAddr) -> bool {
        let Some(handshake) = self.net.handshake_mut(slot) else { return false };
        handshake.address = network_of(address);
        handshake.counted = true;
        let under_way = self.entry.addresses.enter(handshake.address);
        let too_many = under_way > turn.settings.limits.handshakes_per_address_max;
        if too_many {
            Refusal::TooManyHandshakes.tell(turn, self.net, slot, false);
        }
        !too_many
    }

    /// Reads the header of a proxy. What follows it, if that is not empty: the client's request.
    fn read_proxy_header<'d>(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        data: &'d mut [u8],
    ) -> Option<&'d mut [u8]> {
        let handshake = self.net.handshake_mut(conn.slot)?;
        let Phase::Proxy(header) = &mut handshake.phase else { return Some(data) };
        let earlier = header.len();
        header.extend_from_slice(data);
        match proxy::parse(header) {
            Ok(Parsed::Incomplete) => {
                turn.commands.push(Command::WatchOnce { conn });
                None
            }
            Ok(Parsed::Header { len, source }) => {
                let address = source.map_or(handshake.address, |source| source.ip().to_canonical());
                handshake.phase = Phase::Head(HeadReader::new());
                if !self.count(turn, conn.slot, address) {
                    return None;
                }
                // It was incomplete without this input, so that it ends there.
                let rest = &mut data[len - earlier..];
                if rest.is_empty() {
                    turn.commands.push(Command::WatchOnce { conn });
                    return None;
                }
                Some(rest)
            }
            // Nobody but the proxy could read an answer, and it did not speak its own protocol.
            Ok(Parsed::NotProxy) | Err(_) => {
                turn.counters.proxy_headers_malformed.add(1);
                self.net.abort(turn, conn.slot);
                None
            }
        }
    }

    /// Reads the upgrade request.
    fn read_head<'d>(&mut self, turn: &mut Turn<'_>, conn: Conn, data: &'d mut [u8]) -> Entered<'d> {
        let slot = conn.slot;
        let admission = Admission {
            settings: turn.settings,
            is_draining: self.entry.is_draining(),
            is_full: self.entry.is_full(turn),
            unix_ms: turn.now.unix_ms,
        };
        let Some(Handshake { phase: Phase::Head(reader), .. }) = self.net.handshake_mut(slot) else {
            return Entered::Nothing;
        };
        let mut input = &data[..];
        let decision = match reader.next(&mut input) {
            Ok(Some(head)) => admission.decide(head),
            Ok(None) => {
                turn.commands.push(Command::WatchOnce { conn });
                return Entered::Nothing;
            }
            Err(error) => Err(error.into()),
        };
        let taken = data.len() - input.len();
        match decision {
            Ok(Decision::Admit(admitted)) => self.admitted(turn, conn, admitted, &mut data[taken..]),
            Ok(Decision::Answer(body)) => {
                let mut response = Vec::with_capacity(128);
                write_answer(&mut response, body);
                self.net.finish(turn, slot, response.into());
                Entered::Nothing
            }
            Err(refusal) => {
                refusal.tell(turn, self.net, slot, false);
                Entered::Nothing
            }
        }
    }

    /// The request is accepted. It is answered now only if nobody is to be asked about a device first.
    fn admitted<'d>(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        admitted: Admitted,
        rest: &'d mut [u8],
    ) -> Entered<'d> {
        let Admitted { asker, agreed, upgrade } = admitted;
        match asker {
            Asker::Known(identity) => {
                let terms =
                    Terms { agreed, last: 0, last_epoch: 0, upgrade: Some(upgrade), owed: Vec::new() };
                self.authenticated(turn, conn, identity, terms, rest)
            }
            Asker::Unknown => {
                self.await_hello(turn, conn, agreed, &upgrade, rest.is_empty());
                Entered::Nothing
            }
            Asker::Echo => {
                self.begin_echo(turn, conn, agreed, &upgrade);
                Entered::Echo(rest)
            }
        }
    }

    /// Answers the upgrade of a client that will say in its first frame who it is.
    fn await_hello(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        agreed: Agreed,
        upgrade: &Upgrade,
        has_waited: bool,
    ) {
        self.net.post(turn, conn.slot, upgrade.answer(agreed.encoding).into());
        if let Some(handshake) = self.net.handshake_mut(conn.slot) {
            handshake.phase = Phase::Hello { decoder: Decoder::new(), agreed };
        }
        // A client must not send before it has read our answer (RFC 6455 §4.1), and a hello that is handed off
        // before the answer has left would overtake it.
        if has_waited {
            turn.commands.push(Command::WatchOnce { conn });
        } else {
            HelloRefused::TooEarly.tell(turn, self.net, conn.slot);
        }
    }

    /// Reads the hello.
    fn read_hello<'d>(&mut self, turn: &mut Turn<'_>, conn: Conn, data: &'d mut [u8]) -> Entered<'d> {
        let slot = conn.slot;
        let Some(Handshake { phase: Phase::Hello { decoder, agreed }, .. }) = self.net.handshake_mut(slot)
        else {
            return Entered::Nothing;
        };
        let agreed = *agreed;
        let mut input = data;
        let mut pong = Vec::new();
        match read_hello(turn, &mut self.entry.inflating, decoder, agreed, &mut input, &mut pong) {
            Ok(Heard::Hello { identity, last, last_epoch }) => {
                let terms = Terms { agreed, last, last_epoch, upgrade: None, owed: pong };
                return self.authenticated(turn, conn, identity, terms, input);
            }
            Ok(Heard::Nothing) => {
                if !pong.is_empty() {
                    self.net.post(turn, slot, pong.into());
                }
                turn.commands.push(Command::WatchOnce { conn });
            }
            Ok(Heard::Close(code)) => self.net.answer_close(turn, slot, code),
            Err(refused) => refused.tell(turn, self.net, slot),
        }
        Entered::Nothing
    }

    /// The client is known: the handshake is over.
    fn authenticated<'d>(
        &mut self,
        turn: &mut Turn<'_>,
        conn: Conn,
        identity: Identity,
        terms: Terms,
        unread: &[u8],
    ) -> Entered<'d> {
        let Some(handshake) = self.net.leave_handshake(conn.slot) else { return Entered::Nothing };
        self.entry.left(turn, &handshake);
        // A send that waits would leave from a connection that is gone.
        debug_assert!(handshake.outbox == NONE, "authenticated in a turn that sends already");
        let client = Client {
            user: identity.user,
            device: identity.device,
            expires_at: identity.expires_at,
            grants: identity.grants,
            agreed: terms.agreed,
            last: terms.last,
            last_epoch: terms.last_epoch,
            upgrade: terms.upgrade,
            unread: unread.to_vec(),
            owed: terms.owed,
            deadline: handshake.deadline,
        };
        if self.entry.is_draining() {
            // The upgrade was answered before: the pass that closes sessions may be over.
            self.refuse_client(turn, conn.slot, &client, Refusal::DrainingMeanwhile);
            return Entered::Nothing;
        }
        Entered::Client(Box::new(client))
    }
}

/// On which terms a client comes, beside its identity; see [`Client`].
struct Terms {
    agreed: Agreed,
    last: u64,
    last_epoch: u64,
    upgrade: Option<Upgrade>,
    owed: Vec<u8>,
}
