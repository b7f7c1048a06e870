//! Processes that end with their owner.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Usage;
use crate::keeper::{self, Ending};

/// How often a process is asked whether it has ended.
const END_STEP: Duration = Duration::from_millis(20);
/// How long a process that was asked to end may take before it is killed, when nobody waits for it.
const DROP_PATIENCE: Duration = Duration::from_secs(20);
/// The niceness of a process that gives way to everybody.
const NICE_MAX: i32 = 19;

/// How a program is started.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    core: Option<usize>,
    gives_way: bool,
    ending: Ending,
    folder: Option<PathBuf>,
    environment: Vec<(String, String)>,
    stdout: Stdio,
    stderr: Option<Stdio>,
}

impl Launch {
    /// A program that is yet to be started, with nothing to read and nobody who reads what it prints.
    pub fn new(program: impl Into<PathBuf>) -> Launch {
        Launch {
            program: program.into(),
            arguments: Vec::new(),
            core: None,
            gives_way: false,
            ending: Ending::Killed,
            folder: None,
            environment: Vec::new(),
            stdout: Stdio::null(),
            stderr: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Launch {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Launch {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Keeps the process on a core, if one is given.
    #[must_use]
    pub fn on_core(mut self, core: Option<usize>) -> Launch {
        self.core = core;
        self
    }

    /// The process leaves its core to others whenever they want it.
    #[must_use]
    pub fn giving_way(mut self, gives_way: bool) -> Launch {
        self.gives_way = gives_way;
        self
    }

    /// The process is asked to end, and killed only if it does not: for one that has started others.
    #[must_use]
    pub fn asked_to_end(mut self) -> Launch {
        self.ending = Ending::Asked;
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Launch {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Sets variables of its environment, beside those that are ours.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Launch {
        self.environment.extend(variables);
        self
    }

    /// Where its output goes; otherwise nowhere.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Launch {
        self.stdout = stdout.into();
        self
    }

    /// Where its errors go; otherwise where ours do.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Launch {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When there is no such program, no such core, or no keeper.
    pub fn start(self) -> anyhow::Result<Process> {
        Ok(self.begin(false)?.0)
    }

    /// Starts it and gives its input.
    pub(crate) fn start_with_input(self) -> anyhow::Result<(Process, ChildStdin)> {
        let (process, input) = self.begin(true)?;
        Ok((process, input.context("the process has no input")?))
    }

    fn begin(self, has_input: bool) -> anyhow::Result<(Process, Option<ChildStdin>)> {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_path = self.program.components().count() > 1;
        ensure!(
            !is_path || self.program.exists(),
            "cannot start {}: it is not there",
            self.program.display()
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", if has_input { keeper::GATE } else { keeper::GATE_WITHOUT_INPUT }, "sh"])
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment)
            .stdin(Stdio::piped())
            .stdout(self.stdout);
        if let Some(stderr) = self.stderr {
            command.stderr(stderr);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let child =
            spawn(command, self.core, self.gives_way).with_context(|| format!("cannot start {name}"))?;
        let mut process = Process { child, name, ending: self.ending, ended: None };
        let input = keeper::adopt(&mut process.child, self.ending, has_input)?;
        Ok((process, input))
    }
}

fn spawn(mut command: Command, core: Option<usize>, gives_way: bool) -> anyhow::Result<Child> {
    if core.is_none() && !gives_way {
        return Ok(command.spawn()?);
    }
    std::thread::scope(|scope| {
        // The child inherits the core and the niceness of the thread that starts it.
        let started = scope.spawn(|| {
            core.map_or(Ok(()), pin)?;
            if gives_way {
                rustix::process::nice(NICE_MAX)?;
            }
            Ok(command.spawn()?)
        });
        started.join().expect("starting a process does not panic")
    })
}

/// Keeps this thread, and what it starts from now on, on a core.
///
/// # Errors
/// When the core is not among the allowed ones.
pub fn pin(core: usize) -> anyhow::Result<()> {
    ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on core {core}: choose another"))
}

/// A process that ends when this is dropped, or with this process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    ending: Ending,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage::of(self.pid())?)
    }

    /// What it prints; only once, and only if that goes to a pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            if self.ended.is_some() {
                keeper::forget(self.child.id());
            }
        }
        Ok(self.ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} did not end in time", self.name);
            std::thread::sleep(END_STEP.min(patience));
        }
    }

    /// Waits for its end, which must be a good one.
    ///
    /// # Errors
    /// When it does not end in time, or with another status than 0.
    pub fn finish(&mut self, patience: Duration) -> anyhow::Result<()> {
        let status = self.wait(patience)?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} had ended by itself with {status}", self.name);
        }
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Ends it without asking (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} had ended by itself with {status}", self.name);
        }
        self.child.kill()?;
        self.ended = Some(self.child.wait()?);
        keeper::forget(self.child.id());
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ending == Ending::Asked && self.terminate().is_ok() && self.wait(DROP_PATIENCE).is_ok() {
            return;
        }
        // It may have ended by itself.
        let _ = self.kill();
    }
}

/// The lines that a process prints, read as they come so that it never has to wait for us.
#[derive(Debug)]
pub struct Lines {
    lines: Receiver<String>,
}

impl Lines {
    /// Reads on a thread of its own until the output ends.
    pub fn read(output: ChildStdout) -> Lines {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody may want it any more; it is read nevertheless.
                let _ = sender.send(line);
            }
        });
        Lines { lines }
    }

    /// The next line; none if the output has ended.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn next(&self, patience: Duration) -> anyhow::Result<Option<String>> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("nothing was printed for {patience:?}"),
        }
    }
}
