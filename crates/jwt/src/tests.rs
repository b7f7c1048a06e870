//! The examples of the RFCs, and what must be refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

/// RFC 7515 §A.1: the key, and the token, whose `exp` is in 2011.
const HS256_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const HS256_TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// RFC 8032 §7.1, test 1: the private key, behind what RFC 8410 §7 puts before it, and the public key.
const ED25519_PRIVATE: &str = "302e020100300506032b657004220420\
    9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const ED25519_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Only the signature counts.
fn bare(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    validation
}

fn verified(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Value> {
    decode(token, key, &bare(algorithm)).map(|token| token.claims)
}

fn hs256_key() -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(HS256_KEY).unwrap()
}

/// The token with another last but one character of its signature.
fn forged(token: &str) -> String {
    let at = token.len() - 2;
    let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

#[test]
fn the_rfc_s_token_of_hs256_is_verified() {
    let key = DecodingKey::from_secret(&hs256_key());
    let claims = verified(HS256_TOKEN, &key, Algorithm::HS256).unwrap();
    assert_eq!(claims, json!({ "iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true }));
    assert!(verified(&forged(HS256_TOKEN), &key, Algorithm::HS256).is_err());
    let other = DecodingKey::from_secret(b"another secret, which is as long");
    assert!(verified(HS256_TOKEN, &other, Algorithm::HS256).is_err());
}

#[test]
fn what_is_signed_is_verified_with_the_key_that_belongs_to_it() {
    let claims = json!({ "sub": "ann" });
    let pairs = [
        (Algorithm::HS256, EncodingKey::from_secret(&hs256_key()), DecodingKey::from_secret(&hs256_key())),
        (
            Algorithm::EdDSA,
            EncodingKey::from_ed_der(&hex(ED25519_PRIVATE)),
            DecodingKey::from_ed_der(&hex(ED25519_PUBLIC)),
        ),
    ];
    for (algorithm, private, public) in pairs {
        let token = encode(&Header::new(algorithm), &claims, &private).unwrap();
        assert_eq!(verified(&token, &public, algorithm).unwrap(), claims);
        assert!(verified(&forged(&token), &public, algorithm).is_err(), "{algorithm:?}");
    }
}

/// Ed25519 signs the same thing in the same way every time (RFC 8032 §5.1.6).
#[test]
fn the_signature_of_a_message_is_the_rfc_s() {
    let key = EncodingKey::from_ed_der(&hex(ED25519_PRIVATE));
    let signature = signer(&Algorithm::EdDSA, &key).unwrap().try_sign(b"").unwrap();
    let expected = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
        5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    assert_eq!(signature, hex(expected));
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let public = hex(ED25519_PUBLIC);
    let token =
        encode(&Header::new(Algorithm::HS256), &json!({}), &EncodingKey::from_secret(&public)).unwrap();
    let key = DecodingKey::from_ed_der(&public);
    for algorithm in [Algorithm::HS256, Algorithm::EdDSA] {
        assert!(verified(&token, &key, algorithm).is_err(), "{algorithm:?}");
    }
}

#[test]
fn other_algorithms_are_refused() {
    let secret = EncodingKey::from_secret(&hs256_key());
    for algorithm in
        [Algorithm::HS384, Algorithm::HS512, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
    {
        assert!(encode(&Header::new(algorithm), &json!({}), &secret).is_err(), "{algorithm:?}");
    }
    let key = DecodingKey::from_secret(&hs256_key());
    assert!(verifier(&Algorithm::HS512, &key).is_err());
    let short = DecodingKey::from_ed_der(&[1; 31]);
    assert!(verifier(&Algorithm::EdDSA, &short).is_err());
}
