//! Where a connection is in what it was sent: an HTTP answer, and then frames (RFC 6455 §5.2).

/// What has left so far.
#[derive(Clone, Default)]
pub(super) enum Stream {
    /// Nothing. If the connection was handed over after its HTTP answer, frames come at once.
    #[default]
    Start,
    /// The HTTP answer, of whose end so many bytes were seen.
    Head(usize),
    /// The header of a frame.
    Header(Vec<u8>),
    /// A payload of which so many bytes are to come.
    Payload(usize),
}

impl Stream {
    /// These bytes have left.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.pass_some(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// How many of these bytes belong to what has left in part.
    pub(super) fn rest_in(&self, bytes: &[u8]) -> usize {
        let mut stream = self.clone();
        let mut rest = 0;
        while rest < bytes.len() && !stream.is_between() {
            rest += stream.pass_some(&bytes[rest..]);
        }
        rest
    }

    /// Whether nothing has left in part.
    fn is_between(&self) -> bool {
        match self {
            Stream::Start => true,
            Stream::Header(header) => header.is_empty(),
            Stream::Head(_) | Stream::Payload(_) => false,
        }
    }

    /// Passes at least one byte, and none beyond the end of what it belongs to. How many.
    fn pass_some(&mut self, bytes: &[u8]) -> usize {
        match self {
            Stream::Start => {
                *self = if bytes[0] == b'H' { Stream::Head(0) } else { Stream::Header(Vec::new()) };
                self.pass_some(bytes)
            }
            Stream::Head(matched) => {
                let expected = b"\r\n\r\n"[*matched];
                *matched = match bytes[0] {
                    byte if byte == expected => *matched + 1,
                    b'\r' => 1,
                    _ => 0,
                };
                if *matched == 4 {
                    *self = Stream::Header(Vec::new());
                }
                1
            }
            Stream::Header(header) => {
                header.push(bytes[0]);
                if let Some(payload) = payload_bytes(header) {
                    *self = if payload == 0 { Stream::Header(Vec::new()) } else { Stream::Payload(payload) };
                }
                1
            }
            Stream::Payload(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    *self = Stream::Header(Vec::new());
                }
                taken
            }
        }
    }
}

/// The length of the payload, if the header of the server's frame is complete.
fn payload_bytes(header: &[u8]) -> Option<usize> {
    match *header.get(1)? & 0x7f {
        126 => Some(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?).into()),
        127 => usize::try_from(u64::from_be_bytes(header.get(2..10)?.try_into().ok()?)).ok(),
        length => Some(length.into()),
    }
}
