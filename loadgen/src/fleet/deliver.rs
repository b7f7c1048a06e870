//! Reading what matters of a `deliver` frame where it lies: at 50,000 messages a second the strings of a decoded frame
//! would cost more than everything else.
//!
//! Only the plain case is read here. Whatever is unusual is left to the generated decoder.

/// What a device needs of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    /// Its place in the device's order; 0 if it is not to be acknowledged.
    pub(super) seq: u64,
    /// Its bytes.
    pub(super) data: &'a [u8],
}

/// A field of a protobuf message.
pub(super) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// Field numbers of the schema.
const FRAME_DELIVER: u64 = 2;
const DELIVER_SEQ: u64 = 2;
const DELIVER_PAYLOAD: u64 = 8;
pub(super) const PAYLOAD_DATA: u64 = 1;

/// Reads a server frame that is a `deliver` whose payload is bytes; `None` if it is anything else.
pub(super) fn read(frame: &[u8]) -> Option<Delivery<'_>> {
    let mut rest = frame;
    let (FRAME_DELIVER, Field::Bytes(mut deliver)) = field(&mut rest)? else { return None };
    if !rest.is_empty() {
        return None;
    }
    let (mut seq, mut data) = (0, None);
    while !deliver.is_empty() {
        match field(&mut deliver)? {
            (DELIVER_SEQ, Field::Varint(number)) => seq = number,
            (DELIVER_PAYLOAD, Field::Bytes(mut payload)) => {
                let (PAYLOAD_DATA, Field::Bytes(bytes)) = field(&mut payload)? else { return None };
                // A second payload would be merged into the first.
                if !payload.is_empty() || data.replace(bytes).is_some() {
                    return None;
                }
            }
            _ => {}
        }
    }
    Some(Delivery { seq, data: data? })
}

pub(super) fn field<'a>(input: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(input)?;
    let content = match tag & 7 {
        0 => Field::Varint(varint(input)?),
        2 => {
            let length = usize::try_from(varint(input)?).ok()?;
            let (bytes, rest) = input.split_at_checked(length)?;
            *input = rest;
            Field::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, content))
}

fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use campanile_protocol::frame::{Decoder, Limits, Message};
    use campanile_protocol::messages::{Deliver, Device, Encoding, Event, Payload, ServerFrame};
    use proptest::prelude::*;

    use super::*;

    /// Reads the frame as it comes out of the decoder.
    fn with<T>(frame: &ServerFrame, look: impl FnOnce(Option<Delivery<'_>>) -> T) -> T {
        let mut bytes = Vec::new();
        frame.encode_frame(Encoding::Protobuf, &mut bytes).unwrap();
        let mut decoder = Decoder::new();
        match decoder.next(&mut &mut bytes[..], &Limits::CLIENT).unwrap() {
            Some(Message::Binary(content)) => look(read(content)),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_the_gateway_encodes_is_read(seq in 0..1u64 << 62, data: Vec<u8>, id in "[0-9a-f]{32}", kind in ".{0,9}") {
            let deliver = Deliver {
                id,
                seq,
                kind,
                from: Some(Device { user: "u".into(), device: 3 }),
                sent_at_ms: 1_800_000_000_000,
                payload: Some(Payload::data(data.clone())),
                ..Deliver::default()
            };
            with(&ServerFrame::Deliver(deliver), |read| {
                prop_assert_eq!(read, Some(Delivery { seq, data: &data }));
                Ok(())
            })?;
        }

        #[test]
        fn nonsense_is_left_alone(bytes: Vec<u8>) {
            // Whatever it is, it must not be taken for more than it has.
            if let Some(delivery) = read(&bytes) {
                prop_assert!(delivery.data.len() < bytes.len());
            }
        }
    }

    #[test]
    fn everything_unusual_is_left_to_the_decoder() {
        let payload = || Some(Payload { content: None });
        let frames = [
            ServerFrame::Event(Event { payload: Some(Payload::data("x")), ..Event::default() }),
            ServerFrame::Deliver(Deliver { seq: 1, payload: payload(), ..Deliver::default() }),
            ServerFrame::Deliver(Deliver { seq: 1, payload: None, ..Deliver::default() }),
        ];
        for frame in frames {
            with(&frame, |read| assert_eq!(read, None, "{frame:?}"));
        }
    }
}
