//! What only real sockets can show: bursts beyond the completion queue, a listener that breaks, a driver that
//! is dropped.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use campanile_engine::{Command, Commands, Driver, Event, Next, Peers};
use support::real::{EpollKind, Kind, Real, UringKind, is_waived};
use support::{Parcel, Rig, Script, Seen, Setup};

/// Each of these tests needs most of the descriptors that a process may have.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

macro_rules! on_real_drivers {
    ($($test:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $test() { if !super::is_waived() { super::$test::<super::UringKind>(); } })*
        }
        mod epoll {
            $(#[test] fn $test() { super::$test::<super::EpollKind>(); })*
        }
    };
}

on_real_drivers!(
    everyone_is_served_when_all_are_ready_at_once,
    a_core_that_does_not_sleep_hears_of_everyone_soon,
    a_broken_listener_does_not_spin,
    a_dropped_driver_lets_go_of_its_sockets,
);

/// What a core waits for before a turn.
#[derive(Default)]
struct Gate {
    closed: Mutex<()>,
    /// The core stands at the gate, or is passing it. A count of turns would not tell: the last one may have been
    /// counted before the gate was closed, and stand there since.
    reached: AtomicBool,
}

/// Answers every chunk with a byte. Before a turn it waits for the gate.
struct Gated {
    gate: Arc<Gate>,
}

impl Script for Gated {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>) {
        match *seen {
            Seen::Accepted { conn, .. } => commands.push(Command::Watch { conn }),
            Seen::Received { conn, .. } => commands.send(conn, Bytes::from_static(b"!")),
            _ => {}
        }
    }

    fn turn(&mut self, _: &mut Commands<Parcel>) {
        self.gate.reached.store(true, Ordering::SeqCst);
        drop(self.gate.closed.lock().unwrap_or_else(PoisonError::into_inner));
        self.gate.reached.store(false, Ordering::SeqCst);
    }
}

fn everyone_is_served_when_all_are_ready_at_once<K: Kind>() {
    // The completion queue of a ring has 8,192 entries.
    const CLIENTS: usize = 8_500;
    let _turn = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let script = move |_| Box::new(Gated { gate: Arc::clone(&gate) }) as Box<dyn Script>;
    let setup = Setup { slots: |_| 9_000, script: Box::new(script), ..Setup::default() };
    let mut rig: Real<K> = Real::start(setup);
    let mut clients = Vec::new();
    // Never more than the backlog holds.
    for part in 1..=CLIENTS / 500 {
        clients.extend((0..500).map(|_| rig.connect(0)));
        rig.until("all are accepted", |rig| {
            let accepted = rig.board(0).count(|seen| matches!(seen, Seen::Accepted { .. }));
            (accepted == part * 500).then_some(())
        });
    }
    rig.carry_out(0, vec![]);
    for _ in 0..2 {
        let closed = held.closed.lock().unwrap_or_else(PoisonError::into_inner);
        rig.order(0, vec![]);
        rig.until("the core stands at the gate", |_| held.reached.load(Ordering::SeqCst).then_some(()));
        for client in &mut clients {
            rig.write(client, b"?");
        }
        drop(closed);
        for client in &mut clients {
            assert_eq!(rig.read(client, 1), b"!");
        }
    }
}

/// Counts the turns from the first input to the last.
struct Counting {
    gated: Gated,
    expected: u32,
    received: u32,
    turns: u32,
    result: Arc<AtomicU32>,
}

impl Script for Counting {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>) {
        self.gated.seen(seen, commands);
        self.received += u32::from(matches!(seen, Seen::Received { .. }));
        if self.received == self.expected && self.result.load(Ordering::SeqCst) == 0 {
            self.result.store(self.turns + 1, Ordering::SeqCst);
        }
    }

    fn turn(&mut self, commands: &mut Commands<Parcel>) {
        self.turns += u32::from(self.received > 0);
        self.gated.turn(commands);
    }
}

fn a_core_that_does_not_sleep_hears_of_everyone_soon<K: Kind>() {
    const CLIENTS: u32 = 2_000;
    const TURNS_MAX: u32 = 12;
    let _turn = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let (gate, result) = (Arc::new(Gate::default()), Arc::new(AtomicU32::new(0)));
    let (held, turns) = (Arc::clone(&gate), Arc::clone(&result));
    let script = move |_| {
        let gated = Gated { gate: Arc::clone(&gate) };
        let result = Arc::clone(&result);
        Box::new(Counting { gated, expected: CLIENTS, received: 0, turns: 0, result }) as Box<dyn Script>
    };
    let setup = Setup { slots: |_| 3_000, script: Box::new(script), ..Setup::default() };
    let mut rig: Real<K> = Real::start(setup);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| rig.connect(0)).collect();
    rig.until("all are accepted", |rig| {
        let accepted = rig.board(0).count(|seen| matches!(seen, Seen::Accepted { .. }));
        (accepted == CLIENTS as usize).then_some(())
    });
    // All are watched, and from now on the core always wants its next turn at once.
    rig.carry_out(0, vec![]);
    rig.board(0).set_every(Duration::ZERO);
    rig.carry_out(0, vec![]);
    let closed = held.closed.lock().unwrap_or_else(PoisonError::into_inner);
    rig.until("the core stands at the gate", |_| held.reached.load(Ordering::SeqCst).then_some(()));
    for client in &mut clients {
        rig.write(client, b"?");
    }
    drop(closed);
    for client in &mut clients {
        assert_eq!(rig.read(client, 1), b"!");
    }
    let turns = turns.load(Ordering::SeqCst);
    assert!((1..=TURNS_MAX).contains(&turns), "{turns} turns for {CLIENTS} sockets that were ready");
}

fn a_broken_listener_does_not_spin<K: Kind>() {
    let mut rig: Real<K> = Real::start(Setup::default());
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    rustix::net::shutdown(rig.listener(0), rustix::net::Shutdown::Both).expect("it listens");
    rig.carry_out(0, vec![]);
    let turns = rig.board(0).turns();
    std::thread::sleep(Duration::from_millis(200));
    let taken = rig.board(0).turns() - turns;
    assert!(taken < 200, "{taken} turns for nothing");
    // Whoever is connected notices nothing.
    rig.carry_out(0, vec![Command::Send { conn, bytes: Bytes::from("hello") }]);
    assert_eq!(rig.read(&mut client, 5), b"hello");
}

fn a_dropped_driver_lets_go_of_its_sockets<K: Kind>() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let peers: Arc<Peers<Parcel>> = Peers::new(1).expect("descriptors");
    let mut driver = K::make(0, Arc::clone(&peers), 64, listener.into());
    let mut client = std::net::TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(support::DEADLINE)).expect("an option");
    let mut commands = Commands::default();
    commands.push(Command::Accept { on: true });
    let mut conn = None;
    while conn.is_none() {
        driver.submit(&mut commands, &mut |_| {}).expect("the driver works");
        let soon = Next::At(driver.now().time + Duration::from_millis(50));
        let mut report = |_, event: Event<'_, Parcel>| {
            if let Event::Accepted { conn: accepted, .. } = event {
                conn = Some(accepted);
            }
        };
        driver.wait(soon, &|| false, &mut report).expect("the driver works");
    }
    let conn = conn.expect("accepted");
    commands.push(Command::Watch { conn });
    driver.submit(&mut commands, &mut |_| {}).expect("the driver works");
    // The others still hold its ring, and this thread lives on.
    drop(driver);
    let end = std::io::Read::read(&mut client, &mut [0]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    drop(peers);
}
