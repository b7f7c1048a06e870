//! A store made of a synchronous [`Mailbox`]: it executes what the shards ask, and commits in groups.
//!
//! [`Executor`] does no waiting of its own: a thread or a simulation calls [`Executor::execute`] and
//! [`Executor::commit`] in turns. All that came while the last sync was under way becomes durable with the next.
//!
//! Only stores may use it: `crates/storage` and the [model](crate::model).

mod mailbox;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use campanile_protocol::ids::{DeviceId, UserId};

pub use self::mailbox::{Expired, Mailbox, MailboxError, StorageStatus};
use crate::operations::{
    Completion, Open, Opened, Operation, Port, Registered, Registration, StoreFailed, Takes, Ticket,
};
use crate::rules::devices;
use crate::{Address, Append, Partition, Stored, Trim, UserRecord};

/// Operations of one shard that are executed before the next commit.
const OPERATIONS_PER_COMMIT_MAX: usize = 8_192;
/// Changes that nobody waits for are synced after so many milliseconds.
const LAZY_SYNC_MS: u64 = 1_000;
/// After a failure the mailbox is reopened at most so often, in milliseconds.
const REOPEN_INTERVAL_MS: u64 = 500;
/// What expires is looked for so often, in milliseconds.
const EXPIRE_INTERVAL_MS: u64 = 100;
/// Entries that are looked at each time.
const EXPIRE_LOOKS_MAX: usize = 512;
/// As long as much has expired, it is done between any two commits, with so many looks: a few milliseconds.
const EXPIRE_LOOKS_BEHIND_MAX: usize = 2_048;

/// What a store has done since it was made.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Envelopes appended, those that were spared included.
    pub envelopes_appended: u64,
    /// Envelopes that were confirmed before they would have been written.
    pub envelopes_spared: u64,
    /// Envelopes refused because the device's mailbox is full.
    pub envelopes_refused_mailbox: u64,
    /// Envelopes refused because the storage is full.
    pub envelopes_refused_storage: u64,
    /// Messages removed because their time was over.
    pub messages_expired: u64,
    /// Messages read for replay and for devices that poll.
    pub messages_read: u64,
    /// Watermarks moved.
    pub trims: u64,
    /// Commits: syncs that somebody waited for, or that were due.
    pub commits: u64,
    /// Times that the store failed and was reopened or is to be.
    pub failures: u64,
    /// Whether it does not work at the moment.
    pub failed: bool,
    /// How the storage was doing when it was looked at last.
    pub storage: StorageStatus,
}

/// A mailbox and the shards that use it.
pub struct Executor<M> {
    mailbox: M,
    ports: Vec<Arc<Port>>,
    counts: Counts,
    /// What each shard hears after the next sync.
    promised: Vec<Vec<Completion>>,
    /// Since when changes wait for a sync, in milliseconds since the Unix epoch.
    dirty_since_ms: Option<u64>,
    /// When it was last tried to open the mailbox anew.
    reopen_tried_at_ms: Option<u64>,
    expired_at_ms: Option<u64>,
    /// There was much to be removed the last time, and there is more.
    expiry_behind: bool,
}

impl<M: Mailbox> Executor<M> {
    /// A store that serves these shards.
    pub fn new(mailbox: M, ports: Vec<Arc<Port>>) -> Executor<M> {
        let promised = ports.iter().map(|_| Vec::new()).collect();
        Executor {
            mailbox,
            ports,
            counts: Counts::default(),
            promised,
            dirty_since_ms: None,
            reopen_tried_at_ms: None,
            expired_at_ms: None,
            expiry_behind: false,
        }
    }

    /// Makes durable what nobody waits for, and closes the mailbox. One that has failed is only closed: what it holds
    /// in memory may be what was answered as failed.
    pub fn close(mut self) {
        if !self.counts.failed
            && let Err(error) = self.mailbox.sync()
        {
            tracing::error!(%error, "the last changes of the store are lost");
        }
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The mailbox, for who takes the store apart.
    pub fn into_mailbox(self) -> M {
        self.mailbox
    }

    /// The mailbox, for tests that make it fail.
    pub fn mailbox_mut(&mut self) -> &mut M {
        &mut self.mailbox
    }

    /// Whether a shard asks for something.
    pub fn has_work(&self) -> bool {
        self.ports.iter().any(|port| port.has_operations())
    }

    /// Executes what the shards ask for, up to the next commit. Whether there was anything.
    pub fn execute(&mut self, now_ms: u64) -> bool {
        self.recover(now_ms);
        let mut any = false;
        for shard in 0..self.ports.len() {
            let mut operations = Vec::new();
            while operations.len() < OPERATIONS_PER_COMMIT_MAX
                && let Some(more) = self.ports[shard].take_operations()
            {
                operations.extend(more);
            }
            if operations.is_empty() {
                continue;
            }
            any = true;
            let mut batch =
                Batch { shard, now_ms, appends: Vec::new(), tickets: Vec::new(), answers: Vec::new() };
            Self::spare(&mut operations);
            for operation in operations {
                self.execute_one(&mut batch, operation);
            }
            self.append(&mut batch);
            if !batch.answers.is_empty() {
                self.ports[shard].complete(batch.answers);
            }
        }
        self.expire(now_ms);
        self.say_what_is_taken();
        any
    }

    /// So that nobody is sent what is going to be refused.
    fn say_what_is_taken(&self) {
        let takes = match (self.counts.failed, self.counts.storage.full) {
            (true, _) => Takes::Nothing,
            (false, false) => Takes::Messages,
            (false, true) => Takes::NoMessages,
        };
        self.ports.iter().for_each(|port| port.set_takes(takes));
    }

    /// Removes what has expired, if it is time to.
    fn expire(&mut self, now_ms: u64) {
        let due = self.expired_at_ms.is_none_or(|last| is_over(EXPIRE_INTERVAL_MS, last, now_ms));
        if self.counts.failed || !(due || self.expiry_behind) {
            return;
        }
        self.expired_at_ms = Some(now_ms);
        let looks_max = if self.expiry_behind { EXPIRE_LOOKS_BEHIND_MAX } else { EXPIRE_LOOKS_MAX };
        match self.mailbox.expire(now_ms, looks_max) {
            Ok(expired) => {
                self.expiry_behind = expired.behind;
                self.counts.messages_expired += expired.messages;
                if expired.messages > 0 {
                    self.touch(now_ms);
                }
            }
            Err(error) => self.fail(&error, now_ms),
        }
        self.counts.storage = self.mailbox.status();
    }

    /// Makes durable what was executed, and says so to the shards. Whether there was anything.
    pub fn commit(&mut self, now_ms: u64) -> bool {
        let waits = self.promised.iter().any(|promised| !promised.is_empty());
        let due = self.dirty_since_ms.is_some_and(|since| is_over(LAZY_SYNC_MS, since, now_ms));
        if !waits && !due {
            return false;
        }
        self.counts.commits += 1;
        match self.mailbox.sync() {
            Ok(()) => {
                self.dirty_since_ms = None;
                for (port, promised) in self.ports.iter().zip(&mut self.promised) {
                    if !promised.is_empty() {
                        port.complete(std::mem::take(promised));
                    }
                }
            }
            Err(error) => self.fail(&error, now_ms),
        }
        true
    }

    /// When something is due although no shard asks for anything, in milliseconds since the Unix epoch.
    pub fn next_due_ms(&self) -> u64 {
        // Nothing else is done while the mailbox does not work.
        if self.counts.failed {
            return self.reopen_tried_at_ms.map_or(0, |tried| tried + REOPEN_INTERVAL_MS);
        }
        if self.expiry_behind {
            return 0;
        }
        let lazy = self.dirty_since_ms.map_or(u64::MAX, |since| since + LAZY_SYNC_MS);
        self.expired_at_ms.map_or(0, |last| last + EXPIRE_INTERVAL_MS).min(lazy)
    }

    /// Marks the envelopes that are confirmed by a trim that has come after them already.
    fn spare(operations: &mut [Operation]) {
        let mut confirmed: HashMap<UserId, Vec<(DeviceId, u64)>> = HashMap::new();
        for operation in operations.iter_mut().rev() {
            match operation {
                Operation::Trim(trims) => {
                    for Trim { address, up_to } in trims {
                        let of_user = confirmed.entry(address.user.clone()).or_default();
                        match of_user.iter_mut().find(|(device, _)| *device == address.device) {
                            Some((_, highest)) => *highest = (*highest).max(*up_to),
                            None => of_user.push((address.device, *up_to)),
                        }
                    }
                }
                Operation::Append(_, append) => {
                    let Some(confirmed) = confirmed.get(&append.user) else { continue };
                    for envelope in &mut append.envelopes {
                        let covers = |&(device, up_to): &(DeviceId, u64)| {
                            device == envelope.device && up_to >= append.seq
                        };
                        envelope.confirmed |= confirmed.iter().any(covers);
                    }
                }
                _ => {}
            }
        }
    }

    fn execute_one(&mut self, batch: &mut Batch, operation: Operation) {
        if let Operation::Append(ticket, append) = operation {
            batch.tickets.push(ticket);
            batch.appends.push(append);
            return;
        }
        self.append(batch);
        let refused = refusal(&operation);
        if self.counts.failed {
            return batch.answers.extend(refused);
        }
        match self.carry_out(batch, operation) {
            Ok(Some(Answer::Now(completion))) => batch.answers.push(completion),
            Ok(Some(Answer::Durable(completion))) => self.promised[batch.shard].push(completion),
            Ok(None) => {}
            Err(error) => {
                batch.answers.extend(refused);
                self.fail_within(batch, &error);
            }
        }
    }

    fn append(&mut self, batch: &mut Batch) {
        if batch.appends.is_empty() {
            return;
        }
        let (appends, tickets) = (std::mem::take(&mut batch.appends), std::mem::take(&mut batch.tickets));
        let refused = |ticket| Completion::Appended(ticket, Err(StoreFailed));
        if self.counts.failed {
            return batch.answers.extend(tickets.into_iter().map(refused));
        }
        match self.mailbox.append(&appends, batch.now_ms) {
            Ok(outcomes) => {
                self.touch(batch.now_ms);
                outcomes.iter().flatten().for_each(|&stored| self.count_stored(stored));
                let envelopes = appends.iter().flat_map(|append| &append.envelopes);
                let spared = envelopes.filter(|envelope| envelope.confirmed).count();
                self.counts.envelopes_spared += spared as u64;
                let answers = tickets.into_iter().zip(outcomes);
                self.promised[batch.shard]
                    .extend(answers.map(|(ticket, outcomes)| Completion::Appended(ticket, Ok(outcomes))));
            }
            Err(error) => {
                batch.answers.extend(tickets.into_iter().map(refused));
                self.fail_within(batch, &error);
            }
        }
    }

    fn count_stored(&mut self, stored: Stored) {
        *match stored {
            Stored::Yes => &mut self.counts.envelopes_appended,
            Stored::MailboxFull => &mut self.counts.envelopes_refused_mailbox,
            Stored::StorageFull => &mut self.counts.envelopes_refused_storage,
        } += 1;
    }

    fn carry_out(&mut self, batch: &Batch, operation: Operation) -> Result<Option<Answer>, MailboxError> {
        let now_ms = batch.now_ms;
        Ok(Some(match operation {
            Operation::Append(..) => return Ok(None),
            Operation::Recall(ticket, user, key) => match self.mailbox.recall(&user, &key, now_ms)? {
                // What was answered then must be true now; that there is nothing promises nothing.
                Some(remembered) => Answer::Durable(Completion::Recalled(ticket, Ok(Some(remembered)))),
                None => Answer::Now(Completion::Recalled(ticket, Ok(None))),
            },
            Operation::Trim(trims) => {
                self.counts.trims += trims.len() as u64;
                self.mailbox.trim(&trims)?;
                self.touch(now_ms);
                return Ok(None);
            }
            Operation::Open(ticket, open) => Answer::Now(Completion::Opened(ticket, Ok(self.open(*open)?))),
            Operation::User(ticket, user) => {
                Answer::Now(Completion::User(ticket, Ok(self.mailbox.user(&user)?.unwrap_or_default())))
            }
            Operation::Register(ticket, registration) => {
                Answer::Durable(Completion::Registered(ticket, Ok(self.register(&registration)?)))
            }
            Operation::Seen(address, at_ms) => {
                self.seen(&address, at_ms, now_ms)?;
                return Ok(None);
            }
            Operation::Read { ticket, address, after, messages_max, bytes_max } => {
                let page = self.mailbox.read(&address, after, messages_max, bytes_max, now_ms)?;
                self.counts.messages_read += page.messages.len() as u64;
                Answer::Now(Completion::Read(ticket, Ok(page)))
            }
            Operation::Fetch(ticket, address, seq) => {
                Answer::Now(Completion::Fetched(ticket, Ok(self.mailbox.fetch(&address, seq, now_ms)?)))
            }
            Operation::Remove(ticket, address, seq) => {
                let removed = self.mailbox.remove(&address, seq, now_ms)?;
                self.touch(now_ms);
                Answer::Durable(Completion::Removed(ticket, Ok(removed)))
            }
            Operation::Reserve(ticket, count) => {
                Answer::Now(Completion::Reserved(ticket, Ok(self.mailbox.reserve(count)?)))
            }
        }))
    }

    fn open(&mut self, open: Open) -> Result<Opened, MailboxError> {
        let Open { address, acknowledged, register, devices_max, now_ms } = open;
        let mut user = self.mailbox.user(&address.user)?.unwrap_or_default();
        let admitted = match devices::admit(&user, address.device, register, devices_max, now_ms) {
            Ok(Some(changed)) => {
                self.put_user(&address.user, &changed, now_ms)?;
                user = changed;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        // Nothing is kept of a device that is turned away.
        if acknowledged > 0 && admitted.is_ok() {
            self.mailbox.trim(&[Trim { address: address.clone(), up_to: acknowledged }])?;
            self.touch(now_ms);
        }
        let count = self.mailbox.count(&address)?;
        Ok(Opened { admitted, user, count })
    }

    fn register(&mut self, wanted: &Registration) -> Result<Registered, MailboxError> {
        let user = self.mailbox.user(&wanted.user)?.unwrap_or_default();
        Ok(match devices::register(&user, wanted.device, wanted.devices_max, wanted.now_ms) {
            Ok((device, changed)) => {
                self.put_user(&wanted.user, &changed, wanted.now_ms)?;
                Ok(device)
            }
            Err(error) => Err(error),
        })
    }

    fn seen(&mut self, address: &Address, at_ms: u64, now_ms: u64) -> Result<(), MailboxError> {
        let user = self.mailbox.user(&address.user)?;
        match user.and_then(|user| devices::seen(&user, address.device, at_ms)) {
            Some(changed) => self.put_user(&address.user, &changed, now_ms),
            None => Ok(()),
        }
    }

    fn put_user(&mut self, user: &UserId, record: &UserRecord, now_ms: u64) -> Result<(), MailboxError> {
        self.mailbox.put_user(user, record)?;
        self.touch(now_ms);
        Ok(())
    }

    fn touch(&mut self, now_ms: u64) {
        self.dirty_since_ms.get_or_insert(now_ms);
    }

    /// What was asked before the failure is answered before the news of it: whatever a shard hears after
    /// [`Completion::Reopened`] was done after it.
    fn fail_within(&mut self, batch: &mut Batch, error: &MailboxError) {
        if !batch.answers.is_empty() {
            self.ports[batch.shard].complete(std::mem::take(&mut batch.answers));
        }
        self.fail(error, batch.now_ms);
    }

    /// The mailbox failed: what was promised is not kept, and nothing is served before it works again.
    fn fail(&mut self, error: &MailboxError, now_ms: u64) {
        tracing::error!(%error, "the store failed; it is opened anew");
        self.counts.failures += 1;
        self.say_what_is_taken();
        self.dirty_since_ms = None;
        for (port, promised) in self.ports.iter().zip(&mut self.promised) {
            let refused: Vec<Completion> = promised.drain(..).filter_map(broken).collect();
            if !refused.is_empty() {
                port.complete(refused);
            }
        }
        self.counts.failed = true;
        self.expiry_behind = false;
        self.recover(now_ms);
    }

    /// Opens a mailbox that failed anew, if that was not tried just now: every time costs all shards a replay.
    fn recover(&mut self, now_ms: u64) {
        let due = self.reopen_tried_at_ms.is_none_or(|tried| is_over(REOPEN_INTERVAL_MS, tried, now_ms));
        if !self.counts.failed || !due {
            return;
        }
        self.reopen_tried_at_ms = Some(now_ms);
        match self.mailbox.reopen() {
            Ok(()) => {
                self.counts.failed = false;
                tracing::info!("the store works again");
                let lives = || Partition::all().map(Completion::Reopened).collect();
                self.ports.iter().for_each(|port| port.complete(lives()));
            }
            Err(error) => tracing::error!(%error, "the store cannot be opened; trying again"),
        }
    }

    /// Numbers for a shard that starts.
    ///
    /// # Errors
    /// [`MailboxError`].
    pub fn reserve(&mut self, count: u64) -> Result<Range<u64>, MailboxError> {
        if self.counts.failed {
            return Err(MailboxError::Storage(Box::new(StoreFailed)));
        }
        self.mailbox.reserve(count).inspect_err(|error| {
            tracing::error!(%error, "no numbers; the store is opened anew");
            self.counts.failures += 1;
            self.counts.failed = true;
        })
    }
}

/// Whether so much time is over. A clock that went back says nothing about it: what waits then is done at once.
fn is_over(interval_ms: u64, since_ms: u64, now_ms: u64) -> bool {
    now_ms.checked_sub(since_ms).is_none_or(|passed| passed >= interval_ms)
}

/// The operations of one shard between two commits.
struct Batch {
    shard: usize,
    now_ms: u64,
    /// Appends that follow each other, executed as one.
    appends: Vec<Append>,
    tickets: Vec<Ticket<Vec<Stored>>>,
    answers: Vec<Completion>,
}

enum Answer {
    Now(Completion),
    /// Only after the next sync.
    Durable(Completion),
}

/// What an operation is answered that was not carried out.
fn refusal(operation: &Operation) -> Option<Completion> {
    Some(match operation {
        Operation::Append(ticket, _) => Completion::Appended(*ticket, Err(StoreFailed)),
        Operation::Recall(ticket, ..) => Completion::Recalled(*ticket, Err(StoreFailed)),
        Operation::Open(ticket, _) => Completion::Opened(*ticket, Err(StoreFailed)),
        Operation::User(ticket, _) => Completion::User(*ticket, Err(StoreFailed)),
        Operation::Register(ticket, _) => Completion::Registered(*ticket, Err(StoreFailed)),
        Operation::Read { ticket, .. } => Completion::Read(*ticket, Err(StoreFailed)),
        Operation::Fetch(ticket, ..) => Completion::Fetched(*ticket, Err(StoreFailed)),
        Operation::Remove(ticket, ..) => Completion::Removed(*ticket, Err(StoreFailed)),
        Operation::Reserve(ticket, _) => Completion::Reserved(*ticket, Err(StoreFailed)),
        Operation::Trim(_) | Operation::Seen(..) => return None,
    })
}

/// A promise that is not kept.
fn broken(promised: Completion) -> Option<Completion> {
    Some(match promised {
        Completion::Appended(ticket, _) => Completion::Appended(ticket, Err(StoreFailed)),
        Completion::Recalled(ticket, _) => Completion::Recalled(ticket, Err(StoreFailed)),
        Completion::Registered(ticket, _) => Completion::Registered(ticket, Err(StoreFailed)),
        Completion::Removed(ticket, _) => Completion::Removed(ticket, Err(StoreFailed)),
        _ => return None,
    })
}
