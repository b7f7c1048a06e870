//! From the accepted connection to the authenticated client: PROXY header, upgrade, hello.
//!
//! Nothing stays armed on the socket until the session begins: input is asked for once at a time. The whole has one
//! deadline, whatever arrives in between.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use campanile_engine::{Command, Commands, Conn};
use campanile_protocol::frame::{self, Decoder, Message, Opcode, close_code};
use campanile_protocol::messages::{ClientFrame, Encoding};
use campanile_protocol::proxy::{self, Parsed};
use campanile_protocol::upgrade::{self, HeadReader, Refusal, UpgradeError, UpgradeRequest};

use super::Shard;
use super::connection::{Handshake, Parcel, Phase, State, Upgrade};
use super::directory::NONE;
use super::probe::Probe;
use super::settings::Mode;
use crate::tokens::{Identity, TOKEN_BYTES_MAX, TokenError};

/// Where sessions are opened.
const CONNECT_PATH: &str = "/v2/connect";
/// What a client that is refused for want of room is told to wait, in seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The largest frame of a client that has not authenticated, in bytes: twice the longest token.
const HELLO_BYTES_MAX: usize = 2 * TOKEN_BYTES_MAX;

/// A client that has authenticated.
pub(super) struct Client {
    pub(super) identity: Identity,
    pub(super) encoding: Encoding,
    /// False for `ack=none`.
    pub(super) acknowledges: bool,
    /// Whether messages may be compressed (RFC 7692).
    pub(super) deflate: bool,
    /// What it says that it has processed, and the epoch of that number; 0 for nothing.
    pub(super) last: u64,
    pub(super) last_epoch: u64,
    /// How its upgrade is still to be answered.
    pub(super) upgrade: Option<Upgrade>,
    /// Frames that go before its welcome.
    pub(super) owed: Vec<u8>,
}

/// What the upgrade request led to.
enum Judged {
    /// The client is known.
    Known(Identity, Encoding, Upgrade),
    /// The client will say in its first frame who it is.
    Unknown(Encoding, Upgrade),
}

impl Shard {
    pub(super) fn accepted(&mut self, conn: Conn, peer: IpAddr, commands: &mut Commands<Parcel>) {
        // A socket for both families names IPv4 peers in IPv6 (RFC 4291 §2.5.5.2).
        let peer = peer.to_canonical();
        self.counters.connections_accepted.add(1);
        let late = self.draining.is_some();
        if late {
            self.latecomers += 1;
        } else {
            self.settings.connections.fetch_add(1, Ordering::Relaxed);
        }
        let proxied = self.settings.proxy_protocol_from.iter().any(|net| net.contains(&peer));
        let phase = if proxied { Phase::Proxy(Vec::new()) } else { Phase::Head(HeadReader::new()) };
        let deadline =
            self.now.time + Duration::from_millis(self.settings.limits.handshake_timeout_ms.into());
        self.counters.handshakes.add(1);
        self.counters.connections.add(1);
        let handshake = Handshake { address: peer, phase, deadline, counted: false, outbox: NONE };
        let connection = self.connections.entry(conn.slot);
        connection.generation = conn.generation;
        connection.late = late;
        connection.state = State::Handshake(Box::new(handshake));
        self.wheel.set(conn.slot, deadline);
        if !proxied && !self.count_handshake(conn.slot, peer) {
            return;
        }
        commands.push(Command::WatchOnce { conn });
    }

    /// Counts a handshake for its address; refuses it if there are too many.
    fn count_handshake(&mut self, slot: u32, address: IpAddr) -> bool {
        let address = network_of(address);
        let under_way = self.handshakes.entry(address).or_default();
        *under_way += 1;
        let too_many = *under_way > self.settings.limits.handshakes_per_address_max;
        if let Some(State::Handshake(handshake)) = self.connections.get_mut(slot).map(|c| &mut c.state) {
            handshake.address = address;
            handshake.counted = true;
        }
        if too_many {
            self.counters.upgrades_refused_address.add(1);
            self.refuse(
                slot,
                429,
                "too_many_handshakes",
                "too many handshakes are under way from this address",
            );
        }
        !too_many
    }

    /// Takes an ending handshake out of the counts.
    pub(super) fn leave_handshake(&mut self, handshake: &Handshake) {
        self.counters.handshakes.subtract(1);
        if handshake.counted
            && let Some(count) = self.handshakes.get_mut(&handshake.address)
        {
            *count -= 1;
            if *count == 0 {
                self.handshakes.remove(&handshake.address);
            }
        }
    }

    pub(super) fn handshake_timed_out(&mut self, slot: u32) {
        self.counters.handshakes_timed_out.add(1);
        let Some(State::Handshake(handshake)) = self.connections.get(slot).map(|c| &c.state) else { return };
        match handshake.phase {
            Phase::Hello { .. } => self.close(slot, close_code::HELLO_TIMEOUT, "too slow to authenticate"),
            _ => self.refuse(slot, 408, "handshake_timeout", "the request did not arrive in time"),
        }
    }

    pub(super) fn refuse(&mut self, slot: u32, status: u16, code: &str, message: &str) {
        let retry_after_seconds = matches!(status, 429 | 503).then_some(RETRY_AFTER_SECONDS);
        let mut response = Vec::with_capacity(256);
        upgrade::write_refusal(&mut response, &Refusal { status, code, message, retry_after_seconds });
        self.finish(slot, response.into());
    }

    fn refuse_request(&mut self, slot: u32, error: UpgradeError) {
        self.counters.upgrades_malformed.add(1);
        let mut response = Vec::with_capacity(256);
        error.write_refusal(&mut response);
        self.finish(slot, response.into());
    }

    /// Takes input of a connection that shakes hands.
    pub(super) fn handshake_input(&mut self, conn: Conn, data: &mut [u8], commands: &mut Commands<Parcel>) {
        let slot = conn.slot;
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let State::Handshake(handshake) = &mut connection.state else { return };
        match &mut handshake.phase {
            Phase::Proxy(header) => {
                let mut header = std::mem::take(header);
                header.extend_from_slice(data);
                self.proxy_input(conn, header, commands);
            }
            Phase::Head(reader) => {
                let mut reader = std::mem::take(reader);
                let mut input = &data[..];
                match reader.next(&mut input) {
                    Err(error) => self.refuse_request(slot, error),
                    Ok(Some(head)) => {
                        let rest = input.len();
                        let judged = self.judge(slot, head);
                        let rest = data.len() - rest;
                        if let Some(judged) = judged {
                            self.upgrade(conn, judged, &mut data[rest..], commands);
                        }
                    }
                    Ok(None) => {
                        self.set_phase(slot, Phase::Head(reader));
                        commands.push(Command::WatchOnce { conn });
                    }
                }
            }
            Phase::Hello { decoder, encoding, acknowledges, deflate } => {
                let (mut decoder, encoding, acknowledges, deflate) =
                    (std::mem::take(decoder), *encoding, *acknowledges, *deflate);
                let mut input = data;
                let mut pong = Vec::new();
                if let Some((identity, last, last_epoch)) =
                    self.await_hello(slot, &mut decoder, (encoding, deflate), &mut input, &mut pong)
                {
                    let client = Client {
                        identity,
                        encoding,
                        acknowledges,
                        deflate,
                        last,
                        last_epoch,
                        upgrade: None,
                        owed: pong,
                    };
                    return self.authenticated(conn, client, input, commands);
                }
                if self.set_phase(slot, Phase::Hello { decoder, encoding, acknowledges, deflate }) {
                    if !pong.is_empty() {
                        self.post(slot, pong.into());
                    }
                    commands.push(Command::WatchOnce { conn });
                }
            }
        }
    }

    /// False if the connection shakes hands no more.
    fn set_phase(&mut self, slot: u32, phase: Phase) -> bool {
        match self.connections.get_mut(slot).map(|connection| &mut connection.state) {
            Some(State::Handshake(handshake)) => {
                handshake.phase = phase;
                true
            }
            _ => false,
        }
    }

    fn proxy_input(&mut self, conn: Conn, mut header: Vec<u8>, commands: &mut Commands<Parcel>) {
        match proxy::parse(&header) {
            Ok(Parsed::Incomplete) => {
                self.set_phase(conn.slot, Phase::Proxy(header));
                commands.push(Command::WatchOnce { conn });
            }
            Ok(Parsed::Header { len, source }) => {
                let Some(State::Handshake(handshake)) = self.connections.get(conn.slot).map(|c| &c.state)
                else {
                    return;
                };
                let address = source.map_or(handshake.address, |source| source.ip().to_canonical());
                if !self.count_handshake(conn.slot, address) {
                    return;
                }
                self.set_phase(conn.slot, Phase::Head(HeadReader::new()));
                match &mut header[len..] {
                    [] => commands.push(Command::WatchOnce { conn }),
                    rest => self.handshake_input(conn, rest, commands),
                }
            }
            // Nobody but the proxy could read an answer, and it did not speak its own protocol.
            Ok(Parsed::NotProxy) | Err(_) => {
                self.counters.proxy_headers_malformed.add(1);
                self.abort(conn.slot, commands);
            }
        }
    }

    /// Decides what to do with an upgrade request. `None` if it was refused.
    fn judge(&mut self, slot: u32, head: &[u8]) -> Option<Judged> {
        let request = match UpgradeRequest::parse(head) {
            Ok(request) => request,
            Err(error) => {
                match Probe::of(head).filter(|_| !self.settings.is_echo()) {
                    Some(probe) => self.answer_probe(slot, probe),
                    None => self.refuse_request(slot, error),
                }
                return None;
            }
        };
        if let Some((status, code, message)) = self.refusal(&request) {
            self.refuse(slot, status, code, message);
            return None;
        }
        let echo = self.settings.is_echo();
        let encoding = Encoding::negotiate(request.protocols());
        let offered = encoding.is_some();
        if !offered && !echo && request.protocols().next().is_some() {
            self.refuse_request(slot, UpgradeError::Subprotocol);
            return None;
        }
        // A client that offers nothing is one that was written by hand: it gets the form that people read.
        let encoding = encoding.unwrap_or(Encoding::Json);
        let acknowledges = acknowledges(request.query) != Some(false);
        let deflate = request.deflate.filter(|_| !echo && self.settings.namespaces.any_deflates());
        let upgrade = Upgrade { key: request.key.into(), offered: offered && !echo, acknowledges, deflate };
        let Mode::Gateway { verifier } = &self.settings.mode else {
            return Some(Judged::Unknown(encoding, upgrade));
        };
        let Some(token) = request.bearer_token() else {
            return Some(Judged::Unknown(encoding, upgrade));
        };
        match verifier.verify(token, self.now.unix_ms) {
            Ok(identity) => Some(Judged::Known(identity, encoding, upgrade)),
            Err(error) => {
                self.count_refused_token(&error);
                let code = if error == TokenError::Expired { "token_expired" } else { "token_invalid" };
                self.refuse(slot, 401, code, &error.to_string());
                None
            }
        }
    }

    /// What stands against an upgrade, whoever asks.
    fn refusal(&self, request: &UpgradeRequest<'_>) -> Option<(u16, &'static str, &'static str)> {
        if self.draining.is_some() {
            self.counters.upgrades_refused_draining.add(1);
            return Some((503, "draining", "the node is stopping: connect again to another"));
        }
        if self.is_full() {
            self.counters.upgrades_refused_full.add(1);
            return Some((503, "full", "the node has as many connections as it takes"));
        }
        if !self.settings.is_echo() && request.path != CONNECT_PATH {
            self.counters.upgrades_not_found.add(1);
            return Some((404, "not_found", "the socket is at /v2/connect"));
        }
        if acknowledges(request.query).is_none() {
            self.counters.upgrades_malformed.add(1);
            return Some((400, "bad_query", "`ack` is `cumulative` (the default) or `none`"));
        }
        let allowed = &self.settings.allowed_origins;
        let forbidden = |origin: &str| !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        if !allowed.is_empty() && request.origin.is_some_and(forbidden) {
            self.counters.upgrades_forbidden_origin.add(1);
            return Some((403, "origin_forbidden", "this origin may not connect"));
        }
        None
    }

    fn count_refused_token(&self, error: &TokenError) {
        match error {
            TokenError::Expired => self.counters.tokens_expired.add(1),
            _ => self.counters.tokens_refused.add(1),
        }
    }

    fn upgrade(&mut self, conn: Conn, judged: Judged, rest: &mut [u8], commands: &mut Commands<Parcel>) {
        let (encoding, upgrade) = match judged {
            Judged::Known(identity, encoding, upgrade) => {
                let client = Client::new(identity, encoding, upgrade);
                return self.authenticated(conn, client, rest, commands);
            }
            Judged::Unknown(encoding, upgrade) => (encoding, upgrade),
        };
        if self.settings.is_echo() {
            return self.open_echo(conn, encoding, &upgrade, rest, commands);
        }
        self.post(conn.slot, switching_protocols(&upgrade, encoding).into());
        let (acknowledges, deflate) = (upgrade.acknowledges, upgrade.deflate.is_some());
        let decoder = Decoder::new();
        self.set_phase(conn.slot, Phase::Hello { decoder, encoding, acknowledges, deflate });
        // A client must not send before it has read our answer (RFC 6455 §4.1), and a hello that is handed off
        // before the answer has left would overtake it.
        if rest.is_empty() {
            commands.push(Command::WatchOnce { conn });
        } else {
            self.close(conn.slot, close_code::PROTOCOL_ERROR, "frames before the upgrade was answered");
        }
    }

    /// Reads up to the hello: who it is, and what it has processed of which epoch. What follows it stays in `input`. The last ping is answered in `pong` (RFC 6455
    /// §5.5.3), which is not sent at once: the connection may be handed off, and then its home shard sends it.
    fn await_hello(
        &mut self,
        slot: u32,
        decoder: &mut Decoder,
        (encoding, deflate): (Encoding, bool),
        input: &mut &mut [u8],
        pong: &mut Vec<u8>,
    ) -> Option<(Identity, u64, u64)> {
        let mut limits = self.frame_limits();
        limits.message_bytes_max = limits.message_bytes_max.min(HELLO_BYTES_MAX);
        limits.deflate = deflate;
        loop {
            let hello = match decoder.next(input, &limits) {
                Ok(None) => return None,
                Err(error) => {
                    self.counters.sessions_malformed.add(1);
                    self.close(slot, error.close_code(), error.reason());
                    return None;
                }
                Ok(Some(Message::Ping(payload))) => {
                    *pong = frame::frame(Opcode::Pong, payload);
                    continue;
                }
                Ok(Some(Message::Pong(_))) => continue,
                Ok(Some(Message::Close(code))) => {
                    self.answer_close(slot, code.map(|(code, _)| code));
                    return None;
                }
                Ok(Some(Message::Compressed { text, payload })) => {
                    match self.inflating.message(text, payload, limits.message_bytes_max) {
                        Ok(message) => ClientFrame::decode(encoding, &message),
                        Err(error) => {
                            self.counters.sessions_malformed.add(1);
                            self.close(slot, error.close_code(), error.reason());
                            return None;
                        }
                    }
                }
                Ok(Some(message)) => ClientFrame::decode(encoding, &message),
            };
            let (Mode::Gateway { verifier }, Ok(ClientFrame::Hello(hello))) = (&self.settings.mode, &hello)
            else {
                self.counters.sessions_malformed.add(1);
                self.close(slot, close_code::UNAUTHENTICATED, "the first frame must be a hello with a token");
                return None;
            };
            return match verifier.verify(&hello.token, self.now.unix_ms) {
                Ok(identity) => Some((identity, hello.last, hello.epoch)),
                Err(error) => {
                    self.count_refused_token(&error);
                    self.close(slot, close_code::UNAUTHENTICATED, &error.to_string());
                    None
                }
            };
        }
    }
}

/// What handshakes are counted by: an IPv4 address, or the /64 that one IPv6 host has to itself.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

/// Whether a client acknowledges what it is delivered, by the query of its upgrade request; `None` if that is neither.
fn acknowledges(query: Option<&str>) -> Option<bool> {
    let ack = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("ack="));
    match ack {
        None | Some("cumulative") => Some(true),
        Some("none") => Some(false),
        Some(_) => None,
    }
}

impl Client {
    /// A client whose token came with its upgrade request.
    fn new(identity: Identity, encoding: Encoding, upgrade: Upgrade) -> Client {
        let (acknowledges, deflate) = (upgrade.acknowledges, upgrade.deflate.is_some());
        Client {
            identity,
            encoding,
            acknowledges,
            deflate,
            last: 0,
            last_epoch: 0,
            upgrade: Some(upgrade),
            owed: Vec::new(),
        }
    }
}

pub(super) fn switching_protocols(upgrade: &Upgrade, encoding: Encoding) -> Vec<u8> {
    let mut response = Vec::with_capacity(320);
    let subprotocol = upgrade.offered.then(|| encoding.subprotocol());
    upgrade::write_switching_protocols(&mut response, &upgrade.key, subprotocol, upgrade.deflate);
    response
}
