//! What one session asked and saw, and whether it may be so.

use std::collections::{BTreeMap, BTreeSet};

use campanile_core::tokens::Grants;
use campanile_protocol::messages::{
    ChannelMessage, Error, Event, Gap, Position, ServerFrame, Subscribed, Unsubscribed,
};

use super::ledger::Ledger;
use super::rules::{CHANNELS, Rules, is_status};
use crate::support::{Device, Seen};

/// What a session asked for and has not heard about, by the name of its frame.
#[derive(Debug)]
pub(super) enum Ask {
    Subscribe { channel: usize, since: Option<Position>, newest: u32, allowed: bool },
    Unsubscribe(usize),
    Publish { item: usize, allowed: bool },
    State(usize),
    Members(usize),
}

impl Ask {
    /// The channel, if it is one of those that begin and end subscriptions.
    fn changes(&self) -> Option<usize> {
        match *self {
            Ask::Subscribe { channel, .. } | Ask::Unsubscribe(channel) => Some(channel),
            _ => None,
        }
    }
}

/// Which message comes next.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Next {
    Exactly(u64),
    /// One of the newest, but no older than this, up to the first new one.
    Between(u64, u64),
}

/// A subscription that has begun.
pub(super) struct Subscription {
    pub(super) epoch: u64,
    next: Next,
    /// What a status was said to be.
    pub(super) state: Option<String>,
    /// The states that it was told of, each of which is said once.
    states: BTreeSet<String>,
}

impl Subscription {
    /// The offset that it has reached.
    pub(super) fn reached(&self) -> u64 {
        match self.next {
            Next::Exactly(next) => next - 1,
            // Nothing came: there was nothing.
            Next::Between(_, new) => new - 1,
        }
    }
}

/// The life of one connection.
pub(super) struct Session {
    /// The index of the device.
    pub(super) at: usize,
    /// Of which user, and which of its devices.
    pub(super) owner: (usize, u32),
    pub(super) subscriptions: BTreeMap<usize, Subscription>,
    pub(super) asked: BTreeMap<String, Ask>,
    /// Channels that the token subscribes to and that have not begun.
    pub(super) by_token: BTreeSet<usize>,
    /// How many of them were refused.
    pub(super) by_token_refused: usize,
    /// Channels whose subscribe was refused because they are not wanted any more, which is about to be confirmed.
    taken_back: BTreeSet<usize>,
    /// Channels that it has been subscribed to.
    pub(super) ever: BTreeSet<usize>,
    /// What its token allows.
    pub(super) grants: Grants,
    /// What it said that its user is doing.
    pub(super) said: BTreeSet<String>,
    /// How many of the things that it saw were looked at.
    looked_at: usize,
    asks: u32,
}

/// What is known beside the session.
pub(super) struct World<'a> {
    pub(super) rules: &'a Rules,
    pub(super) ledger: &'a mut Ledger,
    /// Who set a state where: the device's owner and the channel, by the state.
    pub(super) states: &'a BTreeMap<String, ((usize, u32), usize)>,
    /// What each device has of each channel, whichever session it got it in.
    pub(super) have: &'a mut BTreeMap<((usize, u32), usize), Position>,
    pub(super) now_ms: u64,
}

impl Session {
    pub(super) fn new(at: usize, owner: (usize, u32), grants: Grants, by_token: BTreeSet<usize>) -> Session {
        Session {
            at,
            owner,
            subscriptions: BTreeMap::new(),
            asked: BTreeMap::new(),
            by_token,
            by_token_refused: 0,
            taken_back: BTreeSet::new(),
            ever: BTreeSet::new(),
            grants,
            said: BTreeSet::new(),
            looked_at: 0,
            asks: 0,
        }
    }

    /// A name for the next frame.
    pub(super) fn asks(&mut self, ask: Ask) -> String {
        self.asks += 1;
        let name = format!("ask {}", self.asks);
        self.asked.insert(name.clone(), ask);
        name
    }

    /// Whether it is uncertain if the session is subscribed to a channel.
    fn is_uncertain(&self, channel: usize) -> bool {
        self.by_token.contains(&channel) || self.asked.values().any(|ask| ask.changes() == Some(channel))
    }

    /// Takes what has come.
    pub(super) fn look(&mut self, device: &Device, mut world: World<'_>) {
        while let Some(seen) = device.seen.get(self.looked_at) {
            self.looked_at += 1;
            let Seen::Frame(frame) = seen else { continue };
            match frame {
                ServerFrame::Subscribed(subscribed) => self.begins(subscribed, &mut world),
                ServerFrame::ChannelMessage(message) => self.gets(message, &mut world),
                ServerFrame::Gap(gap) => self.misses(gap, world.rules),
                ServerFrame::Unsubscribed(unsubscribed) => self.ends(unsubscribed),
                ServerFrame::Published(published) => {
                    let Some(Ask::Publish { item, allowed }) = self.asked.remove(&published.r#ref) else {
                        panic!("nobody asked for {published:?}")
                    };
                    assert!(allowed, "published without a grant");
                    world.ledger.is_published(item, published.position.expect("published nowhere"));
                }
                ServerFrame::Members(members) => {
                    let asked = self.asked.remove(&members.r#ref);
                    assert!(matches!(asked, Some(Ask::Members(_))), "nobody asked for {members:?}");
                    let Some(Ask::Members(channel)) = asked else { return };
                    assert!(world.rules.of(channel).members, "members of channel {channel}");
                    assert!(members.members.len() <= members.count as usize, "{members:?}");
                }
                ServerFrame::Error(error) => self.is_refused(error, &mut world),
                ServerFrame::Event(event) => self.hears(event, &world),
                _ => {}
            }
        }
    }

    fn begins(&mut self, subscribed: &Subscribed, world: &mut World<'_>) {
        let channel = number(&subscribed.channel);
        let (since, newest) = match self.asked.remove(&subscribed.r#ref) {
            Some(Ask::Subscribe { channel: meant, since, newest, allowed }) => {
                assert_eq!(meant, channel, "another channel");
                assert!(allowed, "channel {channel} is not allowed");
                (since, newest)
            }
            None if subscribed.r#ref.is_empty() && self.by_token.remove(&channel) => (None, 0),
            other => panic!("{other:?} is answered with {subscribed:?}"),
        };
        let mut begun =
            Subscription { epoch: 0, next: Next::Exactly(1), state: None, states: BTreeSet::new() };
        if !is_status(channel) {
            let position = subscribed.position.expect("a subscription without a position");
            assert!(position.epoch > 0, "no epoch");
            begun.epoch = position.epoch;
            let history = u64::from(world.rules.of(channel).history_messages_max);
            let newest = u64::from(newest);
            begun.next = match since {
                Some(since) if subscribed.recovered => {
                    assert_eq!(since.epoch, position.epoch, "recovered from another epoch");
                    let missed = position.offset.checked_sub(since.offset).expect("recovered from beyond");
                    assert!(missed <= history, "{missed} messages out of a history of {history}");
                    Next::Exactly(since.offset + 1)
                }
                None if newest.min(history) > 0 => {
                    let newest = newest.min(history);
                    let oldest = position.offset.saturating_sub(newest) + 1;
                    if self.kept(channel, position, newest, world) {
                        Next::Exactly(oldest)
                    } else {
                        Next::Between(oldest, position.offset + 1)
                    }
                }
                _ => Next::Exactly(position.offset + 1),
            };
            if let Some(since) = since.filter(|since| since.epoch == position.epoch) {
                let there = since.offset <= position.offset
                    && self.kept(channel, position, position.offset - since.offset, world);
                assert!(subscribed.recovered || !there, "{since:?} could be recovered: {subscribed:?}");
            }
            assert!(since.is_some() || !subscribed.recovered, "recovered from nowhere");
        }
        self.ever.insert(channel);
        let before = self.subscriptions.insert(channel, begun);
        assert!(before.is_none(), "subscribed to channel {channel} twice");
    }

    /// Whether so many messages up to a position are in the history for certain.
    fn kept(&self, channel: usize, position: Position, newest: u64, world: &World<'_>) -> bool {
        let rules = world.rules;
        let newest = newest.min(position.offset);
        if newest == 0 {
            return true;
        }
        let after = position.offset - newest;
        let Some(items) = world.ledger.between(channel, position.epoch, after, position.offset) else {
            return false;
        };
        let namespace = rules.of(channel);
        let oldest_ms = items.iter().map(|item| item.asked_ms).min().unwrap_or_default();
        let bytes: usize = items.iter().map(|item| item.bytes()).sum();
        // It may have been decided long before the answer came, and the history does not tell milliseconds apart.
        items.len() <= namespace.history_messages_max as usize
            && world.now_ms.saturating_sub(oldest_ms) + 50 < namespace.history_ttl.as_millis() as u64
            && bytes <= namespace.log_bytes_max
            && !rules.crowded
            && !rules.jumps()
    }

    fn gets(&mut self, message: &ChannelMessage, world: &mut World<'_>) {
        let channel = number(&message.channel);
        assert!(!is_status(channel), "a message of a status: {message:?}");
        let Some(subscription) = self.subscriptions.get_mut(&channel) else {
            panic!("not subscribed: {message:?}")
        };
        let fits = match subscription.next {
            Next::Exactly(next) => message.offset == next,
            Next::Between(oldest, new) => (oldest..=new).contains(&message.offset),
        };
        assert!(fits, "{:?} comes next, not {message:?}", subscription.next);
        subscription.next = Next::Exactly(message.offset + 1);
        world.ledger.arrives(channel, subscription.epoch, message);
        let position = Position { epoch: subscription.epoch, offset: message.offset };
        world.have.insert((self.owner, channel), position);
    }

    fn misses(&mut self, gap: &Gap, rules: &Rules) {
        let channel = number(&gap.channel);
        let Some(subscription) = self.subscriptions.get_mut(&channel) else {
            panic!("not subscribed: {gap:?}")
        };
        assert!(!rules.everybody_keeps_up(), "nobody is too slow here: {gap:?}");
        // Whoever keeps up may be overrun: the lanes are tiny, and so are some logs.
        let reason = Some(gap.reason.as_str());
        assert!(reason == Some("overrun") || reason == rules.gap_reason(channel), "in {channel}: {gap:?}");
        let (oldest, newest) = match subscription.next {
            Next::Exactly(next) => (next, next),
            Next::Between(oldest, new) => (oldest, new),
        };
        // Nothing may be missing, if all that the log has lost is what users were doing.
        assert!(gap.until + 1 >= oldest, "before {newest} there is nothing to tell: {gap:?}");
        subscription.next = Next::Exactly(gap.until + 1);
    }

    fn ends(&mut self, unsubscribed: &Unsubscribed) {
        let channel = number(&unsubscribed.channel);
        let asked = self.asked.remove(&unsubscribed.r#ref);
        assert!(
            matches!(asked, Some(Ask::Unsubscribe(meant)) if meant == channel),
            "{asked:?} is answered with {unsubscribed:?}"
        );
        let ended = self.subscriptions.remove(&channel).is_some();
        // What has not begun may be taken back.
        let taken_back = self.by_token.remove(&channel) || self.taken_back.remove(&channel);
        assert!(ended || taken_back, "not subscribed: {unsubscribed:?}");
    }

    fn is_refused(&mut self, error: &Error, world: &mut World<'_>) {
        let rules = world.rules;
        if error.r#ref.is_empty() {
            // What the token asks for has no name.
            self.by_token_refused += 1;
            let right = error.reason == "too_many_channels" && rules.few_channels();
            return assert!(right && self.by_token_refused <= self.by_token.len(), "{error:?}");
        }
        let Some(asked) = self.asked.remove(&error.r#ref) else { panic!("nobody asked for {error:?}") };
        let right = match (&asked, error.reason.as_str()) {
            (Ask::Subscribe { allowed, .. }, "channel_forbidden") => !allowed,
            (Ask::Subscribe { channel, .. }, "already_subscribed") => {
                self.subscriptions.contains_key(channel) || self.is_uncertain(*channel)
            }
            (Ask::Subscribe { .. }, "too_many_subscriptions") => {
                let pending = self.asked.values().filter(|ask| ask.changes().is_some()).count();
                let most = self.subscriptions.len() + pending + self.by_token.len();
                most >= rules.namespaces.subscriptions_per_session_max as usize
            }
            (Ask::Subscribe { .. } | Ask::Publish { .. }, "too_many_channels") => rules.few_channels(),
            // It was taken back before it began.
            (Ask::Subscribe { channel, .. }, "not_subscribed") => {
                self.asked.values().any(|ask| matches!(ask, Ask::Unsubscribe(other) if other == channel))
            }
            (Ask::Unsubscribe(channel), "not_subscribed") => {
                !self.subscriptions.contains_key(channel) || self.is_uncertain(*channel)
            }
            (Ask::Publish { item, allowed }, "channel_forbidden") => {
                world.ledger.is_refused(*item);
                !allowed
            }
            (Ask::Publish { item, .. }, "publish_too_fast") => {
                world.ledger.is_refused(*item);
                rules.patient
            }
            (Ask::Publish { item, .. }, "overloaded") => {
                world.ledger.is_refused(*item);
                rules.has_little_room()
            }
            (Ask::State(_), "publish_too_fast") => rules.patient,
            (Ask::State(channel) | Ask::Members(channel), "not_subscribed") => {
                !self.subscriptions.contains_key(channel) || self.is_uncertain(*channel)
            }
            (Ask::Members(channel), "members_disabled") => !rules.of(*channel).members,
            _ => false,
        };
        assert!(right, "{asked:?} is answered with {error:?}");
        if let (Ask::Subscribe { channel, .. }, "not_subscribed") = (&asked, error.reason.as_str()) {
            self.taken_back.insert(*channel);
        }
        if let (Ask::Publish { item, .. }, "too_many_channels") = (&asked, error.reason.as_str()) {
            world.ledger.is_refused(*item);
        }
    }

    fn hears(&mut self, event: &Event, world: &World<'_>) {
        assert_eq!(event.name, "presence:update");
        let channel = number(&event.channel);
        let Some(subscription) = self.subscriptions.get_mut(&channel) else {
            panic!("not subscribed: {event:?}")
        };
        let from = event.from.as_ref().expect("nobody's state");
        if is_status(channel) {
            assert_eq!(CHANNELS[channel], format!("presence:{}", from.user), "another user's status");
            subscription.state = Some(event.state.clone());
            return;
        }
        let Some((owner, meant)) = world.states.get(&event.state) else { panic!("nobody set {event:?}") };
        assert_eq!(*meant, channel, "a state of another channel: {event:?}");
        assert_eq!((super::NAMES[owner.0], owner.1), (from.user.as_str(), from.device), "{event:?}");
        assert!(subscription.states.insert(event.state.clone()), "twice: {event:?}");
    }
}

fn number(channel: &str) -> usize {
    CHANNELS.iter().position(|name| *name == channel).unwrap_or_else(|| panic!("no channel {channel}"))
}
