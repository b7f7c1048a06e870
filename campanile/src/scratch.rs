//! A folder for the processes that this one starts, which end with it, and the folder with them: however it ends, also by a
//! signal that nobody can catch.
//!
//! The one who starts them holds the only writing end of a pipe. The kernel closes it with the process, and whoever has the
//! reading end as its standard input then reads its end: each process that was [adopted](Scratch::adopt) kills itself, and
//! one that does nothing else, the sweeper, removes the folder when they are gone. A parent-death signal (prctl(2)) would
//! come when the *thread* ends that started the process.
//!
//! Programs that are started in this way call [`enter`] before anything else.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio, id};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

/// Tells a process that it was adopted, and the folder.
const ADOPTED: &str = "CAMPANILE_SCRATCH";
/// Tells a process that it is the sweeper of this folder.
const SWEEPER: &str = "CAMPANILE_SCRATCH_SWEEPER";
/// How often the sweeper tries to remove what cannot be removed, and the pause between.
const SWEEPS_MAX: u32 = 20;
const SWEEP_PAUSE: Duration = Duration::from_millis(50);

/// What a process that was started for a [`Scratch`] does first: the sweeper does all that it is for, and gives the exit
/// code; an adopted one ends with its parent from now on. For every other process this does nothing.
pub(crate) fn enter() -> Option<ExitCode> {
    if let Some(folder) = env::var_os(SWEEPER) {
        sweep(Path::new(&folder));
        return Some(ExitCode::SUCCESS);
    }
    let folder = env::var_os(ADOPTED)?;
    match end_with_parent(&folder) {
        Ok(()) => None,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}: {error}", Path::new(&folder).display());
            Some(ExitCode::FAILURE)
        }
    }
}

/// A folder that only this user can read, and the processes that work in it. When it is dropped, or its process ends,
/// they are killed and it is removed.
pub(crate) struct Scratch {
    path: PathBuf,
    /// `None` while it is being dropped.
    alive: Option<PipeWriter>,
    parent: PipeReader,
    sweeper: Child,
}

impl Scratch {
    /// Makes a folder for temporary files whose name begins like this.
    ///
    /// # Errors
    /// When the folder cannot be made, or this program not be started again as the sweeper.
    pub(crate) fn new(name: &str) -> io::Result<Scratch> {
        Scratch::new_in(&env::temp_dir(), name)
    }

    /// The same in another directory.
    ///
    /// # Errors
    /// As [`Scratch::new`].
    pub(crate) fn new_in(directory: &Path, name: &str) -> io::Result<Scratch> {
        let program = env::current_exe()?;
        let path = std::path::absolute(directory)?.join(format!("{name}-{}", id()));
        let (parent, alive) = io::pipe()?;
        DirBuilder::new().mode(0o700).create(&path)?;
        let sweeper = Command::new(program)
            .env(SWEEPER, &path)
            .current_dir("/")
            .stdin(parent.try_clone()?)
            // Whoever reads our output must not wait for it.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is typed at our terminal is not for it.
            .process_group(0)
            .spawn()
            .inspect_err(|_| drop(fs::remove_dir(&path)))?;
        Ok(Scratch { path, alive: Some(alive), parent, sweeper })
    }

    /// The path of something in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Lets a process that is to be started, of a program that calls [`enter`], end with this one. It has no standard input
    /// of its own.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn adopt(&self, command: &mut Command) -> io::Result<()> {
        command.stdin(self.parent.try_clone()?).env(ADOPTED, &self.path);
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.alive = None;
        // It waits until all that were adopted have gone.
        let _ = self.sweeper.wait();
        // For what it was not allowed to, or if it was killed.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Marks the folder as in use as long as this process lives, and kills it when the parent has gone.
fn end_with_parent(folder: &OsStr) -> io::Result<()> {
    let used = File::open(folder)?;
    flock(&used, FlockOperation::NonBlockingLockShared)?;
    thread::Builder::new().name("parent".into()).spawn(move || {
        let _used = used;
        wait_for_parents_end();
        let _ = kill_process(getpid(), Signal::KILL);
    })?;
    Ok(())
}

fn sweep(folder: &Path) {
    wait_for_parents_end();
    // Those who were adopted have it locked until they are gone.
    if let Ok(used) = File::open(folder) {
        while flock(&used, FlockOperation::LockExclusive) == Err(Errno::INTR) {}
    }
    for _ in 0..SWEEPS_MAX {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(SWEEP_PAUSE),
            _ => return,
        }
    }
}

/// Until nobody has the other end of the standard input any more.
fn wait_for_parents_end() {
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
