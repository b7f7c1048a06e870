//! The gateway and the load generator as processes, each on its core, and what the kernel says of them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::Setup;
use super::api::Api;

/// How long a process may take to become ready, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that is ended when this is dropped.
pub(super) struct Process {
    child: Child,
    name: &'static str,
}

impl Process {
    /// Starts a program that lies beside this one, on `core`.
    fn start(name: &'static str, core: usize, arguments: &[String]) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name(name);
        ensure!(program.exists(), "{name} is not built: cargo build --release --bins");
        let command = std::thread::scope(|scope| {
            // The child inherits the core of the thread that starts it.
            let started = scope.spawn(|| -> anyhow::Result<Child> {
                campanile_engine::thread::pin(core).with_context(|| format!("cannot run on core {core}"))?;
                Ok(Command::new(program)
                    .args(arguments)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()?)
            });
            started.join().expect("starting a process does not panic")
        });
        Ok(Self { child: command.with_context(|| format!("cannot start {name}"))?, name })
    }

    /// Resident memory, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// CPU time so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may contain anything; utime and stime are the 14th and 15th fields.
        let (_, after) = stat.rsplit_once(')').context("no name in stat")?;
        let mut fields = after.split_whitespace().skip(11);
        let mut ticks = || -> Option<u64> { fields.next()?.parse().ok() };
        let (user, system) = (ticks().context("no utime")?, ticks().context("no stime")?);
        Ok((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Waits for its end, which must be a good one.
    pub(super) fn finish(mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}", self.name);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} did not end in time", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A gateway with secrets of its own.
pub(super) struct Gateway {
    pub(super) process: Process,
    pub(super) api: Api,
    listen: SocketAddr,
    folder: Folder,
    client_core: usize,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(super) fn start(setup: &Setup, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let (secret, key) = ("benchmark-secret-of-more-than-32-bytes", "benchmark-api-key-0123456789abcdef");
        fs::write(folder.path("jwt"), secret)?;
        fs::write(folder.path("key"), key)?;
        let (listen, api) = (free_address()?, free_address()?);
        let mut all: Vec<String> = vec!["serve".into()];
        let mut option = |name: &str, value: String| all.extend([name.to_owned(), value]);
        option("--listen", listen.to_string());
        option("--api-listen", api.to_string());
        option("--jwt-hs256-file", folder.path("jwt").display().to_string());
        option("--api-key-file", folder.path("key").display().to_string());
        option("--data-dir", folder.path("data").display().to_string());
        option("--driver", setup.driver.clone());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let process = Process::start("campanile", setup.server_core, &all)?;
        let api = Api::new(api, key);
        let deadline = Instant::now() + PATIENCE;
        while !api.is_ready() {
            ensure!(Instant::now() < deadline, "the gateway does not become ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { process, api, listen, folder, client_core: setup.client_core })
    }

    /// Starts a load generator against it; its figures go to [`Gateway::load_report`].
    pub(super) fn start_load(&self, arguments: &[String]) -> anyhow::Result<Process> {
        let mut all: Vec<String> = Vec::new();
        let mut option = |name: &str, value: String| all.extend([name.to_owned(), value]);
        option("--url", format!("ws://{}/v2/connect", self.listen));
        option("--api", format!("http://{}", self.api.address()));
        option("--api-key-file", self.folder.path("key").display().to_string());
        option("--jwt-hs256-file", self.folder.path("jwt").display().to_string());
        option("--json", self.folder.path("load.json").display().to_string());
        option("--core", self.client_core.to_string());
        all.push("--quiet".into());
        all.extend_from_slice(arguments);
        Process::start("campanile-load", self.client_core, &all)
    }

    /// What the load generator found, after its end.
    pub(super) fn load_report(&self) -> anyhow::Result<serde_json::Value> {
        let text = fs::read(self.folder.path("load.json")).context("the load generator wrote no figures")?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Waits until so many sessions are open. Gives the time that it took.
    pub(super) fn wait_for_sessions(&self, sessions: u64, patience: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let open = self.api.counter("campanile_sessions")?;
            if open >= sessions {
                return Ok(start.elapsed());
            }
            if start.elapsed() > patience {
                bail!("only {open} of {sessions} sessions opened within {patience:?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends the gateway.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.process.terminate()?;
        self.process.finish(PATIENCE)
    }
}

/// A folder of our own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("campanile-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.0).join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
