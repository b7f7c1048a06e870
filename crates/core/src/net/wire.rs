//! What `net` keeps of one connection.

use bytes::Bytes;
use campanile_protocol::frame::Decoder;
use campanile_protocol::messages::Encoding;

/// No slot, no user, no place in the outbox.
pub(crate) const NONE: u32 = u32::MAX;

/// What a client and the gateway have agreed on in the upgrade.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// How frames are written.
    pub(crate) encoding: Encoding,
    /// False for `ack=none`: what is sent counts as confirmed.
    pub(crate) acknowledges: bool,
    /// Whether messages may be compressed (RFC 7692).
    pub(crate) deflate: bool,
}

/// The socket of a session.
pub(crate) struct Wire {
    /// Owns memory only while a message is incomplete.
    pub(super) decoder: Decoder,
    /// What the socket did not take; nothing else is sent before it.
    pub(super) unsent: Option<Box<Unsent>>,
    /// The index in the outbox while bytes are to be sent this turn, or [`NONE`].
    pub(super) outbox: u32,
    /// When the last input came, or the ping was sent that is not answered, in wrapping milliseconds of the monotonic
    /// clock: silence and patience count from here.
    pub(super) heard_ms: u32,
    /// Up to when the frames that came are paid for (generic cell rate algorithm), in wrapping tenths of milliseconds.
    pub(super) paid_until: u32,
    pub(super) agreed: Agreed,
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
    /// When the socket last took something, in wrapping milliseconds of the monotonic clock.
    pub(super) stalled_ms: u32,
    /// What is owed to the last ping frame, and to the last ping of the schema. Earlier ones are answered by it (RFC
    /// 6455 §5.5.3), so that a client that does not read cannot have them hoarded.
    pub(super) pongs: [Vec<u8>; 2],
}

impl Unsent {
    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.pongs.iter().map(Vec::len).sum::<usize>()
    }
}

/// What a pong answers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum PongTo {
    /// A ping frame (RFC 6455 §5.5.2).
    Control,
    /// A ping of the schema.
    Schema,
}

/// A connection that we close: the code may still wait for room in the socket.
pub(crate) struct Closing {
    pub(super) unsent: Option<Bytes>,
    pub(super) outbox: u32,
}

impl Wire {
    /// The socket of a session that begins now.
    pub(crate) fn new(agreed: Agreed, now_ms: u32, now_tenths: u32) -> Wire {
        Wire {
            decoder: Decoder::new(),
            unsent: None,
            outbox: NONE,
            heard_ms: now_ms,
            paid_until: now_tenths,
            agreed,
            ping: Ping::Due,
        }
    }

    /// What the upgrade agreed on.
    pub(crate) fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// How frames are written.
    pub(crate) fn encoding(&self) -> Encoding {
        self.agreed.encoding
    }

    /// Whether the socket has taken all that it was sent.
    pub(crate) fn keeps_up(&self) -> bool {
        self.unsent.is_none()
    }

    /// Whether something is to be sent this turn.
    pub(crate) fn is_sent_this_turn(&self) -> bool {
        self.outbox != NONE
    }

    /// Bytes that it makes the shard hold.
    pub(super) fn held_bytes(&self) -> usize {
        self.decoder.owned_bytes() + self.unsent.as_ref().map_or(0, |unsent| unsent.held_bytes())
    }

    /// The client has given a sign of life.
    pub(super) fn heard(&mut self, now_ms: u32) {
        self.heard_ms = now_ms;
        if self.ping == Ping::Sent {
            self.ping = Ping::Answered;
        }
    }
}
