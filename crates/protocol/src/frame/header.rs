//! Frame headers (RFC 6455 §5.2).
//!
//! ```text
//! byte 0            byte 1           then                      then
//! FIN RSV1-3 opcode MASK length(7)   0, 2 or 8 bytes of length  0 or 4 bytes of mask key
//! ```

use super::{CONTROL_BYTES_MAX, Limits, ProtocolError, Role};

/// The bit of the first byte that marks a compressed message (RFC 7692 §6).
pub(super) const RSV1: u8 = 0x40;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that an earlier text or binary frame began.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The last frame of one direction.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping, or just says that the peer is alive.
    Pong = 10,
}

impl Opcode {
    /// Whether this is a close, ping or pong.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    /// The opcode with this number, unless RFC 6455 reserves it.
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// The data message that a header arrives in the middle of.
#[derive(Clone, Copy)]
pub(super) struct Context {
    /// Frames of it so far.
    pub(super) fragments: u32,
    /// Bytes of it so far.
    pub(super) bytes: usize,
}

/// A header that has passed every check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// RSV1: the message that begins here is compressed.
    pub(super) compressed: bool,
    /// Payload, in bytes; within the limits.
    pub(super) payload_len: usize,
    /// All zero (which changes nothing) for an unmasked frame.
    pub(super) key: [u8; 4],
    /// The header itself, in bytes.
    pub(super) len: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`, or `None` if more bytes are needed.
    ///
    /// Every check needs only the bytes before it and is made as soon as they are there. So a prefix of the input is
    /// refused exactly if it ends at or after the first offending byte, however the input is cut.
    #[inline]
    pub(super) fn parse(
        bytes: &[u8],
        context: Option<Context>,
        limits: &Limits,
    ) -> Result<Option<Self>, ProtocolError> {
        let &[first, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let (fin, opcode) = check_first(first, context, limits)?;
        let compressed = first & RSV1 != 0;
        let &[second, ref rest @ ..] = rest else {
            return Ok(None);
        };
        match (limits.role, second & 0x80 != 0) {
            (Role::Server, false) => return Err(ProtocolError::Unmasked),
            (Role::Client, true) => return Err(ProtocolError::Masked),
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(ProtocolError::ControlTooLarge);
        }
        let Some((payload_len, rest)) = parse_length(short, rest)? else {
            return Ok(None);
        };
        let payload_len = if opcode.is_control() {
            usize::from(short)
        } else {
            let room = limits.message_bytes_max.saturating_sub(context.map_or(0, |context| context.bytes));
            usize::try_from(payload_len).ok().filter(|len| *len <= room).ok_or(ProtocolError::TooLarge)?
        };
        let (key, rest) = match (limits.role, rest) {
            (Role::Client, rest) => ([0; 4], rest),
            (Role::Server, &[a, b, c, d, ref rest @ ..]) => ([a, b, c, d], rest),
            (Role::Server, _) => return Ok(None),
        };
        Ok(Some(Self { fin, opcode, compressed, payload_len, key, len: bytes.len() - rest.len() }))
    }
}

/// Checks FIN, reserved bits, the opcode, and whether such a frame may come now.
#[inline]
fn check_first(
    first: u8,
    context: Option<Context>,
    limits: &Limits,
) -> Result<(bool, Opcode), ProtocolError> {
    // Only a data message may be compressed, and its first frame says so (RFC 7692 §6.1).
    let compressible = limits.deflate && matches!(first & 0x0f, 1 | 2);
    if first & if compressible { 0x30 } else { 0x70 } != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(ProtocolError::ReservedOpcode)?;
    let fin = first & 0x80 != 0;
    match (opcode, context) {
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if !fin => Err(ProtocolError::FragmentedControl),
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => Ok((fin, opcode)),
        (Opcode::Continuation, None) => Err(ProtocolError::UnexpectedContinuation),
        (Opcode::Text | Opcode::Binary, Some(_)) => Err(ProtocolError::ExpectedContinuation),
        (Opcode::Continuation, Some(context)) if context.fragments >= limits.fragments_max => {
            Err(ProtocolError::TooManyFragments)
        }
        _ => Ok((fin, opcode)),
    }
}

/// Reads the extended length, if there is one. Returns the length and the bytes after it.
#[inline]
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    match short {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*length);
            if length < 126 {
                return Err(ProtocolError::NonMinimalLength);
            }
            Ok(Some((u64::from(length), rest)))
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*length);
            if length > u64::MAX / 2 {
                return Err(ProtocolError::LengthOverflow);
            }
            if length <= u64::from(u16::MAX) {
                return Err(ProtocolError::NonMinimalLength);
            }
            Ok(Some((length, rest)))
        }
        _ => Ok(Some((u64::from(short), rest))),
    }
}
