//! The decoder and encoder against `tungstenite`, and against themselves with the input cut elsewhere.

#[path = "../common/mod.rs"]
mod common;
mod peer;
mod streams;

use campanile_protocol::frame::{Limits, ProtocolError, Role};
use common::{Owned, decode, decode_cut};
use peer::{peer_decode, peer_encode};
use proptest::{collection::vec, prelude::*, sample::Index};
use streams::{encode, hostile, stream};

const MESSAGE_BYTES_MAX: usize = 70_000;

fn limits(role: Role) -> Limits {
    Limits { role, message_bytes_max: MESSAGE_BYTES_MAX, fragments_max: u32::MAX, deflate: false }
}

/// Four times the cases of other properties; `PROPTEST_CASES` scales both. A failure prints its shrunken input.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.saturating_mul(4), failure_persistence: None, ..default }
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
            _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
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
            _ => rest.get(..extended)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
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
            prop_assert!(lacking > 0, "a complete frame was refused by us only: {:?}", ours.error);
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
fn assert_cuts_do_not_matter(bytes: &[u8], cuts: &[Index], role: Role) -> Result<(), TestCaseError> {
    let limits = limits(role);
    let whole = decode(bytes, &limits);
    if bytes.len() <= 300 {
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&decode_cut(bytes, &[cut], &limits), &whole, "cut at {}", cut);
        }
        let everywhere: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&decode_cut(bytes, &everywhere, &limits), &whole, "byte by byte");
    }
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    prop_assert_eq!(&decode_cut(bytes, &cuts, &limits), &whole, "cut at {:?}", cuts);
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
