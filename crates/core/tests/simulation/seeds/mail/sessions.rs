//! Connections of devices: what each saw and acknowledged, and what had to hold at that moment.

use std::collections::{BTreeMap, VecDeque};

use campanile_protocol::messages::{Ack, ClientFrame, Deliver, Ping, ServerFrame};
use prost::Message as _;

use super::ledger::Ledger;
use super::{Owner, Rules};
use crate::support::{Device, Seen};

/// How a device acknowledges.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Whatever it has got, at once.
    Every,
    /// Now and then.
    Some,
    /// Not before it comes back.
    Never,
    /// Anything.
    Wild,
}

/// One connection, and the session that it may become.
pub(super) struct Session {
    pub(super) owner: Owner,
    pub(super) life: u32,
    /// Its index among the gateway's devices, while that gateway lives.
    pub(super) at: Option<usize>,
    pub(super) acknowledges: bool,
    pub(super) habit: Habit,
    /// What its hello confirmed before the session began.
    pub(super) hello: u64,
    /// Nothing up to this is delivered: it was confirmed, and is durable or was part of the hello.
    pub(super) floor: u64,
    /// Nothing up to this is delivered while the store works: it was confirmed on an earlier session.
    pub(super) soft_floor: u64,
    /// When it dialed, by the clock of the ledger.
    pub(super) dialed: u64,
    /// The wall clock when it dialed, if that only goes forward; else 0.
    pub(super) dialed_ms: u64,
    /// An earlier session had the number.
    pub(super) after_generation: u64,
    /// As many as the welcome says come before it has caught up.
    pub(super) is_exact: bool,
    pub(super) generation: Option<u64>,
    pub(super) waiting: u64,
    /// Where it has caught up, and after how many messages.
    pub(super) caught_up: Option<(u64, u64)>,
    /// The numbers of durable messages, as they came.
    pub(super) received: Vec<u64>,
    /// Received and not acknowledged: numbers and lengths.
    pub(super) unacknowledged: VecDeque<(u64, usize)>,
    /// The highest number that it wrote an acknowledgement for.
    pub(super) acknowledged: u64,
    /// What the gateway has confirmed to have heard of that.
    pub(super) heard: u64,
    /// It acknowledged what it never got.
    pub(super) lied: bool,
    /// Pings that are under way, and what was acknowledged before each.
    pings: BTreeMap<u64, u64>,
    /// The place in [`Device::seen`] up to which it was looked at.
    looked: usize,
    /// Syncs without an answer, by their names.
    pub(super) syncs: BTreeMap<String, usize>,
    /// Numbers of ephemeral messages.
    passing: Vec<u64>,
}

impl Session {
    pub(super) fn new(owner: Owner, life: u32, at: usize) -> Session {
        Session {
            owner,
            life,
            at: Some(at),
            acknowledges: true,
            habit: Habit::Every,
            hello: 0,
            floor: 0,
            soft_floor: 0,
            dialed: 0,
            dialed_ms: 0,
            after_generation: 0,
            is_exact: false,
            generation: None,
            waiting: 0,
            caught_up: None,
            received: Vec::new(),
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
            heard: 0,
            lied: false,
            pings: BTreeMap::new(),
            looked: 0,
            syncs: BTreeMap::new(),
            passing: Vec::new(),
        }
    }

    /// The highest number that it has received.
    pub(super) fn last(&self) -> u64 {
        self.received.last().copied().unwrap_or(0)
    }

    /// Looks at what has arrived since.
    pub(super) fn look(&mut self, device: &Device, ledger: &mut Ledger, rules: &Rules, store_failed: bool) {
        for seen in &device.seen[self.looked..] {
            let Seen::Frame(frame) = seen else { continue };
            match frame {
                ServerFrame::Welcome(welcome) => {
                    assert!(self.generation.is_none(), "welcome twice");
                    let named = welcome.device.as_ref().map(|device| (device.user.as_str(), device.device));
                    assert_eq!(named, Some((super::NAMES[self.owner.0], self.owner.1)));
                    assert!(welcome.generation > self.after_generation, "an older generation");
                    assert!(ledger.generations.insert(welcome.generation), "a generation twice");
                    assert!(!ledger.numbers.contains_key(&welcome.generation), "a message's number");
                    assert!(welcome.acknowledged >= self.floor, "a confirmation is forgotten");
                    assert!(
                        store_failed || welcome.acknowledged >= self.soft_floor,
                        "a confirmation is forgotten"
                    );
                    (self.generation, self.waiting) = (Some(welcome.generation), welcome.waiting);
                    self.heard = self.hello;
                }
                ServerFrame::Deliver(message) => self.take(message, ledger, rules, store_failed),
                ServerFrame::CaughtUp(caught_up) => {
                    assert!(self.caught_up.is_none(), "caught up twice");
                    assert!(self.last() <= caught_up.seq, "caught up before its replay was over");
                    let count = self.received.len() as u64;
                    let all = !self.is_exact || self.lied || store_failed || count >= self.waiting;
                    assert!(all, "{:?} caught up after {count} of {}", self.owner, self.waiting);
                    self.caught_up = Some((caught_up.seq, count));
                }
                ServerFrame::Pong(pong) => {
                    let heard = self.pings.remove(&pong.nonce).expect("an answer to another ping");
                    self.heard = self.heard.max(heard);
                }
                ServerFrame::Receipt(receipt) => {
                    let attempt = self.syncs.remove(&receipt.r#ref).expect("a receipt for nothing");
                    ledger.is_synced(attempt, Ok(receipt), store_failed);
                }
                ServerFrame::Error(error) if !error.r#ref.is_empty() => {
                    let attempt = self.syncs.remove(&error.r#ref).expect("an error for nothing");
                    ledger.is_synced(attempt, Err(&error.reason), store_failed);
                }
                _ => {}
            }
        }
        self.looked = device.seen.len();
    }

    fn take(&mut self, message: &Deliver, ledger: &mut Ledger, rules: &Rules, store_failed: bool) {
        assert!(self.generation.is_some(), "before the welcome");
        let number = ledger.arrives(self.owner, message);
        let seq = message.seq;
        if seq == 0 {
            let id: campanile_protocol::ids::MessageId = message.id.parse().unwrap();
            assert!(self.passing.last().is_none_or(|&last| last < id.seq), "out of order");
            return self.passing.push(id.seq);
        }
        assert!(seq > self.last(), "{:?}: {seq} after {}", self.owner, self.last());
        assert!(seq > self.floor, "{:?}: {seq} was confirmed for good: {}", self.owner, self.floor);
        assert!(store_failed || seq > self.soft_floor, "{:?}: {seq} was confirmed", self.owner);
        if let Some((caught_up, _)) = self.caught_up {
            assert!(seq > caught_up, "{seq} after it has caught up with {caught_up}");
        }
        let expires_at_ms = ledger.items[number].expires_at_ms;
        let dead = expires_at_ms > 0 && expires_at_ms <= self.dialed_ms;
        let is_new = ledger.is_under_way_since(number, self.dialed);
        assert!(!dead || is_new, "{seq} had expired before the session began");
        self.received.push(seq);
        if !self.acknowledges || seq <= self.acknowledged {
            return;
        }
        self.unacknowledged.push_back((seq, message.encode_to_vec().len()));
        let (count, bytes) = (self.unacknowledged.len(), self.unacknowledged.iter().map(|one| one.1).sum());
        let room = count <= rules.window_messages_max && rules.window_bytes_max >= bytes;
        assert!(room || count == 1, "{count} messages of {bytes} bytes are unacknowledged");
    }

    /// Acknowledges, and perhaps asks whether that was heard.
    pub(super) fn acknowledge(&mut self, device: &mut Device, seq: u64, nonce: Option<u64>) {
        device.say(&ClientFrame::Ack(Ack { seq }));
        if seq > self.last() {
            self.lied = true;
        }
        self.acknowledged = self.acknowledged.max(seq);
        self.unacknowledged.retain(|&(unacknowledged, _)| unacknowledged > seq);
        if let Some(nonce) = nonce {
            // A number below everything that it got says nothing new.
            let heard = self.received.iter().rfind(|&&received| received <= self.acknowledged);
            self.pings.insert(nonce, heard.copied().unwrap_or(0));
            device.say(&ClientFrame::Ping(Ping { nonce }));
        }
    }

    /// Acknowledges something that was never given out: it is refused.
    pub(super) fn acknowledge_absurdly(&mut self, device: &mut Device, seq: u64) {
        device.say(&ClientFrame::Ack(Ack { seq }));
        self.lied = true;
    }
}
