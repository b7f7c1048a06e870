//! Compressed messages (permessage-deflate, RFC 7692), without context takeover in either direction.
//!
//! Every message is compressed by itself. So one [`Inflater`] and one [`Deflater`] serve all connections of a shard,
//! no connection owns any state, and one compressed frame serves every subscriber that has negotiated the extension.
//! What always holds:
//!
//! - An [`Inflater`] writes at most one byte more than the limit that it is given, however much a message would
//!   become, and its work is linear in the bytes that arrived and that it writes.
//! - A [`Deflater`] never makes a frame larger: where compression does not pay, the frame is a plain one.
//! - After their creation neither allocates anything but room in the caller's buffer.
//!
//! Callers must not pass on what an [`Inflater`] has written when it returned an error.

use std::fmt;

use thiserror::Error;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use crate::frame::{self, HEADER_BYTES_GUESS, Message, Opcode, close_code};

/// zlib's default. A frame is compressed once and sent many times: the 10 % that it saves over level 1 in small and
/// the 30 % in large messages are worth a few microseconds once.
const LEVEL: i32 = 6;

/// The largest window, 32 KiB, which every peer must be able to use unless it says otherwise (RFC 7692 §7.1.2).
const WINDOW_BITS: u8 = 15;

/// The end of an empty stored block, which every sender leaves off (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// [`TAIL`], and an empty stored block marked as the last one: only where a message ends with a whole block is this the
/// end of a DEFLATE stream, and so a message that was cut off can be told (RFC 1951 §3.2.4).
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// First size of the output, in bytes: most messages are smaller.
const OUTPUT_BYTES_MIN: usize = 2 * 1024;

/// Why a compressed message is refused. The connection is to be closed with [`close_code`](Self::close_code) and
/// [`reason`](Self::reason).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{}", self.reason())]
pub enum InflateError {
    /// The message would be larger than the limit.
    TooLarge,
    /// The payload is not DEFLATE (RFC 1951), or is cut off, or refers to an earlier message.
    Malformed,
    /// A text message is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
}

impl InflateError {
    /// The code to close the connection with: as for a message that is not compressed, and 1007 for malformed data.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => close_code::TOO_LARGE,
            Self::Malformed | Self::InvalidUtf8 => close_code::INVALID_PAYLOAD,
        }
    }

    /// The reason to close the connection with: ASCII, short enough for a close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "message too large",
            Self::Malformed => "compressed message malformed",
            Self::InvalidUtf8 => "text not UTF-8",
        }
    }
}

/// Decompresses messages, each by itself. One per shard; 47 KB.
pub struct Inflater {
    stream: Inflate,
}

impl Inflater {
    /// Allocates all that it will ever need.
    #[must_use]
    pub fn new() -> Self {
        Self { stream: Inflate::new(false, WINDOW_BITS) }
    }

    /// The message in a [`Message::Compressed`], lent from `out`, whose earlier content is dropped.
    ///
    /// # Errors
    /// See [`InflateError`].
    pub fn message<'o>(
        &mut self,
        text: bool,
        payload: &[u8],
        message_bytes_max: usize,
        out: &'o mut Vec<u8>,
    ) -> Result<Message<'o>, InflateError> {
        self.inflate(payload, message_bytes_max, out)?;
        if text {
            simdutf8::basic::from_utf8(out).map(Message::Text).map_err(|_| InflateError::InvalidUtf8)
        } else {
            Ok(Message::Binary(out))
        }
    }

    /// Replaces the content of `out` with what `payload` is when decompressed (RFC 7692 §7.2.2), at most
    /// `message_bytes_max` bytes.
    ///
    /// # Errors
    /// [`InflateError::TooLarge`] or [`InflateError::Malformed`]; `out` then holds nothing of use, and at most one byte
    /// more than the limit.
    pub fn inflate(
        &mut self,
        payload: &[u8],
        message_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        out.clear();
        let mut output = Output { bytes: out, len: 0, message_bytes_max };
        self.stream.reset(false);
        self.feed(payload, &mut output)?;
        if !self.feed(&TAIL_AND_END, &mut output)? {
            return Err(InflateError::Malformed);
        }
        let len = output.len;
        out.truncate(len);
        Ok(())
    }

    /// Decompresses all of `input`. Whether it ends with the end of a stream; if another byte follows one (RFC 7692
    /// §7.2.3.4), it begins the next.
    fn feed(&mut self, mut input: &[u8], output: &mut Output<'_>) -> Result<bool, InflateError> {
        loop {
            let room = output.room();
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, room, InflateFlush::NoFlush);
            let status = status.map_err(|_| InflateError::Malformed)?;
            // Both are at most the length of the slices.
            let (read, written) =
                ((self.stream.total_in() - read) as usize, (self.stream.total_out() - written) as usize);
            let filled = written == room.len();
            input = &input[read..];
            output.len += written;
            if output.len > output.message_bytes_max {
                return Err(InflateError::TooLarge);
            }
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(true),
                Status::StreamEnd => self.stream.reset(false),
                // What has no room yet comes with the next call, if it is anything.
                Status::Ok | Status::BufError if filled => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(false),
                Status::Ok => {}
                Status::BufError => return Err(InflateError::Malformed),
            }
        }
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// A message that is being written.
struct Output<'o> {
    /// Zeros from `len` on.
    bytes: &'o mut Vec<u8>,
    len: usize,
    message_bytes_max: usize,
}

impl Output<'_> {
    /// Room for at least one byte. Memory doubles with what has been written, up to one byte above the limit: only
    /// that byte tells a message at the limit from a larger one.
    fn room(&mut self) -> &mut [u8] {
        if self.len == self.bytes.len() {
            let larger = self.len.saturating_mul(2).max(OUTPUT_BYTES_MIN);
            let larger = larger.min(self.message_bytes_max.saturating_add(1));
            self.bytes.reserve_exact(larger - self.len);
            self.bytes.resize(larger, 0);
        }
        &mut self.bytes[self.len..]
    }
}

/// Compresses messages, each by itself. One per shard; 380 KB.
pub struct Deflater {
    stream: Deflate,
}

impl Deflater {
    /// Allocates all that it will ever need.
    #[must_use]
    pub fn new() -> Self {
        Self { stream: Deflate::new(LEVEL, false, WINDOW_BITS) }
    }

    /// Appends a whole unmasked frame, as a server sends it: compressed if that makes it smaller, else plain. Whether
    /// it is compressed; then it is only for those who have negotiated the extension.
    ///
    /// `opcode` is text or binary; other frames are never compressed (RFC 7692 §6.1).
    pub fn encode_frame(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) -> bool {
        self.encode(opcode, payload, None, out)
    }

    /// The same, masked, as a client sends it. The key should be unpredictable to the application (RFC 6455 §5.3).
    pub fn encode_masked_frame(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        key: [u8; 4],
        out: &mut Vec<u8>,
    ) -> bool {
        self.encode(opcode, payload, Some(key), out)
    }

    fn encode(&mut self, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES_GUESS]);
        if matches!(opcode, Opcode::Text | Opcode::Binary) && self.compress(payload, out) {
            frame::finish_compressed_frame(opcode, start, key, out);
            return true;
        }
        out.truncate(start);
        match key {
            None => frame::encode_frame(opcode, payload, out),
            Some(key) => frame::encode_masked_frame(opcode, payload, key, out),
        }
        false
    }

    /// Appends the payload of a compressed message (RFC 7692 §7.2.1). False if it would not be smaller; then something
    /// of it may have been appended.
    fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        // A flush is complete if it leaves room, so this is one byte more than is of use.
        out.resize(start + payload.len() + TAIL.len(), 0);
        self.stream.reset();
        let status = self.stream.compress(payload, &mut out[start..], DeflateFlush::SyncFlush);
        let len = self.stream.total_out() as usize;
        // The library takes at most 4 GiB at a time.
        let whole = status == Ok(Status::Ok) && self.stream.total_in() == payload.len() as u64;
        if !whole || len >= payload.len() + TAIL.len() {
            return false;
        }
        out.truncate(start + len);
        debug_assert!(out.ends_with(&TAIL), "a flush ends with an empty stored block");
        out.truncate(start + len - TAIL.len());
        true
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}
