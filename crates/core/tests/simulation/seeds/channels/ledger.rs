//! What was published where: each message has one place, and each place one message.

use std::collections::{BTreeMap, HashMap};

use campanile_protocol::messages::{ChannelMessage, Position};

/// Who publishes: their messages keep their order.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Publisher {
    /// The control plane, which asks the owner of a channel.
    Api,
    /// A session, by its number.
    Session(usize),
}

/// What is known of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Refused,
    At(Position),
}

pub(super) struct Item {
    pub(super) channel: usize,
    publisher: Publisher,
    /// Without what the owner fills in.
    message: ChannelMessage,
    pub(super) asked_ms: u64,
    fate: Fate,
}

impl Item {
    /// At least what a log needs for it, in every encoding.
    pub(super) fn bytes(&self) -> usize {
        let payload = self.message.payload.as_ref().map_or(0, |payload| payload.content_bytes());
        400 + 3 * payload
    }
}

/// Every message that was asked for.
#[derive(Default)]
pub(super) struct Ledger {
    items: Vec<Item>,
    by_kind: HashMap<String, usize>,
    /// By channel and epoch: which message has which offset.
    places: BTreeMap<(usize, u64), BTreeMap<u64, usize>>,
}

impl Ledger {
    /// The kind of the next message, which no other has.
    pub(super) fn next_kind(&self) -> String {
        format!("m{}", self.items.len())
    }

    /// A message is asked for. Its kind is the one that was next.
    pub(super) fn is_asked(
        &mut self,
        channel: usize,
        publisher: Publisher,
        message: ChannelMessage,
        asked_ms: u64,
    ) -> usize {
        self.by_kind.insert(message.kind.clone(), self.items.len());
        self.items.push(Item { channel, publisher, message, asked_ms, fate: Fate::Unknown });
        self.items.len() - 1
    }

    pub(super) fn is_refused(&mut self, item: usize) {
        assert_eq!(self.items[item].fate, Fate::Unknown, "{item} is refused and was published");
        self.items[item].fate = Fate::Refused;
    }

    /// Its publisher hears where a message is.
    pub(super) fn is_published(&mut self, item: usize, position: Position) {
        assert!(position.epoch > 0 && position.offset > 0, "published at {position:?}");
        let Item { channel, fate, .. } = &mut self.items[item];
        match *fate {
            Fate::Unknown => *fate = Fate::At(position),
            Fate::At(known) => assert_eq!(known, position, "message {item} has two places"),
            Fate::Refused => panic!("message {item} was refused and is at {position:?}"),
        }
        let places = self.places.entry((*channel, position.epoch)).or_default();
        let before = *places.entry(position.offset).or_insert(item);
        assert_eq!(before, item, "two messages at {position:?} of channel {channel}");
    }

    /// Somebody got a message.
    pub(super) fn arrives(&mut self, channel: usize, epoch: u64, message: &ChannelMessage) {
        let Some(&item) = self.by_kind.get(&message.kind) else { panic!("nobody published {message:?}") };
        let known = &self.items[item];
        assert_eq!(known.channel, channel, "a message of another channel: {message:?}");
        assert!(message.sent_at_ms > 0, "sent at no time: {message:?}");
        let ChannelMessage { channel: name, offset, sent_at_ms, .. } = message.clone();
        let expected = ChannelMessage { channel: name, offset, sent_at_ms, ..known.message.clone() };
        assert_eq!(*message, expected, "not what was published");
        self.is_published(item, Position { epoch, offset: message.offset });
    }

    /// The highest offset of a channel's epoch that is known.
    pub(super) fn head(&self, channel: usize, epoch: u64) -> u64 {
        let places = self.places.get(&(channel, epoch));
        places.and_then(|places| places.keys().next_back().copied()).unwrap_or_default()
    }

    /// The highest offset that is known, by epoch.
    pub(super) fn heads(&self, channel: usize) -> BTreeMap<u64, u64> {
        let epochs = self.places.range((channel, 0)..=(channel, u64::MAX));
        epochs.map(|(&(_, epoch), _)| (epoch, self.head(channel, epoch))).collect()
    }

    /// The messages of a channel's epoch after one offset up to another, if all of them are known.
    pub(super) fn between(&self, channel: usize, epoch: u64, after: u64, up_to: u64) -> Option<Vec<&Item>> {
        let places = self.places.get(&(channel, epoch))?;
        let items: Vec<&Item> = places.range(after + 1..=up_to).map(|(_, &item)| &self.items[item]).collect();
        (items.len() as u64 == up_to - after).then_some(items)
    }

    /// Nothing is under way any more: offsets start at 1 and none is left out, and everybody's messages are in the
    /// order in which they were asked for.
    pub(super) fn check(&self) {
        let mut unknown: BTreeMap<usize, u64> = BTreeMap::new();
        let mut last: BTreeMap<(Publisher, usize), Vec<(usize, Position)>> = BTreeMap::new();
        for (number, item) in self.items.iter().enumerate() {
            match item.fate {
                Fate::Unknown if item.publisher == Publisher::Api => panic!("{number} is not answered"),
                Fate::Unknown => *unknown.entry(item.channel).or_default() += 1,
                Fate::Refused => {}
                Fate::At(position) => {
                    last.entry((item.publisher, item.channel)).or_default().push((number, position));
                }
            }
        }
        for ((channel, epoch), places) in &self.places {
            let holes = self.head(*channel, *epoch) - places.len() as u64;
            let unknown = unknown.get(channel).copied().unwrap_or_default();
            assert!(holes <= unknown, "channel {channel}, epoch {epoch}: {holes} numbers of nothing");
        }
        for ((publisher, channel), positions) in last {
            let mut epochs = Vec::new();
            for (before, after) in positions.iter().zip(&positions[1..]) {
                let (one, other) = (before.1, after.1);
                if one.epoch == other.epoch {
                    assert!(
                        one.offset < other.offset,
                        "{publisher:?}, channel {channel}: {before:?} and {after:?} changed places"
                    );
                } else {
                    epochs.push(one.epoch);
                    assert!(!epochs.contains(&other.epoch), "epoch {} came back", other.epoch);
                }
            }
        }
    }

    /// How many messages were asked for, refused, and placed, and in how many epochs.
    pub(super) fn summary(&self) -> String {
        let count = |wanted: fn(&Fate) -> bool| self.items.iter().filter(|item| wanted(&item.fate)).count();
        format!(
            "{} messages, {} refused, {} placed in {} epochs",
            self.items.len(),
            count(|fate| *fate == Fate::Refused),
            count(|fate| matches!(fate, Fate::At(_))),
            self.places.len()
        )
    }
}
