//! What a panic costs: in a task of the API the request that it answers, anywhere else the process.
//!
//! A shard or a store that has panicked knows nothing of its users that can be trusted, and whoever waits for its
//! answers would wait for ever: a process that is started again recovers from what is on the disk. A request shares
//! nothing with another but counters.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::process;
use std::thread;

use campanile_telemetry::log;

// Without unwinding the first panic anywhere would end every connection.
#[cfg(panic = "abort")]
compile_error!(
    "the gateway needs `panic = \"unwind\"`: a panic in a task of the API must cost that request only"
);

thread_local! {
    /// Whether what panics on this thread is caught.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Says of this thread that what panics on it is caught: the threads of the API.
pub fn are_caught_here() {
    CAUGHT.set(true);
}

/// From now on a panic of any thread of which [`are_caught_here`] was not said ends the process at once, once it has
/// been reported: also one of a library's threads. For the program to call, since the hook is the whole process's.
pub fn end_the_process() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let is_caught = CAUGHT.get();
        match log::current() {
            // What the standard library does would wait for whoever reads the log.
            Some(log) if is_caught => log.line(words_of(panic).as_bytes()),
            Some(log) => log.last_line(words_of(panic).as_bytes(), log::FLUSH_TIMEOUT),
            None => report(panic),
        }
        if !is_caught {
            process::abort();
        }
    }));
}

/// A panic in the words of the standard library, to be logged whatever the log's filter says.
fn words_of(panic: &panic::PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let mut text = format!("thread '{}' {panic}\n", thread.name().unwrap_or("without a name"));
    // Captured only if the environment says so.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("stack backtrace:\n{backtrace}\n");
    }
    text
}

/// Ends the process when the thread that holds it panics, for what must not go on without that thread.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}

/// What a future comes to, or the words of its panic.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match catching(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(words) => std::task::Poll::Ready(Err(words)),
    })
    .await
}

/// What a closure comes to, or the words of its panic. What it was about to change is not to be used any more.
pub(crate) fn catching<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words").to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{self, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitStatus, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// Set in the process that a test starts, to what it is to do there.
    const PART: &str = "CAMPANILE_TEST_PANICS";

    /// Only there to turn a hang into a failure.
    const PATIENCE: Duration = Duration::from_secs(60);

    const SIGABRT: i32 = 6;

    /// Plays a part of `the_parts` in a process of its own: how that ends.
    fn played(part: &str, stderr: impl Into<Stdio>) -> ExitStatus {
        let mut program = Command::new(std::env::current_exe().unwrap());
        // Uncaught, since what is caught of the output is not written to standard error.
        program.args(["--exact", "panics::tests::the_parts", "--include-ignored", "--nocapture"]);
        let mut child = program.env(PART, part).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    #[ignore = "played by the others, in a process of its own"]
    fn the_parts() {
        let panicking = |prepare: fn()| {
            let thread = thread::spawn(move || {
                prepare();
                panic!("a part of a test");
            });
            assert!(thread.join().is_err());
        };
        match std::env::var(PART).as_deref() {
            Ok("caught") => {
                end_the_process();
                panicking(are_caught_here);
            }
            Ok("elsewhere") => {
                end_the_process();
                panicking(|| {});
            }
            Ok("logged") => {
                log::begin(File::from(io::stderr().as_fd().try_clone_to_owned().unwrap())).unwrap();
                end_the_process();
                panicking(|| {});
            }
            Ok("guarded") => {
                let thread = thread::spawn(|| {
                    let _abort = AbortOnPanic;
                    panic!("a part of a test");
                });
                let _ = thread.join();
            }
            // Somebody runs all tests there are.
            _ => {}
        }
    }

    #[test]
    fn a_panic_ends_the_process_where_nobody_catches_it() {
        assert!(played("caught", Stdio::null()).success());
        assert_eq!(played("elsewhere", Stdio::null()).signal(), Some(SIGABRT));
        assert_eq!(played("guarded", Stdio::null()).signal(), Some(SIGABRT));
    }

    #[test]
    fn the_last_words_of_the_process_are_in_its_log() {
        let (log, stderr) = io::pipe().unwrap();
        assert_eq!(played("logged", stderr).signal(), Some(SIGABRT));
        let log = io::read_to_string(log).unwrap();
        assert!(log.contains("panicked at ") && log.contains("a part of a test"), "{log}");
    }

    #[test]
    fn a_log_that_nobody_reads_does_not_keep_a_panic_from_ending_the_process() {
        let (_reader, mut stderr) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&stderr, true).unwrap();
        while stderr.write(&[b'.'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&stderr, false).unwrap();
        assert_eq!(played("logged", stderr).signal(), Some(SIGABRT));
    }

    #[tokio::test]
    async fn the_words_of_a_panic_are_told() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        assert_eq!(caught(async { panic!("plain") }).await, Err::<(), _>("plain".into()));
        assert_eq!(caught(async { panic!("number {}", 7) }).await, Err::<(), _>("number 7".into()));
        let odd = async { panic::panic_any(7) };
        assert_eq!(caught(odd).await, Err::<(), _>("no words".into()));
    }
}
