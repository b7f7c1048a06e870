//! Requests of the control plane.

use campanile_protocol::frame::close_code;
use campanile_protocol::ids::{DeviceId, UserId};

use super::jobs::{Asker, Place};
use super::requests::{Answer, Durability, Push, Request, RequestBody};
use super::storage::Awaiting;
use super::{Draining, REQUESTS_PER_TURN_MAX, SENDS_PER_TURN, Shard};
use campanile_mailbox::operations::{Operation, Registration};

/// Bytes of messages that one page for a device that polls may have, beyond its first message.
const LIST_BYTES_MAX: usize = 1024 * 1024;

/// Messages appended to the logs of channels that cost about as much as one send.
const PUBLISHES_PER_SEND: usize = 4;
/// Sends that cost about as much as looking through a channel's members or history.
const SENDS_PER_LOOK: usize = 32;

impl Shard {
    /// Whether requests wait, or the rest of one.
    pub(super) fn has_requests(&self) -> bool {
        self.inbox.has_mail() || !self.pushing.as_slice().is_empty()
    }

    /// Takes requests, as many as one turn may. Whether the shard is to stop at once, and how many sends there were.
    pub(super) fn take_requests(&mut self) -> (bool, usize) {
        let (mut stop, mut sends) = (false, 0);
        for _ in 0..REQUESTS_PER_TURN_MAX {
            sends += self.push_slice(SENDS_PER_TURN.saturating_sub(sends));
            if !self.pushing.as_slice().is_empty() || sends >= SENDS_PER_TURN {
                break;
            }
            let Some(request) = self.inbox.take() else { break };
            sends += match &request.body {
                RequestBody::Publish(messages) => 1 + messages.len() / PUBLISHES_PER_SEND,
                RequestBody::Channel(_) | RequestBody::History { .. } => SENDS_PER_LOOK,
                _ => 0,
            };
            stop |= self.take_request(request);
        }
        (stop, sends)
    }

    /// Executes pushes of the last request until about so many sends; one that reaches nobody counts as one. How many
    /// there were.
    fn push_slice(&mut self, sends_max: usize) -> usize {
        let mut sends = 0;
        while sends < sends_max {
            let before = self.sends_of_pushes;
            let Some(push) = self.pushing.next() else { break };
            let place = self.pushing_at;
            let given_back = match push.durability {
                Durability::Ephemeral => self.push_ephemeral(place, push).err(),
                Durability::Durable => {
                    self.push_durable(place, push);
                    None
                }
            };
            if let Some(push) = given_back {
                let rest: Vec<Push> = std::iter::once(push).chain(self.pushing.by_ref()).collect();
                self.pushing = rest.into_iter();
                break;
            }
            self.pushing_at.index += 1;
            sends += (self.sends_of_pushes - before).max(1);
        }
        sends
    }

    /// Whether the shard is to stop at once.
    fn take_request(&mut self, request: Request) -> bool {
        let Request { ticket, bell, body } = request;
        let asker = Asker::Control(ticket, bell);
        match body {
            RequestBody::Push(pushes) => {
                let job = self.begin_job(asker, pushes.len());
                self.pushing_at = Place { job, index: 0 };
                self.pushing = pushes.into_iter();
            }
            RequestBody::Broadcast(event) => self.begin_broadcast(asker, &event),
            RequestBody::Publish(messages) => {
                let published = messages.into_iter().map(|message| self.publish(message)).collect();
                self.reply(asker, Answer::Published(published));
            }
            RequestBody::Channel(channel) => {
                let part = self.channel_part(&channel);
                self.reply(asker, Answer::Channel(part));
            }
            RequestBody::History { channel, since, messages_max } => {
                let history = self.channel_history(&channel, since, messages_max);
                self.reply(asker, Answer::History(history));
            }
            RequestBody::Devices(user) => {
                let tag = self.storage.await_answer(Awaiting::Devices { asker, user: user.clone() });
                self.storage.ask(Operation::User(tag, user));
            }
            RequestBody::Register(user, device) => {
                let tag = self.storage.await_answer(Awaiting::Register { asker, user: user.clone() });
                let devices_max = self.settings.limits.devices_per_user_max;
                let registration = Registration { user, device, devices_max, now_ms: self.now.unix_ms };
                self.storage.ask(Operation::Register(tag, registration));
            }
            RequestBody::List { address, after, messages_max } => {
                self.flush_trims();
                let tag = self.storage.await_answer(Awaiting::Mail { asker });
                let bytes_max = LIST_BYTES_MAX;
                self.storage.ask(Operation::Read { tag, address, after, messages_max, bytes_max });
            }
            RequestBody::Fetch(address, id) if id.epoch == self.settings.epoch => {
                self.flush_trims();
                let tag = self.storage.await_answer(Awaiting::Mail { asker });
                self.storage.ask(Operation::Fetch(tag, address, id.seq));
            }
            RequestBody::Fetch(..) => self.reply(asker, Answer::Fetched(Ok(None))),
            RequestBody::Confirm(address, id) if id.epoch == self.settings.epoch => {
                let tag = self.storage.await_answer(Awaiting::Mail { asker });
                self.storage.ask(Operation::Remove(tag, address, id.seq));
            }
            RequestBody::Confirm(..) => self.reply(asker, Answer::Confirmed(Ok(false))),
            RequestBody::Disconnect(user, device) => {
                let disconnected = self.disconnect(&user, device);
                self.reply(asker, Answer::Disconnected(disconnected));
            }
            RequestBody::Drain { reconnect_within_ms } => {
                if self.draining.is_none() {
                    // It goes on accepting: whoever still comes is told to go elsewhere, instead of waiting in the
                    // listener's backlog until the process ends.
                    self.draining = Some(Draining { reconnect_within_ms });
                    self.begin_drain();
                }
                self.reply(asker, Answer::Draining);
            }
            RequestBody::Stop => {
                self.reply(asker, Answer::Draining);
                return true;
            }
        }
        false
    }

    /// The shard ends: what waits in its queue is still taken, so that it is stored; whoever has no answer by then is
    /// told that the node is stopping.
    pub(super) fn answer_the_rest(&mut self) {
        loop {
            // What is sent now is cut off; what is given back finds nobody.
            self.push_slice(usize::MAX);
            self.pushing = Vec::new().into_iter();
            let Some(request) = self.inbox.take() else { break };
            self.take_request(request);
        }
        self.end_passes();
    }

    /// Closes the sessions of a user, or of one device. How many.
    fn disconnect(&mut self, user: &UserId, device: Option<DeviceId>) -> u32 {
        let slots: Vec<u32> = match self.directory.find(user) {
            Some(user) => self
                .sessions_of(user)
                .filter(|(_, session)| device.is_none_or(|device| device.get() == session.device))
                .map(|(slot, _)| slot)
                .collect(),
            None => Vec::new(),
        };
        for &slot in &slots {
            self.counters.sessions_disconnected.add(1);
            self.close(slot, close_code::FORBIDDEN, "disconnected by the operator");
        }
        slots.len() as u32
    }
}
