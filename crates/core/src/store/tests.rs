use std::sync::Arc;
use std::task::Waker;

use campanile_mailbox::operations::Ticket;

use super::*;
use crate::testing::{NOW_MS, conn, now};

fn store(numbers: Range<u64>) -> (Store, Arc<Port>) {
    // Nobody sleeps.
    let port = Port::new(Waker::noop().clone(), Waker::noop().clone());
    (Store::new(Arc::clone(&port), numbers), port)
}

fn asked(store: &mut Store, port: &Port) -> Vec<Operation> {
    store.flush();
    std::iter::from_fn(|| port.take_operations()).flatten().collect()
}

fn reader(slot: u32) -> Reader {
    Reader { conn: conn(slot), who: Who::new(1, slot, 1, u64::MAX, NOW_MS), missed: 0 }
}

fn address() -> Address {
    Address { user: "ann".parse().unwrap(), device: DeviceId::try_from(1).unwrap() }
}

const READ_ON: ReadOn = ReadOn { after: 0, messages_max: 1, bytes_max: 1_000 };

#[test]
fn answers_reach_whoever_asked_in_whatever_order_they_come() {
    let (mut store, port) = store(1..10);
    store.read(reader(0), address(), READ_ON);
    store.read(reader(1), address(), READ_ON);
    assert_eq!(store.read_bytes_waiting(), 2_000);
    let tickets: Vec<Ticket<Page>> = asked(&mut store, &port)
        .into_iter()
        .filter_map(|operation| match operation {
            Operation::Read { ticket, .. } => Some(ticket),
            _ => None,
        })
        .collect();
    let page =
        |seq| Page { messages: vec![campanile_mailbox::Waiting { seq, body: Bytes::new() }], more: false };
    port.complete(vec![Completion::Read(tickets[1], Ok(page(2))), Completion::Read(tickets[0], Ok(page(1)))]);
    for (slot, seq) in [(1, 2), (0, 1)] {
        let Some(Answered::Read { reader, result }) = store.next_answer() else { panic!("no answer") };
        assert_eq!((reader.conn, result.unwrap()), (conn(slot), page(seq)));
    }
    assert!(store.next_answer().is_none());
    assert!(store.is_quiet() && store.read_bytes_waiting() == 0);
}

#[test]
fn numbers_only_grow_and_the_next_range_is_asked_for_before_the_last_is_used_up() {
    let (mut store, port) = store(100..102);
    assert_eq!(
        (store.last_number(), store.number(), store.number(), store.number()),
        (99, Some(100), Some(101), None)
    );
    let reserves = asked(&mut store, &port);
    let [Operation::Reserve(ticket, _)] = reserves[..] else { panic!("asked for once: {reserves:?}") };
    port.complete(vec![Completion::Reserved(ticket, Ok(200..300))]);
    assert!(store.next_answer().is_none());
    assert_eq!((store.number(), store.last_number()), (Some(200), 200));
}

#[test]
fn watermarks_of_a_device_become_one_and_go_before_what_must_see_them() {
    let (mut store, port) = store(1..10);
    for number in [3, 5, 4] {
        store.trim(0, 1, number, false, now().time);
    }
    assert!(store.has_trim(0, 1) && !store.is_quiet());
    let user = address().user;
    store.flush_trims(|_| Some(&user));
    store.list(Asker::Control(crate::requests::Ticket(0), None), address(), READ_ON);
    let operations = asked(&mut store, &port);
    let [Operation::Trim(trims), Operation::Read { .. }] = &operations[..] else { panic!("{operations:?}") };
    assert_eq!(trims[..], [Trim { address: address(), up_to: 5 }]);
}

#[test]
fn a_store_that_was_opened_anew_has_another_life() {
    let (mut store, port) = store(1..10);
    let before = store.life();
    port.complete(vec![Completion::Reopened(Partition::WHOLE)]);
    assert!(store.next_answer().is_none());
    assert_eq!(store.life(), before + 1);
}
