//! Between frames of the schema and WebSocket frames.

use prost::Message as _;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{ClientFrame, Deliver, Encoding, ServerFrame, wire};
use crate::frame::{self, HEADER_BYTES_GUESS, Message, Opcode, apply_mask, close_code};

/// A WebSocket message that is not a frame of the schema.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// A text message where the encoding wants binary, or the other way round, or a control message.
    #[error("wrong kind of message for the subprotocol")]
    Kind,
    /// Not protobuf of the schema.
    #[error("malformed protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// Not JSON of the schema.
    #[error("malformed JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// No frame, or none that this version knows. A client should ignore it, since the server may be newer.
    #[error("unknown frame")]
    Unknown,
}

impl DecodeError {
    /// The code to close the connection with: 1003 for the wrong kind of message, otherwise 4400.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::Kind => close_code::UNSUPPORTED_DATA,
            Self::Protobuf(_) | Self::Json(_) | Self::Unknown => close_code::MALFORMED,
        }
    }
}

/// A frame cannot be encoded; only [`Encoding::Json`] can fail. Nothing was written.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// A payload claims to be JSON and is not, or is nested too deep. [`Payload::json`](super::Payload::json) checks.
    #[error("payload cannot be embedded: {0}")]
    Payload(#[from] serde_json::Error),
}

impl ClientFrame {
    /// Decodes what a client sent.
    ///
    /// # Errors
    /// See [`DecodeError`]; the connection is to be closed.
    pub fn decode(encoding: Encoding, message: &Message<'_>) -> Result<Self, DecodeError> {
        decode::<wire::ClientFrame>(encoding, message)?.frame.ok_or(DecodeError::Unknown)
    }

    /// Appends a whole WebSocket frame, masked with `key`.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn encode_frame(
        &self,
        encoding: Encoding,
        key: [u8; 4],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match encoding {
            Encoding::Protobuf => {
                frame::encode_header(Opcode::Binary, true, self.encoded_len(), Some(key), out);
                let start = out.len();
                self.encode(out);
                apply_mask(&mut out[start..], key, 0);
                Ok(())
            }
            Encoding::Json => encode_json(self, Some(key), out),
        }
    }
}

impl ServerFrame {
    /// Decodes what a server sent.
    ///
    /// # Errors
    /// See [`DecodeError`]; [`DecodeError::Unknown`] is to be ignored.
    pub fn decode(encoding: Encoding, message: &Message<'_>) -> Result<Self, DecodeError> {
        decode::<wire::ServerFrame>(encoding, message)?.frame.ok_or(DecodeError::Unknown)
    }

    /// Appends a whole, unmasked WebSocket frame.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub fn encode_frame(&self, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match encoding {
            Encoding::Protobuf => {
                let payload_len = self.encoded_len();
                out.reserve(frame::header_len(payload_len) + payload_len);
                frame::encode_header(Opcode::Binary, true, payload_len, None, out);
                self.encode(out);
                Ok(())
            }
            Encoding::Json => encode_json(self, None, out),
        }
    }
}

/// Appends a whole, unmasked WebSocket frame with a [`Deliver`] that is encoded already, so that what was stored is
/// sent as it is.
///
/// # Errors
/// See [`DeliverError`]; in protobuf there are none.
pub fn encode_deliver_frame(body: &[u8], encoding: Encoding, out: &mut Vec<u8>) -> Result<(), DeliverError> {
    if encoding == Encoding::Json {
        return Ok(ServerFrame::Deliver(Deliver::decode(body)?).encode_frame(encoding, out)?);
    }
    // Field 2 of the frame, length-delimited: `ServerFrame.deliver`.
    const KEY: u8 = 2 << 3 | 2;
    let payload_len = 1 + prost::length_delimiter_len(body.len()) + body.len();
    out.reserve(frame::header_len(payload_len) + payload_len);
    frame::encode_header(Opcode::Binary, true, payload_len, None, out);
    out.push(KEY);
    // A vector takes everything.
    let _ = prost::encode_length_delimiter(body.len(), out);
    out.extend_from_slice(body);
    Ok(())
}

/// Why an encoded message cannot become a frame. Nothing was written.
#[derive(Debug, Error)]
pub enum DeliverError {
    /// It is not a [`Deliver`].
    #[error("not an encoded message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Its payload cannot be embedded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

fn decode<F: prost::Message + Default + DeserializeOwned>(
    encoding: Encoding,
    message: &Message<'_>,
) -> Result<F, DecodeError> {
    match (encoding, *message) {
        (Encoding::Protobuf, Message::Binary(bytes)) => Ok(F::decode(bytes)?),
        (Encoding::Json, Message::Text(text)) => Ok(serde_json::from_str(text)?),
        _ => Err(DecodeError::Kind),
    }
}

fn encode_json(frame: &impl Serialize, key: Option<[u8; 4]>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES_GUESS]);
    if let Err(error) = serde_json::to_writer(&mut *out, frame) {
        out.truncate(start);
        return Err(error.into());
    }
    frame::finish_frame(Opcode::Text, start, key, out);
    Ok(())
}
