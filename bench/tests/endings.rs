//! A benchmark that is ended early leaves nothing behind: no server, no load generator, no files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Only there to turn a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the gateway's folder is made.
fn parent(name: &str) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("endings-{name}"));
    // What an earlier run has left is nobody's.
    let _ = fs::remove_dir_all(&parent);
    fs::create_dir_all(&parent).expect("a folder");
    parent
}

/// The command lines of processes, other than `bench` itself, that have to do with a folder.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| {
            line.contains(&folder) && !line.contains("bench gateway") && !line.contains("bench ledger")
        })
        .collect()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("the folder").next().is_none()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn bench(folder: &Path, arguments: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments.split_whitespace())
        .arg("--folder")
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("bench can be started")
}

const FANOUT: &str = "gateway fanout --unpinned --connections 100 --rounds 1000";

#[test]
#[ignore = "needs the gateway's program: cargo build --bins"]
fn whatever_signal_ends_it_nothing_runs_and_nothing_lies_about() {
    for (number, signal) in [Signal::TERM, Signal::KILL, Signal::INT].into_iter().enumerate() {
        let folder = parent(&format!("signal-{number}"));
        let mut bench = bench(&folder, FANOUT);
        // The gateway and the load generator.
        wait_until("two processes run", || processes(&folder).len() >= 2);
        kill_process(Pid::from_child(&bench), signal).expect("it runs");
        assert!(!bench.wait().expect("it ends").success(), "{signal:?}");
        wait_until("nothing is left", || processes(&folder).is_empty() && is_empty(&folder));
    }
}

#[test]
#[ignore = "needs the gateway's program: cargo build --bins"]
fn a_pipe_that_nobody_reads_leaves_nothing() {
    let folder = parent("pipe");
    let mut bench = bench(&folder, "ledger --cycles 2 --devices 20 --rate 200 --repeat 1");
    let mut output = BufReader::new(bench.stdout.take().expect("a pipe"));
    output.read_line(&mut String::new()).expect("a cycle");
    assert!(!processes(&folder).is_empty());
    drop(output);
    // It goes on without a reader, or ends; either way all is put away.
    bench.wait().expect("it ends");
    wait_until("nothing is left", || processes(&folder).is_empty() && is_empty(&folder));
}
