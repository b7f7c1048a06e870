//! A home, with sessions that do what the test says.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use campanile_engine::Conn;
use campanile_mailbox::operations::{Completion, Opened as StoreOpened, Operation, Port, Ticket as Question};
use campanile_mailbox::{Count, DeviceRecord, Page, Stored, UserRecord, Waiting};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Deliver, Payload};

use crate::control::jobs::{Asker, Jobs, Place};
use crate::delivery::frames::Frames;
use crate::hashing::HashKey;
use crate::requests::{Durability, Envelopes, Outcome, Push, Ticket};
use crate::seam::{Delivered, EndedBy, Home, OpenRefused, Opened, Progress, ReadOn, SessionRef, Sessions};
use crate::store::{Answered, Store};
use crate::testing::{Ground, NOW_MS, conn, now};
use crate::turn::Turn;
use crate::users::home::HomeHandler;
use crate::users::state::Users;
use crate::users::who::Who;

/// What a home has said.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Opened(u32, Result<Opened, OpenRefused>),
    Deliver(u64, u64),
    Page(u64, usize, bool),
    Ended(u64, EndedBy),
}

/// Sessions that take everything, or nothing.
struct Recorder {
    said: Vec<Said>,
    takes: bool,
    has_gone: bool,
}

impl Sessions for Recorder {
    fn is_opening(&self, _: Conn) -> bool {
        !self.has_gone
    }

    fn opened(&mut self, _: &mut Turn<'_>, conn: Conn, opened: Result<Opened, OpenRefused>) {
        self.said.push(Said::Opened(conn.slot, opened));
    }

    fn deliver(
        &mut self,
        _: &mut Turn<'_>,
        to: SessionRef,
        number: u64,
        _: usize,
        _: Option<&mut Frames>,
    ) -> Delivered {
        self.said.push(Said::Deliver(to.generation, number));
        if self.takes { Delivered::Sent } else { Delivered::Behind }
    }

    fn page(&mut self, _: &mut Turn<'_>, _: Conn, who: &Who, page: Option<Vec<Waiting>>, live: bool) {
        self.said.push(Said::Page(who.generation(), page.map_or(0, |page| page.len()), live));
    }

    fn progress(&self, _: SessionRef, _: u64) -> Option<Progress> {
        Some(if self.takes { Progress::Sent } else { Progress::Waiting })
    }

    fn is_busy(&self, _: SessionRef) -> bool {
        false
    }

    fn event(&mut self, _: &mut Turn<'_>, _: SessionRef, _: &mut Frames) -> Outcome {
        Outcome::Sent
    }

    fn end(&mut self, _: &mut Turn<'_>, of: SessionRef, why: EndedBy) {
        self.said.push(Said::Ended(of.generation, why));
    }
}

/// One home and the other end of its port.
struct Alone {
    ground: Ground,
    users: Users,
    store: Store,
    jobs: Jobs,
    sessions: Recorder,
    port: Arc<Port>,
}

fn ann() -> UserId {
    "ann".parse().unwrap()
}

fn payload() -> Payload {
    Payload::data(Bytes::from_static(b"x"))
}

fn device(number: u32) -> DeviceId {
    DeviceId::try_from(number).unwrap()
}

impl Alone {
    fn new() -> Alone {
        // Nobody sleeps.
        let port = Port::new(Waker::noop().clone(), Waker::noop().clone());
        Alone {
            ground: Ground::new(),
            users: Users::new(HashKey::new([1; 16]), 60_000, now().unix_ms),
            store: Store::new(Arc::clone(&port), 100..1_000),
            jobs: Jobs::default(),
            sessions: Recorder { said: Vec::new(), takes: true, has_gone: false },
            port,
        }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut HomeHandler<'_>, &mut Turn<'_>, &mut Recorder) -> R) -> R {
        let mut home = HomeHandler { users: &mut self.users, store: &mut self.store, jobs: &mut self.jobs };
        act(&mut home, &mut self.ground.turn(), &mut self.sessions)
    }

    /// What the store is asked.
    fn asked(&mut self) -> Vec<Operation> {
        self.store.flush();
        std::iter::from_fn(|| self.port.take_operations()).flatten().collect()
    }

    /// The store answers, and the home hears it.
    fn answer(&mut self, completion: Completion) {
        self.port.complete(vec![completion]);
        let answered = self.store.next_answer().expect("nothing was asked");
        self.with(|home, turn, sessions| match answered {
            Answered::Append(appending, result) => home.appends().appended(turn, sessions, appending, result),
            Answered::Open { opening, result } => {
                home.openings().opened(turn, sessions, opening, result, false)
            }
            Answered::Read { reader, result } => home.page_read(turn, sessions, reader, result),
            _ => panic!("not what was asked"),
        });
    }

    /// A session of ann's device 1 in a slot: its name. `waiting` messages wait for it.
    fn open(&mut self, slot: u32, waiting: u64) -> Who {
        self.with(|home, turn, _| home.openings().open(turn, conn(slot), &ann(), device(1), 0));
        let ticket = self.asked().into_iter().find_map(|operation| match operation {
            Operation::Open(ticket, _) => Some(ticket),
            _ => None,
        });
        let record = DeviceRecord { device: device(1), created_at_ms: NOW_MS, last_seen_at_ms: NOW_MS };
        let known = StoreOpened {
            admitted: Ok(()),
            user: UserRecord { devices: vec![record], last_device: 1 },
            count: Count { messages: waiting, bytes: waiting, acknowledged: 0 },
        };
        self.answer(Completion::Opened(ticket.expect("not asked"), Ok(known)));
        let opened = self.sessions.said.iter().rev().find_map(|said| match said {
            Said::Opened(of, Ok(opened)) if *of == slot => Some(*opened),
            _ => None,
        });
        let opened = opened.expect("not opened");
        Who::new(opened.generation, opened.user, 1, u64::MAX, NOW_MS)
    }

    /// Pushes a message to all of ann's devices: the ticket of its append.
    fn push(&mut self) -> Question<Vec<Stored>> {
        self.push_to(Envelopes::All(payload()))
    }

    fn push_to(&mut self, envelopes: Envelopes) -> Question<Vec<Stored>> {
        let push = Push {
            user: ann(),
            envelopes,
            message: Deliver { expires_at_ms: i64::MAX, ..Deliver::default() },
            durability: Durability::Durable,
            dedup: None,
        };
        let job = self.jobs.begin(Asker::Control(Ticket(0), None), 1);
        self.with(|home, turn, sessions| {
            home.parking().push_durable(turn, sessions, Place { job, index: 0 }, push)
        });
        let appends = self.asked().into_iter().filter_map(|operation| match operation {
            Operation::Append(ticket, _) => Some(ticket),
            _ => None,
        });
        appends.last().expect("nothing is stored")
    }

    fn stored(&mut self, ticket: Question<Vec<Stored>>) {
        self.answer(Completion::Appended(ticket, Ok(vec![Stored::Yes])));
    }

    /// The session reads: the ticket of its read, if the home reads for it.
    fn read(&mut self, slot: u32, who: &Who) -> Option<Question<Page>> {
        let read_on = ReadOn { after: 0, messages_max: 10, bytes_max: 1_000 };
        self.with(|home, turn, _| home.read(turn, conn(slot), who, read_on));
        self.asked().into_iter().find_map(|operation| match operation {
            Operation::Read { ticket, .. } => Some(ticket),
            _ => None,
        })
    }

    fn page(&mut self, ticket: Question<Page>, messages: usize, more: bool) {
        let waiting = (0..messages).map(|seq| Waiting { seq: seq as u64 + 1, body: Bytes::new() });
        self.answer(Completion::Read(ticket, Ok(Page { messages: waiting.collect(), more })));
    }

    /// Watermarks that the store is told of.
    fn trims(&mut self) -> Vec<u64> {
        self.with(|home, _, _| home.devices().flush_watermarks());
        let trims = self.asked().into_iter().flat_map(|operation| match operation {
            Operation::Trim(trims) => trims,
            _ => Vec::new(),
        });
        trims.map(|trim| trim.up_to).collect()
    }

    fn deliveries(&self) -> usize {
        self.sessions.said.iter().filter(|said| matches!(said, Said::Deliver(..))).count()
    }
}

#[test]
fn a_session_that_reads_is_sent_nothing_until_a_page_reaches_the_end() {
    let mut alone = Alone::new();
    let who = alone.open(0, 3);
    let append = alone.push();
    assert_eq!(alone.deliveries(), 0, "what waits comes first");
    alone.stored(append);
    let read = alone.read(0, &who).expect("not read");
    alone.page(read, 3, true);
    assert_eq!(alone.sessions.said.last(), Some(&Said::Page(who.generation(), 3, false)));
    alone.push();
    assert_eq!(alone.deliveries(), 0);
    let read = alone.read(0, &who).expect("not read");
    alone.page(read, 2, false);
    assert_eq!(alone.sessions.said.last(), Some(&Said::Page(who.generation(), 2, true)));
    alone.push();
    assert_eq!(alone.deliveries(), 1);
}

#[test]
fn a_page_makes_nobody_live_when_something_was_assigned_after_it_was_asked_for() {
    let mut alone = Alone::new();
    let who = alone.open(0, 1);
    let read = alone.read(0, &who).expect("not read");
    alone.push();
    alone.page(read, 1, false);
    assert_eq!(alone.sessions.said.last(), Some(&Said::Page(who.generation(), 1, false)));
}

#[test]
fn whoever_reads_is_live_no_more() {
    let mut alone = Alone::new();
    let who = alone.open(0, 0);
    // A live session reads when it has dropped a page that reached the end.
    assert!(alone.read(0, &who).is_some());
    alone.push();
    assert_eq!(alone.deliveries(), 0);
}

#[test]
fn what_is_for_another_device_does_not_make_a_session_read_again() {
    let mut alone = Alone::new();
    let who = alone.open(0, 1);
    alone.with(|home, _, _| home.devices().registered(&ann(), &Ok(Ok(device(2)))));
    let read = alone.read(0, &who).expect("not read");
    alone.push_to(Envelopes::Listed(vec![device(2)], payload()));
    alone.page(read, 1, false);
    assert_eq!(alone.sessions.said.last(), Some(&Said::Page(who.generation(), 1, true)));
}

#[test]
fn what_is_being_appended_when_a_session_opens_is_read_by_it() {
    let mut alone = Alone::new();
    let older = alone.open(0, 0);
    let append = alone.push();
    // The mailbox was counted before the append.
    let newer = alone.open(1, 0);
    let opened = alone.sessions.said.iter().rev().find_map(|said| match said {
        Said::Opened(1, Ok(opened)) => Some(opened.may_wait),
        _ => None,
    });
    assert_eq!((opened, newer.generation() > older.generation()), (Some(true), true));
    alone.stored(append);
    let sent = alone.deliveries();
    alone.push();
    assert_eq!(alone.deliveries(), sent, "it reads first");
}

#[test]
fn what_a_device_has_confirmed_goes_before_its_next_session_and_before_its_end() {
    let mut alone = Alone::new();
    let who = alone.open(0, 0);
    let append = alone.push();
    alone.stored(append);
    let confirm = |alone: &mut Alone, up_to| {
        alone.with(|home, turn, _| home.acknowledge(turn, &who, up_to, false));
    };
    confirm(&mut alone, 101);
    alone.with(|home, turn, _| home.openings().open(turn, conn(1), &ann(), device(1), 0));
    let asked = alone.asked();
    assert!(
        matches!(&asked[..], [Operation::Trim(trims), Operation::Open(..)] if trims[0].up_to == 101),
        "{asked:?}"
    );
    confirm(&mut alone, 102);
    alone.with(|home, turn, _| home.ended(turn, &who));
    let asked = alone.asked();
    assert!(
        matches!(&asked[..], [Operation::Trim(trims), Operation::Seen(..)] if trims[0].up_to == 102),
        "{asked:?}"
    );
}

#[test]
fn a_session_that_takes_nothing_is_not_asked_again_before_it_has_read() {
    let mut alone = Alone::new();
    let who = alone.open(0, 0);
    alone.sessions.takes = false;
    alone.push();
    alone.push();
    assert_eq!(alone.deliveries(), 1, "behind since the first");
    // Its read is never answered: it is behind for ever, and what comes is stored.
    assert!(alone.read(0, &who).is_some());
    alone.push();
    assert_eq!(alone.deliveries(), 1);
}

#[test]
fn a_late_acknowledgement_of_an_older_session_moves_nothing() {
    let mut alone = Alone::new();
    let older = alone.open(0, 0);
    alone.push();
    let newer = alone.open(1, 1);
    assert_eq!(
        alone.sessions.said.iter().rev().nth(1),
        Some(&Said::Ended(older.generation(), EndedBy::Newer))
    );
    assert!(newer.generation() > older.generation());
    alone.with(|home, turn, _| home.acknowledge(turn, &older, 100, true));
    assert_eq!(alone.trims(), [0; 0]);
    alone.with(|home, turn, _| home.acknowledge(turn, &newer, 100, true));
    // Twice is once.
    alone.with(|home, turn, _| home.acknowledge(turn, &newer, 100, true));
    assert_eq!(alone.trims(), [100]);
}

#[test]
fn a_late_page_and_a_late_read_of_an_older_session_find_nobody() {
    let mut alone = Alone::new();
    let older = alone.open(0, 1);
    let read = alone.read(0, &older).expect("not read");
    let newer = alone.open(1, 0);
    let said = alone.sessions.said.len();
    alone.page(read, 1, false);
    assert_eq!(alone.sessions.said.len(), said, "the page is nobody's");
    assert_eq!(alone.read(0, &older), None);
    // The newer one is as live as it was.
    alone.push();
    assert_eq!(alone.sessions.said.last(), Some(&Said::Deliver(newer.generation(), 102)));
}

#[test]
fn an_end_that_is_told_late_or_twice_does_not_end_the_newer_session() {
    let mut alone = Alone::new();
    let older = alone.open(0, 0);
    let newer = alone.open(1, 0);
    for _ in 0..2 {
        alone.with(|home, turn, _| home.ended(turn, &older));
    }
    assert_eq!(alone.ground.counters.users.get(), 1);
    alone.push();
    assert_eq!(alone.deliveries(), 1, "the newer session is still there");
    for _ in 0..2 {
        alone.with(|home, turn, _| home.ended(turn, &newer));
    }
    assert_eq!(alone.ground.counters.users.get(), 0);
    alone.push();
    assert_eq!(alone.deliveries(), 1);
}

#[test]
fn a_connection_that_has_gone_gets_no_session_and_ends_none() {
    let mut alone = Alone::new();
    let first = alone.open(0, 0);
    alone.sessions.has_gone = true;
    alone.with(|home, turn, _| home.openings().open(turn, conn(1), &ann(), device(1), 0));
    let asked = alone.asked();
    let Some(Operation::Open(ticket, _)) = asked.last() else { panic!("not asked") };
    let known = StoreOpened { admitted: Ok(()), user: UserRecord::default(), count: Count::default() };
    alone.answer(Completion::Opened(*ticket, Ok(known)));
    alone.push();
    assert_eq!(alone.sessions.said.last(), Some(&Said::Deliver(first.generation(), 101)));
}
