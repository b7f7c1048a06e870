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

/// How often a gateway that starts again is asked whether it is ready.
const READY_STEP: Duration = Duration::from_millis(2);

/// What devices' tokens are signed with (HS256).
pub(super) const SECRET: &str = "benchmark-secret-of-more-than-32-bytes";

/// The publishers' key.
pub(super) const KEY: &str = "benchmark-api-key-0123456789abcdef";

/// Gives way to everybody.
pub(super) const NICE_MAX: i32 = 19;

/// A process that is ended when this is dropped.
pub(super) struct Process {
    child: Child,
    name: &'static str,
}

impl Process {
    /// Starts a program that lies beside this one, on `core` if one is given. One that gives way leaves the core to
    /// others whenever they want it.
    fn start(
        name: &'static str,
        core: Option<usize>,
        gives_way: bool,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name(name);
        ensure!(program.exists(), "{name} is not built: cargo build --release --bins");
        let command = std::thread::scope(|scope| {
            // The child inherits the core and the niceness of the thread that starts it.
            let started = scope.spawn(|| -> anyhow::Result<Child> {
                if let Some(core) = core {
                    campanile_engine::thread::pin(core)
                        .with_context(|| format!("cannot run on core {core}"))?;
                }
                if gives_way {
                    rustix::process::nice(NICE_MAX)?;
                }
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

    /// Memory that it shares with nobody, in bytes: what it has written to, without its program's own pages.
    pub(super) fn private_bytes(&self) -> anyhow::Result<u64> {
        let maps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line =
            maps.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).context("no Private_Dirty")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
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
        self.wait(patience)
    }

    fn wait(&mut self, patience: Duration) -> anyhow::Result<()> {
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

    /// Ends it without asking (SIGKILL), and waits until it is gone.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
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
    setup: Setup,
    arguments: Vec<String>,
}

/// How a gateway ends that is to start again.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is asked to (SIGTERM), and may take its time.
    Asked,
    /// SIGKILL.
    Killed,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(super) fn start(setup: &Setup, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(setup, &[], arguments)
    }

    /// The same with lines of a configuration file, like `limits.devices_per_user_max = 3`.
    pub(super) fn start_with(setup: &Setup, config: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = Folder::new(setup.folder.as_deref())?;
        fs::write(folder.path("jwt"), SECRET)?;
        fs::write(folder.path("key"), KEY)?;
        let lines = config.iter().copied().chain(setup.set.iter().map(String::as_str));
        fs::write(folder.path("campanile.toml"), lines.collect::<Vec<_>>().join("\n"))?;
        let (listen, api, admin) = (free_address()?, free_address()?, free_address()?);
        let mut all: Vec<String> = vec!["serve".into()];
        let mut option = |name: &str, value: String| all.extend([name.to_owned(), value]);
        option("--config", folder.path("campanile.toml").display().to_string());
        option("--listen", listen.to_string());
        option("--api-listen", api.to_string());
        option("--admin-listen", admin.to_string());
        option("--devices-listen", "127.0.0.1:0".to_owned());
        option("--jwt-hs256-file", folder.path("jwt").display().to_string());
        option("--api-key-file", folder.path("key").display().to_string());
        option("--data-dir", folder.path("data").display().to_string());
        option("--driver", setup.driver.clone());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let process = Process::start("campanile", setup.server_core(), false, &all)?;
        let gateway = Self {
            process,
            api: Api::new(api, admin, KEY),
            listen,
            folder,
            setup: setup.clone(),
            arguments: all,
        };
        gateway.wait_until_ready(Instant::now())?;
        Ok(gateway)
    }

    /// Ends it and starts it again with the same data. Gives the time from its start until it was ready.
    pub(super) fn restart(&mut self, end: End) -> anyhow::Result<Duration> {
        match end {
            End::Asked => {
                self.process.terminate()?;
                self.process.wait(PATIENCE)?;
            }
            End::Killed => self.process.kill()?,
        }
        let start = Instant::now();
        self.process = Process::start("campanile", self.setup.server_core(), false, &self.arguments)?;
        self.wait_until_ready(start)
    }

    fn wait_until_ready(&self, start: Instant) -> anyhow::Result<Duration> {
        while !self.api.is_ready() {
            ensure!(start.elapsed() < PATIENCE, "the gateway does not become ready");
            std::thread::sleep(READY_STEP);
        }
        Ok(start.elapsed())
    }

    /// Where devices connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.listen
    }

    /// How much its data takes on the disk, in bytes.
    pub(super) fn data_bytes(&self) -> u64 {
        bytes_in(&self.folder.path("data"))
    }

    /// Runs a load generator to its end and gives what it found.
    pub(super) fn load(&self, arguments: &[String], patience: Duration) -> anyhow::Result<serde_json::Value> {
        self.start_load(arguments)?.finish(patience)?;
        self.load_report()
    }

    /// Starts a load generator against it; its figures go to [`Gateway::load_report`].
    pub(super) fn start_load(&self, arguments: &[String]) -> anyhow::Result<Process> {
        self.start_named_load("load", false, arguments)
    }

    /// The same for one of several at once: its figures go to [`Gateway::named_load_report`].
    pub(super) fn start_named_load(
        &self,
        name: &str,
        gives_way: bool,
        arguments: &[String],
    ) -> anyhow::Result<Process> {
        let mut all: Vec<String> = Vec::new();
        let mut option = |name: &str, value: String| all.extend([name.to_owned(), value]);
        option("--url", format!("ws://{}/v2/connect", self.listen));
        option("--api", format!("http://{}", self.api.address()));
        option("--api-key-file", self.folder.path("key").display().to_string());
        option("--jwt-hs256-file", self.folder.path("jwt").display().to_string());
        option("--json", self.path(&format!("{name}.json")).display().to_string());
        if let Some(core) = self.setup.client_core() {
            option("--core", core.to_string());
        }
        all.push("--quiet".into());
        all.extend_from_slice(arguments);
        Process::start("campanile-load", self.setup.client_core(), gives_way, &all)
    }

    /// A file that is removed at the end.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// What the kernel keeps for data in the sockets of devices, on the gateway's side only, in bytes. Asks `ss`, of
    /// iproute2.
    pub(super) fn socket_bytes(&self) -> anyhow::Result<u64> {
        let port = format!("sport = :{}", self.listen.port());
        let output = Command::new("ss").args(["-tmnH", &port]).output().context("ss (iproute2) is needed")?;
        ensure!(output.status.success(), "ss ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        // skmem:(r<received>,rb<limit>,t<sent>,tb<limit>,f<kept>,w<to be sent>,o<options>,bl<backlog>,d<drops>)
        let memory = text.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
        let of = |field: &str| -> Option<u64> {
            let digits = field.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
            let counts = matches!(&field[..field.len() - digits.len()], "r" | "f" | "w" | "o" | "bl");
            digits.parse().ok().filter(|_| counts)
        };
        Ok(memory.flat_map(|fields| fields.split(',')).filter_map(of).sum())
    }

    /// What the load generator found, after its end.
    pub(super) fn load_report(&self) -> anyhow::Result<serde_json::Value> {
        self.named_load_report("load")
    }

    /// What the load generator of that name found, after its end.
    pub(super) fn named_load_report(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let text =
            fs::read(self.path(&format!("{name}.json"))).context("the load generator wrote no figures")?;
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
    fn new(parent: Option<&Path>) -> anyhow::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("campanile-bench-{}", std::process::id()));
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

/// What the files in a folder take on the disk, in bytes; nothing if it cannot be read.
fn bytes_in(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// A port that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
