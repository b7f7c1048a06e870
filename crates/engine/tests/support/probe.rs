//! The core under the test's hand.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use campanile_engine::{Command, Commands, Conn, Core, Event, Next, Now};

/// What travels with a connection: whatever a test likes.
pub(crate) type Parcel = Vec<u8>;

/// An event, without what it borrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Accepted { conn: Conn, peer: SocketAddr },
    Connected { conn: Conn, tag: u64 },
    ConnectFailed { tag: u64, error: ErrorKind },
    Received { conn: Conn, data: Vec<u8> },
    HungUp { conn: Conn, error: Option<ErrorKind> },
    Writable { conn: Conn },
    SendIncomplete { conn: Conn, rest: Bytes, error: Option<ErrorKind> },
    HandedIn { conn: Conn, parcel: Parcel },
    HandOffFailed { conn: Conn, parcel: Parcel },
}

/// What a core does without being told.
pub(crate) trait Script: Send {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>);

    /// Once a turn.
    fn turn(&mut self, commands: &mut Commands<Parcel>) {
        let _ = commands;
    }
}

/// Does nothing by itself.
pub(crate) struct Silent;

impl Script for Silent {
    fn seen(&mut self, _: &Seen, _: &mut Commands<Parcel>) {}
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    inputs: HashMap<Conn, Vec<u8>>,
    known: HashSet<Conn>,
    orders: VecDeque<Command<Parcel>>,
    /// Orders given, taken and executed.
    ordered: u64,
    taken: u64,
    executed: u64,
    every: Option<Duration>,
    stop: bool,
}

/// What a core and its test share.
#[derive(Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    has_orders: AtomicBool,
    settle: AtomicBool,
    turns: AtomicU64,
}

impl Board {
    /// The next accepted connection that was not returned before.
    pub(crate) fn next_accepted(&self) -> Option<(Conn, SocketAddr)> {
        let mut state = self.state.lock().unwrap();
        let State { seen, known, .. } = &mut *state;
        seen.iter().find_map(|seen| match seen {
            Seen::Accepted { conn, peer } if known.insert(*conn) => Some((*conn, *peer)),
            _ => None,
        })
    }

    pub(crate) fn find<T>(&self, matches: impl Fn(&Seen) -> Option<T>) -> Option<T> {
        self.state.lock().unwrap().seen.iter().find_map(matches)
    }

    pub(crate) fn count(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        self.state.lock().unwrap().seen.iter().filter(|&seen| matches(seen)).count()
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How much was received from `conn` and not taken yet.
    pub(crate) fn input_len(&self, conn: Conn) -> usize {
        self.state.lock().unwrap().inputs.get(&conn).map_or(0, Vec::len)
    }

    pub(crate) fn take_input(&self, conn: Conn) -> Vec<u8> {
        self.state.lock().unwrap().inputs.remove(&conn).unwrap_or_default()
    }

    /// How many turns the core has taken.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }

    pub(crate) fn order(&self, commands: Vec<Command<Parcel>>) {
        let mut state = self.state.lock().unwrap();
        state.orders.extend(commands);
        state.ordered += 1;
        drop(state);
        self.has_orders.store(true, Ordering::SeqCst);
    }

    /// How many times the test has ordered something.
    pub(crate) fn ordered(&self) -> u64 {
        self.state.lock().unwrap().ordered
    }

    /// How many of these orders the driver has executed.
    pub(crate) fn executed(&self) -> u64 {
        self.state.lock().unwrap().executed
    }

    /// Makes the core ask for a turn that often.
    pub(crate) fn set_every(&self, every: Duration) {
        self.state.lock().unwrap().every = Some(every);
        self.has_orders.store(true, Ordering::SeqCst);
    }

    /// After the core has stopped, the driver is to finish what is closing.
    pub(crate) fn settle(&self) {
        self.settle.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_to_settle(&self) -> bool {
        self.settle.load(Ordering::SeqCst)
    }

    /// Makes the core stop.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap().stop = true;
        self.has_orders.store(true, Ordering::SeqCst);
    }
}

/// Writes down what it sees, does what its script and its test say.
pub(crate) struct Probe {
    pub(crate) board: Arc<Board>,
    pub(crate) script: Box<dyn Script>,
}

impl Core for Probe {
    type Parcel = Parcel;

    fn on_event(&mut self, _: Now, event: Event<'_, Parcel>, commands: &mut Commands<Parcel>) {
        let seen = match event {
            Event::Accepted { conn, peer } => Seen::Accepted { conn, peer },
            Event::Connected { conn, tag } => Seen::Connected { conn, tag },
            Event::ConnectFailed { tag, error } => Seen::ConnectFailed { tag, error },
            Event::Received { conn, data } => {
                assert!(!data.is_empty(), "no input is no event");
                Seen::Received { conn, data: data.to_vec() }
            }
            Event::HungUp { conn, error } => Seen::HungUp { conn, error },
            Event::Writable { conn } => Seen::Writable { conn },
            Event::SendIncomplete { conn, rest, error } => Seen::SendIncomplete { conn, rest, error },
            Event::HandedIn { conn, parcel } => Seen::HandedIn { conn, parcel: *parcel },
            Event::HandOffFailed { conn, parcel } => Seen::HandOffFailed { conn, parcel: *parcel },
        };
        self.script.seen(&seen, commands);
        let mut state = self.board.state.lock().unwrap();
        if let Seen::Received { conn, data } = &seen {
            state.inputs.entry(*conn).or_default().extend(data);
        }
        state.seen.push(seen);
    }

    fn on_turn(&mut self, now: Now, commands: &mut Commands<Parcel>) -> Next {
        self.board.turns.fetch_add(1, Ordering::SeqCst);
        self.script.turn(commands);
        self.board.has_orders.store(false, Ordering::SeqCst);
        let mut state = self.board.state.lock().unwrap();
        for command in state.orders.drain(..) {
            commands.push(command);
        }
        state.taken = state.ordered;
        match state.every {
            _ if state.stop => Next::Stop,
            Some(every) => Next::At(now.time + every),
            None => Next::Event,
        }
    }

    fn on_submitted(&mut self, _: Now, _: &mut Commands<Parcel>) {
        let mut state = self.board.state.lock().unwrap();
        state.executed = state.taken;
    }

    fn has_mail(&self) -> bool {
        self.board.has_orders.load(Ordering::SeqCst)
    }
}
