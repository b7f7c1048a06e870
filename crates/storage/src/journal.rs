//! Looking through the database's journals before it does.
//!
//! A power cut may tear what was being written: of the pages since the last sync any may be missing. The database cuts
//! off a tail that stops early, but does not open when something in it is wrong, and it takes damage in the middle for
//! an early end. So the journals are checked first, and the newest is cut where it was torn:
//!
//! ```text
//! ├─ batch ─┼─ batch ─┼─ batch ─┼─ torn ────┼─ batch ─┼─ batch
//!                     ▲ opener              ▲ opener?
//!                     last sync before      if so, a sync came after what is torn: it was durable, and is damaged
//! ```
//!
//! The first batch after every sync holds the [opener](OPENER). Where one follows, what was lost had been confirmed,
//! and the store does not open: nothing durable is dropped silently. Bodies come from anybody, and half of one may be
//! what is torn: its bytes are no opener, because the opener's value is a secret of the store. The number of a batch is
//! in no checksum, so it says nothing here.
//!
//! A batch as the database writes it, integers little-endian:
//! ```text
//! 1 │ items (4) │ number (8)
//!   2 │ kind │ compression │ keyspace (8) │ key# (2) │ value# (4) │ stored# (4) │ key │ value
//!   …
//! 3 │ xxh3 of the items (8) │ "FJL" 3
//! ```

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::OpenError;
use super::files::Secret;

/// The key that opens a group of batches, in the keyspace of mailboxes, with the store's secret as its value. No user id
/// is empty.
pub(super) const OPENER: &[u8] = &[0, 1];

const START_BYTES: usize = 1 + 4 + 8;
const ITEM_HEAD_BYTES: usize = 3 + 8 + 2 + 4 + 4;
const END_BYTES: usize = 1 + 8 + 4;
const MAGIC: &[u8] = b"FJL\x03";

/// Checks all journals of a store, and cuts off what was torn.
pub(super) fn mend(store: &Path, secret: &Secret) -> Result<(), OpenError> {
    let refused = |path: &Path, error| OpenError::Io { path: path.into(), error };
    let mut journals: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(store).map_err(|error| refused(store, error))? {
        let path = entry.map_err(|error| refused(store, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        if let Some(number) = name.and_then(|name| name.parse().ok()) {
            journals.push((number, path));
        }
    }
    journals.sort();
    let newest = journals.pop();
    for (_, path) in journals {
        let bytes = read(&path).map_err(|error| refused(&path, error))?;
        let at = intact(&bytes);
        if at < bytes.len() {
            return Err(damaged(&path, at));
        }
    }
    let Some((_, path)) = newest else { return Ok(()) };
    let bytes = read(&path).map_err(|error| refused(&path, error))?;
    let at = intact(&bytes);
    if is_opened_after(&bytes[at..], secret) {
        return Err(damaged(&path, at));
    }
    if bytes.len() > at {
        tracing::warn!(
            journal = %path.display(), kept_bytes = at, cut_bytes = bytes.len() - at,
            "a journal was torn; what was not durable is cut off"
        );
    }
    let cut = || {
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(at as u64)?;
        file.sync_all()
    };
    cut().map_err(|error| refused(&path, error))
}

fn damaged(path: &Path, at: usize) -> OpenError {
    OpenError::Damaged(format!("{} is not what was written, from byte {at} on", path.display()))
}

/// What a journal holds. A new one is 64 MiB of nothing: neither that nor the zeros of its last page are read.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut end = 0;
    loop {
        match seek(&file, SeekFrom::Data(end)) {
            Ok(data) => end = seek(&file, SeekFrom::Hole(data))?,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut bytes = vec![0; end as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(written);
    Ok(bytes)
}

/// How much of it is whole batches.
fn intact(bytes: &[u8]) -> usize {
    let (mut at, mut number) = (0, None);
    while let Some(batch) = batch(&bytes[at..]).filter(|batch| Some(batch.number) > number) {
        at += batch.len;
        number = Some(batch.number);
    }
    at
}

/// Whether a batch that opens a group is somewhere behind what was torn.
fn is_opened_after(torn: &[u8], secret: &Secret) -> bool {
    // Mostly there is none, and then nothing has to be tried.
    torn.windows(secret.len()).any(|bytes| bytes == secret)
        && (0..torn.len()).any(|at| {
            // Only what is shaped like it is worth a checksum.
            Shape::of(&torn[at..]).is_some_and(|shape| shape.opens(secret) && shape.is_whole())
        })
}

struct Batch {
    len: usize,
    /// Each batch has a higher one than the batch before.
    number: u64,
}

/// The batch that these bytes begin with, if it is whole.
fn batch(bytes: &[u8]) -> Option<Batch> {
    let shape = Shape::of(bytes).filter(Shape::is_whole)?;
    Some(Batch { len: START_BYTES + shape.items.len() + END_BYTES, number: shape.number })
}

/// What looks like a batch.
struct Shape<'a> {
    number: u64,
    items: &'a [u8],
    /// The key and the value of the last item.
    last: (&'a [u8], &'a [u8]),
    checksum: &'a [u8],
}

impl Shape<'_> {
    fn of(bytes: &[u8]) -> Option<Shape<'_>> {
        let u32_at =
            |at: usize| bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number) as usize);
        if *bytes.first()? != 1 {
            return None;
        }
        let items = u32_at(1)?;
        let number = u64::from_le_bytes(*bytes.get(5..)?.first_chunk()?);
        let mut at = START_BYTES;
        let mut last: (&[u8], &[u8]) = (&[], &[]);
        for _ in 0..items {
            let head = bytes.get(at..at + ITEM_HEAD_BYTES)?;
            // No batch clears a keyspace, and nothing is compressed.
            let ([2, 0..=2, 0], key_len) = (head.first_chunk()?, u16::from_le_bytes([head[11], head[12]]))
            else {
                return None;
            };
            let len = usize::from(key_len) + u32_at(at + 13)?;
            if u32_at(at + 13) != u32_at(at + 17) {
                return None;
            }
            at += ITEM_HEAD_BYTES;
            last = bytes.get(at..at.checked_add(len)?)?.split_at(key_len.into());
            at += len;
        }
        let end = bytes.get(at..at + END_BYTES)?;
        let ends = end[0] == 3 && end[9..] == *MAGIC;
        ends.then_some(Shape { number, items: &bytes[START_BYTES..at], last, checksum: &end[1..9] })
    }

    fn is_whole(&self) -> bool {
        self.checksum == xxh3_64(self.items).to_le_bytes()
    }

    /// The opener is the last item of its batch.
    fn opens(&self, secret: &Secret) -> bool {
        self.last == (OPENER, secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &Secret = b"known to nobody ";

    fn written(number: u64, keys: &[&[u8]]) -> Vec<u8> {
        let value = |key: &[u8]| if key == OPENER { SECRET.to_vec() } else { b"abc".to_vec() };
        let items: Vec<(&[u8], Vec<u8>)> = keys.iter().map(|key| (*key, value(key))).collect();
        encoded(number, &items)
    }

    fn encoded(number: u64, items: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&(items.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        for (key, value) in items {
            bytes.extend_from_slice(&[2, 0, 0]);
            bytes.extend_from_slice(&1u64.to_le_bytes());
            bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&[(value.len() as u32).to_le_bytes(); 2].concat());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
        let checksum = xxh3_64(&bytes[START_BYTES..]);
        bytes.push(3);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes
    }

    fn mended(bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("12.jnl");
        fs::write(&path, bytes).unwrap();
        mend(dir.path(), SECRET).map(|()| fs::read(&path).unwrap())
    }

    #[test]
    fn what_was_torn_is_cut_off_unless_a_sync_came_after_it() {
        let (first, other) = (written(1, &[b"a", OPENER]), written(2, &[b"b", b"c"]));
        let (third, opener) = (written(3, &[b"d"]), written(4, &[OPENER]));
        let whole = [&first[..], &other].concat();
        assert_eq!(mended(&[&whole[..], &[0; 99]].concat()).unwrap(), whole);
        for len in first.len()..whole.len() {
            assert_eq!(mended(&whole[..len]).unwrap(), first, "{len} bytes");
            let mut torn = [&whole[..], &third].concat();
            torn[len] ^= 0x55;
            if (5..START_BYTES).contains(&(len - first.len())) {
                // The number is in no checksum: it is found to be wrong if the next one is not larger.
                continue;
            }
            assert_eq!(mended(&torn).unwrap(), first, "byte {len} is wrong");
            torn.extend_from_slice(&opener);
            assert!(matches!(mended(&torn), Err(OpenError::Damaged(_))), "byte {len} was durable");
        }
    }

    #[test]
    fn a_body_that_looks_like_a_group_that_opens_does_not_stand_for_one() {
        let first = written(1, &[OPENER]);
        // What an attacker can know: the format, but not the secret.
        let forged = encoded(9, &[(OPENER, vec![0; SECRET.len()])]);
        let body = [&[7; 50][..], &forged, &[7; 50]].concat();
        let second = encoded(2, &[(b"message", body)]);
        for len in first.len()..first.len() + second.len() {
            let bytes = [&first[..], &second].concat();
            assert_eq!(mended(&bytes[..len]).unwrap(), first, "{len} bytes");
        }
        // Neither does the opener of the torn batch itself.
        let mut torn = written(2, &[b"a", OPENER]);
        torn[START_BYTES] ^= 1;
        let bytes = [&first[..], &torn, &written(3, &[b"b"])].concat();
        assert_eq!(mended(&bytes).unwrap(), first);
    }

    #[test]
    fn a_number_that_was_damaged_does_not_hide_what_was_durable() {
        let mut bytes = [written(1, &[OPENER]), written(2, &[OPENER]), written(3, &[OPENER])].concat();
        bytes[START_BYTES - 1] = 0x55;
        assert!(matches!(mended(&bytes), Err(OpenError::Damaged(_))));
    }

    #[test]
    fn a_journal_that_is_not_the_newest_must_be_whole() {
        let dir = tempfile::tempdir().unwrap();
        let whole = written(1, &[b"a"]);
        fs::write(dir.path().join("9.jnl"), &whole).unwrap();
        fs::write(dir.path().join("10.jnl"), &whole[..5]).unwrap();
        mend(dir.path(), SECRET).unwrap();
        assert!(fs::read(dir.path().join("10.jnl")).unwrap().is_empty());
        fs::write(dir.path().join("9.jnl"), &whole[..5]).unwrap();
        assert!(matches!(mend(dir.path(), SECRET), Err(OpenError::Damaged(_))));
    }
}
