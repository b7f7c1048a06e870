//! Worlds of channels: what a subscriber sees is what was published, in order, with every hole told.
//!
//! The [`ledger`] knows what was published where, [`sessions`] what each connection asked and saw, [`rules`] what a
//! world is like. [`life`] is what happens, and [`check`] what must hold when all is quiet.

mod check;
mod ledger;
mod life;
mod rules;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_core::requests::{Answer, Ticket};
use campanile_protocol::messages::Position;

use self::ledger::Ledger;
use self::rules::{CHANNELS, Rules, WITH_MESSAGES};
use self::sessions::{Session, World};
use crate::support::Gateway;

const NAMES: [&str; 4] = ["ada", "bob", "cyd", "dan"];
/// Devices that a user has.
const DEVICES: u64 = 3;
/// Things that happen before everything comes to rest.
const HAPPENINGS: usize = 160;

/// A device of one of the [`NAMES`].
type Owner = (usize, u32);

/// Something that the control plane asked.
enum Question {
    Publish(Vec<usize>),
    /// Which channel, and what was the newest message then.
    Channel(usize, BTreeMap<u64, u64>),
    History {
        channel: usize,
        since: Option<Position>,
        messages_max: usize,
    },
    Other,
}

/// A world with a model of it.
struct Channels {
    gateway: Gateway,
    rules: Rules,
    ledger: Ledger,
    sessions: Vec<Session>,
    /// Who set which state where.
    states: BTreeMap<String, (Owner, usize)>,
    have: BTreeMap<(Owner, usize), Position>,
    questions: BTreeMap<u32, Question>,
    pushes: u32,
}

/// Lives through the world of a seed. Panics if a promise is broken; otherwise says what happened, in short.
pub(super) fn live(seed: u64) -> String {
    let rules = Rules::of_seed(seed);
    let mut channels = Channels {
        gateway: rules.setup(seed).start(),
        rules,
        ledger: Ledger::default(),
        sessions: Vec::new(),
        states: BTreeMap::new(),
        have: BTreeMap::new(),
        questions: BTreeMap::new(),
        pushes: 0,
    };
    for _ in 0..HAPPENINGS {
        channels.something_happens();
        let steps = 1 + channels.below(6) as usize;
        channels.turns(steps);
    }
    channels.comes_to_rest();
    channels.check();
    let summary = channels.summary();
    channels.ends();
    summary
}

impl Channels {
    fn below(&mut self, bound: u64) -> u64 {
        self.gateway.world.random(bound)
    }

    fn turns(&mut self, steps: usize) {
        self.gateway.steps(steps);
        self.gateway.pump();
        self.look();
    }

    fn wait(&mut self, time: Duration) {
        let until = self.gateway.world.time() + time;
        while self.gateway.world.time() < until {
            self.gateway.world.advance(Duration::from_millis(20));
            self.turns(2 * self.rules.shards);
        }
    }

    /// Takes over what was answered and what arrived.
    fn look(&mut self) {
        let answered: Vec<u32> = self
            .questions
            .keys()
            .copied()
            .filter(|&ticket| self.gateway.has_answer(Ticket(ticket)))
            .collect();
        for ticket in answered {
            if let (Some(question), Some(answer)) =
                (self.questions.remove(&ticket), self.gateway.answer(Ticket(ticket)))
            {
                self.is_answered(question, answer);
            }
        }
        for session in &mut self.sessions {
            let world = World {
                rules: &self.rules,
                ledger: &mut self.ledger,
                states: &self.states,
                have: &mut self.have,
                now_ms: self.gateway.world.now().unix_ms,
            };
            session.look(&self.gateway[session.at], world);
        }
    }

    fn is_answered(&mut self, question: Question, answer: Answer) {
        match (question, answer) {
            (Question::Publish(items), Answer::Published(published)) => {
                assert_eq!(items.len(), published.len());
                for (item, result) in items.into_iter().zip(published) {
                    match result {
                        Ok(position) => self.ledger.is_published(item, position),
                        Err(error) => {
                            let full = error.code() == "too_many_channels" && self.rules.few_channels();
                            let crowded = error.code() == "overloaded" && self.rules.has_little_room();
                            assert!(full || crowded, "refused: {error}");
                            self.ledger.is_refused(item);
                        }
                    }
                }
            }
            (Question::Channel(channel, heads), Answer::Channel(part)) => {
                let Some(position) = part.position else { return };
                let known = heads.get(&position.epoch).copied().unwrap_or_default();
                assert!(position.offset >= known, "channel {channel} went back from {known}: {position:?}");
            }
            (Question::History { channel, since, messages_max }, Answer::History(history)) => {
                self.sees_history(channel, since, messages_max, &history);
            }
            (Question::Other, Answer::Pushed(_) | Answer::Disconnected(_)) => {}
            (_, answer) => panic!("an answer to another question: {answer:?}"),
        }
    }

    /// Sessions that still are, as far as they know.
    fn live_sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(|session| self.gateway[session.at].is_connected())
    }

    /// A world in a line, by which two runs of one seed are compared.
    fn summary(&self) -> String {
        let all = self.gateway.counters.iter().flat_map(|counters| counters.all());
        let counters: Vec<String> = all.map(|(name, _, _, value)| format!("{name} {value}")).collect();
        format!("{} sessions, {}, {}", self.sessions.len(), self.ledger.summary(), counters.join(", "))
    }

    fn channels_of(list: &[&str]) -> BTreeSet<usize> {
        (0..CHANNELS.len()).filter(|&channel| list.contains(&CHANNELS[channel])).collect()
    }
}
