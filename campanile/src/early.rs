//! Why a command ends early that has not failed.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// What shells add to a signal's number for the exit code of who was ended by it.
const SIGNAL_EXIT: u8 = 128;

/// Why a command ends early that has not failed. Nothing is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Early {
    /// Whoever read the output has closed it, and so has read enough.
    #[error("nobody reads the output")]
    Unread,
    /// It was asked to, by the signal with this number.
    #[error("ended by signal {0}")]
    Interrupted(u8),
}

impl Early {
    /// What the process ends with.
    #[must_use]
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Early::Unread => ExitCode::SUCCESS,
            Early::Interrupted(signal) => ExitCode::from(SIGNAL_EXIT + signal),
        }
    }
}

/// Notes the signals that ask a command to end, so that it can put away what it has begun.
#[derive(Clone, Default)]
pub(crate) struct Interrupts(Arc<AtomicU8>);

impl Interrupts {
    /// From now on SIGINT, SIGTERM and SIGHUP are noted.
    ///
    /// # Errors
    /// When they cannot be caught.
    pub(crate) fn catch() -> io::Result<Interrupts> {
        let interrupts = Interrupts::default();
        let noted = interrupts.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let mut signals = Vec::with_capacity(kinds.len());
            for kind in kinds {
                signals.push((kind.as_raw_value() as u8, signal(kind)?));
            }
            signals
        };
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(std::future::poll_fn(|cx| {
                for (number, signal) in &mut signals {
                    if signal.poll_recv(cx).is_ready() {
                        noted.0.store(*number, Ordering::Relaxed);
                        return std::task::Poll::Ready(());
                    }
                }
                std::task::Poll::Pending
            }));
        })?;
        Ok(interrupts)
    }

    /// Whether the command may go on.
    ///
    /// # Errors
    /// [`Early::Interrupted`].
    pub(crate) fn check(&self) -> Result<(), Early> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Early::Interrupted(signal)),
        }
    }
}
