//! What one session is owed: the window of messages that it has not confirmed, and where its replay stands.
//!
//! A session without a [`Mail`] has been sent everything and has confirmed all of it; it costs nothing. A session is
//! *live* while it has been sent everything that there is for it. It falls *behind* when its window is shut or its socket
//! does not keep up: then messages wait in the mailbox only, and are read from there, in order, until the newest that was
//! assigned to it has been found. Only then it is live again, so that nothing is sent twice or out of order.

use std::collections::VecDeque;

use crate::mailbox::{Page, Waiting};

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
    /// The replay that the session began with is not over.
    pub(super) replaying: bool,
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
        self.is_live() && self.flight.is_empty() && self.reading.is_none() && !self.replaying
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

    /// Where to read on, if it is time to: the caller asks the store. As much as the window has room for, or `ahead` of
    /// it for a session that confirms what it gets.
    pub(super) fn read_on(&mut self, window: Window, ahead: bool) -> Option<ReadOn> {
        if !self.behind || self.reading.is_some() {
            return None;
        }
        let ahead = ahead && self.confirmed_bytes >= READ_AHEAD_AFTER_BYTES;
        let (messages_max, bytes_max) = if ahead && self.page_bytes < PAGE_BYTES_LOW {
            (PAGE_MESSAGES_MAX, PAGE_BYTES_MAX)
        } else if self.page.is_empty() && self.has_room(1, window) {
            let messages_max = window.messages_max.saturating_sub(self.flight.len());
            (messages_max.max(1), window.bytes_max.saturating_sub(self.flight_bytes))
        } else {
            return None;
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
