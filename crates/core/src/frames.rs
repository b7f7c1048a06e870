//! One frame for many sessions: encoded when the first session needs it, shared by all of the same encoding.

use bytes::Bytes;
use campanile_protocol::messages::{Encoding, ServerFrame, encode_deliver_frame};

/// A frame in each encoding, made when the first session needs it.
pub(super) struct Frames {
    source: Source,
    encoded: [Option<Result<Bytes, ()>>; 2],
}

enum Source {
    Frame(ServerFrame),
    /// An encoded `Deliver`.
    Deliver(Bytes),
}

impl Frames {
    pub(super) fn new(frame: ServerFrame) -> Frames {
        Frames { source: Source::Frame(frame), encoded: [None, None] }
    }

    /// Of a message as it is stored.
    pub(super) fn of_deliver(body: Bytes) -> Frames {
        Frames { source: Source::Deliver(body), encoded: [None, None] }
    }

    /// `None` if the payload cannot be put into this encoding.
    pub(super) fn get(&mut self, encoding: Encoding) -> Option<Bytes> {
        let place = match encoding {
            Encoding::Protobuf => &mut self.encoded[0],
            Encoding::Json => &mut self.encoded[1],
        };
        let source = &self.source;
        let encode = || {
            let mut bytes = Vec::new();
            match source {
                Source::Frame(frame) => frame.encode_frame(encoding, &mut bytes).map_err(drop)?,
                Source::Deliver(body) => encode_deliver_frame(body, encoding, &mut bytes).map_err(drop)?,
            }
            Ok(bytes.into())
        };
        place.get_or_insert_with(encode).clone().ok()
    }
}
