//! Names that publishers and devices give: of kinds, topics, events and requests. A value of these types has passed its
//! checks, wherever it came from.

use std::fmt;
use std::str::FromStr;

/// The longest kind, topic and event name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest deduplication id, in bytes.
pub const DEDUP_ID_BYTES_MAX: usize = 128;
/// The kind of a message that names none.
pub const KIND_DEFAULT: &str = "message";

/// A text is not a name or a deduplication id.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty or too long.
    #[error("{bytes} bytes, 1 to {max} are allowed")]
    Length {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// The text has a control character.
    #[error("must not contain control characters")]
    Control,
}

/// The name of a kind, a topic or an event: 1 to [`NAME_BYTES_MAX`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in a field that may be left out, where empty means that it is.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn optional(text: String) -> Result<Option<Name>, NameError> {
        if text.is_empty() { Ok(None) } else { Name::try_from(text).map(Some) }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Name, NameError> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(NameError::Length { bytes: text.len(), max: NAME_BYTES_MAX });
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        Ok(Name(text))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        text.to_owned().try_into()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A deduplication id: 1 to [`DEDUP_ID_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupId(Box<str>);

impl DedupId {
    /// The id in a field that may be left out, where empty means that it is.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn optional(text: &str) -> Result<Option<DedupId>, NameError> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
    }
}

impl FromStr for DedupId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<DedupId, NameError> {
        match text.len() {
            1..=DEDUP_ID_BYTES_MAX => Ok(DedupId(text.into())),
            bytes => Err(NameError::Length { bytes, max: DEDUP_ID_BYTES_MAX }),
        }
    }
}

/// The id of a sync is its name.
impl From<Name> for DedupId {
    fn from(name: Name) -> DedupId {
        const { assert!(NAME_BYTES_MAX <= DEDUP_ID_BYTES_MAX) }
        DedupId(name.0.into())
    }
}

impl From<DedupId> for Box<str> {
    fn from(id: DedupId) -> Box<str> {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_length_and_no_control_characters() {
        let long = "é".repeat(NAME_BYTES_MAX / 2);
        for good in ["a", "read-sync", "\u{a0}", &long] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let error = |text: &str| text.parse::<Name>().unwrap_err().to_string();
        assert_eq!(error(""), "0 bytes, 1 to 64 are allowed");
        assert_eq!(error(&(long.clone() + "a")), "65 bytes, 1 to 64 are allowed");
        for control in ["a\n", "\0", "\u{85}"] {
            assert_eq!(error(control), "must not contain control characters");
        }
        assert_eq!(Name::optional(String::new()), Ok(None));
        assert!(Name::optional("\t".to_owned()).is_err());
    }

    #[test]
    fn a_deduplication_id_is_longer_and_may_be_anything() {
        for good in ["a", "a\n", &"x".repeat(DEDUP_ID_BYTES_MAX)] {
            assert_eq!(&*Box::<str>::from(good.parse::<DedupId>().unwrap()), good);
        }
        let error = "x".repeat(DEDUP_ID_BYTES_MAX + 1).parse::<DedupId>().unwrap_err();
        assert_eq!(error.to_string(), "129 bytes, 1 to 128 are allowed");
        assert_eq!(DedupId::optional(""), Ok(None));
    }
}
