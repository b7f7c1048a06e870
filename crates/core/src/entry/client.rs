//! What is known of a client before it has a session.

use std::net::IpAddr;
use std::sync::Arc;

use campanile_engine::Time;
use campanile_protocol::frame::Decoder;
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::Encoding;
use campanile_protocol::upgrade::{DeflateOffer, HeadReader, write_switching_protocols};

use crate::net::wire::Agreed;
use crate::tokens::Grants;

/// A connection before its client is known.
pub(crate) struct Handshake {
    /// Where the client is, as far as is known.
    pub(super) address: IpAddr,
    pub(super) phase: Phase,
    /// The handshake as a whole ends here.
    pub(super) deadline: Time,
    /// Whether `address` is counted among the handshakes of its address.
    pub(super) counted: bool,
    /// The index in the outbox while bytes are to be sent this turn, or [`NONE`](crate::net::wire::NONE).
    pub(crate) outbox: u32,
}

/// What a handshake waits for.
pub(super) enum Phase {
    /// A PROXY header is to come; what has come of it.
    Proxy(Vec<u8>),
    /// The upgrade request is to come.
    Head(HeadReader),
    /// The upgrade was answered; a hello with a token is to come.
    Hello { decoder: Decoder, agreed: Agreed },
}

/// A client that has authenticated: it travels with its connection to its home shard, and waits there until its session
/// opens.
#[derive(Debug)]
pub struct Client {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    /// When the token ends, in seconds since the Unix epoch.
    pub(crate) expires_at: u64,
    /// What the token allows with channels.
    pub(crate) grants: Option<Arc<Grants>>,
    pub(crate) agreed: Agreed,
    /// What the device says that it has processed, and the epoch of that number; 0 for nothing.
    pub(crate) last: u64,
    pub(crate) last_epoch: u64,
    /// How the upgrade is still to be answered; `None` if it was.
    pub(super) upgrade: Option<Upgrade>,
    /// Bytes that the client sent behind its request or its hello.
    pub(crate) unread: Vec<u8>,
    /// Frames that go before the welcome: the pong to a ping that came with the hello.
    pub(super) owed: Vec<u8>,
    /// The handshake's deadline.
    pub(crate) deadline: Time,
}

/// What the answer to an upgrade needs.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// `Sec-WebSocket-Key`.
    pub(super) key: Box<str>,
    /// Whether the client offered the subprotocol, so that it is to be named.
    pub(super) offered: bool,
    /// The client's offer to compress messages, if it is taken.
    pub(super) deflate: Option<DeflateOffer>,
}

impl Upgrade {
    /// The answer that accepts the upgrade.
    pub(super) fn answer(&self, encoding: Encoding) -> Vec<u8> {
        let mut response = Vec::with_capacity(320);
        let subprotocol = self.offered.then(|| encoding.subprotocol());
        write_switching_protocols(&mut response, &self.key, subprotocol, self.deflate);
        response
    }
}
