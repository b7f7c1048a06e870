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
/// gives the kinds of values and of compression their numbers.
#[cfg(test)]
const KNOWN_VERSIONS: [(&str, &str); 2] = [("fjall", "3.1.13"), ("lsm-tree", "3.1.10")];
/// What the database's file `version` holds.
const VERSION_MARKER: &[u8] = b"FJL\x03";

/// The key that opens a group of batches, in the keyspace of mailboxes, with the store's secret as its value. No user id
/// is empty.
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
        bytes.extend_from_slice(b"FJL\x03");
        bytes
    }

    /// A directory with a database of the known version that has these journals.
    fn directory(journals: &[(u64, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        fs::write(dir.path().join("store/version"), VERSION_MARKER).unwrap();
        for (number, bytes) in journals {
            fs::write(dir.path().join(format!("store/{number}.jnl")), bytes).unwrap();
        }
        dir
    }

    fn journal(dir: &tempfile::TempDir, number: u64) -> Vec<u8> {
        fs::read(dir.path().join(format!("store/{number}.jnl"))).unwrap()
    }

    fn mended(bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
        let dir = directory(&[(12, bytes)]);
        let result = mend(dir.path(), SECRET);
        assert!(result.is_ok() || journal(&dir, 12) == bytes, "what is refused is not changed");
        result.map(|()| journal(&dir, 12))
    }

    /// What is kept of what was cut, oldest first.
    fn torn(dir: &tempfile::TempDir) -> Vec<(String, Vec<u8>)> {
        let Ok(entries) = fs::read_dir(dir.path().join("torn")) else { return Vec::new() };
        let piece = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        };
        let mut pieces: Vec<_> = entries.map(piece).collect();
        pieces.sort();
        pieces
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
            let mut holed = torn.clone();
            holed[len] = 0;
            if whole[len] != 0 && !(5..START_BYTES).contains(&(len - first.len())) {
                assert_eq!(mended(&holed).unwrap(), first, "byte {len} is missing");
            }
            if [first.len(), whole.len() - 1].contains(&len) {
                assert!(
                    matches!(mended(&torn), Err(OpenError::Unknown { .. })),
                    "what is there is of a version"
                );
                continue;
            }
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
        let whole = written(1, &[b"a"]);
        let dir = directory(&[(9, &whole), (10, &whole[..5])]);
        mend(dir.path(), SECRET).unwrap();
        assert!(journal(&dir, 10).is_empty());
        let dir = directory(&[(9, &whole[..5]), (10, &whole)]);
        assert!(matches!(mend(dir.path(), SECRET), Err(OpenError::Damaged(_))));
    }

    #[test]
    fn a_journal_that_is_missing_between_others_is_damage() {
        let whole = written(1, &[b"a"]);
        let dir = directory(&[(9, &whole), (11, &whole)]);
        let error = mend(dir.path(), SECRET).unwrap_err();
        assert!(error.to_string().contains("10.jnl is missing"), "{error}");
    }

    #[test]
    fn what_is_cut_is_kept_under_a_name_that_says_where_it_was() {
        let whole = written(1, &[b"a", OPENER]);
        let dir = directory(&[(12, &[&whole[..], &[START, 7, 0, 0]].concat())]);
        mend(dir.path(), SECRET).unwrap();
        // Zeros at the end were never written.
        assert_eq!(torn(&dir), [(format!("1-12.jnl-{}", whole.len()), vec![START, 7])]);
        mend(dir.path(), SECRET).unwrap();
        assert_eq!(torn(&dir).len(), 1, "nothing was cut");
    }

    #[test]
    fn the_last_few_torn_pieces_are_kept() {
        let dir = directory(&[]);
        for torn in 1..=2 * TORN_KEPT_MAX as u8 {
            fs::write(dir.path().join("store/12.jnl"), [START, torn]).unwrap();
            mend(dir.path(), SECRET).unwrap();
        }
        let mut left: Vec<u8> = torn(&dir).into_iter().map(|(_, bytes)| bytes[1]).collect();
        left.sort_unstable();
        assert!(left.into_iter().eq(TORN_KEPT_MAX as u8 + 1..=2 * TORN_KEPT_MAX as u8));
    }

    #[test]
    fn what_another_version_has_written_is_refused_and_not_cut() {
        let first = written(1, &[OPENER]);
        let foreign = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut batch = written(2, &[b"a"]);
            change(&mut batch);
            let items = START_BYTES..batch.len() - END_BYTES;
            let checksum = xxh3_64(&batch[items.clone()]).to_le_bytes();
            batch[items.end + 1..items.end + 9].copy_from_slice(&checksum);
            [&first[..], &batch].concat()
        };
        let cleared = |batch: &mut Vec<u8>| {
            let items = START_BYTES..batch.len() - END_BYTES;
            batch.splice(items, [&[CLEAR][..], &1u64.to_le_bytes()].concat());
        };
        type Change<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));
        let changes: [Change<'_>; 6] = [
            ("the marker 5", &|batch| batch[0] = 5),
            ("another version", &|batch| *batch.last_mut().unwrap() = 4),
            ("compressed", &|batch| batch[START_BYTES + 2] = 1),
            ("compressed", &|batch| batch[START_BYTES + 13] = 9),
            ("unknown kind", &|batch| batch[START_BYTES + 1] = 4),
            ("cleared", &cleared),
        ];
        for (what, change) in changes {
            let error = mended(&foreign(change)).unwrap_err();
            assert!(matches!(error, OpenError::Unknown { .. }), "{error}");
            let said = error.to_string();
            assert!(said.contains(what) && said.contains("start the version of this program"), "{said}");
        }
    }

    #[test]
    fn a_database_of_another_version_is_refused_before_its_journals_are_looked_at() {
        let dir = directory(&[(12, b"something else altogether")]);
        for marker in [&b"FJL\x04"[..], b"FJL", b"", b"FJL\x03 and more"] {
            fs::write(dir.path().join("store/version"), marker).unwrap();
            assert!(matches!(mend(dir.path(), SECRET), Err(OpenError::Unknown { .. })));
        }
        fs::remove_file(dir.path().join("store/version")).unwrap();
        assert!(matches!(mend(dir.path(), SECRET), Err(OpenError::Damaged(_))));
        assert_eq!(journal(&dir, 12), b"something else altogether");
    }

    /// A newer version of the database may write what this reader takes for a torn tail.
    #[test]
    fn the_database_is_pinned_to_the_version_whose_journals_are_known() {
        let find = |name: &str| {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let at = here.ancestors().map(|above| above.join(name)).find(|path| path.exists());
            fs::read_to_string(at.expect("a workspace")).unwrap()
        };
        let lock = find("Cargo.lock");
        for (name, version) in KNOWN_VERSIONS {
            let locked: Vec<&str> = lock
                .split("[[package]]")
                .filter(|package| package.contains(&format!("name = \"{name}\"\n")))
                .collect();
            let [locked] = locked[..] else { panic!("{name} is there {} times", locked.len()) };
            assert!(
                locked.contains(&format!("version = \"{version}\"")),
                "read how {name} writes, then change both:\n{locked}"
            );
        }
        let (name, version) = KNOWN_VERSIONS[0];
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifests = here.ancestors().map(|above| above.join("Cargo.toml")).filter(|path| path.exists());
        let pin = format!("{name} = {{ version = \"={version}\"");
        assert!(
            manifests.map(|path| fs::read_to_string(path).unwrap()).any(|manifest| manifest.contains(&pin)),
            "{pin}"
        );
    }
}
