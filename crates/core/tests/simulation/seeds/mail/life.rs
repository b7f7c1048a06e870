//! What happens: pushes, retries, syncs, devices that come, acknowledge, stall and go.

use campanile_core::requests::{Durability, RequestBody};
use campanile_engine::sim::Ending;
use campanile_protocol::ids::{DeviceId, MessageId};
use campanile_protocol::messages::ClientFrame;
use std::time::Duration;

use super::ledger::{Item, Key, To};
use super::sessions::{Habit, Session};
use super::{CARELESS, DEVICES, ENCODINGS, Mail, NAMES, Owner, PLAIN, Question, address};
use crate::support::gateway::EPOCH;
use crate::support::store::StoreFaults;
use crate::support::{Entry, user};

/// How far above all ranges of numbers one is that is not given out in this life.
const ABSURD: u64 = 5_000;

impl Mail {
    fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(0..count) == 0
    }

    fn user(&mut self) -> usize {
        self.rng.usize(0..NAMES.len())
    }

    fn owner(&mut self) -> Owner {
        (self.user(), self.rng.u32(1..=DEVICES))
    }

    /// A session, as far as it knows.
    fn somebody(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.sessions.len())
            .filter(|&session| self.sessions[session].at.is_some_and(|at| self.gateway[at].is_connected()))
            .collect();
        self.rng.choice(open)
    }

    pub(super) fn something_happens(&mut self) {
        match self.rng.u32(0..100) {
            0..16 => {
                let owner = self.owner();
                self.connects(owner);
            }
            16..42 => {
                let burst = self.rules.large && self.one_in(6);
                for _ in 0..if burst { 30 } else { self.rng.u32(1..4) } {
                    self.is_pushed();
                }
            }
            42..50 => self.is_pushed_again(),
            50..56 => self.syncs(),
            56..64 => self.is_asked(),
            64..67 => {
                let owner = self.owner();
                self.removes(owner);
            }
            67..70 => {
                let time = Duration::from_millis(self.rng.u64(0..400));
                self.gateway.world.advance(time);
            }
            70..72 => self.store_changes(),
            _ => {
                if let Some(session) = self.somebody() {
                    self.acts(session);
                }
            }
        }
    }

    fn store_changes(&mut self) {
        let faults = [StoreFaults::NONE, self.rules.store_faults][self.rng.usize(0..2)];
        let fills = self.one_in(4);
        let mailbox = self.gateway.store.mailbox();
        mailbox.set_faults(faults);
        if fills {
            mailbox.fill(3);
        }
    }

    /// A device connects, and says what it has got before.
    pub(super) fn connects(&mut self, owner: Owner) -> usize {
        let with_hello = self.rng.bool();
        let hello = self.a_hello(owner);
        self.connects_with(owner, with_hello, hello)
    }

    /// The same with a hello that is right.
    pub(super) fn comes_back_with(&mut self, owner: Owner, last: u64) -> usize {
        self.connects_with(owner, true, Some((last, EPOCH)))
    }

    fn connects_with(&mut self, owner: Owner, with_hello: bool, hello: Option<(u64, u64)>) -> usize {
        let (name, encoding) = (NAMES[owner.0], ENCODINGS[self.rng.usize(0..2)]);
        let token = self.gateway.token(name, owner.1, 360_000);
        let entry = if with_hello { Entry::Hello(token) } else { Entry::Header(token) };
        let shard = self.rng.usize(0..self.shards);
        let at = self.gateway.dial(shard, encoding, entry);
        let careless = owner.1 == CARELESS;
        self.gateway[at].ask_upgrade_at(if careless { "/v2/connect?ack=none" } else { "/v2/connect" });
        let mut session = Session::new(owner, self.life, at);
        session.acknowledges = !careless;
        session.habit = match self.rng.u32(0..10) {
            _ if careless => Habit::Never,
            0..4 => Habit::Every,
            4..7 => Habit::Some,
            7..9 => Habit::Never,
            _ => Habit::Wild,
        };
        session.floor = self.durable.get(&owner).copied().unwrap_or(0);
        session.dialed = self.ledger.clock;
        session.dialed_ms = if self.rules.faults.clock_jump > 0 { 0 } else { self.now_ms() };
        let earlier: Vec<&Session> = self.sessions.iter().filter(|other| other.owner == owner).collect();
        session.after_generation = earlier.iter().filter_map(|other| other.generation).max().unwrap_or(0);
        let of_life = earlier.iter().filter(|other| other.life == self.life);
        session.soft_floor = of_life.clone().map(|other| other.heard).max().unwrap_or(0);
        session.is_exact = owner.0 == PLAIN
            && !careless
            && of_life.clone().all(|other| !other.lied && other.acknowledged.max(other.hello) <= other.heard);
        if let Some((last, epoch)) = hello {
            self.gateway[at].resumes = (last, epoch);
            self.says_what_it_has(&mut session, with_hello, last, epoch);
        }
        self.sessions.push(session);
        self.sessions.len() - 1
    }

    /// What a device says that it has got: the last number and the epoch.
    fn a_hello(&mut self, owner: Owner) -> Option<(u64, u64)> {
        let got = self.got(owner);
        if owner.1 == CARELESS || got == 0 {
            return None;
        }
        match self.rng.u32(0..12) {
            0..5 => None,
            5..9 => Some((got, EPOCH)),
            9 => Some((1 + self.rng.u64(0..got), EPOCH)),
            10 => Some((got, EPOCH + 1)),
            _ => Some((self.an_absurd_number(), EPOCH)),
        }
    }

    /// A number that was never given out. To acknowledge it confirms nothing.
    fn an_absurd_number(&mut self) -> u64 {
        let next = self.gateway.store.mailbox().next_number();
        [u64::MAX, next, next + ABSURD][self.rng.usize(0..3)]
    }

    /// The highest number that a device has received.
    fn got(&self, owner: Owner) -> u64 {
        let of = self.sessions.iter().filter(|session| session.owner == owner);
        of.map(|session| session.last()).max().unwrap_or(0)
    }

    /// What follows from it.
    fn says_what_it_has(&mut self, session: &mut Session, with_hello: bool, last: u64, epoch: u64) {
        if last > self.got(session.owner) {
            session.lied = true;
            return;
        }
        if epoch != EPOCH {
            return;
        }
        if with_hello {
            session.hello = last;
            session.floor = session.floor.max(last);
        }
        session.acknowledged = session.acknowledged.max(last);
        session.is_exact &= with_hello;
    }

    /// A device acknowledges what it has got, if it is used to.
    pub(super) fn acknowledges(&mut self, index: usize) {
        let session = &self.sessions[index];
        let (owner, last, habit) = (session.owner, session.last(), session.habit);
        let Some(at) = session.at.filter(|&at| self.gateway[at].is_connected()) else { return };
        if !session.acknowledges || session.generation.is_none() || last <= session.acknowledged {
            return;
        }
        let seq = match habit {
            Habit::Every => last,
            Habit::Some if self.one_in(6) => {
                let received = &self.sessions[index].received;
                received[self.rng.usize(0..received.len())]
            }
            Habit::Wild if self.one_in(8) => match self.rng.u32(0..6) {
                0 => 0,
                1 => self.rng.u64(0..=last),
                // What other devices of the user have got, perhaps.
                2 => self.ledger.highest_of(owner.0).max(last),
                3 => {
                    let seq = self.an_absurd_number();
                    return self.sessions[index].acknowledge_absurdly(&mut self.gateway[at], seq);
                }
                _ => last,
            },
            _ => return,
        };
        if seq > last {
            self.lies.push((owner, seq));
        }
        self.nonces += 1;
        let nonce = (seq > 0 && self.one_in(3)).then_some(self.nonces);
        self.sessions[index].acknowledge(&mut self.gateway[at], seq, nonce);
        // Perhaps between the count and the replay of a newer one.
        for (other, session) in self.sessions.iter_mut().enumerate() {
            session.is_exact &= other == index || session.owner != owner;
        }
    }

    fn some_devices(&mut self) -> Vec<u32> {
        let mut devices: Vec<u32> = (1..=DEVICES + 1).filter(|_| self.rng.bool()).collect();
        self.rng.shuffle(&mut devices);
        if devices.is_empty() { vec![self.rng.u32(1..=DEVICES)] } else { devices }
    }

    fn new_item(&mut self, user: usize, from: Option<u32>) -> Item {
        let to = match self.rng.u32(0..4) {
            0 | 1 if from.is_none() => To::All,
            0 | 1 => To::Siblings,
            2 if from.is_none() => To::PerDevice(self.some_devices()),
            _ if from.is_none() => To::Listed(self.some_devices()),
            _ => {
                let others: Vec<u32> = (1..=DEVICES).filter(|device| Some(*device) != from).collect();
                To::Listed(vec![others[self.rng.usize(0..others.len())]])
            }
        };
        let durability = if self.one_in(8) { Durability::Ephemeral } else { Durability::Durable };
        let topic =
            if user != PLAIN && self.one_in(4) { ["read", "place"][self.rng.usize(0..2)] } else { "" };
        let is_brief = user != PLAIN && self.one_in(5);
        let ttl_ms = if is_brief { self.rng.u64(0..800) } else { 30 * 24 * 3_600_000 };
        let expires_at_ms = if from.is_some() { 0 } else { self.now_ms() + ttl_ms };
        let large = self.rules.large && user == PLAIN;
        let bytes = if large {
            self.rng.usize(4_000..12_000)
        } else if self.one_in(6) {
            self.rng.usize(0..1_500)
        } else {
            self.rng.usize(0..200)
        };
        Item { user, to, from, kind: "message", topic, bytes, durability, expires_at_ms, key: None }
    }

    pub(super) fn is_pushed(&mut self) {
        let user = self.user();
        let mut item = self.new_item(user, None);
        if item.is_durable() && self.one_in(2) {
            self.ledger.keys.push(Key { name: format!("k{}", self.ledger.keys.len()), until_ms: None });
            item.key = Some(self.ledger.keys.len() - 1);
        }
        self.ledger.items.push(item);
        self.pushes(self.ledger.items.len() - 1);
        if self.one_in(6) {
            // Before the first is answered.
            self.is_pushed_again();
        }
    }

    /// A retry, or another message under the same id.
    fn is_pushed_again(&mut self) {
        let now_ms = self.now_ms();
        let with_key = |&item: &usize| {
            let item = &self.ledger.items[item];
            item.key.is_some() && (item.expires_at_ms == 0 || item.expires_at_ms > now_ms)
        };
        let candidates: Vec<usize> = (0..self.ledger.items.len()).filter(with_key).collect();
        let recent = candidates.len().saturating_sub(6);
        let from = if self.rng.bool() { recent } else { 0 };
        let Some(item) = self.rng.choice(candidates[from..].iter().copied()) else { return };
        if self.ledger.items[item].from.is_some() {
            return self.syncs_again(item);
        }
        let item = if self.one_in(5) {
            let old = &self.ledger.items[item];
            let (user, key) = (old.user, old.key);
            let mut other = self.new_item(user, None);
            (other.key, other.durability) = (key, Durability::Durable);
            self.ledger.items.push(other);
            self.ledger.items.len() - 1
        } else {
            item
        };
        self.pushes(item);
    }

    pub(super) fn pushes(&mut self, number: usize) {
        let now_ms = self.now_ms();
        let item = &self.ledger.items[number];
        let until_ms = now_ms + self.rules.dedup_window_ms;
        let key = item.key.map(|key| (&self.ledger.keys[key], until_ms));
        let (name, push) = (NAMES[item.user], item.push(number, key));
        if let Some(key) = item.key {
            let (first, last) = self.ledger.keys[key].until_ms.unwrap_or((until_ms, until_ms));
            self.ledger.keys[key].until_ms = Some((first.min(until_ms), last.max(until_ms)));
        }
        let attempt = self.ledger.asks(number, None);
        let ticket = self.gateway.ask_home(name, RequestBody::Push(vec![push]));
        self.ledger.tickets.insert(ticket, attempt);
    }

    /// A device writes to its siblings.
    fn syncs(&mut self) {
        let Some(index) = self.somebody() else { return };
        let (user, device) = self.sessions[index].owner;
        let mut item = self.new_item(user, Some(device));
        if item.is_durable() {
            self.ledger.keys.push(Key { name: format!("s{}", self.ledger.keys.len()), until_ms: None });
            item.key = Some(self.ledger.keys.len() - 1);
            if !item.topic.is_empty() {
                item.kind = "read-sync";
            }
        }
        self.ledger.items.push(item);
        self.writes_sync(index, self.ledger.items.len() - 1);
    }

    /// The same sync again, from any session of the device.
    fn syncs_again(&mut self, number: usize) {
        let item = &self.ledger.items[number];
        let owner = (item.user, item.from.unwrap_or_default());
        let mut sessions = 0..self.sessions.len();
        let of = |&index: &usize| {
            let session = &self.sessions[index];
            session.owner == owner && session.at.is_some_and(|at| self.gateway[at].is_connected())
        };
        if let Some(index) = sessions.rfind(of) {
            self.writes_sync(index, number);
        }
    }

    fn writes_sync(&mut self, index: usize, number: usize) {
        let item = &self.ledger.items[number];
        let name = item.key.map_or_else(|| format!("e{number}"), |key| self.ledger.keys[key].name.clone());
        let Some(at) = self.sessions[index].at else { return };
        if self.sessions[index].syncs.contains_key(&name) {
            return;
        }
        self.gateway[at].say(&ClientFrame::Sync(item.sync(number, &name)));
        let attempt = self.ledger.asks(number, Some(index));
        self.sessions[index].syncs.insert(name, attempt);
    }

    fn is_asked(&mut self) {
        let owner = self.owner();
        let name = NAMES[owner.0];
        let (body, question) = match self.rng.u32(0..10) {
            0..4 => {
                let after = if self.rng.bool() { 0 } else { self.ledger.highest_of(owner.0) / 2 };
                let messages_max = self.rng.usize(1..20);
                let body = RequestBody::List { address: address(owner), after, messages_max };
                (body, Question::List(owner, after, self.certain(owner)))
            }
            4..7 => {
                let Some(seq) = self.some_number(owner.0) else { return };
                let certain = self.certain(owner).contains(&seq);
                let id = MessageId { epoch: EPOCH, seq };
                (RequestBody::Fetch(address(owner), id), Question::Fetch(owner, seq, certain))
            }
            7 => (RequestBody::Register(user(name), None), Question::Register(owner.0)),
            8 => (RequestBody::Devices(user(name)), Question::Other),
            _ => {
                let device = DeviceId::try_from(owner.1).ok();
                (RequestBody::Disconnect(user(name), device), Question::Other)
            }
        };
        let ticket = self.gateway.ask_home(name, body);
        self.questions.insert(ticket, question);
    }

    /// The number of a message that a user was sent.
    fn some_number(&mut self, user: usize) -> Option<u64> {
        let numbers: Vec<u64> = self.ledger.numbers_of(user).collect();
        self.rng.choice(numbers)
    }

    /// A device that polls has a message.
    fn removes(&mut self, owner: Owner) {
        let Some(seq) = self.some_number(owner.0).filter(|_| owner.0 != PLAIN) else { return };
        self.removed.insert((owner, seq));
        let body = RequestBody::Confirm(address(owner), MessageId { epoch: EPOCH, seq });
        let ticket = self.gateway.ask_home(NAMES[owner.0], body);
        self.questions.insert(ticket, Question::Confirm(owner, seq));
    }

    fn acts(&mut self, index: usize) {
        let Some(at) = self.sessions[index].at else { return };
        match self.rng.u32(0..12) {
            0..3 => self.gateway[at].reads = false,
            3..7 => self.gateway[at].reads = true,
            7 => self.gateway.hang_up(at, true),
            8 => self.gateway.hang_up(at, false),
            9 => {
                self.gateway[at].say_close(1000);
            }
            _ if self.sessions[index].acknowledges => {
                let habits = [Habit::Every, Habit::Some, Habit::Never, Habit::Wild];
                self.sessions[index].habit = habits[self.rng.usize(0..4)];
            }
            _ => {}
        }
    }

    /// Whether bytes are under way in either direction, or answers.
    pub(super) fn is_busy(&mut self) -> bool {
        let shards = 0..self.shards;
        let blocked: usize = shards.map(|shard| self.gateway.world.core(shard).blocked()).sum();
        let talks = self
            .gateway
            .devices
            .iter()
            .any(|device| device.ending == Ending::Open && !device.outgoing.is_empty());
        blocked > 0 || talks || self.gateway.unanswered() > 0
    }
}
