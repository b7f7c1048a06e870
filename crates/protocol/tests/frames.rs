//! Every malformed input with its close code, the limits, and what a decoder owns when.

#[allow(dead_code, reason = "each test binary uses a part of it")]
mod common;

use campanile_protocol::frame::{
    CLOSE_REASON_BYTES_MAX, Decoder, Limits, Message, Opcode, ProtocolError, Role, close_code, close_frame,
    encode_header, frame, header_len, masked_frame,
};
use common::{Owned, decode};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame with any first byte.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = masked_frame(Opcode::Text, payload, KEY);
    bytes[0] = first;
    bytes
}

fn refused(bytes: &[u8], error: ProtocolError, code: u16) {
    let outcome = decode(bytes, &Limits::SERVER);
    assert_eq!(outcome.error, Some(error), "{bytes:x?}");
    assert_eq!(error.close_code(), code);
    assert!(error.reason().len() <= CLOSE_REASON_BYTES_MAX && !error.reason().is_empty());
    // The verdict falls with the byte that deserves it: one byte less is no error and no message more.
    let shorter = (0..bytes.len()).rev().find(|&len| decode(&bytes[..len], &Limits::SERVER).error.is_none());
    let shorter = shorter.expect("nothing is refused before its first byte");
    assert_eq!(decode(&bytes[..shorter], &Limits::SERVER).messages, outcome.messages);
}

#[test]
fn the_examples_of_the_rfc() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode(&hello, &Limits::SERVER).messages, [Owned::Text("Hello".to_owned())]);
    assert_eq!(masked_frame(Opcode::Text, b"Hello", KEY), hello);
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(decode(&fragments, &Limits::CLIENT).messages, [Owned::Text("Hello".to_owned())]);
    assert_eq!(frame(Opcode::Ping, b"Hello"), [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(frame(Opcode::Binary, &[0; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
    assert_eq!(frame(Opcode::Binary, &[0; 65536])[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn malformed_headers() {
    use ProtocolError as E;
    for bit in [0x40, 0x20, 0x10] {
        refused(&client(0x81 | bit, b"x"), E::ReservedBits, 1002);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refused(&client(0x80 | opcode, b"x"), E::ReservedOpcode, 1002);
    }
    refused(&frame(Opcode::Text, b"x"), E::Unmasked, 1002);
    for opcode in [8, 9, 10] {
        refused(&client(opcode, b""), E::FragmentedControl, 1002);
        refused(&client(0x80 | opcode, &[b'a'; 126]), E::ControlTooLarge, 1002);
    }
    refused(&[0x82, 0xfe, 0, 125], E::NonMinimalLength, 1002);
    refused(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], E::NonMinimalLength, 1002);
    refused(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0], E::LengthOverflow, 1002);
    let masked = decode(&masked_frame(Opcode::Text, b"x", KEY), &Limits::CLIENT);
    assert_eq!(masked.error, Some(E::Masked));
    assert_eq!(E::Masked.close_code(), 1002);
}

#[test]
fn malformed_sequences() {
    use ProtocolError as E;
    refused(&client(0x80, b"x"), E::UnexpectedContinuation, 1002);
    refused(&[client(0x81, b"x"), client(0x00, b"x")].concat(), E::UnexpectedContinuation, 1002);
    refused(&[client(0x01, b"x"), client(0x81, b"x")].concat(), E::ExpectedContinuation, 1002);
    refused(
        &[client(0x01, b"x"), client(0x89, b""), client(0x02, b"x")].concat(),
        E::ExpectedContinuation,
        1002,
    );
}

#[test]
fn malformed_close_frames() {
    use ProtocolError as E;
    refused(&client(0x88, b"\x03"), E::CloseTruncated, 1002);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16] {
        refused(&client(0x88, &code.to_be_bytes()), E::CloseCode, 1002);
    }
    refused(&client(0x88, b"\x03\xe8\xff"), E::CloseReason, 1007);
    for code in [1000, 1001, 1002, 1003, 1007, 1014, 3000, 4400, 4999_u16] {
        let outcome = decode(&client(0x88, &code.to_be_bytes()), &Limits::SERVER);
        assert_eq!(outcome.messages, [Owned::Close(Some((code, String::new())))]);
    }
    assert_eq!(decode(&client(0x88, b""), &Limits::SERVER).messages, [Owned::Close(None)]);
}

#[test]
fn malformed_text_fails_at_its_first_bad_byte() {
    let error = ProtocolError::InvalidUtf8;
    refused(&client(0x81, b"ok\xff"), error, 1007);
    refused(&client(0x81, b"\xe2\x82"), error, 1007);
    refused(&[client(0x01, b"\xe2\x82"), client(0x80, b"")].concat(), error, 1007);
    refused(&[client(0x01, b"\xe2"), client(0x80, b"\x41")].concat(), error, 1007);
    // In the first fragment, before the second arrives; and in a frame of which nothing else arrives.
    refused(&client(0x01, b"ok\xff"), error, 1007);
    refused(&client(0x81, b"ok\xffand so on")[..9], error, 1007);
    let split = [client(0x01, b"\xe2\x82"), client(0x89, b"p"), client(0x80, b"\xac")].concat();
    let expected = [Owned::Ping(b"p".to_vec()), Owned::Text("€".to_owned())];
    assert_eq!(decode(&split, &Limits::SERVER).messages, expected);
}

#[test]
fn messages_above_the_limit_are_refused_by_their_declared_length() {
    let limits = Limits { message_bytes_max: 1000, ..Limits::SERVER };
    assert_eq!(decode(&client(0x82, &[0; 1000]), &limits).error, None);
    assert_eq!(decode(&client(0x82, &[0; 1001])[..4], &limits).error, Some(ProtocolError::TooLarge));
    assert_eq!(ProtocolError::TooLarge.close_code(), 1009);
    let first = client(0x02, &[0; 600]);
    assert_eq!(decode(&[first.clone(), client(0x80, &[0; 400])].concat(), &limits).error, None);
    let sum = [first, client(0x80, &[0; 401])[..4].to_vec()].concat();
    assert_eq!(decode(&sum, &limits).error, Some(ProtocolError::TooLarge));
}

#[test]
fn endless_fragments_are_refused() {
    let limits = Limits { fragments_max: 3, ..Limits::SERVER };
    let three = [client(0x02, b""), client(0x00, b""), client(0x80, b"x")].concat();
    assert_eq!(decode(&[three.clone(), three].concat(), &limits).messages.len(), 2);
    let four = [client(0x02, b""), client(0x00, b""), client(0x00, b""), client(0x80, b"x")].concat();
    assert_eq!(decode(&four, &limits).error, Some(ProtocolError::TooManyFragments));
    assert_eq!(ProtocolError::TooManyFragments.close_code(), close_code::POLICY_VIOLATION);
}

#[test]
fn a_whole_frame_is_lent_from_the_input_without_memory() {
    let mut bytes = client(0x82, b"payload");
    let range = bytes.as_ptr_range();
    let mut input = bytes.as_mut_slice();
    let mut decoder = Decoder::new();
    let Ok(Some(Message::Binary(payload))) = decoder.next(&mut input, &Limits::SERVER) else {
        panic!("a whole message")
    };
    assert_eq!(payload, b"payload");
    assert!(range.contains(&payload.as_ptr()));
    assert_eq!(decoder.owned_bytes(), 0);
}

#[test]
fn no_memory_is_reserved_from_a_declared_length() {
    let limits = Limits { message_bytes_max: usize::MAX, ..Limits::SERVER };
    for first in [0x81, 0x82, 0x01, 0x02] {
        let mut bytes = vec![first, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        bytes.extend([b'a'; 10]);
        let mut decoder = Decoder::new();
        assert_eq!(decoder.next(&mut bytes.as_mut_slice(), &limits), Ok(None));
        assert!(decoder.owned_bytes() < 512, "{}", decoder.owned_bytes());
        // Whatever the size of the pieces: at most about twice what has arrived.
        let mut arrived = 10;
        for _ in 0..1000 {
            let mut piece = [b'a'; 37];
            assert_eq!(decoder.next(&mut piece.as_mut_slice(), &limits), Ok(None));
            arrived += piece.len();
            assert!(decoder.owned_bytes() <= 2 * arrived + 512);
        }
    }
}

#[test]
fn a_message_in_pieces_is_freed_without_further_input() {
    for bytes in [
        client(0x82, &[7; 5000]),
        [client(0x01, b"frag"), client(0x89, b"ping"), client(0x80, b"ment")].concat(),
        client(0x8a, b"pong"),
    ] {
        let mut bytes = bytes;
        let (mut first, mut second) = bytes.split_at_mut(5);
        let mut decoder = Decoder::new();
        assert_eq!(decoder.next(&mut first, &Limits::SERVER), Ok(None));
        assert!(!decoder.is_idle());
        while decoder.next(&mut second, &Limits::SERVER).expect("valid").is_some() {}
        assert!(decoder.is_idle());
        assert_eq!(decoder.owned_bytes(), 0);
    }
}

#[test]
fn nothing_is_read_after_a_close_or_an_error() {
    for end in [client(0x88, b"\x03\xe8"), client(0x83, b"")] {
        for cut in [0, 1, end.len()] {
            let mut bytes = [end.clone(), client(0x81, b"more")].concat();
            let (mut first, mut second) = bytes.split_at_mut(cut);
            let mut decoder = Decoder::new();
            let mut seen = Vec::new();
            for input in [&mut first, &mut second] {
                while let Some(message) = decoder.next(input, &Limits::SERVER).transpose() {
                    seen.push(message.map(Owned::from));
                }
                assert!(input.is_empty());
            }
            assert_eq!(seen.len(), 1, "cut at {cut}: {seen:?}");
            assert!(decoder.owned_bytes() < 512);
        }
    }
}

#[test]
fn close_frames_of_ours_are_valid_and_cut_at_a_character() {
    let long = "€".repeat(50);
    let outcome = decode(&close_frame(close_code::DRAINING, &long), &Limits::CLIENT);
    assert_eq!(outcome.messages, [Owned::Close(Some((4503, "€".repeat(41))))]);
    for code in [
        close_code::MALFORMED,
        close_code::UNAUTHENTICATED,
        close_code::FORBIDDEN,
        close_code::HELLO_TIMEOUT,
        close_code::REPLACED,
        close_code::REVOKED,
        close_code::NOT_ACKNOWLEDGING,
        close_code::TOO_MANY,
    ] {
        assert!(close_code::is_valid(code));
    }
}

#[test]
fn header_lengths_are_exact() {
    for len in [0, 125, 126, 65535, 65536, usize::MAX] {
        for mask in [None, Some(KEY)] {
            let mut out = Vec::new();
            encode_header(Opcode::Binary, true, len, mask, &mut out);
            assert_eq!(out.len(), header_len(len) + mask.map_or(0, |_| 4), "{len}");
        }
    }
}

#[test]
fn roles_are_as_the_limits_say() {
    assert_eq!(Limits::SERVER.role, Role::Server);
    assert_eq!(Limits::CLIENT.role, Role::Client);
}
