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
            assert!(matches!(mended(&torn), Err(OpenError::Unknown { .. })), "what is there is of a version");
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
