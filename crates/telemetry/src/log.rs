//! The log of the process, written by a thread of its own.
//!
//! What always holds: whoever logs neither waits nor fails. A reader that has stopped to read, or a disk that hangs,
//! holds up the writer's thread and nobody else; what the queue has no room for is lost, counted, and told in the next
//! line that gets through. No lock is taken on the way into the queue, since shards log, too.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

/// Lines that may wait to be written.
pub const QUEUED_LINES_MAX: usize = 4_096;
/// Bytes of lines that may wait to be written.
pub const QUEUED_BYTES_MAX: usize = 1024 * 1024;
/// How long a process that ends waits until what it has logged is written.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How often whoever waits for the writer looks how far it is.
const WAIT_STEP: Duration = Duration::from_millis(1);

static LOG: OnceLock<Log> = OnceLock::new();

/// Begins the log of this process. A second call changes nothing.
///
/// # Errors
/// When there is no thread for it.
pub fn begin(output: impl Write + Send + 'static) -> io::Result<&'static Log> {
    match LOG.get() {
        Some(log) => Ok(log),
        None => Log::start(output).map(|log| LOG.get_or_init(|| log)),
    }
}

/// The log of this process, if it has begun.
pub fn current() -> Option<&'static Log> {
    LOG.get()
}

/// Waits until what this process has logged is written, or [`FLUSH_TIMEOUT`] has passed: for who is about to end it.
pub fn flush() {
    if let Some(log) = current() {
        log.flush(FLUSH_TIMEOUT);
    }
}

/// Lines of this process's log that are lost.
pub fn lines_lost() -> u64 {
    current().map_or(0, Log::lost)
}

/// A log that takes lines and has them written by its thread. Each write to it is one line.
#[derive(Debug)]
pub struct Log {
    queue: Arc<Queue>,
    writer: Thread,
}

impl Log {
    /// Starts the thread that writes to `output`, which may block.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Log> {
        let queue = Arc::new(Queue::default());
        let writer = {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("log".into()).spawn(move || queue.write_to(output))?
        };
        Ok(Log { queue, writer: writer.thread().clone() })
    }

    /// Logs a line, which ends with a line feed; it is lost if there is no room.
    pub fn line(&self, text: &[u8]) {
        if self.queue.push(text) {
            self.writer.unpark();
        }
    }

    /// Waits until all that was logged before is written, `timeout` at the most. Whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        let queued = self.queue.queued.load(Ordering::Acquire);
        wait(timeout, || self.queue.handled.load(Ordering::Acquire) >= queued)
    }

    /// Logs the last line of a process that is about to end itself, and waits until it is written, `timeout` at the
    /// most: a queue that is full must not cost it.
    pub fn last_line(&self, text: &[u8], timeout: Duration) {
        let begun = Instant::now();
        wait(timeout, || self.queue.has_room_for(text.len()));
        self.line(text);
        self.flush(timeout.saturating_sub(begun.elapsed()));
    }

    /// Lines that are lost: there was no room for them, or they could not be written.
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until something is over, `timeout` at the most. Whether it is.
fn wait(timeout: Duration, is_over: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !is_over() {
        if begun.elapsed() >= timeout {
            return false;
        }
        thread::sleep(WAIT_STEP);
    }
    true
}

#[derive(Debug)]
struct Line {
    text: Box<[u8]>,
    /// How many lines before it are lost and were not told of.
    lost_before: u64,
}

impl Line {
    /// What is written.
    fn bytes(&self) -> Cow<'_, [u8]> {
        if self.lost_before == 0 {
            return Cow::Borrowed(&self.text);
        }
        let text = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        Cow::Owned([text, format!(" log_lines_lost={}\n", self.lost_before).as_bytes()].concat())
    }
}

#[derive(Debug)]
struct Queue {
    lines: ArrayQueue<Line>,
    bytes: AtomicUsize,
    /// Lines that were put into the queue, and those of them that have been written or lost since.
    queued: AtomicU64,
    handled: AtomicU64,
    lost: AtomicU64,
    /// Those of the lost ones that no line tells of.
    untold: AtomicU64,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            lines: ArrayQueue::new(QUEUED_LINES_MAX),
            bytes: AtomicUsize::new(0),
            queued: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }
}

impl Queue {
    /// Whether a line of so many bytes would be taken now.
    fn has_room_for(&self, bytes: usize) -> bool {
        !self.lines.is_full() && self.bytes.load(Ordering::Relaxed) + bytes <= QUEUED_BYTES_MAX
    }

    /// Puts a line into the queue; `false` if there is no room.
    fn push(&self, text: &[u8]) -> bool {
        if self.bytes.fetch_add(text.len(), Ordering::Relaxed) + text.len() > QUEUED_BYTES_MAX {
            self.bytes.fetch_sub(text.len(), Ordering::Relaxed);
            self.lose(0);
            return false;
        }
        let line = Line { text: text.into(), lost_before: self.untold.swap(0, Ordering::Relaxed) };
        // Before it is there, so that it is never handled before it counts.
        self.queued.fetch_add(1, Ordering::Release);
        match self.lines.push(line) {
            Ok(()) => true,
            Err(line) => {
                self.queued.fetch_sub(1, Ordering::Release);
                self.bytes.fetch_sub(text.len(), Ordering::Relaxed);
                self.lose(line.lost_before);
                false
            }
        }
    }

    /// A line is lost, and with it that it would have told of `lost_before` others.
    fn lose(&self, lost_before: u64) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.untold.fetch_add(lost_before + 1, Ordering::Relaxed);
    }

    /// Writes what comes, as long as the process lives.
    fn write_to(&self, mut output: impl Write) {
        loop {
            let Some(line) = self.lines.pop() else {
                thread::park();
                continue;
            };
            if output.write_all(&line.bytes()).and_then(|()| output.flush()).is_err() {
                self.lose(line.lost_before);
            }
            self.bytes.fetch_sub(line.text.len(), Ordering::Relaxed);
            self.handled.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

    use super::*;

    /// Only there to turn a hang into a failure.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// An output that takes a line when it is told to, with success or without.
    struct Gate {
        takes: Receiver<bool>,
        waits: SyncSender<()>,
        taken: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.waits.send(());
            if self.takes.recv() != Ok(true) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.taken.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Reader {
        log: Log,
        take: Sender<bool>,
        waits: Receiver<()>,
        taken: Receiver<String>,
    }

    impl Reader {
        fn new() -> Reader {
            let ((take, takes), (taken, lines), (waiting, waits)) = (channel(), channel(), sync_channel(0));
            let log = Log::start(Gate { takes, waits: waiting, taken }).unwrap();
            Reader { log, take, waits, taken: lines }
        }

        /// Waits until the writer has begun with a line, which it cannot end.
        fn wait(&self) {
            self.waits.recv_timeout(PATIENCE).unwrap();
        }

        /// Lets the line go that the writer has begun with.
        fn read(&self) -> String {
            self.take.send(true).unwrap();
            self.taken.recv_timeout(PATIENCE).unwrap()
        }
    }

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let reader = Reader::new();
        for line in ["one\n", "two\n"] {
            (&reader.log).write_all(line.as_bytes()).unwrap();
        }
        assert!(!reader.log.flush(Duration::ZERO));
        for line in ["one\n", "two\n"] {
            reader.wait();
            assert_eq!(reader.read(), line);
        }
        assert!(reader.log.flush(PATIENCE));
        assert_eq!(reader.log.lost(), 0);
    }

    #[test]
    fn lines_for_which_there_is_no_room_are_lost_and_told_of_in_the_next_that_gets_through() {
        let reader = Reader::new();
        reader.log.line(b"begun\n");
        reader.wait();
        for number in 0..QUEUED_LINES_MAX + 7 {
            reader.log.line(format!("{number}\n").as_bytes());
        }
        assert_eq!(reader.log.lost(), 7);
        assert_eq!(reader.read(), "begun\n");
        reader.wait();
        reader.log.line(b"after\n");
        for number in 0..QUEUED_LINES_MAX {
            assert_eq!(reader.read(), format!("{number}\n"));
            reader.wait();
        }
        assert_eq!(reader.read(), "after log_lines_lost=7\n");
        reader.log.line(b"later\n");
        reader.wait();
        assert_eq!(reader.read(), "later\n");
    }

    #[test]
    fn the_last_line_of_a_process_waits_for_room() {
        let reader = Reader::new();
        reader.log.line(b"begun\n");
        reader.wait();
        for number in 0..QUEUED_LINES_MAX {
            reader.log.line(format!("{number}\n").as_bytes());
        }
        let begins = Barrier::new(2);
        thread::scope(|scope| {
            let (log, begins) = (&reader.log, &begins);
            scope.spawn(move || {
                begins.wait();
                log.last_line(b"last\n", PATIENCE);
            });
            begins.wait();
            reader.read();
            for number in 0..QUEUED_LINES_MAX {
                reader.wait();
                assert_eq!(reader.read(), format!("{number}\n"));
            }
            reader.wait();
            assert_eq!(reader.read(), "last\n");
        });
        assert_eq!(reader.log.lost(), 0);
    }

    #[test]
    fn long_lines_have_less_room_than_many() {
        let reader = Reader::new();
        let long = vec![b'x'; QUEUED_BYTES_MAX / 2];
        for _ in 0..3 {
            reader.log.line(&long);
        }
        assert_eq!(reader.log.lost(), 1);
        reader.wait();
        reader.read();
        reader.wait();
        reader.log.line(b"short\n");
        reader.read();
        reader.wait();
        assert_eq!(reader.read(), "short log_lines_lost=1\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_told_of_when_it_works_again() {
        let reader = Reader::new();
        for line in ["one\n", "two\n"] {
            reader.log.line(line.as_bytes());
            reader.wait();
            reader.take.send(false).unwrap();
            assert!(reader.log.flush(PATIENCE));
        }
        assert_eq!(reader.log.lost(), 2);
        reader.log.line(b"three\n");
        reader.wait();
        assert_eq!(reader.read(), "three log_lines_lost=2\n");
    }
}
