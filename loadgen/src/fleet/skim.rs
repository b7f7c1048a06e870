//! Counting channel messages without reading them: at millions of frames a second most devices look at the header of
//! each frame and at what it begins with, and pass over the rest.
//!
//! Only whole, unfragmented frames of that kind are passed over, also across reads. Whatever else comes is left where
//! it is, for the decoder: so pings are answered, refusals are seen and gaps are counted on every device.

use campanile_protocol::frame::Limits;
use campanile_protocol::messages::Encoding;

/// FIN and binary, FIN and text (RFC 6455 §5.2).
const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
/// What a `channel_message` begins with in protobuf: field 7, length-delimited.
const PROTOBUF: &[u8] = &[7 << 3 | 2];
/// The same in JSON.
const JSON: &[u8] = b"{\"channelMessage\":";

/// What was passed over.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Skimmed {
    /// Frames that ended.
    pub(super) frames: u64,
    /// Bytes of the messages in those that began.
    pub(super) bytes: u64,
}

/// Passes over channel messages at the front of `data`. `left` is what is still to come of one that has begun; before
/// and after a call it is 0 unless `data` is empty.
pub(super) fn skim(encoding: Encoding, left: &mut u32, data: &mut &mut [u8]) -> Skimmed {
    let mut skimmed = Skimmed::default();
    let (first, begin) = match encoding {
        Encoding::Protobuf => (BINARY, PROTOBUF),
        Encoding::Json => (TEXT, JSON),
    };
    let mut rest = &**data;
    if *left > 0 {
        let now = rest.len().min(*left as usize);
        rest = &rest[now..];
        *left -= now as u32;
        skimmed.frames += u64::from(*left == 0);
    }
    while let Some((header, length)) = header(first, rest)
        && rest[header..].starts_with(begin)
    {
        skimmed.bytes += length as u64;
        let whole = header + length;
        match rest.get(whole..) {
            Some(after) => {
                rest = after;
                skimmed.frames += 1;
            }
            None => {
                // At most the limit of a message, so it fits.
                *left = (whole - rest.len()) as u32;
                rest = &[];
            }
        }
    }
    let used = data.len() - rest.len();
    *data = &mut std::mem::take(data)[used..];
    skimmed
}

/// The length of the header at the front, and of what follows it. `None` if it is not wholly there, or not one of an
/// ordinary message of up to 64 KiB, or wrong in any way: the decoder knows.
fn header(first: u8, input: &[u8]) -> Option<(usize, usize)> {
    const _: () = assert!(Limits::CLIENT.message_bytes_max > u16::MAX as usize);
    match *input {
        [start, length @ 0..126, ..] if start == first => Some((2, length.into())),
        [start, 126, high, low, ..] if start == first => {
            let length = u16::from_be_bytes([high, low]);
            (length >= 126).then_some((4, length.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use campanile_protocol::frame::{Decoder, Message, Opcode, encode_frame, encode_header};
    use campanile_protocol::messages::{ChannelMessage, Gap, Payload, ServerFrame, Welcome};
    use proptest::prelude::*;

    use super::*;

    /// What a connection shows for an input that comes in pieces of these lengths, in turn.
    fn read(encoding: Encoding, stream: &[u8], pieces: &[usize]) -> (u64, Vec<String>) {
        let (mut decoder, mut left, mut frames, mut others) = (Decoder::new(), 0, 0, Vec::new());
        let (mut stream, mut pieces) = (stream.to_vec(), pieces.iter().cycle());
        while !stream.is_empty() {
            let mut piece: Vec<u8> =
                stream.drain(..stream.len().min((*pieces.next().unwrap()).max(1))).collect();
            let mut data = &mut piece[..];
            loop {
                decoder.next(&mut Default::default(), &Limits::CLIENT).unwrap();
                if decoder.is_idle() {
                    frames += skim(encoding, &mut left, &mut data).frames;
                }
                match decoder.next(&mut data, &Limits::CLIENT).unwrap() {
                    None => break,
                    Some(Message::Ping(content)) => others.push(format!("ping {}", content.len())),
                    Some(message) => match ServerFrame::decode(encoding, &message).unwrap() {
                        ServerFrame::ChannelMessage(_) => frames += 1,
                        other => others.push(format!("{other:?}")),
                    },
                }
            }
        }
        assert!(decoder.is_idle() && left == 0);
        (frames, others)
    }

    fn stream(encoding: Encoding, kinds: &[(u8, usize)]) -> (Vec<u8>, u64, Vec<String>) {
        let (mut bytes, mut frames, mut others) = (Vec::new(), 0, Vec::new());
        for &(kind, length) in kinds {
            let payload = Some(Payload::data(vec![b'x'; length]));
            let channel = "room".to_owned();
            let frame = match kind {
                0 => {
                    encode_frame(Opcode::Ping, &vec![0x82; length % 126], &mut bytes);
                    others.push(format!("ping {}", length % 126));
                    continue;
                }
                1 => ServerFrame::Gap(Gap { channel, until: 7, reason: "too_slow".into() }),
                2 => ServerFrame::Welcome(Welcome { node: "n".repeat(length), ..Welcome::default() }),
                _ => ServerFrame::ChannelMessage(ChannelMessage {
                    channel,
                    offset: 9,
                    payload,
                    ..Default::default()
                }),
            };
            frame.encode_frame(encoding, &mut bytes).unwrap();
            match frame {
                ServerFrame::ChannelMessage(_) => frames += 1,
                other => others.push(format!("{other:?}")),
            }
        }
        (bytes, frames, others)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_frame_is_counted_once_however_the_input_is_cut(
            json: bool,
            kinds in proptest::collection::vec((0..8u8, prop_oneof![0..200usize, 60_000..70_000usize]), 1..20),
            pieces in proptest::collection::vec(prop_oneof![1..6usize, 1..5_000usize], 1..6),
        ) {
            let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
            let (bytes, frames, others) = stream(encoding, &kinds);
            prop_assert_eq!(read(encoding, &bytes, &pieces), (frames, others));
        }
    }

    #[test]
    fn what_is_wrong_with_a_frame_is_left_to_the_decoder() {
        let mut non_minimal = vec![BINARY, 126, 0, 1, PROTOBUF[0]];
        let mut masked = vec![BINARY, 0x81, 0, 0, 0, 0, PROTOBUF[0]];
        let mut fragment = Vec::new();
        encode_header(Opcode::Binary, false, 1, None, &mut fragment);
        fragment.push(PROTOBUF[0]);
        for bytes in [&mut non_minimal, &mut masked, &mut fragment] {
            let (before, mut left, mut data) = (bytes.len(), 0, &mut bytes[..]);
            assert_eq!(skim(Encoding::Protobuf, &mut left, &mut data), Skimmed::default());
            assert_eq!((data.len(), left), (before, 0));
        }
    }
}
