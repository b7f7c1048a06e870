//! One frame for many sessions: encoded when the first session needs it, shared by all of the same encoding.

use bytes::Bytes;
use campanile_protocol::messages::{Deliver, Encoding, Payload, ServerFrame, encode_deliver_frame};
use prost::Message as _;

/// A frame in each encoding, made when the first session needs it.
pub(crate) struct Frames {
    source: Source,
    encoded: [Option<Result<Bytes, ()>>; 2],
}

enum Source {
    Frame(ServerFrame),
    /// An encoded `Deliver`.
    Deliver(Bytes),
}

impl Frames {
    pub(crate) fn new(frame: ServerFrame) -> Frames {
        Frames { source: Source::Frame(frame), encoded: [None, None] }
    }

    /// Of a message as it is stored.
    pub(crate) fn of_deliver(body: Bytes) -> Frames {
        Frames { source: Source::Deliver(body), encoded: [None, None] }
    }

    /// `None` if the payload cannot be put into this encoding.
    pub(crate) fn get(&mut self, encoding: Encoding) -> Option<Bytes> {
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

/// A message as it is stored, and as frames.
pub(crate) fn encoded(message: &mut Deliver, payload: Option<&Payload>) -> (Bytes, Frames) {
    message.payload = payload.cloned();
    let body = Bytes::from(message.encode_to_vec());
    (body.clone(), Frames::of_deliver(body))
}
