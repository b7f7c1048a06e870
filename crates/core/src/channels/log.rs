//! The log of a channel: recent messages and events, by position.

use std::collections::VecDeque;
use std::sync::Arc;

use campanile_protocol::messages::{ChannelMessage, Event, ServerFrame};

use super::entry::{Entry, Variant};
use crate::compression::Deflating;
use crate::namespaces::Namespace;

/// How long entries are kept for subscribers that do not keep up, whether or not there is a history, in milliseconds.
const LIVE_MS: u64 = 10_000;
/// Events that are older are not sent to those who come late.
const EVENT_MS: u64 = 5_000;

/// Where a cursor is in a log.
pub(super) enum Lag {
    /// Nothing is lacking.
    None,
    /// What is lacking begins at this index.
    From(usize),
    /// The log no longer has what is lacking.
    Lost,
}

/// Recent entries, by position. A position is a number that grows by one with each entry; a cursor is the position of
/// the next entry that its owner lacks, in its lowest 32 bits.
pub(super) struct Log {
    epoch: u64,
    entries: VecDeque<Arc<Entry>>,
    /// The position of the oldest entry.
    first: u64,
    /// How many of the entries are messages.
    messages: usize,
    bytes: usize,
    /// Number of the newest message.
    offset: u64,
    /// Events before this position are blank.
    blank_until: u64,
}

impl Log {
    pub(super) const fn new(epoch: u64) -> Log {
        let entries = VecDeque::new();
        Log { epoch, entries, first: 0, messages: 0, bytes: 0, offset: 0, blank_until: 0 }
    }

    /// The copy of a log that begins at `first`.
    pub(super) fn replica(epoch: u64, first: u64, offset: u64, entries: Vec<Arc<Entry>>) -> Log {
        let mut log = Log { first, ..Log::new(epoch) };
        entries.into_iter().for_each(|entry| log.push(entry));
        log.offset = offset;
        log
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The position of the next entry.
    pub(super) fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The cursor of somebody who lacks nothing.
    pub(super) fn head_cursor(&self) -> u32 {
        self.head() as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries from a position on.
    pub(super) fn since(&self, position: u64) -> Vec<Arc<Entry>> {
        let from = position.saturating_sub(self.first) as usize;
        self.entries.iter().skip(from).map(Arc::clone).collect()
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.bytes();
        self.messages += usize::from(!entry.is_event);
        self.offset = entry.offset;
        self.entries.push_back(entry);
    }

    /// Appends a message, which gets its number and its time.
    pub(super) fn publish(&mut self, mut message: ChannelMessage, now_ms: u64) {
        let offset = self.offset + 1;
        message.offset = offset;
        message.sent_at_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        self.push(Entry::new(offset, now_ms, &ServerFrame::ChannelMessage(message)));
    }

    /// Appends an event.
    pub(super) fn announce(&mut self, event: Event, now_ms: u64) {
        self.push(Entry::new(self.offset, now_ms, &ServerFrame::Event(event)));
    }

    /// Appends what the owner has appended, which begins at `start`; then the newest message is `offset`. If some of it
    /// was left out, what was there before is forgotten: whoever lacks it finds that it is lost.
    pub(super) fn feed(&mut self, start: u64, entries: Vec<Arc<Entry>>, offset: u64) {
        debug_assert!(start >= self.head(), "a feed repeats what came before");
        if start != self.head() {
            self.entries.clear();
            (self.messages, self.bytes, self.first) = (0, 0, start);
        }
        entries.into_iter().for_each(|entry| self.push(entry));
        self.offset = offset;
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.first += 1;
            self.bytes -= entry.bytes();
            self.messages -= usize::from(!entry.is_event);
        }
    }

    /// Forgets what is not to be kept, but never the newest entry before its time.
    pub(super) fn trim(&mut self, namespace: &Namespace, now_ms: u64) {
        self.blank_events(now_ms);
        let ttl_ms = u64::try_from(namespace.history_ttl.as_millis()).unwrap_or(u64::MAX);
        while let Some(oldest) = self.entries.front() {
            let age_ms = now_ms.saturating_sub(oldest.at_ms);
            let is_history = !oldest.is_event
                && self.messages <= namespace.history_messages_max as usize
                && age_ms < ttl_ms;
            let too_many = self.bytes > namespace.log_bytes_max && self.entries.len() > 1;
            if !too_many && (is_history || age_ms < LIVE_MS) {
                break;
            }
            self.pop();
        }
    }

    /// Events that nobody will be sent any more cost a place in the log and nothing else.
    fn blank_events(&mut self, now_ms: u64) {
        self.blank_until = self.blank_until.max(self.first);
        while let Some(index) = usize::try_from(self.blank_until - self.first).ok()
            && let Some(entry) = self.entries.get(index)
            && now_ms.saturating_sub(entry.at_ms) >= LIVE_MS
        {
            if entry.is_event && !entry.is_blank() {
                let before = index.checked_sub(1).and_then(|before| self.entries.get(before));
                let blank = before.filter(|before| before.is_blank() && before.offset == entry.offset);
                let blank = blank.cloned().unwrap_or_else(|| Entry::blank(entry.offset, entry.at_ms));
                self.bytes = self.bytes - entry.bytes() + blank.bytes();
                self.entries[index] = blank;
            }
            self.blank_until += 1;
        }
    }

    /// Forgets all but the newest entries, up to `bytes_max`; the newest is kept.
    pub(super) fn cut(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.entries.len() > 1 {
            self.pop();
        }
    }

    /// Forgets all but the newest entry.
    pub(super) fn keep_newest(&mut self) {
        self.cut(0);
    }

    pub(super) fn lag(&self, cursor: u32) -> Lag {
        match self.head_cursor().wrapping_sub(cursor) as usize {
            0 => Lag::None,
            lag if lag <= self.entries.len() => Lag::From(self.entries.len() - lag),
            _ => Lag::Lost,
        }
    }

    /// The index of the first message after a number, or of the end.
    fn index_after(&self, offset: u64) -> usize {
        self.entries.partition_point(|entry| entry.offset <= offset)
    }

    /// The index of the first message of the history, which those who come later may have; or of the end.
    fn history_from(&self, namespace: &Namespace, now_ms: u64) -> usize {
        let ttl_ms = u64::try_from(namespace.history_ttl.as_millis()).unwrap_or(u64::MAX);
        let young = self.entries.partition_point(|entry| now_ms.saturating_sub(entry.at_ms) >= ttl_ms);
        let young = match self.entries.get(young) {
            Some(entry) if entry.is_event => self.index_after(entry.offset),
            _ => young,
        };
        young.max(self.index_after(self.offset.saturating_sub(namespace.history_messages_max.into())))
    }

    /// How many messages the history has.
    pub(super) fn history_messages(&self, namespace: &Namespace, now_ms: u64) -> u32 {
        let oldest = self.entries.get(self.history_from(namespace, now_ms));
        oldest.map_or(0, |oldest| (self.offset + 1 - oldest.offset) as u32)
    }

    /// The cursor of somebody who has everything up to a message of this epoch; `None` if the history has not all that
    /// is lacking, or never had this message.
    pub(super) fn cursor_after(&self, offset: u64, namespace: &Namespace, now_ms: u64) -> Option<u32> {
        if offset == self.offset {
            return Some(self.head_cursor());
        }
        let from = self.history_from(namespace, now_ms);
        let oldest = self.entries.get(from)?.offset;
        if offset > self.offset || offset + 1 < oldest {
            return None;
        }
        Some(self.cursor_at(self.index_after(offset).max(from)))
    }

    /// The cursor of somebody who is to get so many of the newest messages of the history.
    pub(super) fn cursor_before_newest(&self, newest: u32, namespace: &Namespace, now_ms: u64) -> u32 {
        if newest == 0 {
            return self.head_cursor();
        }
        let from = self.history_from(namespace, now_ms);
        self.cursor_at(self.index_after(self.offset.saturating_sub(newest.into())).max(from))
    }

    /// The cursor before the newest message, or before the newest entry if there is no message.
    pub(super) fn cursor_of_newest(&self) -> u32 {
        match self.messages {
            0 => self.cursor_at(self.entries.len().saturating_sub(1)),
            _ => self.cursor_at(self.index_after(self.offset - 1)),
        }
    }

    fn cursor_at(&self, index: usize) -> u32 {
        (self.first + index as u64) as u32
    }

    /// The number of the newest message before a cursor that the log has.
    pub(super) fn offset_before(&self, cursor: u32) -> u64 {
        match self.lag(cursor) {
            Lag::From(index) => {
                let entry = &self.entries[index];
                if entry.is_event { entry.offset } else { entry.offset - 1 }
            }
            Lag::None | Lag::Lost => self.offset,
        }
    }

    /// Messages of the history after a number, oldest first, at most so many; without a number the newest.
    pub(super) fn history(
        &self,
        after: Option<u64>,
        messages_max: usize,
        namespace: &Namespace,
        now_ms: u64,
    ) -> Vec<ChannelMessage> {
        let after = match after {
            Some(after) => after,
            None => self.offset.saturating_sub(messages_max as u64),
        };
        let from = self.index_after(after).max(self.history_from(namespace, now_ms));
        let messages = self.entries.iter().skip(from).filter(|entry| !entry.is_event);
        let decoded = messages.take(messages_max).filter_map(|entry| match entry.decoded()? {
            ServerFrame::ChannelMessage(message) => Some(message),
            _ => None,
        });
        decoded.collect()
    }

    /// Joins the frames from an index on, up to about `bytes_max`, but at least one entry. What was joined, and the
    /// cursor behind it. Stale events are left out.
    pub(super) fn gather(
        &self,
        index: usize,
        variant: Variant,
        bytes_max: usize,
        now_ms: u64,
        deflating: &mut Deflating,
        out: &mut Vec<u8>,
    ) -> u32 {
        let mut end = index;
        for entry in self.entries.iter().skip(index) {
            let frame = self.sent_frame(entry, variant, now_ms, deflating);
            if end > index && out.len() + frame.len() > bytes_max {
                break;
            }
            out.extend_from_slice(frame);
            end += 1;
        }
        self.cursor_at(end)
    }

    /// The frame, or nothing in place of a stale event. What is alone in its log, a user's status, does not go stale.
    fn sent_frame<'a>(
        &self,
        entry: &'a Entry,
        variant: Variant,
        now_ms: u64,
        deflating: &mut Deflating,
    ) -> &'a [u8] {
        let stale = entry.is_event && self.entries.len() > 1 && now_ms.saturating_sub(entry.at_ms) > EVENT_MS;
        if stale { &[] } else { entry.frame(variant, deflating) }
    }

    /// Of a send that began at a cursor, `sent` bytes have left: the cursor behind the frame in which it ended, and how
    /// many bytes of that frame are still to be sent.
    pub(super) fn rewind(
        &self,
        cursor: u32,
        variant: Variant,
        mut sent: usize,
        now_ms: u64,
        deflating: &mut Deflating,
    ) -> Option<(u32, usize)> {
        let Lag::From(index) = self.lag(cursor) else { return None };
        for (passed, entry) in self.entries.iter().skip(index).enumerate() {
            let len = self.sent_frame(entry, variant, now_ms, deflating).len();
            if sent <= len {
                let rest = if sent == 0 { 0 } else { len - sent };
                let passed = if sent == 0 { passed } else { passed + 1 };
                return Some((cursor.wrapping_add(passed as u32), rest));
            }
            sent -= len;
        }
        None
    }
}

#[cfg(test)]
mod tests;
