//! A gateway of our own: the one place that knows how it is started, what it says when it is ready, and where it
//! listens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::folder::{Folder, bytes_in};
use crate::http::Client;
use crate::ports::free_address;
use crate::process::{Launch, Lines, Process};

/// How long it may take until it is ready, or has ended.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it is ready.
const READY_STEP: Duration = Duration::from_millis(2);
/// How often sessions are counted while they open.
const SESSIONS_STEP: Duration = Duration::from_millis(50);
/// How much of the end of a log is shown.
const LOG_BYTES_SHOWN: usize = 2_000;

/// The listeners: the flag of each, and its word in the line that says that the gateway is ready. An older gateway does
/// not know all of them.
const LISTENERS: [(&str, &str); 4] = [
    ("--listen", "listen"),
    ("--api-listen", "api"),
    ("--admin-listen", "admin"),
    ("--devices-listen", "devices"),
];

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// The program; see [`crate::programs`].
    pub program: PathBuf,
    /// What its folder is called after.
    pub purpose: String,
    /// Where its folder is made; by default among the temporary ones.
    pub parent: Option<PathBuf>,
    /// What devices' tokens are signed with (HS256).
    pub secret: String,
    /// The publishers' key.
    pub api_key: String,
    /// Lines of its configuration, like `limits.devices_per_user_max = 3`.
    pub config: Vec<String>,
    /// Further arguments.
    pub arguments: Vec<OsString>,
    /// Variables of its environment, beside those that are ours.
    pub environment: Vec<(String, String)>,
    /// The core that it is kept on.
    pub core: Option<usize>,
    /// Its log goes to a file in its folder, whose end is shown if it does not start; otherwise to our own errors.
    pub has_log_file: bool,
}

impl GatewayOptions {
    /// A gateway with secrets that everybody knows, and nothing else said.
    pub fn new(program: impl Into<PathBuf>, purpose: &str) -> GatewayOptions {
        GatewayOptions {
            program: program.into(),
            purpose: purpose.into(),
            parent: None,
            secret: "a-secret-for-tests-with-more-than-32-bytes".into(),
            api_key: "an-api-key-for-tests-0123456789abcdef".into(),
            config: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            core: None,
            has_log_file: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> GatewayOptions {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds lines of the configuration.
    #[must_use]
    pub fn config(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> GatewayOptions {
        self.config.extend(lines.into_iter().map(Into::into));
        self
    }
}

/// How a gateway ends that is to start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is asked to (SIGTERM), and may take its time.
    Asked,
    /// SIGKILL.
    Killed,
}

/// A running gateway with a folder of its own for secrets, configuration and data. It ends, and the folder goes, when
/// this is dropped or this process ends.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    // After the process: a field that is dropped later.
    folder: Folder,
    options: GatewayOptions,
    said: BTreeMap<String, String>,
    api: Client,
    admin: Client,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; says what it logged, if that goes to a file.
    pub fn start(options: GatewayOptions) -> anyhow::Result<Gateway> {
        let folder = folder(&options)?;
        let begun = Begun::start(&options, &folder, &BTreeMap::new())?;
        Gateway::begun(options, folder, begun)
    }

    /// Starts it with an output that we do not read, so that it cannot say where it listens: it is told, and asked
    /// until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_unheard(
        options: GatewayOptions,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> anyhow::Result<Gateway> {
        let folder = folder(&options)?;
        let address = |(_, word): (_, &str)| Ok((word.to_owned(), free_address()?.to_string()));
        let said = LISTENERS.into_iter().map(address).collect::<anyhow::Result<_>>()?;
        let launch = launch(&options, &folder, &said)?.stdout(stdout).stderr(stderr);
        let since = Instant::now();
        let begun = Begun { process: launch.start()?, said, since };
        Gateway::begun(options, folder, begun)
    }

    fn begun(options: GatewayOptions, folder: Folder, begun: Begun) -> anyhow::Result<Gateway> {
        let Begun { process, said, since } = begun;
        let (api, admin) = clients(&said, &options)?;
        let mut gateway = Gateway { process, folder, options, said, api, admin };
        gateway.wait_until_ready(since)?;
        Ok(gateway)
    }

    /// Ends it, and starts it again at the same addresses with the same data. Gives the time from its start until it
    /// was ready.
    ///
    /// # Errors
    /// When it had ended by itself, does not end, or does not start.
    pub fn restart(&mut self, end: End) -> anyhow::Result<Duration> {
        match end {
            End::Asked => self.stop()?,
            End::Killed => self.process.kill()?,
        }
        self.start_again()
    }

    /// Starts one that has ended again, at the same addresses with the same data. Gives the time until it was ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> anyhow::Result<Duration> {
        let begun = Begun::start(&self.options, &self.folder, &self.said)?;
        (self.process, self.said) = (begun.process, begun.said);
        self.wait_until_ready(begun.since)
    }

    fn wait_until_ready(&mut self, since: Instant) -> anyhow::Result<Duration> {
        while !self.is_ready() {
            if let Some(status) = self.process.ended()? {
                bail!("the gateway ended with {status} before it was ready");
            }
            ensure!(since.elapsed() < PATIENCE, "the gateway does not become ready");
            std::thread::sleep(READY_STEP);
        }
        Ok(since.elapsed())
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.api.get("/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// What a word of its ready line was said to be, like `driver`.
    ///
    /// # Errors
    /// When it did not say it.
    pub fn said(&self, word: &str) -> anyhow::Result<&str> {
        self.said.get(word).map(String::as_str).with_context(|| format!("the gateway did not say its {word}"))
    }

    /// Where devices connect with WebSockets.
    pub fn listen(&self) -> SocketAddr {
        self.address("listen")
    }

    /// Where publishers ask.
    pub fn api_listen(&self) -> SocketAddr {
        self.api.address()
    }

    /// Where operators ask.
    pub fn admin_listen(&self) -> SocketAddr {
        self.address("admin")
    }

    /// Where devices poll.
    pub fn devices_listen(&self) -> SocketAddr {
        self.address("devices")
    }

    fn address(&self, word: &str) -> SocketAddr {
        let said = self.said.get(word).and_then(|text| text.parse().ok());
        said.expect("a gateway has said its addresses when it has started")
    }

    /// Asks the publishers' listener, with the key.
    pub fn api(&self) -> &Client {
        &self.api
    }

    /// Asks the operators' listener, with the key.
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// The process; ending it is [`Gateway::stop`]'s and [`Gateway::kill`]'s.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// How it was started.
    pub fn options(&self) -> &GatewayOptions {
        &self.options
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The file with the secret of the devices' tokens.
    pub fn secret_file(&self) -> PathBuf {
        self.folder.join("jwt")
    }

    /// The file with the publishers' key.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// How much its data takes on the disk, in bytes.
    pub fn data_bytes(&self) -> u64 {
        bytes_in(&self.folder.join("data"))
    }

    /// The arguments that tell a load generator where it is and how it is let in.
    pub fn load_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            vec!["--url".into(), format!("ws://{}/v2/connect", self.listen()).into()];
        arguments.extend(["--api".into(), format!("http://{}", self.api_listen()).into()]);
        arguments.extend(["--api-key-file".into(), self.key_file().into()]);
        arguments.extend(["--jwt-hs256-file".into(), self.secret_file().into()]);
        arguments
    }

    /// The sum of a metric over all shards.
    ///
    /// # Errors
    /// When the gateway does not answer or has no such metric.
    pub fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.admin.get("/metrics")?.good()?;
        let value = |line: &str| -> Option<f64> {
            let (metric, value) = line.rsplit_once(' ')?;
            if metric.split('{').next() == Some(name) { value.parse().ok() } else { None }
        };
        let mut values = text.lines().filter_map(value).peekable();
        ensure!(values.peek().is_some(), "no metric {name}");
        Ok(values.sum::<f64>() as u64)
    }

    /// Waits until so many sessions are open. Gives the time that it took.
    ///
    /// # Errors
    /// When they do not open in time.
    pub fn wait_for_sessions(&self, sessions: u64, patience: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let open = self.metric("campanile_sessions")?;
            if open >= sessions {
                return Ok(start.elapsed());
            }
            if start.elapsed() > patience {
                bail!("only {open} of {sessions} sessions opened within {patience:?}");
            }
            std::thread::sleep(SESSIONS_STEP);
        }
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// When it has ended by itself.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.process.terminate()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.wait(PATIENCE)
    }

    /// Asks it to end and waits for that, which must be a good one.
    ///
    /// # Errors
    /// When it has ended by itself, does not end in time, or badly.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.process.terminate()?;
        self.process.finish(PATIENCE)
    }

    /// Ends it without asking (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Ends it and leaves its folder for whoever looks for what went wrong.
    pub fn keep_folder(self) -> PathBuf {
        let Gateway { process, folder, .. } = self;
        drop(process);
        folder.keep()
    }
}

/// A gateway that has said where it listens.
struct Begun {
    process: Process,
    said: BTreeMap<String, String>,
    since: Instant,
}

impl Begun {
    /// Starts it where it was, or on ports that are free.
    fn start(
        options: &GatewayOptions,
        folder: &Folder,
        addresses: &BTreeMap<String, String>,
    ) -> anyhow::Result<Begun> {
        let log = folder.join("log");
        let mut launch = launch(options, folder, addresses)?.stdout(Stdio::piped());
        if options.has_log_file {
            launch = launch.stderr(fs::File::options().create(true).append(true).open(&log)?);
        }
        let since = Instant::now();
        let mut process = launch.start()?;
        let lines = Lines::read(process.take_stdout().context("its output is a pipe")?);
        let ready = lines.next(PATIENCE).context("the gateway does not become ready")?;
        let Some(ready) = ready.as_deref().and_then(|line| line.strip_prefix("ready ")) else {
            let status = process.wait(PATIENCE)?;
            bail!("the gateway ended with {status} before it was ready{}", end_of(&log));
        };
        let words = ready.split(' ').filter_map(|word| word.split_once('='));
        let said = words.map(|(word, value)| (word.to_owned(), value.to_owned())).collect();
        Ok(Begun { process, said, since })
    }
}

/// A gateway's folder, with its secrets and its configuration.
fn folder(options: &GatewayOptions) -> anyhow::Result<Folder> {
    let folder = Folder::new(&options.purpose, options.parent.as_deref())?;
    folder.write_secret("jwt", &options.secret)?;
    folder.write_secret("key", &options.api_key)?;
    fs::write(folder.join("campanile.toml"), options.config.join("\n"))?;
    Ok(folder)
}

/// A gateway that is yet to be started, where it was or on ports that are free.
fn launch(
    options: &GatewayOptions,
    folder: &Folder,
    addresses: &BTreeMap<String, String>,
) -> anyhow::Result<Launch> {
    let launch = Launch::new(&options.program).args(serve(options, folder, addresses)?);
    Ok(launch.on_core(options.core).environment(options.environment.iter().cloned()))
}

/// The arguments of `campanile`.
fn serve(
    options: &GatewayOptions,
    folder: &Folder,
    addresses: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<OsString>> {
    let mut arguments: Vec<OsString> = vec!["serve".into()];
    let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    option("--config", folder.join("campanile.toml").into());
    option("--jwt-hs256-file", folder.join("jwt").into());
    option("--api-key-file", folder.join("key").into());
    option("--data-dir", folder.join("data").into());
    let given = |flag: &str| options.arguments.iter().any(|argument| argument == flag);
    for (flag, word) in listeners(&options.program)? {
        if !given(flag) {
            option(flag, addresses.get(word).map_or("127.0.0.1:0", String::as_str).into());
        }
    }
    arguments.extend(options.arguments.iter().cloned());
    Ok(arguments)
}

/// Those of [`LISTENERS`] that a program knows.
fn listeners(program: &Path) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    type Known = BTreeMap<PathBuf, Vec<(&'static str, &'static str)>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(listeners) = known.get(program) {
        return Ok(listeners.clone());
    }
    let help = Command::new(program)
        .args(["serve", "--help"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let help = String::from_utf8_lossy(&help.stdout);
    let is_known = |flag: &str| {
        help.split(|letter: char| letter.is_whitespace() || letter == ',').any(|word| word == flag)
    };
    let listeners: Vec<_> = LISTENERS.into_iter().filter(|(flag, _)| is_known(flag)).collect();
    known.insert(program.to_owned(), listeners.clone());
    Ok(listeners)
}

fn clients(said: &BTreeMap<String, String>, options: &GatewayOptions) -> anyhow::Result<(Client, Client)> {
    let client = |word: &str| -> anyhow::Result<Client> {
        let address = said.get(word).with_context(|| format!("the gateway did not say its {word}"))?;
        Ok(Client::new(address.parse()?).with_bearer(&options.api_key).with_patience(PATIENCE))
    };
    let admin = if said.contains_key("admin") { "admin" } else { "api" };
    Ok((client("api")?, client(admin)?))
}

/// The end of a log, if there is one.
fn end_of(log: &Path) -> String {
    let Ok(bytes) = fs::read(log) else { return String::new() };
    let end = &bytes[bytes.len().saturating_sub(LOG_BYTES_SHOWN)..];
    match String::from_utf8_lossy(end).trim() {
        "" => String::new(),
        end => format!(": {end}"),
    }
}
