//! Why a byte stream was refused.

use thiserror::Error;

use super::close_code;

/// The peer broke the protocol or a limit. The connection is to be closed with [`close_code`](Self::close_code) and
/// [`reason`](Self::reason); nothing more can be decoded.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{}", self.reason())]
pub enum ProtocolError {
    /// A reserved bit is set although no extension was negotiated that uses it (RFC 6455 §5.2), or RSV1 on another
    /// than the first frame of a data message (RFC 7692 §6.1).
    ReservedBits,
    /// An opcode that RFC 6455 §5.2 reserves.
    ReservedOpcode,
    /// A client's frame is not masked (RFC 6455 §5.1).
    Unmasked,
    /// A server's frame is masked (RFC 6455 §5.1).
    Masked,
    /// A control frame without FIN (RFC 6455 §5.5).
    FragmentedControl,
    /// A control frame with more than 125 bytes (RFC 6455 §5.5).
    ControlTooLarge,
    /// A length that is not in its shortest form (RFC 6455 §5.2).
    NonMinimalLength,
    /// A 64-bit length with its top bit set (RFC 6455 §5.2).
    LengthOverflow,
    /// A continuation frame although no message has begun (RFC 6455 §5.4).
    UnexpectedContinuation,
    /// A new message begins before the last fragment of the one before (RFC 6455 §5.4).
    ExpectedContinuation,
    /// A close frame with one byte of payload (RFC 6455 §5.5.1).
    CloseTruncated,
    /// A close code that must not be sent (RFC 6455 §7.4).
    CloseCode,
    /// A close reason is not UTF-8 (RFC 6455 §5.5.1).
    CloseReason,
    /// A text message is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
    /// A message is larger than [`Limits::message_bytes_max`](super::Limits::message_bytes_max).
    TooLarge,
    /// A message has more frames than [`Limits::fragments_max`](super::Limits::fragments_max).
    TooManyFragments,
}

impl ProtocolError {
    /// The code to close the connection with.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::CloseReason | Self::InvalidUtf8 => close_code::INVALID_PAYLOAD,
            Self::TooLarge => close_code::TOO_LARGE,
            Self::TooManyFragments => close_code::POLICY_VIOLATION,
            _ => close_code::PROTOCOL_ERROR,
        }
    }

    /// The reason to close the connection with: ASCII, short enough for a close frame.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::Unmasked => "frame from client not masked",
            Self::Masked => "frame from server masked",
            Self::FragmentedControl => "control frame fragmented",
            Self::ControlTooLarge => "control frame above 125 bytes",
            Self::NonMinimalLength => "frame length not in shortest form",
            Self::LengthOverflow => "frame length above 63 bits",
            Self::UnexpectedContinuation => "continuation without a message",
            Self::ExpectedContinuation => "new message within a message",
            Self::CloseTruncated => "close code truncated",
            Self::CloseCode => "close code not allowed",
            Self::CloseReason => "close reason not UTF-8",
            Self::InvalidUtf8 => "text not UTF-8",
            Self::TooLarge => "message too large",
            Self::TooManyFragments => "too many fragments",
        }
    }
}
