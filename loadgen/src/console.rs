//! What people are told: lines on standard error, the table on standard output.
//!
//! What always holds: neither a closed, nor a full, nor a stuck standard error ends or stalls a run. Nothing here
//! panics; whoever does not take what is said does without.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the last words may wait for a reader, in seconds.
const LAST_WORDS_SECONDS: i64 = 1;

/// Says a line on standard error, unless its reader is behind: the run goes on, and the next line says more.
pub fn progress(line: &str) {
    say(line, 0);
}

/// Says a line on standard error, and waits for a reader who is behind, but not for long.
pub fn last_words(line: &str) {
    say(line, LAST_WORDS_SECONDS);
}

/// Prints the results on standard output, and waits for whoever reads them.
///
/// # Errors
/// When they cannot be written, as on a full disk. Whoever closes the output early has read enough.
pub fn results(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn say(line: &str, seconds: i64) {
    let mut stderr = io::stderr().lock();
    let patience = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let fd = stderr.as_fd();
    let mut ready = [PollFd::new(&fd, PollFlags::OUT)];
    // A pipe with room for a line takes it without waiting; an error is told by the write.
    if poll(&mut ready, Some(&patience)).is_ok_and(|ready| ready > 0) {
        let _ = stderr.write_all(format!("{line}\n").as_bytes());
    }
}
