//! The handshake's keys (RFC 6455 §4.2.2).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};

/// Shows that the server has read the request as a WebSocket one (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`: the base64 of the SHA-1 of the key and a fixed GUID.
#[must_use]
pub fn accept_key(key: &str) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(28), "20 bytes are 28 in base64");
    accept
}

/// `Sec-WebSocket-Key` for 16 random bytes.
#[must_use]
pub fn client_key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// Whether `key` is the base64 of 16 bytes.
pub(super) fn is_valid(key: &str) -> bool {
    let mut decoded = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut decoded) == Ok(16)
}

#[cfg(test)]
mod tests {
    use super::{accept_key, client_key, is_valid};

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_valid("dGhlIHNhbXBsZSBub25jZQ=="));
    }

    #[test]
    fn only_sixteen_bytes_are_a_key() {
        assert!(is_valid(&client_key([0xff; 16])));
        for key in [
            "",
            "dGhl",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZTE=",
            "dGhlIHNhbXBsZSBub25jZTEy",
            "dGhlIHNhbXBsZSBub25j!!==",
        ] {
            assert!(!is_valid(key), "{key}");
        }
    }
}
