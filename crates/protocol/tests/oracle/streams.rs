//! Streams of frames: valid ones with the messages that they make, and hostile ones.

use campanile_protocol::frame::{self, Opcode, Role, apply_mask, encode_header};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::common::Owned;

/// One frame of a valid stream.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Vec<u8>,
    pub(crate) key: [u8; 4],
}

/// A valid stream: its frames and the messages that they make.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) messages: Vec<Owned>,
}

fn piece(fin: bool, opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Piece {
    Piece { fin, opcode, payload: payload.to_vec(), key }
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
    (content, vec(any::<Index>(), 0..4), vec(control(), 0..3), any::<[u8; 4]>()).prop_map(
        |(content, cuts, controls, key)| {
            let (bytes, opcode, message) = match content {
                Ok(text) => (text.clone().into_bytes(), Opcode::Text, Owned::Text(text)),
                Err(bytes) => (bytes.clone(), Opcode::Binary, Owned::Binary(bytes)),
            };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut stream = Stream { pieces: Vec::new(), messages: Vec::new() };
            let mut start = 0;
            for (index, &end) in cuts.iter().enumerate() {
                let opcode = if index == 0 { opcode } else { Opcode::Continuation };
                stream.pieces.push(piece(false, opcode, &bytes[start..end], key));
                start = end;
                if let Some(control) = controls.get(index) {
                    push_control(&mut stream, control, key);
                }
            }
            let opcode = if cuts.is_empty() { opcode } else { Opcode::Continuation };
            stream.pieces.push(piece(true, opcode, &bytes[start..], key));
            stream.messages.push(message);
            stream
        },
    )
}

fn close() -> impl Strategy<Value = Option<(u16, String)>> {
    let code = prop_oneof![1000..=1003_u16, 1007..=1013_u16, 3000..=4999_u16];
    proptest::option::of((code, "[ -~]{0,123}"))
}

pub(crate) fn stream() -> impl Strategy<Value = Stream> {
    let part = prop_oneof![
        3 => data(),
        1 => (control(), any::<[u8; 4]>()).prop_map(|(control, key)| {
            let mut stream = Stream { pieces: Vec::new(), messages: Vec::new() };
            push_control(&mut stream, &control, key);
            stream
        }),
    ];
    (vec(part, 0..6), proptest::option::of(close()), any::<[u8; 4]>()).prop_map(|(parts, close, key)| {
        let mut pieces: Vec<Piece> = parts.iter().flat_map(|part| part.pieces.clone()).collect();
        let mut messages: Vec<Owned> = parts.into_iter().flat_map(|part| part.messages).collect();
        if let Some(close) = close {
            let payload =
                close.iter().flat_map(|(code, reason)| code.to_be_bytes().into_iter().chain(reason.bytes()));
            pieces.push(piece(true, Opcode::Close, &payload.collect::<Vec<u8>>(), key));
            messages.push(Owned::Close(close));
        }
        Stream { pieces, messages }
    })
}

/// Our encoding, for a reader of the given role.
pub(crate) fn encode(pieces: &[Piece], reader: Role) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        let key = (reader == Role::Server).then_some(piece.key);
        match (piece.fin, key) {
            (true, None) => frame::encode_frame(piece.opcode, &piece.payload, &mut out),
            (true, Some(key)) => frame::encode_masked_frame(piece.opcode, &piece.payload, key, &mut out),
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
    let declared =
        prop_oneof![40 => Just(None), 1 => any::<u64>().prop_map(Some), 1 => (0..80_000_u64).prop_map(Some)];
    let parts =
        (prop::bool::weighted(0.7), reserved, opcode, prop::bool::weighted(0.97), form, payload, declared);
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

pub(crate) fn hostile() -> impl Strategy<Value = Vec<u8>> {
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
