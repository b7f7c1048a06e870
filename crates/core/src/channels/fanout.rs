//! Passes: each gives every subscriber of a channel what it lacks, in one send each. When load grows a pass carries
//! more messages: latency is bounded by the pass, and throughput grows.

use bytes::Bytes;
use campanile_engine::Conn;
use campanile_protocol::messages::{Gap, ServerFrame};

use super::entry::Variant;
use super::log::Lag;
use super::registry::Channels;
use super::resuming::{Resumed, resume};
use super::sends::{Fanned, SEND_BYTES_MAX};
use crate::net::Net;
use crate::net::ending::Ending;
use crate::net::wire::{Agreed, NONE};
use crate::turn::Turn;

/// Sends for one channel, at least, before others have their turn.
const SENDS_PER_SLICE: usize = 128;
/// Subscribers looked at for one channel before others have their turn.
const LOOKS_PER_SLICE: usize = 4_096;

/// Bytes that cost more than the send which carries them.
const BYTES_PER_SEND: usize = 32 * 1024;
/// Subscribers that lack nothing cost about as much as one send.
const LOOKS_PER_SEND: usize = 64;

/// What brings subscribers forward.
pub(super) struct FanOut<'a> {
    pub(super) channels: &'a mut Channels,
    pub(super) net: &'a mut Net,
}

/// How frames are written for a session, in a namespace that compresses or does not.
fn variant(agreed: Agreed, deflates: bool) -> Variant {
    Variant { encoding: agreed.encoding, deflate: deflates && agreed.deflate }
}

impl FanOut<'_> {
    /// Brings subscribers forward by about so many sends: first those who are behind, then passes, each channel once.
    pub(super) fn fan_out(&mut self, turn: &mut Turn<'_>, sends_max: usize) {
        let mut left = sends_max;
        for _ in 0..self.channels.behind.len() {
            if left < sends_max / 2 {
                break;
            }
            let Some(subscription) = self.channels.behind.pop_front() else { break };
            self.catch_up(turn, subscription);
            left = left.saturating_sub(1);
        }
        let channels = self.channels.ready.len();
        let slice = (left / channels.max(1)).max(SENDS_PER_SLICE);
        for _ in 0..channels {
            if left == 0 {
                break;
            }
            let Some(number) = self.channels.ready.pop_front() else { break };
            left = left.saturating_sub(self.pass_slice(turn, number, left.min(slice)));
        }
    }

    /// One slice of a channel's pass. About how many sends it cost.
    fn pass_slice(&mut self, turn: &Turn<'_>, number: u32, sends_max: usize) -> usize {
        let FanOut { channels, net } = self;
        let Channels { slab, subscriptions, ready, memo, deflating, fanned, behind, .. } = &mut **channels;
        let Some(channel) = slab.get_mut(number as usize) else { return 0 };
        memo.forget();
        let deflates = turn.settings.namespaces.of(&channel.name).deflate;
        let (head, now_ms) = (channel.log.head_cursor(), turn.now.unix_ms);
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
            let slot = subscription.slot;
            let Some(socket) = net.fan_socket(slot) else { continue };
            if !socket.keeps_up() {
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
            if socket.has_enough() {
                channel.again = true;
                continue;
            }
            let variant = variant(socket.agreed(), deflates);
            let lacking = (subscription.cursor, index);
            let (bytes, end) = memo.get(&channel.log, lacking, variant, now_ms, deflating);
            let cursor = std::mem::replace(&mut subscription.cursor, end);
            channel.again |= end != head;
            if bytes.is_empty() {
                continue;
            }
            sends += 1;
            bytes_sent += bytes.len();
            let sent = Fanned { slot, subscription: subscriber, cursor, bytes: bytes.len() as u32 };
            if socket.post(bytes) {
                fanned.push(sent);
            }
        }
        turn.counters.channel_sends.add(sends as u64);
        turn.counters.channel_bytes_sent.add(bytes_sent as u64);
        if channel.end_slice() {
            ready.push_back(number);
        }
        sends.max(1 + looks / LOOKS_PER_SEND).max(bytes_sent / BYTES_PER_SEND)
    }

    /// Sends a subscriber that passes do not bring forward what there is for it.
    fn catch_up(&mut self, turn: &mut Turn<'_>, subscriber: u32) {
        let Channels { slab, subscriptions, deflating, .. } = &mut *self.channels;
        let Some(subscription) = subscriptions.get_mut(subscriber) else { return };
        subscription.is_behind = false;
        let slot = subscription.slot;
        let Some(session) = self.net.session(slot).filter(|session| session.wire.keeps_up()) else { return };
        // Of what a socket does not take little is kept only if it was sent nothing else. But nobody waits for ever.
        let is_sent = session.wire.is_sent_this_turn();
        if is_sent && !std::mem::replace(&mut subscription.is_deferred, true) {
            return self.channels.set_behind(subscriber);
        }
        subscription.is_deferred = false;
        let Some(channel) = slab.get(subscription.channel as usize) else { return };
        let (log, namespace) = (&channel.log, turn.settings.namespaces.of(&channel.name));
        let (cursor, is_slow) = (subscription.cursor, subscription.is_slow);
        let Resumed::From(from, gap) = resume(log, channel.is_status, namespace.slow, cursor, is_slow) else {
            return self.net.end(turn, slot, &Ending::TooSlowForChannel);
        };
        let gap = gap.map(|gap| {
            gap.counter(turn.counters).add(1);
            let channel = channel.name.as_str().to_owned();
            Gap { channel, until: log.offset_before(from), reason: gap.reason().to_owned() }
        });
        let mut bytes = Vec::new();
        let end = match log.lag(from) {
            Lag::From(index) => {
                let variant = variant(session.wire.agreed(), namespace.deflate);
                log.gather(index, variant, SEND_BYTES_MAX, turn.now.unix_ms, deflating, &mut bytes)
            }
            _ => log.head_cursor(),
        };
        let caught_up = end == log.head_cursor();
        subscription.cursor = end;
        subscription.is_slow = is_slow && !caught_up;
        if let Some(gap) = gap {
            self.net.send_frame(turn, slot, &ServerFrame::Gap(gap));
        }
        if !bytes.is_empty() {
            self.send(turn, slot, subscriber, from, bytes.into());
        }
        if !caught_up {
            self.channels.set_behind(subscriber);
        }
    }

    fn send(&mut self, turn: &Turn<'_>, slot: u32, subscription: u32, cursor: u32, bytes: Bytes) {
        turn.counters.channel_sends.add(1);
        turn.counters.channel_bytes_sent.add(bytes.len() as u64);
        let Some(socket) = self.net.fan_socket(slot) else { return };
        let sent = Fanned { slot, subscription, cursor, bytes: bytes.len() as u32 };
        if socket.post(bytes) {
            self.channels.fanned.push(sent);
        }
    }

    /// A session's socket has room again.
    pub(super) fn resume_subscriptions(&mut self, slot: u32) {
        let session = self.net.session(slot);
        let mut next = session.map_or(NONE, |session| session.membership.subscriptions);
        let channels = &mut *self.channels;
        while let Some(subscription) = channels.subscriptions.get_mut(next) {
            let number = std::mem::replace(&mut next, subscription.next);
            let Some(channel) = channels.slab.get(subscription.channel as usize) else { continue };
            if subscription.place == NONE {
                continue;
            }
            if subscription.cursor == channel.log.head_cursor() {
                subscription.is_slow = false;
            } else {
                channels.set_behind(number);
            }
        }
    }

    /// A socket did not take all that it was sent this turn. If that was nothing but frames of one channel, the cursor
    /// goes back: of what was not sent only the rest of the last frame is kept. How long that is.
    pub(super) fn keep_cursor(&mut self, turn: &Turn<'_>, conn: Conn, rest: usize) -> Option<usize> {
        let channels = &mut *self.channels;
        let at = channels.fanned.iter().position(|fanned| fanned.slot == conn.slot)?;
        if self.net.was_joined(conn.slot) || !self.net.has_session(conn) {
            return None;
        }
        let Fanned { slot, subscription, cursor, bytes } = channels.fanned.swap_remove(at);
        let sent = (bytes as usize).checked_sub(rest)?;
        let subscription = channels.subscriptions.get_mut(subscription).filter(|found| found.slot == slot)?;
        let channel = channels.slab.get(subscription.channel as usize)?;
        let agreed = self.net.session(slot)?.wire.agreed();
        let variant = variant(agreed, turn.settings.namespaces.of(&channel.name).deflate);
        let now_ms = turn.now.unix_ms;
        let (cursor, kept) = channel.log.rewind(cursor, variant, sent, now_ms, &mut channels.deflating)?;
        subscription.cursor = cursor;
        subscription.is_slow = true;
        Some(kept)
    }
}
