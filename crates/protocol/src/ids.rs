//! Ids of users, devices and messages. A value of these types has passed its checks.

use std::{borrow::Borrow, fmt, num::NonZeroU32, str::FromStr};

use thiserror::Error;

/// Longest user id, in bytes.
pub const USER_ID_BYTES_MAX: usize = 64;

/// Longest name of a channel, in bytes.
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;

/// A text or number is not an id.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// A user id is empty.
    #[error("a user id must not be empty")]
    UserEmpty,
    /// A user id is longer than [`USER_ID_BYTES_MAX`].
    #[error("a user id has at most {USER_ID_BYTES_MAX} bytes")]
    UserTooLong,
    /// A user id contains a control character.
    #[error("a user id must not contain control characters")]
    UserControl,
    /// The name of a channel is empty.
    #[error("the name of a channel must not be empty")]
    ChannelEmpty,
    /// The name of a channel is longer than [`CHANNEL_NAME_BYTES_MAX`].
    #[error("the name of a channel has at most {CHANNEL_NAME_BYTES_MAX} bytes")]
    ChannelTooLong,
    /// The name of a channel contains a control character or `*`.
    #[error("the name of a channel must not contain control characters or `*`")]
    ChannelCharacter,
    /// A device id is not between 1 and [`DeviceId::MAX`].
    #[error("a device id is a number from 1 to {}", DeviceId::MAX)]
    Device,
    /// A message id is not 32 hexadecimal digits.
    #[error("a message id is 32 hexadecimal digits")]
    Message,
}

/// An opaque user id: 1 to 64 bytes of UTF-8 without control characters. Compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Box<str>);

const _: () = assert!(size_of::<UserId>() == 16);

impl UserId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for UserId {
    type Error = IdError;

    fn try_from(text: &str) -> Result<Self, IdError> {
        match text {
            "" => Err(IdError::UserEmpty),
            _ if text.len() > USER_ID_BYTES_MAX => Err(IdError::UserTooLong),
            _ if text.chars().any(char::is_control) => Err(IdError::UserControl),
            _ => Ok(Self(text.into())),
        }
    }
}

impl FromStr for UserId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.try_into()
    }
}

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for UserId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// The name of a channel: 1 to 255 bytes of UTF-8 without control characters and `*`, which stands for any text in the
/// patterns of tokens. What stands before its first `:` is its namespace. Compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Box<str>);

const _: () = assert!(size_of::<ChannelName>() == 16);

impl ChannelName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `:`; `None` if there is none.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once(':').map(|(namespace, _)| namespace)
    }
}

impl TryFrom<&str> for ChannelName {
    type Error = IdError;

    fn try_from(text: &str) -> Result<Self, IdError> {
        match text {
            "" => Err(IdError::ChannelEmpty),
            _ if text.len() > CHANNEL_NAME_BYTES_MAX => Err(IdError::ChannelTooLong),
            _ if text.chars().any(|c| c.is_control() || c == '*') => Err(IdError::ChannelCharacter),
            _ => Ok(Self(text.into())),
        }
    }
}

impl FromStr for ChannelName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.try_into()
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ChannelName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// A device of a user: a number from 1 to [`DeviceId::MAX`] that the server gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(NonZeroU32);

const _: () = assert!(size_of::<Option<DeviceId>>() == 4);

impl DeviceId {
    /// The largest device id, so that it fits a signed 32-bit integer everywhere.
    pub const MAX: u32 = i32::MAX as u32;

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for DeviceId {
    type Error = IdError;

    fn try_from(number: u32) -> Result<Self, IdError> {
        match NonZeroU32::new(number) {
            Some(number) if number.get() <= Self::MAX => Ok(Self(number)),
            _ => Err(IdError::Device),
        }
    }
}

impl FromStr for DeviceId {
    type Err = IdError;

    /// Reads decimal digits; no sign and no leading zero, so that a device has one name only.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.starts_with(['0', '+']) {
            return Err(IdError::Device);
        }
        text.parse().map_err(|_| IdError::Device).and_then(|number: u32| number.try_into())
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The id of a message: the epoch of the store and the sequence number within it. Written as 32 hexadecimal digits, the
/// order of which is the order of the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Epoch of the sequence numbers.
    pub epoch: u64,
    /// Sequence number.
    pub seq: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}{:016x}", self.epoch, self.seq)
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    /// Reads what [`Display`](fmt::Display) writes: lower-case digits only, so that a message has one name only.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(IdError::Message);
        }
        let half = |digits| u64::from_str_radix(digits, 16).map_err(|_| IdError::Message);
        Ok(Self { epoch: half(&text[..16])?, seq: half(&text[16..])? })
    }
}

#[cfg(test)]
mod tests {
    use super::{ChannelName, DeviceId, IdError, MessageId, UserId};

    #[test]
    fn channel_names_are_bounded_text_that_no_pattern_can_be_mistaken_for() {
        let name: ChannelName = "chat:42:x".parse().unwrap();
        assert_eq!((name.as_str(), name.namespace()), ("chat:42:x", Some("chat")));
        assert_eq!("news".parse::<ChannelName>().unwrap().namespace(), None);
        assert_eq!("".parse::<ChannelName>(), Err(IdError::ChannelEmpty));
        assert_eq!("x".repeat(256).parse::<ChannelName>(), Err(IdError::ChannelTooLong));
        for bad in ["a*", "a\nb", "\u{85}"] {
            assert_eq!(bad.parse::<ChannelName>(), Err(IdError::ChannelCharacter), "{bad:?}");
        }
    }

    #[test]
    fn user_ids_are_bounded_text() {
        for good in ["a", "user:42", "名前", "a b", &"x".repeat(64)] {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<UserId>(), Err(IdError::UserEmpty));
        assert_eq!("x".repeat(65).parse::<UserId>(), Err(IdError::UserTooLong));
        // 22 characters of three bytes: bytes count, not characters.
        assert_eq!("名".repeat(22).parse::<UserId>(), Err(IdError::UserTooLong));
        for bad in ["a\nb", "\0", "a\u{7f}", "\u{85}"] {
            assert_eq!(bad.parse::<UserId>(), Err(IdError::UserControl), "{bad:?}");
        }
    }

    #[test]
    fn device_ids_are_small_positive_numbers_with_one_name() {
        assert_eq!("1".parse::<DeviceId>().unwrap().get(), 1);
        assert_eq!("2147483647".parse::<DeviceId>().unwrap().get(), DeviceId::MAX);
        for bad in ["", "0", "2147483648", "4294967296", "-1", "+1", "01", " 1", "x"] {
            assert_eq!(bad.parse::<DeviceId>(), Err(IdError::Device), "{bad:?}");
        }
        assert_eq!(DeviceId::try_from(0), Err(IdError::Device));
        assert_eq!(DeviceId::try_from(1 << 31), Err(IdError::Device));
    }

    #[test]
    fn message_ids_survive_printing_and_sort_as_text() {
        let ids = [(0, 0), (0, u64::MAX), (1, 2), (u64::MAX, u64::MAX)]
            .map(|(epoch, seq)| MessageId { epoch, seq });
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!(ids.map(|id| id.to_string()).is_sorted());
        assert_eq!(ids[2].to_string(), "00000000000000010000000000000002");
        let upper = "0000000000000001000000000000000A";
        for bad in [
            "",
            upper,
            "+0000000000000010000000000000002",
            "0000000000000001000000000000000",
            "000000000000000é000000000000000",
        ] {
            assert_eq!(bad.parse::<MessageId>(), Err(IdError::Message), "{bad:?}");
        }
    }
}
