//! Finding the end of a head that arrives in pieces.

use super::{HEAD_BYTES_MAX, UpgradeError};

/// Collects one head. Whole in the input, it is lent from there without a copy.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// The beginning of an incomplete head, already searched.
    pending: Vec<u8>,
    /// Bytes searched, to show that the work is linear.
    #[cfg(test)]
    searched: usize,
}

impl HeadReader {
    /// A reader before its first byte; owns no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pending: Vec::new(),
            #[cfg(test)]
            searched: 0,
        }
    }

    /// Takes the head off the front of `input`, up to and with the empty line that ends it, or `None` if all of
    /// `input` was taken and more is needed. What follows the head stays in `input`. One head per reader.
    ///
    /// # Errors
    /// [`UpgradeError::HeadTooLarge`] above [`HEAD_BYTES_MAX`], [`UpgradeError::Malformed`] for a line feed without a
    /// carriage return before it.
    pub fn next<'m, 'i: 'm>(&'m mut self, input: &mut &'i [u8]) -> Result<Option<&'m [u8]>, UpgradeError> {
        let taken = input.len().min(HEAD_BYTES_MAX - self.pending.len());
        let (front, rest) = input.split_at(taken);
        #[cfg(test)]
        {
            self.searched += front.len();
        }
        match find_end(last_two(&self.pending), front)? {
            Some(end) => {
                *input = &input[end..];
                if self.pending.is_empty() {
                    return Ok(Some(&front[..end]));
                }
                self.pending.extend_from_slice(&front[..end]);
                Ok(Some(&self.pending))
            }
            None if self.pending.len() + taken == HEAD_BYTES_MAX => Err(UpgradeError::HeadTooLarge),
            None => {
                self.pending.extend_from_slice(front);
                *input = rest;
                Ok(None)
            }
        }
    }

    /// Memory owned, in bytes.
    #[must_use]
    pub const fn owned_bytes(&self) -> usize {
        self.pending.capacity()
    }
}

/// The last two bytes, preceded by zeros if there are fewer.
fn last_two(bytes: &[u8]) -> [u8; 2] {
    let mut last = [0; 2];
    let tail = &bytes[bytes.len().saturating_sub(2)..];
    last[2 - tail.len()..].copy_from_slice(tail);
    last
}

/// The length of `bytes` up to and with the first empty line; `before` are the two bytes before them.
fn find_end(before: [u8; 2], bytes: &[u8]) -> Result<Option<usize>, UpgradeError> {
    // The byte `back` places before `index`.
    let earlier = |index: usize, back: usize| match index.checked_sub(back) {
        Some(index) => bytes[index],
        None => before[2 + index - back],
    };
    // Every line feed has passed the first check, so two of them one byte apart are an empty line.
    for index in memchr::memchr_iter(b'\n', bytes) {
        if earlier(index, 1) != b'\r' {
            return Err(UpgradeError::Malformed);
        }
        if earlier(index, 2) == b'\n' {
            return Ok(Some(index + 1));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{HEAD_BYTES_MAX, HeadReader, UpgradeError};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn every_cut_gives_the_same_head_and_rest() {
        let bytes = [HEAD, b"\x81\x80rest"].concat();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut reader = HeadReader::new();
                let mut rest = Vec::new();
                let mut head = None;
                for mut piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    if head.is_none() {
                        head = reader.next(&mut piece).unwrap().map(<[u8]>::to_vec);
                    }
                    rest.extend_from_slice(piece);
                }
                assert_eq!(head.as_deref(), Some(HEAD), "cut at {first} and {second}");
                assert_eq!(rest, b"\x81\x80rest", "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_whole_head_is_not_copied() {
        let mut reader = HeadReader::new();
        let mut input = HEAD;
        let head = reader.next(&mut input).unwrap().unwrap();
        assert!(std::ptr::eq(head, HEAD));
        assert_eq!(reader.owned_bytes(), 0);
    }

    #[test]
    fn one_byte_at_a_time_is_searched_once() {
        let mut reader = HeadReader::new();
        for _ in 0..HEAD_BYTES_MAX - 1 {
            assert_eq!(reader.next(&mut &b"a"[..]), Ok(None));
        }
        assert_eq!(reader.searched, HEAD_BYTES_MAX - 1);
        assert!(reader.owned_bytes() <= 2 * HEAD_BYTES_MAX);
        assert_eq!(reader.next(&mut &b"a"[..]), Err(UpgradeError::HeadTooLarge));
        assert_eq!(reader.searched, HEAD_BYTES_MAX);
    }

    #[test]
    fn the_limit_is_exact_and_independent_of_cuts() {
        let fits = [b"G".repeat(HEAD_BYTES_MAX - 4), b"\r\n\r\n".to_vec()].concat();
        let too_long = [b"G".repeat(HEAD_BYTES_MAX - 3), b"\r\n\r\n".to_vec()].concat();
        for cut in [0, 1, 100, HEAD_BYTES_MAX - 1, HEAD_BYTES_MAX] {
            let mut reader = HeadReader::new();
            let first = reader.next(&mut &fits[..cut]).unwrap().map(<[u8]>::len);
            let second = if first.is_none() {
                reader.next(&mut &fits[cut..]).unwrap().map(<[u8]>::len)
            } else {
                first
            };
            assert_eq!(second, Some(HEAD_BYTES_MAX), "cut at {cut}");

            let mut reader = HeadReader::new();
            let first = reader.next(&mut &too_long[..cut]).map(|head| head.is_some());
            let second = first.and_then(|_| reader.next(&mut &too_long[cut..]).map(|head| head.is_some()));
            assert_eq!(second, Err(UpgradeError::HeadTooLarge), "cut at {cut}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused() {
        let mut reader = HeadReader::new();
        assert_eq!(reader.next(&mut &b"GET / HTTP/1.1\n"[..]), Err(UpgradeError::Malformed));
        let mut reader = HeadReader::new();
        assert_eq!(reader.next(&mut &b"GET"[..]), Ok(None));
        assert_eq!(reader.next(&mut &b"\n"[..]), Err(UpgradeError::Malformed));
    }
}
