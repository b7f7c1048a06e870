//! Cuts what a server sends into frames (RFC 6455 §5.2), for the sockets of which every frame is looked at.
//!
//! It does not reuse the gateway's decoder: what judges the gateway should not share its mistakes.

/// No benchmark sends larger ones; a longer length is more likely a byte stream that is no longer understood.
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
}

/// Of a close frame.
pub(crate) const CLOSE: u8 = 8;

impl Frame<'_> {
    /// Whether it is a ping, a pong or a close.
    pub(crate) fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }
}

/// What is wrong with a server's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Servers must not mask (RFC 6455 §5.1).
    #[error("the server masks its frames")]
    Masked,
    /// A reserved bit is set though no extension was offered.
    #[error("the server uses an extension that was not offered")]
    Extension,
    /// See [`PAYLOAD_BYTES_MAX`].
    #[error("the server announces a frame of {0} bytes")]
    TooLong(u64),
}

/// The frames of one socket. It holds bytes only while a frame is incomplete.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    incomplete: Vec<u8>,
}

impl Frames {
    /// Takes what was read and gives every frame that is complete.
    pub(crate) fn push(&mut self, read: &[u8], mut on_frame: impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        if self.incomplete.is_empty() {
            let whole = cut(read, &mut on_frame)?;
            self.incomplete.extend_from_slice(&read[whole..]);
        } else {
            self.incomplete.extend_from_slice(read);
            let whole = cut(&self.incomplete, &mut on_frame)?;
            self.incomplete.drain(..whole);
        }
        Ok(())
    }
}

/// Gives all whole frames; returns how many bytes they were.
fn cut(bytes: &[u8], on_frame: &mut impl FnMut(Frame<'_>)) -> Result<usize, Malformed> {
    let mut done = 0;
    while let Some((opcode, header, length)) = parse_header(&bytes[done..])? {
        let start = done + header;
        let Some(payload) = bytes.get(start..start + length) else { break };
        on_frame(Frame { opcode, payload });
        done = start + length;
    }
    Ok(done)
}

/// Opcode, length of the header and of the payload; nothing if the header is incomplete.
fn parse_header(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, Malformed> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Malformed::Extension);
    }
    if second & 0x80 != 0 {
        return Err(Malformed::Masked);
    }
    let (header, length) = match (second, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        (126 | 127, _) => return Ok(None),
        (short, _) => (2, u64::from(*short)),
    };
    if length > PAYLOAD_BYTES_MAX {
        return Err(Malformed::TooLong(length));
    }
    Ok(Some((first & 0x0F, header, length as usize)))
}

/// What a close frame says: code and reason (RFC 6455 §5.5.1).
pub(crate) fn close_reason(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("close {code} {}", String::from_utf8_lossy(reason)).trim_end().into()
        }
        _ => "close without a code".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_protocol::frame::{Opcode, encode_frame};

    fn taken(chunks: &[&[u8]]) -> Result<Vec<(u8, Vec<u8>)>, Malformed> {
        let (mut frames, mut all) = (Frames::default(), Vec::new());
        for chunk in chunks {
            frames.push(chunk, |frame| all.push((frame.opcode, frame.payload.to_vec())))?;
        }
        Ok(all)
    }

    #[test]
    fn frames_are_the_same_wherever_reads_cut_them() {
        let mut stream = Vec::new();
        for (opcode, length) in
            [(Opcode::Text, 5), (Opcode::Binary, 300), (Opcode::Ping, 0), (Opcode::Text, 70_000)]
        {
            encode_frame(opcode, &vec![b'x'; length], &mut stream);
        }
        let whole = taken(&[&stream]).expect("well-formed");
        let shape: Vec<_> = whole.iter().map(|(opcode, payload)| (*opcode, payload.len())).collect();
        assert_eq!(shape, [(1, 5), (2, 300), (9, 0), (1, 70_000)]);
        for size in [1, 2, 3, 7, 1000, 4096] {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(taken(&chunks).expect("well-formed"), whole, "in chunks of {size}");
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        assert_eq!(taken(&[b"\x81\x80"]), Err(Malformed::Masked));
        assert_eq!(taken(&[b"\xc1\x00"]), Err(Malformed::Extension));
        let endless = [0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(taken(&[&endless]), Err(Malformed::TooLong(1 << 32)));
    }

    #[test]
    fn a_close_says_why() {
        assert_eq!(close_reason(b"\x11\x31not yours"), "close 4401 not yours");
        assert_eq!(close_reason(b"\x03\xe8"), "close 1000");
        assert_eq!(close_reason(b""), "close without a code");
    }
}
