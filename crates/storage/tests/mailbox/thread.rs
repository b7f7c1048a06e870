//! The thread of the store: it serves its shards, ends in order, and ends the process when it hangs.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use campanile_mailbox::operations::{Completion, Open, Operation, Port, Ticket};
use campanile_storage::thread::{StoreThread, StoreWaker};

use crate::fragile::Fragile;
use crate::support::{NOW_MS, address, child, child_directory, directory, message, open, waiting};

fn answers(port: &Port) -> Vec<Completion> {
    std::iter::from_fn(|| port.take_completions()).flatten().collect()
}

#[test]
fn the_thread_serves_its_shards_and_finishes_their_work_before_it_ends() {
    let directory = directory();
    let mut mailbox = open(directory.path()).expect("it opens");
    assert_eq!(mailbox.reserve(10).expect("numbers"), 1..11);
    let waker = Arc::new(StoreWaker::default());
    let port = Port::new(Waker::noop().clone(), Arc::clone(&waker).into());
    let thread =
        StoreThread::start(mailbox, vec![Arc::clone(&port)], waker, Arc::default()).expect("a thread");
    let open_session =
        Open { address: address(1), acknowledged: 0, register: true, devices_max: 5, now_ms: NOW_MS };
    port.ask(vec![
        Operation::Open(Ticket::new(1), Box::new(open_session)),
        Operation::Reserve(Ticket::new(2), 5),
    ]);
    let patience = Instant::now() + Duration::from_secs(10);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        assert!(Instant::now() < patience && !thread.has_ended(), "{heard:?}");
        heard.extend(answers(&port));
        std::thread::sleep(Duration::from_millis(1));
    }
    let [Completion::Opened(_, Ok(opened)), Completion::Reserved(_, Ok(range))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert!(opened.admitted.is_ok() && opened.user.devices.len() == 1 && *range == (11..16));
    port.ask(
        (0..100)
            .map(|tag| {
                // The store takes the time from the clock.
                let mut message = message(20 + u64::from(tag), [1]);
                message.expires_at_ms = u64::MAX;
                Operation::Append(Ticket::new(tag), message)
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
    mailbox.hangs = true;
    let waker = Arc::new(StoreWaker::default());
    let port = Port::new(Waker::noop().clone(), Arc::clone(&waker).into());
    let ports = vec![Arc::clone(&port)];
    let patience = Duration::from_secs(2);
    let thread = StoreThread::start_with_patience(mailbox, ports, waker, Arc::default(), patience);
    let thread = thread.expect("a thread");
    // While nothing is asked for there is no need to hurry.
    std::thread::sleep(2 * patience);
    println!("\n:asking");
    port.ask(vec![Operation::Append(Ticket::new(1), message(5, [1]))]);
    // It would wait for ever.
    let _ = thread.stop();
}

#[test]
fn a_store_that_hangs_takes_its_process_with_it() {
    use std::os::unix::process::ExitStatusExt;
    let directory = directory();
    let child = child("thread::hanging", directory.path(), &[]);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(":asking"), "it was not patient: {said}");
    // SIGABRT.
    assert_eq!(output.status.signal(), Some(6), "{said}");
}
