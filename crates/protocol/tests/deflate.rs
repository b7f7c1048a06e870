//! Compressed messages: the examples of RFC 7692, round trips, another implementation, bombs and broken data.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod common;

use campanile_protocol::{
    deflate::{Deflater, InflateError, Inflater},
    frame::{Limits, Message, Opcode, ProtocolError, Role, apply_mask, encode_header, frame},
};
use common::{Owned, decode, decode_cut};
use miniz_oxide::{
    DataFormat,
    deflate::{
        CompressionLevel,
        core::{CompressorOxide, TDEFLFlush, compress},
    },
    inflate::{TINFLStatus, core},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

const MESSAGE_BYTES_MAX: usize = 70_000;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn limits(role: Role) -> Limits {
    Limits { role, message_bytes_max: MESSAGE_BYTES_MAX, fragments_max: u32::MAX, deflate: true }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn inflate(payload: &[u8], message_bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = b"what was there before".to_vec();
    let result = Inflater::new().inflate(payload, message_bytes_max, &mut out);
    assert!(out.len() <= message_bytes_max.saturating_add(1), "{} of {message_bytes_max}", out.len());
    result.map(|()| out)
}

/// What the bytes of a server become, decompressed.
fn read(bytes: &[u8]) -> Vec<Owned> {
    let outcome = decode(bytes, &limits(Role::Client));
    assert_eq!(outcome.error, None);
    outcome.messages.into_iter().map(|message| inflated(&mut Inflater::new(), message)).collect()
}

fn inflated(inflater: &mut Inflater, message: Owned) -> Owned {
    match message {
        Owned::Compressed(text, payload) => {
            let mut out = Vec::new();
            inflater.message(text, &payload, MESSAGE_BYTES_MAX, &mut out).expect("valid").into()
        }
        plain => plain,
    }
}

/// A payload by another implementation, in as many blocks as there are pieces.
fn peer_deflate(pieces: &[&[u8]], level: CompressionLevel) -> Vec<u8> {
    let mut compressor = CompressorOxide::with_format_and_level(DataFormat::Raw, level);
    let mut out = Vec::new();
    for piece in pieces {
        let mut buffer = vec![0; 2 * piece.len() + 100];
        let (_, read, written) = compress(&mut compressor, piece, &mut buffer, TDEFLFlush::Sync);
        assert_eq!(read, piece.len());
        out.extend_from_slice(&buffer[..written]);
    }
    assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xff, 0xff]);
    out
}

/// The message in a compressed one, by another implementation.
fn peer_inflated(message: Owned) -> Owned {
    let Owned::Compressed(text, payload) = message else { return message };
    let input = [&payload[..], &[0, 0, 0xff, 0xff]].concat();
    let mut out = vec![0; MESSAGE_BYTES_MAX + 1];
    let (status, read, written) = core::decompress(
        &mut core::DecompressorOxide::new(),
        &input,
        &mut out,
        0,
        core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF
            | core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT,
    );
    assert_eq!((status, read), (TINFLStatus::NeedsMoreInput, input.len()));
    out.truncate(written);
    if text { Owned::Text(String::from_utf8(out).expect("UTF-8")) } else { Owned::Binary(out) }
}

const WORDS: [&[u8]; 4] = [b"\"price\":", b"12", b",", b"\xff\x00"];

/// Bytes with and without something to gain.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => vec(any::<u8>(), 0..300),
        4 => vec(select(&WORDS[..]), 0..300).prop_map(|words| words.concat()),
        1 => (any::<u8>(), 0..MESSAGE_BYTES_MAX).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

#[test]
fn the_examples_of_the_rfc() {
    let hello = [Owned::Text("Hello".to_owned())];
    // §7.2.3.1: one block, in one frame and in two.
    assert_eq!(read(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), hello);
    assert_eq!(read(b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00"), hello);
    // §7.2.3.3: a block without compression.
    assert_eq!(read(b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), hello);
    // §7.2.3.4: a block marked as the last.
    assert_eq!(read(b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), hello);
    // §7.2.3.5: two blocks.
    assert_eq!(read(b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), hello);
    // §7.2.3.6: nothing.
    assert_eq!(read(b"\xc1\x01\x00"), [Owned::Text(String::new())]);
    // §7.2.3.2: a second message that refers to the first; we have negotiated that none does.
    assert_eq!(inflate(b"\xf2\x00\x11\x00\x00", 100), Err(InflateError::Malformed));
}

#[test]
fn our_frames_are_compressed_where_that_makes_them_smaller() {
    let mut deflater = Deflater::new();
    let mut out = b"before".to_vec();
    let text = "tick tick tick tick tick";
    assert!(deflater.encode_frame(Opcode::Text, text.as_bytes(), &mut out));
    // As the zlib in C gives it at level 6, without its last four bytes.
    assert_eq!(out, b"before\xc1\x0a\x2a\xc9\x4c\xce\x56\x28\xc1\x24\x00\x00");
    assert_eq!(read(&out[6..]), [Owned::Text(text.to_owned())]);

    for payload in [&b""[..], b"a", b"Hello", &std::array::from_fn::<u8, 200, _>(|i| (i * i * 7 + i) as u8)] {
        let mut out = Vec::new();
        assert!(!deflater.encode_frame(Opcode::Binary, payload, &mut out));
        assert_eq!(out, frame(Opcode::Binary, payload));
    }
    let mut out = Vec::new();
    assert!(!deflater.encode_frame(Opcode::Ping, &[b'a'; 100], &mut out), "control frames never");
    assert_eq!(out, frame(Opcode::Ping, &[b'a'; 100]));
}

/// What was compressed before has no influence, so that the frame is right for any subscriber at any time.
#[test]
fn every_message_is_compressed_by_itself() {
    let mut deflater = Deflater::new();
    let mut frames = Vec::new();
    for payload in [&[b'x'; 5000][..], &[b'x'; 5000], b"random: kjhg63", &[b'x'; 5000]] {
        let mut out = Vec::new();
        deflater.encode_frame(Opcode::Binary, payload, &mut out);
        frames.push(out);
    }
    assert_eq!(frames[0], frames[1]);
    assert_eq!(frames[0], frames[3]);
}

#[test]
fn only_the_first_frame_of_a_data_message_may_be_marked() {
    let marked = |first: u8, payload: &[u8]| {
        let mut bytes = frame(Opcode::Text, payload);
        bytes[0] = first;
        bytes
    };
    let refused = |bytes: &[u8]| decode(bytes, &limits(Role::Client)).error;
    for first in [0xc8, 0xc9, 0xca, 0xc0, 0xc3, 0xa1, 0x91, 0xe1, 0xd2] {
        assert_eq!(refused(&marked(first, b"")), Some(ProtocolError::ReservedBits), "{first:x}");
    }
    let within = [marked(0x41, b"a"), marked(0xc0, b"b")].concat();
    assert_eq!(refused(&within), Some(ProtocolError::ReservedBits));
    let again = [marked(0x41, b"a"), marked(0xc1, b"b")].concat();
    assert_eq!(refused(&again), Some(ProtocolError::ExpectedContinuation));
    // Not negotiated.
    for first in [0xc1, 0xc2, 0x41] {
        assert_eq!(decode(&marked(first, b""), &Limits::CLIENT).error, Some(ProtocolError::ReservedBits));
    }
    // A plain message after a compressed one, with a ping in between; the content is not looked at.
    let mixed =
        [marked(0x42, b"\xff"), marked(0x89, b"p"), marked(0x80, b"\xfe"), marked(0x82, b"\x01")].concat();
    let expected =
        [Owned::Ping(b"p".to_vec()), Owned::Compressed(false, b"\xff\xfe".to_vec()), Owned::Binary(vec![1])];
    assert_eq!(decode(&mixed, &limits(Role::Client)).messages, expected);
    // Once it is read, nothing of it is left.
    assert!(decode(&mixed, &limits(Role::Client)).idle);
}

#[test]
fn the_limit_counts_compressed_bytes_in_the_decoder() {
    let limits = Limits { message_bytes_max: 10, ..limits(Role::Client) };
    let mut bytes = frame(Opcode::Binary, &[0; 11]);
    bytes[0] |= 0x40;
    assert_eq!(decode(&bytes, &limits).error, Some(ProtocolError::TooLarge));
    let parts = [0x42, 6, 0, 0, 0, 0, 0, 0, 0x80, 5];
    assert_eq!(decode(&parts, &limits).error, Some(ProtocolError::TooLarge));
}

#[test]
fn a_bomb_stops_at_the_limit() {
    // A thousand to one is the most that DEFLATE can.
    let zeros = vec![0; 100 << 20];
    let bomb = peer_deflate(&[&zeros], CompressionLevel::BestCompression);
    for (payload, max) in [(&bomb[..1024], 65_536), (&bomb, 65_536), (&bomb, 0), (&bomb, 1), (&bomb, 5000)] {
        let mut out = Vec::new();
        assert_eq!(Inflater::new().inflate(payload, max, &mut out), Err(InflateError::TooLarge), "{max}");
        assert!(out.capacity() <= max + 1, "{} of {max}", out.capacity());
    }
}

#[test]
fn the_limit_is_exact() {
    for len in [0_usize, 1, 2047, 2048, 2049, 4096, 65_536] {
        let payload = peer_deflate(&[&vec![b'a'; len]], CompressionLevel::DefaultLevel);
        assert_eq!(inflate(&payload, len).map(|out| out.len()), Ok(len));
        assert_eq!(inflate(&payload, usize::MAX - 1).map(|out| out.len()), Ok(len));
        if len > 0 {
            assert_eq!(inflate(&payload, len - 1), Err(InflateError::TooLarge));
        }
    }
    // Also where the bytes that a sender leaves off are taken for content.
    let swallows = b"\x00\x05\x00\xfa\xffa";
    assert_eq!(inflate(swallows, 5), Ok(b"a\x00\x00\xff\xff".to_vec()));
    assert_eq!(inflate(swallows, 4), Err(InflateError::TooLarge));
}

#[test]
fn broken_payloads_are_refused() {
    for payload in [
        // Nothing at all; even an empty message is one byte.
        &b""[..],
        // A block of the reserved kind, a stored block with a wrong length, a distance before the beginning.
        b"\x06\x00",
        b"\x00\x05\x00\x00\x00Hello\x00",
        b"\x02\x13\x00\x00\x00",
        // Cut off within a block, with and without the end of one before it.
        b"\xf2\x48\xcd",
        b"\x00\x05\x00\xfa\xffHel",
        b"\x00\xff\x00\x00\xffHel",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\xf2\x48",
        // Marked as the last block, without the empty one that must follow.
        b"\xf3\x48\xcd\xc9\xc9\x07\x00",
        // With the bytes that must be left off, but for one.
        b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff",
    ] {
        assert_eq!(inflate(payload, 1000), Err(InflateError::Malformed), "{payload:x?}");
    }
    assert_eq!(InflateError::Malformed.close_code(), 1007);
    assert_eq!(InflateError::TooLarge.close_code(), ProtocolError::TooLarge.close_code());
}

#[test]
fn a_text_must_be_utf8() {
    let payload = peer_deflate(&[b"caf\xe9"], CompressionLevel::DefaultLevel);
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    assert_eq!(inflater.message(true, &payload, 100, &mut out), Err(InflateError::InvalidUtf8));
    assert_eq!(InflateError::InvalidUtf8.close_code(), ProtocolError::InvalidUtf8.close_code());
    assert_eq!(inflater.message(false, &payload, 100, &mut out), Ok(Message::Binary(b"caf\xe9")));
}

/// An inflater that has refused something is as good as new.
#[test]
fn errors_leave_nothing_behind() {
    let mut inflater = Inflater::new();
    let mut out = Vec::new();
    let good = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for bad in [&b"\x06"[..], b"\xf2\x48", b"", &good[..]] {
        assert!(inflater.inflate(bad, 4, &mut out).is_err());
        assert_eq!(inflater.message(true, good, 5, &mut out), Ok(Message::Text("Hello")));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_compressed_comes_back(
        contents in vec(content(), 1..4),
        text in any::<bool>(),
        key in any::<[u8; 4]>(),
        cuts in vec(any::<Index>(), 0..4),
    ) {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        let opcode = if text { Opcode::Text } else { Opcode::Binary };
        let (mut masked, mut plain, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for mut content in contents {
            if text {
                content = String::from_utf8_lossy(&content[..content.len() / 3]).into_owned().into_bytes();
            }
            let start = plain.len();
            let compressed = deflater.encode_frame(opcode, &content, &mut plain);
            let whole = frame(opcode, &content);
            let as_it_should = if compressed { plain.len() - start < whole.len() } else { plain[start..] == whole };
            prop_assert!(as_it_should);
            prop_assert_eq!(deflater.encode_masked_frame(opcode, &content, key, &mut masked), compressed);
            expected.push(if text {
                Owned::Text(String::from_utf8(content).expect("UTF-8"))
            } else {
                Owned::Binary(content)
            });
        }
        for (bytes, role) in [(&plain, Role::Client), (&masked, Role::Server)] {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let outcome = decode_cut(bytes, &cuts, &limits(role));
            prop_assert_eq!(outcome.error, None);
            prop_assert!(outcome.idle);
            let theirs: Vec<_> = outcome.messages.iter().cloned().map(peer_inflated).collect();
            prop_assert_eq!(&theirs, &expected);
            let messages: Vec<_> =
                outcome.messages.into_iter().map(|message| inflated(&mut inflater, message)).collect();
            prop_assert_eq!(&messages, &expected);
        }
    }

    /// In any number of blocks and in any number of frames, from another implementation.
    #[test]
    fn what_others_compress_is_understood(
        pieces in vec(content(), 0..4),
        level in prop_oneof![
            Just(CompressionLevel::NoCompression), Just(CompressionLevel::BestSpeed),
            Just(CompressionLevel::DefaultLevel), Just(CompressionLevel::BestCompression),
        ],
        cuts in vec(any::<Index>(), 0..4),
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let whole = pieces.concat();
        let payload = peer_deflate(if pieces.is_empty() { &[b""] } else { &pieces }, level);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut bytes, mut start) = (Vec::new(), 0);
        for end in cuts.iter().copied().chain([payload.len()]) {
            let opcode = if start == 0 && bytes.is_empty() { Opcode::Binary } else { Opcode::Continuation };
            let header = bytes.len();
            encode_header(opcode, false, end - start, Some(KEY), &mut bytes);
            bytes[header] |= if opcode == Opcode::Binary { 0x40 } else { 0 };
            let begin = bytes.len();
            bytes.extend_from_slice(&payload[start..end]);
            apply_mask(&mut bytes[begin..], KEY, 0);
            start = end;
        }
        bytes.extend([0x80, 0x80, 0, 0, 0, 0]);
        let limits = Limits { message_bytes_max: usize::MAX, ..limits(Role::Server) };
        let outcome = decode(&bytes, &limits);
        prop_assert_eq!(outcome.messages, [Owned::Compressed(false, payload.clone())]);
        prop_assert_eq!(inflate(&payload, whole.len()), Ok(whole));
    }

    /// Cut or changed anywhere: an answer within the limit, and the next message is none the worse.
    #[test]
    fn broken_payloads_do_no_harm(
        content in content(),
        changes in vec((any::<Index>(), any::<u8>()), 0..3),
        cut in any::<Index>(),
        garbage in vec(any::<u8>(), 0..60),
    ) {
        let mut payload = peer_deflate(&[&content], CompressionLevel::DefaultLevel);
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let (mut inflater, mut out) = (Inflater::new(), Vec::new());
        for broken in [&payload[..], &payload[..cut.index(payload.len() + 1)], &garbage] {
            let result = inflater.inflate(broken, 3000, &mut out);
            prop_assert!(out.len() <= 3000 + usize::from(result.is_err()));
            prop_assert_eq!(result, inflate(broken, 3000).map(|_| ()));
        }
        let hello = inflater.message(true, b"\xf2\x48\xcd\xc9\xc9\x07\x00", 5, &mut out);
        prop_assert_eq!(hello, Ok(Message::Text("Hello")));
    }
}
