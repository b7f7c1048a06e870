//! The bodies of requests, written without intermediate values: at 20,000 pushes a second the generator must not be
//! what is measured.

use std::io::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::PublishSettings;
use crate::audience::To;
use crate::payload::Stamp;
use crate::schedule::Schedule;

/// Writes request bodies.
pub(super) struct BodyWriter<'a> {
    settings: &'a PublishSettings,
    /// The prefix of users' names as it stands inside a JSON string.
    user_prefix: String,
    payload: Vec<u8>,
    base64: String,
}

impl<'a> BodyWriter<'a> {
    pub(super) fn new(settings: &'a PublishSettings) -> BodyWriter<'a> {
        let quoted = serde_json::Value::from(settings.user_prefix.as_str()).to_string();
        let user_prefix = quoted[1..quoted.len() - 1].to_owned();
        BodyWriter { settings, user_prefix, payload: Vec::new(), base64: String::new() }
    }

    /// Where the bodies are sent.
    pub(super) fn path(&self) -> &'static str {
        match (self.settings.audience.to, self.settings.single) {
            (To::Broadcast, _) => "/v2/broadcast",
            (_, true) => "/v2/push",
            (_, false) => "/v2/push/batch",
        }
    }

    /// A body with messages `numbers`; only a batch may have more than one.
    pub(super) fn write(&mut self, schedule: &Schedule, numbers: Range<u64>) -> Bytes {
        let count = (numbers.end - numbers.start) as usize;
        let mut out = Vec::with_capacity(32 + count * (self.settings.payload_bytes.div_ceil(3) * 4 + 96));
        let batch = self.settings.audience.to != To::Broadcast && !self.settings.single;
        if batch {
            out.extend_from_slice(br#"{"pushes":["#);
        }
        for number in numbers {
            if out.last() == Some(&b'}') {
                out.push(b',');
            }
            self.write_push(schedule, number, &mut out);
        }
        if batch {
            out.extend_from_slice(b"]}");
        }
        out.into()
    }

    fn write_push(&mut self, schedule: &Schedule, number: u64, out: &mut Vec<u8>) {
        let audience = &self.settings.audience;
        let first = audience.recipients(number).start;
        let (prefix, user) = (&self.user_prefix, audience.user_of(first));
        let written = match audience.to {
            To::RandomDevice => {
                let device = audience.device_id(first);
                write!(out, r#"{{"user":"{prefix}{user}","device":{device}"#)
            }
            To::RandomUser => write!(out, r#"{{"user":"{prefix}{user}""#),
            To::Broadcast => write!(out, r#"{{"name":"load""#),
        };
        debug_assert!(written.is_ok(), "writing to a vector cannot fail");
        let stamp = Stamp { run: self.settings.run, number, due: schedule.due(number) };
        stamp.write(self.settings.payload_bytes, &mut self.payload);
        self.base64.clear();
        STANDARD.encode_string(&self.payload, &mut self.base64);
        out.extend_from_slice(br#","payload":{"data":""#);
        out.extend_from_slice(self.base64.as_bytes());
        out.extend_from_slice(br#""}}"#);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_engine::Time;
    use serde_json::Value;

    use super::*;
    use crate::publish::tests::settings;

    fn written(settings: &PublishSettings, numbers: Range<u64>) -> Value {
        let schedule = Schedule::new(Time(7_000), 1_000.0, Duration::from_secs(1));
        serde_json::from_slice(&BodyWriter::new(settings).write(&schedule, numbers)).unwrap()
    }

    fn stamp(push: &Value) -> Stamp {
        let bytes = STANDARD.decode(push["payload"]["data"].as_str().unwrap()).unwrap();
        assert_eq!(bytes.len(), 40);
        Stamp::read(&bytes).unwrap()
    }

    #[test]
    fn a_batch_names_each_messages_device_and_when_it_was_due() {
        let mut settings = settings(To::RandomDevice);
        settings.user_prefix = "a\"b".into();
        let body = written(&settings, 3..6);
        let pushes = body["pushes"].as_array().unwrap();
        assert_eq!(pushes.len(), 3);
        // Ten devices of four users: who has which.
        let users = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3];
        let numbers = [1, 2, 3, 1, 2, 1, 2, 3, 1, 2];
        for (number, push) in (3..).zip(pushes) {
            let device = settings.audience.recipients(number).start as usize;
            assert_eq!(push["user"], format!("a\"b{}", users[device]));
            assert_eq!(push["device"], numbers[device]);
            assert_eq!(stamp(push), Stamp { run: 99, number, due: Time(7_000 + number * 1_000_000) });
        }
    }

    #[test]
    fn single_pushes_and_broadcasts_stand_alone() {
        let mut settings = settings(To::RandomUser);
        settings.single = true;
        let body = written(&settings, 1..2);
        assert!(body["user"].is_string() && body["device"].is_null(), "{body}");
        assert_eq!(stamp(&body).number, 1);
        let body = written(&super::super::tests::settings(To::Broadcast), 2..3);
        assert_eq!(body["name"], "load");
        assert_eq!(stamp(&body).number, 2);
    }
}
