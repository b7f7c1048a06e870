//! The directory: a lock, the format and the epoch, and the mark below which all numbers are given out.
//!
//! ```text
//! <directory>/
//!   lock       held while the process has the store open
//!   format     text: version, epoch and a secret (see the journal); written first, never changed
//!   numbers    two slots of 4 KiB: generation, mark, checksum (8 bytes each, little-endian); written in turns
//!   store/     the database; made in `store.new` and renamed, so that it is there as a whole or not at all
//!   ballast    takes up room that is given back when there is no other
//! ```
//!
//! The mark has a file of its own, which is overwritten in place: it needs no room on a full disk, and a journal that
//! lost its tail cannot take it back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use xxhash_rust::xxh3::xxh3_64;

use super::OpenError;

/// Known to this store only. It never leaves the directory.
pub(super) type Secret = [u8; 16];

const FORMAT_VERSION: u32 = 1;
const SLOT_BYTES: u64 = 4_096;
/// The first number that is ever given out.
const FIRST_NUMBER: u64 = 1;

/// The directory, locked.
pub(super) struct Directory {
    path: PathBuf,
    epoch: u64,
    secret: Secret,
    numbers: Numbers,
    lock: File,
}

impl Directory {
    /// Opens the directory, and makes it if it is not there.
    pub(super) fn open(path: &Path) -> Result<Directory, OpenError> {
        let refused = |error| OpenError::Io { path: path.into(), error };
        fs::create_dir_all(path).map_err(refused)?;
        let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
        let lock = options.open(path.join("lock")).map_err(refused)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Locked(path.into())),
            Err(error) => return Err(refused(error.into())),
        }
        let format = path.join("format");
        let (epoch, secret) = if format.try_exists().map_err(refused)? {
            read_format(&fs::read(&format).map_err(refused)?)?
        } else {
            for left in ["store", "numbers"] {
                if path.join(left).try_exists().map_err(refused)? {
                    return Err(OpenError::Damaged(format!("there is a {left} but no format file")));
                }
            }
            let (epoch, secret) = (random_epoch()?, random()?);
            write_whole(path, "format", format_text(epoch, &secret).as_bytes()).map_err(refused)?;
            (epoch, secret)
        };
        let numbers = path.join("numbers");
        if !numbers.try_exists().map_err(refused)? {
            if path.join("store").try_exists().map_err(refused)? {
                return Err(OpenError::Damaged("there is a store but no numbers file".into()));
            }
            let slots = [slot(0, FIRST_NUMBER), slot(1, FIRST_NUMBER)].concat();
            write_whole(path, "numbers", &slots).map_err(refused)?;
        }
        let numbers = Numbers::open(&numbers)?;
        Ok(Directory { path: path.into(), epoch, secret, numbers, lock })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next numbers. Nobody is given them again once this has returned.
    pub(super) fn reserve(&mut self, count: u64) -> io::Result<Range<u64>> {
        self.numbers.reserve(count)
    }

    /// Forgets what is held in memory, and reads it again.
    pub(super) fn reload(&mut self) -> Result<(), OpenError> {
        let range_end = self.numbers.next;
        self.numbers = Numbers::open(&self.path.join("numbers"))?;
        // What was written but not synced may have been lost; what was given out in this process never comes again.
        self.numbers.next = self.numbers.next.max(range_end);
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing it is not enough while a child process that was just forked still has it.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

struct Numbers {
    file: File,
    generation: u64,
    next: u64,
}

impl Numbers {
    fn open(path: &Path) -> Result<Numbers, OpenError> {
        let refused = |error| OpenError::Io { path: path.into(), error };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(refused)?;
        let mut newest = None;
        for index in 0..2 {
            let mut bytes = [0; 24];
            match file.read_exact_at(&mut bytes, index * SLOT_BYTES) {
                Ok(()) => newest = newest.max(read_slot(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(refused(error)),
            }
        }
        let (generation, next) =
            newest.ok_or_else(|| OpenError::Damaged("no slot of the numbers file is intact".into()))?;
        // After a sync that failed, here or in an earlier process, memory may hold a slot that the disk does not, and
        // the kernel takes it for written. The next write would be to the other slot, the only one that is there.
        let again = file.write_all_at(&slot(generation, next)[..24], (generation % 2) * SLOT_BYTES);
        again.and_then(|()| file.sync_data()).map_err(refused)?;
        Ok(Numbers { file, generation, next })
    }

    fn reserve(&mut self, count: u64) -> io::Result<Range<u64>> {
        let range = self.next..self.next.saturating_add(count);
        let generation = self.generation + 1;
        // The other slot keeps the mark before, should this write be torn.
        self.file.write_all_at(&slot(generation, range.end)[..24], (generation % 2) * SLOT_BYTES)?;
        self.generation = generation;
        self.next = range.end;
        self.file.sync_data()?;
        Ok(range)
    }
}

fn slot(generation: u64, next: u64) -> Vec<u8> {
    let mut bytes = [generation.to_le_bytes(), next.to_le_bytes()].concat();
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes.resize(SLOT_BYTES as usize, 0);
    bytes
}

fn read_slot(bytes: &[u8; 24]) -> Option<(u64, u64)> {
    let number = |at: usize| bytes[at..].first_chunk().map(|number| u64::from_le_bytes(*number));
    (number(16)? == xxh3_64(&bytes[..16])).then_some((number(0)?, number(8)?))
}

fn format_text(epoch: u64, secret: &Secret) -> String {
    let secret = u128::from_be_bytes(*secret);
    let text =
        format!("campanile mailbox\nversion {FORMAT_VERSION}\nepoch {epoch:016x}\nsecret {secret:032x}\n");
    let sum = xxh3_64(text.as_bytes());
    format!("{text}checksum {sum:016x}\n")
}

fn read_format(bytes: &[u8]) -> Result<(u64, Secret), OpenError> {
    let damaged = || OpenError::Damaged("the format file cannot be read".into());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    if !text.starts_with("campanile mailbox\n") {
        return Err(damaged());
    }
    let version: u32 = line("version").and_then(|version| version.parse().ok()).ok_or_else(damaged)?;
    if version != FORMAT_VERSION {
        return Err(OpenError::Version { found: version, known: FORMAT_VERSION });
    }
    let epoch = line("epoch").and_then(|epoch| u64::from_str_radix(epoch, 16).ok()).ok_or_else(damaged)?;
    let secret =
        line("secret").and_then(|secret| u128::from_str_radix(secret, 16).ok()).ok_or_else(damaged)?;
    let secret = secret.to_be_bytes();
    if epoch == 0 || format_text(epoch, &secret) != text { Err(damaged()) } else { Ok((epoch, secret)) }
}

/// Not zero, and it fits a signed 64-bit integer everywhere.
fn random_epoch() -> Result<u64, OpenError> {
    loop {
        let epoch = u64::from_le_bytes(random()?) >> 1;
        if epoch != 0 {
            return Ok(epoch);
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], OpenError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| OpenError::Random(error.to_string()))?;
    Ok(bytes)
}

/// Writes a file that is there as a whole or not at all.
fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    fs::write(&new, bytes)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    sync_directory(directory)
}

pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_out_once_whatever_becomes_of_one_slot() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(dir.path()).unwrap();
        let epoch = directory.epoch();
        assert_eq!(directory.reserve(10).unwrap(), 1..11);
        assert_eq!(directory.reserve(5).unwrap(), 11..16);
        assert!(matches!(Directory::open(dir.path()), Err(OpenError::Locked(_))));
        drop(directory);
        let path = dir.path().join("numbers");
        let good = fs::read(&path).unwrap();
        // The write of a third range is torn: its slot holds nonsense.
        let torn = OpenOptions::new().write(true).open(&path).unwrap();
        torn.write_all_at(&[7; 13], 0).unwrap();
        let mut directory = Directory::open(dir.path()).unwrap();
        assert_eq!(directory.epoch(), epoch);
        assert_eq!(directory.reserve(1).unwrap(), 16..17);
        drop(directory);
        fs::write(&path, &good[..20]).unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(OpenError::Damaged(_))));
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(dir.path()).unwrap());
        let path = dir.path().join("format");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("version 1", "version 9")).unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(OpenError::Version { found: 9, known: 1 })));
        fs::write(&path, text.replace("epoch ", "epoch f")).unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(OpenError::Damaged(_))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(OpenError::Damaged(_))));
    }
}
