//! Looking through the database's journals before it does.
//!
//! The format is the database's own affair, so this knows exactly one version of it ([`KNOWN_VERSIONS`]), which
//! `Cargo.toml` pins. What it does not know is refused before anything is changed: markers that another version may
//! write are no torn tail.
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
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use xxhash_rust::xxh3::xxh3_64;

use super::files::{Secret, sync_directory};
use super::{EMPTY_ADVICE, OpenError};

/// The versions of the database whose journals this reads: of the crate that writes the batches, and of the one that
/// gives the kinds of values and of compression their numbers. A test of the program's dependencies holds these against
/// what is compiled.
pub const KNOWN_VERSIONS: [(&str, &str); 2] = [("fjall", "3.1.13"), ("lsm-tree", "3.1.10")];
/// What the database's file `version` holds.
const VERSION_MARKER: &[u8] = b"FJL\x03";

/// The key that opens a group of batches, in the keyspace of mailboxes, with the store's secret as its value. No user
/// id is empty.
pub(super) const OPENER: &[u8] = &[0, 1];
/// Torn pieces that are kept; the oldest goes first.
pub(super) const TORN_KEPT_MAX: usize = 8;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
/// Clears a keyspace: known to the database, and never asked of it.
const CLEAR: u8 = 4;
const START_BYTES: usize = 1 + 4 + 8;
const ITEM_HEAD_BYTES: usize = 3 + 8 + 2 + 4 + 4;
const CLEAR_BYTES: usize = 1 + 8;
const END_BYTES: usize = 1 + 8 + 4;
/// What ends every batch, of whatever version.
const MAGIC: &[u8] = b"FJL";
const MAGIC_VERSION: u8 = 3;

/// Checks all journals of the store in a directory, and cuts off what was torn.
pub(super) fn mend(directory: &Path, secret: &Secret) -> Result<(), OpenError> {
    let store = directory.join("store");
    let refused = |path: &Path, error| OpenError::Io { path: path.into(), error };
    check_version(&store.join("version"))?;
    let mut journals: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(&store).map_err(|error| refused(&store, error))? {
        let path = entry.map_err(|error| refused(&store, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        if let Some(number) = name.and_then(|name| name.parse().ok()) {
            journals.push((number, path));
        }
    }
    journals.sort();
    // They are made one after the other, and go oldest first.
    if let Some(gap) = journals.windows(2).find(|pair| pair[1].0 != pair[0].0 + 1) {
        let missing = store.join(format!("{}.jnl", gap[0].0 + 1));
        return Err(OpenError::Damaged(format!("{} is missing: {EMPTY_ADVICE}", missing.display())));
    }
    let newest = journals.pop();
    for (_, path) in journals {
        let bytes = read(&path).map_err(|error| refused(&path, error))?;
        let at = intact(&path, &bytes)?;
        if at < bytes.len() {
            return Err(damaged(&path, at));
        }
    }
    let Some((_, path)) = newest else { return Ok(()) };
    let bytes = read(&path).map_err(|error| refused(&path, error))?;
    let at = intact(&path, &bytes)?;
    if is_opened_after(&bytes[at..], secret) {
        return Err(damaged(&path, at));
    }
    if bytes.len() > at {
        let torn = &bytes[at..];
        let kept = keep(&directory.join("torn"), &path, at, torn).map_err(|error| refused(&path, error))?;
        tracing::warn!(
            journal = %path.display(), kept_bytes = at, cut_bytes = torn.len(), copy = ?kept,
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

/// The database looks at its marker too, but only after its journals were cut.
fn check_version(path: &Path) -> Result<(), OpenError> {
    match fs::read(path) {
        Ok(marker) if marker == VERSION_MARKER => Ok(()),
        Ok(marker) => Err(OpenError::Unknown {
            path: path.into(),
            what: format!("says {:?}", String::from_utf8_lossy(&marker[..marker.len().min(16)])),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Damaged(format!("{} is missing: {EMPTY_ADVICE}", path.display())))
        }
        Err(error) => Err(OpenError::Io { path: path.into(), error }),
    }
}

fn damaged(path: &Path, at: usize) -> OpenError {
    OpenError::Damaged(format!(
        "{} is not what was written, from byte {at} on, and it had been confirmed: {EMPTY_ADVICE}",
        path.display()
    ))
}

/// Keeps what is going to be cut off a journal. Where, or nothing if there is no room for it: it was not durable, and a
/// full disk is no reason not to start.
fn keep(directory: &Path, journal: &Path, at: usize, torn: &[u8]) -> io::Result<Option<PathBuf>> {
    let kept = write_torn(directory, journal, at, torn);
    match &kept {
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            tracing::error!(%error, "what is cut off a journal is not kept");
            Ok(None)
        }
        _ => kept.map(Some),
    }
}

fn write_torn(directory: &Path, journal: &Path, at: usize, torn: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let mut pieces: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let count = entry.file_name().to_str().and_then(|name| name.split('-').next()?.parse().ok());
        pieces.extend(count.map(|count| (count, entry.path())));
    }
    pieces.sort();
    let count = pieces.last().map_or(1, |(newest, _)| newest + 1);
    for (_, oldest) in pieces.iter().take((pieces.len() + 1).saturating_sub(TORN_KEPT_MAX)) {
        fs::remove_file(oldest)?;
    }
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    let path = directory.join(format!("{count}-{name}-{at}"));
    let written = File::create(&path).and_then(|file| {
        file.write_all_at(torn, 0)?;
        file.sync_all()
    });
    if written.is_err() {
        // Half of it is of no use to anybody, and takes room.
        let _ = fs::remove_file(&path);
    }
    written?;
    sync_directory(directory)?;
    Ok(path)
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
fn intact(path: &Path, bytes: &[u8]) -> Result<usize, OpenError> {
    let (mut at, mut number) = (0, None);
    loop {
        match batch(&bytes[at..]) {
            Ok(batch) if Some(batch.number) > number => {
                at += batch.len;
                number = Some(batch.number);
            }
            Err(NoBatch::Unknown(what)) => {
                let what = format!("holds {what} at byte {at}");
                return Err(OpenError::Unknown { path: path.into(), what });
            }
            Ok(_) | Err(NoBatch::Torn) => return Ok(at),
        }
    }
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

/// Why no batch can be read.
enum NoBatch {
    /// It is not there as a whole.
    Torn,
    /// It is whole, or looks like what is, and it is nothing that this program asks of its database.
    Unknown(String),
}

/// The batch that these bytes begin with, if it is whole.
fn batch(bytes: &[u8]) -> Result<Batch, NoBatch> {
    // Pages that are missing are zeros: nothing else turns up where a batch begins.
    if let Some(marker) = bytes.first().filter(|marker| !matches!(**marker, 0 | START)) {
        return Err(NoBatch::Unknown(format!("the marker {marker}")));
    }
    let shape = Shape::of(bytes).filter(Shape::is_whole).ok_or(NoBatch::Torn)?;
    match shape.foreign {
        Some(what) => Err(NoBatch::Unknown(what.to_owned())),
        None => Ok(Batch { len: START_BYTES + shape.items.len() + END_BYTES, number: shape.number }),
    }
}

/// What looks like a batch of any version.
struct Shape<'a> {
    number: u64,
    items: &'a [u8],
    /// The key and the value of the last item.
    last: (&'a [u8], &'a [u8]),
    checksum: &'a [u8],
    /// What is in it that this program never writes.
    foreign: Option<&'static str>,
}

impl Shape<'_> {
    fn of(bytes: &[u8]) -> Option<Shape<'_>> {
        let u32_at =
            |at: usize| bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number) as usize);
        if *bytes.first()? != START {
            return None;
        }
        let items = u32_at(1)?;
        let number = u64::from_le_bytes(*bytes.get(5..)?.first_chunk()?);
        let mut at = START_BYTES;
        let mut last: (&[u8], &[u8]) = (&[], &[]);
        let mut foreign = None;
        for _ in 0..items {
            if *bytes.get(at)? == CLEAR {
                foreign = Some("a keyspace that is cleared");
                at += CLEAR_BYTES;
                continue;
            }
            let head = bytes.get(at..at + ITEM_HEAD_BYTES)?;
            let ([ITEM, kind, compression], key_len) =
                (head.first_chunk()?, u16::from_le_bytes([head[11], head[12]]))
            else {
                return None;
            };
            let (value_len, stored_len) = (u32_at(at + 13)?, u32_at(at + 17)?);
            if *kind > 2 {
                foreign = Some("a value of an unknown kind");
            } else if *compression != 0 || value_len != stored_len {
                foreign = Some("a value that is compressed");
            }
            let len = usize::from(key_len) + stored_len;
            at += ITEM_HEAD_BYTES;
            last = bytes.get(at..at.checked_add(len)?)?.split_at(key_len.into());
            at += len;
        }
        let end = bytes.get(at..at + END_BYTES)?;
        if end[0] != END || end[9..12] != *MAGIC {
            return None;
        }
        match end[12] {
            MAGIC_VERSION => {}
            // The first byte of a page that is missing.
            0 => return None,
            _ => foreign = Some("a batch of another version"),
        }
        Some(Shape { number, items: &bytes[START_BYTES..at], last, checksum: &end[1..9], foreign })
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
mod tests;
