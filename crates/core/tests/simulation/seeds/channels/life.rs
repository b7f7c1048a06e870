//! What happens in a world of channels: people come, subscribe, publish, stall and leave, all by the seed.

use std::time::Duration;

use campanile_core::namespaces::PRESENCE_NAMESPACE;
use campanile_core::requests::RequestBody;
use campanile_core::tokens::Grants;
use campanile_engine::sim::Ending;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{
    self as frames, ChannelMessage, ClientFrame, Device, Encoding, ListMembers, Payload, Position, SetState,
    Subscribe, Unsubscribe,
};

use super::ledger::Publisher;
use super::rules::is_status;
use super::sessions::{Ask, Session};
use super::{CHANNELS, Channels, DEVICES, NAMES, Question, WITH_MESSAGES};
use crate::support::channels::{channel, everything, grants, publish_as_it_is};
use crate::support::{Entry, Targets, message, user};

/// What tokens allow: everything, or little, or channels from the beginning.
fn tokens() -> [Grants; 4] {
    [
        everything(),
        everything(),
        grants(&["skip:*", "presence:*"], &["skip:a"], &[]),
        grants(&["*"], &["*:a"], &["news", "last:c", "presence:ada"]),
    ]
}

impl Channels {
    pub(super) fn something_happens(&mut self) {
        match self.below(100) {
            0..12 => self.somebody_connects(),
            12..37 => self.is_published(),
            37..40 => {
                let time = Duration::from_millis(self.below(1_200));
                self.gateway.world.advance(time);
            }
            40..42 => self.is_disconnected(),
            42..45 => self.is_asked(),
            45..48 => self.is_pushed(),
            _ => {
                let open: Vec<usize> = (0..self.sessions.len())
                    .filter(|&number| self.gateway[self.sessions[number].at].ending == Ending::Open)
                    .collect();
                let at = self.below(open.len() as u64) as usize;
                if let Some(&session) = open.get(at) {
                    self.acts(session);
                }
            }
        }
    }

    fn somebody_connects(&mut self) {
        let owner = (self.below(NAMES.len() as u64) as usize, 1 + self.below(DEVICES) as u32);
        let grants = &tokens()[self.below(4) as usize];
        let token = self.gateway.token_with(NAMES[owner.0], owner.1, 3_600, grants);
        let encoding = [Encoding::Protobuf, Encoding::Json][self.below(2) as usize];
        let shard = self.below(self.rules.shards as u64) as usize;
        let entry = match self.below(3) {
            0 => Entry::Hello(token),
            _ => Entry::Header(token),
        };
        let at = self.gateway.enter(shard, encoding, entry);
        if self.below(8) == 0 {
            self.gateway[at].step_bytes = 1 + self.below(60) as usize;
        }
        let by_token =
            Channels::channels_of(&grants.subscribe.iter().map(|name| name.as_str()).collect::<Vec<_>>());
        self.sessions.push(Session::new(at, owner, grants.clone(), by_token));
    }

    /// A message that nobody has published before.
    fn next_message(&mut self, large: u64) -> ChannelMessage {
        let payload = match self.below(3) {
            0 => Payload::text("ü".repeat(self.below(large / 2) as usize)),
            1 => Payload::json(format!("{{\"n\":[{}]}}", self.below(large))).expect("no JSON"),
            _ => Payload::data(vec![self.below(256) as u8; self.below(large) as usize]),
        };
        let kind = self.ledger.next_kind();
        ChannelMessage { kind, payload: Some(payload), ..ChannelMessage::default() }
    }

    /// The control plane publishes to channels of one owner.
    fn is_published(&mut self) {
        let first = self.below(WITH_MESSAGES as u64) as usize;
        let owner = self.gateway.home.of_channel(&channel(CHANNELS[first]));
        let same: Vec<usize> = (0..WITH_MESSAGES)
            .filter(|&other| self.gateway.home.of_channel(&channel(CHANNELS[other])) == owner)
            .collect();
        let (count, large) = match self.below(10) {
            0 => (1 + self.below(40), 60),
            // More than leaves in one send, where it does not take for ever.
            1 if self.rules.faults.window_bytes_max > 1_000 => (1 + self.below(12), 5_000),
            1 => (1, 3_000),
            2..5 => (1 + self.below(6), 200),
            _ => (1, 100),
        };
        let (mut items, mut publishes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let to = match self.below(4) {
                0 => same[self.below(same.len() as u64) as usize],
                _ => first,
            };
            let mut message = self.next_message(large);
            if self.below(4) == 0 {
                message.from = Some(Device { user: "a publisher".into(), device: 7 });
            }
            let asked_ms = self.gateway.world.now().unix_ms;
            items.push(self.ledger.is_asked(to, Publisher::Api, message.clone(), asked_ms));
            publishes.push(publish_as_it_is(CHANNELS[to], message));
        }
        let ticket = self.gateway.ask_publish(publishes);
        self.questions.insert(ticket.0, Question::Publish(items));
    }

    fn is_disconnected(&mut self) {
        let name = NAMES[self.below(NAMES.len() as u64) as usize];
        let device = match self.below(3) {
            0 => None,
            _ => DeviceId::try_from(1 + self.below(DEVICES) as u32).ok(),
        };
        let ticket = self.gateway.ask_home(name, RequestBody::Disconnect(user(name), device));
        self.questions.insert(ticket.0, Question::Other);
    }

    /// The control plane wants to know about a channel.
    fn is_asked(&mut self) {
        let number = self.below(WITH_MESSAGES as u64) as usize;
        let name = channel(CHANNELS[number]);
        let owner = self.gateway.home.of_channel(&name);
        if self.below(2) == 0 {
            let heads = self.ledger.heads(number);
            let ticket = self.gateway.ask(owner, RequestBody::Channel(name));
            self.questions.insert(ticket.0, Question::Channel(number, heads));
            return;
        }
        let since = match self.below(2) {
            0 => None,
            _ => self
                .ledger
                .heads(number)
                .last_key_value()
                .map(|(&epoch, &head)| Position { epoch, offset: self.below(head + 1) }),
        };
        let messages_max = [2, 100][self.below(2) as usize];
        let ticket = self.gateway.ask(owner, RequestBody::History { channel: name, since, messages_max });
        self.questions.insert(ticket.0, Question::History { channel: number, since, messages_max });
    }

    fn is_pushed(&mut self) {
        let name = NAMES[self.below(NAMES.len() as u64) as usize];
        self.pushes += 1;
        let pushed = message(&format!("push {}", self.pushes));
        let ticket = self.gateway.ask_push(name, Targets::All, pushed);
        self.questions.insert(ticket.0, Question::Other);
    }

    fn acts(&mut self, session: usize) {
        let at = self.sessions[session].at;
        match self.below(40) {
            0..4 => self.gateway[at].reads = false,
            4..8 => self.gateway[at].reads = true,
            8 => self.gateway.hang_up(at, true),
            9 => self.gateway.hang_up(at, false),
            _ if !self.gateway[at].is_connected() => {}
            10 => self.gateway[at].say_close(1000),
            11..24 => self.subscribes(session),
            24..28 => self.unsubscribes(session),
            28..34 => self.publishes(session),
            34..38 => self.sets_a_state(session),
            _ => self.lists_members(session),
        }
    }

    /// A channel: often one that the session is subscribed to.
    fn a_channel(&mut self, session: usize) -> usize {
        let known: Vec<usize> = self.sessions[session].subscriptions.keys().copied().collect();
        match known.len() as u64 {
            0 => self.below(CHANNELS.len() as u64) as usize,
            count => match self.below(4) {
                0 => self.below(CHANNELS.len() as u64) as usize,
                _ => known[self.below(count) as usize],
            },
        }
    }

    fn subscribes(&mut self, session: usize) {
        let number = self.below(CHANNELS.len() as u64) as usize;
        let owner = self.sessions[session].owner;
        let (mut since, mut newest) = (None, 0);
        match self.below(6) {
            // What this device has, whichever of its sessions it got it in.
            0..3 => since = self.have.get(&(owner, number)).copied(),
            3 => newest = 1 + self.below(6) as u32,
            4 => {
                // What somebody has or claims to have.
                let heads = self.ledger.heads(number);
                since = heads.last_key_value().map(|(&epoch, &head)| Position {
                    epoch: epoch + u64::from(self.below(8) == 0),
                    offset: self.below(head + 3),
                });
            }
            _ => {}
        }
        if is_status(number) {
            (since, newest) = (None, 0);
        }
        let name = NAMES[owner.0];
        let by_grant = self.sessions[session].grants.may_subscribe(&channel(CHANNELS[number]))
            || self.rules.of(number).open;
        let (token, allowed) = match self.below(4) {
            0 => (self.gateway.subscription_token(name, CHANNELS[number], 600), true),
            _ => (String::new(), by_grant),
        };
        let r#ref = self.sessions[session].asks(Ask::Subscribe { channel: number, since, newest, allowed });
        let channel = CHANNELS[number].to_owned();
        let frame = Subscribe { r#ref, channel, token, since, newest };
        self.say(session, &ClientFrame::Subscribe(frame));
    }

    fn unsubscribes(&mut self, session: usize) {
        let number = self.a_channel(session);
        let r#ref = self.sessions[session].asks(Ask::Unsubscribe(number));
        let channel = CHANNELS[number].to_owned();
        self.say(session, &ClientFrame::Unsubscribe(Unsubscribe { r#ref, channel }));
    }

    fn publishes(&mut self, session: usize) {
        let number = self.below(WITH_MESSAGES as u64) as usize;
        for _ in 0..1 + self.below(3) {
            let message = self.next_message(120);
            let owner = self.sessions[session].owner;
            let asked_ms = self.gateway.world.now().unix_ms;
            let stamped = ChannelMessage {
                from: Some(Device { user: NAMES[owner.0].into(), device: owner.1 }),
                ..message.clone()
            };
            let item = self.ledger.is_asked(number, Publisher::Session(session), stamped, asked_ms);
            let allowed = self.sessions[session].grants.may_publish(&channel(CHANNELS[number]));
            let r#ref = self.sessions[session].asks(Ask::Publish { item, allowed });
            let (channel, ChannelMessage { kind, payload, .. }) = (CHANNELS[number].to_owned(), message);
            self.say(session, &ClientFrame::Publish(frames::Publish { r#ref, channel, kind, payload }));
        }
    }

    /// Says what the user is doing in a channel, or in general.
    fn sets_a_state(&mut self, session: usize) {
        let number = self.a_channel(session);
        let (state, channel) = if is_status(number) {
            (["away", "online", "busy"][self.below(3) as usize].to_owned(), String::new())
        } else {
            (format!("state {}", self.states.len()), CHANNELS[number].to_owned())
        };
        if channel.is_empty() {
            self.sessions[session].said.insert(state.clone());
        } else {
            self.states.insert(state.clone(), (self.sessions[session].owner, number));
        }
        let r#ref = self.sessions[session].asks(Ask::State(number));
        self.say(session, &ClientFrame::SetState(SetState { r#ref, channel, state }));
    }

    fn lists_members(&mut self, session: usize) {
        let number = self.a_channel(session);
        if CHANNELS[number].starts_with(PRESENCE_NAMESPACE) {
            return;
        }
        let r#ref = self.sessions[session].asks(Ask::Members(number));
        let channel = CHANNELS[number].to_owned();
        self.say(session, &ClientFrame::ListMembers(ListMembers { r#ref, channel }));
    }

    fn say(&mut self, session: usize, frame: &ClientFrame) {
        let at = self.sessions[session].at;
        self.gateway[at].say(frame);
    }
}
