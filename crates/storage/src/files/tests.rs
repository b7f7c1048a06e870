use super::*;

/// A directory where numbers were given out twice, and its numbers file.
fn reserved() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut directory = Directory::open(dir.path()).unwrap();
    assert_eq!(directory.reserve(NUMBERS_RESERVED_MAX).unwrap(), 1..NUMBERS_RESERVED_MAX + 1);
    assert_eq!(directory.reserve(5).unwrap().end, NUMBERS_RESERVED_MAX + 6);
    assert!(directory.reserve(NUMBERS_RESERVED_MAX + 1).is_err());
    assert!(matches!(Directory::open(dir.path()), Err(OpenError::Locked(_))));
    fs::create_dir(dir.path().join("store")).unwrap();
    let numbers = dir.path().join("numbers");
    (dir, numbers)
}

#[test]
fn numbers_are_given_out_once_whatever_bit_of_a_slot_flips() {
    let (dir, numbers) = reserved();
    let good = fs::read(&numbers).unwrap();
    for index in [0, SLOT_BYTES as usize] {
        for bit in 0..24 * 8 {
            let mut damaged = good.clone();
            damaged[index + bit / 8] ^= 1 << (bit % 8);
            fs::write(&numbers, damaged).unwrap();
            let mut directory = Directory::open(dir.path()).unwrap();
            let next = directory.reserve(1).unwrap().start;
            assert!(next >= NUMBERS_RESERVED_MAX + 6, "{next} was given out before: bit {bit} of {index}");
            drop(directory);
            // What it leaps to once is what it goes on from.
            assert_eq!(Directory::open(dir.path()).unwrap().reserve(1).unwrap().start, next + 1);
        }
    }
    fs::write(&numbers, &good[..20]).unwrap();
    let error = Directory::open(dir.path()).map(drop).unwrap_err();
    assert!(error.to_string().contains("start with an empty one"), "{error}");
}

#[test]
fn a_write_that_a_power_cut_has_torn_or_lost_does_not_keep_the_store_from_starting() {
    let (dir, numbers) = reserved();
    let mut torn = fs::read(&numbers).unwrap();
    // A third range was asked for and never given out.
    torn[..13].fill(7);
    fs::write(&numbers, &torn).unwrap();
    let mut directory = Directory::open(dir.path()).unwrap();
    assert!(directory.reserve(1).unwrap().start >= NUMBERS_RESERVED_MAX + 6);
    drop(directory);
    // Two writes to one slot were lost, those in between to the other were not.
    let slots = [slot(12, 900), slot(9, 700)].concat();
    fs::write(&numbers, slots).unwrap();
    assert!(Directory::open(dir.path()).unwrap().reserve(1).unwrap().start >= 900 + NUMBERS_RESERVED_MAX);
    let slots = [slot(12, 900), slot(12, 1_700)].concat();
    fs::write(&numbers, slots).unwrap();
    assert!(Directory::open(dir.path()).unwrap().reserve(1).unwrap().start >= 900 + NUMBERS_RESERVED_MAX);
}

#[test]
fn a_slot_that_is_whole_is_no_reason_to_leap() {
    let (dir, _) = reserved();
    let mut next = NUMBERS_RESERVED_MAX + 6;
    for count in [1, 0, 7, 2, 65_536] {
        let mut directory = Directory::open(dir.path()).unwrap();
        assert_eq!(directory.reserve(count).unwrap(), next..next + count);
        directory.reload().unwrap();
        next += count;
    }
}

#[test]
fn a_store_that_has_vanished_is_not_made_anew() {
    let (dir, _) = reserved();
    fs::remove_dir(dir.path().join("store")).unwrap();
    assert!(matches!(Directory::open(dir.path()), Err(OpenError::Damaged(_))));
}

#[test]
fn the_placement_key_stays_and_is_not_replaced_when_it_is_damaged() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = Directory::open(dir.path()).unwrap().placement_key();
    assert_eq!(Directory::open(dir.path()).unwrap().placement_key(), key);
    assert_ne!(Directory::open(other.path()).unwrap().placement_key(), key);
    let path = dir.path().join("placement");
    let text = fs::read_to_string(&path).unwrap();
    for damaged in ["", &text[..30], &text.replace("key ", "key 0"), &text.replace('\n', " ")] {
        fs::write(&path, damaged).unwrap();
        let error = Directory::open(dir.path()).map(drop).unwrap_err();
        assert!(error.to_string().contains("put it back"), "{error}");
    }
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
