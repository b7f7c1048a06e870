//! The gateway that is killed: a process, its data, and its log.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How long it may take to become ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked whether it is.
const READY_STEP: Duration = Duration::from_millis(2);
/// How long one question may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How a gateway is started.
pub(crate) struct NodeSettings<'a> {
    /// Its program; by default the one beside this one.
    pub(crate) program: Option<&'a Path>,
    /// Where its folder is made; by default the one for temporary files.
    pub(crate) parent: Option<&'a Path>,
    /// Lines of its configuration.
    pub(crate) config: &'a [String],
    pub(crate) driver: &'a str,
}

/// A gateway that starts again where it was killed.
pub(crate) struct Node {
    program: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    agent: ureq::Agent,
    folder: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) api_key: String,
}

impl Node {
    /// Makes a folder for it, and does not start it yet.
    pub(crate) fn new(settings: &NodeSettings<'_>) -> anyhow::Result<Node> {
        let program = match settings.program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe()?.with_file_name("campanile"),
        };
        ensure!(program.exists(), "{} is not built: cargo build --bins", program.display());
        let parent = settings.parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = parent.join(format!("campanile-ledger-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let api_key = "ledger-api-key-0123456789abcdef".to_owned();
        fs::write(folder.join("jwt"), "ledger-secret-of-more-than-32-bytes!")?;
        fs::write(folder.join("key"), &api_key)?;
        fs::write(folder.join("campanile.toml"), settings.config.join("\n"))?;
        let (listen, api) = (free_address()?, free_address()?);
        let file = |name: &str| folder.join(name).display().to_string();
        let arguments = [
            ("--config", file("campanile.toml")),
            ("--listen", listen.to_string()),
            ("--api-listen", api.to_string()),
            ("--admin-listen", "127.0.0.1:0".to_owned()),
            ("--devices-listen", "127.0.0.1:0".to_owned()),
            ("--jwt-hs256-file", file("jwt")),
            ("--api-key-file", file("key")),
            ("--data-dir", file("data")),
            ("--driver", settings.driver.to_owned()),
            // A gateway that is killed logs little of use; its warnings are.
            ("--log", "warn".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let arguments = std::iter::once("serve".to_owned()).chain(arguments).collect();
        let config = ureq::Agent::config_builder().timeout_global(Some(QUESTION_TIMEOUT)).build();
        let agent = config.into();
        Ok(Node { program, arguments, child: None, agent, folder, listen, api, api_key })
    }

    /// The file with the secret of the devices' tokens.
    pub(crate) fn secret_file(&self) -> PathBuf {
        self.folder.join("jwt")
    }

    /// Where its data and its log are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it and waits until it is ready. Gives the time that it took.
    pub(crate) fn start(&mut self) -> anyhow::Result<Duration> {
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        let start = Instant::now();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let child = self.child.insert(child);
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("the gateway ended with {status}: see {}", self.folder.join("log").display());
            }
            if self.agent.get(format!("http://{}/readyz", self.api)).call().is_ok() {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < READY_PATIENCE, "the gateway does not become ready");
            std::thread::sleep(READY_STEP);
        }
    }

    /// Kills it (SIGKILL) and waits until it is gone. It must have been alive.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let before = child.try_wait()?;
        child.kill()?;
        child.wait()?;
        match before {
            Some(status) => bail!("the gateway had ended by itself with {status}"),
            None => Ok(()),
        }
    }

    /// Removes everything that it has written.
    pub(crate) fn remove(mut self) -> anyhow::Result<()> {
        self.kill()?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
