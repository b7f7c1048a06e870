//! What one session is owed: the window of messages that it has not confirmed, and where its replay stands.
//!
//! A session without a [`Mail`] has been sent everything and has confirmed all of it; it costs nothing. A session is
//! *live* while it has been sent everything that there is for it. It falls *behind* when its window is shut or its socket
//! does not keep up: then messages wait in the mailbox only, and are read from there, in order, until the newest that was
//! assigned to it has been found. Only then it is live again, so that nothing is sent twice or out of order.

use std::collections::VecDeque;

use campanile_mailbox::{Page, Waiting};

/// The most that is read ahead of the window, in bytes of message bodies.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// The same in messages.
const PAGE_MESSAGES_MAX: usize = 4_096;
/// When less than this is left of what was read ahead, more is read.
const PAGE_BYTES_LOW: usize = PAGE_BYTES_MAX / 2;
/// A session that has confirmed so many bytes of its replay reads and confirms: only then is read ahead for it.
const READ_AHEAD_AFTER_BYTES: u64 = 64 * 1024;

/// How much may be unconfirmed.
#[derive(Copy, Clone, Debug)]
pub(super) struct Window {
    /// Messages.
    pub(super) messages_max: usize,
    /// Bytes of their bodies. A single larger message is admitted when nothing else is unconfirmed.
    pub(super) bytes_max: usize,
}

/// What one session is owed.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Sent and not confirmed: numbers and lengths.
    flight: VecDeque<(u64, u32)>,
    flight_bytes: usize,
    /// The highest number that was sent, or confirmed before the session.
    sent: u64,
    /// Read and not sent.
    page: VecDeque<Waiting>,
    page_bytes: usize,
    /// The mailbox has more than `page`, or may have.
    behind: bool,
    /// A page is on its way: what comes after this number.
    reading: Option<u64>,
    /// Bytes confirmed since the session fell behind.
    confirmed_bytes: u64,
    /// The newest message that was assigned to the session while it was behind.
    head: u64,
    /// The replay that the session began with ends with this number; `None` when it is over.
    pub(super) replay_until: Option<u64>,
    /// It waits until the shard may read for it.
    pub(super) queued: bool,
    /// Since when the window is shut while messages wait, in the wrapping milliseconds of the monotonic clock.
    pub(super) shut_since_ms: Option<u32>,
}

/// Where to read on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadOn {
    /// After this number.
    pub(super) after: u64,
    /// The newest message that is sure to be found, given back in [`Mail::read`].
    pub(super) head: u64,
    /// At most so many messages.
    pub(super) messages_max: usize,
    /// At most so many bytes, but one message.
    pub(super) bytes_max: usize,
}

impl Mail {
    /// A session that has been sent everything up to `sent`.
    pub(super) fn live(sent: u64) -> Mail {
        Mail { sent, ..Mail::default() }
    }

    /// A session for which messages may wait behind `acknowledged`.
    pub(super) fn behind(acknowledged: u64) -> Mail {
        Mail { sent: acknowledged, behind: true, ..Mail::default() }
    }

    /// Whether everything that there is has been sent.
    pub(super) fn is_live(&self) -> bool {
        !self.behind && self.page.is_empty()
    }

    /// Whether nothing is owed: the session needs no [`Mail`].
    pub(super) fn is_settled(&self) -> bool {
        self.is_live() && self.flight.is_empty() && self.reading.is_none() && self.replay_until.is_none()
    }

    /// Whether the window has room for a message of `bytes`.
    pub(super) fn has_room(&self, bytes: usize, window: Window) -> bool {
        self.flight.is_empty()
            || (self.flight.len() < window.messages_max && self.flight_bytes + bytes <= window.bytes_max)
    }

    /// A message was sent that has to be confirmed.
    pub(super) fn sent(&mut self, seq: u64, bytes: usize) {
        debug_assert!(seq > self.sent, "messages are sent in order");
        self.sent = seq;
        self.flight.push_back((seq, bytes as u32));
        self.flight_bytes += bytes;
    }

    /// A message was sent that needs no confirmation.
    pub(super) fn sent_unconfirmed(&mut self, seq: u64) {
        self.sent = seq;
    }

    /// A message was assigned to the session and is not sent now: it is in the mailbox, or will be.
    pub(super) fn fall_behind(&mut self, seq: u64) {
        if self.is_live() {
            self.confirmed_bytes = 0;
        }
        self.behind = true;
        self.head = seq;
    }

    /// Everything up to `seq` is confirmed. Whether that is news.
    pub(super) fn confirm(&mut self, seq: u64) -> bool {
        let mut news = seq > self.sent;
        while let Some(&(first, bytes)) = self.flight.front()
            && first <= seq
        {
            self.flight.pop_front();
            self.flight_bytes -= bytes as usize;
            self.confirmed_bytes += u64::from(bytes);
            news = true;
        }
        if seq > self.sent {
            // Sent in an earlier session, perhaps; it is not sent again.
            self.sent = seq;
            while self.page.front().is_some_and(|waiting| waiting.seq <= seq) {
                self.take_next();
            }
        }
        if news {
            self.shut_since_ms = None;
        }
        news
    }

    /// Whether the session has confirmed a message that was assigned to it.
    pub(super) fn has_confirmed(&self, seq: u64) -> bool {
        seq <= self.sent && self.flight.front().is_none_or(|&(first, _)| seq < first)
    }

    /// Whether a message that was assigned to the session has been sent to it.
    pub(super) fn has_sent(&self, seq: u64) -> bool {
        seq <= self.sent
    }

    /// The highest number that was sent.
    pub(super) fn last_sent(&self) -> u64 {
        self.sent
    }

    /// Whether messages wait that no room is read for.
    pub(super) fn is_shut(&self, window: Window) -> bool {
        self.behind && !self.has_room(1, window)
    }

    /// The length of the next message that was read.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        self.page.front().map(|waiting| waiting.body.len())
    }

    /// Takes the next message that was read.
    pub(super) fn take_next(&mut self) -> Option<Waiting> {
        let waiting = self.page.pop_front()?;
        self.page_bytes -= waiting.body.len();
        Some(waiting)
    }

    /// Whether the replay that the session began with is over now. Says so once.
    pub(super) fn ends_replay(&mut self) -> bool {
        let over = self.replay_until.is_some_and(|until| self.sent >= until) || self.is_live();
        over && self.replay_until.take().is_some()
    }

    /// Whether [`Mail::read_on`] has something to ask for.
    pub(super) fn wants_to_read(&self, window: Window, ahead: bool) -> bool {
        let ahead = ahead && self.confirmed_bytes >= READ_AHEAD_AFTER_BYTES;
        let next = self.page.is_empty() && self.has_room(1, window);
        self.behind && self.reading.is_none() && (next || (ahead && self.page_bytes < PAGE_BYTES_LOW))
    }

    /// Where to read on, if it is time to: the caller asks the store. As much as the window has room for, or `ahead` of
    /// it for a session that confirms what it gets.
    pub(super) fn read_on(&mut self, window: Window, ahead: bool) -> Option<ReadOn> {
        if !self.wants_to_read(window, ahead) {
            return None;
        }
        let (messages_max, bytes_max) = if ahead && self.confirmed_bytes >= READ_AHEAD_AFTER_BYTES {
            (PAGE_MESSAGES_MAX, PAGE_BYTES_MAX)
        } else {
            let messages_max = window.messages_max.saturating_sub(self.flight.len());
            (messages_max.max(1), window.bytes_max.saturating_sub(self.flight_bytes))
        };
        let after = self.last();
        self.reading = Some(after);
        Some(ReadOn { after, head: self.head, messages_max, bytes_max })
    }

    /// The highest number that was sent or read.
    fn last(&self) -> u64 {
        self.page.back().map_or(self.sent, |waiting| waiting.seq)
    }

    /// A page has come. `head` is that of its [`ReadOn`].
    pub(super) fn read(&mut self, page: Page, head: u64) {
        let Some(after) = self.reading.take() else { return };
        let last = self.last();
        if after > last {
            // What was read before it has been dropped meanwhile, and comes first.
            return;
        }
        // What was assigned since then need not be in the page.
        self.behind = page.more || self.head > head;
        for waiting in page.messages {
            // Some may have been confirmed meanwhile.
            if waiting.seq > last {
                self.page_bytes += waiting.body.len();
                self.page.push_back(waiting);
            }
        }
    }

    /// Forgets what was read and not sent; it will be read again.
    pub(super) fn drop_page(&mut self) {
        if !self.page.is_empty() {
            self.page = VecDeque::new();
            self.page_bytes = 0;
            self.behind = true;
        }
    }

    /// How much was read and not sent, in bytes of message bodies.
    pub(super) fn page_bytes(&self) -> usize {
        self.page_bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Mail, ReadOn, Window};
    use campanile_mailbox::{Page, Waiting};

    const WINDOW: Window = Window { messages_max: 4, bytes_max: 100 };

    fn page(seqs: &[u64], more: bool) -> Page {
        let waiting = |&seq: &u64| Waiting { seq, body: Bytes::from_static(&[0; 10]) };
        Page { messages: seqs.iter().map(waiting).collect(), more }
    }

    /// Sends what was read as far as the window has room.
    fn fill(mail: &mut Mail) -> Vec<u64> {
        let mut sent = Vec::new();
        while mail.next_bytes().is_some_and(|bytes| mail.has_room(bytes, WINDOW))
            && let Some(waiting) = mail.take_next()
        {
            mail.sent(waiting.seq, waiting.body.len());
            sent.push(waiting.seq);
        }
        sent
    }

    fn read(mail: &mut Mail) -> ReadOn {
        mail.read_on(WINDOW, true).expect("nothing to read")
    }

    #[test]
    fn a_session_is_live_again_only_when_the_newest_message_was_found() {
        let mut mail = Mail::live(10);
        assert!(mail.is_live() && mail.is_settled());
        mail.fall_behind(11);
        let first = read(&mut mail);
        assert_eq!((first.after, first.head), (10, 11));
        assert!(mail.read_on(WINDOW, true).is_none(), "one page at a time");
        // Assigned while the page was under way: it need not be in it.
        mail.fall_behind(12);
        mail.read(page(&[11], false), first.head);
        assert_eq!(fill(&mut mail), [11]);
        assert!(!mail.is_live());
        let second = read(&mut mail);
        assert_eq!((second.after, second.head), (11, 12));
        mail.read(page(&[12], false), second.head);
        assert!(!mail.is_live(), "read and not sent");
        assert_eq!(fill(&mut mail), [12]);
        assert!(mail.is_live() && !mail.is_settled(), "sent and not confirmed");
        assert!(mail.confirm(12));
        assert!(mail.is_settled());
    }

    #[test]
    fn a_page_that_was_dropped_is_read_again_from_where_it_began() {
        let mut mail = Mail::behind(0);
        let first = read(&mut mail);
        mail.read(page(&[1, 2, 3, 4, 5, 6], true), first.head);
        assert_eq!(fill(&mut mail), [1, 2, 3, 4]);
        mail.drop_page();
        assert_eq!(mail.page_bytes(), 0);
        assert!(mail.read_on(WINDOW, true).is_none(), "the window is shut");
        assert!(mail.confirm(4));
        assert_eq!(read(&mut mail).after, 4);
    }

    #[test]
    fn a_page_behind_one_that_was_dropped_is_not_taken() {
        let mut mail = Mail::behind(0);
        // Confirms much, so that it is read ahead for it.
        let first = read(&mut mail);
        let large = Waiting { seq: 1, body: Bytes::from(vec![0; 70_000]) };
        mail.read(Page { messages: vec![large], more: true }, first.head);
        assert_eq!(fill(&mut mail), [1]);
        mail.confirm(1);
        let second = read(&mut mail);
        mail.read(page(&[2, 3, 4, 5, 6, 7], true), second.head);
        assert_eq!(fill(&mut mail), [2, 3, 4, 5]);
        let ahead = read(&mut mail);
        assert_eq!(ahead.after, 7, "ahead of the window");
        mail.drop_page();
        mail.read(page(&[8, 9], false), ahead.head);
        assert_eq!(mail.next_bytes(), None, "6 and 7 come first");
        mail.confirm(5);
        assert_eq!(read(&mut mail).after, 5);
    }

    #[test]
    fn what_was_confirmed_meanwhile_is_not_sent_again() {
        let mut mail = Mail::behind(0);
        let first = read(&mut mail);
        // A client that got them in an earlier session.
        assert!(mail.confirm(2));
        mail.read(page(&[1, 2, 3], false), first.head);
        assert_eq!(fill(&mut mail), [3]);
        assert!(!mail.confirm(2), "no news");
        assert!(!mail.has_confirmed(3) && mail.has_confirmed(2) && mail.has_sent(3));
    }

    #[test]
    fn a_shut_window_reads_nothing_and_an_empty_one_admits_anything() {
        let mut mail = Mail::live(0);
        for seq in 1..=4 {
            assert!(mail.has_room(10, WINDOW));
            mail.sent(seq, 10);
        }
        assert!(!mail.has_room(0, WINDOW));
        mail.fall_behind(5);
        assert!(mail.is_shut(WINDOW) && mail.read_on(WINDOW, true).is_none());
        mail.confirm(4);
        assert!(mail.has_room(1_000_000, WINDOW));
        mail.sent(5, 1_000_000);
        assert!(!mail.has_room(1, WINDOW));
    }

    #[test]
    fn nothing_is_read_ahead_for_a_session_that_confirms_nothing() {
        let mut mail = Mail::behind(0);
        let first = read(&mut mail);
        assert_eq!((first.messages_max, first.bytes_max), (WINDOW.messages_max, WINDOW.bytes_max));
        mail.read(page(&[1, 2, 3, 4, 5], true), first.head);
        fill(&mut mail);
        assert!(mail.read_on(WINDOW, true).is_none());
    }
}
