//! The model of a store keeps what every store promises.

use std::sync::Arc;

use campanile_mailbox::contract::{Call, Subject};
use campanile_mailbox::executor::Mailbox;
use campanile_mailbox::model::{ModelMailbox, ModelStore};
use campanile_mailbox::operations::Port;
use campanile_mailbox::{MailboxLimits, PlacementKey};

struct Model {
    store: ModelStore,
    ports: usize,
    seed: u64,
    epoch: u64,
    placement_key: PlacementKey,
}

impl Model {
    fn of(mailbox: ModelMailbox, ports: usize, seed: u64) -> Model {
        let (epoch, placement_key) = (mailbox.epoch(), mailbox.placement_key());
        Model { store: ModelStore::new(mailbox, ports, 0, seed), ports, seed, epoch, placement_key }
    }
}

impl Subject for Model {
    fn make(limits: MailboxLimits, ports: usize, seed: u64) -> Model {
        Model::of(ModelMailbox::new(7, limits, seed), ports, seed)
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn placement_key(&self) -> PlacementKey {
        self.placement_key
    }

    fn port(&self, index: usize) -> Arc<Port> {
        self.store.port(index)
    }

    fn begin(&mut self, now_ms: u64) {
        self.store.execute(now_ms);
    }

    fn turn(&mut self, now_ms: u64) {
        while self.store.turn(now_ms) {}
    }

    fn restart(self) -> Model {
        Model::of(self.store.close().expect("it is closed in order"), self.ports, self.seed)
    }

    fn crash(self) -> Model {
        Model::of(self.store.cut(), self.ports, self.seed)
    }

    fn fail(&mut self, call: Call) {
        self.store.mailbox().fail_next(call);
    }
}

campanile_mailbox::contract_suite!(Model);
