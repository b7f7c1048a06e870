//! What every driver promises, tried on all three: `uring` and `epoll` on real sockets, `sim` in the simulator.

mod support;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use campanile_engine::sim::Faults;
use campanile_engine::{CloseMode, Command, Commands, Conn};
use support::echo::Echo;
use support::{End, Parcel, Rig, Script, Seen, Setup, pattern};

/// Declares each test once for each driver.
macro_rules! on_every_driver {
    ($($test:ident),* $(,)?) => {
        mod uring {
            use super::support::real::{Real, UringKind, is_waived};
            $(#[test] fn $test() { if !is_waived() { super::$test::<Real<UringKind>>(); } })*
        }
        mod epoll {
            use super::support::real::{EpollKind, Real};
            $(#[test] fn $test() { super::$test::<Real<EpollKind>>(); })*
        }
        mod sim {
            use super::support::simulated::Simulated;
            $(#[test] fn $test() { super::$test::<Simulated>(); })*
        }
    };
}

on_every_driver!(
    accept_reports_the_peer,
    bytes_arrive_in_order_whatever_the_sizes,
    many_connections_are_echoed_at_once,
    a_large_greeting_reaches_a_slow_reader_whole,
    the_unsent_rest_is_handed_back_and_resumed_without_loss,
    sends_of_two_turns_keep_their_order,
    half_close_hangs_up_after_all_data,
    a_hang_up_is_reported_once,
    a_reset_hangs_up_with_an_error,
    graceful_close_delivers_everything_though_the_client_goes_on,
    graceful_close_ends_at_a_client_that_never_stops,
    graceful_close_ends_at_a_client_that_never_closes,
    abort_ends_at_once,
    a_stale_name_disturbs_nobody,
    watch_once_reports_once_and_leaves_nothing_armed,
    pause_holds_input_and_watch_resumes_it,
    pause_holds_back_the_end_too,
    watch_once_ends_a_pause,
    hand_offs_lose_nothing,
    a_hand_off_into_a_full_table_is_refused,
    clients_wait_while_the_table_is_full,
    wake_reaches_a_sleeping_driver,
    accept_off_stops_accepting,
    connect_reaches_a_peer_from_a_bound_source,
    connect_misses_nothing_that_the_peer_says_at_once,
    a_refused_connect_fails,
    a_connect_from_an_address_of_another_machine_fails,
    a_turn_comes_at_the_time_asked_for,
    nothing_is_named_after_its_close,
    random_ends_leave_no_slot_in_use,
);

/// A simulated network that holds no more than a real one.
const NARROW: Faults = Faults { window_bytes_max: 128 * 1024, ..Faults::NONE };

/// Reads everyone.
struct Collect;

impl Script for Collect {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>) {
        if let Seen::Accepted { conn, .. } | Seen::Connected { conn, .. } | Seen::HandedIn { conn, .. } =
            *seen
        {
            commands.push(Command::Watch { conn });
        }
    }
}

fn scripted(script: fn() -> Box<dyn Script>) -> Setup {
    Setup { script: Box::new(move |_| script()), ..Setup::default() }
}

fn collecting() -> Setup {
    scripted(|| Box::new(Collect))
}

fn echoing() -> Setup {
    scripted(|| Box::new(Echo::default()))
}

fn send(conn: Conn, bytes: impl Into<Bytes>) -> Command<Parcel> {
    Command::Send { conn, bytes: bytes.into() }
}

fn close(conn: Conn, mode: CloseMode) -> Command<Parcel> {
    Command::Close { conn, mode }
}

fn hung_up(of: Conn) -> impl Fn(&Seen) -> Option<Option<ErrorKind>> {
    move |seen| match *seen {
        Seen::HungUp { conn, error } if conn == of => Some(error),
        _ => None,
    }
}

fn handed_in(seen: &Seen) -> Option<(Conn, Parcel)> {
    match seen {
        Seen::HandedIn { conn, parcel } => Some((*conn, parcel.clone())),
        _ => None,
    }
}

fn accept_reports_the_peer<R: Rig>() {
    let mut rig = R::start(Setup::default());
    let clients: Vec<R::Client> = (0..20).map(|_| rig.connect(0)).collect();
    for client in &clients {
        let (_, peer) = rig.until("a connection is accepted", |rig| rig.board(0).next_accepted());
        assert!(peer.ip().is_loopback(), "{peer}");
        if rig.local(client).is_some() {
            let known = clients.iter().filter_map(|client| rig.local(client)).any(|local| local == peer);
            assert!(known, "{peer} is nobody's address");
        }
    }
}

fn bytes_arrive_in_order_whatever_the_sizes<R: Rig>() {
    let mut rig = R::start(collecting());
    for size in [1, 2, 100, 4_095, 4_096, 4_097, 16_385, 65_536, 1 << 20] {
        let mut client = rig.connect(0);
        let conn = rig.accepted(0);
        let bytes = pattern(size as u64, size);
        rig.write(&mut client, &bytes);
        assert!(rig.received(0, conn, size) == bytes, "{size} bytes arrive as they were");
    }
}

fn many_connections_are_echoed_at_once<R: Rig>() {
    let mut rig = R::start(Setup { slots: |_| 400, ..echoing() });
    let mut clients: Vec<R::Client> = (0..300).map(|_| rig.connect(0)).collect();
    for round in 0..5u64 {
        for (index, client) in clients.iter_mut().enumerate() {
            rig.write(client, &pattern(round << 32 | index as u64, 1 + index * 7));
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let expected = pattern(round << 32 | index as u64, 1 + index * 7);
            assert!(rig.read(client, expected.len()) == expected, "client {index} gets its own bytes");
        }
    }
    for client in &mut clients {
        rig.finish(client);
        assert_eq!(rig.read_to_end(client), (Vec::new(), End::Closed));
    }
    drop(clients);
    assert_eq!(rig.stop(), [0]);
}

fn a_large_greeting_reaches_a_slow_reader_whole<R: Rig>() {
    let greeting = pattern(3, 1 << 20);
    let mut rig = R::start(scripted(|| Box::new(Echo::greeting(pattern(3, 1 << 20)))));
    let mut clients: Vec<R::Client> = (0..4).map(|_| rig.connect(0)).collect();
    for chunk in greeting.chunks(40_000) {
        for client in &mut clients {
            assert!(rig.read(client, chunk.len()) == chunk);
        }
    }
}

fn the_unsent_rest_is_handed_back_and_resumed_without_loss<R: Rig>() {
    let mut rig = R::start(Setup { faults: NARROW, ..Setup::default() });
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    let bytes = Bytes::from(pattern(4, 4 << 20));
    let mut rest = bytes.clone();
    let mut got = Vec::new();
    let incomplete = |seen: &Seen| matches!(seen, Seen::SendIncomplete { .. });
    let mut shortages = 0;
    loop {
        rig.carry_out(0, vec![send(conn, rest.clone())]);
        if rig.board(0).count(incomplete) == shortages {
            break;
        }
        shortages += 1;
        let last = rig.board(0).all().into_iter().rfind(incomplete);
        let Some(Seen::SendIncomplete { conn: of, rest: unsent, error }) = last else { unreachable!() };
        assert_eq!((of, error), (conn, None));
        assert!(unsent.len() <= rest.len() && unsent == rest[rest.len() - unsent.len()..]);
        // The peer reads exactly what went out: no byte of the rest is there.
        got.extend(rig.read(&mut client, rest.len() - unsent.len()));
        rest = unsent;
        rig.carry_out(0, vec![Command::WatchWritable { conn }]);
        rig.until("the connection takes bytes again", |rig| {
            let writable = rig.board(0).count(|seen| *seen == Seen::Writable { conn });
            (writable == shortages).then_some(())
        });
    }
    assert!(shortages > 0, "4 MiB do not fit");
    got.extend(rig.read(&mut client, rest.len()));
    assert!(got == bytes, "every byte once");
    rig.carry_out(0, vec![close(conn, CloseMode::Graceful)]);
    assert_eq!(rig.read_to_end(&mut client), (Vec::new(), End::Closed));
}

fn sends_of_two_turns_keep_their_order<R: Rig>() {
    let mut rig = R::start(Setup::default());
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    for round in 0..50u8 {
        rig.carry_out(0, vec![send(conn, vec![round; 10])]);
        rig.carry_out(0, vec![send(conn, vec![round + 100; 20])]);
    }
    for round in 0..50u8 {
        assert_eq!(rig.read(&mut client, 10), [round; 10]);
        assert_eq!(rig.read(&mut client, 20), [round + 100; 20]);
    }
}

fn half_close_hangs_up_after_all_data<R: Rig>() {
    let mut rig = R::start(collecting());
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    let bytes = pattern(5, 100_000);
    rig.write(&mut client, &bytes);
    rig.finish(&mut client);
    assert_eq!(rig.sees(0, "the client hangs up", hung_up(conn)), None);
    assert!(rig.board(0).take_input(conn) == bytes, "all data come first");
    // The other direction is still open.
    rig.carry_out(0, vec![send(conn, "farewell"), close(conn, CloseMode::Graceful)]);
    assert_eq!(rig.read_to_end(&mut client), (b"farewell".to_vec(), End::Closed));
    assert_eq!(rig.stop(), [0]);
}

fn a_hang_up_is_reported_once<R: Rig>() {
    let mut rig = R::start(collecting());
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    rig.finish(&mut client);
    assert_eq!(rig.sees(0, "the client hangs up", hung_up(conn)), None);
    rig.reset(client);
    // The reset is noticed by sends; it wakes the poll too.
    rig.until("sends fail", |rig| {
        rig.board(0).order(vec![send(conn, "x")]);
        rig.wake(0);
        rig.board(0).find(|seen| match seen {
            Seen::SendIncomplete { error: Some(_), .. } => Some(()),
            _ => None,
        })
    });
    for _ in 0..10 {
        rig.carry_out(0, vec![]);
    }
    assert_eq!(rig.board(0).count(|seen| hung_up(conn)(seen).is_some()), 1);
}

fn a_reset_hangs_up_with_an_error<R: Rig>() {
    let mut rig = R::start(collecting());
    let client = rig.connect(0);
    let conn = rig.accepted(0);
    rig.reset(client);
    assert_eq!(rig.sees(0, "the client hangs up", hung_up(conn)), Some(ErrorKind::ConnectionReset));
    rig.carry_out(0, vec![send(conn, "too late")]);
    rig.sees(0, "a send fails", |seen| match seen {
        Seen::SendIncomplete { conn: of, rest, error: Some(_) } if *of == conn => Some(rest.clone()),
        _ => None,
    });
    rig.carry_out(0, vec![close(conn, CloseMode::Graceful)]);
    assert_eq!(rig.stop(), [0]);
}

fn graceful_close_delivers_everything_though_the_client_goes_on<R: Rig>() {
    let mut rig = R::start(Setup { slots: |_| 16, ..Setup::default() });
    for round in 0..20 {
        let mut client = rig.connect(0);
        let conn = rig.accepted(0);
        rig.write(&mut client, &pattern(round, 10_000));
        let farewell = pattern(round, 8_000);
        rig.carry_out(0, vec![send(conn, farewell.clone()), close(conn, CloseMode::Graceful)]);
        // Still less than is discarded at most.
        rig.try_write(&mut client, &pattern(round, 30_000));
        assert!(rig.read_to_end(&mut client) == (farewell, End::Closed), "no reset overtakes the farewell");
        rig.reset(client);
    }
    assert_eq!(rig.stop(), [0]);
}

fn graceful_close_ends_at_a_client_that_never_stops<R: Rig>() {
    let mut rig = R::start(Setup { faults: NARROW, ..Setup::default() });
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    rig.carry_out(0, vec![close(conn, CloseMode::Graceful)]);
    let bytes = pattern(6, 1 << 20);
    let stopped = (0..64).any(|_| !rig.try_write(&mut client, &bytes));
    assert!(stopped, "64 MiB after the close");
    assert_eq!(rig.stop(), [0]);
}

fn graceful_close_ends_at_a_client_that_never_closes<R: Rig>() {
    let mut rig = R::start(collecting());
    let clients: Vec<R::Client> = (0..10).map(|_| rig.connect(0)).collect();
    for _ in &clients {
        let conn = rig.accepted(0);
        rig.carry_out(0, vec![close(conn, CloseMode::Graceful)]);
    }
    // The clients are still there.
    assert_eq!(rig.stop(), [0]);
    drop(clients);
}

fn abort_ends_at_once<R: Rig>() {
    let mut rig = R::start(collecting());
    let mut clients: Vec<R::Client> = (0..10).map(|_| rig.connect(0)).collect();
    for _ in 0..10 {
        let conn = rig.accepted(0);
        rig.carry_out(0, vec![close(conn, CloseMode::Abort)]);
    }
    for client in &mut clients {
        rig.read_to_end(client);
    }
    assert_eq!(rig.stop(), [0]);
}

fn a_stale_name_disturbs_nobody<R: Rig>() {
    let mut rig = R::start(Setup { slots: |_| 12, ..collecting() });
    let mut first = rig.connect(0);
    let stale = rig.accepted(0);
    rig.carry_out(0, vec![close(stale, CloseMode::Abort)]);
    rig.read_to_end(&mut first);
    // Sooner or later the slot has another tenant.
    let (mut client, conn) = loop {
        let mut client = rig.connect(0);
        let conn = rig.accepted(0);
        assert_ne!(conn, stale);
        if conn.slot == stale.slot {
            break (client, conn);
        }
        rig.carry_out(0, vec![close(conn, CloseMode::Abort)]);
        rig.read_to_end(&mut client);
    };
    rig.carry_out(
        0,
        vec![
            send(stale, "for nobody"),
            Command::Pause { conn: stale },
            Command::WatchWritable { conn: stale },
            Command::WatchOnce { conn: stale },
            close(stale, CloseMode::Graceful),
            close(stale, CloseMode::Abort),
        ],
    );
    let refused = rig.sees(0, "the stale send is refused", |seen| match seen {
        Seen::SendIncomplete { conn, rest, error } if *conn == stale => Some((rest.clone(), *error)),
        _ => None,
    });
    assert_eq!(refused, (Bytes::from("for nobody"), Some(ErrorKind::NotConnected)));
    rig.write(&mut client, b"question");
    assert_eq!(rig.received(0, conn, 8), b"question");
    rig.carry_out(0, vec![send(conn, "answer")]);
    assert_eq!(rig.read(&mut client, 6), b"answer");
    assert_eq!(rig.board(0).count(|seen| matches!(seen, Seen::Writable { .. })), 0);
}

fn watch_once_reports_once_and_leaves_nothing_armed<R: Rig>() {
    let mut rig = R::start(Setup { nodes: 2, ..Setup::default() });
    for early in [false, true] {
        let mut client = rig.connect(0);
        let conn = rig.accepted(0);
        if early {
            rig.write(&mut client, b"one");
        }
        rig.carry_out(0, vec![Command::WatchOnce { conn }]);
        if !early {
            rig.write(&mut client, b"one");
        }
        assert_eq!(rig.received(0, conn, 3), b"one");
        rig.write(&mut client, b"two");
        for _ in 0..5 {
            rig.carry_out(0, vec![]);
        }
        assert_eq!(rig.board(0).input_len(conn), 0, "nothing more was asked for");
        // Only a connection with nothing armed can be handed off.
        rig.carry_out(0, vec![Command::HandOff { conn, to: 1, parcel: Box::new(vec![u8::from(early)]) }]);
        let there = rig.sees(1, "the connection arrives", |seen| {
            handed_in(seen).filter(|(_, parcel)| *parcel == [u8::from(early)])
        });
        rig.carry_out(1, vec![Command::Watch { conn: there.0 }]);
        assert_eq!(rig.received(1, there.0, 3), b"two");
    }
}

fn pause_holds_input_and_watch_resumes_it<R: Rig>() {
    let mut rig = R::start(collecting());
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    let mut other = rig.connect(0);
    let witness = rig.accepted(0);
    for round in 0..20 {
        let bytes = pattern(round, 1 + 700 * round as usize);
        rig.carry_out(0, vec![Command::Pause { conn }]);
        rig.write(&mut client, &bytes);
        // What the witness wrote later is there: the held input must be held by the driver.
        rig.write(&mut other, b"tick");
        rig.received(0, witness, 4);
        assert_eq!(rig.board(0).input_len(conn), 0, "round {round}: paused");
        rig.carry_out(0, vec![Command::Watch { conn }]);
        assert!(rig.received(0, conn, bytes.len()) == bytes, "round {round}: nothing is lost");
    }
}

fn pause_holds_back_the_end_too<R: Rig>() {
    let mut rig = R::start(collecting());
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    rig.carry_out(0, vec![Command::Pause { conn }]);
    rig.write(&mut client, b"last words");
    rig.finish(&mut client);
    rig.carry_out(0, vec![]);
    assert_eq!(rig.board(0).find(hung_up(conn)), None);
    rig.carry_out(0, vec![Command::Watch { conn }]);
    assert_eq!(rig.sees(0, "the client hangs up", hung_up(conn)), None);
    assert_eq!(rig.board(0).take_input(conn), b"last words");
}

fn watch_once_ends_a_pause<R: Rig>() {
    let mut rig = R::start(Setup::default());
    let mut client = rig.connect(0);
    let conn = rig.accepted(0);
    rig.carry_out(0, vec![Command::WatchOnce { conn }]);
    rig.carry_out(0, vec![Command::Pause { conn }]);
    rig.write(&mut client, b"held");
    for _ in 0..5 {
        rig.carry_out(0, vec![]);
    }
    assert_eq!(rig.board(0).input_len(conn), 0);
    rig.carry_out(0, vec![Command::WatchOnce { conn }]);
    assert_eq!(rig.received(0, conn, 4), b"held");
}

/// Echoes one chunk, then sends the connection around: once with what was read, twice with unread input.
struct Bounce {
    index: usize,
    nodes: usize,
    hops: HashMap<Conn, u8>,
}

impl Script for Bounce {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>) {
        let (conn, hops) = match *seen {
            Seen::Accepted { conn, .. } => (conn, 0),
            Seen::HandedIn { conn, ref parcel } | Seen::HandOffFailed { conn, ref parcel } => {
                (conn, parcel[0])
            }
            Seen::Received { conn, ref data } => {
                commands.send(conn, Bytes::copy_from_slice(data));
                (conn, 3)
            }
            Seen::HungUp { conn, .. } => return commands.close(conn, CloseMode::Graceful),
            _ => return,
        };
        self.hops.insert(conn, hops);
        if hops == 0 {
            return commands.push(Command::WatchOnce { conn });
        }
        let to = (self.index + 1) % self.nodes;
        commands.push(Command::HandOff { conn, to, parcel: Box::new(vec![hops - 1]) });
    }
}

fn hand_offs_lose_nothing<R: Rig>() {
    let script = |index| Box::new(Bounce { index, nodes: 3, hops: HashMap::new() }) as Box<dyn Script>;
    let mut rig = R::start(Setup { nodes: 3, slots: |_| 128, script: Box::new(script), ..Setup::default() });
    let mut clients: Vec<R::Client> = (0..20).map(|index| rig.connect(index % 3)).collect();
    for round in 0..60 {
        // In every second round more arrives while the connection is on its way.
        let parts = 1 + round % 2 * 2;
        for part in 0..parts {
            for (index, client) in clients.iter_mut().enumerate() {
                rig.write(client, &pattern((index + part) as u64, 8));
            }
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let expected: Vec<u8> = (0..parts).flat_map(|part| pattern((index + part) as u64, 8)).collect();
            assert_eq!(rig.read(client, expected.len()), expected, "round {round}, client {index}");
        }
    }
    let hops: usize = (0..3).map(|node| rig.board(node).count(|seen| handed_in(seen).is_some())).sum();
    assert!(hops >= 3_000, "{hops} hand-offs");
    for client in &mut clients {
        rig.finish(client);
        assert_eq!(rig.read_to_end(client).1, End::Closed);
    }
    drop(clients);
    assert_eq!(rig.stop(), [0, 0, 0]);
}

fn a_hand_off_into_a_full_table_is_refused<R: Rig>() {
    let slots = |node| if node == 1 { 4 } else { 64 };
    let mut rig = R::start(Setup { nodes: 2, slots, accept: true, ..Setup::default() });
    let mut clients: Vec<R::Client> = (0..5).map(|_| rig.connect(0)).collect();
    let conns: Vec<Conn> = (0..5).map(|_| rig.accepted(0)).collect();
    let parcel = |number: usize| Box::new(vec![number as u8]);
    for (number, &conn) in conns.iter().enumerate().take(4) {
        rig.carry_out(0, vec![Command::HandOff { conn, to: 1, parcel: parcel(number) }]);
        rig.until("it arrives", |rig| {
            (rig.board(1).count(|seen| handed_in(seen).is_some()) == number + 1).then_some(())
        });
    }
    let last = conns[4];
    let failed = |seen: &Seen| match seen {
        Seen::HandOffFailed { conn, parcel } => Some((*conn, parcel.clone())),
        _ => None,
    };
    rig.carry_out(0, vec![Command::HandOff { conn: last, to: 1, parcel: parcel(4) }]);
    assert_eq!(rig.sees(0, "the hand-off is refused", failed), (last, vec![4]));
    // It is usable as before.
    rig.write(&mut clients[4], b"still there?");
    rig.carry_out(0, vec![Command::WatchOnce { conn: last }]);
    assert_eq!(rig.received(0, last, 12), b"still there?");
    rig.carry_out(0, vec![send(last, "yes")]);
    assert_eq!(rig.read(&mut clients[4], 3), b"yes");
    // Once there is room it succeeds.
    let (there, _) = rig.sees(1, "a hand-off", handed_in);
    rig.carry_out(1, vec![close(there, CloseMode::Abort)]);
    let mut failures = 0;
    rig.until("there is room", |rig| {
        if rig.board(0).count(|seen| failed(seen).is_some()) > failures {
            failures += 1;
            rig.board(0).order(vec![Command::HandOff { conn: last, to: 1, parcel: parcel(4) }]);
            rig.wake(0);
        }
        rig.board(1).find(|seen| handed_in(seen).filter(|(_, parcel)| *parcel == [4]))
    });
}

/// Says a word to everyone and closes.
struct Greet;

impl Script for Greet {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>) {
        if let Seen::Accepted { conn, .. } = *seen {
            commands.send(conn, Bytes::from("word"));
            commands.close(conn, CloseMode::Graceful);
        }
    }
}

fn clients_wait_while_the_table_is_full<R: Rig>() {
    let mut rig = R::start(Setup { slots: |_| 12, ..scripted(|| Box::new(Greet)) });
    let clients: Vec<R::Client> = (0..200).map(|_| rig.connect(0)).collect();
    for mut client in clients {
        assert_eq!(rig.read_to_end(&mut client), (b"word".to_vec(), End::Closed));
        rig.reset(client);
    }
    assert_eq!(rig.stop(), [0]);
}

fn wake_reaches_a_sleeping_driver<R: Rig>() {
    let mut rig = R::start(Setup { nodes: 2, ..Setup::default() });
    for _ in 0..300 {
        // From another thread.
        rig.carry_out(0, vec![]);
        // From another driver: nobody else tells the second one of its orders.
        rig.board(1).order(vec![]);
        let ordered = rig.board(1).ordered();
        rig.order(0, vec![Command::Wake { to: 1 }]);
        rig.until("the other takes its turn", |rig| (rig.board(1).executed() >= ordered).then_some(()));
    }
}

fn accept_off_stops_accepting<R: Rig>() {
    let mut rig = R::start(collecting());
    let mut first = rig.connect(0);
    let conn = rig.accepted(0);
    for _ in 0..10 {
        rig.carry_out(0, vec![Command::Accept { on: false }]);
        // The turn after it has told the kernel.
        rig.carry_out(0, vec![]);
        let _second = rig.connect(0);
        for _ in 0..3 {
            rig.write(&mut first, b"tick");
            rig.received(0, conn, 4);
        }
        assert_eq!(rig.board(0).next_accepted(), None);
        rig.carry_out(0, vec![Command::Accept { on: true }]);
        rig.accepted(0);
    }
}

fn connect_reaches_a_peer_from_a_bound_source<R: Rig>() {
    let mut rig = R::start(Setup { nodes: 2, ..echoing() });
    let to = rig.address(1);
    let source: IpAddr = [127, 0, 0, 2].into();
    for (tag, from) in [(1, None), (2, Some(SocketAddr::new(source, 0)))] {
        rig.carry_out(0, vec![Command::Connect { tag, from, to }]);
        let conn = rig.sees(0, "the connect succeeds", |seen| match *seen {
            Seen::Connected { conn, tag: of } if of == tag => Some(conn),
            _ => None,
        });
        let (there, peer) = rig.until("the peer accepts", |rig| rig.board(1).next_accepted());
        if from.is_some() {
            assert_eq!(peer.ip(), source);
        }
        // Both echo, so whatever is said once goes back and forth.
        rig.carry_out(0, vec![send(conn, "ball")]);
        for _ in 0..3 {
            let take = |rig: &R, node: usize, conn| (rig.board(node).input_len(conn) >= 4).then_some(());
            rig.until("the ball is there", |rig| take(rig, 1, there));
            rig.until("the ball is back", |rig| take(rig, 0, conn));
        }
        rig.carry_out(0, vec![close(conn, CloseMode::Abort)]);
        rig.sees(1, "the peer sees the end", hung_up(there));
    }
}

fn connect_misses_nothing_that_the_peer_says_at_once<R: Rig>() {
    let script = |index| match index {
        0 => Box::new(Collect) as Box<dyn Script>,
        _ => Box::new(Greet),
    };
    let setup = Setup { nodes: 2, slots: |_| 300, script: Box::new(script), ..Setup::default() };
    let mut rig = R::start(setup);
    let to = rig.address(1);
    for round in 0..20 {
        let connects = (0..10).map(|number| Command::Connect { tag: round * 10 + number, from: None, to });
        rig.carry_out(0, connects.collect());
    }
    let conns = rig.until("all are connected and have their word", |rig| {
        let all = rig.board(0).all();
        let connected = all.iter().filter_map(|seen| match *seen {
            Seen::Connected { conn, .. } => Some(conn),
            _ => None,
        });
        let conns: Vec<Conn> = connected.collect();
        let ended = all.iter().filter(|seen| matches!(seen, Seen::HungUp { .. })).count();
        (ended == 200).then_some(conns)
    });
    assert_eq!(conns.len(), 200);
    for conn in conns {
        assert_eq!(rig.board(0).take_input(conn), b"word");
        rig.board(0).order(vec![close(conn, CloseMode::Graceful)]);
    }
    rig.carry_out(0, vec![]);
    assert_eq!(rig.stop(), [0, 0]);
}

fn a_refused_connect_fails<R: Rig>() {
    let mut rig = R::start(Setup::default());
    let to = rig.nobody();
    rig.carry_out(0, vec![Command::Connect { tag: 7, from: None, to }]);
    let failed = rig.sees(0, "the connect fails", |seen| match *seen {
        Seen::ConnectFailed { tag, error } => Some((tag, error)),
        _ => None,
    });
    assert_eq!(failed, (7, ErrorKind::ConnectionRefused));
    assert_eq!(rig.stop(), [0]);
}

fn a_connect_from_an_address_of_another_machine_fails<R: Rig>() {
    let mut rig = R::start(Setup { nodes: 2, ..collecting() });
    let to = rig.address(1);
    let elsewhere = Some(SocketAddr::from(([192, 0, 2, 1], 0)));
    let connects = (0..5).map(|tag| Command::Connect { tag, from: elsewhere, to });
    rig.carry_out(0, connects.collect());
    for of in 0..5 {
        let error = rig.sees(0, "the connect fails", |seen| match *seen {
            Seen::ConnectFailed { tag, error } if tag == of => Some(error),
            _ => None,
        });
        assert_eq!(error, ErrorKind::AddrNotAvailable);
    }
    // Nobody hears of them twice, and those that come after are not mistaken for them.
    rig.carry_out(0, vec![Command::Connect { tag: 5, from: None, to }]);
    let conn = rig.sees(0, "the connect succeeds", |seen| match *seen {
        Seen::Connected { conn, tag: 5 } => Some(conn),
        _ => None,
    });
    assert_eq!(rig.board(0).count(|seen| matches!(seen, Seen::ConnectFailed { .. })), 5);
    rig.carry_out(0, vec![close(conn, CloseMode::Abort)]);
    let there = rig.accepted(1);
    rig.carry_out(1, vec![close(there, CloseMode::Abort)]);
    assert_eq!(rig.stop(), [0, 0]);
}

fn a_turn_comes_at_the_time_asked_for<R: Rig>() {
    let mut rig = R::start(Setup::default());
    rig.board(0).set_every(Duration::from_millis(2));
    rig.carry_out(0, vec![]);
    let turns = rig.board(0).turns();
    rig.until("ten turns without an event", |rig| (rig.board(0).turns() > turns + 10).then_some(()));
}

fn nothing_is_named_after_its_close<R: Rig>() {
    for mode in [CloseMode::Graceful, CloseMode::Abort] {
        let mut rig = R::start(collecting());
        let mut client = rig.connect(0);
        let conn = rig.accepted(0);
        rig.carry_out(0, vec![Command::WatchWritable { conn }, close(conn, mode)]);
        let events = rig.board(0).all().len();
        rig.try_write(&mut client, b"anyone?");
        rig.read_to_end(&mut client);
        rig.reset(client);
        for _ in 0..10 {
            rig.carry_out(0, vec![]);
        }
        let after = rig.board(0).all().split_off(events);
        assert_eq!(after, []);
        assert_eq!(rig.stop(), [0]);
    }
}

/// Does anything, at any moment.
struct Whim {
    random: fastrand::Rng,
    open: Vec<Conn>,
}

impl Script for Whim {
    fn seen(&mut self, seen: &Seen, commands: &mut Commands<Parcel>) {
        if let Seen::Accepted { conn, .. } | Seen::HandedIn { conn, .. } = *seen {
            self.open.push(conn);
            if self.random.bool() {
                commands.push(Command::Watch { conn });
            }
        }
        if let Seen::HungUp { conn, .. } = *seen {
            self.close(conn, commands);
        }
        if let Seen::Received { conn, .. } = *seen
            && self.random.u8(..) < 40
        {
            self.close(conn, commands);
        }
    }

    fn turn(&mut self, commands: &mut Commands<Parcel>) {
        for conn in self.open.clone() {
            match self.random.u8(..) {
                0..20 => commands.send(conn, Bytes::from(vec![7; self.random.usize(..20_000)])),
                20..40 => commands.push(Command::Watch { conn }),
                40..50 => commands.push(Command::WatchOnce { conn }),
                50..60 => commands.push(Command::WatchWritable { conn }),
                60..70 => commands.push(Command::Pause { conn }),
                70..90 => self.close(conn, commands),
                _ => {}
            }
        }
    }
}

impl Whim {
    fn close(&mut self, conn: Conn, commands: &mut Commands<Parcel>) {
        if let Some(at) = self.open.iter().position(|&open| open == conn) {
            self.open.swap_remove(at);
            let mode = if self.random.bool() { CloseMode::Abort } else { CloseMode::Graceful };
            commands.close(conn, mode);
        }
    }
}

fn random_ends_leave_no_slot_in_use<R: Rig>() {
    let script =
        |_| Box::new(Whim { random: fastrand::Rng::with_seed(9), open: Vec::new() }) as Box<dyn Script>;
    let mut rig = R::start(Setup { slots: |_| 200, script: Box::new(script), ..Setup::default() });
    let mut random = fastrand::Rng::with_seed(10);
    let mut clients = Vec::new();
    for _ in 0..3_000 {
        let mut client = rig.connect(0);
        rig.try_write(&mut client, &pattern(1, random.usize(..3_000)));
        clients.push(client);
        if clients.len() > 100 {
            let mut client = clients.swap_remove(random.usize(..clients.len()));
            if random.bool() {
                rig.finish(&mut client);
            }
            rig.reset(client);
        }
        if random.u8(..) < 20 {
            rig.carry_out(0, vec![]);
        }
    }
    for client in clients {
        rig.reset(client);
    }
    // Everyone is accepted some time; then the core closes what its whim has left open.
    rig.until("everyone has come and gone", |rig| {
        rig.wake(0);
        let board = rig.board(0);
        (board.count(|seen| matches!(seen, Seen::Accepted { .. })) == 3_000).then_some(())
    });
    for _ in 0..200 {
        rig.carry_out(0, vec![]);
    }
    assert_eq!(rig.stop(), [0]);
}
