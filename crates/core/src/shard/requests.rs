//! What the control plane asks, and what the store answers: to whom it goes.

use campanile_mailbox::operations::Registration;
use campanile_protocol::ids::MessageId;

use super::{Rooms, SENDS_PER_TURN};
use crate::control::jobs::Asker;
use crate::requests::{Answer, Durability, Request, RequestBody, Unavailable, UserDevice};
use crate::seam::ReadOn;
use crate::store::Answered;
use crate::turn::Turn;

/// Requests taken in one turn, beside what their pushes cost.
const REQUESTS_PER_TURN_MAX: usize = 64;
/// Bytes of messages that one page for a device that polls may have, beyond its first message.
const LIST_BYTES_MAX: usize = 1024 * 1024;
/// Messages appended to the logs of channels that cost about as much as one send.
const PUBLISHES_PER_SEND: usize = 4;
/// Sends that cost about as much as looking through a channel's members or history.
const SENDS_PER_LOOK: usize = 32;

impl Rooms {
    /// Takes requests, as many as one turn may. Whether the shard is to stop at once, and how many sends there were.
    pub(super) fn take_requests(&mut self, turn: &mut Turn<'_>) -> (bool, usize) {
        let (mut stop, mut sends) = (false, 0);
        for _ in 0..REQUESTS_PER_TURN_MAX {
            sends += self.push_slice(turn, SENDS_PER_TURN.saturating_sub(sends));
            if self.control.has_pushes() || sends >= SENDS_PER_TURN {
                break;
            }
            let Some(request) = self.control.next_request() else { break };
            sends += match &request.body {
                RequestBody::Publish(messages) => 1 + messages.len() / PUBLISHES_PER_SEND,
                RequestBody::Channel(_) | RequestBody::History { .. } => SENDS_PER_LOOK,
                _ => 0,
            };
            stop |= self.take_request(turn, request);
            self.settle(turn);
        }
        (stop, sends)
    }

    /// Executes pushes of the last request until about so many sends; one that reaches nobody counts as one. How many
    /// there were.
    fn push_slice(&mut self, turn: &mut Turn<'_>, sends_max: usize) -> usize {
        let mut sends = 0;
        while sends < sends_max {
            let before = turn.sends;
            let Some((place, push)) = self.control.next_push() else { break };
            let (mut home, mut sessions) = self.seam();
            match push.durability {
                Durability::Ephemeral => {
                    if let Err(push) = home.ephemeral().push_ephemeral(turn, &mut sessions, place, push) {
                        self.control.give_back(place, push);
                        break;
                    }
                }
                Durability::Durable => home.parking().push_durable(turn, &mut sessions, place, push),
            }
            self.settle(turn);
            sends += (turn.sends - before).max(1);
        }
        sends
    }

    /// Whether the shard is to stop at once.
    fn take_request(&mut self, turn: &mut Turn<'_>, request: Request) -> bool {
        let Request { ticket, bell, body } = request;
        let asker = Asker::Control(ticket, bell);
        let of_this_store = |id: &MessageId| id.epoch == turn.settings.epoch;
        match body {
            RequestBody::Push(pushes) => {
                let job = self.control.jobs.begin(asker, pushes.len());
                self.control.begin_pushing(job, pushes);
            }
            RequestBody::Broadcast(event) => self.control.broadcasts.begin(asker, &event),
            RequestBody::Publish(messages) => {
                let mut channels = self.channels();
                let published = messages.into_iter().map(|message| channels.publish(turn, message)).collect();
                self.control.jobs.reply(asker, Answer::Published(published));
            }
            RequestBody::Channel(channel) => {
                let part = self.channels().channel_part(turn, &channel);
                self.control.jobs.reply(asker, Answer::Channel(part));
            }
            RequestBody::History { channel, since, messages_max } => {
                let history = self.channels.history(turn, &channel, since, messages_max);
                self.control.jobs.reply(asker, Answer::History(history));
            }
            RequestBody::Devices(user) => self.store.devices(asker, user),
            RequestBody::Register(user, device) => {
                let devices_max = turn.settings.limits.devices_per_user_max;
                let now_ms = turn.now.unix_ms;
                self.store.register(asker, Registration { user, device, devices_max, now_ms });
            }
            RequestBody::List { address, after, messages_max } => {
                self.home().devices().flush_watermarks();
                self.store.list(asker, address, ReadOn { after, messages_max, bytes_max: LIST_BYTES_MAX });
            }
            RequestBody::Fetch(address, id) if of_this_store(&id) => {
                self.home().devices().flush_watermarks();
                self.store.fetch(asker, address, id.seq);
            }
            RequestBody::Fetch(..) => self.control.jobs.reply(asker, Answer::Fetched(Ok(None))),
            RequestBody::Confirm(address, id) if of_this_store(&id) => {
                self.store.remove(asker, address, id.seq);
            }
            RequestBody::Confirm(..) => self.control.jobs.reply(asker, Answer::Confirmed(Ok(false))),
            RequestBody::Disconnect(user, device) => {
                let (mut home, mut sessions) = self.seam();
                let count = home.devices().disconnect(turn, &mut sessions, &user, device);
                self.control.jobs.reply(asker, Answer::Disconnected(count));
            }
            RequestBody::Drain { reconnect_within_ms } => {
                if self.entry.drain() {
                    self.control.broadcasts.begin_drain(reconnect_within_ms);
                }
                self.control.jobs.reply(asker, Answer::Draining);
            }
            RequestBody::Stop => {
                self.control.jobs.reply(asker, Answer::Draining);
                return true;
            }
        }
        false
    }

    /// The shard ends: what waits in its queue is still taken, so that it is stored; whoever has no answer by then is
    /// told that the node is stopping.
    pub(super) fn answer_the_rest(&mut self, turn: &mut Turn<'_>) {
        loop {
            // What is sent now is cut off; what is given back finds nobody.
            self.push_slice(turn, usize::MAX);
            self.control.drop_pushes();
            let Some(request) = self.control.next_request() else { break };
            self.take_request(turn, request);
            self.settle(turn);
        }
        self.control.broadcasts.end_all(&mut self.control.jobs);
    }

    /// The store has answered: it goes to whoever has asked.
    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, answered: Answered) {
        let is_draining = self.entry.is_draining();
        let (mut home, mut sessions) = self.seam();
        match answered {
            Answered::Append(appending, result) => {
                home.appends().appended(turn, &sessions, appending, result)
            }
            Answered::Recall { user, result } => home.parking().recalled(turn, &mut sessions, user, result),
            Answered::User { user, result } => home.parking().user_read(turn, &mut sessions, user, result),
            Answered::Open { opening, result } => {
                home.openings().opened(turn, &mut sessions, opening, result, is_draining);
            }
            Answered::Reregister { user } => home.devices().ended_for(user),
            Answered::Read { reader, result } => home.page_read(turn, &mut sessions, reader, result),
            Answered::Devices { asker, user, result } => {
                let devices = result.map(|record| {
                    let with_session = record.devices.iter().map(|&record| {
                        let session = home.devices().session_of(&user, record.device);
                        let session = session.and_then(|session| sessions.connected(session));
                        UserDevice { record, session }
                    });
                    with_session.collect()
                });
                home.jobs.reply(asker, Answer::Devices(devices.map_err(Unavailable::from)));
            }
            Answered::Register { asker, user, result } => {
                home.devices().registered(&user, &result);
                home.jobs.reply(asker, Answer::Registered(result.map_err(Unavailable::from)));
            }
            Answered::List { asker, result } => {
                home.jobs.reply(asker, Answer::Listed(result.map_err(Unavailable::from)));
            }
            Answered::Fetch { asker, result } => {
                home.jobs.reply(asker, Answer::Fetched(result.map_err(Unavailable::from)));
            }
            Answered::Remove { asker, result } => {
                home.jobs.reply(asker, Answer::Confirmed(result.map_err(Unavailable::from)));
            }
        }
    }
}
