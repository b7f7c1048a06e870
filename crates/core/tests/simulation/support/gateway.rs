//! A node of simulated shards, its control plane, and its devices.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use campanile_core::counters::{Kind, ShardCounters};
use campanile_core::hashing::HashKey;
use campanile_core::lanes::{Lanes, MESSAGES_WAITING_MAX};
use campanile_core::limits::Limits;
use campanile_core::namespaces::Namespaces;
use campanile_core::push::{PushDraft, PushRules};
use campanile_core::requests::{
    Answer, Durability, Envelopes, Outcome, Push, PushError, Pushed, Request, RequestBody, Ticket,
};
use campanile_core::settings::{HELD_BYTES_MAX, Mode, ShardSettings};
use campanile_core::tokens::{Signer, Verifier};
use campanile_core::{NUMBERS_PER_RANGE, Shard, ShardParts};
use campanile_engine::sim::{Ending, Faults, World};
use campanile_mailbox::{Dedup, MailboxLimits};
use campanile_protocol::ids::{DeviceId, UserId};
use campanile_protocol::messages::{Deliver, Encoding, Event, Payload};
use {
    campanile_core::inbox::Inbox,
    campanile_core::placement::{HomeShard, PlacementKey},
};

use super::store::{ModelMailbox, SimStore};
use super::watched::Watched;
use super::{Device, Entry};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// The epoch of every store.
pub(crate) const EPOCH: u64 = 9;
const BORN_MS: u64 = 1_800_000_000_000;
/// Lets everything through that a test asks for.
pub(crate) const RULES: PushRules = PushRules {
    payload_bytes_max: usize::MAX,
    ttl: Duration::from_secs(30 * 24 * 3_600),
    dedup_window: Duration::from_secs(600),
};

pub(super) fn signer() -> Signer {
    Signer::hs256(SECRET).unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::try_from(name).unwrap()
}

/// Which devices of a user a push is for; all get the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Targets {
    All,
    Listed(Vec<DeviceId>),
}

/// A push of `message` as it is.
pub(crate) fn a_push(name: &str, targets: Targets, mut message: Deliver, durability: Durability) -> Push {
    let payload = message.payload.take().unwrap_or_default();
    let envelopes = match targets {
        Targets::All => Envelopes::All(payload),
        Targets::Listed(devices) => Envelopes::Listed(devices, payload),
    };
    if durability == Durability::Durable && message.expires_at_ms == 0 {
        message.expires_at_ms = i64::MAX;
    }
    push_as_it_is(user(name), envelopes, message, durability, None)
}

/// What a constructor makes, with these parts instead: shards are also tested with what no constructor would let
/// through.
pub(crate) fn push_as_it_is(
    user: UserId,
    envelopes: Envelopes,
    message: Deliver,
    durability: Durability,
    dedup: Option<Dedup>,
) -> Push {
    let draft = PushDraft {
        user,
        envelopes: Envelopes::All(Payload::default()),
        kind: None,
        topic: None,
        from: None,
        ttl_seconds: 0,
        durability,
        dedup: None,
    };
    let mut push = Push::new(draft, &RULES, 0).unwrap();
    (push.envelopes, push.message, push.dedup) = (envelopes, message, dedup);
    push
}

pub(crate) fn listed(devices: &[u32]) -> Targets {
    Targets::Listed(devices.iter().map(|&device| DeviceId::try_from(device).unwrap()).collect())
}

pub(crate) fn message(kind: &str) -> Deliver {
    let payload = Some(Payload::data(Bytes::copy_from_slice(kind.as_bytes())));
    Deliver { kind: kind.to_owned(), payload, ..Deliver::default() }
}

/// What a gateway is started with.
pub(crate) struct Setup {
    pub(crate) shards: usize,
    pub(crate) slots: u32,
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) limits: Limits,
    pub(crate) namespaces: Namespaces,
    /// What may wait between two shards.
    pub(crate) lane_waiting_max: usize,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) proxy_protocol_from: Vec<String>,
    pub(crate) echo: bool,
    pub(crate) auto_register: bool,
    pub(crate) mailbox_limits: MailboxLimits,
    /// How long deduplication ids of publishers are remembered at most, in milliseconds.
    pub(crate) dedup_window_ms: u64,
    /// What all connections of a shard together may make it hold.
    pub(crate) held_bytes_max: usize,
    /// How often the store leaves out a turn, in a thousand.
    pub(crate) store_slowness: u16,
    /// What an earlier gateway left; an empty one if there was none.
    pub(crate) mailbox: Option<ModelMailbox>,
    /// When the gateway starts, in milliseconds since the Unix epoch.
    pub(crate) born_ms: u64,
}

impl Setup {
    /// Some shards on a network that does what one hopes for.
    pub(crate) fn shards(shards: usize) -> Setup {
        Setup {
            shards,
            slots: 600,
            seed: 1,
            faults: Faults::NONE,
            limits: Limits::default(),
            namespaces: Namespaces::default(),
            lane_waiting_max: MESSAGES_WAITING_MAX,
            allowed_origins: Vec::new(),
            proxy_protocol_from: Vec::new(),
            echo: false,
            auto_register: true,
            mailbox_limits: MailboxLimits {
                messages_per_device_max: 10_000,
                bytes_per_device_max: 1 << 30,
                bytes_total_max: 1 << 40,
            },
            dedup_window_ms: 600_000,
            held_bytes_max: HELD_BYTES_MAX,
            store_slowness: 0,
            mailbox: None,
            born_ms: BORN_MS,
        }
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Setup {
        change(&mut self.limits);
        self
    }

    pub(crate) fn faults(mut self, faults: Faults) -> Setup {
        self.faults = faults;
        self
    }

    pub(crate) fn settings(&self) -> Arc<ShardSettings> {
        let verifier = Box::new(Verifier::hs256(SECRET).unwrap());
        Arc::new(ShardSettings {
            mode: if self.echo { Mode::Echo } else { Mode::Gateway { verifier } },
            limits: self.limits.clone(),
            namespaces: self.namespaces.clone(),
            allowed_origins: self.allowed_origins.clone(),
            proxy_protocol_from: self.proxy_protocol_from.iter().map(|net| net.parse().unwrap()).collect(),
            node: "simulated".to_owned(),
            epoch: EPOCH,
            connections: Arc::new(AtomicU32::new(0)),
            auto_register: self.auto_register,
            message_ttl_ms: 30 * 24 * 3_600_000,
            dedup_window_ms: self.dedup_window_ms,
            held_bytes_max: self.held_bytes_max,
        })
    }

    /// The keys by which users are placed, and of tables.
    pub(crate) fn keys(&self) -> (PlacementKey, HashKey) {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut key = || random.u128(..).to_le_bytes();
        (PlacementKey::new(key()), HashKey::new(key()))
    }

    pub(crate) fn store(&mut self) -> SimStore {
        let (limits, seed) = (self.mailbox_limits, self.seed);
        let mailbox = self.mailbox.take().unwrap_or_else(|| ModelMailbox::new(EPOCH, limits, seed));
        SimStore::new(mailbox, self.shards, self.store_slowness, seed)
    }

    pub(crate) fn start(mut self) -> Gateway {
        let settings = self.settings();
        let mut store = self.store();
        let mut world = World::new(self.seed, self.faults, self.born_ms);
        let lanes = Lanes::new(self.shards, self.lane_waiting_max);
        let (placement_key, table_key) = self.keys();
        let (mut inboxes, mut counters) = (Vec::new(), Vec::new());
        for index in 0..self.shards {
            let inbox = Inbox::new();
            let counted = Arc::new(ShardCounters::default());
            let parts = ShardParts {
                index,
                count: self.shards,
                slots: self.slots,
                settings: Arc::clone(&settings),
                inbox: Arc::clone(&inbox),
                lanes: Arc::clone(&lanes),
                counters: Arc::clone(&counted),
                port: store.port(index),
                numbers: store.reserve(NUMBERS_PER_RANGE).expect("no numbers"),
                placement_key,
                table_key,
                seed: self.seed + index as u64,
            };
            let shard = Shard::new(parts, world.now());
            world.add_node(Watched::new(shard, Arc::clone(&counted)), self.slots);
            inboxes.push(inbox);
            counters.push(counted);
        }
        let home = HomeShard::new(self.shards, placement_key);
        let mut gateway = Gateway {
            world,
            store,
            inboxes,
            counters,
            home,
            settings,
            devices: Vec::new(),
            tickets: 0,
            waiting: HashMap::new(),
            answers: HashMap::new(),
        };
        gateway.settle();
        gateway
    }
}

/// What became of a push, in the order of the devices.
pub(crate) fn outcomes(pushed: &Pushed) -> Vec<(u32, Outcome)> {
    let mut outcomes: Vec<_> =
        pushed.devices.iter().map(|&(device, outcome)| (device.get(), outcome)).collect();
    outcomes.sort_by_key(|&(device, _)| device);
    outcomes
}

/// A node in the simulator. Devices are named by their index.
pub(crate) struct Gateway {
    pub(crate) world: World<Watched>,
    pub(crate) store: SimStore,
    pub(crate) counters: Vec<Arc<ShardCounters>>,
    pub(crate) home: HomeShard,
    pub(crate) settings: Arc<ShardSettings>,
    pub(crate) devices: Vec<Device>,
    inboxes: Vec<Arc<Inbox>>,
    tickets: u32,
    /// The shard of every question that waits for its answer.
    waiting: HashMap<Ticket, usize>,
    answers: HashMap<Ticket, Answer>,
}

impl Index<usize> for Gateway {
    type Output = Device;

    fn index(&self, device: usize) -> &Device {
        &self.devices[device]
    }
}

impl IndexMut<usize> for Gateway {
    fn index_mut(&mut self, device: usize) -> &mut Device {
        &mut self.devices[device]
    }
}

impl Gateway {
    /// A token that ends so many seconds from now.
    pub(crate) fn token(&self, name: &str, device: u32, seconds: u64) -> String {
        let now = self.world.now().unix_ms / 1_000;
        let device = DeviceId::try_from(device).unwrap();
        signer().sign(&user(name), device, now, now + seconds)
    }

    /// Connects to a shard and says nothing.
    pub(crate) fn dial(&mut self, shard: usize, encoding: Encoding, entry: Entry) -> usize {
        let client = self.world.connect(shard);
        self.devices.push(Device::new(client, encoding, entry));
        self.devices.len() - 1
    }

    /// Connects to a shard with a request to upgrade.
    pub(crate) fn enter(&mut self, shard: usize, encoding: Encoding, entry: Entry) -> usize {
        let device = self.dial(shard, encoding, entry);
        self[device].ask_upgrade();
        device
    }

    /// A device with a session, its token in the header.
    pub(crate) fn device(&mut self, name: &str, number: u32) -> usize {
        let token = self.token(name, number, 3_600);
        let device = self.enter(0, Encoding::Protobuf, Entry::Header(token));
        self.settle();
        assert!(self[device].is_connected(), "{name}/{number}: {:?}", self[device].status);
        device
    }

    /// Connects with these bytes instead of a request.
    pub(crate) fn raw(&mut self, shard: usize, bytes: &[u8]) -> usize {
        let device = self.dial(shard, Encoding::Protobuf, Entry::Nothing);
        self[device].outgoing.extend_from_slice(bytes);
        self.settle();
        device
    }

    /// Lets every shard take turns until all is quiet. About 50 ms pass.
    pub(crate) fn settle(&mut self) {
        for _ in 0..12 {
            self.steps(4 * self.inboxes.len());
            self.pump();
        }
    }

    /// Lets so many turns of shards pass, and some of the store.
    pub(crate) fn steps(&mut self, steps: usize) {
        for step in 0..steps {
            self.world.steps(1);
            if step % self.inboxes.len() == 0 {
                self.store.turn(self.world.now().unix_ms);
            }
        }
        self.store.turn(self.world.now().unix_ms);
    }

    /// Lets time pass, with turns in between.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.world.time() + time;
        while self.world.time() < until {
            self.world.advance(Duration::from_millis(20));
            self.steps(2 * self.inboxes.len());
            self.pump();
        }
    }

    /// Every device writes what it has to say and reads what has arrived.
    pub(crate) fn pump(&mut self) {
        for device in &mut self.devices {
            if device.reads {
                let bytes = self.world.receive(device.client);
                device.take(&bytes);
                device.ending = self.world.ending(device.client);
            }
            let most = device.outgoing.len().min(device.step_bytes);
            let sent = self.world.send(device.client, &device.outgoing[..most]);
            device.outgoing.drain(..sent);
            if device.leaves() {
                self.world.close(device.client, false);
            }
        }
        self.take_answers();
    }

    fn take_answers(&mut self) {
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            while let Some((ticket, answer)) = inbox.take_answer() {
                assert_eq!(
                    self.waiting.remove(&ticket),
                    Some(shard),
                    "{ticket:?} answered twice or elsewhere"
                );
                self.answers.insert(ticket, answer);
            }
        }
    }

    /// A device breaks its connection, or closes it without a close frame.
    pub(crate) fn hang_up(&mut self, device: usize, reset: bool) {
        self.world.close(self.devices[device].client, reset);
        self[device].gone();
    }

    /// Asks a shard something. Nothing happens before the next turn.
    pub(crate) fn ask(&mut self, shard: usize, body: RequestBody) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.waiting.insert(ticket, shard);
        self.inboxes[shard].ask(Request { ticket, bell: None, body }).expect("a full queue");
        ticket
    }

    /// Asks the home shard of a user.
    pub(crate) fn ask_home(&mut self, name: &str, body: RequestBody) -> Ticket {
        self.ask(self.home.of(&user(name)), body)
    }

    /// An ephemeral push.
    pub(crate) fn ask_push(&mut self, name: &str, devices: Targets, message: Deliver) -> Ticket {
        let push = a_push(name, devices, message, Durability::Ephemeral);
        self.ask_home(name, RequestBody::Push(vec![push]))
    }

    /// A durable push, and what becomes of it.
    pub(crate) fn store(
        &mut self,
        name: &str,
        devices: Targets,
        message: Deliver,
    ) -> Result<Pushed, PushError> {
        self.store_push(a_push(name, devices, message, Durability::Durable))
    }

    /// A push as it is, and what becomes of it.
    pub(crate) fn store_push(&mut self, push: Push) -> Result<Pushed, PushError> {
        let ticket = self.ask(self.home.of(&push.user.clone()), RequestBody::Push(vec![push]));
        match self.settled_answer(ticket) {
            Answer::Pushed(mut pushed) => pushed.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Pushes durably to all devices of a user. What became of it, in the order of the devices.
    pub(crate) fn stored(&mut self, name: &str, devices: Targets, kind: &str) -> Vec<(u32, Outcome)> {
        outcomes(&self.store(name, devices, message(kind)).expect("refused"))
    }

    /// The answer to a question, if it has come.
    pub(crate) fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }

    /// Whether the answer to a question has come.
    pub(crate) fn has_answer(&self, ticket: Ticket) -> bool {
        self.answers.contains_key(&ticket)
    }

    /// How many questions have no answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn settled_answer(&mut self, ticket: Ticket) -> Answer {
        self.settle();
        self.answer(ticket).expect("no answer")
    }

    /// Pushes ephemerally and says what became of it.
    pub(crate) fn push(&mut self, name: &str, devices: Targets, message: Deliver) -> Pushed {
        let ticket = self.ask_push(name, devices, message);
        match self.settled_answer(ticket) {
            Answer::Pushed(mut pushed) => pushed.remove(0).expect("refused"),
            other => panic!("{other:?}"),
        }
    }

    /// Pushes to devices of a user. What became of it, in the order of the devices.
    pub(crate) fn outcomes(&mut self, name: &str, devices: Targets, kind: &str) -> Vec<(u32, Outcome)> {
        outcomes(&self.push(name, devices, message(kind)))
    }

    pub(crate) fn broadcast(&mut self, shard: usize, name: &str) -> Ticket {
        let event = Arc::new(Event { name: name.to_owned(), ..Event::default() });
        self.ask(shard, RequestBody::Broadcast(event))
    }

    /// Begins the end of all shards.
    pub(crate) fn drain(&mut self, reconnect_within_ms: u32) {
        for shard in 0..self.inboxes.len() {
            self.ask(shard, RequestBody::Drain { reconnect_within_ms });
        }
    }

    /// One counter, over all shards.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let of = |counters: &Arc<ShardCounters>| {
            let all = counters.all();
            all.iter().find(|counter| counter.0 == name).map(|counter| counter.3).expect("no such counter")
        };
        self.counters.iter().map(of).sum()
    }

    /// Everybody has left, or is told to: nothing may be left of them.
    pub(crate) fn ends_empty(mut self) {
        for device in 0..self.devices.len() {
            if self[device].ending == Ending::Open {
                self.hang_up(device, false);
            }
        }
        self.wait(Duration::from_secs(3));
        self.assert_empty();
    }

    /// Nothing is left of those who were connected.
    pub(crate) fn assert_empty(&mut self) {
        for (shard, counters) in self.counters.iter().enumerate() {
            for (name, _, kind, value) in counters.all() {
                assert!(kind != Kind::Gauge || value == 0, "shard {shard}: {name} is {value}");
            }
            assert_eq!(self.world.in_use(shard), 0, "slots of shard {shard}");
        }
        assert_eq!(self.settings.connections.load(Ordering::Relaxed), 0);
        assert_eq!(self.unanswered(), 0, "questions without an answer");
    }
}
