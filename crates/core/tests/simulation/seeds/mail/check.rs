//! What follows from what was asked, answered and seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_core::requests::RequestBody;
use campanile_engine::sim::{Ending, Faults};

use super::ledger::{Attempt, Reply, To};
use super::sessions::{Habit, Session};
use super::{CARELESS, Mail, NAMES, Owner, Question, address};
use crate::support::store::StoreFaults;
use crate::support::user;

impl Mail {
    /// The numbers of what a device was promised, unless it was to lose it again.
    fn owed(&self, owner: Owner) -> BTreeSet<u64> {
        if owner.1 == CARELESS {
            return BTreeSet::new();
        }
        let attempts = self.ledger.attempts.iter();
        attempts.filter_map(|attempt| self.owes(owner, attempt)).collect()
    }

    fn owes(&self, owner: Owner, attempt: &Attempt) -> Option<u64> {
        let item = &self.ledger.items[attempt.item];
        let Some(Reply::Yes { seq, devices, .. }) = &attempt.answer else { return None };
        let promised = devices.iter().any(|&(device, _, yes)| device == owner.1 && yes);
        let may_expire = item.expires_at_ms > 0 && item.expires_at_ms <= self.ledger.latest_ms;
        let lied_away = self.lies.iter().any(|&(liar, up_to)| liar == owner && *seq <= up_to);
        let keeps = item.user == owner.0
            && item.is_durable()
            && promised
            && !may_expire
            && !lied_away
            && !self.removed.contains(&(owner, *seq))
            && !self.may_be_replaced(owner, attempt, *seq);
        keeps.then_some(*seq)
    }

    /// Whether a later message of the same topic may have been stored.
    fn may_be_replaced(&self, owner: Owner, attempt: &Attempt, seq: u64) -> bool {
        let item = &self.ledger.items[attempt.item];
        !item.topic.is_empty()
            && self.ledger.attempts.iter().any(|other| {
                let later = &self.ledger.items[other.item];
                let rivals = later.user == owner.0
                    && later.topic == item.topic
                    && later.is_durable()
                    && later.is_for(owner.1);
                rivals
                    && match &other.answer {
                        None | Some(Reply::Failed) => true,
                        Some(Reply::Yes { seq: other, devices, .. }) => {
                            *other > seq && devices.iter().any(|&(device, _, yes)| device == owner.1 && yes)
                        }
                        Some(Reply::Nobody | Reply::NoDevices | Reply::Conflict) => false,
                    }
            })
    }

    /// The numbers of what waits for a device for certain.
    pub(super) fn certain(&self, owner: Owner) -> BTreeSet<u64> {
        let mut owed = self.owed(owner);
        let of = self.sessions.iter().filter(|session| session.owner == owner);
        let confirmed = of.map(|session| session.acknowledged.max(session.hello)).max().unwrap_or(0);
        owed.retain(|&seq| seq > confirmed);
        owed
    }

    /// The network and the disk behave, every device is there and does what it should, until all is quiet.
    pub(super) fn comes_to_rest(&mut self) {
        self.gateway.world.set_faults(Faults::NONE);
        let mailbox = self.gateway.store.mailbox();
        mailbox.set_faults(StoreFaults::NONE);
        mailbox.fail_for(0);
        mailbox.fill(0);
        for device in &mut self.gateway.devices {
            device.reads = true;
        }
        // Whoever has no session yet would replace a later one.
        for at in 0..self.gateway.devices.len() {
            if self.gateway[at].ending == Ending::Open && self.gateway[at].welcome().is_none() {
                self.gateway.hang_up(at, true);
            }
        }
        self.wait(Duration::from_millis(1_200));
        for (user_at, name) in NAMES.iter().enumerate() {
            let ticket = self.gateway.ask_home(name, RequestBody::Devices(user(name)));
            self.questions.insert(ticket, Question::Finally(user_at));
        }
        while !self.questions.is_empty() {
            self.wait(Duration::from_millis(50));
        }
        let gone: Vec<_> = self.ledger.registered.difference(&self.finally).collect();
        assert!(gone.is_empty(), "registered for good, and gone: {gone:?} {:?}", self.finally);
        let last = self.sessions.len();
        for owner in self.finally.clone() {
            self.connects(owner);
        }
        for session in &mut self.sessions {
            session.habit = if session.acknowledges { Habit::Every } else { Habit::Never };
        }
        self.is_quiet(last);
        let first = self.ledger.items.len();
        for user in 0..NAMES.len() {
            let item = self.a_last_item(user);
            self.ledger.items.push(item);
            self.pushes(self.ledger.items.len() - 1);
        }
        self.is_quiet(last);
        for index in last..self.sessions.len() {
            let session = &self.sessions[index];
            assert!(session.caught_up.is_some(), "{:?} has not caught up", session.owner);
            let newest = first + session.owner.0;
            assert!(self.was_given_to(newest, session.owner.1), "{:?} is not live", session.owner);
            assert_eq!(self.ledger.numbers.get(&session.last()), Some(&newest), "{:?}", session.owner);
        }
    }

    /// Waits until nothing is under way. The sessions from `last` on have to be there then.
    fn is_quiet(&mut self, last: usize) {
        let deadline = self.gateway.world.time() + Duration::from_secs(120);
        let (mut before, mut quiet) = (usize::MAX, 0);
        while quiet < 3 {
            assert!(self.gateway.world.time() < deadline, "the world does not come to rest");
            self.wait(Duration::from_millis(80));
            let caught_up = self.sessions[last..].iter().all(|session| session.caught_up.is_some());
            let received = self.sessions.iter().map(|session| session.received.len()).sum();
            let still = !self.is_busy() && received == before && caught_up;
            quiet = if still { quiet + 1 } else { 0 };
            before = received;
        }
        for session in &self.sessions[last..] {
            let there = session.at.is_some_and(|at| self.gateway[at].is_connected());
            assert!(there, "{:?} is closed", session.owner);
        }
    }

    /// Everything that was promised.
    pub(super) fn check(&self) {
        for &owner in &self.finally {
            let of = self.sessions.iter().filter(|session| session.owner == owner);
            let received: BTreeSet<u64> = of.flat_map(|session| session.received.iter().copied()).collect();
            let owed = self.owed(owner);
            let lost: Vec<u64> = owed.difference(&received).copied().collect();
            assert!(lost.is_empty(), "{owner:?} has lost {lost:?}");
            self.check_order(owner);
        }
        for attempt in &self.ledger.attempts {
            self.check_answer(attempt);
        }
        self.check_ids();
    }

    /// What a device receives first comes in order, over all its sessions.
    fn check_order(&self, owner: Owner) {
        let mut sessions: Vec<&Session> = self
            .sessions
            .iter()
            .filter(|session| session.owner == owner && session.generation.is_some())
            .collect();
        sessions.sort_by_key(|session| session.generation);
        let mut highest = 0;
        let mut seen = BTreeMap::new();
        let mut life = None;
        for session in sessions {
            // What was handed to the careless one's socket counts as confirmed, and need not be durable: after a power
            // cut what it never received comes again, behind what came since.
            if owner.1 == CARELESS && life.replace(session.life) != Some(session.life) {
                highest = 0;
            }
            for &seq in &session.received {
                let before = seen.insert(seq, session.life);
                let item = &self.ledger.items[self.ledger.numbers[&seq]];
                // What had expired waits again when the clock goes back, and what was confirmed untruly when that was
                // not durable.
                let lied_away = self.lies.iter().any(|&(liar, up_to)| liar == owner && seq <= up_to);
                let expired = self.rules.faults.clock_jump > 0 && item.expires_at_ms <= self.ledger.latest_ms;
                assert!(
                    before.is_some() || lied_away || expired || seq > highest,
                    "{owner:?}: {seq} comes late, after {highest}"
                );
                let repeated = before == Some(session.life) && !self.failed_lives.contains(&session.life);
                assert!(owner.1 != CARELESS || !repeated, "{owner:?}: {seq} twice without acknowledgements");
                highest = highest.max(seq);
            }
        }
    }

    fn check_answer(&self, attempt: &Attempt) {
        let item = &self.ledger.items[attempt.item];
        let Some(Reply::Yes { seq, devices, duplicate }) = &attempt.answer else { return };
        for &(device, state, _) in devices {
            if state == "confirmed" && device != CARELESS {
                let of = self.sessions.iter().filter(|session| session.owner == (item.user, device));
                let up_to = of.map(|session| session.acknowledged.max(session.hello)).max();
                assert!(up_to >= Some(*seq), "{seq} is confirmed by nobody");
            }
        }
        assert!(item.key.is_some() || *duplicate != Some(true), "a duplicate of nothing");
        if item.key.is_some() && devices.iter().any(|&(.., yes)| yes) {
            self.check_retries(attempt, *seq);
        }
    }

    /// Once an item was stored under a deduplication id, whatever comes later under it is a duplicate or a conflict.
    fn check_retries(&self, first: &Attempt, seq: u64) {
        let key = self.ledger.items[first.item].key;
        let until_ms = key.and_then(|key| self.ledger.keys[key].until_ms).map_or(u64::MAX, |until| until.0);
        for later in &self.ledger.attempts {
            let pushed = first.session.is_none() && later.session.is_none();
            let ordered = first.answered < later.asked || (pushed && first.asked < later.asked);
            if self.ledger.items[later.item].key != key || !ordered || later.answered_ms >= until_ms {
                continue;
            }
            match &later.answer {
                Some(Reply::Yes { seq: again, duplicate, .. }) => {
                    assert_eq!(later.item, first.item, "another message under one deduplication id");
                    assert_eq!((*again, *duplicate != Some(false)), (seq, true), "stored twice");
                }
                Some(Reply::Conflict) => assert_ne!(later.item, first.item, "in conflict with itself"),
                None | Some(Reply::Failed) => {}
                Some(other) => panic!("{other:?} to a retry"),
            }
        }
    }

    /// An item that was pushed once has one id at most; a retry makes another only where it was not known to be stored.
    fn check_ids(&self) {
        let mut ids: BTreeMap<usize, u64> = BTreeMap::new();
        for &item in self.ledger.numbers.values() {
            *ids.entry(item).or_default() += 1;
        }
        for (item, count) in ids {
            let mut attempts: Vec<&Attempt> =
                self.ledger.attempts.iter().filter(|attempt| attempt.item == item).collect();
            attempts.sort_by_key(|attempt| attempt.asked);
            let key = self.ledger.items[item].key.map(|key| &self.ledger.keys[key]);
            let lasts =
                key.is_some_and(|key| key.until_ms.is_none_or(|(first, _)| first > self.ledger.latest_ms));
            let is_yes = |attempt: &&&Attempt| match &attempt.answer {
                Some(Reply::Yes { devices, .. }) => devices.iter().any(|&(.., yes)| yes),
                _ => false,
            };
            let first_yes = attempts.iter().find(is_yes).filter(|_| lasts).map(|attempt| attempt.answered);
            // Those that were under way before it was known to be stored.
            let may = attempts.iter().filter(|attempt| {
                let refused =
                    matches!(attempt.answer, Some(Reply::Conflict | Reply::NoDevices | Reply::Nobody));
                let again = matches!(attempt.answer, Some(Reply::Yes { duplicate: Some(true), .. }));
                !refused && !again && first_yes.is_none_or(|answered| attempt.asked < answered)
            });
            let most = may.count().max(1) as u64;
            assert!(count <= most, "item {item} has {count} ids after {most} attempts");
        }
    }

    fn was_given_to(&self, item: usize, device: u32) -> bool {
        self.ledger.attempts.iter().filter(|attempt| attempt.item == item).any(|attempt| {
            match &attempt.answer {
                Some(Reply::Yes { devices, .. }) => devices
                    .iter()
                    .any(|&(known, state, _)| known == device && (state == "sent" || state == "confirmed")),
                _ => false,
            }
        })
    }

    fn a_last_item(&self, user: usize) -> super::ledger::Item {
        super::ledger::Item {
            user,
            to: To::All,
            from: None,
            kind: "last",
            topic: "",
            bytes: 5,
            durability: campanile_core::requests::Durability::Durable,
            expires_at_ms: u64::MAX >> 1,
            key: None,
        }
    }

    /// Everybody leaves. Nothing is left of them but what is kept, and nothing waits that was confirmed.
    pub(super) fn ends(mut self) -> String {
        for at in 0..self.gateway.devices.len() {
            if self.gateway[at].ending == Ending::Open {
                let reset = self.rng.bool();
                self.gateway.hang_up(at, reset);
            }
        }
        self.wait(Duration::from_secs(3));
        self.gateway.assert_empty();
        for &owner in &self.finally {
            let waiting = self.gateway.store.mailbox().waiting(&address(owner));
            assert!(waiting.is_empty(), "{owner:?} has confirmed everything: {waiting:?}");
        }
        let all = self.gateway.counters.iter().flat_map(|counters| counters.all());
        let counters: Vec<String> = all.map(|(name, _, _, value)| format!("{name} {value}")).collect();
        format!(
            "seed {}: {} lives, {} sessions, {} attempts, {} numbers, {}",
            self.seed,
            self.life,
            self.sessions.len(),
            self.ledger.attempts.len(),
            self.ledger.numbers.len(),
            counters.join(", ")
        )
    }
}
