//! Text that is checked while it arrives (RFC 6455 §8.1).

/// Bytes were added that no continuation can make valid UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidUtf8;

/// A text under construction. All of `text` is valid; `pending` is the beginning of one more character.
#[derive(Debug, Default)]
pub(super) struct TextBuffer {
    text: String,
    pending: [u8; 4],
    pending_len: u8,
}

impl TextBuffer {
    /// Adds bytes. Fails at the first byte that makes the text invalid, not at its end.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), InvalidUtf8> {
        while self.pending_len > 0 {
            let Some((&first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            self.push_pending(first)?;
            bytes = rest;
        }
        let (whole, tail) = bytes.split_at(bytes.len() - incomplete_tail(bytes));
        self.text.push_str(simdutf8::basic::from_utf8(whole).map_err(|_| InvalidUtf8)?);
        for &byte in tail {
            self.push_pending(byte)?;
        }
        Ok(())
    }

    /// Adds one byte to the incomplete character.
    fn push_pending(&mut self, byte: u8) -> Result<(), InvalidUtf8> {
        // Four bytes are either a character or invalid, so the index stays below four.
        self.pending[usize::from(self.pending_len)] = byte;
        self.pending_len += 1;
        match std::str::from_utf8(&self.pending[..usize::from(self.pending_len)]) {
            Ok(character) => {
                self.text.push_str(character);
                self.pending_len = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(InvalidUtf8),
        }
    }

    /// Fails when the text ends within a character.
    pub(super) fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.pending_len == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }

    /// The valid text so far.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Bytes added so far.
    pub(super) fn len(&self) -> usize {
        self.text.len() + usize::from(self.pending_len)
    }

    /// Heap memory owned, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }
}

/// How many bytes at the end of `bytes` look like a character that is not complete yet: 0 to 3.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for (index, &byte) in bytes.iter().rev().take(3).enumerate() {
        let width = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        return if width > index + 1 { index + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{InvalidUtf8, TextBuffer};

    /// What the buffer says of `bytes` pushed in pieces: how many were taken before the error.
    fn push_each(bytes: &[u8]) -> usize {
        let mut buffer = TextBuffer::default();
        bytes.iter().position(|byte| buffer.push(&[*byte]).is_err()).unwrap_or(bytes.len())
    }

    #[test]
    fn a_bad_byte_fails_when_it_arrives() {
        assert_eq!(push_each(b"ok\xff"), 2);
        assert_eq!(push_each(b"\xc0\x80"), 0);
        assert_eq!(push_each(b"\xe0\x80\x80"), 1, "overlong");
        assert_eq!(push_each(b"\xed\xa0\x80"), 1, "surrogate");
        assert_eq!(push_each(b"\xf4\x90\x80\x80"), 1, "above U+10FFFF");
        assert_eq!(push_each(b"\xf5"), 0);
        assert_eq!(push_each(b"\xe2\x82A"), 2);
        assert_eq!(push_each("héllo €𝄞".as_bytes()), "héllo €𝄞".len());
    }

    #[test]
    fn an_unfinished_character_fails_at_the_end_only() {
        let mut buffer = TextBuffer::default();
        assert_eq!(buffer.push("a€".as_bytes().split_last().unwrap().1), Ok(()));
        assert_eq!(buffer.finish(), Err(InvalidUtf8));
        assert_eq!(buffer.len(), 3);
        assert_eq!(buffer.push(&[0xac]), Ok(()));
        assert_eq!(buffer.finish(), Ok(()));
        assert_eq!(buffer.as_str(), "a€");
    }

    /// Exhaustive over two cuts of a text with characters of every width, and over the same with one byte changed.
    #[test]
    fn cuts_do_not_change_the_verdict() {
        let good = "aé€𝄞z\u{7ff}\u{800}\u{10ffff}".as_bytes();
        for position in 0..good.len() {
            for replacement in [good[position], 0x00, 0x80, 0xc3, 0xe2, 0xf0, 0xff] {
                let mut bytes = good.to_vec();
                bytes[position] = replacement;
                let expected = std::str::from_utf8(&bytes).is_ok();
                for first in 0..=bytes.len() {
                    for second in first..=bytes.len() {
                        let mut buffer = TextBuffer::default();
                        let actual = buffer
                            .push(&bytes[..first])
                            .and_then(|()| buffer.push(&bytes[first..second]))
                            .and_then(|()| buffer.push(&bytes[second..]))
                            .and_then(|()| buffer.finish());
                        assert_eq!(actual.is_ok(), expected, "{bytes:x?} cut at {first} and {second}");
                    }
                }
            }
        }
    }
}
