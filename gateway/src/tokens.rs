//! Which device a connection belongs to: JSON Web Tokens (RFC 7519), signed with HS256.
//!
//! The algorithm is pinned: a token's header cannot choose another. `sub` (the user), `did` (the device) and `exp`
//! are required; `nbf` is honoured. Time is an argument, so that a shard can be simulated.

use campanile_protocol::ids::{DeviceId, IdError, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The shortest HS256 secret, in bytes (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// The longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// When the token ends, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// Why a token is refused. The messages are for clients and do not tell how close a guess was.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, signed with another key, or with another algorithm.
    #[error("the token is malformed or its signature is wrong")]
    Invalid,
    /// `sub`, `did` or `exp` is missing or has the wrong type.
    #[error("the token lacks a required claim (sub, did, exp) or one has the wrong type")]
    Claims,
    /// `sub` or `did` is not an id.
    #[error("the token names nobody: {0}")]
    Id(#[from] IdError),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYet,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    did: u32,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
}

/// A secret that signs tokens is too short.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the HS256 secret has {0} bytes; at least {SECRET_BYTES_MIN} are needed (RFC 7518 §3.2): head -c 32 /dev/urandom | base64"
)]
pub struct SecretTooShort(usize);

/// Checks tokens.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl Verifier {
    /// A verifier of HS256 tokens.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub fn hs256(secret: &[u8]) -> Result<Verifier, SecretTooShort> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SecretTooShort(secret.len()));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        // The clock is the caller's, and the types of the claims make them required.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Ok(Verifier { key: DecodingKey::from_secret(secret), validation })
    }

    /// What `token` says, if it holds at `unix_ms`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, unix_ms: u64) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        // The claims are parsed apart, so that what is wrong with them is not taken for a bad signature.
        let token = jsonwebtoken::decode::<Box<RawValue>>(token, &self.key, &self.validation)
            .map_err(|_| TokenError::Invalid)?;
        let claims: Claims = serde_json::from_str(token.claims.get()).map_err(|_| TokenError::Claims)?;
        let user = UserId::try_from(claims.sub.as_str())?;
        let device = DeviceId::try_from(claims.did)?;
        if claims.exp.saturating_mul(1_000) <= unix_ms {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf.saturating_mul(1_000) > unix_ms) {
            return Err(TokenError::NotYet);
        }
        Ok(Identity { user, device, expires_at: claims.exp })
    }
}

/// Signs tokens, for `campanile token`, tests and load generation.
pub struct Signer {
    key: EncodingKey,
}

impl Signer {
    /// A signer of HS256 tokens.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub fn hs256(secret: &[u8]) -> Result<Signer, SecretTooShort> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SecretTooShort(secret.len()));
        }
        Ok(Signer { key: EncodingKey::from_secret(secret) })
    }

    /// A token for one device, issued at and ending at these seconds since the Unix epoch.
    pub fn sign(&self, user: &UserId, device: DeviceId, issued_at: u64, expires_at: u64) -> String {
        let claims = Claims {
            sub: user.as_str().to_owned(),
            did: device.get(),
            exp: expires_at,
            iat: Some(issued_at),
            nbf: None,
        };
        // HMAC takes any key and the claims are plain values, so there is nothing that could fail.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW_MS: u64 = 1_800_000_000_000;

    fn user() -> UserId {
        UserId::try_from("ada").unwrap()
    }

    fn device() -> DeviceId {
        DeviceId::try_from(3).unwrap()
    }

    fn verify(token: &str) -> Result<Identity, TokenError> {
        Verifier::hs256(SECRET).unwrap().verify(token, NOW_MS)
    }

    fn encode(algorithm: Algorithm, claims: &serde_json::Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    #[test]
    fn a_signed_token_names_its_device() {
        let token = Signer::hs256(SECRET).unwrap().sign(&user(), device(), 1, NOW_MS / 1_000 + 1);
        let identity = Identity { user: user(), device: device(), expires_at: NOW_MS / 1_000 + 1 };
        assert_eq!(verify(&token), Ok(identity));
    }

    #[test]
    fn a_token_ends_with_its_second() {
        let token = Signer::hs256(SECRET).unwrap().sign(&user(), device(), 1, NOW_MS / 1_000);
        assert_eq!(verify(&token), Err(TokenError::Expired));
    }

    #[test]
    fn the_algorithm_is_pinned() {
        let claims = serde_json::json!({"sub": "ada", "did": 3, "exp": 4_000_000_000u64});
        assert!(verify(&encode(Algorithm::HS256, &claims)).is_ok());
        for other in [Algorithm::HS384, Algorithm::HS512] {
            assert_eq!(verify(&encode(other, &claims)), Err(TokenError::Invalid));
        }
        // {"alg":"none"} with the same claims and no signature.
        let body = encode(Algorithm::HS256, &claims);
        let body = body.split('.').nth(1).unwrap();
        assert_eq!(verify(&format!("eyJhbGciOiJub25lIn0.{body}.")), Err(TokenError::Invalid));
    }

    #[test]
    fn every_claim_is_required_and_has_its_type() {
        for claims in [
            serde_json::json!({"did": 3, "exp": 4_000_000_000u64}),
            serde_json::json!({"sub": "ada", "exp": 4_000_000_000u64}),
            serde_json::json!({"sub": "ada", "did": 3}),
            serde_json::json!({"sub": "ada", "did": 3, "exp": "never"}),
            serde_json::json!({"sub": "ada", "did": "3", "exp": 4_000_000_000u64}),
            serde_json::json!({"sub": 1, "did": 3, "exp": 4_000_000_000u64}),
            serde_json::json!({"sub": "ada", "did": -3, "exp": 4_000_000_000u64}),
        ] {
            assert_eq!(verify(&encode(Algorithm::HS256, &claims)), Err(TokenError::Claims), "{claims}");
        }
        for (sub, did) in [("", 3), ("ada", 0), ("a\nb", 3)] {
            let claims = serde_json::json!({"sub": sub, "did": did, "exp": 4_000_000_000u64});
            let refused = verify(&encode(Algorithm::HS256, &claims));
            assert!(matches!(refused, Err(TokenError::Id(_))), "{claims}: {refused:?}");
        }
    }

    #[test]
    fn a_token_is_not_valid_before_its_time() {
        let claims =
            serde_json::json!({"sub": "ada", "did": 3, "exp": 4_000_000_000u64, "nbf": 3_000_000_000u64});
        assert_eq!(verify(&encode(Algorithm::HS256, &claims)), Err(TokenError::NotYet));
    }

    #[test]
    fn nonsense_and_other_keys_are_refused() {
        let other = Signer::hs256(&[7; 32]).unwrap().sign(&user(), device(), 1, 4_000_000_000);
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        for token in ["", ".", "..", "a.b.c", &other, &long] {
            assert_eq!(verify(token), Err(TokenError::Invalid), "{token}");
        }
        assert_eq!(Verifier::hs256(&[7; 31]).err(), Some(SecretTooShort(31)));
    }
}
