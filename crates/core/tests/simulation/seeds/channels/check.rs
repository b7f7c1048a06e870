//! What must hold when everybody reads and nothing is under way any more.

use std::collections::BTreeSet;
use std::time::Duration;

use campanile_core::namespaces::SlowPolicy;
use campanile_core::requests::ChannelHistory;
use campanile_engine::sim::{Ending, Faults};
use campanile_protocol::messages::{ClientFrame, ListMembers, Position, ServerFrame};

use super::rules::{FORGOTTEN_AFTER, is_status};
use super::sessions::{Ask, Session};
use super::{CHANNELS, Channels, NAMES, WITH_MESSAGES};
use crate::support::Device;

impl Channels {
    /// The network behaves and everybody reads, until nothing is under way.
    pub(super) fn comes_to_rest(&mut self) {
        self.gateway.world.set_faults(Faults::NONE);
        for device in &mut self.gateway.devices {
            (device.reads, device.step_bytes) = (true, usize::MAX);
        }
        // Beyond what a status takes to change, and a ping of who is no longer there.
        let settled = self.rules.namespaces.offline_after + Duration::from_secs(1);
        self.wait(settled);
        let deadline = self.gateway.world.time() + Duration::from_secs(300);
        let mut quiet = 0;
        while quiet < 4 {
            assert!(self.gateway.world.time() < deadline, "the world does not come to rest");
            // Between two sends of a few bytes it only seems quiet.
            let before = self.pieces();
            self.wait(Duration::from_millis(100));
            quiet = if self.is_busy() || self.pieces() > before { 0 } else { quiet + 1 };
        }
        // What came late may have changed a status again.
        self.wait(settled);
    }

    /// How often something has arrived anywhere.
    fn pieces(&self) -> usize {
        self.gateway.devices.iter().map(|device| device.pieces.len()).sum()
    }

    /// Whether bytes are under way in either direction, or something is not answered.
    fn is_busy(&mut self) -> bool {
        let shards = 0..self.rules.shards;
        let blocked: usize = shards.map(|shard| self.gateway.world.core(shard).blocked()).sum();
        let talks = |device: &Device| device.ending == Ending::Open && !device.outgoing.is_empty();
        blocked > 0
            || self.gateway.count("bytes_held") > 0
            || self.gateway.unanswered() > 0
            || self.gateway.devices.iter().any(talks)
    }

    pub(super) fn check(&mut self) {
        assert!(self.questions.is_empty(), "questions without an answer");
        for session in self.live_sessions() {
            // Of a state that is told nothing is heard.
            let open: Vec<_> =
                session.asked.iter().filter(|(_, ask)| !matches!(ask, Ask::State(_))).collect();
            assert!(open.is_empty(), "session {} has no answer: {open:?}", session.at);
            let begun = session.by_token.len() == session.by_token_refused;
            assert!(begun, "session {} has not begun: {:?}", session.at, session.by_token);
        }
        self.ledger.check();
        self.check_closes();
        for number in 0..WITH_MESSAGES {
            self.check_channel(number);
        }
        for number in WITH_MESSAGES..CHANNELS.len() {
            self.check_status(number);
        }
        self.check_members();
    }

    /// Nobody is disconnected for being slow, but from channels that say so.
    fn check_closes(&self) {
        for session in &self.sessions {
            let closed = self.gateway[session.at].closed.as_ref();
            let slow = closed.is_some_and(|(code, reason)| *code == 1008 && reason.contains("channel"));
            let strict = session.ever.iter().any(|&channel| self.rules.of(channel).slow == SlowPolicy::Close);
            assert!(!slow || (strict && !self.rules.everybody_keeps_up()), "session {}", session.at);
        }
    }

    /// Every subscriber has reached the head of a channel.
    fn check_channel(&mut self, number: usize) {
        let (part, history) = self.gateway.channel_with_history(CHANNELS[number]);
        let mut subscribers = 0;
        for session in self.live_sessions() {
            let Some(subscription) = session.subscriptions.get(&number) else { continue };
            subscribers += 1;
            let reached = Position { epoch: subscription.epoch, offset: subscription.reached() };
            assert_eq!(Some(reached), part.position, "session {} in {}", session.at, CHANNELS[number]);
        }
        assert_eq!(part.subscribers, subscribers, "subscribers of {}", CHANNELS[number]);
        if let Some(position) = part.position {
            let known = self.ledger.head(number, position.epoch);
            assert!(known <= position.offset, "{}: {known} is beyond {position:?}", CHANNELS[number]);
        }
        let most = self.rules.of(number).history_messages_max;
        assert!(part.history_messages <= most, "{} messages in the history", part.history_messages);
        self.sees_history(number, None, usize::MAX, &history);
        assert_eq!(history.position, part.position);
        assert_eq!(history.messages.len(), part.history_messages as usize);
    }

    /// A page of a history.
    pub(super) fn sees_history(
        &mut self,
        channel: usize,
        since: Option<Position>,
        messages_max: usize,
        history: &ChannelHistory,
    ) {
        let most = self.rules.of(channel).history_messages_max as usize;
        assert!(history.messages.len() <= messages_max.min(most), "{} messages", history.messages.len());
        let Some(position) = history.position else {
            return assert!(history.messages.is_empty(), "messages of a channel that is not known");
        };
        for message in &history.messages {
            self.ledger.arrives(channel, position.epoch, message);
        }
        let offsets: Vec<u64> = history.messages.iter().map(|message| message.offset).collect();
        assert!(offsets.windows(2).all(|two| two[0] + 1 == two[1]), "a hole in a history: {offsets:?}");
        let full = offsets.len() == messages_max;
        if let Some(&last) = offsets.last().filter(|_| !full || since.is_none()) {
            assert_eq!(last, position.offset, "the newest are not in the history");
        }
        if let Some(since) = since.filter(|_| history.complete) {
            assert_eq!(since.epoch, position.epoch, "complete since another epoch");
            assert!(offsets.first().is_none_or(|&first| first == since.offset + 1), "{since:?}: {offsets:?}");
            assert!(!offsets.is_empty() || since.offset >= position.offset, "{since:?}: nothing is there");
        }
    }

    /// Every subscriber of a status knows what it is.
    fn check_status(&mut self, number: usize) {
        let Some(name) = CHANNELS[number].split_once(':').map(|(_, name)| name) else { return };
        let of_user = |session: &&Session| NAMES[session.owner.0] == name;
        let connected = self.live_sessions().any(|session| of_user(&session));
        // What one session said holds until the user's last session has ended.
        let said = self.sessions.iter().filter(of_user);
        let set: BTreeSet<&str> =
            said.flat_map(|session| session.said.iter().map(|state| state.as_str())).collect();
        for session in self.live_sessions() {
            let Some(subscription) = session.subscriptions.get(&number) else { continue };
            let state = subscription.state.as_deref();
            let right = if connected {
                state.is_some_and(|state| state == "online" || set.contains(state))
            } else {
                state == Some("offline")
            };
            assert!(right, "session {}: {} is said to be {state:?}: {set:?}", session.at, CHANNELS[number]);
        }
    }

    /// Whoever asks for the members of a channel is told how many there are.
    fn check_members(&mut self) {
        let asks: Vec<(usize, usize)> = (0..WITH_MESSAGES)
            .filter(|&number| self.rules.of(number).members)
            .filter_map(|number| {
                let asker = self.live_sessions().find(|session| session.subscriptions.contains_key(&number));
                asker.map(|session| (number, session.at))
            })
            .collect();
        for (number, at) in asks {
            let mut expected: Vec<(&str, u32)> = self
                .live_sessions()
                .filter(|session| session.subscriptions.contains_key(&number))
                .map(|session| (NAMES[session.owner.0], session.owner.1))
                .collect();
            expected.sort_unstable();
            let channel = CHANNELS[number].to_owned();
            let list = ListMembers { r#ref: "finally".to_owned(), channel };
            self.gateway[at].say(&ClientFrame::ListMembers(list));
            // The slowest takes a few bytes at a time.
            for _ in 0..200 {
                self.gateway.settle();
                let told = self.gateway[at].frames().last().is_some_and(|frame| {
                    matches!(frame, ServerFrame::Members(members)
                        if members.r#ref == "finally")
                });
                if told {
                    break;
                }
            }
            assert_eq!(
                self.gateway[at].members(CHANNELS[number]),
                Some((expected.len() as u32, expected)),
                "members of {}",
                CHANNELS[number]
            );
        }
    }

    /// Everybody leaves or is sent away; after a while nothing is left.
    pub(super) fn ends(mut self) {
        let drained = self.below(3) == 0;
        if drained {
            self.gateway.drain(500);
            self.gateway.wait(Duration::from_secs(6));
            assert!(!self.gateway.world.step(), "a drained shard still runs");
            // The channels of a node that has ended go with it.
            assert_eq!(self.gateway.count("subscriptions"), 0);
            assert_eq!((self.gateway.count("sessions"), self.gateway.count("bytes_held")), (0, 0));
            assert_eq!(self.gateway.unanswered(), 0, "questions without an answer");
        } else {
            for at in 0..self.gateway.devices.len() {
                let reset = self.below(2) == 0;
                self.gateway.hang_up(at, reset);
            }
            self.gateway.wait(Duration::from_secs(2));
            // What is kept for those who return is kept no longer.
            for _ in 0..3 {
                // If the clock went back, messages are of the future for a while.
                self.gateway.world.advance(20 * FORGOTTEN_AFTER);
                self.gateway.settle();
            }
            for (number, name) in CHANNELS.iter().enumerate() {
                if !is_status(number) {
                    let part = self.gateway.channel(name);
                    assert_eq!(part.position, None, "{name} is not forgotten");
                }
            }
            self.gateway.assert_empty();
        }
    }
}
