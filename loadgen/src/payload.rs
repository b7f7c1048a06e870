//! What a push carries: which run and message it is, and when it was meant to leave.
//!
//! ```text
//! 0        8        16       24          payload-bytes
//! | run    | number | due    | zeros …   |     big-endian
//! ```
//! `due` is on the machine's monotonic clock, which sender and receiver share because both run here.

use campanile_engine::Time;

/// The smallest payload, in bytes.
pub const PAYLOAD_BYTES_MIN: usize = 24;

/// The head of a payload.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which run published it, so that what an earlier one left behind is not counted.
    pub run: u64,
    /// Which message of the run it is, from 0.
    pub number: u64,
    /// When it was meant to leave.
    pub due: Time,
}

impl Stamp {
    /// Writes the stamp and pads it to `length` bytes, in place of what `out` held.
    pub fn write(&self, length: usize, out: &mut Vec<u8>) {
        out.clear();
        for value in [self.run, self.number, self.due.as_nanos()] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.resize(length.max(PAYLOAD_BYTES_MIN), 0);
    }

    /// Reads the stamp, or `None` if the payload is too short to have one.
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let field = |index: usize| {
            let bytes = payload.get(index * 8..index * 8 + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        Some(Stamp { run: field(0)?, number: field(1)?, due: Time(field(2)?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_stamp_survives_and_the_length_is_as_asked(run: u64, number: u64, due: u64, length in 0..300usize) {
            let stamp = Stamp { run, number, due: Time(due) };
            let mut bytes = vec![7; 500];
            stamp.write(length, &mut bytes);
            prop_assert_eq!(bytes.len(), length.max(PAYLOAD_BYTES_MIN));
            prop_assert_eq!(Stamp::read(&bytes), Some(stamp));
            prop_assert_eq!(Stamp::read(&bytes[..PAYLOAD_BYTES_MIN - 1]), None);
        }
    }
}
