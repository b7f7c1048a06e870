//! Reading what matters of a `channel_message` where it lies, as [`super::deliver`] does of a `deliver`.

use super::deliver::{Field, PAYLOAD_DATA, field};

/// What a device needs of a channel's message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Read<'a> {
    /// The channel's name.
    pub(super) channel: &'a [u8],
    /// The message's number.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) data: &'a [u8],
}

/// Field numbers of the schema.
const FRAME_CHANNEL_MESSAGE: u64 = 7;
const CHANNEL: u64 = 1;
const OFFSET: u64 = 2;
const PAYLOAD: u64 = 6;

/// Reads a server frame that is a `channel_message` whose payload is bytes; `None` if it is anything else, or unusual.
pub(super) fn read(frame: &[u8]) -> Option<Read<'_>> {
    let mut rest = frame;
    let (FRAME_CHANNEL_MESSAGE, Field::Bytes(mut message)) = field(&mut rest)? else { return None };
    if !rest.is_empty() {
        return None;
    }
    let (mut channel, mut offset, mut data) = (None, 0, None);
    while !message.is_empty() {
        match field(&mut message)? {
            (CHANNEL, Field::Bytes(name)) => channel = Some(name),
            (OFFSET, Field::Varint(number)) => offset = number,
            (PAYLOAD, Field::Bytes(mut payload)) => {
                let (PAYLOAD_DATA, Field::Bytes(bytes)) = field(&mut payload)? else { return None };
                // A second payload would be merged into the first.
                if !payload.is_empty() || data.replace(bytes).is_some() {
                    return None;
                }
            }
            _ => {}
        }
    }
    Some(Read { channel: channel?, offset, data: data? })
}

#[cfg(test)]
mod tests {
    use campanile_protocol::frame::{Decoder, Limits, Message};
    use campanile_protocol::messages::{ChannelMessage, Device, Encoding, Payload, ServerFrame};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_the_gateway_encodes_is_read(offset in 1..1u64 << 62, data: Vec<u8>, channel in ".{1,30}") {
            let message = ChannelMessage {
                channel: channel.clone(),
                offset,
                kind: "message".into(),
                from: Some(Device { user: "u".into(), device: 3 }),
                sent_at_ms: 1_800_000_000_000,
                payload: Some(Payload::data(data.clone())),
            };
            let mut bytes = Vec::new();
            ServerFrame::ChannelMessage(message).encode_frame(Encoding::Protobuf, &mut bytes).unwrap();
            let mut decoder = Decoder::new();
            let Some(Message::Binary(content)) = decoder.next(&mut &mut bytes[..], &Limits::CLIENT).unwrap() else {
                panic!("a binary message")
            };
            prop_assert_eq!(read(content), Some(Read { channel: channel.as_bytes(), offset, data: &data }));
        }

        #[test]
        fn nonsense_is_left_alone(bytes: Vec<u8>) {
            // Whatever it is, it must not be taken for more than it has.
            if let Some(message) = read(&bytes) {
                prop_assert!(message.data.len() + message.channel.len() < bytes.len());
            }
        }
    }
}
