//! One shard, driven by hand: what it commands in one turn.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use campanile_core::counters::ShardCounters;
use campanile_core::inbox::Inbox;
use campanile_core::lanes::Lanes;
use campanile_core::requests::{Answer, Request, RequestBody, Ticket};
use campanile_core::{Client, NUMBERS_PER_RANGE, Shard, ShardParts};
use campanile_engine::{Command, Commands, Conn, Core, Event, Next, Now, Time};

use super::Setup;
use super::store::SimStore;

/// A shard without a driver.
pub(crate) struct Alone {
    shard: Shard,
    inbox: Arc<Inbox>,
    store: SimStore,
    now: Now,
    commands: Commands<Client>,
}

impl Alone {
    pub(crate) fn new(mut setup: Setup, unix_ms: u64) -> Alone {
        let inbox = Inbox::new();
        let (placement_key, table_key) = setup.keys();
        let mut store = setup.store();
        let parts = ShardParts {
            index: 0,
            count: 1,
            slots: setup.slots,
            settings: setup.settings(),
            inbox: Arc::clone(&inbox),
            lanes: Lanes::new(1, setup.lane_waiting_max),
            counters: Arc::new(ShardCounters::default()),
            port: store.port(0),
            numbers: store.reserve(NUMBERS_PER_RANGE).expect("no numbers"),
            placement_key,
            table_key,
            seed: 1,
        };
        let now = Now { time: Time(1_000_000_000), unix_ms };
        let mut alone =
            Alone { shard: Shard::new(parts, now), inbox, store, now, commands: Commands::default() };
        alone.turn(|_| None);
        alone
    }

    pub(crate) fn event(&mut self, event: Event<'_, Client>) {
        self.shard.on_event(self.now, event, &mut self.commands);
    }

    pub(crate) fn accept(&mut self, slot: u32) -> Conn {
        let conn = Conn { slot, generation: 1 };
        self.event(Event::Accepted { conn, peer: ([127, 0, 0, 2], 7).into() });
        conn
    }

    pub(crate) fn receive(&mut self, conn: Conn, bytes: &[u8]) {
        self.event(Event::Received { conn, data: &mut bytes.to_vec() });
    }

    pub(crate) fn ask(&mut self, ticket: u32, body: RequestBody) {
        self.inbox.ask(Request { ticket: Ticket(ticket), bell: None, body }).unwrap();
    }

    pub(crate) fn answer(&mut self) -> Option<Answer> {
        self.inbox.take_answer().map(|(_, answer)| answer)
    }

    /// The bytes that the shard holds, by what it gives back when it goes. What the store keeps is not among them.
    pub(crate) fn bytes_held(self) -> i64 {
        let Alone { shard, store, inbox, .. } = self;
        let freed = allocation_counter::measure(|| drop(shard));
        drop((store, inbox));
        -freed.bytes_current
    }

    /// One turn. `fate` says which sends break or fall short. What was sent, and what the shard wants next.
    pub(crate) fn turn(
        &mut self,
        fate: impl Fn(&Bytes) -> Option<Event<'static, Client>>,
    ) -> (Vec<(Conn, Bytes)>, Next) {
        self.turn_with(|_, bytes| fate(bytes))
    }

    /// The same with fates that depend on the connection.
    pub(crate) fn turn_with(
        &mut self,
        fate: impl Fn(Conn, &Bytes) -> Option<Event<'static, Client>>,
    ) -> (Vec<(Conn, Bytes)>, Next) {
        self.now.time = self.now.time + Duration::from_millis(1);
        let next = self.shard.on_turn(self.now, &mut self.commands);
        let mut later = Commands::default();
        let mut sends = Vec::new();
        for command in self.commands.drain().collect::<Vec<_>>() {
            if let Command::Send { conn, bytes } = command {
                if let Some(event) = fate(conn, &bytes) {
                    self.shard.on_event(self.now, event, &mut later);
                }
                sends.push((conn, bytes));
            }
        }
        self.shard.on_submitted(self.now, &mut later);
        self.commands = later;
        self.store.turn(self.now.unix_ms);
        (sends, next)
    }
}
