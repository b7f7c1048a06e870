//! The simulator keeps its own promises: a seed repeats a run, and every fault happens.

mod support;

use std::io::ErrorKind;

use bytes::Bytes;
use campanile_engine::sim::Faults;
use campanile_engine::{CloseMode, Command, Conn};
use support::echo::Echo;
use support::simulated::{SimClient, Simulated};
use support::{End, Rig, Script, Seen, Setup, pattern};

fn echoing(seed: u64, faults: Faults) -> Simulated {
    Simulated::start(Setup {
        seed,
        faults,
        script: Box::new(|_| Box::new(Echo::default())),
        ..Setup::default()
    })
}

/// Clients that talk to an echo over a hostile network, and everything that its core saw, with when.
fn trace(seed: u64) -> (Vec<Seen>, u64, u64) {
    let mut rig = echoing(seed, Faults { clock_jump: 20, ..Faults::HOSTILE });
    let clients: Vec<SimClient> = (0..10).map(|_| rig.connect(0)).collect();
    for round in 0..20 {
        for client in &clients {
            rig.world.send(client.client, &pattern(round, 300));
            rig.world.steps(3);
            rig.world.receive(client.client);
        }
    }
    (rig.board(0).all(), rig.world.now().time.as_nanos(), rig.world.now().unix_ms)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        let first = trace(seed);
        assert!(!first.0.is_empty());
        assert!(first == trace(seed), "seed {seed} gives two runs");
        assert!(first != trace(seed + 100), "seeds {seed} and {} give one run", seed + 100);
    }
}

#[test]
fn an_echo_survives_whatever_the_network_does_but_resets() {
    for seed in 0..30 {
        let mut rig = echoing(seed, Faults { reset: 0, ..Faults::HOSTILE });
        let mut clients: Vec<SimClient> = (0..5).map(|_| rig.connect(0)).collect();
        for round in 0..10 {
            for (index, client) in clients.iter_mut().enumerate() {
                let bytes = pattern(seed + round, 1 + 37 * index);
                rig.write(client, &bytes);
                assert_eq!(rig.read(client, bytes.len()), bytes, "seed {seed}");
            }
        }
        for client in &mut clients {
            rig.finish(client);
            assert_eq!(rig.read_to_end(client), (Vec::new(), End::Closed), "seed {seed}");
        }
        assert_eq!(rig.stop(), [0], "seed {seed}");
    }
}

/// A world with one connection on which only `faults` can go wrong, always.
fn one_fault(faults: Faults) -> (Simulated, SimClient, Conn) {
    let mut rig = Simulated::start(Setup { nodes: 2, ..Setup::default() });
    let client = rig.connect(0);
    let conn = rig.accepted(0);
    rig.world.set_faults(faults);
    (rig, client, conn)
}

/// What became of a send of 1,000 bytes.
fn incomplete(rig: &mut Simulated, conn: Conn) -> (usize, Option<ErrorKind>) {
    rig.carry_out(0, vec![Command::Send { conn, bytes: Bytes::from(pattern(1, 1_000)) }]);
    rig.sees(0, "a send is incomplete", |seen| match seen {
        Seen::SendIncomplete { rest, error, .. } => Some((rest.len(), *error)),
        _ => None,
    })
}

#[test]
fn a_send_can_be_short() {
    let (mut rig, mut client, conn) = one_fault(Faults { short_send: 1_000, ..Faults::NONE });
    let (rest, error) = incomplete(&mut rig, conn);
    assert!(rest > 0 && rest < 1_000 && error.is_none(), "{rest} {error:?}");
    assert_eq!(rig.read(&mut client, 1_000 - rest), pattern(1, 1_000)[..1_000 - rest]);
}

#[test]
fn a_send_can_be_refused() {
    let (mut rig, _client, conn) = one_fault(Faults { refused_send: 1_000, ..Faults::NONE });
    assert_eq!(incomplete(&mut rig, conn), (1_000, None));
}

#[test]
fn a_send_can_find_the_connection_broken() {
    let (mut rig, mut client, conn) = one_fault(Faults { reset: 1_000, ..Faults::NONE });
    assert_eq!(incomplete(&mut rig, conn), (1_000, Some(ErrorKind::BrokenPipe)));
    assert_eq!(rig.read_to_end(&mut client).1, End::Reset);
}

#[test]
fn a_read_can_be_partial() {
    let (mut rig, mut client, conn) = one_fault(Faults { partial_read: 1_000, ..Faults::NONE });
    rig.write(&mut client, &pattern(1, 3_000));
    rig.carry_out(0, vec![Command::Watch { conn }]);
    assert_eq!(rig.received(0, conn, 3_000), pattern(1, 3_000));
    let reads = rig.board(0).count(|seen| matches!(seen, Seen::Received { .. }));
    assert!(reads > 1, "one read gives all");
}

#[test]
fn an_event_can_be_late() {
    let (mut rig, mut client, conn) = one_fault(Faults { delay: 1_000, ..Faults::NONE });
    rig.carry_out(0, vec![Command::Watch { conn }]);
    rig.write(&mut client, b"patience");
    rig.world.steps(1_000);
    assert_eq!(rig.board(0).input_len(conn), 0);
    rig.world.set_faults(Faults::NONE);
    assert_eq!(rig.received(0, conn, 8), b"patience");
}

#[test]
fn a_hand_off_can_be_refused() {
    let (mut rig, _client, conn) = one_fault(Faults { refused_hand_off: 1_000, ..Faults::NONE });
    rig.carry_out(0, vec![Command::HandOff { conn, to: 1, parcel: Box::new(vec![5]) }]);
    let refused = rig.sees(0, "the hand-off is refused", |seen| match seen {
        Seen::HandOffFailed { conn, parcel } => Some((*conn, parcel.clone())),
        _ => None,
    });
    assert_eq!(refused, (conn, vec![5]));
}

#[test]
fn the_clocks_can_jump() {
    let (mut rig, _client, _) = one_fault(Faults { clock_jump: 1_000, ..Faults::NONE });
    let (mut back, mut far) = (false, false);
    for _ in 0..200 {
        let before = rig.world.now();
        rig.world.step();
        let after = rig.world.now();
        assert!(after.time >= before.time, "the monotonic clock never goes back");
        back |= after.unix_ms < before.unix_ms;
        far |= after.time.since(before.time).as_secs() >= 1;
    }
    assert!(back && far, "back {back}, far {far}");
}

#[test]
fn a_window_can_be_narrow() {
    let faults = Faults { window_bytes_max: 100, ..Faults::NONE };
    let mut rig = Simulated::start(Setup { faults, ..Setup::default() });
    let _client = rig.connect(0);
    let conn = rig.accepted(0);
    let (rest, error) = incomplete(&mut rig, conn);
    assert!(rest >= 900 && error.is_none(), "{rest} {error:?}");
}

#[test]
fn a_blocked_writer_learns_of_a_reset() {
    let faults = Faults { window_bytes_max: 100, ..Faults::NONE };
    let mut rig = Simulated::start(Setup { faults, ..Setup::default() });
    let client = rig.connect(0);
    let conn = rig.accepted(0);
    incomplete(&mut rig, conn);
    rig.carry_out(0, vec![Command::WatchWritable { conn }]);
    rig.reset(client);
    rig.sees(0, "the writer is told", |seen| (*seen == Seen::Writable { conn }).then_some(()));
}

#[test]
fn a_node_that_accepts_nobody_still_takes_hand_offs() {
    let script = |_| Box::new(support::Silent) as Box<dyn Script>;
    let mut rig = Simulated::start(Setup { nodes: 2, script: Box::new(script), ..Setup::default() });
    rig.carry_out(1, vec![Command::Accept { on: false }]);
    let _waiting = rig.connect(1);
    let _client = rig.connect(0);
    let conn = rig.accepted(0);
    rig.carry_out(0, vec![Command::HandOff { conn, to: 1, parcel: Box::new(vec![]) }]);
    let there = rig.sees(1, "the connection arrives", |seen| match *seen {
        Seen::HandedIn { conn, .. } => Some(conn),
        _ => None,
    });
    rig.carry_out(1, vec![Command::Close { conn: there, mode: CloseMode::Abort }]);
    assert_eq!(rig.stop(), [0, 0]);
}
