//! JSON Web Tokens with the two algorithms that are used here: HS256 (RFC 7518 §3.2) and EdDSA with Ed25519 (RFC 8037).
//!
//! `jsonwebtoken` reads and writes the tokens. Its own choices of cryptography bring RSA and further curves along, a tenth
//! of what had to be compiled for the gateway; here it gets what it needs, and other algorithms are refused. Encode and
//! decode through this crate, never through `jsonwebtoken` itself, which would not know who signs.

use std::sync::Once;

use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Error, Signer, Verifier};
use jsonwebtoken::{AlgorithmFamily, TokenData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

pub use jsonwebtoken::errors;
pub use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode_header};

/// Makes a signed token of a header and claims.
///
/// # Errors
/// The key is not one of the header's algorithm, or the claims cannot be serialized.
pub fn encode<T: Serialize>(header: &Header, claims: &T, key: &EncodingKey) -> Result<String> {
    install();
    jsonwebtoken::encode(header, claims, key)
}

/// Takes a token apart if its signature is the key's and its claims are as the validation demands.
///
/// # Errors
/// Anything about the token is otherwise.
pub fn decode<T: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> Result<TokenData<T>> {
    install();
    jsonwebtoken::decode(token, key, validation)
}

/// Tells `jsonwebtoken` who signs and verifies, once in the life of a process.
fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        // They are for JWKs, whose bytes are decoded where keys are read.
        key_utils: KeyUtils::new_unimplemented(),
    };
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| PROVIDER.install_default().expect("no other crate installs a provider"));
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Box::new(Hs256::new(key.as_bytes())?)),
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            let key = SigningKey::from_pkcs8_der(key.as_bytes()).map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(EddsaSigner(key)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match (algorithm, key.family()) {
        (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Box::new(Hs256::new(key.try_get_as_bytes()?)?)),
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            let bytes = key.try_get_as_bytes()?.try_into().map_err(|_| ErrorKind::InvalidEddsaKey)?;
            let key = VerifyingKey::from_bytes(bytes).map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(EddsaVerifier(key)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// HMAC with SHA-256, which signs and verifies with the same key.
struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(secret: &[u8]) -> Result<Hs256> {
        Ok(Hs256(Hmac::new_from_slice(secret).map_err(|_| ErrorKind::InvalidKeyFormat)?))
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        // In constant time.
        self.0.clone().chain_update(message).verify_slice(signature).map_err(Error::from_source)
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

struct EddsaSigner(SigningKey);

impl Signer<Vec<u8>> for EddsaSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

impl JwtSigner for EddsaSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct EddsaVerifier(VerifyingKey);

impl Verifier<Vec<u8>> for EddsaVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let signature = Signature::from_slice(signature).map_err(|_| Error::new())?;
        self.0.verify(message, &signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for EddsaVerifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests;
