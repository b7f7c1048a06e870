//! What waits in a device's mailbox, sent as its window allows, and the acknowledgements that open the window.

use campanile_engine::Conn;
use campanile_protocol::frame::close_code;
use campanile_protocol::ids::DeviceId;
use campanile_protocol::messages::{CaughtUp, Encoding, Error, ServerFrame, encode_deliver_frame};

use super::Shard;
use super::connection::Session;
use super::mail::{Mail, Window};
use super::outbox::TURN_BYTES_MAX;
use super::storage::Awaiting;
use campanile_mailbox::operations::{Operation, StoreFailed};
use campanile_mailbox::{Address, Page};

/// Bytes that are read ahead for all sessions of a shard together. Beyond it each is read only what its window has room
/// for.
const READ_AHEAD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that a shard asks the store for at a time, so that those who come back together do not hold up everything else.
const READS_BYTES_WAITING_MAX: usize = 8 * 1024 * 1024;

impl Shard {
    pub(super) fn window(&self) -> Window {
        let limits = &self.settings.limits;
        Window {
            messages_max: limits.window_messages_max as usize,
            bytes_max: limits.window_bytes_max as usize,
        }
    }

    fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.connections.get_mut(slot).and_then(|connection| connection.session())
    }

    /// Sends what was read, as far as the window and the socket allow, and asks for more.
    pub(super) fn deliver_waiting(&mut self, slot: u32) {
        let window = self.window();
        let Some(session) = self.session_mut(slot) else { return };
        let Some(mut mail) = session.mail.take() else { return };
        let (user, device, encoding) = (session.user, session.device, session.encoding);
        let paged = mail.page_bytes();
        let mut frames = Vec::new();
        if session.unsent.is_some() {
            // It does not read: what was read for it waits in the store instead.
            mail.drop_page();
        } else {
            let acknowledges = session.acknowledges;
            match fill(&mut mail, window, encoding, acknowledges, &mut frames) {
                Ok(sent) => self.counters.messages_replayed.add(sent),
                Err(()) => {
                    self.counters.messages_not_encodable.add(1);
                    self.read_ahead_bytes -= paged;
                    return self.close(slot, close_code::INTERNAL_ERROR, "a message cannot be sent");
                }
            }
            if !acknowledges && !frames.is_empty() {
                let sent = mail.last_sent();
                self.storage.trim(user, device, sent, true, self.now.time);
            }
            self.read_on(slot, &mut mail, user, device);
        }
        if mail.ends_replay() {
            let caught_up = ServerFrame::CaughtUp(CaughtUp { seq: mail.last_sent() });
            let encoded = caught_up.encode_frame(encoding, &mut frames);
            debug_assert!(encoded.is_ok(), "no payload that could fail");
        }
        let (now_ms, mut shuts) = (self.now_ms(), false);
        if mail.next_bytes().is_some_and(|bytes| !mail.has_room(bytes, window)) || mail.is_shut(window) {
            shuts = mail.shut_since_ms.replace(mail.shut_since_ms.unwrap_or(now_ms)).is_none();
        }
        self.read_ahead_bytes = self.read_ahead_bytes - paged + mail.page_bytes();
        // A turn takes only so much.
        let goes_on = mail.next_bytes().is_some_and(|bytes| mail.has_room(bytes, window));
        let conn = self.connections.get(slot).map(|connection| connection.conn(slot));
        self.continuing.extend(conn.filter(|_| goes_on));
        if let Some(session) = self.session_mut(slot)
            && !mail.is_settled()
        {
            session.mail = Some(mail);
        }
        if shuts {
            self.expect_acknowledgement(slot);
        }
        if !frames.is_empty() {
            self.sends_of_pushes += 1;
            self.post(slot, frames.into());
        }
    }

    /// Asks the store for what comes next, if it is time to, or queues the session until the shard may.
    fn read_on(&mut self, slot: u32, mail: &mut Mail, user: u32, device: u32) {
        let (window, ahead) = (self.window(), self.read_ahead_bytes < READ_AHEAD_BYTES_MAX);
        // Every acknowledgement asks; mostly there is nothing to read, and then nothing is allocated.
        if !mail.wants_to_read(window, ahead) {
            return;
        }
        let conn = self.connections.get(slot).map(|connection| connection.conn(slot));
        let (Some(conn), Some(id)) = (conn, self.directory.id(user).cloned()) else { return };
        let Ok(device) = DeviceId::try_from(device) else { return };
        if self.storage.read_bytes_waiting() >= READS_BYTES_WAITING_MAX {
            if !std::mem::replace(&mut mail.queued, true) {
                self.readers.push_back(conn);
            }
            return;
        }
        let Some(read_on) = mail.read_on(window, ahead) else { return };
        let awaiting = Awaiting::Read { conn, head: read_on.head, bytes: read_on.bytes_max };
        let tag = self.storage.await_answer(awaiting);
        self.storage.ask(Operation::Read {
            tag,
            address: Address { user: id, device },
            after: read_on.after,
            messages_max: read_on.messages_max,
            bytes_max: read_on.bytes_max,
        });
    }

    /// Reads for the sessions that wait for it, as far as the shard may.
    pub(super) fn read_for_those_who_wait(&mut self) {
        while self.storage.read_bytes_waiting() < READS_BYTES_WAITING_MAX
            && let Some(conn) = self.readers.pop_front()
        {
            let mail = self.tenant(conn).and_then(|connection| connection.session()?.mail.as_mut());
            if mail.is_some_and(|mail| std::mem::take(&mut mail.queued)) {
                self.deliver_waiting(conn.slot);
            }
        }
    }

    /// A page has come for a session.
    pub(super) fn page_read(&mut self, conn: Conn, head: u64, result: Result<Page, StoreFailed>) {
        let page = match result {
            Ok(page) => page,
            Err(StoreFailed) => {
                if self.tenant(conn).is_some_and(|connection| connection.session().is_some()) {
                    self.counters.sessions_unreadable.add(1);
                    self.close(conn.slot, close_code::INTERNAL_ERROR, "the store does not work: come back");
                }
                return;
            }
        };
        let Some(session) = self.tenant(conn).and_then(|connection| connection.session()) else { return };
        let Some(mail) = &mut session.mail else { return };
        let before = mail.page_bytes();
        mail.read(page, head);
        let after = mail.page_bytes();
        self.read_ahead_bytes = self.read_ahead_bytes - before + after;
        self.deliver_waiting(conn.slot);
    }

    /// The device confirms everything up to `seq`.
    pub(super) fn acknowledge(&mut self, slot: u32, seq: u64) {
        if seq > self.storage.last_number() {
            self.counters.acknowledgements_refused.add(1);
            return self.refuse_frame(
                slot,
                "not_handed_out",
                "acknowledges a number that was never handed out",
                "",
            );
        }
        self.counters.acknowledgements.add(1);
        let now = self.now.time;
        let Some(session) = self.session_mut(slot) else { return };
        let (user, device) = (session.user, session.device);
        // Without it everything is confirmed already.
        let Some(mail) = &mut session.mail else { return };
        let before = mail.page_bytes();
        let news = mail.confirm(seq);
        let after = mail.page_bytes();
        self.read_ahead_bytes = self.read_ahead_bytes - before + after;
        if news {
            self.refund_frame(slot);
            // While an append is under way, the news may spare its write.
            let soon = self.directory.user(user).is_some_and(|user| user.appends > 0);
            self.storage.trim(user, device, seq, soon, now);
            self.deliver_waiting(slot);
        }
    }

    /// Tells a client that a frame was refused; the connection goes on.
    pub(super) fn refuse_frame(&mut self, slot: u32, reason: &str, message: &str, reference: &str) {
        let error = ServerFrame::Error(Error {
            code: u32::from(close_code::MALFORMED),
            message: message.to_owned(),
            reason: reason.to_owned(),
            r#ref: reference.to_owned(),
        });
        self.send_frame(slot, &error);
    }

    /// Passes all acknowledgements on to the store, before something that must see them.
    pub(super) fn flush_trims(&mut self) {
        let directory = &self.directory;
        self.storage.flush_trims(|user| directory.id(user));
    }
}

/// Takes messages that were read as far as the window has room, and writes them as frames. How many; an error if one
/// cannot be put into this encoding.
fn fill(
    mail: &mut Mail,
    window: Window,
    encoding: Encoding,
    acknowledges: bool,
    frames: &mut Vec<u8>,
) -> Result<u64, ()> {
    let mut count = 0;
    while frames.len() < TURN_BYTES_MAX
        && mail.next_bytes().is_some_and(|bytes| mail.has_room(bytes, window))
        && let Some(waiting) = mail.take_next()
    {
        encode_deliver_frame(&waiting.body, encoding, frames).map_err(drop)?;
        match acknowledges {
            true => mail.sent(waiting.seq, waiting.body.len()),
            false => mail.sent_unconfirmed(waiting.seq),
        }
        count += 1;
    }
    Ok(count)
}
