//! What messages carry: whatever a device is delivered says which message it is, and cannot be anything else.
//!
//! ```text
//! 0      8        16     20       24
//! | run  | number | user | asked  | noise that follows from the rest …   |  big-endian
//! ```

use super::records::{Forgery, Number};

/// The shortest content, in bytes.
pub(crate) const BYTES_MIN: usize = 24;

/// What a content says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) run: u64,
    pub(crate) number: Number,
    pub(crate) user: u32,
    /// The devices that it is for.
    pub(crate) asked: u32,
}

impl Content {
    /// The bytes, `length` of them.
    pub(crate) fn write(&self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        bytes.extend_from_slice(&self.run.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.user.to_be_bytes());
        bytes.extend_from_slice(&self.asked.to_be_bytes());
        let recipients = u64::from(self.user) << 32 | u64::from(self.asked);
        // So that no part can change without the noise being another one.
        let seed = self.run ^ self.number.rotate_left(32) ^ recipients.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut noise = fastrand::Rng::with_seed(seed);
        while bytes.len() < length {
            bytes.extend_from_slice(&noise.u64(..).to_be_bytes());
        }
        bytes.truncate(length.max(BYTES_MIN));
        bytes
    }

    /// Which message of this run it is, byte for byte.
    pub(crate) fn read(run: u64, bytes: &[u8]) -> Result<Content, Forgery> {
        let field = |from: usize, to: usize| {
            let field = bytes.get(from..to)?;
            Some(field.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
        };
        let read = || {
            Some(Content {
                run: field(0, 8)?,
                number: field(8, 16)?,
                user: field(16, 20)? as u32,
                asked: field(20, 24)? as u32,
            })
        };
        let content = read().filter(|content| content.run == run).ok_or(Forgery::Foreign)?;
        if content.write(bytes.len()) == bytes { Ok(content) } else { Err(Forgery::Damaged(content.number)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let content = Content { run: 5, number: 77, user: 3, asked: 0b101 };
        let bytes = content.write(100);
        assert_eq!((bytes.len(), Content::read(5, &bytes)), (100, Ok(content)));
        for bit in 0..800 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let read = Content::read(5, &changed);
            assert!(read.is_err(), "bit {bit}: {read:?}");
        }
        assert_eq!(Content::read(6, &bytes), Err(Forgery::Foreign));
        assert_eq!(Content::read(5, &bytes[..20]), Err(Forgery::Foreign));
    }
}
