//! From bytes to messages.

use std::mem;

use super::{
    HEADER_BYTES_MAX, Limits, Message, Opcode, ProtocolError, Role, apply_mask, close_code,
    header::{Context, Header},
    utf8::TextBuffer,
};

/// Decodes one direction of one connection (RFC 6455 §5). See the [module](super) for what always holds.
#[derive(Debug, Default)]
pub struct Decoder {
    /// `None` at a boundary between messages.
    partial: Option<Box<Partial>>,
}

const _: () = assert!(size_of::<Decoder>() == 8);

/// Where the message comes from that [`Decoder::advance`] has completed.
enum Ready<'i> {
    /// It was whole in the input.
    Borrowed(Message<'i>),
    /// It is in [`Partial`].
    Assembled,
}

impl Decoder {
    /// A decoder before its first byte.
    #[must_use]
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Takes the next message off the front of `input`, which is unmasked in place. Call until `None`: then `input` is
    /// used up, and if it ended at a boundary between messages the decoder owns no memory.
    ///
    /// A message that is whole in `input` in one frame is lent from there, without a copy; any other is lent from the
    /// decoder and freed by the next call.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit. Afterwards, and after a [`Message::Close`], all input is discarded.
    #[inline]
    pub fn next<'m, 'i: 'm>(
        &'m mut self,
        input: &mut &'i mut [u8],
        limits: &Limits,
    ) -> Result<Option<Message<'m>>, ProtocolError> {
        self.release();
        match self.advance(input, limits) {
            Ok(Some(Ready::Borrowed(message))) => {
                if matches!(message, Message::Close(_)) {
                    self.close();
                }
                Ok(Some(message))
            }
            Ok(Some(Ready::Assembled)) => self.partial.as_ref().map_or(Ok(None), |partial| partial.lend()),
            Ok(None) => Ok(None),
            Err(error) => {
                self.close();
                Err(error)
            }
        }
    }

    /// Whether the decoder stands between messages and owns no memory.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Whether a data message has begun that is not whole: control frames between its fragments do not end it.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|partial| partial.data.is_some() && !matches!(partial.lent, Lent::Data))
    }

    /// Heap memory owned, in bytes. At most about twice what has arrived of the current message, never what the peer
    /// declared.
    #[must_use]
    pub fn owned_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.capacity())
    }

    /// Decodes up to the end of the next message.
    #[inline]
    fn advance<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        limits: &Limits,
    ) -> Result<Option<Ready<'i>>, ProtocolError> {
        if self.partial.is_none() {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some(header) = Header::parse(input, None, limits)?
                && header.fin
                && header.payload_len <= input.len() - header.len
            {
                let frame = take(input, header.len + header.payload_len);
                let payload = &mut frame[header.len..];
                if limits.role == Role::Server {
                    apply_mask(payload, header.key, 0);
                }
                if header.compressed {
                    let message = Message::Compressed { text: header.opcode == Opcode::Text, payload };
                    return Ok(Some(Ready::Borrowed(message)));
                }
                return message(header.opcode, payload).map(|message| Some(Ready::Borrowed(message)));
            }
        }
        let partial = self.partial.get_or_insert_default();
        Ok(partial.advance(input, limits)?.then_some(Ready::Assembled))
    }

    /// Frees the message that the previous call has lent, and everything once nothing is incomplete.
    #[inline]
    fn release(&mut self) {
        if self.partial.as_mut().is_some_and(|partial| partial.release()) {
            self.partial = None;
        }
    }

    /// Discards all input from now on.
    #[cold]
    fn close(&mut self) {
        **self.partial.get_or_insert_default() = Partial { closed: true, ..Partial::default() };
    }
}

/// What is known of an incomplete message, and what was lent from it.
#[derive(Debug, Default)]
struct Partial {
    /// The first bytes of an incomplete header.
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The data message that is arriving.
    data: Option<Data>,
    /// The payload of the control frame that is arriving, possibly between two fragments of `data`.
    control: Vec<u8>,
    lent: Lent,
    /// After a close frame or an error.
    closed: bool,
}

/// A frame whose header is complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    key: [u8; 4],
    /// Payload bytes that have arrived.
    position: usize,
    /// Payload bytes that have not.
    remaining: usize,
}

/// A data message under construction.
#[derive(Debug)]
struct Data {
    payload: Payload,
    /// Frames begun.
    fragments: u32,
}

#[derive(Debug)]
enum Payload {
    Text(TextBuffer),
    Binary(Vec<u8>),
    Compressed { text: bool, bytes: Vec<u8> },
}

/// What the caller may still hold of a [`Partial`].
#[derive(Clone, Copy, Debug, Default)]
enum Lent {
    #[default]
    Nothing,
    Data,
    Control(Opcode),
}

impl Partial {
    /// Takes bytes off `input` until a message is complete (true) or `input` is empty (false).
    fn advance(&mut self, input: &mut &mut [u8], limits: &Limits) -> Result<bool, ProtocolError> {
        if self.closed {
            take(input, input.len());
            return Ok(false);
        }
        loop {
            let mut frame = match self.frame {
                Some(frame) => frame,
                None => match self.read_header(input, limits)? {
                    Some(frame) => frame,
                    None => return Ok(false),
                },
            };
            let bytes = take(input, frame.remaining.min(input.len()));
            if limits.role == Role::Server {
                apply_mask(bytes, frame.key, frame.position);
            }
            self.append(frame.opcode, bytes)?;
            frame.position += bytes.len();
            frame.remaining -= bytes.len();
            if frame.remaining > 0 {
                self.frame = Some(frame);
                return Ok(false);
            }
            self.frame = None;
            if frame.opcode.is_control() {
                self.closed = frame.opcode == Opcode::Close;
                self.lent = Lent::Control(frame.opcode);
                return Ok(true);
            }
            if frame.fin {
                if let Some(Data { payload: Payload::Text(text), .. }) = &self.data {
                    text.finish().map_err(|_| ProtocolError::InvalidUtf8)?;
                }
                self.lent = Lent::Data;
                return Ok(true);
            }
        }
    }

    /// Reads a header, of which earlier bytes may be in `self.header`, and begins its frame.
    fn read_header(
        &mut self,
        input: &mut &mut [u8],
        limits: &Limits,
    ) -> Result<Option<Frame>, ProtocolError> {
        let before = usize::from(self.header_len);
        let more = input.len().min(HEADER_BYTES_MAX - before);
        self.header[before..before + more].copy_from_slice(&input[..more]);
        let context = self.data.as_ref().map(Data::context);
        let Some(header) = Header::parse(&self.header[..before + more], context, limits)? else {
            // A header of full length is never incomplete, so this was all the input.
            take(input, more);
            self.header_len = (before + more) as u8;
            return Ok(None);
        };
        take(input, header.len - before);
        self.header_len = 0;
        match (header.opcode, &mut self.data) {
            (opcode, _) if header.compressed => {
                let text = opcode == Opcode::Text;
                self.data = Some(Data::new(Payload::Compressed { text, bytes: Vec::new() }));
            }
            (Opcode::Text, _) => self.data = Some(Data::new(Payload::Text(TextBuffer::default()))),
            (Opcode::Binary, _) => self.data = Some(Data::new(Payload::Binary(Vec::new()))),
            (Opcode::Continuation, Some(data)) => data.fragments += 1,
            _ => {}
        }
        Ok(Some(Frame {
            opcode: header.opcode,
            fin: header.fin,
            key: header.key,
            position: 0,
            remaining: header.payload_len,
        }))
    }

    /// Keeps payload bytes of a frame. Memory grows with what has arrived.
    fn append(&mut self, opcode: Opcode, bytes: &[u8]) -> Result<(), ProtocolError> {
        if opcode.is_control() {
            self.control.extend_from_slice(bytes);
            return Ok(());
        }
        match self.data.as_mut().map(|data| &mut data.payload) {
            Some(Payload::Text(text)) => text.push(bytes).map_err(|_| ProtocolError::InvalidUtf8),
            Some(Payload::Binary(kept) | Payload::Compressed { bytes: kept, .. }) => {
                kept.extend_from_slice(bytes);
                Ok(())
            }
            None => Err(ProtocolError::UnexpectedContinuation),
        }
    }

    /// The message that [`advance`](Self::advance) has completed.
    fn lend(&self) -> Result<Option<Message<'_>>, ProtocolError> {
        match (self.lent, self.data.as_ref().map(|data| &data.payload)) {
            (Lent::Control(opcode), _) => message(opcode, &self.control).map(Some),
            (Lent::Data, Some(Payload::Text(text))) => Ok(Some(Message::Text(text.as_str()))),
            (Lent::Data, Some(Payload::Binary(binary))) => Ok(Some(Message::Binary(binary))),
            (Lent::Data, Some(Payload::Compressed { text, bytes })) => {
                Ok(Some(Message::Compressed { text: *text, payload: bytes }))
            }
            (Lent::Data, None) | (Lent::Nothing, _) => Ok(None),
        }
    }

    /// Frees what was lent. True if nothing is left that must be remembered.
    fn release(&mut self) -> bool {
        match mem::take(&mut self.lent) {
            Lent::Nothing => {}
            Lent::Data => self.data = None,
            Lent::Control(_) => self.control = Vec::new(),
        }
        if self.closed {
            self.data = None;
        }
        !self.closed && self.data.is_none() && self.frame.is_none() && self.header_len == 0
    }

    /// Heap memory of the buffers, in bytes.
    fn capacity(&self) -> usize {
        let data = match self.data.as_ref().map(|data| &data.payload) {
            Some(Payload::Text(text)) => text.capacity(),
            Some(Payload::Binary(bytes) | Payload::Compressed { bytes, .. }) => bytes.capacity(),
            None => 0,
        };
        data + self.control.capacity()
    }
}

impl Data {
    fn new(payload: Payload) -> Self {
        Self { payload, fragments: 1 }
    }

    fn context(&self) -> Context {
        Context {
            fragments: self.fragments,
            bytes: match &self.payload {
                Payload::Text(text) => text.len(),
                Payload::Binary(bytes) | Payload::Compressed { bytes, .. } => bytes.len(),
            },
        }
    }
}

/// Splits `len` bytes off the front of `input`.
#[inline]
fn take<'i>(input: &mut &'i mut [u8], len: usize) -> &'i mut [u8] {
    let (front, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

/// The message in the payload of a single complete frame.
#[inline]
fn message(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, ProtocolError> {
    match opcode {
        Opcode::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(text) => Ok(Message::Text(text)),
            Err(_) => Err(ProtocolError::InvalidUtf8),
        },
        Opcode::Binary => Ok(Message::Binary(payload)),
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Pong => Ok(Message::Pong(payload)),
        Opcode::Close => close_message(payload),
        Opcode::Continuation => Err(ProtocolError::UnexpectedContinuation),
    }
}

/// Parses the payload of a close frame (RFC 6455 §5.5.1).
fn close_message(payload: &[u8]) -> Result<Message<'_>, ProtocolError> {
    match *payload {
        [] => Ok(Message::Close(None)),
        [_] => Err(ProtocolError::CloseTruncated),
        [high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            if !close_code::is_valid(code) {
                return Err(ProtocolError::CloseCode);
            }
            let reason = simdutf8::basic::from_utf8(reason).map_err(|_| ProtocolError::CloseReason)?;
            Ok(Message::Close(Some((code, reason))))
        }
    }
}
