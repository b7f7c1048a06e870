//! A store, messages whose bodies tell what they are, and a child process that is this test binary.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use campanile_mailbox::executor::Mailbox;
use campanile_mailbox::{Address, Append, Envelope, MailboxLimits};
use campanile_storage::{FjallMailbox, MailboxOptions, OpenError, RoomOptions, TableOptions};
use rustix::fs::{SeekFrom, seek};
use tempfile::TempDir;

pub(crate) const NOW_MS: u64 = 1_000_000;
pub(crate) const LATER_MS: u64 = 2_000_000;

pub(crate) const ROOMY: MailboxLimits = MailboxLimits {
    messages_per_device_max: 1_000_000,
    bytes_per_device_max: 1 << 40,
    bytes_total_max: u64::MAX,
};

/// A directory in memory, if there is such a thing: what a process that is killed has written stays there as well, and
/// nobody waits for the disk.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// Opens a store that needs next to no room and sorts its messages into files often.
pub(crate) fn open(directory: &Path) -> Result<FjallMailbox, OpenError> {
    open_with(directory, 64 << 10)
}

/// Opens a store that sorts nothing into files before it has megabytes of it.
pub(crate) fn open_large(directory: &Path) -> Result<FjallMailbox, OpenError> {
    open_with(directory, 16 << 20)
}

fn open_with(directory: &Path, messages_memtable_bytes: u64) -> Result<FjallMailbox, OpenError> {
    let room = RoomOptions { ballast_bytes: 4096, free_low_bytes: 0, free_critical_bytes: 0 };
    let tables = TableOptions { messages_memtable_bytes, ..TableOptions::default() };
    FjallMailbox::open_with(directory, ROOMY, MailboxOptions { room, tables })
}

pub(crate) fn address(device: u32) -> Address {
    Address { user: "user".parse().expect("an id"), device: device.try_into().expect("a device") }
}

/// The body of this message and no other.
pub(crate) fn body(seq: u64, device: u32) -> Bytes {
    let mut rng = fastrand::Rng::with_seed(seq << 8 | u64::from(device));
    let mut body = format!("message {seq} for device {device} ").into_bytes();
    body.extend(std::iter::repeat_with(|| rng.u8(..)).take((seq * 37 % 700) as usize));
    body.into()
}

pub(crate) fn message(seq: u64, devices: impl IntoIterator<Item = u32>) -> Append {
    let envelopes = devices.into_iter().map(|device| Envelope {
        device: device.try_into().expect("a device"),
        body: body(seq, device),
        confirmed: false,
    });
    Append {
        user: "user".parse().expect("an id"),
        seq,
        expires_at_ms: LATER_MS,
        topic: "".into(),
        envelopes: envelopes.collect(),
        dedup: None,
    }
}

/// All that waits for a device, each with the right body, and as much as is counted.
pub(crate) fn waiting(mailbox: &mut impl Mailbox, device: u32) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        let after = seqs.last().copied().unwrap_or(0);
        let page = mailbox.read(&address(device), after, 100, 1 << 20, NOW_MS).expect("a page");
        for message in page.messages {
            assert_eq!(message.body, body(message.seq, device), "message {}", message.seq);
            seqs.push(message.seq);
        }
        if !page.more {
            break seqs;
        }
    }
}

/// Starts a test of this binary that is ignored otherwise, in a process of its own.
pub(crate) fn child(test: &str, directory: &Path, wrapper: &[&str]) -> Child {
    let this = std::env::current_exe().expect("this binary");
    let mut command = match wrapper {
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
        [] => Command::new(this),
    };
    command
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env("CAMPANILE_TEST_DIRECTORY", directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process")
}

/// Where the child is to work; `None` when it was not started by its parent, but with all tests that are ignored
/// otherwise: then there is nothing for it to do.
pub(crate) fn child_directory() -> Option<std::path::PathBuf> {
    std::env::var_os("CAMPANILE_TEST_DIRECTORY").map(Into::into)
}

/// How much of a journal is not zero.
pub(crate) fn written(journal: &Path) -> u64 {
    written_bytes(journal).len() as u64
}

/// A journal without the 64 MiB of nothing at its end, which are not read.
fn written_bytes(journal: &Path) -> Vec<u8> {
    let file = fs::File::open(journal).expect("a journal");
    let mut end = 0;
    while let Ok(data) = seek(&file, SeekFrom::Data(end)) {
        end = seek(&file, SeekFrom::Hole(data)).expect("an end");
    }
    let mut bytes = vec![0; end as usize];
    file.read_exact_at(&mut bytes, 0).expect("what is there");
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

/// Copies a directory as it is at this moment.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir(&to).expect("a directory");
            copy(&entry.path(), &to);
        } else if entry.path().extension().is_some_and(|extension| extension == "jnl") {
            fs::write(&to, written_bytes(&entry.path())).expect("a file");
        } else {
            fs::copy(entry.path(), to).expect("a file");
        }
    }
}
