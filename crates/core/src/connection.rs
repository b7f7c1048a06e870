//! What a shard keeps for a connection.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use campanile_engine::{Conn, Time};
use campanile_protocol::frame::Decoder;
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::Encoding;
use campanile_protocol::upgrade::{DeflateOffer, HeadReader};

use super::directory::NONE;
use super::mail::Mail;
use crate::tokens::Grants;

/// A slot of the shard's table.
#[derive(Default)]
pub(super) struct Connection {
    /// The driver's generation of the slot.
    pub(super) generation: u32,
    /// It came when the shard was draining already: nobody waits for its end.
    pub(super) late: bool,
    pub(super) state: State,
}

// Promised: see `results/`. The rest of a session's memory is its timer, its user's entry, the driver's slot.
const _: () = assert!(size_of::<Connection>() <= 80);

#[derive(Default)]
pub(super) enum State {
    #[default]
    Free,
    /// Not authenticated yet.
    Handshake(Box<Handshake>),
    /// On its way to its home shard.
    HandingOff,
    /// On its home shard; the store is asked about the device.
    Opening(Box<Parcel>),
    Session(Session),
    /// Our close frame is under way.
    Closing(Box<Closing>),
}

/// A connection before its session.
pub(super) struct Handshake {
    /// Where the client is, as far as is known.
    pub(super) address: IpAddr,
    pub(super) phase: Phase,
    /// The handshake as a whole ends here.
    pub(super) deadline: Time,
    /// Whether `address` is counted among the handshakes of its address.
    pub(super) counted: bool,
    /// The index in the outbox while bytes are to be sent this turn, or `NONE`.
    pub(super) outbox: u32,
}

pub(super) enum Phase {
    /// A PROXY header is to come; what has come of it.
    Proxy(Vec<u8>),
    /// The upgrade request is to come.
    Head(HeadReader),
    /// The upgrade was answered; a hello with a token is to come.
    Hello { decoder: Decoder, encoding: Encoding, acknowledges: bool, deflate: bool },
}

/// A connection that has authenticated as one device.
pub(super) struct Session {
    /// Owns memory only while a message is incomplete.
    pub(super) decoder: Decoder,
    /// What the socket did not take; nothing else is sent before it.
    pub(super) unsent: Option<Box<Unsent>>,
    /// What is unconfirmed or waits; `None` when it was sent everything and has confirmed all of it.
    pub(super) mail: Option<Box<Mail>>,
    /// The session's number.
    pub(super) number: u64,
    /// The user's number in the directory, or `NONE` for an echo.
    pub(super) user: u32,
    /// 0 for an echo.
    pub(super) device: u32,
    /// The first of its subscriptions to channels, or `NONE`.
    pub(super) subscriptions: u32,
    /// What it may do with channels, by its number among all grants, or `NONE`.
    pub(super) grants: u32,
    /// The index in the outbox while bytes are to be sent this turn, or `NONE`.
    pub(super) outbox: u32,
    /// When the last input came, or the ping was sent that is not answered, in wrapping milliseconds of the monotonic
    /// clock: silence and patience count from here.
    pub(super) heard_ms: u32,
    /// Up to when the frames that came are paid for (generic cell rate algorithm), in wrapping tenths of milliseconds.
    pub(super) paid_until: u32,
    /// Seconds since the Unix epoch.
    pub(super) connected_at: u32,
    /// When the token ends, in seconds since the Unix epoch.
    pub(super) expires_at: u32,
    pub(super) encoding: Encoding,
    /// False for `ack=none`: what is sent counts as confirmed.
    pub(super) acknowledges: bool,
    /// Whether messages may be compressed (RFC 7692).
    pub(super) deflate: bool,
    pub(super) ping: Ping,
}

/// What is known of whether the client is there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Ping {
    /// The first ping, which comes early, is still to be sent.
    Due,
    /// The client was heard of.
    Answered,
    /// A ping was sent and nothing came since.
    Sent,
}

/// What a socket did not take. May be empty: then nothing is lacking but room.
pub(super) struct Unsent {
    pub(super) bytes: Bytes,
    /// When the socket last took something, in the milliseconds of `heard_ms`.
    pub(super) stalled_ms: u32,
}

/// A connection that we close: the code may still wait for room in the socket.
pub(super) struct Closing {
    pub(super) unsent: Option<Bytes>,
    pub(super) outbox: u32,
}

/// What travels with a connection to its home shard.
#[derive(Debug)]
pub struct Parcel {
    pub(super) user: UserId,
    pub(super) device: DeviceId,
    /// When the token ends, in seconds since the Unix epoch.
    pub(super) expires_at: u64,
    /// What the token allows with channels.
    pub(super) grants: Option<Arc<Grants>>,
    pub(super) encoding: Encoding,
    /// False for `ack=none`.
    pub(super) acknowledges: bool,
    /// Whether messages may be compressed.
    pub(super) deflate: bool,
    /// What the device says that it has processed, and the epoch of that number; 0 for nothing.
    pub(super) last: u64,
    pub(super) last_epoch: u64,
    /// How the upgrade is still to be answered; `None` if it was.
    pub(super) upgrade: Option<Upgrade>,
    /// Bytes that the client sent behind its request or its hello.
    pub(super) unread: Vec<u8>,
    /// Frames that go before the welcome: the pong to a ping that came with the hello.
    pub(super) owed: Vec<u8>,
    /// The handshake's deadline.
    pub(super) deadline: Time,
}

/// What the answer to an upgrade needs.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// `Sec-WebSocket-Key`.
    pub(super) key: Box<str>,
    /// Whether the client offered the subprotocol, so that it is to be named.
    pub(super) offered: bool,
    /// False for `ack=none`.
    pub(super) acknowledges: bool,
    /// The client's offer to compress messages, if it is taken.
    pub(super) deflate: Option<DeflateOffer>,
}

impl Connection {
    pub(super) fn conn(&self, slot: u32) -> Conn {
        Conn { slot, generation: self.generation }
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Session(session) => Some(session),
            _ => None,
        }
    }

    pub(super) fn as_session(&self) -> Option<&Session> {
        match &self.state {
            State::Session(session) => Some(session),
            _ => None,
        }
    }
}

impl Session {
    /// The client has given a sign of life.
    pub(super) fn heard(&mut self, now_ms: u32) {
        self.heard_ms = now_ms;
        if self.ping == Ping::Sent {
            self.ping = Ping::Answered;
        }
    }

    /// What it makes the shard hold: its unfinished message, and what its socket did not take.
    pub(super) fn held_bytes(&self) -> usize {
        self.decoder.owned_bytes() + self.unsent.as_ref().map_or(0, |unsent| unsent.bytes.len())
    }

    pub(super) fn is_echo(&self) -> bool {
        self.user == NONE
    }
}
