//! The seam between what decides (a [`Core`]) and what moves bytes (a [`Driver`]).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::close::LINGER;
use crate::time::{Now, Time};

/// How long connections that are closing may take after a core has stopped.
const SETTLE: Duration = LINGER.saturating_add(Duration::from_millis(200));

/// A connection of one driver: a slot of its table, and which of the slot's successive tenants is meant.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conn {
    /// Index in the driver's table, below [`Driver::capacity`].
    pub slot: u32,
    /// Which tenant of the slot. 24 bits are significant.
    pub generation: u32,
}

/// What happened to a core's connections. `P` is what travels with a connection that is handed over.
#[derive(Debug)]
pub enum Event<'a, P> {
    /// A client connected. Nothing is read until the core asks for it.
    Accepted {
        /// The new connection.
        conn: Conn,
        /// Where it comes from.
        peer: SocketAddr,
    },
    /// A [`Command::Connect`] succeeded. Nothing is read until the core asks for it.
    Connected {
        /// The new connection.
        conn: Conn,
        /// The tag of the command.
        tag: u64,
    },
    /// A [`Command::Connect`] failed.
    ConnectFailed {
        /// The tag of the command.
        tag: u64,
        /// Why.
        error: io::ErrorKind,
    },
    /// Input arrived. The bytes are lent for the length of the call and may be overwritten (unmasked).
    Received {
        /// The connection.
        conn: Conn,
        /// At least one byte.
        data: &'a mut [u8],
    },
    /// There will be no more input: the peer closed its side (`error` is `None`) or the connection broke. The
    /// core still owns the connection and answers with [`Command::Close`].
    HungUp {
        /// The connection.
        conn: Conn,
        /// What broke it.
        error: Option<io::ErrorKind>,
    },
    /// A [`Command::WatchWritable`] came true: the connection takes bytes again.
    Writable {
        /// The connection.
        conn: Conn,
    },
    /// A send of this turn did not go out whole. The unsent rest is handed back.
    SendIncomplete {
        /// The connection.
        conn: Conn,
        /// What was not sent; empty for a connection that takes no more bytes at all.
        rest: Bytes,
        /// `None`: the socket's buffer is full. Otherwise the connection is broken.
        error: Option<io::ErrorKind>,
    },
    /// Another driver handed a connection over.
    HandedIn {
        /// The connection, as this driver names it.
        conn: Conn,
        /// What travelled with it.
        parcel: Box<P>,
    },
    /// A [`Command::HandOff`] was refused (the target's table or queue is full). The connection and the parcel
    /// belong to the core again.
    HandOffFailed {
        /// The connection, as before.
        conn: Conn,
        /// What would have travelled with it.
        parcel: Box<P>,
    },
}

/// How a connection ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Send what the kernel holds, then FIN; discard input until the peer closes, for at most 1 s and 64 KiB.
    /// A plain close with unread input would be a reset, and the peer would never see the close code.
    Graceful,
    /// At once.
    Abort,
}

/// What a core wants done.
#[derive(Debug)]
pub enum Command<P> {
    /// Writes `bytes`. At most one send for a connection per turn.
    Send {
        /// The connection.
        conn: Conn,
        /// What to write, in this order with earlier sends.
        bytes: Bytes,
    },
    /// Reports the next input once; nothing stays armed afterwards, so that the connection can be handed off.
    /// Without effect on a connection that has been watched with [`Command::Watch`].
    WatchOnce {
        /// The connection.
        conn: Conn,
    },
    /// Reports input from now on, or again after [`Command::Pause`].
    Watch {
        /// The connection.
        conn: Conn,
    },
    /// Reads no input until the next [`Command::Watch`] (or [`Command::WatchOnce`], if that is how the
    /// connection was watched). Data already read may still be reported.
    Pause {
        /// The connection.
        conn: Conn,
    },
    /// Reports once when the connection takes bytes again.
    WatchWritable {
        /// The connection.
        conn: Conn,
    },
    /// Ends the connection. No event names it once this has been executed, but for a send's failure.
    Close {
        /// The connection.
        conn: Conn,
        /// How.
        mode: CloseMode,
    },
    /// Gives the connection to the core of driver `to`. Only after [`Event::Accepted`], or after the input
    /// that answered a [`Command::WatchOnce`].
    HandOff {
        /// The connection.
        conn: Conn,
        /// The index of the driver that takes it.
        to: usize,
        /// What travels with it.
        parcel: Box<P>,
    },
    /// Makes driver `to` take a turn, if it sleeps.
    Wake {
        /// The index of the driver.
        to: usize,
    },
    /// Opens a TCP connection.
    Connect {
        /// Comes back with the result.
        tag: u64,
        /// The address to connect from; the port is chosen by the kernel.
        from: Option<SocketAddr>,
        /// The address to connect to.
        to: SocketAddr,
    },
    /// Starts or stops accepting connections. A driver begins not accepting.
    Accept {
        /// Whether to accept.
        on: bool,
    },
}

/// The commands of one turn, in order.
#[derive(Debug)]
pub struct Commands<P> {
    pub(crate) queue: Vec<Command<P>>,
}

impl<P> Default for Commands<P> {
    fn default() -> Self {
        Commands { queue: Vec::with_capacity(512) }
    }
}

impl<P> Commands<P> {
    /// Adds a command.
    pub fn push(&mut self, command: Command<P>) {
        self.queue.push(command);
    }

    /// Writes `bytes` to `conn`: [`Command::Send`].
    pub fn send(&mut self, conn: Conn, bytes: Bytes) {
        self.queue.push(Command::Send { conn, bytes });
    }

    /// Ends `conn`: [`Command::Close`].
    pub fn close(&mut self, conn: Conn, mode: CloseMode) {
        self.queue.push(Command::Close { conn, mode });
    }

    /// How many commands wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the commands in order, for a test that looks at what a core wants.
    pub fn drain(&mut self) -> impl Iterator<Item = Command<P>> + '_ {
        self.queue.drain(..)
    }
}

/// When a core wants its next turn.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: work is left over from this turn.
    Now,
    /// At this time at the latest, or when an event arrives.
    At(Time),
    /// When an event arrives.
    Event,
    /// Never: the loop ends.
    Stop,
}

impl Next {
    /// How long a driver sleeps at most before the core's next turn. Beside the core it minds deadlines of its own.
    /// `None` is until an event arrives.
    pub(crate) fn patience(self, now: Time, own: impl IntoIterator<Item = Time>) -> Option<Duration> {
        let wanted = match self {
            Next::Now => Some(now),
            Next::At(time) => Some(time),
            Next::Event | Next::Stop => None,
        };
        own.into_iter().chain(wanted).min().map(|deadline| deadline.since(now))
    }
}

/// A state machine that a driver runs. See the crate's documentation for what it must not do.
pub trait Core {
    /// What travels with a connection from one core to another.
    type Parcel: Send + 'static;

    /// Takes one event.
    fn on_event(&mut self, now: Now, event: Event<'_, Self::Parcel>, commands: &mut Commands<Self::Parcel>);

    /// Once a turn, after its events: takes work from other threads, fires timers, advances long work by a
    /// bounded slice.
    fn on_turn(&mut self, now: Now, commands: &mut Commands<Self::Parcel>) -> Next;

    /// After the turn's commands were executed: every send is complete, or was reported incomplete. What is
    /// commanded here is executed in the next turn.
    fn on_submitted(&mut self, now: Now, commands: &mut Commands<Self::Parcel>);

    /// Whether other threads have left work since the last turn. Asked before the driver sleeps.
    fn has_mail(&self) -> bool;
}

/// Moves bytes for one core, on one thread.
pub trait Driver {
    /// What travels with a connection from one driver to another.
    type Parcel: Send + 'static;

    /// The clocks.
    fn now(&self) -> Now;

    /// How many connections the table holds.
    fn capacity(&self) -> u32;

    /// How many slots of the table are in use, those of connections that are still closing included.
    fn in_use(&self) -> u32;

    /// How many slots belong to connections that are still closing.
    fn closing(&self) -> u32;

    /// Executes `commands` in order and empties it. Sends that did not go out whole are reported with
    /// [`Event::SendIncomplete`]; no other event is.
    ///
    /// # Errors
    /// Only when the driver itself no longer works; a connection's failure is an event.
    fn submit(
        &mut self,
        commands: &mut Commands<Self::Parcel>,
        report: &mut dyn FnMut(Event<'_, Self::Parcel>),
    ) -> io::Result<()>;

    /// Waits for events until `next` and reports them. Before it sleeps it asks `has_mail`.
    ///
    /// # Errors
    /// Only when the driver itself no longer works.
    fn wait(
        &mut self,
        next: Next,
        has_mail: &dyn Fn() -> bool,
        report: &mut dyn FnMut(Now, Event<'_, Self::Parcel>),
    ) -> io::Result<()>;
}

/// How a loop runs.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Threads like this one share its processor core: between turns that follow each other at once the loop
    /// lets them run, so that a long piece of work of one shard does not delay all the others.
    pub shared_core: bool,
}

/// Runs `core` on `driver` until the core says [`Next::Stop`].
///
/// # Errors
/// When the driver no longer works.
pub fn run<D, C>(driver: &mut D, core: &mut C) -> io::Result<()>
where
    D: Driver,
    C: Core<Parcel = D::Parcel>,
{
    run_with(driver, core, RunOptions::default())
}

/// As [`run`], with options.
///
/// # Errors
/// When the driver no longer works.
pub fn run_with<D, C>(driver: &mut D, core: &mut C, options: RunOptions) -> io::Result<()>
where
    D: Driver,
    C: Core<Parcel = D::Parcel>,
{
    let mut commands = Commands::default();
    // What a report commands while its turn's commands are being executed waits for the next submission.
    let mut later = Commands::default();
    loop {
        let next = turn(driver, core, &mut commands, &mut later)?;
        if next == Next::Stop {
            return settle(driver, &mut commands);
        }
        if options.shared_core && next == Next::Now {
            std::thread::yield_now();
        }
        let next = if commands.is_empty() { next } else { Next::Now };
        let core = std::cell::RefCell::new(&mut *core);
        driver.wait(next, &|| core.borrow().has_mail(), &mut |now, event| {
            core.borrow_mut().on_event(now, event, &mut commands)
        })?;
    }
}

/// The core has stopped: what it commanded last is executed, and connections that say goodbye get their time.
/// Those that the core left open end with the driver.
fn settle<D: Driver>(driver: &mut D, commands: &mut Commands<D::Parcel>) -> io::Result<()> {
    commands.push(Command::Accept { on: false });
    driver.submit(commands, &mut |_| {})?;
    let deadline = driver.now().time + SETTLE;
    while driver.closing() > 0 && driver.now().time < deadline {
        driver.wait(Next::At(deadline), &|| false, &mut |_, _| {})?;
    }
    Ok(())
}

/// One turn without the wait: the core's own work, then its commands.
pub(crate) fn turn<D, C>(
    driver: &mut D,
    core: &mut C,
    commands: &mut Commands<D::Parcel>,
    later: &mut Commands<D::Parcel>,
) -> io::Result<Next>
where
    D: Driver,
    C: Core<Parcel = D::Parcel>,
{
    let now = driver.now();
    let next = core.on_turn(now, commands);
    driver.submit(commands, &mut |event| core.on_event(now, event, later))?;
    core.on_submitted(now, later);
    std::mem::swap(commands, later);
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver whose clock moves with every wait, by half a second.
    struct Fake {
        now: Now,
        in_use: u32,
        closing: u32,
        /// Whether a wait ends one of the goodbyes.
        polite: bool,
        waits: u32,
    }

    impl Driver for Fake {
        type Parcel = ();

        fn now(&self) -> Now {
            self.now
        }

        fn capacity(&self) -> u32 {
            8
        }

        fn in_use(&self) -> u32 {
            self.in_use
        }

        fn closing(&self) -> u32 {
            self.closing
        }

        fn submit(
            &mut self,
            commands: &mut Commands<()>,
            _: &mut dyn FnMut(Event<'_, ()>),
        ) -> io::Result<()> {
            commands.queue.clear();
            Ok(())
        }

        fn wait(
            &mut self,
            _: Next,
            _: &dyn Fn() -> bool,
            _: &mut dyn FnMut(Now, Event<'_, ()>),
        ) -> io::Result<()> {
            self.waits += 1;
            self.now.time = self.now.time + Duration::from_millis(500);
            if self.polite {
                self.closing -= 1;
                self.in_use -= 1;
            }
            Ok(())
        }
    }

    struct Stopped;

    impl Core for Stopped {
        type Parcel = ();

        fn on_event(&mut self, _: Now, _: Event<'_, ()>, _: &mut Commands<()>) {}

        fn on_turn(&mut self, _: Now, _: &mut Commands<()>) -> Next {
            Next::Stop
        }

        fn on_submitted(&mut self, _: Now, _: &mut Commands<()>) {}

        fn has_mail(&self) -> bool {
            false
        }
    }

    fn waits(in_use: u32, closing: u32, polite: bool) -> u32 {
        let mut driver = Fake { now: Now::default(), in_use, closing, polite, waits: 0 };
        run(&mut driver, &mut Stopped).unwrap();
        driver.waits
    }

    #[test]
    fn the_end_waits_for_goodbyes_but_not_for_connections_left_open() {
        assert_eq!(waits(5, 0, true), 0);
        assert_eq!(waits(5, 2, true), 2);
        // Half a second each, and a peer that never closes gets a little more than one.
        assert_eq!(waits(5, 2, false), 3);
    }

    #[test]
    fn a_driver_sleeps_until_the_first_deadline_of_its_core_and_its_own() {
        let at = |seconds| Time::default() + Duration::from_secs(seconds);
        let patience = |next: Next, own: &[Time]| next.patience(at(10), own.iter().copied());
        assert_eq!(patience(Next::Now, &[at(11)]), Some(Duration::ZERO));
        assert_eq!(patience(Next::At(at(15)), &[]), Some(Duration::from_secs(5)));
        assert_eq!(patience(Next::At(at(15)), &[at(14), at(12)]), Some(Duration::from_secs(2)));
        assert_eq!(patience(Next::At(at(3)), &[at(12)]), Some(Duration::ZERO), "it is over already");
        assert_eq!(patience(Next::Event, &[at(12)]), Some(Duration::from_secs(2)));
        assert_eq!(patience(Next::Event, &[]), None);
    }
}
