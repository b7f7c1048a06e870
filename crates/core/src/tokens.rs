//! Which device a connection belongs to: JSON Web Tokens (RFC 7519), signed with HS256 or EdDSA (Ed25519, RFC 8037).
//!
//! The algorithm is pinned to each key: a token's header chooses among the keys of its algorithm, never how a key is
//! used. `sub` (the user), `did` (the device) and `exp` are required; `nbf` is honoured. Time is an argument, so that a
//! shard can be simulated.

mod grants;
mod keys;

use std::fmt;
use std::sync::Arc;

use campanile_jwt::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use campanile_protocol::ids::{ChannelName, DeviceId, IdError, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::grants::{GRANTS_MAX, Grants, Pattern, SubscriptionGrant};
pub use self::keys::{EDDSA_KEYS_MAX, EddsaKeys};

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
    /// What it allows with channels; `None` if nothing.
    pub grants: Option<Arc<Grants>>,
}

/// Why a token is refused. The messages are for clients and do not tell how close a guess was.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, signed with another key, or with another algorithm.
    #[error("the token is malformed or its signature is wrong")]
    Invalid,
    /// `sub`, `did` or `exp` is missing or has the wrong type.
    #[error("the token lacks a required claim (sub, did, exp) or one has the wrong type")]
    Claims,
    /// `channels`, `publish` or `subscribe` is not a list of names or patterns, or is too long.
    #[error(
        "channels, publish and subscribe are lists of at most {GRANTS_MAX} names; in the first two `*` stands \
         for any text"
    )]
    Grants,
    /// A token for a subscription lacks `sub`, `channel` or `exp`, or one is of the wrong kind.
    #[error("the token lacks a required claim (sub, channel, exp) or one is of the wrong kind")]
    SubscriptionClaims,
    /// A token for a subscription is for another user, or, as its reader finds, for another channel.
    #[error("the token is for another subscription")]
    Other,
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    publish: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscribe: Vec<String>,
}

/// Those of the claims that say whose the token is, to tell what is wrong with others.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether they can be read counts")]
struct IdentityClaims {
    sub: String,
    did: u32,
    exp: u64,
    #[serde(default)]
    iat: Option<u64>,
    #[serde(default)]
    nbf: Option<u64>,
}

/// The claims of a token for one subscription.
#[derive(Serialize, Deserialize)]
struct SubscriptionClaims {
    sub: String,
    channel: String,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
}

/// A secret that signs tokens is too short.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the HS256 secret has {0} bytes; at least {SECRET_BYTES_MIN} are needed (RFC 7518 §3.2): \
     head -c 32 /dev/urandom | base64"
)]
pub struct SecretTooShort(usize);

/// Checks tokens. Clones share the keys.
#[derive(Clone)]
pub struct Verifier(Arc<Keys>);

struct Keys {
    hs256: Option<DecodingKey>,
    eddsa: Option<EddsaKeys>,
}

impl Verifier {
    /// A verifier of HS256 tokens only.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub fn hs256(secret: &[u8]) -> Result<Verifier, SecretTooShort> {
        Verifier::new(Some(secret), None)
    }

    /// A verifier of HS256 tokens if there is a secret, and of EdDSA tokens if there are keys.
    ///
    /// # Errors
    /// [`SecretTooShort`].
    pub fn new(secret: Option<&[u8]>, eddsa: Option<EddsaKeys>) -> Result<Verifier, SecretTooShort> {
        let hs256 = match secret {
            Some(secret) if secret.len() < SECRET_BYTES_MIN => return Err(SecretTooShort(secret.len())),
            secret => secret.map(DecodingKey::from_secret),
        };
        Ok(Verifier(Arc::new(Keys { hs256, eddsa })))
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
        let claims = self.0.claims(token).ok_or(TokenError::Invalid)?;
        let claims = Claims::parse(claims.get())?;
        let user = UserId::try_from(claims.sub.as_str())?;
        let device = DeviceId::try_from(claims.did)?;
        check_times(claims.exp, claims.nbf, unix_ms)?;
        Ok(Identity { user, device, expires_at: claims.exp, grants: claims.grants()? })
    }

    /// What a token for one subscription allows `user`, if it holds at `unix_ms`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify_subscription(
        &self,
        token: &str,
        user: &UserId,
        unix_ms: u64,
    ) -> Result<SubscriptionGrant, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let claims = self.0.claims(token).ok_or(TokenError::Invalid)?;
        let claims: SubscriptionClaims =
            serde_json::from_str(claims.get()).map_err(|_| TokenError::SubscriptionClaims)?;
        check_times(claims.exp, claims.nbf, unix_ms)?;
        if claims.sub != user.as_str() {
            return Err(TokenError::Other);
        }
        let channel = ChannelName::try_from(claims.channel.as_str());
        let channel = channel.map_err(|_| TokenError::SubscriptionClaims)?;
        Ok(SubscriptionGrant { channel, expires_at: claims.exp })
    }
}

fn check_times(exp: u64, nbf: Option<u64>, unix_ms: u64) -> Result<(), TokenError> {
    if exp.saturating_mul(1_000) <= unix_ms {
        return Err(TokenError::Expired);
    }
    if nbf.is_some_and(|nbf| nbf.saturating_mul(1_000) > unix_ms) {
        return Err(TokenError::NotYet);
    }
    Ok(())
}

impl Claims {
    fn parse(json: &str) -> Result<Claims, TokenError> {
        serde_json::from_str(json).map_err(|_| match serde_json::from_str::<IdentityClaims>(json) {
            Ok(_) => TokenError::Grants,
            Err(_) => TokenError::Claims,
        })
    }

    fn grants(&self) -> Result<Option<Arc<Grants>>, TokenError> {
        let lists = [&self.channels, &self.publish, &self.subscribe];
        if lists.iter().any(|list| list.len() > GRANTS_MAX) {
            return Err(TokenError::Grants);
        }
        let patterns = |list: &[String]| {
            list.iter().map(|text| Pattern::parse(text).ok_or(TokenError::Grants)).collect::<Result<_, _>>()
        };
        let names = self.subscribe.iter().map(|text| ChannelName::try_from(text.as_str()));
        let grants = Grants {
            channels: patterns(&self.channels)?,
            publish: patterns(&self.publish)?,
            subscribe: names.collect::<Result<_, _>>().map_err(|_| TokenError::Grants)?,
        };
        Ok((!grants.is_empty()).then(|| Arc::new(grants)))
    }
}

impl Keys {
    /// The claims, if the signature is one of a key that belongs to the token's algorithm.
    fn claims(&self, token: &str) -> Option<Box<RawValue>> {
        let header = campanile_jwt::decode_header(token).ok()?;
        match header.alg {
            Algorithm::HS256 => decode(token, self.hs256.as_ref()?, Algorithm::HS256),
            Algorithm::EdDSA => self
                .eddsa
                .as_ref()?
                .candidates(header.kid.as_deref())
                .find_map(|key| decode(token, key, Algorithm::EdDSA)),
            _ => None,
        }
    }
}

fn decode(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Box<RawValue>> {
    let mut validation = Validation::new(algorithm);
    // The clock is the caller's, and the types of the claims make them required.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    Some(campanile_jwt::decode(token, key, &validation).ok()?.claims)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let eddsa = self.0.eddsa.as_ref().map_or(0, EddsaKeys::count);
        write!(f, "Verifier({} HS256 and {eddsa} EdDSA keys)", u8::from(self.0.hs256.is_some()))
    }
}

/// Signs tokens, for `campanile token`, tests and load generation.
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
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
        Ok(Signer { key: EncodingKey::from_secret(secret), algorithm: Algorithm::HS256 })
    }

    /// A signer of EdDSA tokens, with an Ed25519 private key (PKCS#8 in PEM, RFC 8410).
    ///
    /// # Errors
    /// In words for the operator: it is no such key.
    pub fn eddsa(pem: &str) -> Result<Signer, String> {
        let not_a_key = "is not an Ed25519 private key (PKCS#8 in PEM): openssl genpkey -algorithm ed25519";
        let der = keys::pem_content(pem, "PRIVATE KEY").ok_or(not_a_key)?;
        let key = EncodingKey::from_ed_der(&der);
        // A key that is none is found out when it signs.
        campanile_jwt::encode(&Header::new(Algorithm::EdDSA), &(), &key).map_err(|_| not_a_key)?;
        Ok(Signer { key, algorithm: Algorithm::EdDSA })
    }

    /// A token for one device, issued at and ending at these seconds since the Unix epoch.
    pub fn sign(&self, user: &UserId, device: DeviceId, issued_at: u64, expires_at: u64) -> String {
        self.sign_with(user, device, issued_at, expires_at, &Grants::default())
    }

    /// A token for one device that allows something with channels.
    pub fn sign_with(
        &self,
        user: &UserId,
        device: DeviceId,
        issued_at: u64,
        expires_at: u64,
        grants: &Grants,
    ) -> String {
        let patterns = |list: &[Pattern]| list.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        let claims = Claims {
            sub: user.as_str().to_owned(),
            did: device.get(),
            exp: expires_at,
            iat: Some(issued_at),
            nbf: None,
            channels: patterns(&grants.channels),
            publish: patterns(&grants.publish),
            subscribe: grants.subscribe.iter().map(|name| name.as_str().to_owned()).collect(),
        };
        self.encode(&claims)
    }

    /// A token for one subscription of a user, ending at this second since the Unix epoch.
    pub fn sign_subscription(&self, user: &UserId, channel: &ChannelName, expires_at: u64) -> String {
        let claims = SubscriptionClaims {
            sub: user.as_str().to_owned(),
            channel: channel.as_str().to_owned(),
            exp: expires_at,
            nbf: None,
        };
        self.encode(&claims)
    }

    fn encode(&self, claims: &impl Serialize) -> String {
        // HMAC takes any key, the other has signed before, and the claims are plain values: nothing is left to fail.
        campanile_jwt::encode(&Header::new(self.algorithm), claims, &self.key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
