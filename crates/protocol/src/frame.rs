//! WebSocket frames (RFC 6455 §5): decoding, encoding, masking, close codes.
//!
//! The [`Decoder`] turns the bytes of one direction of a connection into [`Message`]s. What always holds:
//!
//! - Between messages a decoder owns no heap memory and is 8 bytes large.
//! - No memory is reserved from a length that the peer declared: buffers grow with the bytes that arrive.
//! - Where the input is cut makes no difference to what comes out.
//! - Whatever is invalid is refused at the first byte that makes it so, also in the middle of a frame.
//!
//! Callers must call [`Decoder::next`] until it returns `None` (that call frees the last message), and must not
//! read on after an error or a [`Message::Close`]: the decoder then discards its input.

pub mod close_code;
mod decoder;
mod encode;
mod error;
mod header;
mod mask;
mod utf8;

pub use decoder::Decoder;
pub use encode::{
    CLOSE_REASON_BYTES_MAX, close_frame, encode_close, encode_frame, encode_header, encode_masked_close,
    encode_masked_frame, frame, header_len, masked_frame,
};
pub(crate) use encode::{HEADER_BYTES_GUESS, finish_compressed_frame, finish_frame};
pub use error::ProtocolError;
pub use header::Opcode;
pub use mask::apply_mask;

/// Largest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Largest frame header, in bytes: two, eight of length, four of mask key (RFC 6455 §5.2).
pub const HEADER_BYTES_MAX: usize = 14;

/// Which end of the connection decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Every incoming frame must be masked (RFC 6455 §5.1).
    Server,
    /// No incoming frame may be masked (RFC 6455 §5.1).
    Client,
}

/// What a [`Decoder`] accepts. Shared by all connections, hence an argument and not a field.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Which end this is.
    pub role: Role,
    /// Largest payload of a whole data message, over all its fragments, in bytes; of a compressed message, as it
    /// arrives.
    pub message_bytes_max: usize,
    /// Most frames that one data message may come in. At least 1.
    pub fragments_max: u32,
    /// Whether permessage-deflate was negotiated (RFC 7692), so that messages may be [`Message::Compressed`].
    pub deflate: bool,
}

impl Limits {
    /// Limits of a server: messages of up to 64 KiB in at most 64 fragments.
    pub const SERVER: Self =
        Self { role: Role::Server, message_bytes_max: 64 * 1024, fragments_max: 64, deflate: false };

    /// Limits of a client: messages of up to 1 MiB in at most 1,024 fragments.
    pub const CLIENT: Self =
        Self { role: Role::Client, message_bytes_max: 1024 * 1024, fragments_max: 1024, deflate: false };
}

/// A complete message, borrowed from the input or from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A message with RSV1 set, still compressed (RFC 7692 §6); never without [`Limits::deflate`]. The content of a
    /// text is not checked yet: [`Inflater::message`](crate::deflate::Inflater::message) gives the message within.
    Compressed {
        /// Whether a text is compressed, or else binary data.
        text: bool,
        /// The payload as it was sent.
        payload: &'a [u8],
    },
    /// A ping; the answer is a pong with the same payload (RFC 6455 §5.5.2). At most 125 bytes.
    Ping(&'a [u8]),
    /// A pong. At most 125 bytes.
    Pong(&'a [u8]),
    /// The peer closes, with a code that may stand on the wire and a reason of at most 123 bytes, or without either.
    /// Nothing follows.
    Close(Option<(u16, &'a str)>),
}
