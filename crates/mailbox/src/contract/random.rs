//! Random operations of several users, many at a time, and a plain map that knows what must come of them.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;

use bytes::Bytes;
use campanile_protocol::ids::UserId;
use fastrand::Rng;

use super::asker::{Asker, DEVICES_MAX, device, read};
use super::oracle::Oracle;
use super::{ROOMY, SOON_MS, Subject};
use crate::operations::{Completion, Open, Operation, RegisterError, Registration, Ticket};
use crate::rules::devices;
use crate::{
    Address, Append, Dedup, DedupKey, DedupScope, Envelope, MailboxLimits, READ_MESSAGES_MAX, Remembered,
    Stored, Trim, UserRecord,
};

const PORTS: usize = 2;

/// What an answer must be.
#[derive(Debug)]
enum Expected {
    Appended(Vec<Stored>),
    Recalled(Option<Remembered>, bool),
    Opened { admitted: Result<(), RegisterError>, user: UserRecord, acknowledged: u64, least: u64, most: u64 },
    User(UserRecord),
    Registered(Result<u32, RegisterError>),
    Page { waiting: Vec<(u64, Bytes)>, messages_max: usize, bytes_max: usize },
    Fetched(Option<Bytes>),
    Removed(bool),
}

struct Run<S> {
    asker: Asker<S>,
    oracle: Oracle,
    rng: Rng,
    number: u64,
    users: Vec<UserId>,
    expected: HashMap<u32, Expected>,
    /// Every message that was ever stored, for those that come back with a crash.
    history: BTreeMap<(UserId, u64), Append>,
}

/// Whatever is asked, many at a time, over restarts and crashes: the answers are those of a map.
pub fn a_store_does_what_a_map_does<S: Subject>() {
    for seed in 0..12 {
        let _seed = ToldOnPanic(seed);
        let tight = MailboxLimits { messages_per_device_max: 7, bytes_per_device_max: 900, ..ROOMY };
        let mut run = Run::<S>::new(seed, if seed % 2 == 0 { ROOMY } else { tight });
        for _ in 0..150 {
            run = run.step();
        }
        run.compare_everything();
        run.asker = run.asker.reopened(S::restart);
        run.compare_everything();
    }
}

/// The seed of a run: told when the run fails, so that it can be repeated.
struct ToldOnPanic(u64);

impl Drop for ToldOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the seed was {}", self.0);
        }
    }
}

impl<S: Subject> Run<S> {
    fn new(seed: u64, limits: MailboxLimits) -> Run<S> {
        let mut rng = Rng::with_seed(seed);
        let long = "u".repeat(64);
        let names = ["a", "ab", "b", "名前", long.as_str()];
        let users = names[..rng.usize(1..=names.len())].iter().map(|name| name.parse().expect("an id"));
        Run {
            asker: Asker::new(limits, PORTS, seed),
            oracle: Oracle::new(limits),
            number: 0,
            users: users.collect(),
            rng,
            expected: HashMap::new(),
            history: BTreeMap::new(),
        }
    }

    fn step(mut self) -> Run<S> {
        match self.rng.u8(..100) {
            0..90 => self.batch(),
            90..96 => self.asker.now_ms += self.rng.u64(..200),
            96 => self.let_expire(),
            97 | 98 => self.asker = self.asker.reopened(S::restart),
            _ => return self.crash(),
        }
        self
    }

    /// Asks several things at once, all of which were issued before any of them is carried out.
    fn batch(&mut self) {
        let last = self.number;
        let mut asked: [Vec<Operation>; PORTS] = Default::default();
        for _ in 0..self.rng.usize(1..10) {
            let at = self.rng.usize(..self.users.len());
            let user = self.users[at].clone();
            let operation = self.operation(user, last);
            asked[at % PORTS].push(operation);
        }
        for (port, operations) in asked.into_iter().enumerate() {
            self.asker.store.port(port).ask(operations);
        }
        self.asker.turn();
        for port in 0..PORTS {
            for heard in self.asker.heard(port) {
                self.check(heard);
            }
        }
        assert!(self.expected.is_empty(), "not answered: {:?}", self.expected);
    }

    fn expect<T>(&mut self, expected: Expected) -> Ticket<T> {
        let ticket = self.asker.ticket();
        self.expected.insert(ticket.number(), expected);
        ticket
    }

    /// Something about a user; `last` is the newest number that a device can have confirmed.
    fn operation(&mut self, user: UserId, last: u64) -> Operation {
        let now_ms = self.asker.now_ms;
        let address = Address { user: user.clone(), device: device(self.rng.u32(1..=3)) };
        match self.rng.u8(..100) {
            0..40 => {
                let append = self.message(user.clone());
                let expected = self.oracle.append(&append, now_ms);
                self.history.insert((user, append.seq), append.clone());
                Operation::Append(self.expect(Expected::Appended(expected)), append)
            }
            40..52 => {
                let up_to = self.rng.u64(..=last);
                self.oracle.trim(&address, up_to);
                Operation::Trim(vec![Trim { address, up_to }])
            }
            52..60 => {
                let number = self.some_number(&address);
                let expected = self.oracle.remove(&address, number, now_ms);
                Operation::Remove(self.expect(Expected::Removed(expected)), address, number)
            }
            60..72 => {
                let after = if self.rng.bool() { self.some_number(&address) } else { 0 };
                let waiting = self.oracle.waiting(&address, after, now_ms);
                let (messages_max, bytes_max) = (self.rng.usize(1..20), self.rng.usize(..600));
                let ticket = self.expect(Expected::Page { waiting, messages_max, bytes_max });
                read(ticket, &address, after, messages_max, bytes_max)
            }
            72..76 => {
                let number = self.some_number(&address);
                let waiting = self.oracle.waiting(&address, 0, now_ms);
                let body = waiting.into_iter().find(|(found, _)| *found == number).map(|(_, body)| body);
                Operation::Fetch(self.expect(Expected::Fetched(body)), address, number)
            }
            76..82 => {
                let key = self.dedup_key();
                let must = self.oracle.must_recall(&user, &key);
                let expected = Expected::Recalled(self.oracle.recall(&user, &key, now_ms), must);
                Operation::Recall(self.expect(expected), user, key)
            }
            82..88 => self.open(address, last),
            88..92 => {
                let wanted = self.rng.bool().then(|| device(self.rng.u32(1..8)));
                let known = self.oracle.users.get(&user).cloned().unwrap_or_default();
                let registered =
                    devices::register(&known, wanted, DEVICES_MAX, now_ms).map(|(device, record)| {
                        self.oracle.users.insert(user.clone(), record);
                        device.get()
                    });
                let wanted = Registration { user, device: wanted, devices_max: DEVICES_MAX, now_ms };
                Operation::Register(self.expect(Expected::Registered(registered)), wanted)
            }
            92..95 => {
                let known = self.oracle.users.get(&user).cloned().unwrap_or_default();
                if let Some(seen) = devices::seen(&known, address.device, now_ms) {
                    self.oracle.users.insert(user, seen);
                }
                Operation::Seen(address, now_ms)
            }
            _ => {
                let known = self.oracle.users.get(&user).cloned().unwrap_or_default();
                Operation::User(self.expect(Expected::User(known)), user)
            }
        }
    }

    fn open(&mut self, address: Address, last: u64) -> Operation {
        let now_ms = self.asker.now_ms;
        let (register, confirms) = (self.rng.u8(..4) > 0, self.rng.bool());
        let acknowledged = if confirms { self.rng.u64(..=last) } else { 0 };
        let mut user = self.oracle.users.get(&address.user).cloned().unwrap_or_default();
        let admitted = devices::admit(&user, address.device, register, DEVICES_MAX, now_ms).map(|changed| {
            if let Some(changed) = changed {
                user = changed;
                self.oracle.users.insert(address.user.clone(), user.clone());
            }
        });
        if admitted.is_ok() {
            self.oracle.trim(&address, acknowledged);
        }
        let least = self.oracle.waiting(&address, 0, now_ms).len() as u64;
        let expected = Expected::Opened {
            admitted,
            user,
            acknowledged: self.oracle.acknowledged(&address),
            least,
            most: self.oracle.count_max(&address),
        };
        let open = Open { address, acknowledged, register, devices_max: DEVICES_MAX, now_ms };
        Operation::Open(self.expect(expected), Box::new(open))
    }

    fn check(&mut self, heard: Completion) {
        let Some((ticket, true)) = super::asker::ticket_of(&heard) else { panic!("{heard:?}") };
        let expected = self.expected.remove(&ticket).unwrap_or_else(|| panic!("not asked: {heard:?}"));
        match (heard, expected) {
            (Completion::Appended(_, Ok(got)), Expected::Appended(expected)) => assert_eq!(got, expected),
            (Completion::Recalled(_, Ok(got)), Expected::Recalled(expected, must)) => {
                if got.is_some() || must {
                    assert_eq!(got, expected);
                }
            }
            (
                Completion::Opened(_, Ok(got)),
                Expected::Opened { admitted, user, acknowledged, least, most },
            ) => {
                assert_eq!((got.admitted, got.user, got.count.acknowledged), (admitted, user, acknowledged));
                assert!((least..=most).contains(&got.count.messages), "{least} to {most}: {:?}", got.count);
            }
            (Completion::User(_, Ok(got)), Expected::User(expected)) => assert_eq!(got, expected),
            (Completion::Registered(_, Ok(got)), Expected::Registered(expected)) => {
                assert_eq!(got.map(|device| device.get()), expected);
            }
            (Completion::Read(_, Ok(got)), Expected::Page { waiting, messages_max, bytes_max }) => {
                let mut bytes = 0;
                let fit = waiting.iter().take(messages_max.min(READ_MESSAGES_MAX)).enumerate().take_while(
                    |(at, message)| {
                        bytes += message.1.len();
                        *at == 0 || bytes <= bytes_max
                    },
                );
                let fit = fit.count();
                let got_messages: Vec<_> =
                    got.messages.into_iter().map(|message| (message.seq, message.body)).collect();
                assert_eq!(got_messages, waiting[..fit]);
                assert!(got.more || fit == waiting.len(), "there is more");
            }
            (Completion::Fetched(_, Ok(got)), Expected::Fetched(expected)) => assert_eq!(got, expected),
            (Completion::Removed(_, Ok(got)), Expected::Removed(expected)) => assert_eq!(got, expected),
            (got, expected) => panic!("{got:?} for {expected:?}"),
        }
    }

    /// Mostly the number of a message that waits.
    fn some_number(&mut self, address: &Address) -> u64 {
        let waiting = self.oracle.waiting(address, 0, 0);
        if waiting.is_empty() || self.rng.u8(..4) == 0 {
            self.rng.u64(..=self.number)
        } else {
            waiting[self.rng.usize(..waiting.len())].0
        }
    }

    fn dedup_key(&mut self) -> DedupKey {
        let scope = if self.rng.bool() {
            DedupScope::Publisher(self.rng.u64(..2))
        } else {
            DedupScope::Sibling(self.rng.u32(1..3))
        };
        DedupKey { scope, id: format!("id {}", self.rng.u8(..12)).into() }
    }

    fn message(&mut self, user: UserId) -> Append {
        self.number += self.rng.u64(1..4);
        let ttl_ms = [5, 50, 5_000, 1_000_000][self.rng.usize(..4)];
        let topic = ["", "", "t", "u", "a longer topic"][self.rng.usize(..5)];
        let shared: Bytes = vec![self.rng.u8(..); self.rng.usize(..200)].into();
        let mut envelopes = Vec::new();
        for number in 1..=3 {
            if self.rng.u8(..3) > 0 {
                let own = vec![self.rng.u8(..); self.rng.usize(..200)].into();
                let body = if self.rng.bool() { shared.clone() } else { own };
                envelopes.push(Envelope { device: device(number), body, confirmed: self.rng.u8(..6) == 0 });
            }
        }
        let now_ms = self.asker.now_ms;
        let dedup = (self.rng.u8(..3) == 0).then(|| Dedup {
            key: self.dedup_key(),
            digest: [self.rng.u8(..); 16],
            until_ms: now_ms + [5, 500, 100_000][self.rng.usize(..3)],
        });
        Append {
            user,
            seq: self.number,
            expires_at_ms: now_ms + ttl_ms,
            topic: topic.into(),
            envelopes,
            dedup,
        }
    }

    /// Time in which nothing is asked: what has expired is removed.
    fn let_expire(&mut self) {
        for _ in 0..10 {
            self.asker.now_ms += SOON_MS / 10;
            self.asker.turn();
        }
        self.oracle.forget_expired(self.asker.now_ms - SOON_MS / 10);
    }

    /// What was made durable survives; a watermark may be an earlier one, and then what it removed is there again.
    fn crash(mut self) -> Run<S> {
        // Answered when it is durable, and with it what came before.
        let user = self.users[0].clone();
        let append = Append { envelopes: Vec::new(), ..self.message(user) };
        let ticket = self.asker.ticket();
        self.asker.store.port(0).ask(vec![Operation::Append(ticket, Append { dedup: None, ..append })]);
        self.asker.turn();
        self.asker.heard(0);
        self.asker = self.asker.reopened(S::crash);
        for address in self.addresses() {
            let count = self.asker.count(&address);
            let before = self.oracle.acknowledged(&address);
            assert!(count.acknowledged <= before, "{address:?}: {count:?} after {before}");
            let now_ms = self.asker.now_ms;
            let expected = self.oracle.waiting(&address, 0, now_ms);
            let (back, rest): (Vec<_>, Vec<_>) =
                self.asker.reads_all(&address).into_iter().partition(|(number, _)| *number <= before);
            assert_eq!(rest, expected, "{address:?}");
            let stored = |number: u64| self.history[&(address.user.clone(), number)].clone();
            let back = back.into_iter().map(|(number, _)| (number, stored(number))).collect();
            self.oracle.take_back(&address, count.acknowledged, back);
        }
        self
    }

    fn addresses(&self) -> Vec<Address> {
        let of = |user: &UserId| {
            let user = user.clone();
            (1..=3).map(move |number| Address { user: user.clone(), device: device(number) })
        };
        self.users.iter().flat_map(of).collect()
    }

    fn compare_everything(&mut self) {
        self.let_expire();
        let now_ms = self.asker.now_ms;
        for address in self.addresses() {
            let waiting = self.oracle.waiting(&address, 0, now_ms);
            let bytes = waiting.iter().map(|(_, body)| body.len() as u64).sum::<u64>();
            let count = self.asker.count(&address);
            let acknowledged = self.oracle.acknowledged(&address);
            assert_eq!(count.acknowledged, acknowledged, "{address:?}");
            assert!(count.messages >= waiting.len() as u64 && count.bytes >= bytes, "{address:?}: {count:?}");
            assert_eq!(self.asker.reads_all(&address), waiting, "{address:?}");
        }
        for (user, key) in self.oracle.ids() {
            let got = self.asker.recall(&user, &key);
            if got.is_some() || self.oracle.must_recall(&user, &key) {
                assert_eq!(got, self.oracle.recall(&user, &key, now_ms), "{user:?} {key:?}");
            }
        }
        for user in self.users.clone() {
            let known = self.oracle.users.get(&user).cloned().unwrap_or_default();
            assert_eq!(self.asker.user(&user), known, "{user:?}");
        }
    }
}
