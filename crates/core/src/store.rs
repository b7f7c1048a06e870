//! The shard's side of the store: what it asks, what it waits for, and the numbers that it gives out.
//!
//! The shard asks in the order in which things happened, so that the store knows one order per user. It bounds what it
//! has asked for: beyond that, publishes are refused. Acknowledgements cannot be refused; they are kept as one watermark
//! per device, and go before anything that must see them.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use campanile_engine::{Conn, Time};
use campanile_mailbox::operations::{
    Completion, Open, Opened, Operation, Port, RegisterError, Registration, StoreFailed, Tag, Takes,
};
use campanile_mailbox::{Address, Append, DedupKey, Page, Remembered, Stored, Trim, UserRecord};
use campanile_protocol::ids::{DeviceId, UserId};
use rustc_hash::FxBuildHasher;
use slab::Slab;

use crate::control::jobs::Asker;
use crate::invariants::{Broken, holds};
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

/// An operation that the store has not answered, and what its answer is for. Only [`Store`] pairs the two.
enum Ticket {
    Append(Appending),
    Recall { user: u32 },
    User { user: u32 },
    Open(Opening),
    Reregister { user: u32 },
    Read { reader: Reader, bytes: usize },
    Devices { asker: Asker, user: UserId },
    Register { asker: Asker, user: UserId },
    List { asker: Asker },
    Fetch { asker: Asker },
    Remove { asker: Asker },
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
    Register { asker: Asker, user: UserId, result: Result<Result<DeviceId, RegisterError>, StoreFailed> },
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
    tickets: Slab<Ticket>,
    /// Answers that have not had their turn.
    completions: VecDeque<Completion>,
    /// How often the store was opened, as far as this shard has seen.
    life: u32,
    appends_waiting: usize,
    append_bytes_waiting: usize,
    read_bytes_waiting: usize,
    numbers: Range<u64>,
    next_numbers: Option<Range<u64>>,
    numbers_asked: bool,
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
            tickets: Slab::new(),
            completions: VecDeque::new(),
            life: 1,
            appends_waiting: 0,
            append_bytes_waiting: 0,
            read_bytes_waiting: 0,
            numbers,
            next_numbers: None,
            numbers_asked: false,
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
        self.tickets.is_empty() && self.operations.is_empty() && self.trims.is_empty()
    }

    /// How often the store was opened, as far as this shard has seen. What was read from it in an earlier life may have
    /// been lost since.
    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    /// The oldest answer of the store that has not had its turn.
    pub(crate) fn next_answer(&mut self) -> Option<Answered> {
        loop {
            if self.completions.is_empty() {
                self.completions.extend(self.port.take_completions()?);
            }
            let answered = match self.completions.pop_front()? {
                Completion::Reserved(numbers) => {
                    self.numbers_asked = false;
                    self.next_numbers = self.next_numbers.take().or(numbers.ok());
                    None
                }
                Completion::Reopened => {
                    self.life += 1;
                    None
                }
                Completion::Appended(tag, result) => match self.ticket(tag) {
                    Some(Ticket::Append(appending)) => {
                        self.appends_waiting -= 1;
                        self.append_bytes_waiting -= appending.bytes;
                        Some(Answered::Append(appending, result))
                    }
                    other => mispaired(other),
                },
                Completion::Recalled(tag, result) => match self.ticket(tag) {
                    Some(Ticket::Recall { user }) => Some(Answered::Recall { user, result }),
                    other => mispaired(other),
                },
                Completion::Opened(tag, result) => match self.ticket(tag) {
                    Some(Ticket::Open(opening)) => Some(Answered::Open { opening, result }),
                    other => mispaired(other),
                },
                Completion::User(tag, result) => match self.ticket(tag) {
                    Some(Ticket::User { user }) => Some(Answered::User { user, result }),
                    Some(Ticket::Devices { asker, user }) => Some(Answered::Devices { asker, user, result }),
                    other => mispaired(other),
                },
                Completion::Registered(tag, result) => match self.ticket(tag) {
                    Some(Ticket::Register { asker, user }) => {
                        Some(Answered::Register { asker, user, result })
                    }
                    Some(Ticket::Reregister { user }) => Some(Answered::Reregister { user }),
                    other => mispaired(other),
                },
                Completion::Read(tag, result) => match self.ticket(tag) {
                    Some(Ticket::Read { reader, bytes }) => {
                        self.read_bytes_waiting -= bytes;
                        Some(Answered::Read { reader, result })
                    }
                    Some(Ticket::List { asker }) => Some(Answered::List { asker, result }),
                    other => mispaired(other),
                },
                Completion::Fetched(tag, result) => match self.ticket(tag) {
                    Some(Ticket::Fetch { asker }) => Some(Answered::Fetch { asker, result }),
                    other => mispaired(other),
                },
                Completion::Removed(tag, result) => match self.ticket(tag) {
                    Some(Ticket::Remove { asker }) => Some(Answered::Remove { asker, result }),
                    other => mispaired(other),
                },
            };
            if answered.is_some() {
                return answered;
            }
        }
    }

    fn ticket(&mut self, tag: Tag) -> Option<Ticket> {
        self.tickets.try_remove(tag.0 as usize)
    }

    fn issue(&mut self, ticket: Ticket) -> Tag {
        Tag(self.tickets.insert(ticket) as u32)
    }

    /// Whether the store lags so far behind that publishes are refused.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.appends_waiting >= APPENDS_WAITING_MAX || self.append_bytes_waiting >= APPEND_BYTES_WAITING_MAX
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
        if few && self.next_numbers.is_none() && !self.numbers_asked {
            self.numbers_asked = true;
            self.operations.push(Operation::Reserve(NUMBERS_PER_RANGE));
        }
        number
    }

    /// The highest number that may have been given out, by this process or those before.
    pub(crate) fn last_number(&self) -> u64 {
        self.numbers.start.saturating_sub(1)
    }

    /// Stores the messages of a push.
    pub(crate) fn append(&mut self, appending: Appending, append: Append) {
        self.appends_waiting += 1;
        self.append_bytes_waiting += appending.bytes;
        let tag = self.issue(Ticket::Append(appending));
        self.operations.push(Operation::Append(tag, append));
    }

    /// Asks whether a push of the user came before.
    pub(crate) fn recall(&mut self, user: u32, id: UserId, key: DedupKey) {
        let tag = self.issue(Ticket::Recall { user });
        self.operations.push(Operation::Recall(tag, id, key));
    }

    /// Asks for the devices of a user who has parked pushes.
    pub(crate) fn read_user(&mut self, user: u32, id: UserId) {
        let tag = self.issue(Ticket::User { user });
        self.operations.push(Operation::User(tag, id));
    }

    /// Asks whether a session may open.
    pub(crate) fn open(&mut self, opening: Opening, open: Open) {
        let tag = self.issue(Ticket::Open(opening));
        self.operations.push(Operation::Open(tag, Box::new(open)));
    }

    /// Registers a connected device again.
    pub(crate) fn register_again(&mut self, user: u32, registration: Registration) {
        let tag = self.issue(Ticket::Reregister { user });
        self.operations.push(Operation::Register(tag, registration));
    }

    /// Reads mail for a session.
    pub(crate) fn read(&mut self, reader: Reader, address: Address, read_on: ReadOn) {
        let ReadOn { after, messages_max, bytes_max } = read_on;
        self.read_bytes_waiting += bytes_max;
        let tag = self.issue(Ticket::Read { reader, bytes: bytes_max });
        self.operations.push(Operation::Read { tag, address, after, messages_max, bytes_max });
    }

    /// Tells when a device was last connected.
    pub(crate) fn seen(&mut self, address: Address, at_ms: u64) {
        self.operations.push(Operation::Seen(address, at_ms));
    }

    /// Reads a user's devices for the control plane.
    pub(crate) fn devices(&mut self, asker: Asker, user: UserId) {
        let tag = self.issue(Ticket::Devices { asker, user: user.clone() });
        self.operations.push(Operation::User(tag, user));
    }

    /// Registers a device for the control plane.
    pub(crate) fn register(&mut self, asker: Asker, registration: Registration) {
        let tag = self.issue(Ticket::Register { asker, user: registration.user.clone() });
        self.operations.push(Operation::Register(tag, registration));
    }

    /// Reads a page for the control plane.
    pub(crate) fn list(&mut self, asker: Asker, address: Address, read_on: ReadOn) {
        let ReadOn { after, messages_max, bytes_max } = read_on;
        let tag = self.issue(Ticket::List { asker });
        self.operations.push(Operation::Read { tag, address, after, messages_max, bytes_max });
    }

    /// Reads one message for the control plane.
    pub(crate) fn fetch(&mut self, asker: Asker, address: Address, number: u64) {
        let tag = self.issue(Ticket::Fetch { asker });
        self.operations.push(Operation::Fetch(tag, address, number));
    }

    /// Removes one message for the control plane.
    pub(crate) fn remove(&mut self, asker: Asker, address: Address, number: u64) {
        let tag = self.issue(Ticket::Remove { asker });
        self.operations.push(Operation::Remove(tag, address, number));
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

    /// Everything is passed on: what is asked of the store does not wait for a turn that may be far away.
    pub(crate) fn check_passed_on(&self) -> Result<(), Broken> {
        holds("the store is asked in the same turn", self.operations.is_empty(), || {
            format!("the store is not asked: {:?}", self.operations)
        })
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

/// The store answers something else than it was asked: nothing is done about it.
fn mispaired(ticket: Option<Ticket>) -> Option<Answered> {
    debug_assert!(ticket.is_some(), "the store answered twice");
    debug_assert!(ticket.is_none(), "the store answered something else than it was asked");
    None
}

#[cfg(test)]
mod tests;
