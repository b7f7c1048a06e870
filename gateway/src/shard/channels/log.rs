//! The log of a channel: recent messages and events as ready-made frames.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use campanile_protocol::frame::{Message, Opcode};
use campanile_protocol::messages::{ChannelMessage, Encoding, ServerFrame};
use once_cell::race::OnceBox;

use crate::namespaces::Namespace;
use crate::shard::compression::Deflating;

/// How long entries are kept for subscribers that do not keep up, whether or not there is a history, in milliseconds.
const LIVE_MS: u64 = 10_000;
/// Events that are older are not sent to those who come late.
const EVENT_MS: u64 = 5_000;

/// How a frame is written: the encoding of a session, compressed or not.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Variant {
    pub(in crate::shard) encoding: Encoding,
    /// Whether it is compressed, if that makes it smaller (RFC 7692).
    pub(in crate::shard) deflate: bool,
}

/// A message or an event, as frames. Never changes.
pub(in crate::shard) struct Entry {
    /// Number of the message; of an event, that of the newest message before it.
    offset: u64,
    is_event: bool,
    /// When it was published, in milliseconds since the Unix epoch.
    at_ms: u64,
    /// The frame in protobuf.
    protobuf: Bytes,
    /// The other variants, each made by the first shard that needs it; two may make it at once, and the first is kept.
    json: OnceBox<Bytes>,
    protobuf_deflate: OnceBox<Bytes>,
    json_deflate: OnceBox<Bytes>,
}

impl Entry {
    /// `None` if the frame has a payload that says that it is JSON and is not.
    fn new(offset: u64, at_ms: u64, frame: &ServerFrame) -> Option<Arc<Entry>> {
        let mut protobuf = Vec::new();
        frame.encode_frame(Encoding::Protobuf, &mut protobuf).ok()?;
        Some(Arc::new(Entry {
            offset,
            is_event: matches!(frame, ServerFrame::Event(_)),
            at_ms,
            protobuf: protobuf.into(),
            json: OnceBox::new(),
            protobuf_deflate: OnceBox::new(),
            json_deflate: OnceBox::new(),
        }))
    }

    /// The whole frame.
    fn frame(&self, variant: Variant, deflating: &mut Deflating) -> &[u8] {
        match (variant.encoding, variant.deflate) {
            (Encoding::Protobuf, false) => &self.protobuf,
            (Encoding::Json, false) => self.json(),
            (Encoding::Protobuf, true) => self
                .protobuf_deflate
                .get_or_init(|| Box::new(deflating.frame(Opcode::Binary, payload_of(&self.protobuf)).into())),
            (Encoding::Json, true) => self
                .json_deflate
                .get_or_init(|| Box::new(deflating.frame(Opcode::Text, payload_of(self.json())).into())),
        }
    }

    fn json(&self) -> &[u8] {
        self.json.get_or_init(|| {
            let mut json = Vec::new();
            let encoded = self.decoded().map(|frame| frame.encode_frame(Encoding::Json, &mut json));
            debug_assert!(matches!(encoded, Some(Ok(()))), "what is published was checked");
            Box::new(json.into())
        })
    }

    /// What the frame says.
    fn decoded(&self) -> Option<ServerFrame> {
        ServerFrame::decode(Encoding::Protobuf, &Message::Binary(payload_of(&self.protobuf))).ok()
    }

    fn bytes(&self) -> usize {
        size_of::<Entry>() + self.protobuf.len()
    }
}

/// The payload of a whole frame that we have made: FIN, not masked (RFC 6455 §5.2).
fn payload_of(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1).map(|len| len & 0x7f) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// Where a cursor is in a log.
pub(super) enum Lag {
    /// Nothing is lacking.
    None,
    /// What is lacking begins at this index.
    From(usize),
    /// The log no longer has what is lacking.
    Lost,
}

/// Recent entries, by position. A position is a number that grows by one with each entry; a cursor is the position of the
/// next entry that its owner lacks, in its lowest 32 bits.
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
}

impl Log {
    pub(super) const fn new(epoch: u64) -> Log {
        Log { epoch, entries: VecDeque::new(), first: 0, messages: 0, bytes: 0, offset: 0 }
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

    /// Appends a message, which gets its number and its time. Its number; `None` if it cannot be encoded.
    pub(super) fn publish(&mut self, mut message: ChannelMessage, now_ms: u64) -> Option<u64> {
        let offset = self.offset + 1;
        message.offset = offset;
        message.sent_at_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        self.push(Entry::new(offset, now_ms, &ServerFrame::ChannelMessage(message))?);
        Some(offset)
    }

    /// Appends an event.
    pub(super) fn announce(&mut self, event: campanile_protocol::messages::Event, now_ms: u64) {
        if let Some(entry) = Entry::new(self.offset, now_ms, &ServerFrame::Event(event)) {
            self.push(entry);
        }
    }

    /// Appends what the owner has appended, which begins at `start`. If some of it was left out, what was there before is
    /// forgotten: whoever lacks it finds that it is lost.
    pub(super) fn feed(&mut self, start: u64, entries: Vec<Arc<Entry>>) {
        debug_assert!(start >= self.head(), "a feed repeats what came before");
        if start != self.head() {
            self.entries.clear();
            (self.messages, self.bytes, self.first) = (0, 0, start);
        }
        entries.into_iter().for_each(|entry| self.push(entry));
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

    /// The index of the first entry of the history: of messages that those who come later may have.
    fn history_from(&self, namespace: &Namespace, now_ms: u64) -> usize {
        let ttl_ms = u64::try_from(namespace.history_ttl.as_millis()).unwrap_or(u64::MAX);
        let mut left = namespace.history_messages_max;
        let mut from = self.entries.len();
        for (index, entry) in self.entries.iter().enumerate().rev() {
            if entry.is_event {
                continue;
            }
            if left == 0 || now_ms.saturating_sub(entry.at_ms) >= ttl_ms {
                break;
            }
            left -= 1;
            from = index;
        }
        from
    }

    /// How many messages the history has.
    pub(super) fn history_messages(&self, namespace: &Namespace, now_ms: u64) -> u32 {
        let from = self.history_from(namespace, now_ms);
        self.entries.iter().skip(from).filter(|entry| !entry.is_event).count() as u32
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
        let index = self.entries.partition_point(|entry| entry.offset <= offset).max(from);
        Some((self.first + index as u64) as u32)
    }

    /// The cursor of somebody who is to get so many of the newest messages of the history.
    pub(super) fn cursor_before_newest(&self, newest: u32, namespace: &Namespace, now_ms: u64) -> u32 {
        let from = self.history_from(namespace, now_ms);
        let mut left = newest;
        let mut index = self.entries.len();
        while left > 0 && index > from {
            index -= 1;
            left -= u32::from(!self.entries[index].is_event);
        }
        (self.first + index as u64) as u32
    }

    /// The cursor before the newest message, or before the newest entry if there is no message.
    pub(super) fn cursor_of_newest(&self) -> u32 {
        let newest = self.entries.iter().rposition(|entry| !entry.is_event);
        let index = newest.unwrap_or(self.entries.len().saturating_sub(1));
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
        let from = self.history_from(namespace, now_ms);
        let messages = self.entries.iter().skip(from).filter(|entry| !entry.is_event);
        let meant = messages.filter(|entry| after.is_none_or(|after| entry.offset > after));
        let count = meant.clone().count();
        let skipped = if after.is_none() { count.saturating_sub(messages_max) } else { 0 };
        let decoded = meant.skip(skipped).take(messages_max).filter_map(|entry| match entry.decoded()? {
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
        (self.first + end as u64) as u32
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
