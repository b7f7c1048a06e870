//! What a published message carries, so that whoever sees it knows when it was due and which it is.
//!
//! Only hexadecimal digits and colons after an `@`: it stays the same in text frames, in JSON strings and in protobuf.

use std::time::Duration;

use memchr::memmem::Finder;
use rustix::time::{ClockId, clock_gettime};

/// What every stamp begins with.
const MARKER: &[u8] = b"@bench:";
/// Digits of the publisher's number, of the sequence number and of the time.
const DIGITS: [usize; 3] = [2, 12, 16];
/// The marker, and three numbers with a colon between each two.
pub(crate) const STAMP_BYTES: usize = MARKER.len() + DIGITS[0] + 1 + DIGITS[1] + 1 + DIGITS[2];

/// Which message, and since when it is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Each publisher counts for itself.
    pub(crate) publisher: u8,
    /// From 0, one more with every message.
    pub(crate) sequence: u64,
    /// When the message was due, by [`now_nanos`].
    pub(crate) nanos: u64,
}

impl Stamp {
    /// A payload of `bytes`, at least [`STAMP_BYTES`]: the stamp, then dots.
    pub(crate) fn payload(self, bytes: usize) -> String {
        let Self { publisher, sequence, nanos } = self;
        let stamp = format!("@bench:{publisher:02x}:{sequence:012x}:{nanos:016x}");
        format!("{stamp:.<bytes$}")
    }

    /// The one that starts at the beginning of `bytes`.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MARKER)?;
        let mut numbers = [0; DIGITS.len()];
        for (index, digits) in DIGITS.into_iter().enumerate() {
            if index > 0 {
                rest = rest.strip_prefix(b":")?;
            }
            let (number, after) = rest.split_at_checked(digits)?;
            numbers[index] = hexadecimal(number)?;
            rest = after;
        }
        let [publisher, sequence, nanos] = numbers;
        Some(Self { publisher: u8::try_from(publisher).ok()?, sequence, nanos })
    }
}

/// Finds stamps.
pub(super) struct Stamps(Finder<'static>);

impl Default for Stamps {
    fn default() -> Self {
        Self(Finder::new(MARKER))
    }
}

impl Stamps {
    /// All stamps in a frame's payload: a server may put several messages into one frame.
    pub(super) fn each(&self, payload: &[u8], mut found: impl FnMut(Stamp)) {
        let mut rest = payload;
        while let Some(start) = self.0.find(rest) {
            rest = &rest[start..];
            let stamp = Stamp::parse(rest);
            rest = &rest[if stamp.is_some() { STAMP_BYTES } else { MARKER.len() }..];
            stamp.into_iter().for_each(&mut found);
        }
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | u64::from(char::from(digit).to_digit(16)?)))
}

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
pub(crate) fn now_nanos() -> u64 {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(payload: &[u8]) -> Vec<Stamp> {
        let mut all = Vec::new();
        Stamps::default().each(payload, |stamp| all.push(stamp));
        all
    }

    #[test]
    fn a_stamp_is_found_in_whatever_a_server_wraps_it_in() {
        let stamp = Stamp { publisher: 7, sequence: 123_456_789, nanos: u64::MAX - 5 };
        let payload = stamp.payload(128);
        assert_eq!(payload.len(), 128);
        assert_eq!(stamps(payload.as_bytes()), [stamp]);
        let json = serde_json::json!({"channel": "news", "data": {"text": payload}}).to_string();
        assert_eq!(stamps(json.as_bytes()), [stamp]);
        let protobuf = [b"\x0a\x04news\x12\x80\x01", payload.as_bytes(), b"\x18\x01"].concat();
        assert_eq!(stamps(&protobuf), [stamp]);
    }

    #[test]
    fn several_messages_in_one_frame_are_all_found() {
        let stamp = |sequence| Stamp { publisher: 0, sequence, nanos: 1 };
        let batch =
            [stamp(1).payload(STAMP_BYTES), stamp(2).payload(64), stamp(3).payload(STAMP_BYTES)].concat();
        assert_eq!(stamps(batch.as_bytes()), [stamp(1), stamp(2), stamp(3)]);
    }

    #[test]
    fn what_only_looks_like_a_stamp_is_none() {
        let good = Stamp { publisher: 255, sequence: 1, nanos: 2 }.payload(STAMP_BYTES);
        assert_eq!(good.len(), STAMP_BYTES);
        assert!(stamps(&good.as_bytes()[..STAMP_BYTES - 1]).is_empty(), "cut off");
        assert!(stamps(good.replace(':', "-").as_bytes()).is_empty(), "no colons");
        assert!(stamps(good.replace("ff", "fg").as_bytes()).is_empty(), "not a digit");
        let behind_a_broken_one = format!("@bench:zz{good}");
        assert_eq!(stamps(behind_a_broken_one.as_bytes()).len(), 1);
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = now_nanos();
        assert!(before > 0 && now_nanos() >= before);
    }
}
