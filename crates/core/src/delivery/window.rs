//! What one session is owed: the window of messages that it has not confirmed, and where its replay stands.
//!
//! A session without a [`Window`] has been sent everything and has confirmed all of it; it costs nothing. A session is
//! *live* while it has been sent everything that there is for it. It falls *behind* when its window is shut or its
//! socket does not keep up: then messages wait in the mailbox only, and are read from there, in order, until its home
//! says that a page reaches the end. Only then it is live again, so that nothing is sent twice or out of order.

use std::collections::VecDeque;

use campanile_mailbox::Waiting;

use crate::seam::ReadOn;
use crate::settings::ShardSettings;

/// The most that is read ahead of the window, in bytes of message bodies.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// The same in messages.
const PAGE_MESSAGES_MAX: usize = 4_096;
/// When less than this is left of what was read ahead, more is read.
const PAGE_BYTES_LOW: usize = PAGE_BYTES_MAX / 2;
/// A session that has confirmed so many bytes of its replay reads and confirms: only then is read ahead for it.
const READ_AHEAD_AFTER_BYTES: u64 = 64 * 1024;

/// What `delivery` keeps of one session: nothing while it has been sent everything and has confirmed all of it.
#[derive(Debug, Default)]
pub(crate) struct SessionWindow(pub(super) Option<Box<Window>>);

impl SessionWindow {
    /// A session that begins: `last_number` is the highest number that was handed out before, and messages behind
    /// `acknowledged` may wait for it.
    pub(crate) fn opened(acknowledged: u64, last_number: u64, may_wait: bool) -> SessionWindow {
        let mut window = if may_wait { Window::behind(acknowledged) } else { Window::live(acknowledged) };
        // What waits was numbered before now.
        window.replay_until = Some(last_number);
        SessionWindow(Some(Box::new(window)))
    }

    /// Since when the window is shut while messages wait, in the wrapping milliseconds of the monotonic clock.
    pub(crate) fn shut_since_ms(&self) -> Option<u32> {
        self.0.as_ref()?.shut_since_ms
    }

    /// Whether the session reads, or has what it read, or knows that it has to read.
    pub(crate) fn is_reading(&self) -> bool {
        self.0.as_ref().is_some_and(|window| !window.is_live() || window.reading.is_some())
    }

    /// Whether what is in flight and what was read have the lengths that are counted, in the order of their numbers.
    pub(super) fn adds_up(&self) -> bool {
        self.0.as_ref().is_none_or(|window| {
            let flight: usize = window.flight.iter().map(|&(_, bytes)| bytes as usize).sum();
            let page: usize = window.page.iter().map(|waiting| waiting.body.len()).sum();
            let numbers = window.flight.iter().map(|&(number, _)| number);
            let ordered = numbers.chain(window.page.iter().map(|waiting| waiting.seq));
            flight == window.flight_bytes && page == window.page_bytes && ordered.is_sorted()
        })
    }

    /// A live session that confirms by being sent was sent a message.
    pub(super) fn confirmed_by_sending(&mut self, number: u64) {
        match &mut self.0 {
            Some(window) if window.is_queued() => window.sent_unconfirmed(number),
            window => *window = None,
        }
    }

    /// Bytes that were read for the session and not sent.
    pub(super) fn page_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |window| window.page_bytes)
    }

    /// Whether a message of `bytes` may be sent to the session at once: it is live, and its window has room.
    pub(super) fn has_room(&self, bytes: usize, limits: WindowLimits) -> bool {
        self.0.as_ref().is_none_or(|window| window.is_live() && window.has_room(bytes, limits))
    }
}

/// How much may be unconfirmed.
#[derive(Copy, Clone, Debug)]
pub(super) struct WindowLimits {
    /// Messages.
    pub(super) messages_max: usize,
    /// Bytes of their bodies. A single larger message is admitted when nothing else is unconfirmed.
    pub(super) bytes_max: usize,
}

impl WindowLimits {
    /// What an operator has set.
    pub(super) fn of(settings: &ShardSettings) -> WindowLimits {
        let limits = &settings.limits;
        WindowLimits {
            messages_max: limits.window_messages_max as usize,
            bytes_max: limits.window_bytes_max as usize,
        }
    }
}

/// What one session is owed.
#[derive(Debug, Default)]
pub(super) struct Window {
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
    /// The replay that the session began with ends with this number; `None` when it is over.
    pub(super) replay_until: Option<u64>,
    /// It waits until the shard may read for it.
    pub(super) waits_to_read: bool,
    /// It waits for the next turn, in which it is sent more.
    pub(super) continues: bool,
    /// Since when the window is shut while messages wait, in the wrapping milliseconds of the monotonic clock.
    pub(super) shut_since_ms: Option<u32>,
}

impl Window {
    /// A session that has been sent everything up to `sent`.
    pub(super) fn live(sent: u64) -> Window {
        Window { sent, ..Window::default() }
    }

    /// A session for which messages may wait behind `acknowledged`.
    pub(super) fn behind(acknowledged: u64) -> Window {
        Window { sent: acknowledged, behind: true, ..Window::default() }
    }

    /// Whether everything that there is has been sent.
    pub(super) fn is_live(&self) -> bool {
        !self.behind && self.page.is_empty()
    }

    /// Whether nothing is owed: the session needs no [`Window`].
    pub(super) fn is_settled(&self) -> bool {
        let is_awaited = self.reading.is_some() || self.replay_until.is_some() || self.is_queued();
        self.is_live() && self.flight.is_empty() && !is_awaited
    }

    /// Whether the session stands in a queue of its shard. Without its [`Window`] it would be put there again.
    fn is_queued(&self) -> bool {
        self.waits_to_read || self.continues
    }

    /// Whether the window has room for a message of `bytes`.
    pub(super) fn has_room(&self, bytes: usize, limits: WindowLimits) -> bool {
        self.flight.is_empty()
            || (self.flight.len() < limits.messages_max && self.flight_bytes + bytes <= limits.bytes_max)
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
    pub(super) fn fall_behind(&mut self) {
        if self.is_live() {
            self.confirmed_bytes = 0;
        }
        self.behind = true;
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
    pub(super) fn is_shut(&self, limits: WindowLimits) -> bool {
        self.behind && !self.has_room(1, limits)
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

    /// Whether [`Window::read_on`] has something to ask for.
    pub(super) fn wants_to_read(&self, limits: WindowLimits, ahead: bool) -> bool {
        let ahead = ahead && self.confirmed_bytes >= READ_AHEAD_AFTER_BYTES;
        let next = self.page.is_empty() && self.has_room(1, limits);
        self.behind && self.reading.is_none() && (next || (ahead && self.page_bytes < PAGE_BYTES_LOW))
    }

    /// Where to read on, if it is time to: the caller asks the store. As much as the window has room for, or `ahead` of
    /// it for a session that confirms what it gets.
    pub(super) fn read_on(&mut self, limits: WindowLimits, ahead: bool) -> Option<ReadOn> {
        if !self.wants_to_read(limits, ahead) {
            return None;
        }
        let (messages_max, bytes_max) = if ahead && self.confirmed_bytes >= READ_AHEAD_AFTER_BYTES {
            (PAGE_MESSAGES_MAX, PAGE_BYTES_MAX)
        } else {
            let messages_max = limits.messages_max.saturating_sub(self.flight.len());
            (messages_max.max(1), limits.bytes_max.saturating_sub(self.flight_bytes))
        };
        let after = self.last();
        self.reading = Some(after);
        Some(ReadOn { after, messages_max, bytes_max })
    }

    /// The highest number that was sent or read.
    fn last(&self) -> u64 {
        self.page.back().map_or(self.sent, |waiting| waiting.seq)
    }

    /// A page has come. It reaches the end of what there is if it makes the session `live`.
    pub(super) fn read(&mut self, messages: Vec<Waiting>, live: bool) {
        let Some(after) = self.reading.take() else { return };
        let last = self.last();
        if after > last {
            // What was read before it has been dropped meanwhile, and comes first.
            return;
        }
        self.behind = !live;
        for waiting in messages {
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

    use super::{Window, WindowLimits};
    use crate::seam::ReadOn;
    use campanile_mailbox::Waiting;

    const WINDOW: WindowLimits = WindowLimits { messages_max: 4, bytes_max: 100 };

    fn page(seqs: &[u64]) -> Vec<Waiting> {
        seqs.iter().map(|&seq| Waiting { seq, body: Bytes::from_static(&[0; 10]) }).collect()
    }

    /// Sends what was read as far as the window has room.
    fn fill(window: &mut Window) -> Vec<u64> {
        let mut sent = Vec::new();
        while window.next_bytes().is_some_and(|bytes| window.has_room(bytes, WINDOW))
            && let Some(waiting) = window.take_next()
        {
            window.sent(waiting.seq, waiting.body.len());
            sent.push(waiting.seq);
        }
        sent
    }

    fn read(window: &mut Window) -> ReadOn {
        window.read_on(WINDOW, true).expect("nothing to read")
    }

    #[test]
    fn a_session_is_live_again_only_when_a_page_reaches_the_end_and_is_sent() {
        let mut window = Window::live(10);
        assert!(window.is_live() && window.is_settled());
        window.fall_behind();
        assert_eq!(read(&mut window).after, 10);
        assert!(window.read_on(WINDOW, true).is_none(), "one page at a time");
        // Another was assigned while the page was under way: it need not be in it.
        window.read(page(&[11]), false);
        assert_eq!(fill(&mut window), [11]);
        assert!(!window.is_live());
        let second = read(&mut window);
        assert_eq!(second.after, 11);
        window.read(page(&[12]), true);
        assert!(!window.is_live(), "read and not sent");
        assert_eq!(fill(&mut window), [12]);
        assert!(window.is_live() && !window.is_settled(), "sent and not confirmed");
        assert!(window.confirm(12));
        assert!(window.is_settled());
    }

    #[test]
    fn a_page_that_was_dropped_is_read_again_from_where_it_began() {
        let mut window = Window::behind(0);
        read(&mut window);
        window.read(page(&[1, 2, 3, 4, 5, 6]), false);
        assert_eq!(fill(&mut window), [1, 2, 3, 4]);
        window.drop_page();
        assert_eq!(window.page_bytes(), 0);
        assert!(window.read_on(WINDOW, true).is_none(), "the window is shut");
        assert!(window.confirm(4));
        assert_eq!(read(&mut window).after, 4);
    }

    #[test]
    fn a_page_behind_one_that_was_dropped_is_not_taken() {
        let mut window = Window::behind(0);
        // Confirms much, so that it is read ahead for it.
        read(&mut window);
        let large = Waiting { seq: 1, body: Bytes::from(vec![0; 70_000]) };
        window.read(vec![large], false);
        assert_eq!(fill(&mut window), [1]);
        window.confirm(1);
        read(&mut window);
        window.read(page(&[2, 3, 4, 5, 6, 7]), false);
        assert_eq!(fill(&mut window), [2, 3, 4, 5]);
        let ahead = read(&mut window);
        assert_eq!(ahead.after, 7, "ahead of the window");
        window.drop_page();
        window.read(page(&[8, 9]), true);
        assert_eq!(window.next_bytes(), None, "6 and 7 come first");
        window.confirm(5);
        assert_eq!(read(&mut window).after, 5);
    }

    #[test]
    fn what_was_confirmed_meanwhile_is_not_sent_again() {
        let mut window = Window::behind(0);
        read(&mut window);
        // A client that got them in an earlier session.
        assert!(window.confirm(2));
        window.read(page(&[1, 2, 3]), true);
        assert_eq!(fill(&mut window), [3]);
        assert!(!window.confirm(2), "no news");
        assert!(!window.has_confirmed(3) && window.has_confirmed(2) && window.has_sent(3));
    }

    #[test]
    fn a_shut_window_reads_nothing_and_an_empty_one_admits_anything() {
        let mut window = Window::live(0);
        for seq in 1..=4 {
            assert!(window.has_room(10, WINDOW));
            window.sent(seq, 10);
        }
        assert!(!window.has_room(0, WINDOW));
        window.fall_behind();
        assert!(window.is_shut(WINDOW) && window.read_on(WINDOW, true).is_none());
        window.confirm(4);
        assert!(window.has_room(1_000_000, WINDOW));
        window.sent(5, 1_000_000);
        assert!(!window.has_room(1, WINDOW));
    }

    #[test]
    fn nothing_is_read_ahead_for_a_session_that_confirms_nothing() {
        let mut window = Window::behind(0);
        let first = read(&mut window);
        assert_eq!((first.messages_max, first.bytes_max), (WINDOW.messages_max, WINDOW.bytes_max));
        window.read(page(&[1, 2, 3, 4, 5]), false);
        fill(&mut window);
        assert!(window.read_on(WINDOW, true).is_none());
    }
}
