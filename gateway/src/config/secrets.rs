//! Secrets, as they are used: read once, never printed, compared in constant time.

use std::fmt;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The shortest HS256 secret, in bytes: as long as the hash (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;
/// The longest HS256 secret, in bytes.
const SECRET_BYTES_MAX: usize = 4_096;
/// The shortest API key, in bytes.
const KEY_BYTES_MIN: usize = 16;
/// The longest API key, in bytes.
const KEY_BYTES_MAX: usize = 512;
/// How many API keys there may be: every request is compared with all of them.
const KEYS_MAX: usize = 64;

/// The secret that devices' tokens are signed with (HS256).
#[derive(Clone)]
pub struct HmacSecret(Box<[u8]>);

impl HmacSecret {
    /// Reads a secret from a file. Line ends after it do not belong to it.
    ///
    /// # Errors
    /// In words for the operator: the file cannot be read, or the secret is too short.
    pub fn read(path: &Path) -> Result<HmacSecret, String> {
        let bytes = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        HmacSecret::new(&bytes).map_err(|problem| format!("{}: {problem}", path.display()))
    }

    /// Takes a file's content.
    ///
    /// # Errors
    /// In words for the operator: the secret is too short or too long.
    pub fn new(content: &[u8]) -> Result<HmacSecret, String> {
        let end = content.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        let secret = &content[..end];
        match secret.len() {
            SECRET_BYTES_MIN..=SECRET_BYTES_MAX => Ok(HmacSecret(secret.into())),
            0 => Err(format!("the secret is empty; {HOW_TO_MAKE_ONE}")),
            length if length > SECRET_BYTES_MAX => {
                Err(format!("the secret has {length} bytes, at most {SECRET_BYTES_MAX} are allowed"))
            }
            length => Err(format!(
                "the secret has {length} bytes, at least {SECRET_BYTES_MIN} are needed; {HOW_TO_MAKE_ONE}"
            )),
        }
    }

    /// The secret itself, for a signature.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

const HOW_TO_MAKE_ONE: &str = "make one with `head -c 32 /dev/urandom | base64 > FILE`";

impl fmt::Debug for HmacSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSecret(…)")
    }
}

/// The keys of publishers and operators. Only hashes are kept.
#[derive(Clone)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    /// Reads keys from a file: one on each line; empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// In words for the operator: the file cannot be read, has no key, or has one that is not a key.
    pub fn read(path: &Path) -> Result<ApiKeys, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        ApiKeys::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))
    }

    /// Takes a file's content.
    ///
    /// # Errors
    /// As [`ApiKeys::read`].
    pub fn parse(text: &str) -> Result<ApiKeys, String> {
        let mut hashes = Vec::new();
        for (line, key) in (1..).zip(text.lines()).map(|(number, line)| (number, line.trim())) {
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("line {line}: a key is made of printable ASCII without spaces"));
            }
            if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
                return Err(format!(
                    "line {line}: the key has {} characters, {KEY_BYTES_MIN} to {KEY_BYTES_MAX} are allowed; \
                     {HOW_TO_MAKE_ONE}",
                    key.len()
                ));
            }
            hashes.push(Sha256::digest(key).into());
        }
        match hashes.len() {
            0 => Err(format!("there is no key in it; {HOW_TO_MAKE_ONE}")),
            1..=KEYS_MAX => Ok(ApiKeys(hashes)),
            count => Err(format!("there are {count} keys in it, at most {KEYS_MAX} are allowed")),
        }
    }

    /// If `key` is one of the keys, a number that tells it apart from other keys, the same after a restart. Takes the
    /// same time for every wrong key of one length: hashes are compared, and always all of them.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8]) -> Option<u64> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let found = self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash));
        bool::from(found).then(|| {
            // Of another hash, so that what is stored is no part of the one that opens.
            let hash: [u8; 32] =
                Sha256::new().chain_update("fingerprint ").chain_update(hash).finalize().into();
            u64::from_le_bytes(std::array::from_fn(|place| hash[place]))
        })
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_no_part_of_the_secret() {
        let secret = HmacSecret::new(b"0123456789abcdef0123456789abcdef\r\n").unwrap();
        assert_eq!(secret.as_bytes(), b"0123456789abcdef0123456789abcdef");
    }

    #[test]
    fn short_secrets_are_refused_with_the_way_out() {
        let problem = HmacSecret::new(b"0123456789abcdef0123456789abcde\n").unwrap_err();
        assert!(problem.contains("31 bytes") && problem.contains("/dev/urandom"), "{problem}");
        assert!(HmacSecret::new(b"\n").unwrap_err().contains("empty"));
        assert!(HmacSecret::new(&[b'x'; 4_097]).unwrap_err().contains("at most"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = HmacSecret::new(&[b's'; 32]).unwrap();
        let keys = ApiKeys::parse("kkkkkkkkkkkkkkkkkk").unwrap();
        assert!(!format!("{secret:?}").contains("ss"));
        assert!(!format!("{keys:?}").contains("kk"));
    }

    #[test]
    fn every_key_of_the_file_opens_and_nothing_else_does() {
        let keys = ApiKeys::parse("# ops\nfirst-key-0123456\n\n  second-key-012345  \n").unwrap();
        let first = keys.fingerprint(b"first-key-0123456").unwrap();
        assert_ne!(Some(first), keys.fingerprint(b"second-key-012345"), "keys are told apart");
        assert!(keys.fingerprint(b"second-key-012345").is_some());
        let alone = ApiKeys::parse("first-key-0123456").unwrap();
        assert_eq!(alone.fingerprint(b"first-key-0123456"), Some(first), "whatever else is in the file");
        for wrong in [&b""[..], b"# ops", b"first-key-012345", b"first-key-01234567", b"third-key-0123456"] {
            assert_eq!(keys.fingerprint(wrong), None);
        }
    }

    #[test]
    fn a_bad_key_is_named_by_its_line() {
        for (text, expected) in [
            ("", "no key"),
            ("# only a comment\n", "no key"),
            ("good-key-01234567\nshort\n", "line 2"),
            ("two words in one line", "line 1"),
            ("schlüssel-0123456", "printable ASCII"),
        ] {
            let problem = ApiKeys::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        let many: String = (0..65).map(|i| format!("key-number-{i:010}\n")).collect();
        assert!(ApiKeys::parse(&many).unwrap_err().contains("65 keys"));
    }
}
