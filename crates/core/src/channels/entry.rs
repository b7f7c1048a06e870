//! What a log consists of: messages and events as ready-made frames.

use std::sync::Arc;

use bytes::Bytes;
use campanile_protocol::frame::{Message, Opcode};
use campanile_protocol::messages::{Encoding, ServerFrame};
use once_cell::race::OnceBox;

use crate::compression::Deflating;

/// How a frame is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) encoding: Encoding,
    /// Whether it is compressed, if that makes it smaller (RFC 7692).
    pub(crate) deflate: bool,
}

/// A message or an event, as frames. Never changes.
pub(crate) struct Entry {
    /// Number of the message; of an event, that of the newest message before it.
    pub(super) offset: u64,
    pub(super) is_event: bool,
    /// When it was published, in milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
    /// The frame in protobuf; empty in place of an event that is not sent any more.
    protobuf: Bytes,
    /// The other variants, each made by the first shard that needs it; two may make it at once, and the first is kept.
    json: OnceBox<Bytes>,
    protobuf_deflate: OnceBox<Bytes>,
    json_deflate: OnceBox<Bytes>,
}

impl Entry {
    pub(super) fn new(offset: u64, at_ms: u64, frame: &ServerFrame) -> Arc<Entry> {
        let mut protobuf = Vec::new();
        let encoded = frame.encode_frame(Encoding::Protobuf, &mut protobuf);
        debug_assert!(encoded.is_ok(), "only JSON can fail");
        Entry::of(offset, at_ms, matches!(frame, ServerFrame::Event(_)), protobuf.into())
    }

    /// What stands in place of an event that is not sent any more.
    pub(super) fn blank(offset: u64, at_ms: u64) -> Arc<Entry> {
        Entry::of(offset, at_ms, true, Bytes::new())
    }

    fn of(offset: u64, at_ms: u64, is_event: bool, protobuf: Bytes) -> Arc<Entry> {
        let (json, protobuf_deflate, json_deflate) = (OnceBox::new(), OnceBox::new(), OnceBox::new());
        Arc::new(Entry { offset, is_event, at_ms, protobuf, json, protobuf_deflate, json_deflate })
    }

    pub(super) fn is_blank(&self) -> bool {
        self.protobuf.is_empty()
    }

    /// The whole frame; empty if the entry is blank.
    pub(super) fn frame(&self, variant: Variant, deflating: &mut Deflating) -> &[u8] {
        match (variant.encoding, variant.deflate) {
            _ if self.is_blank() => &[],
            (Encoding::Protobuf, false) => &self.protobuf,
            (Encoding::Json, false) => self.json(),
            (Encoding::Protobuf, true) => self
                .protobuf_deflate
                .get_or_init(|| Box::new(deflating.frame(Opcode::Binary, payload_of(&self.protobuf)).into())),
            (Encoding::Json, true) => self
                .json_deflate
                .get_or_init(|| Box::new(deflating.frame(Opcode::Text, payload_of(self.json())).into())),
        }
    }

    fn json(&self) -> &[u8] {
        self.json.get_or_init(|| {
            let mut json = Vec::new();
            let mut frame = self.decoded();
            let encoded = frame.as_ref().map(|frame| frame.encode_frame(Encoding::Json, &mut json));
            if !matches!(encoded, Some(Ok(()))) {
                debug_assert!(false, "payloads are checked before they are published");
                // Without its payload it still has its number: no hole that nobody is told of.
                if let Some(ServerFrame::ChannelMessage(message)) = &mut frame {
                    message.payload = None;
                    let _ = frame.map(|frame| frame.encode_frame(Encoding::Json, &mut json));
                }
            }
            Box::new(json.into())
        })
    }

    /// What the frame says.
    pub(super) fn decoded(&self) -> Option<ServerFrame> {
        ServerFrame::decode(Encoding::Protobuf, &Message::Binary(payload_of(&self.protobuf))).ok()
    }

    /// Bytes of memory, other variants than protobuf not counted.
    pub(super) fn bytes(&self) -> usize {
        // Blank entries of one place share their memory: each costs its place in the log.
        if self.is_blank() { size_of::<Arc<Entry>>() } else { size_of::<Entry>() + self.protobuf.len() }
    }
}

/// The payload of a whole frame that we have made: FIN, not masked (RFC 6455 §5.2).
pub(super) fn payload_of(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1).map(|len| len & 0x7f) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}
