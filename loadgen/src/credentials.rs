//! The devices' tokens: signed here from the gateway's secret, or read from a file.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campanile_jwt::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::audience::Audience;

/// The shortest HS256 secret, in bytes (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Where tokens come from.
pub enum Credentials {
    /// Signed with HS256 when a device is about to connect: 100,000 tokens would be 20 MB.
    Hs256 {
        /// The secret.
        key: EncodingKey,
        /// What users' names begin with; their number follows.
        user_prefix: String,
        /// `iat`, in seconds since the Unix epoch.
        issued_at: u64,
        /// `exp`, in seconds since the Unix epoch.
        expires_at: u64,
        /// What they allow with channels.
        grants: Grants,
    },
    /// One for each device, in the order of their numbers.
    Listed(Vec<String>),
    /// None: for servers that do not authenticate.
    None,
}

/// What tokens allow with channels: names, in which `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Where a device may subscribe.
    pub channels: Vec<String>,
    /// Where it may publish.
    pub publish: Vec<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: String,
    did: u32,
    exp: u64,
    iat: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    channels: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    publish: &'a [String],
}

impl Credentials {
    /// Tokens that hold for `lifetime`, signed with the secret in `file`; line ends after the secret do not belong
    /// to it.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn hs256(file: &Path, user_prefix: String, lifetime: Duration) -> Result<Credentials, String> {
        let content =
            std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let end = content.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        if end < SECRET_BYTES_MIN {
            return Err(format!(
                "{}: the HS256 secret has {end} bytes, at least {SECRET_BYTES_MIN} are needed",
                file.display()
            ));
        }
        let issued_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let expires_at = issued_at + lifetime.as_secs();
        Ok(Credentials::Hs256 {
            key: EncodingKey::from_secret(&content[..end]),
            user_prefix,
            issued_at,
            expires_at,
            grants: Grants::default(),
        })
    }

    /// The same, but tokens that are signed here allow this with channels.
    #[must_use]
    pub fn with_grants(mut self, allowed: Grants) -> Credentials {
        if let Credentials::Hs256 { grants, .. } = &mut self {
            *grants = allowed;
        }
        self
    }

    /// The tokens in `file`, one on each line, for device 0, 1 and so on.
    ///
    /// # Errors
    /// In words for the operator: the file cannot be read, or has fewer than `devices` tokens.
    pub fn listed(file: &Path, devices: u32) -> Result<Credentials, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let tokens: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if let Some(line) = tokens.iter().position(|token| !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(format!("{}: token {} has characters that no token has", file.display(), line + 1));
        }
        if tokens.len() < devices as usize {
            let count = tokens.len();
            return Err(format!("{}: {count} tokens for {devices} connections", file.display()));
        }
        Ok(Credentials::Listed(tokens))
    }

    /// The token of a device.
    ///
    /// # Errors
    /// In words for the operator: the token cannot be signed.
    pub fn token(&self, audience: &Audience, device: u32) -> Result<Option<String>, String> {
        match self {
            Credentials::Hs256 { key, user_prefix, issued_at, expires_at, grants } => {
                let claims = Claims {
                    sub: format!("{user_prefix}{}", audience.user_of(device)),
                    did: audience.device_id(device),
                    exp: *expires_at,
                    iat: *issued_at,
                    channels: &grants.channels,
                    publish: &grants.publish,
                };
                campanile_jwt::encode(&Header::new(Algorithm::HS256), &claims, key)
                    .map(Some)
                    .map_err(|error| format!("a token cannot be signed: {error}"))
            }
            Credentials::Listed(tokens) => Ok(tokens.get(device as usize).cloned()),
            Credentials::None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_jwt::{DecodingKey, Validation};

    use super::*;
    use crate::audience::To;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn audience() -> Audience {
        Audience { to: To::RandomDevice, devices: 10, users: 4, seed: 0, silent_percent: 0 }
    }

    fn file(name: &str, content: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("campanile-load-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn a_token_names_its_device_and_is_signed_with_the_secret_without_its_line_end() {
        let path = file("secret", &format!("{SECRET}\n"));
        let credentials = Credentials::hs256(&path, "U".into(), Duration::from_secs(60)).unwrap();
        std::fs::remove_file(path).unwrap();
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        let claims = |credentials: &Credentials| {
            let token = credentials.token(&audience(), 7).unwrap().unwrap();
            campanile_jwt::decode::<serde_json::Value>(&token, &key, &Validation::new(Algorithm::HS256))
                .unwrap()
                .claims
        };
        let grants = Grants { channels: vec!["room:*".into()], publish: Vec::new() };
        let allowing = credentials.with_grants(grants);
        let (allowed, credentials) = (claims(&allowing), allowing.with_grants(Grants::default()));
        assert_eq!(allowed["channels"], serde_json::json!(["room:*"]));
        assert_eq!(allowed.get("publish"), None);
        let claims = claims(&credentials);
        assert_eq!(claims.get("channels"), None, "nothing is said about what is not wanted");
        assert_eq!((claims["sub"].as_str(), claims["did"].as_u64()), (Some("U2"), Some(3)));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    }

    #[test]
    fn secrets_and_lists_that_are_too_short_are_refused() {
        let path = file("short", &format!("{}\n", &SECRET[1..]));
        let error = Credentials::hs256(&path, "U".into(), Duration::from_secs(60)).err().unwrap();
        assert!(error.contains("31 bytes"), "{error}");
        std::fs::write(&path, "a\n\nb\n").unwrap();
        assert!(Credentials::listed(&path, 2).is_ok());
        let error = Credentials::listed(&path, 3).err().unwrap();
        assert!(error.contains("2 tokens for 3 connections"), "{error}");
        std::fs::write(&path, "a\nb c\n").unwrap();
        let error = Credentials::listed(&path, 2).err().unwrap();
        assert!(error.contains("token 2"), "{error}");
        std::fs::remove_file(path).unwrap();
    }
}
