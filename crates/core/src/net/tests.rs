use bytes::Bytes;
use campanile_engine::{CloseMode, Command, Conn};

use super::ending::Ending;
use super::wire::Wire;
use super::{Ended, Net};
use crate::channels::membership::Membership;
use crate::delivery::window::SessionWindow;
use crate::session::{Session, State};
use crate::settings::HELD_BYTES_MAX;
use crate::testing::{ACKNOWLEDGES, Ground, NOW_MS, conn, now};
use crate::users::who::Who;

const HELLO: Bytes = Bytes::from_static(b"hello");

/// Sessions in the first slots.
fn sessions(ground: &mut Ground, count: u32) -> Net {
    let mut net = Net::new(now().time, 0, 1, HELD_BYTES_MAX);
    for slot in 0..count {
        let turn = ground.turn();
        net.come(&turn, conn(slot), State::HandingOff);
        let session = Session {
            wire: Wire::new(ACKNOWLEDGES, turn.now_ms(), turn.now_tenths()),
            window: SessionWindow::default(),
            membership: Membership::none(),
            who: Who::new(1, slot, 1, u64::MAX, NOW_MS),
        };
        net.begin_session(&turn, slot, session);
    }
    net
}

/// The bytes that each connection is sent this turn.
fn sent(net: &mut Net, ground: &mut Ground) -> Vec<(Conn, Bytes)> {
    net.flush(&mut ground.turn());
    let sends = ground.commands().into_iter().filter_map(|command| match command {
        Command::Send { conn, bytes } => Some((conn, bytes)),
        _ => None,
    });
    sends.collect()
}

#[test]
fn a_session_that_ends_is_marked_once_and_sent_nothing_after_its_close_frame() {
    let mut ground = Ground::new();
    let mut net = sessions(&mut ground, 1);
    net.post(&mut ground.turn(), 0, HELLO);
    net.end(&mut ground.turn(), 0, &Ending::Disconnected);
    net.end(&mut ground.turn(), 0, &Ending::NoPong);
    assert!(!net.has_session(conn(0)));
    assert!(matches!(net.take_ended(), Some(Ended::Session(_))));
    assert!(net.take_ended().is_none());
    assert_eq!((ground.counters.sessions.get(), ground.counters.sessions_disconnected.get()), (0, 1));
    assert_eq!(ground.counters.sessions_timed_out.get(), 0, "it had ended before");
    let sends = sent(&mut net, &mut ground);
    assert_eq!(sends.len(), 1);
    assert!(sends[0].1.starts_with(&HELLO) && sends[0].1[HELLO.len()] == 0x88, "what was sent goes before");
    net.submitted(&mut ground.turn());
    let closed = ground.commands();
    assert!(matches!(closed[..], [Command::Close { mode: CloseMode::Graceful, .. }]), "{closed:?}");
    assert_eq!(ground.counters.connections.get(), 0);
}

#[test]
fn what_an_aborted_connection_was_to_be_sent_does_not_leave() {
    let mut ground = Ground::new();
    let mut net = sessions(&mut ground, 2);
    net.post(&mut ground.turn(), 0, HELLO);
    net.post(&mut ground.turn(), 1, HELLO);
    net.abort(&mut ground.turn(), 0);
    ground.commands();
    let sends = sent(&mut net, &mut ground);
    assert_eq!(sends, [(conn(1), HELLO)]);
}

#[test]
fn a_connection_is_sent_once_in_a_turn_and_the_unsent_rest_goes_first() {
    let mut ground = Ground::new();
    let mut net = sessions(&mut ground, 1);
    net.post(&mut ground.turn(), 0, HELLO);
    net.post(&mut ground.turn(), 0, HELLO);
    assert_eq!(sent(&mut net, &mut ground), [(conn(0), Bytes::from_static(b"hellohello"))]);
    assert!(net.was_joined(0));
    net.send_incomplete(&mut ground.turn(), conn(0), Bytes::from_static(b"llo"), false);
    assert_eq!(ground.counters.bytes_held.get(), 3);
    net.post(&mut ground.turn(), 0, HELLO);
    assert!(sent(&mut net, &mut ground).is_empty(), "it takes nothing now");
    assert!(net.writable(&mut ground.turn(), conn(0)));
    assert_eq!(sent(&mut net, &mut ground), [(conn(0), Bytes::from_static(b"llohello"))]);
    assert_eq!(ground.counters.bytes_held.get(), 0);
}

#[test]
fn an_event_for_an_earlier_tenant_of_the_slot_is_nobodys() {
    let mut ground = Ground::new();
    let mut net = sessions(&mut ground, 1);
    let stale = Conn { generation: 99, ..conn(0) };
    net.send_incomplete(&mut ground.turn(), stale, HELLO, true);
    net.hung_up(&mut ground.turn(), stale);
    assert!(!net.writable(&mut ground.turn(), stale));
    assert!(net.has_session(conn(0)) && net.take_ended().is_none());
}

#[test]
fn the_largest_holder_goes_when_all_hold_too_much() {
    let mut ground = Ground::new();
    let mut net = sessions(&mut ground, 3);
    for (slot, bytes) in [(0, 100), (1, HELD_BYTES_MAX - 150), (2, 100)] {
        net.send_incomplete(&mut ground.turn(), conn(slot), Bytes::from(vec![0; bytes]), false);
    }
    assert!(net.holds_too_much());
    net.let_go_of_holders(&mut ground.turn());
    let left: Vec<bool> = (0..3).map(|slot| net.has_session(conn(slot))).collect();
    assert_eq!(left, [true, false, true]);
    assert!(net.check_held_bytes(&net.tenants(), &ground.counters).is_ok());
}
