//! The table against a model of the kernel, which completes when and in which order it likes.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const SLOTS: usize = 4;

/// What the kernel does for one slot.
#[derive(Default)]
struct KernelSlot {
    filled: bool,
    /// Polls for input and for room that it holds: for whom, and whether multishot.
    polls: [Option<(Conn, bool)>; 2],
    shutdown: Option<Conn>,
    hand_off: Option<Conn>,
    /// Completions of polls on their way, by poll, each with whether the poll stays armed.
    posted: [VecDeque<(Conn, bool)>; 2],
    /// Completions of closes on their way.
    closes: VecDeque<Conn>,
}

/// What the core thinks of a connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Owned {
    Yes,
    Away,
    No,
}

struct Model {
    slots: Slots,
    kernel: [KernelSlot; SLOTS],
    /// The latest tenant of each slot, and whether the core owns it.
    tenants: [Option<(Conn, Owned)>; SLOTS],
    /// Everyone who ever was.
    past: Vec<Conn>,
}

const POLLS: [Poll; 2] = [Poll::In, Poll::Out];

impl Model {
    fn new() -> Model {
        Model {
            slots: Slots::new(SLOTS as u32),
            kernel: Default::default(),
            tenants: Default::default(),
            past: Vec::new(),
        }
    }

    fn owned(&self, conn: Conn) -> Owned {
        match self.tenants[conn.slot as usize] {
            Some((tenant, owned)) if tenant == conn => owned,
            _ => Owned::No,
        }
    }

    fn arm(&mut self, conn: Conn, poll: usize, multishot: bool) {
        let kernel = &mut self.kernel[conn.slot as usize];
        assert!(kernel.filled, "a poll on an empty slot");
        assert!(kernel.polls[poll].is_none(), "armed twice");
        kernel.polls[poll] = Some((conn, multishot));
    }

    fn take(&mut self, conn: Conn, step: Step) {
        let at = conn.slot as usize;
        match step {
            Step::Wait => {}
            Step::Linger => {
                self.kernel[at].shutdown = Some(conn);
                if self.slots.watch_lingering(conn) {
                    self.arm(conn, 0, true);
                }
            }
            Step::Cancel => {
                for (index, poll) in POLLS.into_iter().enumerate() {
                    let kernel = &mut self.kernel[at];
                    if self.slots.is_armed(conn, poll) && kernel.polls[index].take().is_some() {
                        kernel.posted[index].push_back((conn, false));
                    }
                }
            }
            Step::Close => {
                let kernel = &mut self.kernel[at];
                assert!(kernel.filled, "closed twice");
                assert!(kernel.polls == [None; 2], "closed while a poll is held: {:?}", kernel.polls);
                assert_eq!(kernel.shutdown, None, "closed while a shutdown is held");
                assert_eq!(kernel.hand_off, None, "closed while a hand-off is held");
                kernel.filled = false;
                kernel.closes.push_back(conn);
            }
        }
    }

    /// The kernel puts a new socket into the slot, perhaps before the close of the last one has been told.
    fn open(&mut self, slot: usize) {
        if std::mem::replace(&mut self.kernel[slot].filled, true) {
            return;
        }
        let conn = self.slots.open(slot as u32);
        assert!(!self.past.contains(&conn), "a name is given twice");
        self.past.push(conn);
        self.tenants[slot] = Some((conn, Owned::Yes));
    }

    fn command(&mut self, conn: Conn, what: u8) {
        let owned = self.owned(conn) == Owned::Yes;
        match what % 7 {
            0 => {
                let (arm, read) = self.slots.watch(conn);
                assert!(owned || !arm && !read);
                if arm {
                    self.arm(conn, 0, true);
                }
            }
            // The socket turns out to be dry.
            1 if self.slots.watch_once(conn) => {
                assert!(owned);
                if self.slots.dry(conn) {
                    self.arm(conn, 0, false);
                }
            }
            2 => self.slots.pause(conn),
            3 if self.slots.watch_writable(conn) => {
                assert!(owned);
                self.arm(conn, 1, false);
            }
            4 if self.slots.hand_off(conn) => {
                assert!(owned && self.kernel[conn.slot as usize].polls == [None; 2]);
                self.kernel[conn.slot as usize].hand_off = Some(conn);
                self.tenants[conn.slot as usize] = Some((conn, Owned::Away));
            }
            5 | 6 => {
                let mode = if what % 7 == 5 { CloseMode::Abort } else { CloseMode::Graceful };
                let step = self.slots.close(conn, mode);
                assert!(owned || step == Step::Wait);
                if owned {
                    self.tenants[conn.slot as usize] = Some((conn, Owned::No));
                }
                self.take(conn, step);
            }
            _ => {}
        }
    }

    /// A poll fires, the last time or not.
    fn fire(&mut self, slot: usize, poll: usize, last: bool) {
        let kernel = &mut self.kernel[slot];
        if let Some((conn, multishot)) = kernel.polls[poll] {
            let more = multishot && !last;
            if !more {
                kernel.polls[poll] = None;
            }
            kernel.posted[poll].push_back((conn, more));
        }
    }

    fn deliver_poll(&mut self, slot: usize, poll: usize) {
        let Some((conn, more)) = self.kernel[slot].posted[poll].pop_front() else { return };
        self.fired(conn, poll, more);
    }

    fn fired(&mut self, conn: Conn, poll: usize, more: bool) {
        let current = self.tenants[conn.slot as usize].is_some_and(|(tenant, _)| tenant == conn);
        match self.slots.fired(conn, POLLS[poll], more) {
            Fired::Stale => {}
            Fired::Writable => assert_eq!(self.owned(conn), Owned::Yes),
            Fired::Read { rearm } => {
                assert!(current, "input of an earlier tenant");
                if rearm {
                    self.arm(conn, 0, true);
                }
                if self.slots.queue_read(conn) {
                    self.slots.unqueue_read(conn);
                }
            }
            Fired::Step(step) => {
                assert!(current);
                self.take(conn, step);
            }
        }
    }

    fn deliver_other(&mut self, slot: usize, which: u8) {
        match which % 5 {
            0 => {
                if let Some(conn) = self.kernel[slot].shutdown.take() {
                    let step = self.slots.shut(conn);
                    self.take(conn, step);
                }
            }
            which @ (1 | 2) => {
                if let Some(conn) = self.kernel[slot].hand_off.take() {
                    let owned = if which == 1 { Owned::No } else { Owned::Yes };
                    self.tenants[slot] = Some((conn, owned));
                    let step = self.slots.handed_off(conn, which == 1);
                    self.take(conn, step);
                }
            }
            3 => {
                if let Some(conn) = self.kernel[slot].closes.pop_front() {
                    self.slots.closed(conn);
                }
            }
            _ => {
                // The linger is over, by time or by input.
                if let Some((conn, Owned::No)) = self.tenants[slot] {
                    let step = self.slots.finish(conn);
                    self.take(conn, step);
                }
            }
        }
    }

    /// Slots that hold a socket, or whose close has not been told.
    fn in_use(&self) -> u32 {
        self.kernel.iter().filter(|slot| slot.filled || !slot.closes.is_empty()).count() as u32
    }

    /// The core lets go of everything, and the kernel delivers everything.
    fn come_to_rest(&mut self) {
        for _ in 0..10 {
            for slot in 0..SLOTS {
                if let Some((conn, Owned::Yes)) = self.tenants[slot] {
                    self.command(conn, 5);
                }
                for which in [4, 0, 2, 3] {
                    self.deliver_other(slot, which);
                }
                for poll in 0..POLLS.len() {
                    while !self.kernel[slot].posted[poll].is_empty() {
                        self.deliver_poll(slot, poll);
                    }
                }
            }
        }
    }
}

#[derive(Copy, Clone, Debug)]
enum Op {
    Open(usize),
    Command { slot: usize, what: u8 },
    StaleCommand { who: usize, what: u8 },
    Fire { slot: usize, poll: usize, last: bool },
    Deliver { slot: usize, poll: usize },
    DeliverOther { slot: usize, which: u8 },
    Late { who: usize, poll: usize, more: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..SLOTS;
    prop_oneof![
        3 => slot.clone().prop_map(Op::Open),
        5 => (slot.clone(), any::<u8>()).prop_map(|(slot, what)| Op::Command { slot, what }),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(who, what)| Op::StaleCommand { who, what }),
        4 => (slot.clone(), 0..2usize, any::<bool>()).prop_map(|(slot, poll, last)| Op::Fire { slot, poll, last }),
        4 => (slot.clone(), 0..2usize).prop_map(|(slot, poll)| Op::Deliver { slot, poll }),
        4 => (slot, any::<u8>()).prop_map(|(slot, which)| Op::DeliverOther { slot, which }),
        1 => (any::<usize>(), 0..2usize, any::<bool>()).prop_map(|(who, poll, more)| Op::Late { who, poll, more }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No slot is closed while the kernel holds a request for it, no completion reaches a later tenant, and
    /// every slot is free again in the end.
    #[test]
    fn every_slot_is_freed_when_the_kernel_has_let_go(ops in proptest::collection::vec(op(), 1..200)) {
        let mut model = Model::new();
        for op in ops {
            match op {
                Op::Open(slot) => model.open(slot),
                Op::Command { slot, what } => {
                    if let Some((conn, _)) = model.tenants[slot] {
                        model.command(conn, what);
                    }
                }
                Op::StaleCommand { who, what } if !model.past.is_empty() => {
                    let conn = model.past[who % model.past.len()];
                    model.command(conn, what);
                }
                Op::Fire { slot, poll, last } => model.fire(slot, poll, last),
                Op::Deliver { slot, poll } => model.deliver_poll(slot, poll),
                Op::DeliverOther { slot, which } => model.deliver_other(slot, which),
                Op::Late { who, poll, more } if !model.past.is_empty() => {
                    let conn = model.past[who % model.past.len()];
                    if model.tenants[conn.slot as usize].is_some_and(|(tenant, _)| tenant != conn) {
                        prop_assert_eq!(model.slots.fired(conn, POLLS[poll], more), Fired::Stale);
                    }
                }
                Op::StaleCommand { .. } | Op::Late { .. } => {}
            }
            prop_assert_eq!(model.slots.in_use(), model.in_use());
        }
        model.come_to_rest();
        prop_assert_eq!(model.slots.in_use(), 0);
        prop_assert_eq!(model.slots.closing(), 0);
    }
}

/// A lingering connection of `slots`.
fn lingering(slots: &mut Slots) -> Conn {
    let conn = slots.open(0);
    assert_eq!(slots.close(conn, CloseMode::Graceful), Step::Linger);
    assert_eq!(slots.shut(conn), Step::Wait);
    conn
}

#[test]
fn a_linger_counts_bytes_not_reads() {
    let mut slots = Slots::new(1);
    let conn = lingering(&mut slots);
    for _ in 0..1_000 {
        assert_eq!(slots.discard(conn, 1), Some(Step::Wait));
    }
    for _ in 0..15 {
        assert_eq!(slots.discard(conn, 4_096), Some(Step::Wait));
    }
    assert_eq!(slots.discard(conn, 4_096), Some(Step::Close));
}

#[test]
fn a_shutdown_that_is_late_holds_the_slot() {
    let mut slots = Slots::new(1);
    let conn = slots.open(0);
    assert_eq!(slots.close(conn, CloseMode::Graceful), Step::Linger);
    // The peer has closed already, but a worker thread still has the shutdown to run.
    assert_eq!(slots.discard(conn, 0), Some(Step::Cancel));
    assert_eq!(slots.shut(conn), Step::Close);
}
