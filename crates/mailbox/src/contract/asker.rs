//! Asking a store, one question or several at a time.

use std::ops::Range;

use bytes::Bytes;
use campanile_protocol::ids::{DeviceId, UserId};

use super::{LATER, NOW, ROOMY, Subject};
use crate::operations::{
    Answer, Completion, Open, Opened, Operation, Registered, Registration, StoreFailed, Ticket,
};
use crate::{
    Address, Append, Count, Dedup, DedupKey, DedupScope, Envelope, MailboxLimits, Page, Remembered, Stored,
    Trim, UserRecord,
};

/// Devices that a user may have here.
pub(super) const DEVICES_MAX: u32 = 5;

/// A store, and the time.
pub(super) struct Asker<S> {
    pub(super) store: S,
    pub(super) now_ms: u64,
    asked: u32,
}

impl<S: Subject> Asker<S> {
    pub(super) fn new(limits: MailboxLimits, ports: usize, seed: u64) -> Asker<S> {
        Asker { store: S::make(limits, ports, seed), now_ms: NOW, asked: 0 }
    }

    pub(super) fn roomy() -> Asker<S> {
        Asker::new(ROOMY, 1, 1)
    }

    pub(super) fn reopened(self, reopen: impl FnOnce(S) -> S) -> Asker<S> {
        Asker { store: reopen(self.store), ..self }
    }

    pub(super) fn ticket<T>(&mut self) -> Ticket<T> {
        self.asked += 1;
        Ticket::new(self.asked)
    }

    pub(super) fn turn(&mut self) {
        self.store.turn(self.now_ms);
    }

    /// What a port has heard since the last time.
    pub(super) fn heard(&self, port: usize) -> Vec<Completion> {
        let port = self.store.port(port);
        std::iter::from_fn(|| port.take_completions()).flatten().collect()
    }

    /// Asks one thing, and hears the answer and nothing else.
    fn ask_one(&mut self, operation: Operation) -> Completion {
        self.store.port(0).ask(vec![operation]);
        self.turn();
        let mut heard = self.heard(0);
        assert_eq!(heard.len(), 1, "one question, one answer: {heard:?}");
        heard.remove(0)
    }

    pub(super) fn append(&mut self, append: Append) -> Vec<Stored> {
        let ticket = self.ticket();
        match self.ask_one(Operation::Append(ticket, append)) {
            Completion::Appended(of, Ok(stored)) if of == ticket => stored,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn recall(&mut self, user: &UserId, key: &DedupKey) -> Option<Remembered> {
        let ticket = self.ticket();
        match self.ask_one(Operation::Recall(ticket, user.clone(), key.clone())) {
            Completion::Recalled(of, Ok(remembered)) if of == ticket => remembered,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn trim(&mut self, trims: Vec<Trim>) {
        self.store.port(0).ask(vec![Operation::Trim(trims)]);
        self.turn();
    }

    pub(super) fn open(&mut self, address: &Address, acknowledged: u64, register: bool) -> Opened {
        let ticket = self.ticket();
        let open = Open {
            address: address.clone(),
            acknowledged,
            register,
            devices_max: DEVICES_MAX,
            now_ms: self.now_ms,
        };
        match self.ask_one(Operation::Open(ticket, Box::new(open))) {
            Completion::Opened(of, Ok(opened)) if of == ticket => opened,
            other => panic!("{other:?}"),
        }
    }

    /// What waits for a device, without registering it.
    pub(super) fn count(&mut self, address: &Address) -> Count {
        self.open(address, 0, false).count
    }

    pub(super) fn user(&mut self, user: &UserId) -> UserRecord {
        let ticket = self.ticket();
        match self.ask_one(Operation::User(ticket, user.clone())) {
            Completion::User(of, Ok(record)) if of == ticket => record,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn register(&mut self, user: &UserId, device: Option<DeviceId>) -> Registered {
        let ticket = self.ticket();
        let now_ms = self.now_ms;
        let wanted = Registration { user: user.clone(), device, devices_max: DEVICES_MAX, now_ms };
        match self.ask_one(Operation::Register(ticket, wanted)) {
            Completion::Registered(of, Ok(registered)) if of == ticket => registered,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn page(
        &mut self,
        address: &Address,
        after: u64,
        messages_max: usize,
        bytes_max: usize,
    ) -> Page {
        let ticket = self.ticket();
        match self.ask_one(read(ticket, address, after, messages_max, bytes_max)) {
            Completion::Read(of, Ok(page)) if of == ticket => page,
            other => panic!("{other:?}"),
        }
    }

    /// The numbers of all that waits for a device.
    pub(super) fn reads(&mut self, address: &Address) -> Vec<u64> {
        self.reads_all(address).into_iter().map(|(number, _)| number).collect()
    }

    /// All that waits for a device.
    pub(super) fn reads_all(&mut self, address: &Address) -> Vec<(u64, Bytes)> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map_or(0, |(number, _)| *number);
            let page = self.page(address, after, 100, 10_000);
            assert!(!page.more || !page.messages.is_empty(), "a page brings something, or is the last");
            all.extend(page.messages.into_iter().map(|message| (message.seq, message.body)));
            if !page.more {
                return all;
            }
        }
    }

    pub(super) fn fetch(&mut self, address: &Address, number: u64) -> Option<Bytes> {
        let ticket = self.ticket();
        match self.ask_one(Operation::Fetch(ticket, address.clone(), number)) {
            Completion::Fetched(of, Ok(body)) if of == ticket => body,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn remove(&mut self, address: &Address, number: u64) -> bool {
        let ticket = self.ticket();
        match self.ask_one(Operation::Remove(ticket, address.clone(), number)) {
            Completion::Removed(of, Ok(removed)) if of == ticket => removed,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn reserve(&mut self, count: u64) -> Answer<Range<u64>> {
        let ticket = self.ticket();
        match self.ask_one(Operation::Reserve(ticket, count)) {
            Completion::Reserved(of, numbers) if of == ticket => numbers,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn read(
    ticket: Ticket<Page>,
    address: &Address,
    after: u64,
    messages_max: usize,
    bytes_max: usize,
) -> Operation {
    Operation::Read { ticket, address: address.clone(), after, messages_max, bytes_max }
}

/// Which ticket an answer has, and whether the store works. Nothing of the news of another life.
pub(super) fn ticket_of(completion: &Completion) -> Option<(u32, bool)> {
    fn of<T>(ticket: &Ticket<T>, answer: &Result<T, StoreFailed>) -> Option<(u32, bool)> {
        Some((ticket.number(), answer.is_ok()))
    }
    match completion {
        Completion::Appended(ticket, answer) => of(ticket, answer),
        Completion::Recalled(ticket, answer) => of(ticket, answer),
        Completion::Opened(ticket, answer) => of(ticket, answer),
        Completion::User(ticket, answer) => of(ticket, answer),
        Completion::Registered(ticket, answer) => of(ticket, answer),
        Completion::Read(ticket, answer) => of(ticket, answer),
        Completion::Fetched(ticket, answer) => of(ticket, answer),
        Completion::Removed(ticket, answer) => of(ticket, answer),
        Completion::Reserved(ticket, answer) => of(ticket, answer),
        Completion::Reopened(_) => None,
    }
}

pub(super) fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

pub(super) fn device(number: u32) -> DeviceId {
    number.try_into().expect("a device")
}

/// A device of the user `ann`.
pub(super) fn ann(number: u32) -> Address {
    Address { user: user("ann"), device: device(number) }
}

pub(super) fn of(name: &str, number: u32) -> Address {
    Address { user: user(name), device: device(number) }
}

/// A message for some devices of `ann`: `body` says what is in it.
pub(super) fn message(number: u64, devices: &[u32]) -> Append {
    let envelope = |&device: &u32| Envelope {
        device: self::device(device),
        body: body(number, device),
        confirmed: false,
    };
    Append {
        user: user("ann"),
        seq: number,
        expires_at_ms: LATER,
        topic: "".into(),
        envelopes: devices.iter().map(envelope).collect(),
        dedup: None,
    }
}

/// Ten bytes.
pub(super) fn body(number: u64, device: u32) -> Bytes {
    Bytes::from(format!("{number:06}-{device:03}"))
}

pub(super) fn topic(topic: &str, append: Append) -> Append {
    Append { topic: topic.into(), ..append }
}

pub(super) fn to(name: &str, append: Append) -> Append {
    Append { user: user(name), ..append }
}

pub(super) fn key(id: &str) -> DedupKey {
    DedupKey { scope: DedupScope::Publisher(1), id: id.into() }
}

pub(super) fn dedup(key: DedupKey, append: Append) -> Append {
    Append { dedup: Some(Dedup { key, digest: [1; 16], until_ms: LATER }), ..append }
}

pub(super) fn trim(number: u32, up_to: u64) -> Trim {
    Trim { address: ann(number), up_to }
}
