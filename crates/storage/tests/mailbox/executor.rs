//! The store, with a mailbox that fails on demand: what was promised is kept or taken back.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_engine::Waker;
use campanile_mailbox::operations::{Completion, Open, Operation, Port, StoreFailed, Tag};
use campanile_mailbox::store::{Store, StoreCounters};
use campanile_mailbox::{
    Address, Append, Count, DedupKey, Expired, Mailbox, MailboxError, Page, PlacementKey, Remembered,
    StorageStatus, Stored, Trim, UserRecord,
};
use campanile_protocol::ids::UserId;
use campanile_storage::FjallMailbox;
use campanile_storage::thread::StoreThread;
use tempfile::TempDir;

use crate::support::{NOW_MS, address, body, child, child_directory, directory, message, open, waiting};

/// Fails when it is told to, and forgets nothing by itself.
struct Fragile {
    mailbox: FjallMailbox,
    appends_fail: bool,
    syncs_fail: bool,
    reopens_fail: bool,
    appends_hang: bool,
}

impl Fragile {
    fn new(mailbox: FjallMailbox) -> Fragile {
        let (appends_fail, syncs_fail, reopens_fail, appends_hang) = Default::default();
        Fragile { mailbox, appends_fail, syncs_fail, reopens_fail, appends_hang }
    }
}

fn broken<T>() -> Result<T, MailboxError> {
    Err(MailboxError::Storage("it was told to fail".into()))
}

impl Mailbox for Fragile {
    fn epoch(&self) -> u64 {
        self.mailbox.epoch()
    }

    fn placement_key(&self) -> PlacementKey {
        self.mailbox.placement_key()
    }

    fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        self.mailbox.reserve(count)
    }

    fn append(&mut self, appends: &[Append], now_ms: u64) -> Result<Vec<Vec<Stored>>, MailboxError> {
        if self.appends_hang {
            loop {
                std::thread::park();
            }
        }
        if self.appends_fail { broken() } else { self.mailbox.append(appends, now_ms) }
    }

    fn recall(
        &mut self,
        user: &UserId,
        key: &DedupKey,
        now_ms: u64,
    ) -> Result<Option<Remembered>, MailboxError> {
        self.mailbox.recall(user, key, now_ms)
    }

    fn trim(&mut self, trims: &[Trim]) -> Result<(), MailboxError> {
        self.mailbox.trim(trims)
    }

    fn remove(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<bool, MailboxError> {
        self.mailbox.remove(address, seq, now_ms)
    }

    fn read(
        &mut self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Page, MailboxError> {
        self.mailbox.read(address, after, messages_max, bytes_max, now_ms)
    }

    fn fetch(&mut self, address: &Address, seq: u64, now_ms: u64) -> Result<Option<Bytes>, MailboxError> {
        self.mailbox.fetch(address, seq, now_ms)
    }

    fn count(&mut self, address: &Address) -> Result<Count, MailboxError> {
        self.mailbox.count(address)
    }

    fn user(&mut self, user: &UserId) -> Result<Option<UserRecord>, MailboxError> {
        self.mailbox.user(user)
    }

    fn put_user(&mut self, user: &UserId, record: &UserRecord) -> Result<(), MailboxError> {
        self.mailbox.put_user(user, record)
    }

    fn expire(&mut self, now_ms: u64, looks_max: usize) -> Result<Expired, MailboxError> {
        self.mailbox.expire(now_ms, looks_max)
    }

    fn sync(&mut self) -> Result<(), MailboxError> {
        if self.syncs_fail { broken() } else { self.mailbox.sync() }
    }

    fn reopen(&mut self) -> Result<(), MailboxError> {
        if self.reopens_fail { broken() } else { self.mailbox.reopen() }
    }

    fn status(&mut self) -> StorageStatus {
        self.mailbox.status()
    }
}

/// A store with one shard, which is the test.
struct Bench {
    store: Store<Fragile>,
    port: Arc<Port>,
    counters: Arc<StoreCounters>,
    now_ms: u64,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let directory = directory();
        let mailbox = open(directory.path()).expect("it opens");
        let fragile = Fragile::new(mailbox);
        let (port, counters) = (port(), Arc::new(StoreCounters::default()));
        let store = Store::new(fragile, vec![Arc::clone(&port)], Arc::clone(&counters));
        Bench { store, port, counters, now_ms: NOW_MS, _directory: directory }
    }

    fn execute(&mut self, operations: Vec<Operation>) -> Vec<Completion> {
        self.port.ask(operations);
        self.store.execute(self.now_ms);
        answers(&self.port)
    }

    fn commit(&mut self) -> Vec<Completion> {
        self.store.commit(self.now_ms);
        answers(&self.port)
    }

    fn mailbox(&mut self) -> &mut Fragile {
        self.store.mailbox_mut()
    }
}

fn port() -> Arc<Port> {
    let waker = || Arc::new(Waker::new().expect("a waker"));
    Port::new(waker(), waker())
}

fn answers(port: &Port) -> Vec<Completion> {
    std::iter::from_fn(|| port.take_completions()).flatten().collect()
}

fn append(tag: u32, seq: u64) -> Operation {
    Operation::Append(Tag(tag), message(seq, [1, 2]))
}

fn trim(device: u32, up_to: u64) -> Operation {
    Operation::Trim(vec![Trim { address: address(device), up_to }])
}

fn read(tag: u32) -> Operation {
    Operation::Read { tag: Tag(tag), address: address(1), after: 0, messages_max: 10, bytes_max: 1 << 20 }
}

#[test]
fn an_append_is_read_at_once_and_confirmed_after_the_sync() {
    let mut bench = Bench::new();
    let answers = bench.execute(vec![append(1, 5), read(2)]);
    let [Completion::Read(Tag(2), Ok(page))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(page.messages[0].body, body(5, 1));
    let answers = bench.commit();
    let [Completion::Appended(Tag(1), Ok(stored))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(stored[..], [Stored::Yes, Stored::Yes]);
    assert!(bench.commit().is_empty() && bench.counters.commits.get() == 1);
}

#[test]
fn a_failed_sync_takes_back_what_was_promised_and_work_goes_on() {
    let mut bench = Bench::new();
    let user = address(1).user;
    let register = Operation::Register(
        Tag(3),
        campanile_mailbox::operations::Registration { user, device: None, devices_max: 5, now_ms: NOW_MS },
    );
    bench.mailbox().syncs_fail = true;
    assert!(bench.execute(vec![append(1, 5), Operation::Remove(Tag(2), address(1), 4), register]).is_empty());
    let answers = bench.commit();
    let [
        Completion::Appended(Tag(1), Err(StoreFailed)),
        Completion::Removed(Tag(2), Err(StoreFailed)),
        Completion::Registered(Tag(3), Err(StoreFailed)),
        Completion::Reopened,
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert!(bench.counters.failed.get() == 0);
    bench.mailbox().syncs_fail = false;
    assert!(bench.execute(vec![append(4, 6)]).is_empty());
    assert!(matches!(&bench.commit()[..], [Completion::Appended(Tag(4), Ok(_))]));
    assert!(waiting(bench.mailbox(), 1).contains(&6));
}

#[test]
fn a_failed_append_is_answered_in_its_place_before_the_news_and_the_next_is_refused() {
    let mut bench = Bench::new();
    bench.mailbox().appends_fail = true;
    bench.mailbox().reopens_fail = true;
    let answers = bench.execute(vec![read(1), append(2, 5), read(3), append(4, 6), trim(1, 3)]);
    let [
        Completion::Read(Tag(1), Ok(_)),
        Completion::Appended(Tag(2), Err(StoreFailed)),
        Completion::Read(Tag(3), Err(StoreFailed)),
        Completion::Appended(Tag(4), Err(StoreFailed)),
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert!(bench.counters.failed.get() == 1);
    // It is tried again after a while only.
    bench.mailbox().appends_fail = false;
    bench.mailbox().reopens_fail = false;
    assert!(matches!(&bench.execute(vec![read(5)])[..], [Completion::Read(Tag(5), Err(StoreFailed))]));
    bench.now_ms = bench.store.next_due_ms();
    let answers = bench.execute(vec![read(6)]);
    assert!(matches!(&answers[..], [Completion::Reopened, Completion::Read(Tag(6), Ok(_))]), "{answers:?}");
    assert_eq!(bench.counters.failures.get(), 1);
}

#[test]
fn an_acknowledgement_that_is_there_before_the_commit_spares_the_write_and_not_the_answer() {
    let mut bench = Bench::new();
    let answers = bench.execute(vec![append(1, 5), trim(1, 5), append(2, 6)]);
    assert!(answers.is_empty(), "{answers:?}");
    let answers = bench.commit();
    let [Completion::Appended(Tag(1), Ok(first)), Completion::Appended(Tag(2), Ok(second))] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!((&first[..], &second[..]), (&[Stored::Yes; 2][..], &[Stored::Yes; 2][..]));
    assert_eq!(bench.counters.envelopes_spared.get(), 1);
    assert_eq!((waiting(bench.mailbox(), 1), waiting(bench.mailbox(), 2)), (vec![6], vec![5, 6]));
}

#[test]
fn changes_that_nobody_waits_for_are_synced_in_time() {
    let mut bench = Bench::new();
    bench.execute(vec![append(1, 5)]);
    bench.commit();
    bench.execute(vec![trim(1, 5)]);
    assert!(bench.commit().is_empty() && bench.counters.commits.get() == 1);
    bench.now_ms += 1_000;
    bench.commit();
    assert_eq!(bench.counters.commits.get(), 2);
    bench.mailbox().reopen().expect("it opens");
    assert_eq!(bench.mailbox().count(&address(1)).expect("a count").acknowledged, 5);
}

#[test]
fn the_thread_serves_its_shards_and_finishes_their_work_before_it_ends() {
    let directory = directory();
    let mut mailbox = open(directory.path()).expect("it opens");
    assert_eq!(mailbox.reserve(10).expect("numbers"), 1..11);
    let (shard, waker) = (Waker::new().expect("a waker"), Arc::new(Waker::new().expect("a waker")));
    let port = Port::new(Arc::new(shard), Arc::clone(&waker));
    let thread =
        StoreThread::start(mailbox, vec![Arc::clone(&port)], waker, Arc::default()).expect("a thread");
    let open_session =
        Open { address: address(1), acknowledged: 0, register: true, devices_max: 5, now_ms: NOW_MS };
    port.ask(vec![Operation::Open(Tag(1), Box::new(open_session)), Operation::Reserve(5)]);
    let patience = Instant::now() + Duration::from_secs(10);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        assert!(Instant::now() < patience && !thread.has_ended(), "{heard:?}");
        heard.extend(answers(&port));
        std::thread::sleep(Duration::from_millis(1));
    }
    let [Completion::Opened(Tag(1), Ok(opened)), Completion::Reserved(Ok(range))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert!(opened.admitted.is_ok() && opened.user.devices.len() == 1 && *range == (11..16));
    port.ask(
        (0..100)
            .map(|tag| {
                // The store takes the time from the clock.
                let mut message = message(20 + u64::from(tag), [1]);
                message.expires_at_ms = u64::MAX;
                Operation::Append(Tag(tag), message)
            })
            .collect(),
    );
    thread.stop().expect("it ends in order");
    let appended = answers(&port);
    assert_eq!(appended.len(), 100);
    assert!(appended.iter().all(|answer| matches!(answer, Completion::Appended(_, Ok(_)))), "{appended:?}");
    let mut mailbox = open(directory.path()).expect("it is closed");
    assert_eq!(waiting(&mut mailbox, 1).len(), 100);
}

#[test]
#[ignore = "the process that ends itself"]
fn hanging() {
    let Some(directory) = child_directory() else { return };
    let mut mailbox = Fragile::new(open(&directory).expect("it opens"));
    mailbox.appends_hang = true;
    let waker = Arc::new(Waker::new().expect("a waker"));
    let port = Port::new(Arc::new(Waker::new().expect("a waker")), Arc::clone(&waker));
    let ports = vec![Arc::clone(&port)];
    let patience = Duration::from_secs(2);
    let thread = StoreThread::start_with_patience(mailbox, ports, waker, Arc::default(), patience);
    let thread = thread.expect("a thread");
    // While nothing is asked for there is no need to hurry.
    std::thread::sleep(2 * patience);
    println!("\n:asking");
    port.ask(vec![append(1, 5)]);
    // It would wait for ever.
    let _ = thread.stop();
}

#[test]
fn a_store_that_hangs_takes_its_process_with_it() {
    use std::os::unix::process::ExitStatusExt;
    let directory = directory();
    let child = child("executor::hanging", directory.path(), &[]);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(":asking"), "it was not patient: {said}");
    // SIGABRT.
    assert_eq!(output.status.signal(), Some(6), "{said}");
}
