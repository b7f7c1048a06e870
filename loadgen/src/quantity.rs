//! Durations and sizes as people write them: `10s`, `1m30s`, `64KiB`, or a plain number.

use std::time::Duration;

/// The longest duration that an option may have: one that no clock overflows with.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The largest size that an option may have, in bytes.
pub const BYTES_MAX: usize = 1 << 40;

/// Units of time, the longest first, in seconds.
const TIMES: [(&str, f64); 8] = [
    ("d", 86_400.0),
    ("h", 3_600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ns", 1e-9),
];
/// Units of size, in bytes.
const SIZES: [(&str, f64); 9] = [
    ("b", 1.0),
    ("k", 1e3),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("kib", 1_024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("bytes", 1.0),
];

/// Reads `10s`, `1m30s`, `250ms` or `1.5h`; a plain number is one of seconds.
///
/// # Errors
/// In words for the operator: it is nothing of the kind, or longer than [`DURATION_MAX`].
pub fn duration(text: &str) -> Result<Duration, String> {
    time(text, 1.0, "a number of seconds, or a duration like 10s or 1m30s")
}

/// Reads a duration like [`duration`], but a plain number is one of milliseconds.
///
/// # Errors
/// In words for the operator: it is nothing of the kind, or longer than [`DURATION_MAX`].
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    time(text, 1e-3, "a number of milliseconds, or a duration like 50ms or 1.5s")
}

/// Reads `64KiB`, `1MB`, `512B`, in capitals or not; a plain number is one of bytes.
///
/// # Errors
/// In words for the operator: it is nothing of the kind, no whole number of bytes, or more than [`BYTES_MAX`].
pub fn bytes(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let parsed = split(&lower).and_then(|(number, unit, rest)| {
        let unit = if unit.is_empty() { 1.0 } else { factor(&SIZES, unit)?.1 };
        rest.is_empty().then_some(number * unit)
    });
    let is_size = |bytes: &f64| *bytes <= BYTES_MAX as f64 && bytes.fract() == 0.0;
    let parsed = parsed.filter(is_size).map(|bytes| bytes as usize);
    parsed.ok_or_else(|| format!("`{text}` is not a number of bytes, or a size like 512, 64KiB or 1MB"))
}

fn time(text: &str, plain: f64, expected: &str) -> Result<Duration, String> {
    let seconds = match text.parse::<f64>() {
        Ok(number) => Some(number * plain),
        Err(_) => parts(text),
    };
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match duration {
        Some(duration) if duration <= DURATION_MAX => Ok(duration),
        Some(_) => Err(format!("`{text}` is longer than 366 days")),
        None if seconds.is_some_and(|seconds| seconds > 0.0) => {
            Err(format!("`{text}` is longer than 366 days"))
        }
        None => Err(format!("`{text}` is not {expected}")),
    }
}

/// The sum of parts with units, each shorter than the one before, in seconds.
fn parts(text: &str) -> Option<f64> {
    let (mut rest, mut seconds, mut before) = (text, 0.0, None);
    while before.is_none() || !rest.is_empty() {
        let (number, unit, after) = split(rest)?;
        let (place, factor) = factor(&TIMES, unit)?;
        if before.is_some_and(|before| before >= place) {
            return None;
        }
        (rest, before, seconds) = (after, Some(place), seconds + number * factor);
    }
    Some(seconds)
}

/// The number at the front, the unit behind it, which may be empty, and the rest.
fn split(text: &str) -> Option<(f64, &str, &str)> {
    let is_digit = |letter: char| letter.is_ascii_digit() || letter == '.';
    let end = text.find(|letter| !is_digit(letter)).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let end = rest.find(is_digit).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    Some((number.parse().ok()?, unit, rest))
}

fn factor(units: &[(&str, f64)], name: &str) -> Option<(usize, f64)> {
    let place = units.iter().position(|(unit, _)| *unit == name)?;
    Some((place, units[place].1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("2m", 120_000),
            ("1m30s", 90_000),
            ("1h2m3s4ms", 3_723_004),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("5", 5_000),
            ("0.25", 250),
            ("1e2", 100_000),
            ("0", 0),
            ("366d", 366 * 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(milliseconds("50"), Ok(Duration::from_millis(50)));
        assert_eq!(milliseconds("0.05"), Ok(Duration::from_micros(50)));
        assert_eq!(milliseconds("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("7us"), duration("7µs"));
    }

    #[test]
    fn what_is_no_duration_is_refused_and_so_is_one_without_end() {
        for text in ["", "s", "-1", "-1s", "10x", "10 s", "30s1m", "1m1m", "1m30", "1..5s", "NaN", "10S"] {
            assert!(duration(text).unwrap_err().contains("is not a number of seconds"), "{text}");
        }
        for text in ["1e18", "inf", "367d", "99999999999999999999s"] {
            assert!(duration(text).unwrap_err().contains("longer than 366 days"), "{text}");
        }
        assert!(milliseconds("x").unwrap_err().contains("milliseconds"));
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in [
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("1MB", 1_000_000),
            ("1.5KiB", 1_536),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5", "64 KiB", "1KiB2", "64KiBs", "9999GiB", "NaN"] {
            assert!(bytes(text).unwrap_err().contains("is not a number of bytes"), "{text}");
        }
    }
}
