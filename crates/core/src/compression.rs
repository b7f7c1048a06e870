//! Compression without state per connection (RFC 7692 with both `no_context_takeover`): one of each for a shard, made
//! when it is first needed.

use campanile_protocol::deflate::{Deflater, InflateError, Inflater};
use campanile_protocol::frame::{Message, Opcode};

/// Frames below this size are sent as they are: compression would hardly make them smaller.
const FRAME_BYTES_MIN: usize = 200;

/// Decompresses what clients send.
#[derive(Default)]
pub(super) struct Inflating {
    inflater: Option<Box<Inflater>>,
    message: Vec<u8>,
}

impl Inflating {
    /// The message, which has at most `bytes_max` bytes.
    pub(super) fn message(
        &mut self,
        text: bool,
        payload: &[u8],
        bytes_max: usize,
    ) -> Result<Message<'_>, InflateError> {
        let inflater = self.inflater.get_or_insert_with(|| Box::new(Inflater::new()));
        inflater.message(text, payload, bytes_max, &mut self.message)
    }
}

/// Compresses what goes to the subscribers of a channel.
#[derive(Default)]
pub(super) struct Deflating {
    deflater: Option<Box<Deflater>>,
}

impl Deflating {
    /// A whole frame; not compressed if that would not make it smaller.
    pub(super) fn frame(&mut self, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        if payload.len() < FRAME_BYTES_MIN {
            campanile_protocol::frame::encode_frame(opcode, payload, &mut frame);
        } else {
            let deflater = self.deflater.get_or_insert_with(|| Box::new(Deflater::new()));
            deflater.encode_frame(opcode, payload, &mut frame);
        }
        frame
    }
}
