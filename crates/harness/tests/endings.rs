//! Whoever starts something and is ended early leaves nothing behind: no process, no file.
#![allow(clippy::print_stdout, reason = "one of the tests ends when it cannot print")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use campanile_harness::{Folder, Launch, Worker};
use rustix::process::{Pid, Signal, kill_process};

/// Says to this binary, started once more, that it is the one that is ended.
const HOLDER: &str = "CAMPANILE_HARNESS_HOLDER";
/// Only there to turn a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test of its own: holds processes and a folder until it is ended, and talks all the time.
#[test]
fn holder() {
    let Ok(signals) = std::env::var(HOLDER) else { return };
    let folder = Folder::new("endings", None).expect("a folder");
    // One that ends at nothing but SIGKILL, one that ends what it has started, and one that waits for commands.
    let stubborn = Launch::new("sh").args(["-c", "trap '' TERM HUP INT; while :; do sleep 0.1; done"]);
    let stubborn = stubborn.in_folder(folder.path()).start().expect("a process");
    let note = folder.join("asked");
    let parent = format!("trap 'echo > {}; exit' TERM; while :; do sleep 0.1; done", note.display());
    let parent = Launch::new("sh").args(["-c", &parent]).asked_to_end().start().expect("a process");
    let worker = Worker::start("a worker", Launch::new("cat")).expect("a worker");
    println!("held {} {} {}", stubborn.pid(), parent.pid(), folder.path().display());
    let _held = (stubborn, parent, worker);
    loop {
        if signals == "talks" {
            println!("still here");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Held {
    holder: Child,
    stdout: BufReader<ChildStdout>,
    pids: Vec<u32>,
    folder: PathBuf,
}

fn hold(how: &str) -> Held {
    let mut holder = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "holder", "--nocapture", "--test-threads=1"])
        .env(HOLDER, how)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this binary starts");
    let mut stdout = BufReader::new(holder.stdout.take().expect("a pipe"));
    let mut line = String::new();
    let words = loop {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("a line") > 0, "the holder has ended");
        // The test runner's own words may stand before it.
        if let Some((_, words)) = line.split_once("held ") {
            break words.trim().to_owned();
        }
    };
    let words: Vec<&str> = words.split(' ').collect();
    let pids = words[..2].iter().map(|pid| pid.parse().expect("a number")).collect();
    Held { holder, stdout, pids, folder: words[2].into() }
}

/// A process that has ended and waits for its parent counts as gone.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until_gone(pids: &[u32], folder: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while folder.exists() || pids.iter().any(|&pid| is_running(pid)) {
        let left: Vec<_> = pids.iter().filter(|&&pid| is_running(pid)).collect();
        assert!(Instant::now() < deadline, "left: {left:?}, folder: {}", folder.exists());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn whatever_signal_ends_it_nothing_is_left() {
    for signal in [Signal::TERM, Signal::KILL, Signal::INT, Signal::HUP, Signal::ABORT] {
        let mut held = hold("is silent");
        assert!(held.folder.is_dir() && held.pids.iter().all(|&pid| is_running(pid)), "{signal:?}");
        kill_process(Pid::from_child(&held.holder), signal).expect("it runs");
        held.holder.wait().expect("it ends");
        wait_until_gone(&held.pids, &held.folder);
    }
}

#[test]
fn a_closed_pipe_leaves_nothing() {
    let mut held = hold("talks");
    drop(held.stdout);
    held.holder.wait().expect("it ends");
    wait_until_gone(&held.pids, &held.folder);
}

#[test]
fn what_is_dropped_is_gone_at_once() {
    let folder = Folder::new("endings", None).expect("a folder");
    let process = Launch::new("sleep").arg("1000").in_folder(folder.path()).start().expect("a process");
    let (pid, path) = (process.pid(), folder.path().to_owned());
    assert!(is_running(pid));
    drop((process, folder));
    assert!(!is_running(pid) && !path.exists());
}

#[test]
fn one_that_is_asked_to_end_has_the_time_to() {
    let folder = Folder::new("endings", None).expect("a folder");
    let script = format!(
        "trap 'echo done > {}; exit' TERM; while :; do sleep 0.05; done",
        folder.join("note").display()
    );
    let process = Launch::new("sh").args(["-c", &script]).asked_to_end().start().expect("a process");
    // Until it has said what it does on SIGTERM.
    std::thread::sleep(Duration::from_millis(300));
    drop(process);
    assert_eq!(std::fs::read_to_string(folder.join("note")).expect("a note"), "done\n");
}

#[test]
fn a_worker_answers_line_by_line_and_ends_with_its_input() {
    let mut worker = Worker::start("the worker", Launch::new("cat")).expect("a worker");
    for word in ["one", "two"] {
        worker.tell(word).expect("it listens");
        assert_eq!(worker.answer(PATIENCE).expect("an answer"), word);
    }
    worker.finish(PATIENCE).expect("a good end");
    let failed = Worker::start("the worker", Launch::new("false")).expect("it starts");
    assert!(failed.finish(PATIENCE).expect_err("a bad end").to_string().contains("the worker failed"));
}

#[test]
fn what_is_not_there_is_named_and_what_ends_badly_is_an_error() {
    let error = Launch::new("/nowhere/program").start().expect_err("there is none").to_string();
    assert!(error.contains("/nowhere/program"), "{error}");
    let mut process = Launch::new("false").start().expect("it starts");
    let error = process.finish(PATIENCE).expect_err("a bad end").to_string();
    assert!(error.contains("false ended with exit status: 1"), "{error}");
    assert!(process.kill().is_err() && process.terminate().is_err(), "it had ended by itself");
}

#[test]
fn arguments_come_as_they_are() {
    let launch = Launch::new("printf").args(["%s|", "a b", "$HOME", "'\"", ""]).stdout(Stdio::piped());
    let mut process = launch.start().expect("it starts");
    let mut said = String::new();
    process.take_stdout().expect("a pipe").read_to_string(&mut said).expect("text");
    process.finish(PATIENCE).expect("a good end");
    assert_eq!(said, "a b|$HOME|'\"||");
}
