//! What the frame tests share: messages that own their content, and how to run a decoder over pieces.

use campanile_protocol::frame::{Decoder, Limits, Message, ProtocolError};

/// A [`Message`] that owns its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Compressed(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Compressed { text, payload } => Self::Compressed(text, payload.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

/// What came out of a decoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) messages: Vec<Owned>,
    pub(crate) error: Option<ProtocolError>,
    /// Whether the decoder owned nothing at the end.
    pub(crate) idle: bool,
}

/// Feeds `bytes`, cut at `cuts` (ascending), as a connection would: until the first error or close.
pub(crate) fn decode_cut(bytes: &[u8], cuts: &[usize], limits: &Limits) -> Outcome {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let mut piece = bytes[start..end].to_vec();
        start = end;
        let mut input = piece.as_mut_slice();
        loop {
            match decoder.next(&mut input, limits) {
                Ok(Some(message)) => messages.push(message.into()),
                Ok(None) => break,
                Err(error) => {
                    return Outcome { messages, error: Some(error), idle: false };
                }
            }
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    Outcome { messages, error: None, idle: decoder.is_idle() }
}

/// Feeds `bytes` in one piece.
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Outcome {
    decode_cut(bytes, &[], limits)
}
