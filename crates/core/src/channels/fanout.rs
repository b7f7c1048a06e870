//! Passes: each gives every subscriber of a channel what it lacks, in one send each. When load grows a pass carries more
//! messages: latency is bounded by the pass, and throughput grows.

use bytes::Bytes;
use campanile_engine::Conn;
use campanile_protocol::frame::close_code;
use campanile_protocol::messages::{Gap, ServerFrame};

use super::Channels;
use super::entry::Variant;
use super::log::{Lag, Log};
use crate::Shard;
use crate::compression::Deflating;
use crate::connection::Session;
use crate::directory::NONE;
use crate::namespaces::SlowPolicy;
use crate::outbox::TURN_BYTES_MAX;

/// Bytes of one send, beyond its first frame: about what a socket takes at once.
pub(crate) const SEND_BYTES_MAX: usize = 16 * 1024;
/// Sends for one channel, at least, before others have their turn.
const SENDS_PER_SLICE: usize = 128;
/// Subscribers looked at for one channel before others have their turn.
const LOOKS_PER_SLICE: usize = 4_096;

/// Bytes that cost more than the send which carries them.
const BYTES_PER_SEND: usize = 32 * 1024;
/// Subscribers that lack nothing cost about as much as one send.
const LOOKS_PER_SEND: usize = 64;

/// A send of this turn that carries nothing but frames of one channel.
pub(super) struct Fanned {
    slot: u32,
    subscription: u32,
    cursor: u32,
    bytes: u32,
}

/// What was made for the subscribers of one slice: most of them lack the same.
#[derive(Default)]
pub(super) struct Memo {
    made: Vec<Made>,
    room: Vec<u8>,
}

struct Made {
    cursor: u32,
    variant: Variant,
    bytes: Bytes,
    end: u32,
}

/// Sets of bytes that are remembered in one slice.
const MADE_MAX: usize = 8;

impl Memo {
    fn forget(&mut self) {
        self.made.clear();
    }

    /// What somebody with this cursor lacks, and the cursor behind it.
    fn get(
        &mut self,
        log: &Log,
        (cursor, index): (u32, usize),
        variant: Variant,
        now_ms: u64,
        deflating: &mut Deflating,
    ) -> (Bytes, u32) {
        let known = self.made.iter().find(|made| made.cursor == cursor && made.variant == variant);
        if let Some(made) = known {
            return (made.bytes.clone(), made.end);
        }
        self.room.clear();
        let end = log.gather(index, variant, SEND_BYTES_MAX, now_ms, deflating, &mut self.room);
        // A copy even of a single frame: cores that count its users together would slow each other down.
        let bytes = Bytes::copy_from_slice(&self.room);
        if self.made.len() == MADE_MAX {
            self.made.remove(0);
        }
        self.made.push(Made { cursor, variant, bytes: bytes.clone(), end });
        (bytes, end)
    }
}

impl Session {
    /// How frames are written for it, in a namespace that compresses or does not.
    fn variant(&self, deflates: bool) -> Variant {
        Variant { encoding: self.encoding, deflate: deflates && self.deflate }
    }
}

impl Shard {
    /// Brings subscribers forward by about so many sends: first those who are behind, then passes, each channel once.
    pub(crate) fn fan_out(&mut self, sends_max: usize) {
        let mut left = sends_max;
        for _ in 0..self.channels.behind.len() {
            if left < sends_max / 2 {
                break;
            }
            let Some(subscription) = self.channels.behind.pop_front() else { break };
            self.catch_up(subscription);
            left = left.saturating_sub(1);
        }
        let channels = self.channels.ready.len();
        let slice = (left / channels.max(1)).max(SENDS_PER_SLICE);
        for _ in 0..channels {
            if left == 0 {
                break;
            }
            let Some(number) = self.channels.ready.pop_front() else { break };
            left = left.saturating_sub(self.pass_slice(number, left.min(slice)));
        }
    }

    /// One slice of a channel's pass. About how many sends it cost.
    fn pass_slice(&mut self, number: u32, sends_max: usize) -> usize {
        let Shard { channels, connections, outbox, counters, now, settings, .. } = self;
        let Channels { slab, subscriptions, ready, memo, deflating, fanned, behind, .. } = channels;
        let Some(channel) = slab.get_mut(number as usize) else { return 0 };
        memo.forget();
        let deflates = settings.namespaces.of(&channel.name).deflate;
        let head = channel.log.head_cursor();
        let (mut sends, mut looks, mut bytes_sent) = (0, 0, 0);
        while (channel.next as usize) < channel.subscribers.len()
            && sends < sends_max
            && looks < LOOKS_PER_SLICE
        {
            let subscriber = channel.subscribers[channel.next as usize];
            channel.next += 1;
            looks += 1;
            let Some(subscription) = subscriptions.get_mut(subscriber) else { continue };
            if subscription.cursor == head || subscription.is_behind {
                continue;
            }
            let session = connections.get_mut(subscription.slot).and_then(|connection| connection.session());
            let Some(session) = session else { continue };
            if session.unsent.is_some() {
                subscription.is_slow = true;
                continue;
            }
            let index = match channel.log.lag(subscription.cursor) {
                Lag::From(index) if !subscription.is_slow => index,
                _ => {
                    subscription.is_behind = true;
                    behind.push_back(subscriber);
                    continue;
                }
            };
            if session.outbox != NONE && outbox.len_of(session.outbox) >= TURN_BYTES_MAX {
                channel.again = true;
                continue;
            }
            let variant = session.variant(deflates);
            let (bytes, end) =
                memo.get(&channel.log, (subscription.cursor, index), variant, now.unix_ms, deflating);
            let cursor = std::mem::replace(&mut subscription.cursor, end);
            channel.again |= end != head;
            if bytes.is_empty() {
                continue;
            }
            sends += 1;
            bytes_sent += bytes.len();
            match session.outbox {
                NONE => {
                    let (slot, subscription) = (subscription.slot, subscriber);
                    fanned.push(Fanned { slot, subscription, cursor, bytes: bytes.len() as u32 });
                    session.outbox = outbox.begin(slot, bytes);
                }
                index => outbox.append(index, &bytes),
            }
        }
        counters.channel_sends.add(sends as u64);
        counters.channel_bytes_sent.add(bytes_sent as u64);
        channel.ready = true;
        if channel.next as usize >= channel.subscribers.len() {
            channel.next = 0;
            channel.ready = std::mem::take(&mut channel.again);
        }
        if channel.ready {
            ready.push_back(number);
        }
        sends.max(1 + looks / LOOKS_PER_SEND).max(bytes_sent / BYTES_PER_SEND)
    }

    /// Sends a subscriber that passes do not bring forward what there is for it.
    fn catch_up(&mut self, subscriber: u32) {
        let Channels { slab, subscriptions, deflating, .. } = &mut self.channels;
        let Some(subscription) = subscriptions.get_mut(subscriber) else { return };
        subscription.is_behind = false;
        let (slot, number, cursor, is_slow) =
            (subscription.slot, subscription.channel, subscription.cursor, subscription.is_slow);
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let Some(session) = session.filter(|session| session.unsent.is_none()) else { return };
        // Of what a socket does not take little is kept only if it was sent nothing else. But nobody waits for ever.
        let is_sent = session.outbox != NONE;
        if is_sent && !std::mem::replace(&mut subscription.is_deferred, true) {
            return self.channels.set_behind(subscriber);
        }
        subscription.is_deferred = false;
        let Some(channel) = slab.get(number as usize) else { return };
        let namespace = self.settings.namespaces.of(&channel.name);
        let (policy, variant) = (namespace.slow, session.variant(namespace.deflate));
        let (log, newest) = (&channel.log, channel.log.cursor_of_newest());
        let from = match log.lag(cursor) {
            Lag::None => cursor,
            Lag::Lost if policy == SlowPolicy::Close && is_slow && !channel.is_status => {
                self.counters.sessions_too_slow_for_channel.add(1);
                return self.close(slot, close_code::POLICY_VIOLATION, "too slow for a channel");
            }
            Lag::Lost => newest,
            // Of what is lacking only the newest message counts; is there more than that?
            Lag::From(_) if policy == SlowPolicy::Conflate && is_slow => {
                match newest.wrapping_sub(cursor) as i32 {
                    1.. => newest,
                    _ => cursor,
                }
            }
            Lag::From(_) => cursor,
        };
        let reason = match log.lag(cursor) {
            _ if from == cursor || channel.is_status => None,
            Lag::Lost if !is_slow => Some(("overrun", &self.counters.channel_gaps_overrun)),
            Lag::Lost if policy != SlowPolicy::Conflate => {
                Some(("too_slow", &self.counters.channel_gaps_too_slow))
            }
            // Events that were passed over are no gap.
            Lag::From(_) if log.offset_before(from) == log.offset_before(cursor) => None,
            _ => Some(("conflated", &self.counters.channel_gaps_conflated)),
        };
        let gap = reason.map(|(reason, counter)| {
            counter.add(1);
            let (channel, until) = (channel.name.as_str().to_owned(), log.offset_before(from));
            Gap { channel, until, reason: reason.to_owned() }
        });
        let mut bytes = Vec::new();
        let end = match log.lag(from) {
            Lag::From(index) => {
                log.gather(index, variant, SEND_BYTES_MAX, self.now.unix_ms, deflating, &mut bytes)
            }
            _ => log.head_cursor(),
        };
        let caught_up = end == log.head_cursor();
        subscription.cursor = end;
        subscription.is_slow = is_slow && !caught_up;
        if let Some(gap) = gap {
            self.send_frame(slot, &ServerFrame::Gap(gap));
        }
        if !bytes.is_empty() {
            self.fan(slot, subscriber, from, bytes.into());
        }
        if !caught_up {
            self.channels.set_behind(subscriber);
        }
    }

    fn fan(&mut self, slot: u32, subscription: u32, cursor: u32, bytes: Bytes) {
        self.counters.channel_sends.add(1);
        self.counters.channel_bytes_sent.add(bytes.len() as u64);
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        if session.is_some_and(|session| session.outbox == NONE) {
            self.channels.fanned.push(Fanned { slot, subscription, cursor, bytes: bytes.len() as u32 });
        }
        self.post(slot, bytes);
    }

    /// A session's socket has room again.
    pub(crate) fn resume_subscriptions(&mut self, slot: u32) {
        let session = self.connections.get(slot).and_then(|connection| connection.as_session());
        let mut next = session.map_or(NONE, |session| session.subscriptions);
        let channels = &mut self.channels;
        while let Some(subscription) = channels.subscriptions.get_mut(next) {
            let number = std::mem::replace(&mut next, subscription.next);
            let Some(channel) = channels.slab.get(subscription.channel as usize) else { continue };
            if subscription.place == NONE {
                continue;
            }
            match subscription.cursor == channel.log.head_cursor() {
                true => subscription.is_slow = false,
                false => channels.set_behind(number),
            }
        }
    }

    /// A socket did not take all that it was sent this turn. If that was nothing but frames of one channel, the cursor
    /// goes back: of what was not sent only the rest of the last frame is kept. How long that is.
    pub(crate) fn keep_cursor(&mut self, conn: Conn, rest: usize) -> Option<usize> {
        let channels = &mut self.channels;
        let at = channels.fanned.iter().position(|fanned| fanned.slot == conn.slot)?;
        if channels.mixed.contains(&conn.slot) {
            return None;
        }
        let Fanned { subscription: subscriber, cursor, bytes, .. } = channels.fanned.swap_remove(at);
        let sent = (bytes as usize).checked_sub(rest)?;
        let subscription = channels.subscriptions.get_mut(subscriber)?;
        let channel = channels.slab.get(subscription.channel as usize)?;
        let session = self.connections.get(conn.slot)?.as_session()?;
        let variant = session.variant(self.settings.namespaces.of(&channel.name).deflate);
        let log = &channel.log;
        let (cursor, kept) = log.rewind(cursor, variant, sent, self.now.unix_ms, &mut channels.deflating)?;
        subscription.cursor = cursor;
        subscription.is_slow = true;
        Some(kept)
    }

    /// The turn's sends are over.
    pub(crate) fn forget_fanned(&mut self) {
        self.channels.fanned.clear();
        self.channels.mixed.clear();
    }
}
