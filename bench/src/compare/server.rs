//! The server that is measured: started here on a core of its own, or running already.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to listen, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often that is looked at.
const STEP: Duration = Duration::from_millis(20);
/// How long it may take to answer one attempt to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// A server process, and all that it starts. One that was started here is ended when this is dropped.
pub(super) struct Server {
    pid: u32,
    child: Option<Child>,
}

/// What a server has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// CPU time, in seconds.
    pub(super) cpu_seconds: f64,
    /// Resident memory, in bytes; what processes share counts for each.
    pub(super) resident_bytes: u64,
}

impl Server {
    /// Runs `command` with the shell, on `core` if one is given, and waits until it listens at `address`.
    pub(super) fn start(command: &str, core: Option<usize>, address: SocketAddrV4) -> anyhow::Result<Self> {
        ensure!(
            TcpStream::connect_timeout(&address.into(), CONNECT_PATIENCE).is_err(),
            "something listens at {address} already: end it, leave out --server, or write {{port}} for the port"
        );
        let child = std::thread::scope(|scope| {
            // The child inherits the core of the thread that starts it.
            let started = scope.spawn(|| -> anyhow::Result<Child> {
                if let Some(core) = core {
                    campanile_engine::thread::pin(core).with_context(|| {
                        format!("cannot run on core {core}: choose another --server-core")
                    })?;
                }
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("exec {command}")]).stdin(Stdio::null()).stdout(Stdio::null());
                Ok(shell.spawn()?)
            });
            started.join().expect("starting a process does not panic")
        });
        let child = child.with_context(|| format!("cannot start --server {command}"))?;
        let mut server = Self { pid: child.id(), child: Some(child) };
        server.wait_until_it_listens(command, address)?;
        Ok(server)
    }

    /// One that runs already.
    pub(super) fn running(pid: u32) -> anyhow::Result<Self> {
        let server = Self { pid, child: None };
        server.usage().with_context(|| format!("--server-pid {pid}: there is no such process"))?;
        Ok(server)
    }

    /// CPU and memory of the process and all that it has started.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        let mut processes = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // One that has ended meanwhile has no figures.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            processes.insert(pid, Process::parse(&stat).context("/proc/…/stat is not understood")?);
        }
        ensure!(processes.contains_key(&self.pid), "the server has ended");
        let mut sum = Usage::default();
        for (pid, process) in &processes {
            if descends(*pid, self.pid, &processes) {
                sum.cpu_seconds += process.ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
                sum.resident_bytes += process.resident_pages * rustix::param::page_size() as u64;
            }
        }
        Ok(sum)
    }

    fn wait_until_it_listens(&mut self, command: &str, address: SocketAddrV4) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address.into(), CONNECT_PATIENCE).is_err() {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                anyhow::bail!(
                    "the server ended with {}, before it listened at {address}: {command}",
                    status?
                );
            }
            ensure!(
                Instant::now() < deadline,
                "the server does not listen at {address} after {} s: {command}",
                PATIENCE.as_secs()
            );
            std::thread::sleep(STEP);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let deadline = Instant::now() + PATIENCE;
        // Asked first, since whoever has started others must end those.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(STEP);
        }
    }
}

/// A process, as `/proc/…/stat` has it (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// User and system time.
    ticks: u64,
    resident_pages: u64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may contain anything; the third field follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(field(4)?).ok()?,
            ticks: field(14)? + field(15)?,
            resident_pages: field(24)?,
        })
    }
}

/// Whether `pid` is `ancestor` or was started by it or one of its own.
fn descends(pid: u32, ancestor: u32, processes: &HashMap<u32, Process>) -> bool {
    let mut next = Some(pid);
    // A process number that is reused while they are read could make a circle.
    for _ in 0..processes.len() {
        match next {
            Some(pid) if pid == ancestor => return true,
            Some(pid) => next = processes.get(&pid).map(|process| process.parent),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 500 60 0 0 20 0 1 0 99 1000000 321 18446744073709551615";
        assert_eq!(Process::parse(stat), Some(Process { parent: 7, ticks: 560, resident_pages: 321 }));
        assert_eq!(Process::parse("42 (a) S 7"), None);
    }

    #[test]
    fn children_of_children_belong_to_a_server() {
        let process = |parent| Process { parent, ticks: 0, resident_pages: 0 };
        let processes = HashMap::from([
            (1, process(0)),
            (5, process(1)),
            (6, process(5)),
            (7, process(6)),
            (8, process(1)),
        ]);
        let of_five: Vec<bool> =
            [1, 5, 6, 7, 8, 99].iter().map(|&pid| descends(pid, 5, &processes)).collect();
        assert_eq!(of_five, [false, true, true, true, false, false]);
        let circle = HashMap::from([(1, process(2)), (2, process(1))]);
        assert!(!descends(1, 5, &circle));
    }

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_status() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = listener.local_addr().expect("an address").to_string().parse().expect("IPv4");
        let error = |address| Server::start("false", None, address).err().expect("an error").to_string();
        assert!(error(taken).contains("listens at"), "{}", error(taken));
        drop(listener);
        assert!(error(taken).contains("exit status: 1"), "{}", error(taken));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Server::running(std::process::id()).and_then(|server| server.usage()).expect("figures");
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(Server::running(u32::MAX).is_err());
    }
}
