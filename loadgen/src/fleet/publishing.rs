//! Devices that publish: message `k` is device `k`'s, in turn, at the time that the schedule has for it, whatever the
//! gateway does.

use campanile_engine::{Conn, Time};
use campanile_protocol::messages::{ClientFrame, Error, Payload, Publish, Published};

use super::{ChannelPublishing, Fleet, PER_TURN_MAX, State};
use crate::payload::{PAYLOAD_BYTES_MIN, Stamp};
use crate::schedule::Schedule;

/// What `ref` begins with in a publish; the number of the message follows.
const REF: &str = "p";
/// What a device publishes while so many bytes of it are unsent is not sent: the gateway does not read.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Which messages have been sent, and through which sessions.
#[derive(Default)]
pub(super) struct DevicePublisher {
    /// The next message of the run.
    next: u64,
    /// By place: the device's session.
    sessions: Vec<Option<Conn>>,
}

impl DevicePublisher {
    fn session(&mut self, place: usize) -> &mut Option<Conn> {
        if self.sessions.len() <= place {
            self.sessions.resize(place + 1, None);
        }
        &mut self.sessions[place]
    }
}

impl Fleet {
    /// What devices publish, if they do.
    fn device_publishing(&self) -> Option<(&ChannelPublishing, Schedule)> {
        let publishing = self.settings.channels.as_ref()?.publishing.as_ref()?;
        let devices = publishing.from_devices.as_ref()?;
        let start = self.control.publish_start();
        let schedule = devices.rate.schedule(start, devices.duration);
        Some((publishing, schedule.limited(publishing.messages)))
    }

    /// The device that publishes message `k`: everybody in turn, but for those that do not read.
    fn author(&self, message: u64) -> u32 {
        let (audience, devices) = (&self.settings.audience, u64::from(self.settings.connecting));
        let mut device = (message % devices) as u32;
        while audience.is_silent(device) {
            device = (device + 1) % self.settings.connecting;
        }
        device
    }

    /// A session has begun.
    pub(super) fn may_publish(&mut self, conn: Conn, number: u32) {
        if self.device_publishing().is_some() {
            let place = self.place(number);
            *self.publisher.session(place) = Some(conn);
        }
    }

    /// It has ended.
    pub(super) fn may_not_publish(&mut self, number: u32) {
        if self.device_publishing().is_some() {
            let place = self.place(number);
            *self.publisher.session(place) = None;
        }
    }

    /// Publishes what is due. When the next message is.
    pub(super) fn publish_due(&mut self, now: Time) -> Option<Time> {
        let (_, schedule) = self.device_publishing()?;
        let due = schedule.due_by(now);
        let mut published = 0;
        while self.publisher.next < due {
            if published == PER_TURN_MAX {
                return Some(now);
            }
            let number = self.publisher.next;
            self.publisher.next += 1;
            let device = self.author(number);
            if device % self.count == self.index {
                published += 1;
                self.publish(device, number, schedule.due(number));
            }
        }
        (due < schedule.messages()).then(|| schedule.due(due))
    }

    fn publish(&mut self, device: u32, number: u64, due: Time) {
        self.stats.channels.offered.add(1);
        let place = self.place(device);
        let Some(conn) = *self.publisher.session(place) else { return self.publish_failed("not_connected") };
        if self.tenant(conn).is_none_or(|device| device.state != State::Open) {
            return self.publish_failed("not_connected");
        }
        if self.unsent.get(&conn.slot).is_some_and(|unsent| unsent.len() > UNSENT_BYTES_MAX) {
            return self.publish_failed("not_read");
        }
        let Some((publishing, _)) = self.device_publishing() else { return };
        let channel = publishing.targets.names().name(publishing.targets.channel_of(number));
        let mut payload = Vec::new();
        Stamp { run: self.settings.run, number, due }.write(publishing.payload_bytes, &mut payload);
        // Ciphertext does not compress either.
        self.random.fill(&mut payload[PAYLOAD_BYTES_MIN..]);
        let publish = ClientFrame::Publish(Publish {
            r#ref: format!("{REF}{number}"),
            channel,
            kind: "load".into(),
            payload: Some(Payload::data(payload)),
        });
        let (mut bytes, key) = (Vec::new(), self.mask());
        // Bytes can be encoded in any way.
        if publish.encode_frame(self.settings.encoding, key, &mut bytes).is_ok() {
            self.stats.channels.sent.add(1);
            self.post(conn, bytes);
        }
    }

    fn publish_failed(&mut self, reason: &str) {
        self.stats.channels.failed.add(1);
        *self.stats.details().publish_failures.entry(reason.to_owned()).or_default() += 1;
    }

    /// The gateway has taken a message.
    pub(super) fn published(&mut self, now: Time, frame: &Published) {
        let Some((publishing, schedule)) = self.device_publishing() else { return };
        let number = frame.r#ref.strip_prefix(REF).and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|number| *number < publishing.messages) else { return };
        let channel = publishing.targets.channel_of(number);
        let took = now.since(schedule.due(number));
        let position = frame.position.unwrap_or_default();
        self.stats.channels.accepted.add(1);
        let details = &mut *self.stats.details();
        details.publish_latency.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        details.positions.entry(channel).or_default().accepted(position.epoch, position.offset);
    }

    /// An error frame, if it is about a message that a device has published. Whether it was.
    pub(super) fn publish_refused(&mut self, error: &Error) -> bool {
        let ours = error.r#ref.strip_prefix(REF).is_some_and(|number| number.parse::<u64>().is_ok());
        if ours {
            self.publish_failed(&error.reason);
        }
        ours
    }
}
