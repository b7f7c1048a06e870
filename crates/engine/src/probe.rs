//! Which driver this machine allows.

use std::fmt;
use std::str::FromStr;

use io_uring::{Probe, opcode};

use crate::uring::ring::{NO_MEMORY, set_up};

/// A driver for real sockets.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// [`crate::uring`].
    Uring,
    /// [`crate::epoll`].
    Epoll,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverKind::Uring => "uring",
            DriverKind::Epoll => "epoll",
        })
    }
}

/// Which driver to use: `auto`, `uring` or `epoll`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// The best that the machine allows.
    #[default]
    Auto,
    /// This one or none.
    Force(DriverKind),
}

impl FromStr for DriverChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(DriverChoice::Auto),
            "uring" => Ok(DriverChoice::Force(DriverKind::Uring)),
            "epoll" => Ok(DriverChoice::Force(DriverKind::Epoll)),
            _ => Err(format!("unknown driver `{name}`: expected auto, uring or epoll")),
        }
    }
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DriverChoice::Auto => f.write_str("auto"),
            DriverChoice::Force(kind) => kind.fmt(f),
        }
    }
}

/// Whether `io_uring` can be used here.
///
/// # Errors
/// Why not, in words for the operator.
pub fn uring() -> Result<(), String> {
    let probe = probe()?;
    let needed = [
        ("ACCEPT", opcode::AcceptMulti::CODE),
        ("CONNECT", opcode::Connect::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("RECV", opcode::Recv::CODE),
        ("SEND", opcode::Send::CODE),
        ("SHUTDOWN", opcode::Shutdown::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel2::CODE),
        ("CLOSE", opcode::Close::CODE),
        ("MSG_RING", opcode::MsgRingSendFd::CODE),
        ("SOCKET", opcode::Socket::CODE),
        ("URING_CMD", opcode::SetSockOpt::CODE),
        // Came with the socket commands, which have no code of their own.
        ("READ_MULTISHOT", opcode::ReadMulti::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        Some((name, _)) => Err(format!("the kernel's io_uring lacks {name}: Linux 6.7 or later is needed")),
        None => Ok(()),
    }
}

/// Whether `io_uring` can be used here by a process that opens connections from given source addresses
/// ([`crate::Command::Connect`] with `from`). One that only accepts, or leaves the source to the kernel, needs
/// no more than [`uring`] asks for.
///
/// # Errors
/// Why not, in words for the operator.
pub fn uring_with_sources() -> Result<(), String> {
    uring()?;
    if probe()?.is_supported(opcode::Bind::CODE) {
        return Ok(());
    }
    Err("the kernel's io_uring lacks BIND, for connections from a given source address: Linux 6.11 or later is needed"
        .into())
}

/// What a ring as large as a driver's can do. A small one would not tell that no memory may be locked.
fn probe() -> Result<Probe, String> {
    let ring = set_up().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "the kernel has no io_uring (or it is hidden): Linux 6.7 or later is needed".into()
        }
        Some(libc::EPERM) => "io_uring is forbidden here: a seccomp profile (containers' default ones \
            refuse it) or kernel.io_uring_disabled"
            .into(),
        Some(libc::EINVAL) => "the kernel's io_uring is too old: Linux 6.7 or later is needed".into(),
        Some(libc::ENOMEM) => NO_MEMORY.into(),
        _ => format!("io_uring cannot be set up: {error}"),
    })?;
    let mut probe = Probe::new();
    match ring.submitter().register_probe(&mut probe) {
        Ok(()) => Ok(probe),
        Err(error) => Err(format!("io_uring cannot be probed: {error}")),
    }
}

/// Decides by a probe, and logs what was found.
///
/// # Errors
/// When the driver that is forced cannot be used, and why.
pub fn choose(choice: DriverChoice) -> Result<DriverKind, String> {
    choose_after(choice, uring)
}

/// As [`choose`], for a process that opens connections from given source addresses: [`uring_with_sources`].
///
/// # Errors
/// When the driver that is forced cannot be used, and why.
pub fn choose_with_sources(choice: DriverChoice) -> Result<DriverKind, String> {
    choose_after(choice, uring_with_sources)
}

fn choose_after(choice: DriverChoice, uring: fn() -> Result<(), String>) -> Result<DriverKind, String> {
    match (choice, uring()) {
        (DriverChoice::Force(DriverKind::Epoll), _) => {
            tracing::info!("driver epoll, as asked");
            Ok(DriverKind::Epoll)
        }
        (DriverChoice::Auto | DriverChoice::Force(DriverKind::Uring), Ok(())) => {
            tracing::info!("driver io_uring: the probe found everything it needs");
            Ok(DriverKind::Uring)
        }
        (DriverChoice::Auto, Err(why)) => {
            tracing::warn!("driver epoll: {why}");
            Ok(DriverKind::Epoll)
        }
        (DriverChoice::Force(DriverKind::Uring), Err(why)) => Err(why),
    }
}
