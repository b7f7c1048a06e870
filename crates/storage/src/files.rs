//! The directory: a lock, the format and the epoch, and the mark below which all numbers are given out.
//!
//! ```text
//! <directory>/
//!   lock       held while the process has the store open
//!   format     text: version, epoch and a secret (see the journal); written first, never changed
//!   placement  text: the key that places users; made at the first start, never changed
//!   numbers    two slots of 4 KiB: generation, mark, checksum (8 bytes each, little-endian); written in turns
//!   store/     the database; made in `store.new` and renamed, so that it is there as a whole or not at all
//!   torn/      what was cut off journals (see there)
//!   ballast    takes up room that is given back when there is no other
//! ```
//!
//! The mark has a file of its own, which is overwritten in place: it needs no room on a full disk, and a journal that
//! lost its tail cannot take it back. Each write goes to the older of its two slots:
//!
//! ```text
//!            slot 0        slot 1
//! at rest    7: 400,000    6: 300,000    the mark is 400,000
//! torn       7: 400,000    ???????       8 was being written: nobody was given its numbers
//! damaged    ???????       6: 300,000    300,000 to 400,000 were given out
//! ```
//!
//! The last two look alike. So whenever a slot is not what was written, the numbers go on so far above the other one
//! that they are new in either case: gaps cost nothing, and a number that is given out twice makes a device that has
//! confirmed it throw away a message that it never saw.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use xxhash_rust::xxh3::xxh3_64;

use super::{EMPTY_ADVICE, OpenError};
use campanile_mailbox::{NUMBERS_RESERVED_MAX, PlacementKey};

/// Known to this store only. It never leaves the directory.
pub(super) type Secret = [u8; 16];

const FORMAT_VERSION: u32 = 1;
const SLOT_BYTES: u64 = 4_096;
/// The first number that is ever given out.
const FIRST_NUMBER: u64 = 1;
/// So far the numbers leap when a slot is not what was written.
const LEAP: u64 = 1 << 32;
const _: () = assert!(LEAP >= NUMBERS_RESERVED_MAX, "what the other slot may have said is leapt over");

/// The directory, locked.
pub(super) struct Directory {
    path: PathBuf,
    epoch: u64,
    secret: Secret,
    placement_key: PlacementKey,
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
        if numbers.next > FIRST_NUMBER && !path.join("store").try_exists().map_err(refused)? {
            return Err(OpenError::Damaged(format!(
                "numbers were given out, but there is no store: {EMPTY_ADVICE}"
            )));
        }
        let placement_key = open_placement(path)?;
        Ok(Directory { path: path.into(), epoch, secret, placement_key, numbers, lock })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn placement_key(&self) -> PlacementKey {
        self.placement_key
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
        let mut slots = [None; 2];
        for (index, slot) in (0..).zip(&mut slots) {
            let mut bytes = [0; 24];
            match file.read_exact_at(&mut bytes, index * SLOT_BYTES) {
                // One that belongs into the other place says nothing of this one.
                Ok(()) => *slot = read_slot(&bytes).filter(|(generation, _)| generation % 2 == index),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(refused(error)),
            }
        }
        let newest = slots.into_iter().flatten().max();
        let (generation, next) = newest.ok_or_else(|| {
            OpenError::Damaged(format!(
                "neither slot of {} is intact, and nobody knows which numbers were given out: \
                 {EMPTY_ADVICE}",
                path.display()
            ))
        })?;
        let mut numbers = Numbers { file, generation, next };
        // After a sync that failed, here or in an earlier process, memory may hold a slot that the disk does not, and
        // the kernel takes it for written. The next write would be to the other slot, the only one that is there.
        numbers.write(generation, next).map_err(refused)?;
        if !in_turn(slots) {
            // Not over the slot that is intact.
            numbers.write(generation + 1, next.saturating_add(LEAP)).map_err(refused)?;
            tracing::error!(
                file = %path.display(), next = numbers.next,
                "a slot of the numbers file was torn by a power cut or is damaged: the numbers go on far above"
            );
        }
        Ok(numbers)
    }

    fn reserve(&mut self, count: u64) -> io::Result<Range<u64>> {
        if count > NUMBERS_RESERVED_MAX {
            return Err(io::Error::other("so many numbers are not given out at once"));
        }
        let range = self.next..self.next.saturating_add(count);
        // The other slot keeps the mark before, should this write be torn.
        self.write(self.generation + 1, range.end)?;
        Ok(range)
    }

    /// Writes the slot of a generation. A failure leaves it open what a slot on disk says, and never what is given out.
    fn write(&mut self, generation: u64, next: u64) -> io::Result<()> {
        self.file.write_all_at(&slot(generation, next)[..24], (generation % 2) * SLOT_BYTES)?;
        (self.generation, self.next) = (generation, next);
        self.file.sync_data()
    }
}

/// Whether both slots are what was written, one after the other.
fn in_turn(slots: [Option<(u64, u64)>; 2]) -> bool {
    let [Some(one), Some(other)] = slots else { return false };
    let (older, newer) = (one.min(other), one.max(other));
    newer.0 - older.0 == 1 && older.1 <= newer.1
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

/// The key that places users; one is made where there is none yet.
fn open_placement(directory: &Path) -> Result<PlacementKey, OpenError> {
    let path = directory.join("placement");
    let refused = |error| OpenError::Io { path: path.clone(), error };
    if !path.try_exists().map_err(refused)? {
        let key = random()?;
        write_whole(directory, "placement", placement_text(&key).as_bytes()).map_err(refused)?;
        return Ok(PlacementKey::new(key));
    }
    let text = fs::read(&path).map_err(refused)?;
    let key = std::str::from_utf8(&text).ok().and_then(|text| {
        let key = text.lines().find_map(|line| line.strip_prefix("key "))?;
        let key = u128::from_str_radix(key, 16).ok()?.to_be_bytes();
        (placement_text(&key) == text).then_some(key)
    });
    let damaged = || {
        OpenError::Damaged(format!(
            "{} cannot be read: put it back from a copy of the directory, or remove it, and users are placed anew",
            path.display()
        ))
    };
    key.map(PlacementKey::new).ok_or_else(damaged)
}

fn placement_text(key: &[u8; 16]) -> String {
    let text = format!("campanile placement\nkey {:032x}\n", u128::from_be_bytes(*key));
    let sum = xxh3_64(text.as_bytes());
    format!("{text}checksum {sum:016x}\n")
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
    // Some of them are secrets.
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    sync_directory(directory)
}

pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
