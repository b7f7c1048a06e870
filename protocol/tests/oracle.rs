//! The decoder and encoder against `tungstenite`, and against themselves with the input cut elsewhere.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod common;

use std::io::{self, Read, Write};

use campanile_protocol::frame::{
    self, Limits, Opcode, ProtocolError, Role, apply_mask, encode_header,
};
use common::{Owned, decode, decode_cut};
use proptest::{collection::vec, prelude::*, sample::Index};
use tungstenite::protocol::{
    CloseFrame, Role as PeerRole, WebSocket, WebSocketConfig,
    frame::{
        Frame,
        coding::{CloseCode, Control, Data, OpCode},
    },
};

const MESSAGE_BYTES_MAX: usize = 70_000;

fn limits(role: Role) -> Limits {
    Limits {
        role,
        message_bytes_max: MESSAGE_BYTES_MAX,
        fragments_max: u32::MAX,
    }
}

/// Four times the cases of other properties; `PROPTEST_CASES` scales both. A failure prints its shrunken input.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.saturating_mul(4),
        failure_persistence: None,
        ..default
    }
}

// ---- streams of frames ----------------------------------------------------------------------------------------

/// One frame of a valid stream.
#[derive(Clone, Debug)]
struct Piece {
    fin: bool,
    opcode: Opcode,
    payload: Vec<u8>,
    key: [u8; 4],
}

/// A valid stream: its frames and the messages that they make.
#[derive(Clone, Debug)]
struct Stream {
    pieces: Vec<Piece>,
    messages: Vec<Owned>,
}

fn piece(fin: bool, opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Piece {
    Piece {
        fin,
        opcode,
        payload: payload.to_vec(),
        key,
    }
}

fn control() -> impl Strategy<Value = (bool, Vec<u8>)> {
    (any::<bool>(), vec(any::<u8>(), 0..=125))
}

fn push_control(stream: &mut Stream, (ping, payload): &(bool, Vec<u8>), key: [u8; 4]) {
    let opcode = if *ping { Opcode::Ping } else { Opcode::Pong };
    stream.pieces.push(piece(true, opcode, payload, key));
    let message = if *ping { Owned::Ping } else { Owned::Pong };
    stream.messages.push(message(payload.clone()));
}

/// A data message in fragments, with control frames between them.
fn data() -> impl Strategy<Value = Stream> {
    let content = prop_oneof![
        4 => ".{0,60}".prop_map(Ok),
        1 => "[aé€𝄞]{200,400}".prop_map(Ok),
        4 => vec(any::<u8>(), 0..300).prop_map(Err),
        1 => vec(any::<u8>(), 65_000..66_500).prop_map(Err),
    ];
    (
        content,
        vec(any::<Index>(), 0..4),
        vec(control(), 0..3),
        any::<[u8; 4]>(),
    )
        .prop_map(|(content, cuts, controls, key)| {
            let (bytes, opcode, message) = match content {
                Ok(text) => (text.clone().into_bytes(), Opcode::Text, Owned::Text(text)),
                Err(bytes) => (bytes.clone(), Opcode::Binary, Owned::Binary(bytes)),
            };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut stream = Stream {
                pieces: Vec::new(),
                messages: Vec::new(),
            };
            let mut start = 0;
            for (index, &end) in cuts.iter().enumerate() {
                let opcode = if index == 0 {
                    opcode
                } else {
                    Opcode::Continuation
                };
                stream
                    .pieces
                    .push(piece(false, opcode, &bytes[start..end], key));
                start = end;
                if let Some(control) = controls.get(index) {
                    push_control(&mut stream, control, key);
                }
            }
            let opcode = if cuts.is_empty() {
                opcode
            } else {
                Opcode::Continuation
            };
            stream
                .pieces
                .push(piece(true, opcode, &bytes[start..], key));
            stream.messages.push(message);
            stream
        })
}

fn close() -> impl Strategy<Value = Option<(u16, String)>> {
    let code = prop_oneof![1000..=1003_u16, 1007..=1013_u16, 3000..=4999_u16];
    proptest::option::of((code, "[ -~]{0,123}"))
}

fn stream() -> impl Strategy<Value = Stream> {
    let part = prop_oneof![
        3 => data(),
        1 => (control(), any::<[u8; 4]>()).prop_map(|(control, key)| {
            let mut stream = Stream { pieces: Vec::new(), messages: Vec::new() };
            push_control(&mut stream, &control, key);
            stream
        }),
    ];
    (
        vec(part, 0..6),
        proptest::option::of(close()),
        any::<[u8; 4]>(),
    )
        .prop_map(|(parts, close, key)| {
            let mut pieces: Vec<Piece> =
                parts.iter().flat_map(|part| part.pieces.clone()).collect();
            let mut messages: Vec<Owned> =
                parts.into_iter().flat_map(|part| part.messages).collect();
            if let Some(close) = close {
                let payload = close.iter().flat_map(|(code, reason)| {
                    code.to_be_bytes().into_iter().chain(reason.bytes())
                });
                pieces.push(piece(
                    true,
                    Opcode::Close,
                    &payload.collect::<Vec<u8>>(),
                    key,
                ));
                messages.push(Owned::Close(close));
            }
            Stream { pieces, messages }
        })
}

/// Our encoding, for a reader of the given role.
fn encode(pieces: &[Piece], reader: Role) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        let key = (reader == Role::Server).then_some(piece.key);
        match (piece.fin, key) {
            (true, None) => frame::encode_frame(piece.opcode, &piece.payload, &mut out),
            (true, Some(key)) => {
                frame::encode_masked_frame(piece.opcode, &piece.payload, key, &mut out)
            }
            (false, _) => {
                encode_header(piece.opcode, false, piece.payload.len(), key, &mut out);
                let start = out.len();
                out.extend_from_slice(&piece.payload);
                apply_mask(&mut out[start..], key.unwrap_or_default(), 0);
            }
        }
    }
    out
}

// ---- tungstenite ----------------------------------------------------------------------------------------------

/// Bytes to read, then "would block"; what is written is kept.
struct Wire<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peer(input: &[u8], role: PeerRole) -> WebSocket<Wire<'_>> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let output = Vec::new();
    WebSocket::from_raw_socket(Wire { input, output }, role, Some(config))
}

/// The messages that `tungstenite` takes from `bytes`, and whether it then refuses them.
fn peer_decode(bytes: &[u8], role: Role) -> (Vec<Owned>, bool) {
    let role = match role {
        Role::Server => PeerRole::Server,
        Role::Client => PeerRole::Client,
    };
    let mut socket = peer(bytes, role);
    let mut messages = Vec::new();
    loop {
        use tungstenite::Message;
        let message = match socket.read() {
            Ok(Message::Text(text)) => Owned::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Owned::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Owned::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Owned::Pong(bytes.to_vec()),
            // This is how it reports a close code that it does not allow.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                return (messages, true);
            }
            Ok(Message::Close(close)) => {
                messages.push(Owned::Close(
                    close.map(|close| (close.code.into(), close.reason.to_string())),
                ));
                return (messages, false);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (messages, false);
            }
            Err(_) => return (messages, true),
        };
        messages.push(message);
    }
}

/// The encoding of `tungstenite`, for a reader of the given role.
fn peer_encode(stream: &Stream, reader: Role) -> Vec<u8> {
    let role = match reader {
        Role::Server => PeerRole::Client,
        Role::Client => PeerRole::Server,
    };
    let mut socket = peer(&[], role);
    for piece in &stream.pieces {
        let payload = piece.payload.clone();
        let frame = match piece.opcode {
            Opcode::Text => Frame::message(payload, OpCode::Data(Data::Text), piece.fin),
            Opcode::Binary => Frame::message(payload, OpCode::Data(Data::Binary), piece.fin),
            Opcode::Continuation => {
                Frame::message(payload, OpCode::Data(Data::Continue), piece.fin)
            }
            Opcode::Ping => Frame::ping(payload),
            Opcode::Pong => Frame::pong(payload),
            Opcode::Close => {
                let Some(Owned::Close(close)) = stream.messages.last() else {
                    unreachable!("a close frame is the last message")
                };
                let close = close.clone().map(|(code, reason)| CloseFrame {
                    code: CloseCode::from(code),
                    reason: reason.into(),
                });
                let frame = Frame::close(close);
                assert_eq!(frame.header().opcode, OpCode::Control(Control::Close));
                frame
            }
        };
        socket.send(tungstenite::Message::Frame(frame)).unwrap();
    }
    std::mem::take(&mut socket.get_mut().output)
}

// ---- hostile streams ------------------------------------------------------------------------------------------

/// One frame with anything in it, biased towards what is almost valid.
fn wild_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![6 => 0..=2_u8, 4 => 8..=10_u8, 1 => 0..=15_u8];
    let reserved = prop_oneof![30 => Just(0), 1 => 0..8_u8];
    let form = prop_oneof![20 => Just(0), 1 => Just(2_usize), 1 => Just(8_usize)];
    let payload = prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        4 => ".{0,40}".prop_map(String::into_bytes),
        2 => ".{1,9}".prop_map(|text| text.as_bytes()[..text.len() - 1].to_vec()),
        3 => (any::<u16>(), ".{0,9}").prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        3 => (990..1030_u16).prop_map(|code| code.to_be_bytes().to_vec()),
        1 => vec(any::<u8>(), 120..130),
    ];
    let declared = prop_oneof![40 => Just(None), 1 => any::<u64>().prop_map(Some), 1 => (0..80_000_u64).prop_map(Some)];
    let parts = (
        prop::bool::weighted(0.7),
        reserved,
        opcode,
        prop::bool::weighted(0.97),
        form,
        payload,
        declared,
    );
    (parts, any::<[u8; 4]>()).prop_map(
        |((fin, reserved, opcode, masked, form, mut payload, declared), key)| {
            let mut bytes = vec![u8::from(fin) << 7 | reserved << 4 | opcode];
            let length = declared.unwrap_or(payload.len() as u64);
            let mask = u8::from(masked) << 7;
            match (length, form) {
                (0..=125, 0) => bytes.push(mask | length as u8),
                (0..=0xffff, 0 | 2) => {
                    bytes.push(mask | 126);
                    bytes.extend((length as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(mask | 127);
                    bytes.extend(length.to_be_bytes());
                }
            }
            if masked {
                bytes.extend(key);
                apply_mask(&mut payload, key, 0);
            }
            bytes.extend(payload);
            bytes
        },
    )
}

/// Changes, inserts or removes one byte.
fn mutate(bytes: &mut Vec<u8>, (kind, at, value): &(u8, Index, u8)) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    match kind {
        0 => bytes[at] ^= 1 << (value % 8),
        1 => bytes[at] = *value,
        2 => bytes.insert(at, *value),
        3 => _ = bytes.remove(at),
        _ => bytes.truncate(at),
    }
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let mutations = vec((0..5_u8, any::<Index>(), any::<u8>()), 1..4);
    prop_oneof![
        3 => vec(wild_frame(), 1..6).prop_map(|frames| frames.concat()),
        2 => (stream(), mutations).prop_map(|(stream, mutations)| {
            let mut bytes = encode(&stream.pieces, Role::Server);
            for mutation in &mutations {
                mutate(&mut bytes, mutation);
            }
            bytes
        }),
        1 => vec(any::<u8>(), 0..40),
    ]
}

/// Bytes that `bytes` lacks up to the end of its last frame, or of that frame's header if the frame is too large for
/// anybody.
fn missing(mut bytes: &[u8]) -> usize {
    loop {
        let Some(second) = bytes.get(1) else {
            return if bytes.is_empty() { 0 } else { 5 };
        };
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let header = 2 + extended + if second & 0x80 == 0 { 0 } else { 4 };
        let Some(length) = bytes.get(2..2 + extended) else {
            // The rest of the length becomes zeros.
            let mut filled = bytes.to_vec();
            filled.resize(header, 0);
            return header - bytes.len() + missing(&filled);
        };
        let length = match extended {
            0 => u64::from(second & 0x7f),
            _ => length
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length > MESSAGE_BYTES_MAX as u64 {
            return header.saturating_sub(bytes.len());
        }
        let total = header + length as usize;
        if bytes.len() < total {
            return total - bytes.len();
        }
        bytes = &bytes[total..];
    }
}

/// The opcode of the first frame whose length is not in its shortest form.
fn first_longer_than_needed(mut bytes: &[u8]) -> Option<u8> {
    loop {
        let &[first, second, ref rest @ ..] = bytes else {
            return None;
        };
        let (extended, least) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 0x1_0000),
            _ => (0, 0),
        };
        let length = match extended {
            0 => u64::from(second & 0x7f),
            _ => rest
                .get(..extended)?
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length < least {
            return Some(first & 0x0f);
        }
        let key = if second & 0x80 == 0 { 0 } else { 4 };
        bytes = rest.get(extended + key + usize::try_from(length).ok()?..)?;
    }
}

/// Both take the same messages and then agree on accepting or refusing, with three exceptions, each as narrow as it is.
fn assert_agree(bytes: &[u8], role: Role) -> Result<(), TestCaseError> {
    let ours = decode(bytes, &limits(role));
    let (messages, refused) = peer_decode(bytes, role);
    match (ours.error, ours.messages.last()) {
        // Exception 1: tungstenite does not insist on the shortest form of a length (RFC 6455 §5.2).
        (Some(ProtocolError::NonMinimalLength), _) => {
            prop_assert!(first_longer_than_needed(bytes).is_some_and(|opcode| opcode < 8));
            prop_assert!(messages.starts_with(&ours.messages));
        }
        // The same for control frames, which have no longer form at all.
        (Some(ProtocolError::ControlTooLarge), _)
            if first_longer_than_needed(bytes).is_some_and(|opcode| opcode >= 8) =>
        {
            prop_assert!(messages.starts_with(&ours.messages));
        }
        // Exception 2: tungstenite does not know 1014 (Bad Gateway), registered after RFC 6455.
        (None, Some(Owned::Close(Some((1014, _))))) => {
            prop_assert_eq!(&messages[..], &ours.messages[..ours.messages.len() - 1]);
            prop_assert!(refused);
        }
        // Exception 3: we refuse at the first bad byte, tungstenite at the end of the frame. So let the frame end.
        (Some(_), _) if !refused => {
            prop_assert_eq!(&messages, &ours.messages);
            let mut complete = bytes.to_vec();
            let lacking = missing(bytes);
            prop_assert!(
                lacking > 0,
                "a complete frame was refused by us only: {:?}",
                ours.error
            );
            complete.resize(bytes.len() + lacking, 0);
            let (messages, refused) = peer_decode(&complete, role);
            prop_assert_eq!(&messages, &ours.messages);
            prop_assert!(refused, "refused by us only: {:?}", ours.error);
        }
        (error, _) => {
            prop_assert_eq!(&messages, &ours.messages);
            prop_assert_eq!(error.is_some(), refused, "{:?}", error);
        }
    }
    Ok(())
}

/// Cuts at every byte boundary (short streams), byte by byte, and at `cuts`, change nothing.
fn assert_cuts_do_not_matter(
    bytes: &[u8],
    cuts: &[Index],
    role: Role,
) -> Result<(), TestCaseError> {
    let limits = limits(role);
    let whole = decode(bytes, &limits);
    if bytes.len() <= 300 {
        for cut in 0..=bytes.len() {
            prop_assert_eq!(
                &decode_cut(bytes, &[cut], &limits),
                &whole,
                "cut at {}",
                cut
            );
        }
        let everywhere: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(
            &decode_cut(bytes, &everywhere, &limits),
            &whole,
            "byte by byte"
        );
    }
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    prop_assert_eq!(
        &decode_cut(bytes, &cuts, &limits),
        &whole,
        "cut at {:?}",
        cuts
    );
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn valid_streams_are_understood_in_both_directions(stream in stream()) {
        for role in [Role::Server, Role::Client] {
            let bytes = encode(&stream.pieces, role);
            let (messages, refused) = peer_decode(&bytes, role);
            prop_assert_eq!(&messages, &stream.messages);
            prop_assert!(!refused);

            for bytes in [bytes, peer_encode(&stream, role)] {
                let outcome = decode(&bytes, &limits(role));
                prop_assert_eq!(outcome.error, None);
                prop_assert_eq!(&outcome.messages, &stream.messages);
                let closed = matches!(stream.messages.last(), Some(Owned::Close(_)));
                prop_assert_eq!(outcome.idle, !closed, "an idle decoder owns nothing");
            }
        }
    }

    #[test]
    fn hostile_streams_meet_the_same_verdict(bytes in hostile()) {
        assert_agree(&bytes, Role::Server)?;
    }

    #[test]
    fn hostile_servers_meet_the_same_verdict(bytes in hostile(), unmask in any::<bool>()) {
        // Without the mask bit of the first frame, which a client would refuse at once.
        let mut bytes = bytes;
        if unmask && let Some(second) = bytes.get_mut(1) {
            *second &= 0x7f;
        }
        assert_agree(&bytes, Role::Client)?;
    }

    #[test]
    fn cuts_do_not_change_valid_streams(stream in stream(), cuts in vec(any::<Index>(), 1..12)) {
        for role in [Role::Server, Role::Client] {
            assert_cuts_do_not_matter(&encode(&stream.pieces, role), &cuts, role)?;
        }
    }

    #[test]
    fn cuts_do_not_change_the_verdict_on_hostile_streams(bytes in hostile(), cuts in vec(any::<Index>(), 1..12)) {
        assert_cuts_do_not_matter(&bytes, &cuts, Role::Server)?;
    }

    #[test]
    fn accept_keys_are_those_of_tungstenite(nonce in any::<[u8; 16]>()) {
        let key = campanile_protocol::upgrade::client_key(nonce);
        let expected = tungstenite::handshake::derive_accept_key(key.as_bytes());
        prop_assert_eq!(&campanile_protocol::upgrade::accept_key(&key)[..], expected.as_bytes());
    }
}
