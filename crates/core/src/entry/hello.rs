//! The hello of a client that could not put its token into the upgrade request.

use campanile_protocol::frame::{self, Decoder, Message, Opcode};
use campanile_protocol::messages::ClientFrame;

use super::refusal::HelloRefused;
use crate::compression::Inflating;
use crate::net::input::frame_limits;
use crate::net::wire::Agreed;
use crate::settings::Mode;
use crate::tokens::{Identity, TOKEN_BYTES_MAX};
use crate::turn::Turn;

/// The largest frame of a client that has not authenticated, in bytes: twice the longest token.
const HELLO_BYTES_MAX: usize = 2 * TOKEN_BYTES_MAX;

/// What a client without a token has said.
pub(super) enum Heard {
    /// Nothing yet.
    Nothing,
    /// Who it is, what it has processed, and of which epoch that number is.
    Hello { identity: Identity, last: u64, last_epoch: u64 },
    /// That it goes, with this close code.
    Close(Option<u16>),
}

/// Reads up to the hello; what follows it stays in `input`. The last ping is answered in `pong` (RFC 6455 §5.5.3),
/// which is not sent at once: the connection may be handed off, and then its home shard sends it.
pub(super) fn read_hello(
    turn: &Turn<'_>,
    inflating: &mut Inflating,
    decoder: &mut Decoder,
    agreed: Agreed,
    input: &mut &mut [u8],
    pong: &mut Vec<u8>,
) -> Result<Heard, HelloRefused> {
    let mut limits = frame_limits(turn, agreed);
    limits.message_bytes_max = limits.message_bytes_max.min(HELLO_BYTES_MAX);
    loop {
        let message = match decoder.next(input, &limits).map_err(HelloRefused::Protocol)? {
            None => return Ok(Heard::Nothing),
            Some(Message::Ping(payload)) => {
                *pong = frame::frame(Opcode::Pong, payload);
                continue;
            }
            Some(Message::Pong(_)) => continue,
            Some(Message::Close(code)) => return Ok(Heard::Close(code.map(|(code, _)| code))),
            Some(Message::Compressed { text, payload }) => inflating
                .message(text, payload, limits.message_bytes_max)
                .map_err(HelloRefused::Compression)?,
            Some(message) => message,
        };
        let (Mode::Gateway { verifier }, Ok(ClientFrame::Hello(hello))) =
            (&turn.settings.mode, ClientFrame::decode(agreed.encoding, &message))
        else {
            return Err(HelloRefused::NotHello);
        };
        let identity = verifier.verify(&hello.token, turn.now.unix_ms).map_err(HelloRefused::Token)?;
        return Ok(Heard::Hello { identity, last: hello.last, last_epoch: hello.epoch });
    }
}
