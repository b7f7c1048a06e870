//! A session, with a home that does what the test says.

use bytes::Bytes;
use campanile_engine::Conn;
use campanile_mailbox::Waiting;
use campanile_protocol::messages::Deliver;
use prost::Message as _;

use crate::channels::membership::Membership;
use crate::delivery::frames::Frames;
use crate::delivery::sessions::SessionHandler;
use crate::delivery::state::Delivery;
use crate::delivery::window::SessionWindow;
use crate::net::Net;
use crate::net::wire::{Agreed, Wire};
use crate::seam::{Delivered, EndedBy, Home, Progress, ReadOn, SessionRef, Sessions};
use crate::session::{Session, State};
use crate::settings::HELD_BYTES_MAX;
use crate::testing::{ACKNOWLEDGES, Ground, NOW_MS, conn, now};
use crate::turn::Turn;
use crate::users::who::Who;

/// A home that only listens.
#[derive(Default)]
struct Recorder {
    acknowledged: Vec<u64>,
    reads: Vec<u64>,
    /// It reads for nobody now.
    is_busy: bool,
}

impl Home for Recorder {
    fn was_handed_out(&self, number: u64) -> bool {
        number <= 1_000
    }

    fn acknowledge(&mut self, _: &mut Turn<'_>, _: &Who, up_to: u64, _: bool) {
        self.acknowledged.push(up_to);
    }

    fn may_read(&self) -> bool {
        !self.is_busy
    }

    fn read(&mut self, _: &mut Turn<'_>, _: Conn, _: &Who, read_on: ReadOn) {
        self.reads.push(read_on.after);
    }

    fn ended(&mut self, _: &mut Turn<'_>, _: &Who) {}
}

/// One session in slot 0.
struct Alone {
    ground: Ground,
    net: Net,
    delivery: Delivery,
    home: Recorder,
    who: Who,
}

const SESSION: SessionRef = SessionRef { slot: 0, generation: 50 };

impl Alone {
    /// A session whose mailbox is empty, or not.
    fn new(may_wait: bool) -> Alone {
        Alone::of(ACKNOWLEDGES, may_wait)
    }

    fn of(agreed: Agreed, may_wait: bool) -> Alone {
        let mut ground = Ground::new();
        let mut net = Net::new(now().time, 0, 1, HELD_BYTES_MAX);
        let who = Who::new(SESSION.generation, 3, 1, u64::MAX, NOW_MS);
        let turn = ground.turn();
        net.come(&turn, conn(0), State::HandingOff);
        let session = Session {
            wire: Wire::new(agreed, turn.now_ms(), turn.now_tenths()),
            window: SessionWindow::opened(0, 0, may_wait),
            membership: Membership::none(),
            who,
        };
        net.begin_session(&turn, 0, session);
        let mut alone = Alone { ground, net, delivery: Delivery::default(), home: Recorder::default(), who };
        alone.settle();
        alone.with(|sessions, turn, home| sessions.catch_up(turn, home, 0));
        alone
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut SessionHandler<'_>, &mut Turn<'_>, &mut Recorder) -> R) -> R {
        let mut sessions = SessionHandler { delivery: &mut self.delivery, net: &mut self.net };
        let result = act(&mut sessions, &mut self.ground.turn(), &mut self.home);
        self.settle();
        result
    }

    fn settle(&mut self) {
        while let Some(slot) = self.delivery.take_behind() {
            let mut sessions = SessionHandler { delivery: &mut self.delivery, net: &mut self.net };
            sessions.catch_up(&mut self.ground.turn(), &mut self.home, slot);
        }
    }

    fn deliver(&mut self, to: SessionRef, number: u64) -> Delivered {
        let body = body(number);
        let bytes = body.len();
        let mut frames = Frames::of_deliver(body);
        self.with(|sessions, turn, _| sessions.deliver(turn, to, number, bytes, Some(&mut frames)))
    }

    /// A message was assigned that cannot be sent at once.
    fn miss(&mut self, number: u64) {
        let delivered = self.with(|sessions, turn, _| sessions.deliver(turn, SESSION, number, 1, None));
        assert_eq!(delivered, Delivered::Behind);
    }

    fn page(&mut self, numbers: &[u64], live: bool) {
        let who = self.who;
        let page = numbers.iter().map(|&seq| Waiting { seq, body: body(seq) }).collect();
        self.with(|sessions, turn, _| sessions.page(turn, conn(0), &who, Some(page), live));
    }

    fn acknowledge(&mut self, number: u64) -> bool {
        self.with(|sessions, turn, home| sessions.acknowledge(turn, home, 0, number).is_ok())
    }

    fn progress(&mut self, number: u64) -> Option<Progress> {
        self.with(|sessions, _, _| sessions.progress(SESSION, number))
    }

    /// What must hold whenever everything is settled.
    fn check(&self) {
        let checked = self.delivery.check_windows(&self.net, &self.net.tenants());
        assert!(checked.is_ok(), "{checked:?}");
    }

    /// Messages that were sent.
    fn sent(&self) -> u64 {
        self.ground.counters.messages_sent.get() + self.ground.counters.messages_replayed.get()
    }
}

fn body(seq: u64) -> Bytes {
    encoded(seq, 0)
}

/// A message whose kind is so long.
fn encoded(seq: u64, kind_bytes: usize) -> Bytes {
    Deliver { seq, kind: "k".repeat(kind_bytes), ..Deliver::default() }.encode_to_vec().into()
}

#[test]
fn what_comes_while_it_reads_is_not_sent_out_of_order() {
    let mut alone = Alone::new(true);
    assert_eq!(alone.home.reads, [0]);
    // A home that has not heard yet that it reads.
    assert_eq!(alone.deliver(SESSION, 9), Delivered::Behind);
    assert_eq!(alone.sent(), 0);
    alone.page(&[5, 9], true);
    assert_eq!((alone.sent(), alone.progress(9)), (2, Some(Progress::Sent)));
    assert_eq!(alone.deliver(SESSION, 10), Delivered::Sent);
}

#[test]
fn a_page_that_comes_twice_is_sent_once() {
    let mut alone = Alone::new(true);
    alone.page(&[1, 2], false);
    assert_eq!((alone.sent(), alone.home.reads.len()), (2, 2));
    alone.page(&[1, 2], false);
    alone.page(&[1, 2], false);
    assert_eq!(alone.sent(), 2);
}

#[test]
fn a_page_that_never_comes_is_asked_for_once_and_acknowledgements_go_on() {
    let mut alone = Alone::new(false);
    assert_eq!(alone.deliver(SESSION, 1), Delivered::Sent);
    for number in 2..=4 {
        alone.deliver(SESSION, number);
    }
    assert_eq!(alone.deliver(SESSION, 5), Delivered::Behind, "the window is shut");
    assert!(alone.home.reads.is_empty());
    for number in 1..=4 {
        assert!(alone.acknowledge(number));
    }
    assert_eq!(alone.home.acknowledged, [1, 2, 3, 4]);
    assert_eq!(alone.home.reads, [4], "one read, behind what was sent");
    assert_eq!(alone.progress(5), Some(Progress::Waiting));
}

#[test]
fn a_session_that_confirms_in_the_middle_of_its_mail_waits_for_its_next_turn_once() {
    let mut alone = Alone::new(true);
    let limits = &mut alone.ground.settings.limits;
    (limits.window_messages_max, limits.window_bytes_max) = (100, 1 << 20);
    let who = alone.who;
    let large = |seq| Waiting { seq, body: encoded(seq, 40 * 1024) };
    alone.with(|sessions, turn, _| {
        sessions.page(turn, conn(0), &who, Some((1..=9).map(large).collect()), true);
    });
    assert_eq!((alone.sent(), alone.delivery.continuing()), (2, 1), "a turn takes 64 KiB");
    assert!(alone.acknowledge(1) && alone.acknowledge(2));
    assert_eq!((alone.sent(), alone.delivery.continuing()), (6, 1));
    // Everything is confirmed elsewhere before it has its turn; then it falls behind again.
    assert!(alone.acknowledge(9));
    assert_eq!(alone.deliver(SESSION, 10), Delivered::Sent);
    assert_eq!(alone.delivery.continuing(), 1);
    assert!(alone.with(|sessions, turn, home| sessions.go_on(turn, home)).is_some());
    assert!(alone.with(|sessions, turn, home| sessions.go_on(turn, home)).is_none());
    assert_eq!((alone.sent(), alone.delivery.continuing()), (7, 0));
}

#[test]
fn a_session_that_waits_until_its_home_may_read_waits_once() {
    let mut alone = Alone::new(false);
    alone.home.is_busy = true;
    alone.miss(1);
    // It reads before those who wait have their turn, and has got everything; then it falls behind again.
    alone.home.is_busy = false;
    alone.with(|sessions, turn, home| sessions.catch_up(turn, home, 0));
    alone.page(&[], true);
    alone.check();
    alone.home.is_busy = true;
    alone.miss(2);
    alone.check();
    assert_eq!(alone.home.reads.len(), 1);
    alone.home.is_busy = false;
    alone.with(|sessions, turn, home| sessions.read_for_those_who_wait(turn, home));
    alone.check();
    assert_eq!(alone.home.reads.len(), 2);
}

#[test]
fn an_acknowledgement_that_comes_twice_is_passed_on_once() {
    let mut alone = Alone::new(false);
    alone.deliver(SESSION, 1);
    alone.deliver(SESSION, 2);
    assert!(alone.acknowledge(1) && alone.acknowledge(1));
    assert_eq!(alone.home.acknowledged, [1]);
    assert!(!alone.acknowledge(1_001), "never handed out");
    assert_eq!(alone.home.acknowledged, [1]);
}

#[test]
fn whoever_acknowledges_nothing_is_not_said_to_have_confirmed() {
    let mut alone = Alone::of(Agreed { acknowledges: false, ..ACKNOWLEDGES }, true);
    alone.page(&[1], false);
    assert_eq!(alone.progress(1), Some(Progress::Sent), "there is more for it");
    alone.page(&[2], true);
    assert_eq!(alone.progress(2), Some(Progress::Sent), "it has everything");
}

#[test]
fn calls_for_another_session_of_the_slot_are_nobodys() {
    let mut alone = Alone::new(true);
    let older = SessionRef { generation: SESSION.generation - 1, ..SESSION };
    assert_eq!(alone.deliver(older, 1), Delivered::Behind);
    alone.with(|sessions, turn, _| sessions.end(turn, older, EndedBy::Newer));
    assert!(alone.net.has_session(conn(0)));
    let other = Who::new(older.generation, 3, 1, u64::MAX, NOW_MS);
    alone.with(|sessions, turn, _| {
        sessions.page(turn, conn(0), &other, Some(vec![Waiting { seq: 1, body: body(1) }]), true);
    });
    assert_eq!(alone.sent(), 0);
    assert_eq!(alone.with(|sessions, _, _| sessions.progress(older, 1)), None);
}

#[test]
fn an_end_that_is_told_twice_ends_once_and_nothing_is_delivered_after_it() {
    let mut alone = Alone::new(false);
    for _ in 0..2 {
        alone.with(|sessions, turn, _| sessions.end(turn, SESSION, EndedBy::Newer));
    }
    assert_eq!(alone.ground.counters.sessions_replaced.get(), 1);
    assert_eq!(alone.deliver(SESSION, 1), Delivered::Behind);
    alone.page(&[1], true);
    assert_eq!((alone.sent(), alone.ground.counters.sessions.get()), (0, 0));
    assert!(alone.net.take_ended().is_some() && alone.net.take_ended().is_none());
}
