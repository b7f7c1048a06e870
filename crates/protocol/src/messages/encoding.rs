//! Which form the messages of a connection have.

use crate::frame::Opcode;

/// The encoding of a connection's messages, chosen by its subprotocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Protobuf in binary messages: `campanile.v2`.
    Protobuf,
    /// JSON in text messages: `campanile.v2+json`.
    Json,
}

impl Encoding {
    /// The name in `Sec-WebSocket-Protocol`.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Protobuf => "campanile.v2",
            Self::Json => "campanile.v2+json",
        }
    }

    /// The first offer that is known here: the client's order counts (RFC 6455 §4.1). Names are compared exactly.
    pub fn negotiate<'a>(mut offers: impl Iterator<Item = &'a str>) -> Option<Self> {
        offers.find_map(|offer| {
            [Self::Protobuf, Self::Json].into_iter().find(|encoding| encoding.subprotocol() == offer)
        })
    }

    /// The kind of WebSocket message that carries this encoding.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Protobuf => Opcode::Binary,
            Self::Json => Opcode::Text,
        }
    }
}
