//! Public keys of EdDSA tokens, from a file: PEM, a JWK, or a set of JWKs.

use std::fmt;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use campanile_jwt::DecodingKey;
use serde::Deserialize;

/// Keys that one file may have: a token that names none is checked against all of them.
pub const EDDSA_KEYS_MAX: usize = 16;
/// An Ed25519 public key, in bytes (RFC 8032 §5.1.5).
const KEY_BYTES: usize = 32;

/// Ed25519 public keys.
#[derive(Clone)]
pub struct EddsaKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// RFC 7517 §4, RFC 8037 §2.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(rename = "use", default)]
    usage: Option<String>,
    #[serde(default)]
    d: Option<serde::de::IgnoredAny>,
}

impl EddsaKeys {
    /// Reads a file.
    ///
    /// # Errors
    /// In words for the operator: the file cannot be read, or has no such key.
    pub fn read(path: &Path) -> Result<EddsaKeys, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        EddsaKeys::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))
    }

    /// Takes a file's content: an SPKI public key in PEM (RFC 8410), a JWK, or a JWK set. Keys of a set that are not
    /// for EdDSA signatures are passed over (RFC 7517 §5).
    ///
    /// # Errors
    /// As [`EddsaKeys::read`].
    pub fn parse(text: &str) -> Result<EddsaKeys, String> {
        let keys = if text.contains("-----BEGIN") {
            vec![Key { id: None, key: pem(text)? }]
        } else if let Ok(set) = serde_json::from_str::<Jwks>(text) {
            set.keys.into_iter().filter(Jwk::is_ours).map(Jwk::key).collect::<Result<_, _>>()?
        } else {
            let jwk: Jwk = serde_json::from_str(text)
                .map_err(|error| format!("neither PEM nor a JWK nor a JWK set: {error}"))?;
            if !jwk.is_ours() {
                return Err("the JWK is not an Ed25519 key for signatures (kty OKP, crv Ed25519)".into());
            }
            vec![jwk.key()?]
        };
        match keys.len() {
            0 => Err("there is no Ed25519 key for signatures in it (kty OKP, crv Ed25519)".into()),
            1..=EDDSA_KEYS_MAX => Ok(EddsaKeys(keys)),
            count => Err(format!("there are {count} keys in it, at most {EDDSA_KEYS_MAX} are allowed")),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token with this `kid` may be signed with: those of the same name, and those that have none. A
    /// token without a name is tried on those that have none, or on the only one: each try costs a signature.
    pub(super) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        let fits = move |key: &&Key| match (kid, key.id.as_deref()) {
            (Some(named), Some(id)) => named == id,
            (None, Some(_)) => self.0.len() == 1,
            (_, None) => true,
        };
        self.0.iter().filter(fits).map(|key| &key.key)
    }
}

fn pem(text: &str) -> Result<DecodingKey, String> {
    /// What comes before the key in its DER encoding, always the same (RFC 8410 §4).
    const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    if text.contains("PRIVATE KEY") {
        return Err("there is a private key in it; the gateway needs the public key only: \
                    openssl pkey -in PRIVATE -pubout"
            .into());
    }
    let der = pem_content(text, "PUBLIC KEY");
    let key = der.as_deref().and_then(|der| der.strip_prefix(SPKI)).filter(|key| key.len() == KEY_BYTES);
    key.map(DecodingKey::from_ed_der).ok_or_else(|| "not an Ed25519 public key (SPKI in PEM)".into())
}

/// The first block with this label (RFC 7468 §3).
pub(super) fn pem_content(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, after) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (content, _) = after.split_once(&format!("-----END {label}-----"))?;
    STANDARD.decode(content.split_ascii_whitespace().collect::<String>()).ok()
}

impl Jwk {
    fn is_ours(&self) -> bool {
        let fits = |given: &Option<String>, ours: &[&str]| {
            given.as_deref().is_none_or(|given| ours.contains(&given))
        };
        self.kty == "OKP"
            && self.crv == "Ed25519"
            && fits(&self.alg, &["EdDSA", "Ed25519"])
            && fits(&self.usage, &["sig"])
    }

    fn key(self) -> Result<Key, String> {
        if self.d.is_some() {
            return Err("a JWK has its private part (`d`); the gateway needs the public part only".into());
        }
        let bytes = URL_SAFE_NO_PAD.decode(&self.x).map_err(|error| format!("a JWK's `x`: {error}"))?;
        if bytes.len() != KEY_BYTES {
            return Err(format!("a JWK's `x` has {} bytes, {KEY_BYTES} are a key", bytes.len()));
        }
        let key =
            DecodingKey::from_ed_components(&self.x).map_err(|error| format!("a JWK's `x`: {error}"))?;
        Ok(Key { id: self.kid, key })
    }
}

impl fmt::Debug for EddsaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EddsaKeys({} keys)", self.0.len())
    }
}
