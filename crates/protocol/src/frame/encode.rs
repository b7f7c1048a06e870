//! Writing frames (RFC 6455 §5.2). All functions append to their output.

use super::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Opcode, apply_mask, header::RSV1};

/// Longest reason that fits a close frame, in bytes.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Room that [`finish_frame`] expects before a payload of yet unknown length: right for 126 to 65,535 bytes.
pub(crate) const HEADER_BYTES_GUESS: usize = 4;

/// Length of an unmasked header for a payload of `payload_len` bytes: 2, 4 or 10. A mask key adds 4.
#[must_use]
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Writes a header. With a `mask`, the caller masks the payload (see [`apply_mask`]).
pub fn encode_header(
    opcode: Opcode,
    fin: bool,
    payload_len: usize,
    mask: Option<[u8; 4]>,
    out: &mut Vec<u8>,
) {
    let (header, len) = header(opcode, fin, payload_len, mask);
    out.extend_from_slice(&header[..len]);
}

/// A header and its length.
fn header(
    opcode: Opcode,
    fin: bool,
    payload_len: usize,
    mask: Option<[u8; 4]>,
) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    let mut len = header_len(payload_len);
    header[0] = u8::from(fin) << 7 | opcode as u8;
    // The lengths are in range by the definition of `header_len`.
    match len {
        2 => header[1] = payload_len as u8,
        4 => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
    if let Some(key) = mask {
        header[1] |= 0x80;
        header[len..len + 4].copy_from_slice(&key);
        len += 4;
    }
    (header, len)
}

/// Writes a whole unmasked frame, as a server does.
pub fn encode_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(header_len(payload.len()) + payload.len());
    encode_header(opcode, true, payload.len(), None, out);
    out.extend_from_slice(payload);
}

/// Writes a whole masked frame, as a client does. The key should be unpredictable to the application (RFC 6455 §5.3).
pub fn encode_masked_frame(opcode: Opcode, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    out.reserve(header_len(payload.len()) + 4 + payload.len());
    encode_header(opcode, true, payload.len(), Some(key), out);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], key, 0);
}

/// A whole unmasked frame, as a server sends it.
#[must_use]
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(opcode, payload, &mut out);
    out
}

/// A whole masked frame, as a client sends it.
#[must_use]
pub fn masked_frame(opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_masked_frame(opcode, payload, key, &mut out);
    out
}

/// Writes an unmasked close frame. A reason above [`CLOSE_REASON_BYTES_MAX`] is cut at a character.
pub fn encode_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let (payload, len) = close_payload(code, reason);
    encode_frame(Opcode::Close, &payload[..len], out);
}

/// Writes a masked close frame. A reason above [`CLOSE_REASON_BYTES_MAX`] is cut at a character.
pub fn encode_masked_close(code: u16, reason: &str, key: [u8; 4], out: &mut Vec<u8>) {
    let (payload, len) = close_payload(code, reason);
    encode_masked_frame(Opcode::Close, &payload[..len], key, out);
}

/// An unmasked close frame. A reason above [`CLOSE_REASON_BYTES_MAX`] is cut at a character.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode_close(code, reason, &mut out);
    out
}

/// The payload of a close frame and its length.
fn close_payload(code: u16, reason: &str) -> ([u8; CONTROL_BYTES_MAX], usize) {
    let mut payload = [0; CONTROL_BYTES_MAX];
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    (payload, 2 + reason.len())
}

/// Turns what was written since `start` into a frame: [`HEADER_BYTES_GUESS`] bytes of room, then the payload. Masks it
/// if there is a key.
pub(crate) fn finish_frame(opcode: Opcode, start: usize, key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let payload_len = out.len() - start - HEADER_BYTES_GUESS;
    let (header, len) = header(opcode, true, payload_len, key);
    if len != HEADER_BYTES_GUESS {
        // One move of the payload costs less than finding out its length beforehand.
        out.resize(start + len.max(HEADER_BYTES_GUESS) + payload_len, 0);
        out.copy_within(start + HEADER_BYTES_GUESS..start + HEADER_BYTES_GUESS + payload_len, start + len);
        out.truncate(start + len + payload_len);
    }
    out[start..start + len].copy_from_slice(&header[..len]);
    if let Some(key) = key {
        apply_mask(&mut out[start + len..], key, 0);
    }
}

/// The same for the payload of a compressed message: with RSV1 (RFC 7692 §6).
pub(crate) fn finish_compressed_frame(opcode: Opcode, start: usize, key: Option<[u8; 4]>, out: &mut Vec<u8>) {
    finish_frame(opcode, start, key, out);
    out[start] |= RSV1;
}
