//! Whoever does not keep up: the counters say exactly what it was sent, told to be missing, and not sent.
//!
//! The checker reads what the shard sends, frame by frame, and compares: for each subscription of a channel what was
//! assigned to it with what it was sent, told and still waits for; for the shard its counters with the frames.

use bytes::Bytes;
use campanile_core::Shard;
use campanile_core::counters::ShardCounters;
use campanile_engine::Conn;
use campanile_protocol::frame::{Decoder, Limits, Message};
use campanile_protocol::messages::{Encoding, ServerFrame};
use rustc_hash::FxHashMap;

/// A subscription, as it is told to the client.
#[derive(Default)]
struct Followed {
    /// The number of the message before its first.
    begun: Option<u64>,
    /// The number of the last message that it has, or was told to be missing.
    reached: Option<u64>,
    sent: u64,
    told: u64,
}

/// What a connection is sent.
#[derive(Default)]
struct Output {
    /// The HTTP answer, while its end has not come.
    head: Option<Vec<u8>>,
    decoder: Decoder,
    has_begun: bool,
    /// So many bytes at the front of the next send were read already.
    ahead: usize,
    is_blocked: bool,
    followed: FxHashMap<String, Followed>,
    /// The number of its last durable message.
    seq: u64,
}

/// What frames of a shard say.
#[derive(Default)]
struct Frames {
    delivered: u64,
    ephemeral: u64,
    broadcast: u64,
    gaps: u64,
    /// Something was sent that is no frame of the schema: an echo, or something compressed.
    has_other: bool,
}

/// The checker of one shard.
#[derive(Default)]
pub(in crate::support) struct SlowConsumers {
    outputs: FxHashMap<Conn, Output>,
    /// The sends of this turn.
    sends: Vec<(Conn, Bytes)>,
    frames: Frames,
}

impl SlowConsumers {
    /// The shard commands a send.
    pub(in crate::support) fn is_sent(&mut self, conn: Conn, bytes: &Bytes) {
        self.sends.push((conn, bytes.clone()));
    }

    /// A send of this turn left over so many bytes, of which the shard keeps some, if the connection is not broken.
    pub(in crate::support) fn is_sent_in_part(&mut self, conn: Conn, rest: usize, kept: Option<usize>) {
        let Some(at) = self.sends.iter().position(|(sent, _)| *sent == conn) else { return };
        let (_, bytes) = self.sends.swap_remove(at);
        let output = self.outputs.entry(conn).or_default();
        let kept_to = bytes.len() - rest + kept.unwrap_or(rest);
        output.read(&bytes[..kept_to.max(output.ahead)], &mut self.frames);
        output.ahead = kept.unwrap_or(0);
        output.is_blocked = kept.is_some();
    }

    /// The client has gone, and with it what it was to be sent, which is counted all the same.
    pub(in crate::support) fn hangs_up(&mut self, conn: Conn, outgoing: &[u8]) {
        if !outgoing.is_empty() {
            let output = self.outputs.entry(conn).or_default();
            output.read(outgoing, &mut self.frames);
            output.ahead = outgoing.len();
        }
    }

    /// Looks at a shard between two turns.
    pub(in crate::support) fn check(&mut self, shard: &Shard, counters: &ShardCounters) {
        for (conn, bytes) in self.sends.drain(..) {
            let output = self.outputs.entry(conn).or_default();
            output.read(&bytes, &mut self.frames);
            (output.ahead, output.is_blocked) = (0, false);
        }
        for (&conn, output) in self.outputs.iter_mut().filter(|(_, output)| output.is_blocked) {
            // Frames that were added since to what the socket did not take.
            if let Some(unsent) = shard.unsent_of(conn) {
                output.read(unsent, &mut self.frames);
                output.ahead = unsent.len();
            }
        }
        if self.frames.has_other {
            return;
        }
        self.frames.check(counters);
        for (conn, following) in shard.following() {
            let channel = following.channel.as_str();
            let followed = self.outputs.get_mut(&conn).and_then(|output| output.followed.get_mut(channel));
            let followed = followed.unwrap_or_else(|| {
                panic!("slow_consumers: {conn:?} was not told that it is subscribed to {channel}")
            });
            let Some(reached) = following.reached else { continue };
            let told = *followed.reached.get_or_insert(reached);
            assert_eq!(
                told, reached,
                "slow_consumers: of {channel} {conn:?} was sent and told everything up to {told}, not {reached}"
            );
            let begun = *followed.begun.get_or_insert(told - followed.sent - followed.told);
            let (assigned, waiting) = (following.head - begun, following.head - reached);
            assert_eq!(
                assigned,
                followed.sent + followed.told + waiting,
                "slow_consumers: of {channel} {conn:?} was sent {}, told that {} are missing, and {waiting} wait",
                followed.sent,
                followed.told
            );
        }
    }

    /// Forgets connections that are over.
    pub(in crate::support) fn keep(&mut self, is_live: impl Fn(&Conn) -> bool) {
        self.outputs.retain(|conn, _| is_live(conn));
    }
}

impl Frames {
    fn check(&self, counters: &ShardCounters) {
        let sent = counters.messages_sent.get() + counters.messages_replayed.get();
        assert_eq!(sent, self.delivered, "slow_consumers: messages counted as sent, and sent");
        let broadcast = counters.broadcast_sent.get();
        assert_eq!(broadcast, self.broadcast, "slow_consumers: events counted as sent, and sent");
        let gaps = counters.channel_gaps_too_slow.get()
            + counters.channel_gaps_overrun.get()
            + counters.channel_gaps_conflated.get();
        assert_eq!(gaps, self.gaps, "slow_consumers: gaps counted as told, and told");
        let ephemeral = counters.messages_ephemeral.get();
        let not_sent = counters.messages_not_connected.get() + counters.messages_not_keeping_up.get();
        // What cannot be encoded is also counted where it is not ephemeral.
        let not_encodable = counters.messages_not_encodable.get();
        let known = self.ephemeral + not_sent;
        assert!(
            (known..=known + not_encodable).contains(&ephemeral),
            "slow_consumers: of {ephemeral} ephemeral messages {} were sent and {not_sent} not",
            self.ephemeral
        );
    }
}

impl Output {
    /// Reads what it has not read of these bytes, which go to the client next.
    fn read(&mut self, bytes: &[u8], frames: &mut Frames) {
        let mut bytes = bytes[self.ahead.min(bytes.len())..].to_vec();
        if !self.has_begun && !bytes.is_empty() {
            self.has_begun = true;
            self.head = (bytes[0] == b'H').then(Vec::new);
        }
        if let Some(head) = &mut self.head {
            head.append(&mut bytes);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            bytes = head.split_off(end + 4);
            // A refusal has a body, and no frames.
            if !head.starts_with(b"HTTP/1.1 101") {
                return;
            }
            self.head = None;
        }
        let mut input = &mut bytes[..];
        let limits = Limits { deflate: true, ..Limits::CLIENT };
        let mut decoder = std::mem::take(&mut self.decoder);
        while let Some(message) = decoder.next(&mut input, &limits).expect("slow_consumers: a torn frame") {
            let encoding = match &message {
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
                Message::Text(_) => Encoding::Json,
                _ => Encoding::Protobuf,
            };
            match ServerFrame::decode(encoding, &message) {
                Ok(frame) => self.takes(frame, frames),
                Err(_) => frames.has_other = true,
            }
        }
        self.decoder = decoder;
    }

    fn takes(&mut self, frame: ServerFrame, frames: &mut Frames) {
        match frame {
            ServerFrame::Deliver(deliver) => {
                frames.delivered += 1;
                frames.ephemeral += u64::from(deliver.seq == 0);
                assert!(
                    deliver.seq == 0 || deliver.seq > self.seq,
                    "slow_consumers: {} comes after {}",
                    deliver.seq,
                    self.seq
                );
                self.seq = self.seq.max(deliver.seq);
            }
            ServerFrame::Event(event) => frames.broadcast += u64::from(event.channel.is_empty()),
            ServerFrame::Subscribed(subscribed) => {
                self.followed.insert(subscribed.channel, Followed::default());
            }
            ServerFrame::Unsubscribed(unsubscribed) => {
                self.followed.remove(&unsubscribed.channel);
            }
            ServerFrame::ChannelMessage(message) => {
                let followed = self.followed.get_mut(&message.channel);
                let followed = followed.expect("slow_consumers: a message before the subscription");
                let next = followed.reached.map_or(message.offset, |reached| reached + 1);
                assert_eq!(message.offset, next, "slow_consumers: a hole in {}", message.channel);
                followed.reached = Some(message.offset);
                followed.sent += 1;
            }
            ServerFrame::Gap(gap) => {
                frames.gaps += 1;
                let followed = self.followed.get_mut(&gap.channel);
                let followed = followed.expect("slow_consumers: a gap before the subscription");
                if let Some(reached) = followed.reached {
                    assert!(
                        gap.until >= reached,
                        "slow_consumers: a gap until {}, {reached} came",
                        gap.until
                    );
                    followed.told += gap.until - reached;
                }
                followed.reached = Some(gap.until);
            }
            _ => {}
        }
    }
}
