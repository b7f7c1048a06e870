//! What was asked, and what was answered. Nothing here looks into the gateway.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use campanile_core::requests::{Durability, Envelopes, Push, PushError, Pushed, Ticket, Unavailable};
use campanile_mailbox::{Dedup, DedupKey, DedupScope};
use campanile_protocol::ids::{DeviceId, MessageId};
use campanile_protocol::messages::{Content, Deliver, Device, Payload, Receipt, Sync};

use super::{NAMES, Owner};
use crate::support::gateway::EPOCH;
use crate::support::{push_as_it_is, user};

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    All,
    Listed(Vec<u32>),
    PerDevice(Vec<u32>),
    /// Whoever is registered, but the device that sends it.
    Siblings,
}

/// A message. What is pushed again under the same deduplication id is the same.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) user: usize,
    pub(super) to: To,
    pub(super) from: Option<u32>,
    pub(super) kind: &'static str,
    pub(super) topic: &'static str,
    pub(super) bytes: usize,
    pub(super) durability: Durability,
    /// 0 for a sync that takes the server's default.
    pub(super) expires_at_ms: u64,
    /// Which name of [`Ledger::keys`] it is pushed under.
    pub(super) key: Option<usize>,
}

/// A deduplication id and until when it was to be remembered at the earliest and at the latest.
pub(super) struct Key {
    pub(super) name: String,
    pub(super) until_ms: Option<(u64, u64)>,
}

/// One time that an item was pushed.
pub(super) struct Attempt {
    pub(super) item: usize,
    /// The connection that sent it, for a sync.
    pub(super) session: Option<usize>,
    /// Where it stands among all that was asked and answered.
    pub(super) asked: u64,
    /// The highest number that the user's messages were known to have then.
    floor: u64,
    /// Devices that were registered for certain then.
    known: Vec<u32>,
    pub(super) answered: u64,
    /// The highest wall clock when it was answered.
    pub(super) answered_ms: u64,
    pub(super) answer: Option<Reply>,
}

/// An answer to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Yes {
        seq: u64,
        /// Not told to those who sync.
        duplicate: Option<bool>,
        /// The name of each state, and whether the device has it or will get it.
        devices: Vec<(u32, &'static str, bool)>,
    },
    /// Nobody was meant.
    Nobody,
    NoDevices,
    Conflict,
    /// The store failed: it may be stored or not.
    Failed,
}

/// Everything that was asked and answered.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) items: Vec<Item>,
    pub(super) keys: Vec<Key>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) tickets: HashMap<Ticket, usize>,
    /// The highest number of each user's messages that is known.
    highest: [u64; NAMES.len()],
    /// Which item each number was given to.
    pub(super) numbers: BTreeMap<u64, usize>,
    /// Numbers of sessions.
    pub(super) generations: BTreeSet<u64>,
    /// Devices that are registered, whatever happens.
    pub(super) registered: BTreeSet<Owner>,
    /// Devices whose numbers the gateway chose.
    pub(super) given: BTreeSet<Owner>,
    pub(super) clock: u64,
    /// The highest wall clock that was seen.
    pub(super) latest_ms: u64,
}

const STATES: [&str; 4] = ["confirmed", "sent", "stored", "failed"];

impl Item {
    fn payload(&self, number: usize, device: u32) -> Payload {
        let mut text = match self.to {
            To::PerDevice(_) => format!("{number}/{device}/"),
            _ => format!("{number}//"),
        };
        text.extend(std::iter::repeat_n('x', self.bytes));
        Payload::text(text)
    }

    pub(super) fn is_for(&self, device: u32) -> bool {
        match &self.to {
            To::All => true,
            To::Listed(devices) | To::PerDevice(devices) => devices.contains(&device),
            To::Siblings => self.from != Some(device),
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.durability == Durability::Durable
    }

    /// The item as a publisher pushes it.
    pub(super) fn push(&self, number: usize, key: Option<(&Key, u64)>) -> Push {
        let device = |&device: &u32| DeviceId::try_from(device).unwrap();
        let envelopes = match &self.to {
            To::Listed(devices) => {
                Envelopes::Listed(devices.iter().map(device).collect(), self.payload(number, 0))
            }
            To::PerDevice(devices) => {
                let each = devices.iter().map(|known| (device(known), self.payload(number, *known)));
                Envelopes::PerDevice(each.collect())
            }
            _ => Envelopes::All(self.payload(number, 0)),
        };
        let expires_at_ms = if self.is_durable() { self.expires_at_ms as i64 } else { 0 };
        let message = Deliver {
            kind: self.kind.to_owned(),
            topic: self.topic.to_owned(),
            expires_at_ms,
            ..Deliver::default()
        };
        let dedup = key.map(|(key, until_ms)| {
            let mut digest = [0; 16];
            digest[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let key = DedupKey { scope: DedupScope::Publisher(1), id: key.name.as_str().into() };
            Dedup { key, digest, until_ms }
        });
        push_as_it_is(user(NAMES[self.user]), envelopes, message, self.durability, dedup)
    }

    /// The item as a device sends it to its siblings.
    pub(super) fn sync(&self, number: usize, name: &str) -> Sync {
        Sync {
            r#ref: name.to_owned(),
            kind: self.kind.to_owned(),
            device: match &self.to {
                To::Listed(devices) => devices[0],
                _ => 0,
            },
            topic: self.topic.to_owned(),
            ephemeral: !self.is_durable(),
            payload: Some(self.payload(number, 0)),
            ..Sync::default()
        }
    }

    /// What a device is to receive, given what it has received.
    fn delivered(&self, number: usize, to: u32, message: &Deliver) -> Deliver {
        let from = self.from.map(|device| Device { user: NAMES[self.user].to_owned(), device });
        let mut expected = Deliver {
            id: message.id.clone(),
            seq: message.seq,
            kind: self.kind.to_owned(),
            topic: self.topic.to_owned(),
            payload: Some(self.payload(number, to)),
            from,
            ..Deliver::default()
        };
        if self.from.is_some() {
            (expected.sent_at_ms, expected.expires_at_ms) = (message.sent_at_ms, message.expires_at_ms);
        } else if self.is_durable() {
            expected.expires_at_ms = self.expires_at_ms as i64;
        }
        expected
    }
}

impl Ledger {
    /// An item is pushed. The index of the attempt.
    pub(super) fn asks(&mut self, item: usize, session: Option<usize>) -> usize {
        self.clock += 1;
        let user = self.items[item].user;
        let known = self.registered.iter().filter(|owner| owner.0 == user).map(|owner| owner.1).collect();
        let (asked, floor) = (self.clock, self.highest[user]);
        let (answered, answered_ms, answer) = (u64::MAX, u64::MAX, None);
        self.attempts.push(Attempt { item, session, asked, floor, known, answered, answered_ms, answer });
        self.attempts.len() - 1
    }

    /// A publisher is answered.
    pub(super) fn is_pushed(
        &mut self,
        attempt: usize,
        pushed: Result<Pushed, PushError>,
        store_failed: bool,
    ) {
        let reply = match pushed {
            Ok(Pushed { id, devices, duplicate }) => {
                assert_eq!(id.epoch, EPOCH);
                let each = |(device, outcome): (DeviceId, campanile_core::requests::Outcome)| {
                    assert_eq!(outcome.is_success(), outcome.state() != "failed");
                    (device.get(), outcome.state(), outcome.is_success())
                };
                let devices = devices.into_iter().map(each).collect();
                Reply::Yes { seq: id.seq, duplicate: Some(duplicate), devices }
            }
            Err(PushError::NoDevices) => Reply::NoDevices,
            Err(PushError::DedupConflict) => Reply::Conflict,
            Err(PushError::Unavailable(Unavailable::StoreFailed)) => Reply::Failed,
            Err(error) => panic!("attempt {attempt}: {error:?}"),
        };
        self.answers(attempt, reply, store_failed);
    }

    /// A device is answered, by a receipt or an error.
    pub(super) fn is_synced(&mut self, attempt: usize, receipt: Result<&Receipt, &str>, store_failed: bool) {
        let reply = match receipt {
            Ok(receipt) if receipt.id.is_empty() => Reply::Nobody,
            Ok(receipt) => {
                let state = |name: &str| STATES.into_iter().find(|state| *state == name).expect("no state");
                let each = receipt.devices.iter();
                let devices =
                    each.map(|known| (known.device, state(&known.state), known.state != "failed")).collect();
                let seq = receipt.id.parse::<MessageId>().expect("no id").seq;
                Reply::Yes { seq, duplicate: None, devices }
            }
            Err("dedup_conflict") => Reply::Conflict,
            // Whoever it is for may be gone from the directory only if it never was registered durably.
            Err("no_devices" | "unknown_device") => Reply::NoDevices,
            Err("store_failed") => Reply::Failed,
            // An ephemeral sync to a sibling that is sent a lot.
            Err("overloaded") if !self.items[self.attempts[attempt].item].is_durable() => Reply::Nobody,
            Err(reason) => panic!("a sync is refused: {reason}"),
        };
        self.answers(attempt, reply, store_failed);
    }

    /// Takes the attempts whose answers have come, in the order of their tickets.
    pub(super) fn take_answered(&mut self, has_answer: impl Fn(Ticket) -> bool) -> Vec<(Ticket, usize)> {
        let mut answered: Vec<_> = self.tickets.extract_if(|&ticket, _| has_answer(ticket)).collect();
        answered.sort_unstable_by_key(|(ticket, _)| ticket.0);
        answered
    }

    /// The highest number of a user's messages that is known.
    pub(super) fn highest_of(&self, user: usize) -> u64 {
        self.highest[user]
    }

    /// All numbers of a user's messages.
    pub(super) fn numbers_of(&self, user: usize) -> impl Iterator<Item = u64> + '_ {
        let of = move |(&seq, &item): (&u64, &usize)| (self.items[item].user == user).then_some(seq);
        self.numbers.iter().filter_map(of)
    }

    fn answers(&mut self, index: usize, reply: Reply, store_failed: bool) {
        self.clock += 1;
        let attempt = &mut self.attempts[index];
        assert!(attempt.answer.is_none(), "attempt {index} is answered twice");
        (attempt.answered, attempt.answered_ms) = (self.clock, self.latest_ms);
        attempt.answer = Some(reply.clone());
        let item = &self.items[attempt.item];
        match reply {
            Reply::Failed => assert!(store_failed, "refused, though the store works"),
            Reply::NoDevices if matches!(item.to, To::All) => {
                assert!(attempt.known.is_empty(), "{:?} are registered", attempt.known);
            }
            Reply::NoDevices => assert!(!attempt.known.iter().any(|&device| item.is_for(device))),
            Reply::Nobody | Reply::Conflict => {}
            Reply::Yes { seq, duplicate, devices } => {
                let (user, number, to) = (item.user, attempt.item, item.to.clone());
                if item.is_durable() && duplicate == Some(false) {
                    assert!(seq > attempt.floor, "{seq} is not above {}", attempt.floor);
                    check_devices(&to, &attempt.known, &devices);
                }
                if item.is_durable() {
                    let there = devices.iter().filter(|(_, _, yes)| *yes);
                    self.registered.extend(there.map(|&(device, ..)| (user, device)));
                }
                self.highest[user] = self.highest[user].max(seq);
                self.gives(seq, number);
            }
        }
    }

    /// Whether an item is pushed, or was not answered at that time.
    pub(super) fn is_under_way_since(&self, item: usize, clock: u64) -> bool {
        self.attempts.iter().any(|attempt| attempt.item == item && attempt.answered > clock)
    }

    /// A number belongs to one message.
    fn gives(&mut self, seq: u64, item: usize) {
        let known = *self.numbers.entry(seq).or_insert(item);
        assert_eq!(known, item, "the number {seq} belongs to two messages");
        assert!(!self.generations.contains(&seq), "the number {seq} belongs to a session");
    }

    /// A device has received a message. Which item it is.
    pub(super) fn arrives(&mut self, owner: Owner, message: &Deliver) -> usize {
        let Some(Content::Text(text)) = message.payload.as_ref().and_then(|payload| payload.content.as_ref())
        else {
            panic!("not what anybody pushed: {message:?}")
        };
        let number: usize = text.split('/').next().and_then(|number| number.parse().ok()).expect("no number");
        let item = &self.items[number];
        assert_eq!(item.user, owner.0, "another user's message");
        assert!(item.is_for(owner.1), "another device's message: {item:?} at {owner:?}");
        assert_eq!(*message, item.delivered(number, owner.1, message), "changed on the way");
        let id: MessageId = message.id.parse().expect("no id");
        assert_eq!(id.epoch, EPOCH);
        assert_eq!(message.seq, if item.is_durable() { id.seq } else { 0 });
        self.gives(id.seq, number);
        number
    }
}

/// Every device that was meant is spoken of, once, and none that is registered is unknown.
fn check_devices(to: &To, known: &[u32], devices: &[(u32, &str, bool)]) {
    let mut spoken: Vec<u32> = devices.iter().map(|&(device, ..)| device).collect();
    spoken.sort_unstable();
    assert!(spoken.is_sorted_by(|one, next| one < next), "a device twice: {devices:?}");
    match to {
        To::Listed(meant) | To::PerDevice(meant) => {
            let mut meant = meant.clone();
            meant.sort_unstable();
            assert_eq!(spoken, meant);
        }
        _ => assert!(known.iter().all(|device| spoken.contains(device)), "{known:?} in {devices:?}"),
    }
}
