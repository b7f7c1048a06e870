//! Worlds in which messages are kept: what was answered with yes arrives, whatever fails.
//!
//! The [`ledger`] knows what was asked and answered, [`sessions`] what each connection saw, and [`check`] what follows
//! from both. [`life`] is what happens, [`cuts`] what happens when the power is cut.

mod check;
mod cuts;
mod ledger;
mod life;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use campanile_core::requests::{Answer, Ticket};
use campanile_engine::sim::Faults;
use campanile_mailbox::{Address, MailboxLimits};
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{Deliver, Encoding};
use prost::Message as _;

use self::ledger::Ledger;
use self::sessions::Session;
use crate::support::store::{ModelMailbox, StoreFaults};
use crate::support::{Gateway, Setup, user};

const NAMES: [&str; 3] = ["ada", "bob", "cyd"];
/// Whose messages do not expire, are not replaced, and are not removed.
const PLAIN: usize = 0;
/// Devices that connect; more may be registered.
const DEVICES: u32 = 4;
/// The device that acknowledges nothing and is sent everything at most once.
const CARELESS: u32 = 4;
const DEVICES_MAX: u32 = 6;
/// Things that happen before everything comes to rest.
const HAPPENINGS: usize = 150;

const AMPLE: MailboxLimits = MailboxLimits {
    messages_per_device_max: 10_000,
    bytes_per_device_max: 1 << 30,
    bytes_total_max: 1 << 40,
};

/// A device of one of the [`NAMES`].
type Owner = (usize, u32);

/// What a world is like.
struct Rules {
    window_messages_max: usize,
    window_bytes_max: usize,
    faults: Faults,
    store_faults: StoreFaults,
    store_slowness: u16,
    mailbox: MailboxLimits,
    dedup_window_ms: u64,
    acknowledge_timeout_ms: u32,
    /// Messages are so large, and so many at once, that pages are read ahead of the window.
    large: bool,
    /// Per thousand happenings.
    cuts: u64,
}

impl Rules {
    fn of(seed: u64) -> Rules {
        let pick = |divisor: u64, count: u64| (seed / divisor % count) as usize;
        let clock_jump = if seed.is_multiple_of(5) { 4 } else { 0 };
        let window_bytes_max = [300, 4_096, usize::MAX][pick(1, 3)];
        let small = MailboxLimits {
            messages_per_device_max: 6,
            bytes_per_device_max: 3_000,
            bytes_total_max: 16_000,
        };
        let calm = Faults { clock_jump, ..Faults::NONE };
        let large = pick(31, 4) == 0;
        let faults = Faults { window_bytes_max, clock_jump, ..Faults::HOSTILE };
        Rules {
            window_messages_max: if large { 256 } else { [1, 2, 5, 256][pick(2, 4)] },
            window_bytes_max: if large { 48 * 1024 } else { [700, 2_500, 48 * 1024][pick(7, 3)] },
            large,
            faults: match pick(11, 4) {
                0 => calm,
                // Sockets hold enough, and now and then a send is cut short all the same.
                _ if large => Faults { window_bytes_max: 64 * 1024, ..faults },
                _ => faults,
            },
            store_faults: [StoreFaults::NONE, StoreFaults::HOSTILE, StoreFaults::NONE][pick(13, 3)],
            store_slowness: [0, 0, 300, 900][pick(3, 4)],
            mailbox: if pick(17, 5) == 0 && !large { small } else { AMPLE },
            dedup_window_ms: [600_000, 1_500][pick(19, 2)],
            acknowledge_timeout_ms: [60_000, 3_000][pick(23, 2)],
            cuts: [0, 15, 40][pick(29, 3)],
        }
    }
}

/// Something other than a push that was asked.
enum Question {
    /// What was certain to wait for the device then, and after which number the page begins.
    List(Owner, u64, BTreeSet<u64>),
    /// A number, and whether it was certain to wait.
    Fetch(Owner, u64, bool),
    Confirm(Owner, u64),
    Register(usize),
    /// Which devices the user has in the end.
    Finally(usize),
    Other,
}

/// A world with a model of it.
struct Mail {
    seed: u64,
    rng: fastrand::Rng,
    rules: Rules,
    gateway: Gateway,
    shards: usize,
    /// How often a gateway was started.
    life: u32,
    ledger: Ledger,
    sessions: Vec<Session>,
    questions: HashMap<Ticket, Question>,
    /// What devices have confirmed for good.
    durable: BTreeMap<Owner, u64>,
    /// What devices acknowledged and had not got: up to which number.
    lies: Vec<(Owner, u64)>,
    /// Messages that were removed one by one, perhaps.
    removed: BTreeSet<(Owner, u64)>,
    /// Lives in which the store failed.
    failed_lives: BTreeSet<u32>,
    /// Who is registered in the end.
    finally: BTreeSet<Owner>,
    nonces: u64,
}

/// Lives through the world of a seed. Panics if a promise is broken; otherwise says what happened, in short.
pub(super) fn live(seed: u64) -> String {
    let mut mail = Mail::begin(seed, Rules::of(seed));
    for _ in 0..HAPPENINGS {
        if mail.rng.u64(0..1_000) < mail.rules.cuts {
            mail = mail.power_cut();
        }
        mail.something_happens();
        let steps = mail.rng.usize(1..8);
        mail.turns(steps);
    }
    mail.comes_to_rest();
    mail.check();
    mail.ends()
}

impl Mail {
    fn begin(seed: u64, rules: Rules) -> Mail {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shards = rng.usize(1..=3);
        let gateway = started(&rules, seed, shards, None, None);
        let mut mail = Mail {
            seed,
            rng,
            rules,
            gateway,
            shards,
            life: 1,
            ledger: Ledger::default(),
            sessions: Vec::new(),
            questions: HashMap::new(),
            durable: BTreeMap::new(),
            lies: Vec::new(),
            removed: BTreeSet::new(),
            failed_lives: BTreeSet::new(),
            finally: BTreeSet::new(),
            nonces: 0,
        };
        mail.gateway.store.mailbox().set_faults(mail.rules.store_faults);
        mail
    }

    /// Whether the store has failed in this life.
    fn store_failed(&self) -> bool {
        self.gateway.store.counts().failures > 0
    }

    fn now_ms(&self) -> u64 {
        self.gateway.world.now().unix_ms
    }

    /// Lets shards and the store take turns, and looks at what came of it.
    fn turns(&mut self, steps: usize) {
        self.gateway.steps(steps);
        self.gateway.pump();
        self.look();
    }

    /// Lets time pass, and everybody do what they are used to.
    fn wait(&mut self, time: Duration) {
        let until = self.gateway.world.time() + time;
        while self.gateway.world.time() < until {
            self.gateway.world.advance(Duration::from_millis(10));
            self.turns(2 * self.shards);
        }
    }

    /// Takes over what was answered and what arrived.
    fn look(&mut self) {
        // Between two looks it may have been later than now, if the clock jumps.
        let unseen_ms = if self.rules.faults.clock_jump > 0 { 120_000 } else { 0 };
        self.ledger.latest_ms = self.ledger.latest_ms.max(self.now_ms() + unseen_ms);
        let store_failed = self.store_failed();
        if store_failed {
            self.failed_lives.insert(self.life);
        }
        for (ticket, attempt) in self.ledger.take_answered(|ticket| self.gateway.has_answer(ticket)) {
            let Some(Answer::Pushed(mut pushed)) = self.gateway.answer(ticket) else { panic!("no push") };
            self.ledger.is_pushed(attempt, pushed.remove(0), store_failed);
        }
        let mut answered: Vec<Ticket> =
            self.questions.keys().copied().filter(|&ticket| self.gateway.has_answer(ticket)).collect();
        answered.sort_unstable_by_key(|ticket| ticket.0);
        for ticket in answered {
            let (question, answer) = (self.questions.remove(&ticket), self.gateway.answer(ticket));
            if let (Some(question), Some(answer)) = (question, answer) {
                self.is_answered(question, answer);
            }
        }
        for session in &mut self.sessions {
            if let Some(at) = session.at {
                session.look(&self.gateway[at], &mut self.ledger, &self.rules, store_failed);
            }
        }
        for session in 0..self.sessions.len() {
            self.acknowledges(session);
        }
    }

    fn is_answered(&mut self, question: Question, answer: Answer) {
        match (question, answer) {
            (
                _,
                Answer::Listed(Err(_))
                | Answer::Fetched(Err(_))
                | Answer::Confirmed(Err(_))
                | Answer::Devices(Err(_)),
            ) => {
                assert!(self.store_failed(), "refused, though the store works");
            }
            (Question::List(owner, after, certain), Answer::Listed(Ok(page))) => {
                let still = self.certain(owner);
                let mut last = after;
                let mut listed = BTreeSet::new();
                for waiting in page.messages {
                    assert!(waiting.seq > last, "{} after {last}", waiting.seq);
                    last = waiting.seq;
                    let message = Deliver::decode(waiting.body).expect("no message");
                    self.ledger.arrives(owner, &message);
                    assert_eq!(message.seq, last);
                    listed.insert(last);
                }
                let missing = certain
                    .intersection(&still)
                    .find(|&&seq| seq > after && (!page.more || seq <= last) && !listed.contains(&seq));
                assert_eq!(missing, None, "{owner:?}: not listed among {listed:?}");
            }
            (Question::Fetch(owner, seq, certain), Answer::Fetched(Ok(body))) => {
                let missing = certain && body.is_none() && self.certain(owner).contains(&seq);
                assert!(!missing, "{owner:?}: {seq} is not there");
                if let Some(body) = body {
                    let message = Deliver::decode(body).expect("no message");
                    assert_eq!(message.seq, seq);
                    self.ledger.arrives(owner, &message);
                }
            }
            (Question::Confirm(owner, seq), Answer::Confirmed(Ok(there))) => {
                let known = self.ledger.numbers.get(&seq).map(|&item| self.ledger.items[item].user);
                assert!(!there || known == Some(owner.0), "{seq} was nobody's");
            }
            (Question::Register(user), Answer::Registered(Ok(Ok(device)))) => {
                let new = self.ledger.given.insert((user, device.get()));
                assert!(new, "device {device} is given twice");
                self.ledger.registered.insert((user, device.get()));
            }
            (Question::Register(_), Answer::Registered(Ok(Err(_)))) => {}
            (Question::Register(_), Answer::Registered(Err(_))) => assert!(self.store_failed()),
            (Question::Finally(user), Answer::Devices(Ok(devices))) => {
                self.finally.extend(devices.iter().map(|known| (user, known.record.device.get())));
            }
            (Question::Other, Answer::Devices(_) | Answer::Disconnected(_)) => {}
            (_, answer) => panic!("an answer to another question: {answer:?}"),
        }
    }
}

/// A gateway of this world, on what an earlier one left.
fn started(
    rules: &Rules,
    seed: u64,
    shards: usize,
    left: Option<ModelMailbox>,
    born_ms: Option<u64>,
) -> Gateway {
    let mut setup = Setup::shards(shards).faults(rules.faults).limits(|limits| {
        limits.devices_per_user_max = DEVICES_MAX;
        limits.window_messages_max = rules.window_messages_max as u32;
        limits.window_bytes_max = rules.window_bytes_max as u32;
        limits.acknowledge_timeout_ms = rules.acknowledge_timeout_ms;
        limits.ping_interval_ms = 10_000;
        limits.pong_timeout_ms = 4_000;
        limits.frames_per_second_max = 10_000;
    });
    (setup.seed, setup.slots, setup.store_slowness) = (seed, 200, rules.store_slowness);
    (setup.mailbox_limits, setup.dedup_window_ms) = (rules.mailbox, rules.dedup_window_ms);
    setup.born_ms = born_ms.unwrap_or(setup.born_ms);
    setup.mailbox = left;
    setup.start()
}

fn address(owner: Owner) -> Address {
    Address { user: user(NAMES[owner.0]), device: DeviceId::try_from(owner.1).unwrap() }
}

const ENCODINGS: [Encoding; 2] = [Encoding::Protobuf, Encoding::Json];
