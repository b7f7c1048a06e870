//! The embedded store keeps what every store promises.

use std::sync::Arc;
use std::task::Waker;

use campanile_mailbox::contract::{Call, Subject};
use campanile_mailbox::executor::Executor;
use campanile_mailbox::operations::Port;
use campanile_mailbox::{MailboxLimits, PlacementKey};
use campanile_storage::{FjallMailbox, MailboxOptions, RoomOptions};
use tempfile::TempDir;

use crate::fragile::Fragile;
use crate::support::{copy, directory};

struct Embedded {
    store: Executor<Fragile>,
    ports: Vec<Arc<Port>>,
    epoch: u64,
    placement_key: PlacementKey,
    limits: MailboxLimits,
    // Last, so that it is there as long as the store.
    directory: TempDir,
}

impl Embedded {
    fn open(directory: TempDir, limits: MailboxLimits, ports: usize) -> Embedded {
        let room = RoomOptions { ballast_bytes: 4096, free_low_bytes: 0, free_critical_bytes: 0 };
        // All of it stays in the journal: nothing is moved while a crash copies the files.
        let options = MailboxOptions { room, ..MailboxOptions::default() };
        let mailbox = FjallMailbox::open_with(directory.path(), limits, options).expect("it opens");
        let (epoch, placement_key) = (mailbox.epoch(), mailbox.placement_key());
        let awake = || Waker::noop().clone();
        let ports: Vec<_> = (0..ports).map(|_| Port::new(awake(), awake())).collect();
        let store = Executor::new(Fragile::new(mailbox), ports.clone());
        Embedded { store, ports, epoch, placement_key, limits, directory }
    }
}

impl Subject for Embedded {
    fn make(limits: MailboxLimits, ports: usize, _seed: u64) -> Embedded {
        Embedded::open(directory(), limits, ports)
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn placement_key(&self) -> PlacementKey {
        self.placement_key
    }

    fn port(&self, index: usize) -> Arc<Port> {
        Arc::clone(&self.ports[index])
    }

    fn begin(&mut self, now_ms: u64) {
        self.store.execute(now_ms);
    }

    fn turn(&mut self, now_ms: u64) {
        while self.store.execute(now_ms) | self.store.commit(now_ms) {}
    }

    fn restart(self) -> Embedded {
        self.store.close();
        Embedded::open(self.directory, self.limits, self.ports.len())
    }

    /// The files as they are at this moment are what a kill leaves.
    fn crash(self) -> Embedded {
        let left = directory();
        copy(self.directory.path(), left.path());
        Embedded::open(left, self.limits, self.ports.len())
    }

    fn fail(&mut self, call: Call) {
        self.store.mailbox_mut().failing.push(call);
    }
}

campanile_mailbox::contract_suite!(Embedded);
