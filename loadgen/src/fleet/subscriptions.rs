//! Subscribing, and what comes of it: every device counts, checked devices look at each message.

use campanile_engine::{Command, Commands, Conn, Time};
use campanile_protocol::messages::{
    ClientFrame, Error, Gap, Position as WirePosition, Subscribe, Subscribed, Unsubscribed,
};

use super::channel_message::Read;
use super::cursor::{Beginning, Cursor, Order};
use super::{Fleet, State};
use crate::channels::Subscriptions;
use crate::payload::Stamp;
use crate::stats::Refusal;

/// What `ref` begins with in a subscribe; the place of the subscription follows.
const REF: &str = "s";

/// What a fleet's devices have, by their place in it.
#[derive(Default)]
pub(super) struct Subscribers {
    /// By place; empty for devices that only count.
    cursors: Vec<Box<[Cursor]>>,
    /// By place: subscriptions of the session that hold.
    confirmed: Vec<u32>,
    /// Devices that have all they are to have, and now stop reading.
    pub(super) pausing: Vec<Conn>,
}

/// What one read has brought, for one device; counted at its end.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// The device has said goodbye: what is still on its way to it is not its concern, and comes again when it is back.
    pub(super) leaving: bool,
}

impl Subscribers {
    /// The device's cursors, which are made when it is seen first.
    fn cursors(&mut self, place: usize, count: u32) -> &mut [Cursor] {
        if self.cursors.len() <= place {
            self.cursors.resize_with(place + 1, Box::default);
        }
        let cursors = &mut self.cursors[place];
        if cursors.is_empty() {
            *cursors = vec![Cursor::default(); count as usize].into();
        }
        cursors
    }

    fn confirmed(&mut self, place: usize) -> &mut u32 {
        if self.confirmed.len() <= place {
            self.confirmed.resize(place + 1, 0);
        }
        &mut self.confirmed[place]
    }
}

impl Fleet {
    fn subscriptions(&self) -> Option<&Subscriptions> {
        self.settings.channels.as_ref()?.subscriptions.as_ref()
    }

    /// Whether a device is to be subscribed to anything.
    pub(super) fn subscribes(&self, number: u32) -> bool {
        self.subscriptions().is_some_and(|all| number < all.devices())
    }

    /// Whether a device looks at each message. Those that stand still do, so that one sees what they are told.
    pub(super) fn is_checked(&self, number: u32) -> bool {
        let every = self.settings.channels.as_ref().map_or(1, |channels| channels.check_every);
        number.is_multiple_of(every) || self.settings.audience.is_silent(number)
    }

    /// A session has begun: asks for the device's channels, from where it was.
    pub(super) fn subscribe(&mut self, conn: Conn, number: u32) {
        let Some(count) =
            self.subscriptions().filter(|_| self.subscribes(number)).map(Subscriptions::of_each)
        else {
            return;
        };
        let (place, checked) = (self.place(number), self.is_checked(number));
        let mut bytes = Vec::new();
        for index in 0..count {
            let since = match checked {
                true => self.subscribers.cursors(place, count)[index as usize].since(),
                false => None,
            };
            let Some(channel) = self.subscriptions().map(|all| all.names().name(all.channel(number, index)))
            else {
                return;
            };
            let subscribe = ClientFrame::Subscribe(Subscribe {
                r#ref: format!("{REF}{index}"),
                channel,
                since: since.map(|(epoch, offset)| WirePosition { epoch, offset }),
                ..Subscribe::default()
            });
            let key = self.mask();
            // It has no payload, and only those cannot be encoded.
            let _ = subscribe.encode_frame(self.settings.encoding, key, &mut bytes);
        }
        self.post(conn, bytes);
    }

    pub(super) fn subscribed(&mut self, conn: Conn, number: u32, frame: &Subscribed) {
        let Some(subscriptions) = self.subscriptions().filter(|_| !self.tally.leaving) else { return };
        let count = subscriptions.of_each();
        let Some((index, _)) = subscriptions.place_of(number, frame.channel.as_bytes()) else {
            return self.stats.channels.astray.add(1);
        };
        let place = self.place(number);
        let position = frame.position.unwrap_or_default();
        if self.is_checked(number) {
            let cursor = &mut self.subscribers.cursors(place, count)[index as usize];
            match cursor.subscribed(position.epoch, position.offset, frame.recovered) {
                Beginning::Fresh => {}
                Beginning::Recovered => self.stats.channels.recovered.add(1),
                Beginning::NotRecovered => self.stats.channels.not_recovered.add(1),
            }
        }
        // Without a reference it is no answer: the gateway has begun the subscription anew.
        if frame.r#ref.is_empty() {
            return;
        }
        self.stats.channels.subscriptions.add(1);
        let confirmed = self.subscribers.confirmed(place);
        *confirmed += 1;
        if *confirmed == count {
            self.stats.channels.subscribed.add(1);
            if self.settings.audience.is_silent(number) {
                self.subscribers.pausing.push(conn);
            }
        }
    }

    /// An error frame, if it is about a subscription. Whether it was.
    pub(super) fn subscription_refused(&mut self, number: u32, error: &Error) -> bool {
        let Some(index) = error.r#ref.strip_prefix(REF).and_then(|index| index.parse().ok()) else {
            return false;
        };
        let Some(subscriptions) = self.subscriptions().filter(|all| index < all.of_each()) else {
            return false;
        };
        let channel = subscriptions.names().name(subscriptions.channel(number, index));
        self.refused(channel, &error.reason, &error.message);
        true
    }

    fn refused(&mut self, channel: String, reason: &str, message: &str) {
        self.stats.channels.refused.add(1);
        let details = &mut *self.stats.details();
        *details.refusals.entry(reason.to_owned()).or_default() += 1;
        details.first_refusal.get_or_insert_with(|| Refusal {
            channel,
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }

    /// The gateway has ended a subscription; we never do.
    pub(super) fn unsubscribed(&mut self, number: u32, frame: &Unsubscribed) {
        let Some(subscriptions) = self.subscriptions().filter(|_| !self.tally.leaving) else { return };
        let count = subscriptions.of_each();
        let Some((index, _)) = subscriptions.place_of(number, frame.channel.as_bytes()) else {
            return self.stats.channels.astray.add(1);
        };
        let place = self.place(number);
        if self.is_checked(number) {
            self.subscribers.cursors(place, count)[index as usize].left();
        }
        let confirmed = self.subscribers.confirmed(place);
        if *confirmed > 0 {
            if *confirmed == count {
                self.stats.channels.subscribed.subtract(1);
            }
            *confirmed -= 1;
            self.stats.channels.subscriptions.subtract(1);
        }
        self.refused(frame.channel.clone(), &frame.reason, "the gateway has ended the subscription");
    }

    /// The session has ended, and with it what it was subscribed to.
    pub(super) fn leave_channels(&mut self, number: u32) {
        let Some(count) = self.subscriptions().map(Subscriptions::of_each) else { return };
        let place = self.place(number);
        let confirmed = std::mem::take(self.subscribers.confirmed(place));
        self.stats.channels.subscriptions.subtract(confirmed.into());
        if confirmed == count {
            self.stats.channels.subscribed.subtract(1);
        }
        let cursors = self.subscribers.cursors.get_mut(place);
        cursors.into_iter().flatten().for_each(Cursor::left);
    }

    pub(super) fn gap(&mut self, number: u32, gap: &Gap) {
        if self.tally.leaving {
            return;
        }
        let channels = &self.stats.channels;
        match self.settings.audience.is_silent(number) {
            true => channels.gaps_told_late.add(1),
            false => channels.gaps_told.add(1),
        }
        if !self.is_checked(number) {
            return;
        }
        let Some(subscriptions) = self.subscriptions() else { return self.stats.channels.astray.add(1) };
        let count = subscriptions.of_each();
        match subscriptions.place_of(number, gap.channel.as_bytes()) {
            Some((index, _)) => {
                let place = self.place(number);
                let missed = self.subscribers.cursors(place, count)[index as usize].gap(gap.until);
                self.stats.channels.missed_told.add(missed);
            }
            None => self.stats.channels.astray.add(1),
        }
    }

    /// A message of a channel. `bytes` is the length of the whole WebSocket message.
    pub(super) fn channel_message(&mut self, now: Time, number: u32, bytes: usize, message: Read<'_>) {
        self.tally.frames += 1;
        self.tally.bytes += bytes as u64;
        if self.is_checked(number) && !self.tally.leaving {
            self.check(now, number, message);
        }
    }

    fn check(&mut self, now: Time, number: u32, Read { channel, offset, data }: Read<'_>) {
        let stats = &self.stats.channels;
        stats.checked.add(1);
        let settings = self.settings.channels.as_ref();
        let Some(subscriptions) = settings.and_then(|channels| channels.subscriptions.as_ref()) else {
            return stats.astray.add(1);
        };
        let Some((index, _)) = subscriptions.place_of(number, channel) else { return stats.astray.add(1) };
        let place = (number / self.count) as usize;
        let cursor = &mut self.subscribers.cursors(place, subscriptions.of_each())[index as usize];
        let mut live = true;
        match cursor.message(offset) {
            Order::Next { recovered } => live = !recovered,
            Order::Hole(missed) => {
                stats.gaps_not_told.add(1);
                stats.missed_not_told.add(missed);
            }
            Order::Duplicate => return stats.duplicated.add(1),
            Order::Late => return stats.out_of_order.add(1),
            Order::Unasked => return stats.astray.add(1),
        }
        if !live {
            stats.replayed.add(1);
        }
        let stamp = Stamp::read(data).filter(|stamp| stamp.run == self.settings.run);
        let ours = stamp.zip(settings.and_then(|channels| channels.publishing.as_ref()));
        let Some((stamp, publishing)) = ours else { return stats.foreign.add(1) };
        let targets = &publishing.targets;
        if stamp.number >= publishing.messages
            || targets.names().index_of(channel) != Some(targets.channel_of(stamp.number))
        {
            return stats.astray.add(1);
        }
        // What was recovered waited for its device, and who stood still kept it waiting: neither is the gateway's time.
        if live && !self.settings.audience.is_silent(number) {
            self.recorder.arrived_on_channel(now, stamp.due);
        }
    }

    /// Counts what a read has brought.
    pub(super) fn count_channel_frames(&mut self, now: Time, number: u32) {
        let Tally { frames, bytes, leaving } = std::mem::take(&mut self.tally);
        if leaving || frames + bytes == 0 {
            return;
        }
        let stats = &self.stats.channels;
        if self.settings.audience.is_silent(number) {
            return stats.frames_late.add(frames);
        }
        stats.frames.add(frames);
        stats.bytes.add(bytes);
        stats.last_frame.raise(now.as_nanos());
    }

    /// Lets those stop reading that have subscribed and are to stand still, unless the time for that is over.
    pub(super) fn pause_silent(&mut self, commands: &mut Commands<()>) {
        for conn in std::mem::take(&mut self.subscribers.pausing) {
            if self.tenant(conn).is_some_and(|device| device.state == State::Open) && !self.resumed {
                self.stats.stalled.add(1);
                commands.push(Command::Pause { conn });
            }
        }
    }

    /// Lets those read again that stand still.
    pub(super) fn resume_silent(&mut self, commands: &mut Commands<()>) {
        let resumes = self.settings.channels.as_ref().is_some_and(|channels| channels.resume);
        if !resumes || std::mem::replace(&mut self.resumed, true) {
            return;
        }
        for (slot, device) in (0..).zip(&self.devices) {
            if device.state == State::Open && self.settings.audience.is_silent(device.number) {
                commands.push(Command::Watch { conn: Conn { slot, generation: device.generation } });
            }
        }
    }

    /// At the end: counts what checked devices lack of what the gateway has taken. Nothing is expected of those that
    /// stand still.
    pub(super) fn count_behind(&mut self) {
        let Some(channels) = self.settings.channels.as_ref() else { return };
        let (Some(subscriptions), Some(publishing), Some(newest)) =
            (&channels.subscriptions, &channels.publishing, channels.newest.get())
        else {
            return;
        };
        let mut behind = 0;
        for (place, cursors) in (0..).zip(&self.subscribers.cursors) {
            let number = place * self.count + self.index;
            if self.settings.audience.is_silent(number) && !channels.resume {
                continue;
            }
            for (index, cursor) in (0..).zip(cursors).filter(|(_, cursor)| cursor.is_subscribed()) {
                let name = subscriptions.names().name(subscriptions.channel(number, index));
                let target = publishing.targets.names().index_of(name.as_bytes());
                if let Some(position) = target.and_then(|target| newest.get(target as usize)) {
                    behind += cursor.behind(position.epoch, position.newest);
                }
            }
        }
        self.stats.channels.behind.add(behind);
    }
}
