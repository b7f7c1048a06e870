//! The shard's side of the store: what it asks, what it waits for, and the numbers that it gives out.
//!
//! The shard asks in the order in which things happened, so that the store knows one order per user. It bounds what it
//! has asked for: beyond that, publishes are refused. Acknowledgements cannot be refused; they are kept as one watermark
//! per device, and go before anything that must see them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use campanile_engine::{Conn, Time};
use campanile_protocol::ids::{DeviceId, UserId};
use rustc_hash::FxBuildHasher;
use slab::Slab;

use super::delivery::Appending;
use super::jobs::Asker;
use campanile_mailbox::operations::{Completion, Operation, Port, Tag, Takes};
use campanile_mailbox::{Address, Trim};

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

/// What an answer of the store is for.
pub(super) enum Awaiting {
    /// Messages of a push.
    Append(Appending),
    /// Whether the first of the user's parked pushes came before.
    Recall { user: u32 },
    /// The user's devices, for the user's parked pushes.
    User { user: u32 },
    /// A session opens.
    Open { conn: Conn, user: u32 },
    /// A connected device is registered again after the store lost it.
    Reregister { user: u32 },
    /// Mail for a session: up to so many bytes. `head` is the newest message that it will have found.
    Read { conn: Conn, head: u64, bytes: usize },
    /// The control plane asks for the user's devices.
    Devices { asker: Asker, user: UserId },
    /// The control plane registers a device.
    Register { asker: Asker, user: UserId },
    /// The control plane asks for a page, for a message, or removes one.
    Mail { asker: Asker },
}

/// The shard's side of the store.
pub(super) struct Storage {
    port: Arc<Port>,
    operations: Vec<Operation>,
    awaiting: Slab<Awaiting>,
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

impl Storage {
    /// Nothing is asked yet; `numbers` are this shard's.
    pub(super) fn new(port: Arc<Port>, numbers: Range<u64>) -> Storage {
        Storage {
            port,
            operations: Vec::new(),
            awaiting: Slab::new(),
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

    /// Whether the store has answered something.
    pub(super) fn has_completions(&self) -> bool {
        self.port.has_completions()
    }

    /// The oldest answers of the store.
    pub(super) fn take_completions(&self) -> Option<Vec<Completion>> {
        self.port.take_completions()
    }

    /// Whether no answer is awaited and nothing is left to be told.
    pub(super) fn is_quiet(&self) -> bool {
        self.awaiting.is_empty() && self.operations.is_empty() && self.trims.is_empty()
    }

    /// Whether the store lags so far behind that publishes are refused.
    pub(super) fn is_overloaded(&self) -> bool {
        self.appends_waiting >= APPENDS_WAITING_MAX || self.append_bytes_waiting >= APPEND_BYTES_WAITING_MAX
    }

    /// Whether the store takes messages at the moment.
    pub(super) fn takes(&self) -> Takes {
        self.port.takes()
    }

    /// Bytes that were asked for and have not come.
    pub(super) fn read_bytes_waiting(&self) -> usize {
        self.read_bytes_waiting
    }

    /// A number higher than all before. `None` if the store gives out no more.
    pub(super) fn number(&mut self) -> Option<u64> {
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

    /// Numbers have come, or not.
    pub(super) fn reserved(&mut self, numbers: Option<Range<u64>>) {
        self.numbers_asked = false;
        self.next_numbers = self.next_numbers.take().or(numbers);
    }

    /// The highest number that may have been given out, by this process or those before.
    pub(super) fn last_number(&self) -> u64 {
        self.numbers.start.saturating_sub(1)
    }

    /// Waits for an answer, to which the tag belongs.
    pub(super) fn await_answer(&mut self, awaiting: Awaiting) -> Tag {
        match &awaiting {
            Awaiting::Append(appending) => {
                self.appends_waiting += 1;
                self.append_bytes_waiting += appending.bytes;
            }
            Awaiting::Read { bytes, .. } => self.read_bytes_waiting += bytes,
            _ => {}
        }
        Tag(self.awaiting.insert(awaiting) as u32)
    }

    /// What the answer is for.
    pub(super) fn answered(&mut self, tag: Tag) -> Option<Awaiting> {
        let awaiting = self.awaiting.try_remove(tag.0 as usize);
        debug_assert!(awaiting.is_some(), "the store answered twice");
        match &awaiting {
            Some(Awaiting::Append(appending)) => {
                self.appends_waiting -= 1;
                self.append_bytes_waiting -= appending.bytes;
            }
            Some(Awaiting::Read { bytes, .. }) => self.read_bytes_waiting -= bytes,
            _ => {}
        }
        awaiting
    }

    /// Asks. Nothing is passed on before [`Storage::flush`].
    pub(super) fn ask(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// A device has confirmed everything up to `seq`. The store hears of it `soon`, or a little later.
    pub(super) fn trim(&mut self, user: u32, device: u32, seq: u64, soon: bool, now: Time) {
        let up_to = self.trims.entry((user, device)).or_default();
        *up_to = seq.max(*up_to);
        let due = if soon || self.trims.len() >= TRIMS_MAX { now } else { now + TRIM_INTERVAL };
        self.trims_due = Some(self.trims_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Whether the store has yet to hear what a device confirmed.
    pub(super) fn has_trim(&self, user: u32, device: u32) -> bool {
        self.trims.contains_key(&(user, device))
    }

    /// When acknowledgements are to be passed on.
    pub(super) fn trims_due(&self) -> Option<Time> {
        self.trims_due
    }

    /// Puts all watermarks behind what was asked so far. `id` knows the users' ids.
    pub(super) fn flush_trims<'a>(&mut self, id: impl Fn(u32) -> Option<&'a UserId>) {
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

    /// Passes on what was asked in this turn.
    pub(super) fn flush(&mut self) {
        if !self.operations.is_empty() {
            self.port.ask(std::mem::take(&mut self.operations));
        }
    }
}
