//! A demo that is ended early leaves nothing behind, whatever ends it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use campanile_harness::Folder;
use rustix::process::{Pid, Signal, kill_process};

use crate::node::{PATIENCE, campanile, folder};

/// A demo in a folder for temporary files of its own.
struct Demo {
    child: Child,
    /// `None` when nobody reads it any more.
    output: Option<BufReader<ChildStdout>>,
    temporary: Folder,
}

impl Demo {
    fn start() -> Demo {
        let temporary = folder();
        let mut command = campanile();
        command.args(["demo", "--devices", "200", "--seconds", "60"]).env("TMPDIR", temporary.path());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = child.stdout.take().map(BufReader::new);
        Demo { child, output, temporary }
    }

    /// Reads on until a line begins with this.
    fn read_until(&mut self, beginning: &str) {
        let mut line = String::new();
        while !line.starts_with(beginning) {
            line.clear();
            assert!(self.output.as_mut().unwrap().read_line(&mut line).unwrap() > 0, "the demo has ended");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The processes that were started for it, and itself, with their command lines.
    fn processes(&self) -> Vec<(Pid, String)> {
        let own = |process: &Path| {
            let read = |file: &str| fs::read(process.join(file)).unwrap_or_default();
            let environment = read("environ");
            let temporary = self.temporary.path().as_os_str().as_encoded_bytes();
            let is_own = environment.windows(temporary.len()).any(|part| part == temporary);
            let pid = Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?)?;
            is_own.then(|| (pid, String::from_utf8_lossy(&read("cmdline")).replace('\0', " ")))
        };
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        all.filter_map(|process| own(&process)).collect()
    }

    /// What it has started has gone with it, but for the one that sees to that, and no files are left.
    fn has_put_everything_away(&self) {
        let left: Vec<_> =
            self.processes().into_iter().filter(|(_, line)| !line.contains("keeper")).collect();
        assert_eq!((left, self.files()), (Vec::new(), Vec::new()));
        self.leaves_nothing();
    }

    /// The folders and files that it has made.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.collect()
    }

    /// Waits until neither is there any more.
    fn leaves_nothing(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.processes().is_empty() || !self.files().is_empty() {
            assert!(Instant::now() < deadline, "{:?} {:?}", self.processes(), self.files());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_demo_that_is_asked_to_end_has_put_everything_away_when_it_ends() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        for moment in ["Campanile demo", "Connecting"] {
            let mut demo = Demo::start();
            demo.read_until(moment);
            demo.signal(signal);
            assert_eq!(demo.child.wait().unwrap().code(), Some(code), "{signal:?}");
            demo.has_put_everything_away();
        }
    }
}

#[test]
fn a_demo_whose_reader_has_gone_puts_everything_away() {
    let mut demo = Demo::start();
    demo.read_until("Campanile demo");
    demo.output = None;
    assert!(demo.child.wait().unwrap().success());
    demo.has_put_everything_away();
}

#[test]
fn a_demo_that_is_killed_takes_its_processes_and_its_folder_with_it() {
    for signal in [Signal::KILL, Signal::QUIT, Signal::ALARM] {
        for moment in ["Campanile demo", "Gateway", "Connecting"] {
            let mut demo = Demo::start();
            demo.read_until(moment);
            demo.signal(signal);
            assert_eq!(demo.child.wait().unwrap().signal(), Some(signal.as_raw()), "{moment}");
            demo.leaves_nothing();
        }
    }
}

#[test]
fn a_demo_whose_gateway_is_killed_fails_and_puts_everything_away() {
    let mut demo = Demo::start();
    demo.read_until("Connecting");
    let processes = demo.processes();
    let gateway = processes.iter().find(|(_, line)| line.contains(" serve ")).expect("there is a gateway");
    kill_process(gateway.0, Signal::KILL).unwrap();
    assert_eq!(demo.child.wait().unwrap().code(), Some(1));
    demo.has_put_everything_away();
}
