//! A core around a shard that checks what the shard commands: the promises of `engine` and of the shard's own head.

use std::sync::Arc;

use bytes::Bytes;
use campanile_core::counters::ShardCounters;
use campanile_core::{Client, Shard};
use campanile_engine::{Command, Commands, Conn, Core, Event, Next, Now};
use rustc_hash::{FxHashMap, FxHashSet};

use super::checkers::SlowConsumers;
use super::stream::Stream;

/// Turns in a row that may ask for another at once without having done anything.
const IDLE_SPINS_MAX: u32 = 16;

#[derive(Default)]
struct Life {
    /// What a send left over, and whether the connection takes bytes again.
    unsent: Option<Bytes>,
    writable: bool,
    /// What has left, but for the send of this turn.
    stream: Stream,
    sending: Option<Bytes>,
}

/// A shard, and what is known of its connections from the outside.
pub(crate) struct Watched {
    shard: Shard,
    counters: Arc<ShardCounters>,
    own: Commands<Client>,
    live: FxHashMap<Conn, Life>,
    sent_this_turn: FxHashSet<Conn>,
    /// What the last turn asked for, unless something came since.
    asked: Option<Next>,
    spins: u32,
    /// Other shards that this turn wakes.
    wakes: usize,
    /// Sends commanded so far.
    pub(crate) sends: u64,
    slow_consumers: SlowConsumers,
}

impl Watched {
    pub(crate) fn new(shard: Shard, counters: Arc<ShardCounters>) -> Watched {
        Watched {
            shard,
            counters,
            own: Commands::default(),
            live: FxHashMap::default(),
            sent_this_turn: FxHashSet::default(),
            asked: None,
            spins: 0,
            wakes: 0,
            sends: 0,
            slow_consumers: SlowConsumers::default(),
        }
    }

    /// How many connections have not taken all that they were sent.
    pub(crate) fn blocked(&self) -> usize {
        self.live.values().filter(|life| life.unsent.is_some()).count()
    }

    fn before(&mut self, event: &Event<'_, Client>) {
        match event {
            Event::Accepted { conn, .. }
            | Event::HandedIn { conn, .. }
            | Event::HandOffFailed { conn, .. } => {
                let before = self.live.insert(*conn, Life::default());
                assert!(before.is_none(), "{conn:?} came twice");
            }
            // A connection whose close is commanded and not yet executed is no longer the shard's.
            Event::Writable { conn } => {
                if let Some(life) = self.live.get_mut(conn) {
                    life.writable = true;
                    // Of what follows the frame that left in part, the shard may think better.
                    life.unsent.take_if(|unsent| life.stream.rest_in(unsent) == 0);
                }
            }
            Event::SendIncomplete { conn, rest, error: None } => {
                assert!(!rest.is_empty(), "a send without a rest was complete");
                let rest = rest.clone();
                let life = self.life(*conn, "send incomplete");
                let sent = life.sending.take().expect("nothing was sent");
                life.stream.pass(&sent[..sent.len() - rest.len()]);
                life.unsent = Some(rest);
                life.writable = false;
            }
            _ => {}
        }
    }

    /// What must hold inside the shard between two calls.
    fn check_invariants(&self) {
        if let Err(broken) = self.shard.check() {
            panic!("an invariant is broken: {broken}");
        }
    }

    fn life(&mut self, conn: Conn, what: &str) -> &mut Life {
        self.live.get_mut(&conn).unwrap_or_else(|| panic!("{what}: {conn:?} is not the shard's"))
    }

    /// Checks the new commands and passes them on.
    fn inspect(&mut self, commands: &mut Commands<Client>) -> usize {
        let new: Vec<Command<Client>> = self.own.drain().collect();
        let count = new.len();
        for command in new {
            self.check(&command);
            commands.push(command);
        }
        count
    }

    fn check(&mut self, command: &Command<Client>) {
        match command {
            Command::Send { conn, bytes } => {
                self.sends += 1;
                assert!(!bytes.is_empty(), "an empty send to {conn:?}");
                assert!(self.sent_this_turn.insert(*conn), "two sends to {conn:?} in one turn");
                self.slow_consumers.is_sent(*conn, bytes);
                let life = self.life(*conn, "send");
                if let Some(sent) = life.sending.replace(bytes.clone()) {
                    life.stream.pass(&sent);
                }
                if let Some(unsent) = life.unsent.take() {
                    assert!(life.writable, "a send to {conn:?}, which takes no bytes");
                    let rest = &unsent[..life.stream.rest_in(&unsent)];
                    assert!(
                        bytes.starts_with(rest),
                        "the unsent rest of {conn:?} does not go first: {rest:?} before {bytes:?}"
                    );
                }
            }
            Command::WatchOnce { conn } | Command::Watch { conn } | Command::Pause { conn } => {
                self.life(*conn, "watch");
            }
            Command::WatchWritable { conn } => {
                assert!(self.life(*conn, "watch writable").unsent.is_some(), "{conn:?} has nothing unsent");
            }
            Command::Close { conn, .. } => {
                assert!(self.live.remove(conn).is_some(), "{conn:?} closed twice");
            }
            Command::HandOff { conn, .. } => {
                assert!(!self.sent_this_turn.contains(conn), "{conn:?} sent to and handed off in one turn");
                assert!(self.live.remove(conn).is_some(), "{conn:?} handed off twice");
            }
            Command::Wake { .. } => self.wakes += 1,
            Command::Accept { .. } => {}
            Command::Connect { .. } => panic!("a shard opens no connections"),
        }
    }
}

impl Core for Watched {
    type Parcel = Client;

    fn on_event(&mut self, now: Now, event: Event<'_, Client>, commands: &mut Commands<Client>) {
        self.before(&event);
        self.asked = None;
        let incomplete = match &event {
            Event::SendIncomplete { conn, rest, error } => Some((*conn, rest.len(), error.is_some())),
            Event::HungUp { conn, .. } => {
                self.slow_consumers.hangs_up(*conn, self.shard.outgoing_of(*conn));
                None
            }
            _ => None,
        };
        self.shard.on_event(now, event, &mut self.own);
        if let Some((conn, rest, is_broken)) = incomplete {
            let unsent = self.shard.unsent_of(conn).filter(|_| !is_broken);
            self.slow_consumers.is_sent_in_part(conn, rest, unsent.map(<[u8]>::len));
        }
        self.check_invariants();
        self.inspect(commands);
    }

    fn on_turn(&mut self, now: Now, commands: &mut Commands<Client>) -> Next {
        let nothing_due = match self.asked {
            Some(Next::Event) => true,
            Some(Next::At(time)) => now.time < time,
            _ => false,
        };
        let asleep = nothing_due && !self.has_mail() && commands.is_empty();
        let waits_for_events = asleep && self.asked == Some(Next::Event);
        let busy = !commands.is_empty() || self.asked.is_none() || self.has_mail();
        let next = self.shard.on_turn(now, &mut self.own);
        self.check_invariants();
        if let Err(broken) = self.shard.check_turn() {
            panic!("an invariant is broken: {broken}");
        }
        self.wakes = 0;
        let done = self.inspect(commands);
        // That a queue of another shard has room again is found out by and by.
        assert!(!asleep || done == self.wakes, "work was left that no driver would have woken the shard for");
        assert!(
            !waits_for_events || next != Next::Stop,
            "the shard would have slept for ever instead of ending"
        );
        self.spins = if next == Next::Now && done == 0 && !busy { self.spins + 1 } else { 0 };
        assert!(self.spins < IDLE_SPINS_MAX, "the shard spins");
        self.asked = Some(next);
        self.sent_this_turn.clear();
        next
    }

    fn on_submitted(&mut self, now: Now, commands: &mut Commands<Client>) {
        self.shard.on_submitted(now, &mut self.own);
        self.check_invariants();
        self.inspect(commands);
        assert_eq!(
            self.live.len() as u64,
            self.counters.connections.get(),
            "connections are counted wrongly"
        );
        self.slow_consumers.check(&self.shard, &self.counters);
        self.slow_consumers.keep(|conn| self.live.contains_key(conn));
    }

    fn has_mail(&self) -> bool {
        self.shard.has_mail()
    }
}
