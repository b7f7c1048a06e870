//! The shard's side of the store: what it asks, what it waits for, and the numbers that it gives out.
//!
//! The shard asks in the order in which things happened, so that the store knows one order per user. It bounds what it
//! has asked for: beyond that, publishes are refused. Acknowledgements cannot be refused; they are kept as one
//! watermark per device, and go before anything that must see them.

mod check;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use campanile_engine::{Conn, Time};
use campanile_mailbox::operations::{
    Completion, Open, Opened, Operation, Port, Registered, Registration, StoreFailed, Takes, Tickets,
};
use campanile_mailbox::{
    Address, Append, DedupKey, Lives, Page, Partition, Remembered, Stored, Trim, UserRecord,
};
use campanile_protocol::ids::{DeviceId, UserId};
use rustc_hash::FxBuildHasher;

use crate::control::jobs::Asker;
use crate::seam::ReadOn;
use crate::users::appending::Appending;
use crate::users::who::Who;

/// Appends that the store has not confirmed; beyond it publishes are refused.
const APPENDS_WAITING_MAX: usize = 16_384;
/// The bytes of their envelopes.
const APPEND_BYTES_WAITING_MAX: usize = 64 * 1024 * 1024;
/// How many numbers a shard asks for at a time.
pub const NUMBERS_PER_RANGE: u64 = 65_536;
/// Acknowledgements are passed on after so long, if nothing asks for them before.
const TRIM_INTERVAL: Duration = Duration::from_millis(20);
/// Or when so many devices have acknowledged.
const TRIMS_MAX: usize = 1_024;

/// What a user's devices are read for.
enum UserFor {
    /// The user's parked pushes.
    Parked { user: u32 },
    /// The control plane.
    Asker { asker: Asker, user: UserId },
}

/// What a device is registered for.
enum RegisterFor {
    /// It is connected, and the store has lost it.
    Connected { user: u32 },
    /// The control plane.
    Asker { asker: Asker, user: UserId },
}

/// What a page is read for.
enum ReadFor {
    /// A session, which waits for so many bytes.
    Session { reader: Reader, bytes: usize },
    /// The control plane.
    Asker(Asker),
}

impl ReadFor {
    /// The bytes that a session waits for.
    fn bytes(&self) -> usize {
        match self {
            ReadFor::Session { bytes, .. } => *bytes,
            ReadFor::Asker(_) => 0,
        }
    }
}

/// What the store was asked and has not answered, by what it answers with.
#[derive(Default)]
struct Awaited {
    appends: Tickets<Vec<Stored>, Appending>,
    recalls: Tickets<Option<Remembered>, u32>,
    users: Tickets<UserRecord, UserFor>,
    opens: Tickets<Opened, Opening>,
    registrations: Tickets<Registered, RegisterFor>,
    pages: Tickets<Page, ReadFor>,
    messages: Tickets<Option<Bytes>, Asker>,
    removals: Tickets<bool, Asker>,
    numbers: Tickets<Range<u64>, ()>,
}

impl Awaited {
    /// Whether nobody waits for anything.
    fn is_empty(&self) -> bool {
        let sessions = self.appends.is_empty() && self.recalls.is_empty() && self.users.is_empty();
        let control = self.messages.is_empty() && self.removals.is_empty();
        sessions && control && self.opens.is_empty() && self.registrations.is_empty() && self.pages.is_empty()
    }
}

/// A session that is to open.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Opening {
    /// Its connection.
    pub(crate) conn: Conn,
    /// The user's number at its home.
    pub(crate) user: u32,
    /// The device.
    pub(crate) device: DeviceId,
}

/// A session that reads its mail.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Reader {
    /// Its connection.
    pub(crate) conn: Conn,
    /// Which session.
    pub(crate) who: Who,
    /// The last message that a session of its user was not sent when it asked.
    pub(crate) missed: u32,
}

/// What the store has answered, and to what.
pub(crate) enum Answered {
    /// Messages of a push are stored, or not.
    Append(Appending, Result<Vec<Stored>, StoreFailed>),
    /// Whether the first of the user's parked pushes came before.
    Recall { user: u32, result: Result<Option<Remembered>, StoreFailed> },
    /// The user's devices, for the user's parked pushes.
    User { user: u32, result: Result<UserRecord, StoreFailed> },
    /// A session may open, or not.
    Open { opening: Opening, result: Result<Opened, StoreFailed> },
    /// A connected device was registered again after the store had lost it.
    Reregister { user: u32 },
    /// Mail for a session.
    Read { reader: Reader, result: Result<Page, StoreFailed> },
    /// The control plane asked for the user's devices.
    Devices { asker: Asker, user: UserId, result: Result<UserRecord, StoreFailed> },
    /// The control plane registered a device.
    Register { asker: Asker, user: UserId, result: Result<Registered, StoreFailed> },
    /// The control plane asked for a page.
    List { asker: Asker, result: Result<Page, StoreFailed> },
    /// The control plane asked for one message.
    Fetch { asker: Asker, result: Result<Option<Bytes>, StoreFailed> },
    /// The control plane removed one message.
    Remove { asker: Asker, result: Result<bool, StoreFailed> },
}

/// The shard's side of the store.
pub(crate) struct Store {
    port: Arc<Port>,
    operations: Vec<Operation>,
    awaited: Awaited,
    /// Answers that have not had their turn.
    completions: VecDeque<Completion>,
    /// How often each partition was begun anew, as far as this shard has heard.
    lives: Lives,
    append_bytes_waiting: usize,
    read_bytes_waiting: usize,
    numbers: Range<u64>,
    next_numbers: Option<Range<u64>>,
    /// The highest number that each device has confirmed and the store has not been told.
    trims: HashMap<(u32, u32), u64, FxBuildHasher>,
    trims_due: Option<Time>,
}

impl Store {
    /// Nothing is asked yet; `numbers` are this shard's.
    pub(crate) fn new(port: Arc<Port>, numbers: Range<u64>) -> Store {
        Store {
            port,
            operations: Vec::new(),
            awaited: Awaited::default(),
            completions: VecDeque::new(),
            lives: Lives::new(),
            append_bytes_waiting: 0,
            read_bytes_waiting: 0,
            numbers,
            next_numbers: None,
            trims: HashMap::default(),
            trims_due: None,
        }
    }

    /// Whether the store has answered something that has not had its turn.
    pub(crate) fn has_answers(&self) -> bool {
        !self.completions.is_empty() || self.port.has_completions()
    }

    /// Whether no answer is awaited and nothing is left to be told.
    pub(crate) fn is_quiet(&self) -> bool {
        self.awaited.is_empty() && self.operations.is_empty() && self.trims.is_empty()
    }

    /// How often the store was opened, as far as this shard has heard. What was read from it in an earlier life may
    /// have been lost since. All users are in one partition, for now.
    pub(crate) fn life(&self) -> u32 {
        self.lives.of(Partition::WHOLE)
    }

    /// The oldest answer of the store that has not had its turn.
    pub(crate) fn next_answer(&mut self) -> Option<Answered> {
        loop {
            if self.completions.is_empty() {
                self.completions.extend(self.port.take_completions()?);
            }
            let completion = self.completions.pop_front()?;
            let answered = self.answered(completion);
            if answered.is_some() {
                return answered;
            }
        }
    }

    /// What an answer is for; nothing if it is for this part alone.
    fn answered(&mut self, completion: Completion) -> Option<Answered> {
        let awaited = &mut self.awaited;
        Some(match completion {
            Completion::Reserved(ticket, numbers) => {
                awaited.numbers.redeem(ticket)?;
                self.next_numbers = self.next_numbers.take().or(numbers.ok());
                return None;
            }
            Completion::Reopened(partition) => {
                self.lives.begin(partition);
                return None;
            }
            Completion::Appended(ticket, result) => {
                let appending = awaited.appends.redeem(ticket)?;
                self.append_bytes_waiting -= appending.bytes;
                Answered::Append(appending, result)
            }
            Completion::Recalled(ticket, result) => {
                Answered::Recall { user: awaited.recalls.redeem(ticket)?, result }
            }
            Completion::Opened(ticket, result) => {
                Answered::Open { opening: awaited.opens.redeem(ticket)?, result }
            }
            Completion::User(ticket, result) => match awaited.users.redeem(ticket)? {
                UserFor::Parked { user } => Answered::User { user, result },
                UserFor::Asker { asker, user } => Answered::Devices { asker, user, result },
            },
            Completion::Registered(ticket, result) => match awaited.registrations.redeem(ticket)? {
                RegisterFor::Connected { user } => Answered::Reregister { user },
                RegisterFor::Asker { asker, user } => Answered::Register { asker, user, result },
            },
            Completion::Read(ticket, result) => match awaited.pages.redeem(ticket)? {
                ReadFor::Session { reader, bytes } => {
                    self.read_bytes_waiting -= bytes;
                    Answered::Read { reader, result }
                }
                ReadFor::Asker(asker) => Answered::List { asker, result },
            },
            Completion::Fetched(ticket, result) => {
                Answered::Fetch { asker: awaited.messages.redeem(ticket)?, result }
            }
            Completion::Removed(ticket, result) => {
                Answered::Remove { asker: awaited.removals.redeem(ticket)?, result }
            }
        })
    }

    /// Whether the store lags so far behind that publishes are refused.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.awaited.appends.len() >= APPENDS_WAITING_MAX
            || self.append_bytes_waiting >= APPEND_BYTES_WAITING_MAX
    }

    /// Whether the store takes messages at the moment.
    pub(crate) fn takes(&self) -> Takes {
        self.port.takes()
    }

    /// Bytes that were asked for and have not come.
    pub(crate) fn read_bytes_waiting(&self) -> usize {
        self.read_bytes_waiting
    }

    /// A number higher than all before. `None` if the store gives out no more.
    pub(crate) fn number(&mut self) -> Option<u64> {
        if self.numbers.is_empty()
            && let Some(next) = self.next_numbers.take()
        {
            self.numbers = next;
        }
        let number = self.numbers.next();
        let few = self.numbers.end - self.numbers.start < NUMBERS_PER_RANGE / 2;
        if few && self.next_numbers.is_none() && self.awaited.numbers.is_empty() {
            let ticket = self.awaited.numbers.issue(());
            self.operations.push(Operation::Reserve(ticket, NUMBERS_PER_RANGE));
        }
        number
    }

    /// The highest number that may have been given out, by this process or those before.
    pub(crate) fn last_number(&self) -> u64 {
        self.numbers.start.saturating_sub(1)
    }

    /// Stores the messages of a push.
    pub(crate) fn append(&mut self, appending: Appending, append: Append) {
        self.append_bytes_waiting += appending.bytes;
        let ticket = self.awaited.appends.issue(appending);
        self.operations.push(Operation::Append(ticket, append));
    }

    /// Asks whether a push of the user came before.
    pub(crate) fn recall(&mut self, user: u32, id: UserId, key: DedupKey) {
        let ticket = self.awaited.recalls.issue(user);
        self.operations.push(Operation::Recall(ticket, id, key));
    }

    /// Asks for the devices of a user who has parked pushes.
    pub(crate) fn read_user(&mut self, user: u32, id: UserId) {
        let ticket = self.awaited.users.issue(UserFor::Parked { user });
        self.operations.push(Operation::User(ticket, id));
    }

    /// Asks whether a session may open.
    pub(crate) fn open(&mut self, opening: Opening, open: Open) {
        let ticket = self.awaited.opens.issue(opening);
        self.operations.push(Operation::Open(ticket, Box::new(open)));
    }

    /// Registers a connected device again.
    pub(crate) fn register_again(&mut self, user: u32, registration: Registration) {
        let ticket = self.awaited.registrations.issue(RegisterFor::Connected { user });
        self.operations.push(Operation::Register(ticket, registration));
    }

    /// Reads mail for a session.
    pub(crate) fn read(&mut self, reader: Reader, address: Address, read_on: ReadOn) {
        let ReadOn { after, messages_max, bytes_max } = read_on;
        self.read_bytes_waiting += bytes_max;
        let ticket = self.awaited.pages.issue(ReadFor::Session { reader, bytes: bytes_max });
        self.operations.push(Operation::Read { ticket, address, after, messages_max, bytes_max });
    }

    /// Tells when a device was last connected.
    pub(crate) fn seen(&mut self, address: Address, at_ms: u64) {
        self.operations.push(Operation::Seen(address, at_ms));
    }

    /// Reads a user's devices for the control plane.
    pub(crate) fn devices(&mut self, asker: Asker, user: UserId) {
        let ticket = self.awaited.users.issue(UserFor::Asker { asker, user: user.clone() });
        self.operations.push(Operation::User(ticket, user));
    }

    /// Registers a device for the control plane.
    pub(crate) fn register(&mut self, asker: Asker, registration: Registration) {
        let ticket =
            self.awaited.registrations.issue(RegisterFor::Asker { asker, user: registration.user.clone() });
        self.operations.push(Operation::Register(ticket, registration));
    }

    /// Reads a page for the control plane.
    pub(crate) fn list(&mut self, asker: Asker, address: Address, read_on: ReadOn) {
        let ReadOn { after, messages_max, bytes_max } = read_on;
        let ticket = self.awaited.pages.issue(ReadFor::Asker(asker));
        self.operations.push(Operation::Read { ticket, address, after, messages_max, bytes_max });
    }

    /// Reads one message for the control plane.
    pub(crate) fn fetch(&mut self, asker: Asker, address: Address, number: u64) {
        let ticket = self.awaited.messages.issue(asker);
        self.operations.push(Operation::Fetch(ticket, address, number));
    }

    /// Removes one message for the control plane.
    pub(crate) fn remove(&mut self, asker: Asker, address: Address, number: u64) {
        let ticket = self.awaited.removals.issue(asker);
        self.operations.push(Operation::Remove(ticket, address, number));
    }

    /// A device has confirmed everything up to `seq`. The store hears of it `soon`, or a little later.
    pub(crate) fn trim(&mut self, user: u32, device: u32, seq: u64, soon: bool, now: Time) {
        let up_to = self.trims.entry((user, device)).or_default();
        *up_to = seq.max(*up_to);
        let due = if soon || self.trims.len() >= TRIMS_MAX { now } else { now + TRIM_INTERVAL };
        self.trims_due = Some(self.trims_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Whether the store has yet to hear what a device confirmed.
    pub(crate) fn has_trim(&self, user: u32, device: u32) -> bool {
        self.trims.contains_key(&(user, device))
    }

    /// The devices, each with its user's number, of which the store has yet to hear what they confirmed.
    pub(crate) fn watermarks(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.trims.keys().copied()
    }

    /// When acknowledgements are to be passed on.
    pub(crate) fn trims_due(&self) -> Option<Time> {
        self.trims_due
    }

    /// Puts all watermarks behind what was asked so far. `id` knows the users' ids.
    pub(crate) fn flush_trims<'a>(&mut self, id: impl Fn(u32) -> Option<&'a UserId>) {
        self.trims_due = None;
        if self.trims.is_empty() {
            return;
        }
        let trims: Vec<Trim> = self
            .trims
            .drain()
            .filter_map(|((user, device), up_to)| {
                let device = DeviceId::try_from(device).ok()?;
                Some(Trim { address: Address { user: id(user)?.clone(), device }, up_to })
            })
            .collect();
        self.operations.push(Operation::Trim(trims));
    }

    /// Passes on what was asked.
    pub(crate) fn flush(&mut self) {
        if !self.operations.is_empty() {
            self.port.ask(std::mem::take(&mut self.operations));
        }
    }
}

#[cfg(test)]
mod tests;
